"""The public API as a user writes it: never run, checked by mypy strict.

A change that breaks this file breaks users: their code, or their type checker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import bytewax.operators as op
import numpy as np
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow, Stream
from bytewax.operators import KeyedStream
from bytewax.testing import TestingSource
from numpy.typing import NDArray
from typing_extensions import assert_type

import ewma_ops
import ewma_ops.operators as ew
from ewma_ops import (
    Composite,
    Decay,
    EwmaError,
    History,
    Reading,
    Readings,
    SeriesTable,
    Smoothed,
    SmoothedReading,
    Smoothing,
    bollinger,
    composites,
    dema,
    history,
    macd,
    risk_metrics,
    tema,
    testing,
)
from ewma_ops.connectors import (
    KafkaSink,
    KafkaSource,
    create_topic,
    part_key,
    partition_count,
)
from ewma_ops.errors import (
    BrokerError,
    ConfigError,
    CorruptBatch,
    DeliveryError,
    DiskError,
    ReadingError,
    RefusedError,
    RegistryError,
    StateError,
    TopicError,
)
from ewma_ops.monitor import (
    AlarmRules,
    Bounds,
    Change,
    Design,
    Flat,
    Frozen,
    Given,
    Level,
    Spike,
    Spread,
    Stale,
    Transition,
    Transitions,
    design,
)
from ewma_ops.table import TableSnapshot
from ewma_ops.testing import Record, Result, read_records, run_dataflow, run_job


def decays() -> list[Decay]:
    by_count = [Decay(beta=0.9), Decay(alpha=0.1), Decay(span=9), Decay(com=9), Decay(tau=10)]
    by_time = [Decay(halflife="5min"), Decay(halflife=timedelta(minutes=5)), Decay(tau="5min")]
    assert_type(by_count[0].beta, float)
    assert_type(by_time[0].by_time, bool)
    return [*by_count, *by_time]


def smoothings() -> dict[str, Smoothing | Composite]:
    average = Smoothing(Decay(beta=0.9), "uncorrected", statistics=["mean", "std"])
    return {
        "plain": average,
        "ahead": Smoothing(
            Decay(halflife="5min"), statistics=["mean", "forecast"], horizon="1h", coverage=0.8
        ),
        "bounded": Smoothing(Decay(span=9), lowest=0, highest=100, out_of_range="clip"),
        "pandas": Smoothing.like_pandas(span=9, adjust=False),
        "polars": Smoothing.like_polars_by("4d"),
        "talib": Smoothing.like_talib_ema(12),
        "adam": Smoothing.like_adam(0.999, ["mean", "mean_square"]),
        "dema": dema(average),
        "tema": tema(average),
        "macd": macd(fast=12, slow=26, signal=9, start_up="first"),
        "bollinger": bollinger(Smoothing(Decay(span=20)), widths=2),
        "volatility": risk_metrics(),
        "the same": composites.macd(),
    }


def by_columns(snapshot: TableSnapshot | None) -> NDArray[np.float64]:
    table = SeriesTable(smoothings(), snapshot, fields=["bid", "ask"])
    smoothed = table.update(Readings.of(["a", "a"], [[1.0, 2.0], [3.0, 4.0]], [0, 1000]))
    assert_type(smoothed, Smoothed)
    assert_type(smoothed.readings, Readings)
    assert_type(table.snapshot(), TableSnapshot)
    assert_type(table.evict(before_ms=0), int)
    assert_type("a" in table, bool)
    return smoothed.statistics["bid_plain_mean"]


def by_readings() -> tuple[float, ...]:
    table = SeriesTable(Smoothing(Decay(halflife="1s")))
    table.correct("a", old=1.0, new=2.0, time_ms=0)
    table.retract("a", 2.0, 0)
    table.merge(SeriesTable(Smoothing(Decay(halflife="1s"))))
    return table.step("a", 1.0, time_ms=1000)


def keyed(flow: Dataflow) -> KeyedStream[SmoothedReading]:
    values = [("a", 1.0), ("a", None)]
    up = op.input("in", flow, TestingSource(values))
    smoothed = ew.smooth(
        "smooth", up, Smoothing(Decay(beta=0.9)), warm_start=History("past.parquet")
    )
    op.output("out", op.map("show", smoothed, shown), StdOutSink())
    return smoothed


def shown(item: tuple[str, SmoothedReading]) -> str:
    series_id, reading = item
    assert_type(reading.time_ms, int | None)
    return f"{series_id}: {reading.ewma} {reading.statistics.get('std')}"


def timed(flow: Dataflow, now: datetime) -> KeyedStream[SmoothedReading]:
    pairs = op.input("pairs", flow, TestingSource([("a", (now, 1.0))]))
    ew.smooth("pairs", pairs, Smoothing(Decay(halflife="1s")))
    readings = op.input("readings", flow, TestingSource([("a", Reading(1.0, 5, weight=2.0))]))
    return ew.smooth("timed", readings, macd(), shards=4)


def columns(flow: Dataflow, past: Iterable[Readings]) -> Stream[Smoothed]:
    up = op.input("columns", flow, TestingSource([Readings.of(["a"], [1.0])]))
    return ew.smooth_batches("smooth", up, Smoothing(Decay(beta=0.9)), shards=8, warm_start=past)


def watched(flow: Dataflow) -> KeyedStream[Transition]:
    values = op.input("watched", flow, TestingSource([("a", 1.0)]))
    return ew.watch("watch", values, AlarmRules.of({"hot": Bounds(above=30.0)}))


def kafka(flow: Dataflow) -> str:
    client = {"bootstrap_servers": "127.0.0.1:9092"}
    create_topic(client, "readings", partitions=4)
    assert_type(partition_count(client, "readings"), int)
    source = KafkaSource(client, "readings", group_id="smoother", stop="end")
    records = op.input("source", flow, source)
    assert records is not None
    several = KafkaSource(client, ["readings", "more"], group_id="smoother")
    assert several.list_parts()
    sink = KafkaSink(client, "smoothed", delivery="at-least-once")
    assert_type(sink.partitions, int)
    return part_key(3)


def alarms() -> float:
    hot = Bounds(above=30.0, clear_above=28.0, for_=3, severity="critical")
    level = Level(false_alarms="1 per week", readings="100 per s", series=["plant1/*"])
    rules = AlarmRules.of(
        {"level": level, "spike": Spike(limit=6.0), "hot": hot, "stuck": Flat(repeats=60)},
        in_events=True,
    )
    assert_type(rules.names, tuple[str, ...])
    known = Spike(limit=5.0, baseline=Given(mean=21.5, std=0.4))
    assert_type(known.limit, float | None)
    assert_type(Level(limit=4.0, season="week", utc_offset="+05:30").season, str)
    assert_type(Stale(gaps=5, least="1min").gaps, float)
    assert_type(Spread(false_alarms="1 per 500 readings", gap="10s").direction, str)
    assert_type(Level(limit=4.0, baseline=Frozen(readings=500)).memory, str)
    assert_type(Change(limit=5.0, per="1min").limit, float)
    assert_type(Transitions.of_none().series_ids, Sequence[str])
    found: Design = design(Decay(beta=0.9), 500, exact=True)
    assert_type(found.limit, float)
    assert_type(design(Decay(beta=0.9), 500, kind="spread").limits, str)
    return found.delays[1.0]


def errors() -> list[type[EwmaError]]:
    found = [BrokerError, ConfigError, CorruptBatch, DeliveryError, DiskError]
    try:
        history.History("absent.parquet")
    except EwmaError as error:
        assert_type(error.retry, bool)
        print(ewma_ops.__version__, error.fault)
    found += [ReadingError, RefusedError, RegistryError]
    return [*found, StateError, TopicError]


def own_tests(flow: Dataflow) -> None:
    records = testing.timed([*read_records("messages.jsonl"), {"id": "a"}, b"?", "?"], 0, "1min")
    result = run_job("smooth.toml", records)
    assert_type(result, Result)
    assert_type(result.events, list[Record])
    assert_type(run_job({"kafka": {}}, [Record(b"1")]).causes, list[str])
    run_dataflow(flow, {"in": [("a", 1.0)]}, batch_size=2)
