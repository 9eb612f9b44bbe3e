"""Families that are computed when scraped: time by stage, snapshots, the size of tables.

Knows durations, sizes and the time; must not know what is timed, or what a table holds.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ewma_ops.metrics.histogram import ColumnHistogram

__all__ = ["Snapshots", "Stage", "Stages", "Tables"]


class Stage:
    """The time spent in one stage of the flow in this process; one thread adds to it."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Add the time of a batch."""
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
        """Yield the families; without samples if a value is not known yet."""
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


class LateGauge:
    """A gauge without a sample until its value is known."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._value: float | None = None

    def set(self, value: float) -> None:
        """Set the value."""
        self._value = value

    def collect(self) -> Iterator[Metric]:
        """Yield the family."""
        family = GaugeMetricFamily(self._name, self._documentation)
        if self._value is not None:
            family.add_metric([], self._value)
        yield family


class RuleCounts(Protocol):
    """What a table has counted for one alarm rule.

    ``judged`` is the number of readings it was applied to; ``run_length`` is how many readings per
    false alarm it is designed for, ``None`` without a design.
    """

    @property
    def rule(self) -> str: ...
    @property
    def limit(self) -> float | None: ...
    @property
    def run_length(self) -> float | None: ...
    @property
    def judged(self) -> int: ...
    @property
    def active(self) -> Mapping[str, int]: ...


class _Table(Protocol):
    @property
    def nbytes(self) -> int: ...

    @property
    def alarm_counts(self) -> Sequence[RuleCounts]: ...

    def __len__(self) -> int: ...


class Tables:
    """How many series the tables of this process hold, and in how much memory."""

    def __init__(self) -> None:
        self._tables: weakref.WeakValueDictionary[int, _Table] = weakref.WeakValueDictionary()

    def add(self, table: _Table) -> None:
        """Include a table for as long as it lives."""
        self._tables[id(table)] = table

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        tables = list(self._tables.values())
        texts: Mapping[str, tuple[str, int]] = {
            "ewma_ops_series": ("Series whose state is kept.", sum(map(len, tables))),
            "ewma_ops_state_bytes": (
                "Memory of the state of all series, with their ids.",
                sum(table.nbytes for table in tables),
            ),
        }
        for name, (documentation, value) in texts.items():
            yield GaugeMetricFamily(name, documentation, value=value)
        yield from _of_alarms([counts for table in tables for counts in table.alarm_counts])


def _of_alarms(counts: Sequence[RuleCounts]) -> Iterator[Metric]:
    """Yield the alarms that are on now, and how many false ones the rules are designed for."""
    active = GaugeMetricFamily(
        "ewma_ops_alarms_active", "Alarms that are on.", labels=["rule", "severity"]
    )
    expected = CounterMetricFamily(
        "ewma_ops_expected_false_alarms",
        "False alarms to expect so far, by the design of a rule.",
        labels=["rule"],
    )
    limit = GaugeMetricFamily(
        "ewma_ops_alarm_limit", "The limit of a rule, in standard errors.", labels=["rule"]
    )
    on: Counter[tuple[str, str]] = Counter()
    due: dict[str, float] = {}
    for one in counts:
        on.update({(one.rule, severity): n for severity, n in one.active.items()})
        if one.run_length is not None:
            due[one.rule] = due.get(one.rule, 0.0) + one.judged / one.run_length
    for (rule, severity), n in on.items():
        active.add_metric([rule, severity], n)
    for rule, false_alarms in due.items():
        expected.add_metric([rule], false_alarms)
    for rule, own in {one.rule: one.limit for one in counts}.items():
        if own is not None:
            limit.add_metric([rule], own)
    yield from (active, expected, limit)
