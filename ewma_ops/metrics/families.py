"""The Prometheus families that several rooms fill; names and buckets are a contract.

Importing this registers them. The tables in docs/metrics.md list every family of the program,
those that one room alone fills too, and a test compares it with what is registered. No label may
ever hold a series id: a million series would be a million time series in Prometheus.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, Counter, Gauge

from ewma_ops.metrics.collectors import LateGauge, Snapshots, Stages, Tables
from ewma_ops.metrics.histogram import ColumnHistogram, NewestMoment

__all__ = [
    "EVENTS",
    "INPUT_PARTITIONS",
    "LAST_RECORD",
    "READINGS",
    "SNAPSHOTS",
    "STAGES",
    "TABLES",
    "acknowledged",
    "written",
]

_BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
_LAG_BOUNDS_MS = (*_BOUNDS_MS, 300_000, 3_600_000, 86_400_000)

READINGS = Counter("ewma_ops_readings", "Readings taken in.")
EVENTS = Counter("ewma_ops_events", "Events made, one for each reading that was admitted.")
INPUT_PARTITIONS = LateGauge(
    "ewma_ops_input_partitions",
    "Input partitions that a worker reads: none where there are more workers.",
)
LAST_RECORD = Gauge(
    "ewma_ops_last_record_timestamp_seconds",
    "Timestamp of the newest record that was read of an input partition.",
    ["topic", "partition"],
)
STAGES = Stages(("decode", "route", "update", "encode", "write"))
SNAPSHOTS = Snapshots(_BOUNDS_MS)
TABLES = Tables()

_EVENT_LAG = ColumnHistogram(
    "ewma_ops_event_lag_seconds",
    "Age of readings, by their event times, when their events are written.",
    _LAG_BOUNDS_MS,
)
_LATENCY = ColumnHistogram(
    "ewma_ops_latency_seconds",
    "Time from the timestamp of a record until its event is acknowledged.",
    _BOUNDS_MS,
    some_unknown=True,
)
_LAST_EVENT = NewestMoment(
    "ewma_ops_last_event_timestamp_seconds",
    "Newest event time among the events made last.",
    _EVENT_LAG,
)

for _collector in (INPUT_PARTITIONS, STAGES, SNAPSHOTS, TABLES, _EVENT_LAG, _LATENCY, _LAST_EVENT):
    REGISTRY.register(_collector)


def written(times: NDArray[np.int64], per_ms: int) -> None:
    """Measure the lag of events that are being written.

    Parameters
    ----------
    times
        int64[n] event times since the epoch, in ticks.
    per_ms
        How many ticks are a millisecond.
    """
    _EVENT_LAG.observe_since(_now_ms(), times, per_ms)


def acknowledged(appended_ms: NDArray[np.int64], _: object = None) -> None:
    """Measure the latency of events that were just acknowledged.

    Parameters
    ----------
    appended_ms
        int64[n] timestamps of the records that they were made from; -1 where one has none.
    """
    _LATENCY.observe_since(_now_ms(), appended_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
