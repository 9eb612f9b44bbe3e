"""CSV in: lines, quotes, headers and columns; by columns of bytes as line by line."""

from __future__ import annotations

import csv
import io
import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.csv import CsvDecoder
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.several import MOST_READINGS
from tests.serde.json.fuzz_decoder import told

NAMES = ["id", "at", "t"]


@pytest.fixture(params=["lines", "columns"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Decode line by line, or by columns of bytes."""
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    return str(request.param)


def decode(
    by: str, *payloads: bytes | None, names: Any = NAMES, dialect: Any = None, **options: Any
) -> Decoded:
    options = {"value": "t", "series_id": "id", "time": "at", **options}
    decoder = CsvDecoder(names, DecoderOptions(**options), **(dialect or {}))
    values: Any = BytesColumn.of(payloads) if by == "columns" else payloads
    keys: Any = [b"k"] * len(payloads)
    keys = BytesColumn.of(keys) if by == "columns" else keys
    return decoder.decode(keys, values, [7] * len(payloads))


def rows(decoded: Decoded) -> list[tuple[int, int, str, int, float]]:
    """Return place, ordinal, id, time and value of each reading."""
    readings = decoded.readings
    assert decoded.ordinals is not None
    assert readings.times_ms is not None
    columns = decoded.kept, decoded.ordinals, readings.times_ms, readings.values
    places, ordinals, times_ms, values = (column.tolist() for column in columns)
    return list(zip(places, ordinals, readings.series_ids, times_ms, values, strict=True))


def letters(decoded: Decoded) -> list[tuple[int, int, str, str]]:
    assert decoded.rejected.ordinals is not None
    ordinals = decoded.rejected.ordinals.tolist()
    return [
        (one.at, ordinal, one.cause, one.detail)
        for one, ordinal in zip(decoded.rejected, ordinals, strict=True)
    ]


def test_lines_of_several_messages(by: str) -> None:
    decoded = decode(by, b"a,1,21.5", b"a,2,22\r\nb,3,-1e3\r\n", b"c,2023-11-14T22:13:20Z,5\n\n")
    assert not decoded.rejected
    assert rows(decoded) == [
        (0, 0, "a", 1, 21.5),
        (1, 0, "a", 2, 22.0),
        (1, 1, "b", 3, -1000.0),
        (2, 0, "c", 1_700_000_000_000, 5.0),
    ]


def test_a_header_is_no_reading_wherever_it_stands(by: str) -> None:
    decoded = decode(by, b"id,at,t", b"a,1,2", b"id,at,t\r\na,2,3", b"a,3,4\n id, at ,t\na,4,5")
    assert rows(decoded) == [
        *((1, 0, "a", 1, 2.0), (2, 0, "a", 2, 3.0), (3, 0, "a", 3, 4.0), (3, 1, "a", 4, 5.0))
    ]
    assert (decoded.skipped, len(decoded.rejected)) == (1, 0)


def test_a_header_of_numbers_is_no_reading_either(by: str) -> None:
    options = {"value": '"2"', "series_id": '"1"', "time": None, "names": ["1", "2"]}
    decoded = decode(by, b"1,2\na,5", **options)
    assert rows(decoded) == [(0, 0, "a", 7, 5.0)]


def test_the_first_line_of_each_message_names_its_columns(by: str) -> None:
    payloads = (
        b"t,id,at\n1.5,a,1",
        b"id, at ,x,t\nb,2,,2.5\nc,3,x,3.5\n",
        b"id,at\nd,4",
        b"id,at,t\n",
    )
    decoded = decode(by, *payloads, names="first-line")
    assert rows(decoded)[:3] == [*((0, 0, "a", 1, 1.5), (1, 0, "b", 2, 2.5), (1, 1, "c", 3, 3.5))]
    assert math.isnan(rows(decoded)[3][-1])
    assert decoded.skipped == 1


def test_quotes_hold_delimiters_line_breaks_and_quotes(by: str) -> None:
    decoded = decode(by, b'"a ""b"", c",1,"2.5"\n"d\ne",2,3', b"f,3,4")
    assert rows(decoded) == [
        *((0, 0, 'a "b", c', 1, 2.5), (0, 1, "d\ne", 2, 3.0), (1, 0, "f", 3, 4.0))
    ]


@pytest.mark.parametrize(
    ("dialect", "payload"),
    [
        ({"delimiter": ";"}, b"a;1;2.5"),
        ({"delimiter": "\t"}, b"a\t1\t2.5"),
        ({"delimiter": "|", "quote": "'"}, b"'a'|1|'2.5'"),
        ({"quote": ""}, b"a,1,2.5"),
        ({}, b"\xef\xbb\xbfa,1,2.5"),
    ],
)
def test_dialects(by: str, dialect: dict[str, str], payload: bytes) -> None:
    decoded = decode(by, payload, dialect=dialect)
    assert rows(decoded) == [(0, 0, "a", 1, 2.5)]


def test_without_quotes_a_quote_is_a_character(by: str) -> None:
    decoded = decode(by, b'"a,1,2.5', dialect={"quote": ""})
    assert rows(decoded) == [(0, 0, '"a', 1, 2.5)]


def test_a_decimal_comma(by: str) -> None:
    decoded = decode(by, b'a;1;2,5\n"a";2;-0,5', decimal=",", dialect={"delimiter": ";"})
    assert [row[-1] for row in rows(decoded)] == [2.5, -0.5]


def test_empty_fields_are_absent(by: str) -> None:
    decoded = decode(by, b"a,1,", b",1,2", b"a,,2", b'a,2,""')
    assert decoded.kept.tolist() == [0, 3]
    assert np.isnan(decoded.readings.values).all()
    assert letters(decoded) == [
        (1, 0, "no-series-id", "id is absent or null"),
        (2, 0, "no-time", "at is absent or null"),
    ]


def test_words_and_sentinels(by: str) -> None:
    decoded = decode(by, b"a,1,NA\na,2,-99\na,3,1", missing_values=["NA", -99.0])
    np.testing.assert_array_equal(decoded.readings.values, [math.nan, math.nan, 1.0])


@pytest.mark.parametrize(
    ("unit", "text", "time_ms"),
    [
        (None, "1700000000123", 1_700_000_000_123),
        ("s", "1700000000.25", 1_700_000_000_250),
        ("us", "1700000000123999", 1_700_000_000_123),
        ("ns", "1700000000123999999", 1_700_000_000_123),
        ("ns", "0", 0),
    ],
)
def test_units_of_time(by: str, unit: Any, text: str, time_ms: int) -> None:
    decoded = decode(by, f"a,{text},1\na,{text},2".encode(), time_unit=unit)
    assert [row[3] for row in rows(decoded)] == [time_ms, time_ms]


def test_one_bad_line_does_not_harm_the_others(by: str) -> None:
    lines = [b"a,1,2", b"a,2", b"a,3,x", b"a,4,5,6", b"id,at,t", b"a,b,7", b"a,6,8"]
    decoded = decode(by, b"\n".join(lines), b"b,1,9")
    assert rows(decoded) == [(0, 0, "a", 1, 2.0), (0, 5, "a", 6, 8.0), (1, 0, "b", 1, 9.0)]
    found = letters(decoded)
    assert [letter[:3] for letter in found] == [
        (0, 1, "not-csv"),
        (0, 2, "wrong-type"),
        (0, 3, "not-csv"),
        (0, 4, "not-a-time"),
    ]
    assert found[0][3] == "the line has 2 fields, and there are 3 columns"
    assert found[1][3].startswith("t is 'x': not a number")
    assert {letter[2] for letter in found} <= set(CAUSES)


@pytest.mark.parametrize(
    ("payload", "cause", "detail"),
    [
        (None, "tombstone", "the value is null"),
        (b"", "empty", "the value is empty"),
        (b" \r\n", "empty", "the value is empty"),
        (b"a,1,\xff", "not-utf8", "not UTF-8: invalid start byte (byte 4)"),
        (b'a,1,"2', "not-csv", "line 1: unexpected end of data"),
        (b'a,1,2\na,2,"3"4', "not-csv", "line 2: ',' expected after '\"'"),
        (b'"\0",1,2', "not-csv", "a message with quotes has a zero byte"),
        (b'{"id": "a"}', "not-csv", ""),
    ],
)
def test_what_is_no_csv_is_one_letter(
    by: str, payload: bytes | None, cause: str, detail: str
) -> None:
    decoded = decode(by, b"a,1,2", payload, b"a,3,4")
    assert [row[0] for row in rows(decoded)] == [0, 2]
    [(place, ordinal, why, said)] = letters(decoded)
    assert (place, ordinal, why) == (1, 0, cause)
    assert detail in said


def test_a_message_of_very_many_lines_is_one_letter(by: str) -> None:
    most = b"a,1,2\n" * MOST_READINGS
    decoded = decode(by, most, most + b"a,1,2", b"b,1,2")
    assert len(decoded.readings) == MOST_READINGS + 1
    assert [letter[:3] for letter in letters(decoded)] == [(1, 0, "too-many-readings")]


@pytest.mark.slow
@pytest.mark.parametrize("line", [b"\n", b"x\n", b'"x"\n', b"x,1,2\n", b'"x",1,2\n'])
def test_memory_stays_within_a_few_times_the_message(by: str, line: bytes) -> None:
    message = line * ((8 << 20) // len(line))
    tracemalloc.start()
    decoded = decode(by, message, max_value_bytes=8 << 20)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(decoded.rejected) == 1
    assert most < 40 * len(message)


def test_messages_that_are_too_long_are_left_unread(by: str) -> None:
    decoded = decode(by, b"a,1,2", b"a,1,2\n" * 5, max_value_bytes=10)
    assert [letter[:3] for letter in letters(decoded)] == [(1, 0, "value-too-long")]


def test_skipped_tombstones_are_counted(by: str) -> None:
    decoded = decode(by, b"a,1,2", None, tombstones="skip")
    assert (decoded.skipped, len(decoded.rejected), len(decoded.readings)) == (1, 0, 1)


def test_several_values_ids_weights_and_what_stands_beside(by: str) -> None:
    names = ["site", "id", "bid", "ask", "n"]
    options = {"value": ["bid", "ask"], "series_id": ["site", "id"], "time": None, "weight": "n"}
    decoded = decode(by, b"x,a,1,2,3\ny,b,4,5,6", names=names, **options)
    assert decoded.readings.values.tolist() == [[1.0, 2.0], [4.0, 5.0]]
    assert list(decoded.readings.series_ids) == ["x/a", "y/b"]
    assert decoded.readings.weights is not None
    assert decoded.readings.weights.tolist() == [3.0, 6.0]
    decoded = decode(by, b"x,1\ny,2", names=["x", "t"], series_id="@key", time=None)
    assert [row[2] for row in rows(decoded)] == ["k", "k"]
    decoded = decode(by, b"a,1,2\nb,1,3", where={"id": ["b"]})
    assert rows(decoded) == [(0, 1, "b", 1, 3.0)]


@pytest.mark.slow
@pytest.mark.parametrize("rest", [{}, {"max_id_bytes": 5}, {"lowest": 0.0}])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_same_bits_as_json(rest: dict[str, Any], data: st.DataObject) -> None:
    finite = st.floats(allow_nan=False, allow_infinity=False, max_value=1e300, min_value=-1e300)
    number = finite | st.none() | st.decimals(-1000, 1000, places=3).map(float)
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)
    readings = st.tuples(texts | st.sampled_from(["a", "b"]), st.integers(0, 10**13), number)
    messages = data.draw(st.lists(st.lists(readings, min_size=1, max_size=3), min_size=1))
    as_json, as_csv = [], []
    for message in messages:
        lines = io.StringIO()
        csv.writer(lines).writerows(
            [[one, at, "" if v is None else repr(v)] for one, at, v in message]
        )
        as_csv.append(lines.getvalue().encode())
        as_json.append(json.dumps([dict(zip(NAMES, one, strict=True)) for one in message]).encode())
    options = {"value": "t", "series_id": "id", "time": "at", **rest}
    n = len(messages)
    by_json = JsonDecoder(DecoderOptions(records="[]", **options)).decode(
        [None] * n, as_json, [7] * n
    )
    assert told(decode("lines", *as_csv, **rest)) == told(by_json)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        assert told(decode("columns", *as_csv, **rest)) == told(by_json)


PIECES = [*',,,\n\n;at1 -."é\ufeff\0', "\r\n", "id", "at", "2.5", "null", "2023-11-14"]
PIECES += ["x,1,2", "x,1,2", "id,at,t", "1e5", "+1"]


@pytest.mark.slow
@given(
    st.lists(st.none() | st.lists(st.sampled_from(PIECES), max_size=12), max_size=8),
    st.sampled_from([[], ["t", "id"]]),
)
@settings(max_examples=300, deadline=None)
def test_by_columns_as_line_by_line(messages: list[list[str] | None], include: list[str]) -> None:
    payloads = [None if one is None else "".join(one).encode() for one in messages]
    payloads += [b"x,1,2"] * len(payloads)
    by_lines = decode("lines", *payloads, include=include)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        by_columns = decode("columns", *payloads, include=include)
    assert told(by_columns) == told(by_lines)
    assert by_columns.skipped == by_lines.skipped


def test_the_case_of_a_file_line_by_line(by: str) -> None:
    """A file, each line a message, as Kafka Connect's source of files writes it: header first."""
    payloads = b"series_id,ts,value", b"kitchen,1700000000000,21.5", b"kitchen,1700000001000,22.5"
    options = {"value": "value", "series_id": "series_id", "time": "ts"}
    decoded = decode(by, *payloads, names=["series_id", "ts", "value"], **options)
    assert rows(decoded) == [
        (1, 0, "kitchen", 1_700_000_000_000, 21.5),
        (2, 0, "kitchen", 1_700_000_001_000, 22.5),
    ]
    assert (decoded.skipped, len(decoded.rejected)) == (1, 0)


def test_many_lines_are_read_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    options = DecoderOptions(value="t", series_id="id", time="at")
    decoder = CsvDecoder(NAMES, options)
    monkeypatch.setattr(decoder, "_read_lines", None)  # which is not to be called
    payloads = BytesColumn.of([b"a,1,2"] * 2_000)
    assert len(decoder.decode(payloads, payloads, [0] * 2_000).readings) == 2_000
    few = BytesColumn.of([b"a,1,2\n" * 9_000] * 2)
    assert len(decoder.decode(few, few, [0] * 2).readings) == 18_000
