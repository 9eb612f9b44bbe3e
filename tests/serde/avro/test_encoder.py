"""Events in Avro, read back by fastavro."""

from __future__ import annotations

import io
import json
import math
from typing import Any
from unittest.mock import patch

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops import Readings, Smoothed
from ewma_ops.errors import ConfigError
from ewma_ops.serde.avro import encoder as encoder_module
from ewma_ops.serde.avro.encoder import AvroEncoder, events_schema

STATISTICS = ["std", "mean", "count"]
numbers = st.floats(allow_infinity=True, allow_nan=True)
counts = st.integers(0, 2**50) | st.just(math.nan)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


def read(event: bytes, schema: str) -> Any:
    data = io.BytesIO(event)
    assert data.read(5) == b"\0\0\0\0\x07"
    parsed = json.loads(schema)
    parsed["fields"][1]["type"] = "long"
    found = fastavro.schemaless_reader(data, fastavro.parse_schema(parsed), None)
    assert not data.read()
    return found


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(texts, st.integers(-(2**45), 2**50), numbers, numbers, numbers, counts),
        min_size=1,
        max_size=30,
    )
)
def test_fastavro_reads_the_bits_that_were_written(rows: list[tuple[Any, ...]]) -> None:
    ids, times, bids, asks, means, ns = (list(column) for column in zip(*rows, strict=True))
    values = np.array([bids, asks]).T
    readings = Readings(ids, values, np.array(times, np.int64))
    statistics = {"mean": np.array(means), "std": np.array(bids), "count": np.array(ns, float)}
    encoder = AvroEncoder(STATISTICS, ["bid", "ask"], schema_id=lambda _: 7)
    events = encoder.encode(Smoothed(readings, statistics))
    with patch.object(encoder_module, "_FEW", 0):
        assert list(encoder.encode(Smoothed(readings, statistics))) == events
    assert len(events) == len(rows)
    for event, row in zip(events, rows, strict=True):
        found = read(event, encoder.schema)
        series_id, time_ms, bid, ask, mean, n = row
        expected = [series_id, time_ms, bid, ask, mean, bid, n]
        assert list(found) == ["series_id", "time", "bid", "ask", "ewma", "std", "count"]
        for one, wanted in zip(found.values(), expected, strict=True):
            if isinstance(wanted, float):
                wanted = None if math.isnan(wanted) else wanted
                assert str(one) == str(wanted)
            assert one == wanted
        assert len(event) + len(series_id.encode()) <= encoder.largest(len(series_id.encode()))


def test_fields_that_are_passed_through_are_text_or_null() -> None:
    included = [b'"unit":"\\u00b0C","site":{"a":[1]}', b'"unit":null,"site":1.5', b'"unit":""']
    readings = Readings(["a", "b", "c"], np.ones(3), np.arange(3), included=included)
    encoder = AvroEncoder(["mean"], include=["unit", "site"], schema_id=lambda _: 7)
    events = encoder.encode(Smoothed(readings, {"mean": np.ones(3)}))
    with patch.object(encoder_module, "_FEW", 0):
        assert list(encoder.encode(Smoothed(readings, {"mean": np.ones(3)}))) == events
    found = [(one["unit"], one["site"]) for one in (read(e, encoder.schema) for e in events)]
    assert found == [("°C", '{"a":[1]}'), (None, "1.5"), ("", None)]


def test_the_id_is_asked_for_once_and_not_before_there_are_events() -> None:
    asked: list[int] = []

    def schema_id(_: str) -> int:
        asked.append(1)
        return 300

    encoder = AvroEncoder(["mean"], schema_id=schema_id)
    assert not asked
    smoothed = Smoothed(Readings.of(["a"], [1.0], [5]), {"mean": np.array([1.0])})
    assert encoder.encode(smoothed)[0] == encoder.encode(smoothed)[0]
    assert asked == [1]
    assert encoder.encode(smoothed)[0].startswith(b"\0\0\0\x01\x2c")


def test_names_that_avro_has_not_are_refused() -> None:
    for fields, said in (
        (["größe"], "is not a valid field name"),
        (["2x"], "is not a valid field name"),
        (["time"], "two keys"),
    ):
        with pytest.raises(ConfigError, match=said):
            events_schema(["mean"], fields)


def test_a_statistic_can_be_added_to_a_subject() -> None:
    fields = json.loads(events_schema(["mean", "std"]))["fields"]
    assert all(field["default"] is None for field in fields[2:])
