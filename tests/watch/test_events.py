"""Events read back from every output format, unit of time, and shape of a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ewma_ops import Readings
from ewma_ops.serde.avro.encoder import AvroEncoder, events_schema
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.schemas import WrittenSchema
from ewma_ops.settings.load import load_tables
from ewma_ops.settings.model import Settings
from ewma_ops.table import SeriesTable
from ewma_ops.watch import events
from ewma_ops.watch.book import Book
from ewma_ops.watch.events import EventReader
from ewma_ops.watch.measures import measures

AT_S = 1_700_000_000


def a_job(**tables: Any) -> Settings:
    own = {"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "output": {"topic": "out"}}
    return load_tables({**own, "input": {"topic": "in"}, "smooth": {"beta": 0.9}, **tables})


def encoded(job: Settings, n: int = 3) -> Sequence[bytes]:
    smoothings, tick = job.smoothing_set, job.input.tick
    values = np.arange(n * smoothings.width, dtype=np.float64).reshape(n, -1)
    times = np.arange(n) * 1000 * tick.per_ms + AT_S * 1000 * tick.per_ms
    readings = Readings.of(
        ["s"] * n, values if smoothings.width > 1 else values[:, 0], times, tick=tick
    )
    smoothed = SeriesTable(smoothings).update(readings)
    if job.output.format == "avro":
        encoder = AvroEncoder(smoothings.names, smoothings.fields, schema_id=lambda _: 7, tick=tick)
        return encoder.encode(smoothed)
    return JsonEncoder(smoothings.names, smoothings.fields).encode(smoothed)


def read(job: Settings, payloads: Sequence[bytes]) -> tuple[EventReader, Readings, list[float]]:
    reader = EventReader(job)
    n = len(payloads)
    kept, found = reader.read([b"s"] * n, payloads, np.zeros(n, np.int64))
    assert kept.tolist() == list(range(n)), reader.example
    return reader, found, reader.seconds(found).tolist()


@pytest.mark.parametrize("n", [3, 3000])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("format_", ["json", "avro"])
def test_every_format_and_unit_reads_back(
    n: int, unit: str, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(
        input={"topic": "in", "time": "ts", "time_unit": unit},
        output={"topic": "out", "format": format_},
        **({"registry": {"url": "http://127.0.0.1:1"}} if format_ == "avro" else {}),
        smooth={"beta": 0.9, "statistics": ["mean", "std", "count"], "min_periods": 2},
    )

    class Registry:
        def schema(self, schema_id: int) -> WrittenSchema:
            assert schema_id == 7
            text = events_schema(job.smoothing_set.names, (), (), job.input.tick)
            return WrittenSchema(text)

    monkeypatch.setattr(events, "build_schemas", lambda _: Registry())
    reader, found, seconds = read(job, encoded(job, n))
    assert reader.keys == ["value", "ewma", "std", "count"]
    assert seconds == [AT_S + i for i in range(n)]
    assert found.values[:, 0].tolist() == list(range(n))
    assert np.isnan(found.values[0, 1])
    assert found.values[1, 1] == pytest.approx(1 / 1.9)
    assert found.values[:, 3].tolist() == list(range(1, n + 1))


def test_several_fields_and_smoothings_and_composites() -> None:
    job = a_job(
        input={"topic": "in", "value": ["bid", "ask.price"]},
        smooth={"fast": {"span": 5, "statistics": ["mean", "sem"]}, "slow": {"composite": "macd"}},
    )
    found = measures(job.smoothing_set)
    assert [one.name for one in found] == [
        "bid fast",
        "bid slow",
        "ask_price fast",
        "ask_price slow",
    ]
    reader, readings, seconds = read(job, encoded(job, 5))
    assert readings.values.shape == (5, len(reader.keys))
    assert reader.keys[found[2].value] == "ask_price"
    assert reader.keys[found[2].average or 0] == "ask_price_fast_ewma"
    assert [one.band for one in found] == [
        "\u00b1 2 standard errors",
        "",
        "\u00b1 2 standard errors",
        "",
    ]
    book = Book(found)
    at = np.array(seconds)
    book.take(readings.series_ids, at, at, readings.values, np.arange(5), 0, is_live=True)
    assert book.columns.measures[2].value[0] == 9.0
    assert book.numbers(2, at, readings.values)[:, 1].tolist() == [1, 3, 5, 7, 9]


def test_scores_of_alarms_are_the_band_and_the_z() -> None:
    rules = {"in_events": True, "false_alarms": "1 per 1000 readings", "level": {}}
    job = a_job(alarms={"topic": "alarms", **rules})
    reader = EventReader(job)
    (one,) = measures(job.smoothing_set, job.event_statistics[len(job.smoothing_set.names) :])
    assert [reader.keys[at or 0] for at in (one.lower, one.upper, one.z)] == [
        "level_lower",
        "level_upper",
        "level_z",
    ]
    assert one.band == "expected"


def test_what_is_no_event_is_counted_with_an_example() -> None:
    reader = EventReader(a_job())
    own = b'{"series_id":"s","time":5,"value":1.5,"ewma":1.25}'
    payloads = [b"{", None, own, b'{"series_id":5}', b"[]", b'{"time":1e99}']
    kept, _ = reader.read([b"s"] * 6, payloads, np.zeros(6, np.int64))
    assert [payloads[i] for i in kept.tolist()] == [own]
    assert reader.unreadable == 5
    assert reader.example
