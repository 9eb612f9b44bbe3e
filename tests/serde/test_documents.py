"""Documents of any format to columns: paths, record fields, types, and rejections alone."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from ewma_ops.columns.rejections import Rejections
from ewma_ops.serde.decoder import Decoded, Decoder
from ewma_ops.serde.format import CAUSES, Format
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions

HUGE = pytest.param(10**5000, "id-too-long", id="huge")


class AsTheyAre(Format):
    """A format whose payloads are places in a list of documents."""

    def __init__(self, documents: list[Any]) -> None:
        self._documents = documents

    def document(self, payload: bytes) -> Any:
        return self._documents[int(payload)]


def decode(*documents: Any, **options: Any) -> Decoded:
    decoder = Decoder(AsTheyAre(list(documents)), DecoderOptions(**options))
    payloads = [None if one is None else b"%d" % i for i, one in enumerate(documents)]
    return decoder.decode([b"k"] * len(documents), payloads, np.full(len(documents), 7))


def value(found: Any, **options: Any) -> float:
    decoded = decode({"series_id": "a", "value": found}, **options)
    assert not decoded.rejected, decoded.rejected
    return float(decoded.readings.values[0])


def why(document: Any, **options: Any) -> tuple[str, str]:
    """Reject a document between two good ones, which must come through."""
    good = {"series_id": "a", "value": 1, "t": 5}
    decoded = decode(good, document, good, **options)
    assert decoded.kept.tolist() == [0, 2]
    [rejection] = decoded.rejected
    assert rejection.at == 1
    assert rejection.cause in CAUSES
    assert len(rejection.detail) < 300
    return rejection.cause, rejection.detail


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (1, 1.0),
        (1.5, 1.5),
        (Decimal("0.1"), 0.1),
        (Fraction(1, 3), 1 / 3),
        (2**70, 2.0**70),
        (Decimal("1e-400"), 0.0),
    ],
)
def test_numbers_of_every_type(found: Any, expected: float) -> None:
    assert value(found) == expected


@pytest.mark.parametrize("found", [None, math.nan, Decimal("nan")])
def test_missing_readings(found: Any) -> None:
    assert math.isnan(value(found))


@pytest.mark.parametrize("found", [math.inf, Decimal("-inf"), Decimal("1e400"), 10**400])
def test_infinite_values_enter_only_where_they_are_asked_for(found: Any) -> None:
    assert why({"series_id": "a", "value": found})[0] == "out-of-range"
    assert math.isinf(value(found, infinite=True))


@pytest.mark.parametrize("found", ["1", True, [1], {}, b"1", Decimal("snan"), date(2026, 1, 1)])
def test_what_is_no_number(found: Any) -> None:
    assert why({"series_id": "a", "value": found})[0] == "wrong-type"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (5, 5),
        (5.0, 5),
        (Decimal(5), 5),
        ("1970-01-01T00:00:01Z", 1000),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc), 1000),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (datetime(1970, 1, 1, 0, 0, 1), 1000),  # noqa: DTZ001  # what a format may give
        (date(1970, 1, 2), 86_400_000),
    ],
)
def test_times_of_every_type(found: Any, expected: int) -> None:
    decoded = decode({"series_id": "a", "value": 1, "t": found}, time="t")
    assert decoded.readings.times_ms is not None
    assert decoded.readings.times_ms.tolist() == [expected]


@pytest.mark.parametrize(
    ("found", "cause"),
    [(None, "no-time"), (True, "wrong-type"), ([], "wrong-type"), ("x", "not-a-time")],
)
def test_what_is_no_time(found: Any, cause: str) -> None:
    assert why({"series_id": "a", "value": 1, "t": found}, time="t")[0] == cause


@pytest.mark.parametrize(
    ("found", "expected"),
    [("s", "s"), (7, "7"), (UUID(int=1), "00000000-0000-0000-0000-000000000001")],
)
def test_ids_of_every_type(found: Any, expected: str) -> None:
    assert decode({"series_id": found, "value": 1}).readings.series_ids == [expected]


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (None, "no-series-id"),
        ("", "no-series-id"),
        (1.5, "wrong-type"),
        (True, "wrong-type"),
        HUGE,
    ],
)
def test_what_is_no_id(found: Any, cause: str) -> None:
    assert why({"series_id": found, "value": 1})[0] == cause


@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        ("v", {"v": 1}, 1.0),
        ("a.b", {"a": {"b": 1}}, 1.0),
        ("a.b", {"a": None}, math.nan),
        ("a.b", {}, math.nan),
        ('"a.b"', {"a.b": 1, "a": {"b": 2}}, 1.0),
        ("a[1]", {"a": [1, 2]}, 2.0),
        ("a[2]", {"a": [1, 2]}, math.nan),
        ("a[0].b", {"a": [{"b": 3}]}, 3.0),
        ("[1]", [1, 2], 2.0),
        ("[1][0].x", [0, [{"x": 4}]], 4.0),
        ("@value", 5.5, 5.5),
    ],
)
def test_paths_in_documents(path: str, document: Any, expected: float) -> None:
    decoded = decode(document, value=path, series_id=None)
    assert not decoded.rejected
    np.testing.assert_array_equal(decoded.readings.values, [expected])


@pytest.mark.parametrize(
    ("path", "document", "detail"),
    [
        ("a.b", {"a": 1}, "a.b cannot be read: 1 is not an object"),
        ("v", [1], "v cannot be read: [1] is not an object"),
        ("v", 5, "v cannot be read: 5 is not an object"),
        ("a[0]", {"a": {}}, "a[0] cannot be read: {} is not an array"),
        ("a[0]", {"a": "text"}, "a[0] cannot be read: 'text' is not an array"),
    ],
)
def test_paths_that_lead_nowhere(path: str, document: Any, detail: str) -> None:
    good = [0] if isinstance(document, list) else {"v": 1, "a": {"b": 1}}
    decoded = decode(document, value=path, series_id=None)
    assert [tuple(one) for one in decoded.rejected] == [(0, "wrong-type", detail)]
    assert good != document


def test_a_document_that_is_none_harms_no_other() -> None:
    decoded = decode({"series_id": "a", "value": 1}, None, {"series_id": "b", "value": 2})
    assert decoded.readings.series_ids == ["a", "b"]
    assert decoded.rejected == Rejections.of({1: ("tombstone", "the value is null")})


def of_record(series_id: str | list[str], *, value: str = "value", **record: Any) -> Decoded:
    options = DecoderOptions(value=value, series_id=series_id, time=record.pop("time", None))
    decoder = JsonDecoder(options)
    key = record.pop("key", b"k")
    return decoder.decode([key], [b'{"value":1}'], [record.pop("timestamp_ms", 7)], **record)


@pytest.mark.parametrize(
    ("path", "record", "expected"),
    [
        ("@key", {"key": b"s1"}, "s1"),
        ("@key.sensor", {"key": b'{"sensor":"s2"}'}, "s2"),
        ("@key.s[0]", {"key": b'{"s":[7]}'}, "7"),
        ("@header.id", {"headers": [[("id", b"a"), ("x", b"y"), ("id", b"b")]]}, "b"),
        ("@header.é", {"headers": [[("é", "ü".encode())]]}, "ü"),
        ("@partition", {"partitions": np.array([3], np.int32)}, "3"),
        ("@topic", {"topics": ["t"]}, "t"),
        ("@timestamp", {"timestamp_ms": 12}, "12"),
    ],
)
def test_fields_of_the_record_as_an_id(path: str, record: dict[str, Any], expected: str) -> None:
    assert of_record(path, **record).readings.series_ids == [expected]


@pytest.mark.parametrize(
    ("path", "record", "expected"),
    [("@header.id", {"headers": [[("id", b"a")]]}, "a"), ("@topic", {"topics": ["t"]}, "t")],
)
def test_an_id_of_several_parts(path: str, record: dict[str, Any], expected: str) -> None:
    decoded = of_record(["@key", path], **record)
    assert decoded.readings.series_ids == [f"k/{expected}"]


def test_the_partition_as_a_value() -> None:
    assert of_record("@key", value="@partition", partitions=[3]).readings.values.tolist() == [3.0]


@pytest.mark.parametrize(
    ("path", "record", "cause"),
    [
        ("@key.sensor", {"key": None}, "no-series-id"),
        ("@key.sensor", {"key": b"plain"}, "not-json"),
        ("@key.sensor", {"key": b"\xff"}, "not-utf8"),
        ("@key.sensor", {"key": b"[" * 100_000}, "not-json"),
        ("@key.sensor", {"key": b"[]"}, "wrong-type"),
        ("@key.sensor", {"key": b"{}"}, "no-series-id"),
        ("@header.id", {"headers": None}, "no-series-id"),
        ("@header.id", {"headers": [[("id", None)]]}, "no-series-id"),
        ("@header.id", {"headers": [[("id", b"\xff")]]}, "not-utf8"),
        ("@timestamp", {"timestamp_ms": -1}, "no-series-id"),
    ],
)
def test_fields_of_the_record_that_are_none(path: str, record: dict[str, Any], cause: str) -> None:
    assert [one.cause for one in of_record(path, **record).rejected] == [cause]


def test_the_records_timestamp_and_key_by_their_paths() -> None:
    decoded = of_record("@key", time="@timestamp", timestamp_ms=9)
    assert decoded.readings.times_ms is not None
    assert (decoded.readings.series_ids, decoded.readings.times_ms.tolist()) == (["k"], [9])


def test_a_time_in_a_header() -> None:
    headers = [[("at", b"1970-01-01T00:00:01Z")]]
    decoded = of_record("@key", time="@header.at", headers=headers)
    assert decoded.readings.times_ms is not None
    assert decoded.readings.times_ms.tolist() == [1000]
