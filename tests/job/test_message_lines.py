"""A message as a line: what is read of it, and what is said of a line that is none."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ewma_ops.job.message_lines import LineError, parse_line
from ewma_ops.job.offline import Record

KCAT = (
    '{"topic":"t","partition":1,"offset":9,"tstype":"create","ts":5,"broker":1,'
    '"headers":["a","1"],"key":"k","payload":"{}"}'
)


def headed(*headers: tuple[str, bytes | None]) -> Record:
    return Record(b"1", headers=headers)


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ('{"value": {"a" : 1.50}}', Record(b'{"a" : 1.50}')),
        ('{"value": "text \\u00e9"}', Record("text é".encode())),
        ('{"value": null, "key": 12}', Record(None, b"12")),
        ('{"value": [1, 2], "key": {"s": 1}}', Record(b"[1, 2]", b'{"s": 1}')),
        ('{"value_base64": "AP8=", "key_base64": ""}', Record(b"\x00\xff", b"")),
        ('{"value": 1, "headers": {"a": "b", "n": null}}', headed(("a", b"b"), ("n", None))),
        ('{"value": 1, "headers": [["a", "1"], ["a", "2"]]}', headed(("a", b"1"), ("a", b"2"))),
        ('{"value": 1, "headers": null, "timestamp": 7}', Record(b"1", timestamp_ms=7)),
        ('{"value": 1, "timestamp": "1970-01-01T00:00:01Z"}', Record(b"1", timestamp_ms=1000)),
        ('{"value": 1, "timestamp": null}', Record(b"1")),
        ('{"value": 1, "partition": 3, "topic": "t"}', Record(b"1", partition=3, topic="t")),
        (KCAT, Record(b"{}", b"k", (("a", b"1"),), 5, 1, "t")),
    ],
)  # fmt: skip
def test_a_line_that_is_a_message(line: str, record: Record) -> None:
    assert parse_line(line.encode(), 12) == replace(record, offset=11)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "not an object of JSON"),
        (b"hello", "use --values where a line is the value of a message"),
        (b"[1]", "not an object of JSON"),
        (b'"\xff"', "not an object of JSON"),
        (b'{"value": 01}', "not an object of JSON"),
        (b"{}", 'value is missing; write "value": null for a tombstone'),
        (b'{"vals": 1}', "vals is not a field of a message; did you mean value?"),
        (b'{"id": 1, "value": 2}', 'id is not a field of a message; write {"value": {...}'),
        (b'{"value_base64": "?"}', "value_base64 is not base64"),
        (b'{"value": 1, "key_base64": 1}', "key_base64 must be text"),
        (b'{"value": 1, "partition": -1}', "partition must be a whole number, 0 or more"),
        (b'{"value": 1, "partition": "1"}', "partition must be a whole number"),
        (b'{"value": 1, "topic": 1}', "topic must be text"),
        (b'{"value": 1, "timestamp": "soon"}', "timestamp 'soon' must be milliseconds"),
        (b'{"value": 1, "timestamp": true}', "timestamp True must be milliseconds"),
        (b'{"value": 1, "headers": 5}', "headers must be an object"),
        (b'{"value": 1, "headers": ["a"]}', "headers must be an object"),
        (b'{"value": 1, "headers": [["a", 1]]}', "headers must be an object"),
        (b'{"value": 1, "headers": [[1, "a"]]}', "headers must be an object"),
    ],
)
def test_a_line_that_is_none(line: bytes, said: str) -> None:
    with pytest.raises(LineError) as raised:
        parse_line(line, 1)
    assert said in str(raised.value)


def test_now_is_the_time_of_what_names_none() -> None:
    assert parse_line(b'{"value": 1}', 1, 99).timestamp_ms == 99
    assert parse_line(b'{"value": 1, "timestamp": 5}', 1, 99).timestamp_ms == 5


@pytest.mark.slow
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["value", "key", "headers", "timestamp", "partition", "topic", "x"]), inner
    ),
    max_leaves=8,
))  # fmt: skip
def test_any_line_is_a_record_or_a_sentence(document: object) -> None:
    with suppress(LineError):
        parse_line(json.dumps(document).encode(), 1)


@given(st.binary())
@example(b'{"ts":0,"value":0}')
@example(b'{"value":0}')
def test_any_bytes_are_a_record_or_a_sentence(line: bytes) -> None:
    try:
        parse_line(line, 1)
    except LineError:
        return
    assert {"value", "value_base64", "payload"} & dict(json.loads(line)).keys()
