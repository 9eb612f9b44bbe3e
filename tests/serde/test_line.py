"""InfluxDB's line protocol in: types, escapes, times; by columns of bytes as point by point."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.line import LineDecoder
from ewma_ops.serde.options import DecoderOptions
from tests.serde.json.fuzz_decoder import told
from tests.serde.test_csv import letters, rows

PLAIN = {"value": "fields.v", "series_id": "tags.id", "time": "time"}


@pytest.fixture(params=["points", "columns"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Decode point by point, or by columns of bytes."""
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    return str(request.param)


def decode(by: str, *payloads: bytes | None, **options: Any) -> Decoded:
    decoder = LineDecoder(DecoderOptions(**{**PLAIN, **options}))
    values: Any = BytesColumn.of(payloads) if by == "columns" else payloads
    keys: Any = [b"k"] * len(payloads)
    keys = BytesColumn.of(keys) if by == "columns" else keys
    return decoder.decode(keys, values, [7] * len(payloads))


def test_points_of_several_messages(by: str) -> None:
    decoded = decode(
        by,
        b"m,id=a v=21.5 1000000",
        b"m,id=a v=22 2000000\r\nm,id=b v=-1e3 3999999\n\n",
        b"# a comment\nm,id=c,x=y v=5i,w=6 1700000000000000000",
    )
    assert not decoded.rejected
    assert rows(decoded) == [
        (0, 0, "a", 1, 21.5),
        (1, 0, "a", 2, 22.0),
        (1, 1, "b", 3, -1000.0),
        (2, 0, "c", 1_700_000_000_000, 5.0),
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1", 1.0),
        ("-1.5", -1.5),
        ("+1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        ("0.30000000000000004", 0.30000000000000004),
        ("7i", 7.0),
        ("-7i", -7.0),
        ("007i", 7.0),
        ("9223372036854775807i", 9223372036854775808.0),
        ("9007199254740993i", 9007199254740992.0),
        ("18446744073709551615u", 18446744073709551616.0),
        ("5u", 5.0),
    ],
)
def test_numbers(by: str, written: str, expected: float) -> None:
    lines = [f"m,id=a v={written},w=1 1000000".encode()] * 3
    assert decode(by, *lines).readings.values.tolist() == [expected] * 3


@pytest.mark.parametrize("written", ["t", "T", "true", "True", "TRUE", "f", "F", "false", "FALSE"])
def test_what_is_true_or_false_is_no_number(by: str, written: str) -> None:
    decoded = decode(by, b"m,id=a v=1 1", f"m,id=a v={written} 1".encode())
    assert [letter[:3] for letter in letters(decoded)] == [(1, 0, "wrong-type")]
    wanted = written[0] in "tT"
    line = f"m,id=a v=1,ok={written} 1".encode()
    assert len(decode(by, line, where={"fields.ok": [wanted]}).readings) == 1
    assert decode(by, line, where={"fields.ok": [not wanted]}).skipped == 1


def test_text_is_a_number_where_that_is_asked_for(by: str) -> None:
    lines = b'm,id=a v="21.5" 1000000', b'm,id=a v="off" 1000000', b'm,id=a v="" 1000000'
    assert [letter[2] for letter in letters(decode(by, *lines))] == ["wrong-type"] * 3
    decoded = decode(by, *lines, numbers="text", missing_values=["off", ""])
    np.testing.assert_array_equal(decoded.readings.values, [21.5, math.nan, math.nan])
    decoded = decode(by, b'm,id=a v="21,5" 1000000', numbers="text", decimal=",")
    assert decoded.readings.values.tolist() == [21.5]


def test_escapes(by: str) -> None:
    line = rb'a\,b\ c=d,t\ a\,g\==v\,a\ l\=\x f\=\ \,="a \"b\" \\ c\n",v=1 1000000'
    options = {"value": "fields.v", "time": None}
    for path, expected in [
        ("measurement", "a,b c=d"),
        ('tags."t a,g="', r"v,a l=\x"),
        ('fields."f= ,"', r'a "b" \ c\n'),
    ]:
        decoded = decode(by, line, b"m v=2", line, series_id=path, **options)
        assert [row[2] for row in rows(decoded) if row[0] != 1] == [expected] * 2
    # A backslash before anything else is a character, and one before a comma escapes it.
    decoded = decode(by, rb"m,id=a\\,b v=1 1", rb"m,id=\a\ v=1 1")
    assert [row[2] for row in rows(decoded)] == [r"a\,b"]
    assert [letter[:3] for letter in letters(decoded)] == [(1, 0, "not-line")]


def test_text_may_hold_what_separates_points(by: str) -> None:
    lines = b'm,id=a s="x\ny, z=1 2",v=1 1000000\nm,id=b s="#",v=2 2000000'
    assert rows(decode(by, lines, lines)) == [
        *((0, 0, "a", 1, 1.0), (0, 1, "b", 2, 2.0), (1, 0, "a", 1, 1.0), (1, 1, "b", 2, 2.0))
    ]


@pytest.mark.parametrize(
    ("unit", "text", "time_ms"),
    [
        (None, "1700000000123999999", 1_700_000_000_123),
        ("ns", "-1", -1),
        ("us", "1700000000123999", 1_700_000_000_123),
        ("ms", "1700000000123", 1_700_000_000_123),
        ("s", "1700000000", 1_700_000_000_000),
    ],
)
def test_units_of_time(by: str, unit: Any, text: str, time_ms: int) -> None:
    line = f"m,id=a v=1 {text}".encode()
    assert [row[3] for row in rows(decode(by, line, line, time_unit=unit))] == [time_ms] * 2


def test_a_point_without_a_time(by: str) -> None:
    decoded = decode(by, b"m,id=a v=1 1000000", b"m,id=a v=2")
    assert letters(decoded) == [(1, 0, "no-time", "time is absent or null")]
    assert [
        row[3] for row in rows(decode(by, b"m,id=a v=1 1000000", b"m,id=a v=2", time=None))
    ] == [*(7, 7)]


def test_absent_tags_and_fields(by: str) -> None:
    decoded = decode(by, b"m,id=a v=1 1", b"m v=1 1", b"m,id=a w=1 1")
    assert letters(decoded) == [(1, 0, "no-series-id", "tags.id is absent or null")]
    np.testing.assert_array_equal(decoded.readings.values, [1.0, math.nan])


def test_several_parts_and_values(by: str) -> None:
    options = {"value": ["fields.x", "fields.y"], "series_id": ["measurement", "tags.h", "tags.d"]}
    line = b"disk,h=a,d=sda x=1,y=2i 1000000"
    decoded = decode(by, line, b"disk,h=b,d=sdb x=3,y=4i 1000000", **options)
    assert list(decoded.readings.series_ids) == ["disk/a/sda", "disk/b/sdb"]
    assert decoded.readings.values.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_messages_that_are_none_of_ours(by: str) -> None:
    lines = b"cpu,id=a v=1 1000000\nmem,id=a used=5i 1000000\ncpu,id=b v=2 1000000\nnonsense"
    decoded = decode(by, lines, where={"measurement": ["cpu"]})
    assert rows(decoded) == [(0, 0, "a", 1, 1.0), (0, 2, "b", 1, 2.0)]
    assert decoded.skipped == 1
    assert [letter[:3] for letter in letters(decoded)] == [(0, 3, "not-line")]


NO_POINTS = [
    b"m",
    b"m v",
    b"m v=",
    b"m v=abc",
    b"m v=1 x",
    b"m v=1 1.5",
    b"m v=1 1 1",
    b"m v=1,",
    b"m v=1.5i",
    b"m v=-1u",
    b"m v=1,w =2",
    b"m v= 1",
    b"m v=1\t",
    b"m v=null",
    b"m v=0x1F",
    b'm v="a',
    b'm v="a"b',
    b'm v="a\\" 1',
    b"m,id v=1",
    b"m,id= v=1",
    b"m,=a v=1",
    b"m,id=a=b v=1",
    b",id=a v=1",
    b" m,id=a v=1",
    b"m,id=a,v=1 1",
    b"#m,id=a v=1 1",
    b"v=1",
    b"21.5",
    b'{"id": "a"}',
]


@pytest.mark.parametrize("line", NO_POINTS)
def test_what_is_no_point(by: str, line: bytes) -> None:
    good = b"m,id=a v=1 1000000"
    decoded = decode(by, good, line + b"\n" + good, good)
    comments = line.startswith(b"#")
    assert len(decoded.readings) == 3
    found = letters(decoded)
    assert [letter[:3] for letter in found] == ([] if comments else [(1, 0, "not-line")])
    assert all("is not a point of the line protocol, such as cpu,host=" in one[3] for one in found)


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (None, "tombstone"),
        (b"", "empty"),
        (b" \n", "empty"),
        (b"m,id=a v=1 1\n\xff", "not-utf8"),
        (b"m,id=a v=1 1\n" * 10_001, "too-many-readings"),
    ],
)
def test_messages_that_cannot_be_read_at_all(by: str, payload: bytes | None, cause: str) -> None:
    decoded = decode(by, b"m,id=a v=1 1", payload, b"m,id=a v=1 1")
    assert [row[0] for row in rows(decoded)] == [0, 2]
    assert [letter[:3] for letter in letters(decoded)] == [(1, 0, cause)]
    assert cause in CAUSES


def test_a_message_of_comments_is_skipped(by: str) -> None:
    decoded = decode(by, b"# one\n\t# two\n\r\n", b"m,id=a v=1 1")
    assert (decoded.skipped, len(decoded.readings), len(decoded.rejected)) == (1, 1, 0)


names = st.text(st.characters(codec="utf-8", exclude_characters="\n\\"), min_size=1)


def escaped(name: str) -> str:
    for mark in ",= ":
        name = name.replace(mark, "\\" + mark)
    return name


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_the_same_bits_as_json(data: st.DataObject) -> None:
    number: Any = st.floats(allow_nan=False, allow_infinity=False) | st.integers(
        -(2**63), 2**63 - 1
    )
    reading = st.tuples(names, st.integers(0, 10**19 - 1), number)
    messages = data.draw(st.lists(st.lists(reading, min_size=1, max_size=3), min_size=1))
    as_json, as_lines = [], []
    for message in messages:
        points = [(escaped(i), at, v, "i" * isinstance(v, int)) for i, at, v in message]
        as_lines.append("\n".join(f"m,id={i} v={v!r}{u} {at}" for i, at, v, u in points).encode())
        as_json.append(
            json.dumps([{"time": t, "fields": {"v": v}, "tags": {"id": i}} for i, t, v in message])
        )
    n = len(messages)
    options = DecoderOptions(records="[]", time_unit="ns", **PLAIN)  # type: ignore[arg-type]
    payloads = [payload.encode() for payload in as_json]
    by_json = JsonDecoder(options).decode([None] * n, payloads, [7] * n)
    assert told(decode("points", *as_lines)) == told(by_json)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        assert told(decode("columns", *as_lines)) == told(by_json)


PIECES = [*'m,,,==   \n\n1235.-\\"#ié', "id=", "v=", "m,id=a ", "v=1", " 5", ' s="', '"', "\r\n"]
SHAPES = [
    b"m,id=x v=1.5 5",
    b'm,id=x v=1.5,w=2i,s="a" 5',
    b"m,id=x v=1",
    b"m,id=x,b=c w=5u,v=7i,ok=t 1",
    b"n,id=y v=2.5 5",
    b"n,host=z w=2i,ok=f",
]


@pytest.mark.slow
@given(
    st.lists(st.none() | st.lists(st.sampled_from(PIECES), max_size=12), max_size=8),
    st.lists(st.sampled_from(SHAPES), min_size=1, max_size=4),
    st.sampled_from([{}, {}, {"measurement": ["n"]}, {"fields.w": [2, 5]}, {"fields.ok": [True]}]),
    st.sampled_from([[], ["time", "fields.v", "tags.b"], ["measurement", "fields.w", "fields.ok"]]),
    st.data(),
)
@settings(max_examples=400, deadline=None)
def test_by_columns_as_point_by_point(
    messages: list[list[str] | None],
    shapes: list[bytes],
    where: dict[str, list[Any]],
    include: list[str],
    data: st.DataObject,
) -> None:
    shape = shapes[0]
    payloads: list[bytes | None] = [b"\n".join(shapes[:2]), *shapes[1:]] * (len(messages) + 1)
    for one in messages:
        if one is None or data.draw(st.booleans()):
            payloads.append(None if one is None else "".join(one).encode())
        else:  # what is nearly of the shape
            at = data.draw(st.integers(0, len(shape)))
            cut = data.draw(st.integers(0, 2))
            payloads.append(shape[:at] + "".join(one[:2]).encode() + shape[at + cut :])
    options: Any = {"include": include, "where": where}
    by_points = decode("points", *payloads, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        by_columns = decode("columns", *payloads, **options)
    assert told(by_columns) == told(by_points)
    assert by_columns.skipped == by_points.skipped


def test_many_points_of_several_shapes_are_read_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    options = DecoderOptions(**{**PLAIN, "time": None, "where": {"measurement": ["m"]}})  # type: ignore[arg-type]
    decoder = LineDecoder(options)
    monkeypatch.setattr(decoder, "_read_lines", None)  # which is not to be called
    payloads = BytesColumn.of([SHAPES[i % 6] for i in range(2_400)] + [b"\n".join(SHAPES)] * 2)
    decoded = decoder.decode(payloads, payloads, [0] * len(payloads))
    assert (len(decoded.readings), decoded.skipped) == (1_600 + 2 * 4, 800 + 2 * 2)
    assert decoded.ordinals is not None
    assert decoded.ordinals[-4:].tolist() == [0, 1, 2, 3]


def test_many_points_are_read_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in SHAPES[:4]:
        decoder = LineDecoder(DecoderOptions(**{**PLAIN, "time": None}))  # type: ignore[arg-type]
        monkeypatch.setattr(decoder, "_read_lines", None)  # which is not to be called
        payloads = BytesColumn.of([line] * 2_000)
        assert len(decoder.decode(payloads, payloads, [0] * 2_000).readings) == 2_000


@pytest.mark.parametrize(
    "line",
    [
        "m," + "a=b," * 100_000,
        "m,id=a " + "v=1," * 100_000 + "x",
        "m " + "\\," * 200_000,
        'm v="' + '\\"' * 200_000,
        'm v="\n' * 60_000,
        "m v=" + "1" * 400_000,
        "m v=1 " + " " * 400_000 + "x",
        " " * 400_000,
        "\\" * 400_000,
        "m v=" + "1." * 200_000,
    ],
)
def test_no_line_takes_long(line: str) -> None:
    started = time.process_time()
    decode("points", line.encode())
    assert time.process_time() - started < 5
