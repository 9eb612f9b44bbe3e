"""Families that are computed when somebody asks: time by stage, snapshots, the size of tables.

Knows durations, sizes and the time; must not know what is timed, or what a table holds.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ewma_ops.metrics.histogram import ColumnHistogram

__all__ = ["Snapshots", "Stage", "Stages", "Tables"]


class Stage:
    """The time that one stage of the flow has taken in this process; one thread adds."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Add what a batch has taken."""
        self.seconds += seconds


class Stages:
    """``ewma_ops_stage_seconds_total``: where the flow spends its time."""

    def __init__(self, names: Sequence[str]) -> None:
        self._stages = {name: Stage() for name in names}

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    def collect(self) -> Iterator[Metric]:
        """Yield the family."""
        family = CounterMetricFamily(
            "ewma_ops_stage_seconds", "Time spent in a stage of the flow.", labels=["stage"]
        )
        for name, stage in self._stages.items():
            family.add_metric([name], stage.seconds)
        yield family


class Snapshots:
    """How long snapshots take, how large they are, and when the last one was durable.

    A source says when one begins and when it is durable; shards say how large theirs are.
    """

    def __init__(self, bounds_ms: Sequence[int]) -> None:
        self._took = ColumnHistogram(
            "ewma_ops_snapshot_seconds",
            "Time from the end of an epoch until its snapshot is durable, while nothing is read.",
            bounds_ms,
        )
        self._began: float | None = None
        self._durable_at: float | None = None
        self._bytes: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def began(self) -> None:
        """Note that a snapshot begins; the first part of a source that says so counts."""
        with self._lock:
            if self._began is None:
                self._began = time.monotonic()

    def durable(self) -> None:
        """Note that the snapshot that began is durable everywhere; the first part counts."""
        with self._lock:
            began, self._began = self._began, None
            if began is None:
                return
            self._durable_at = time.time()
        self._took.observe_one(round(1000 * (time.monotonic() - began)))

    def wrote(self, step: int, shard: int, size: int) -> None:
        """Note how many bytes the newest snapshot of a shard of a step has."""
        self._bytes[step, shard] = size

    def collect(self) -> Iterator[Metric]:
        """Yield the families; without samples what is not known yet."""
        yield from self._took.collect()
        size = GaugeMetricFamily(
            "ewma_ops_snapshot_bytes", "Size of the newest snapshots of all shards together."
        )
        if self._bytes:
            size.add_metric([], sum(list(self._bytes.values())))
        yield size
        durable = GaugeMetricFamily(
            "ewma_ops_snapshot_timestamp_seconds", "When the last snapshot became durable."
        )
        if self._durable_at is not None:
            durable.add_metric([], self._durable_at)
        yield durable


class _Table(Protocol):
    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...


class Tables:
    """How many series the tables of this process hold, and in how much memory."""

    def __init__(self) -> None:
        self._tables: weakref.WeakValueDictionary[int, _Table] = weakref.WeakValueDictionary()

    def add(self, table: _Table) -> None:
        """Count a table in for as long as it lives."""
        self._tables[id(table)] = table

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        tables = list(self._tables.values())
        texts: Mapping[str, tuple[str, int]] = {
            "ewma_ops_series": ("Series that state is kept of.", sum(map(len, tables))),
            "ewma_ops_state_bytes": (
                "Memory of the state of all series, with their ids.",
                sum(table.nbytes for table in tables),
            ),
        }
        for name, (documentation, value) in texts.items():
            yield GaugeMetricFamily(name, documentation, value=value)
