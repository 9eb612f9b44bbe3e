"""How many workers, shards and partitions a job needs, and what memory and disk they take.

Knows measurements of workers, and measures the state of a series; must not know topics or
the engine. `docs/growing.md` gives the source of each figure.
"""

from __future__ import annotations

import time
from math import ceil, inf, log10
from typing import NamedTuple

import numpy as np

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError
from ewma_ops.monitor.rules import AlarmRules
from ewma_ops.operators.placement import WORKERS
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

__all__ = ["Plan", "StateSizes", "further_us", "plan", "state_sizes"]

_CPU_US = ((3.0, 1.0), (5.0, 1.5), (6.0, 2.1))
"""CPU microseconds per message, all threads of a worker, by log10 of its number of series."""

_BUSY = 0.5
"""Share of a core: a worker can then read twice as fast, to catch up after a stop."""

_MOST_WORKERS = 90
_ALIGNED = tuple(n for n in range(1, _MOST_WORKERS + 1) if WORKERS % n == 0)
"""Numbers of workers for which shards are placed where their partitions are read."""

_LEAST_SHARDS = 16
_ROOM = 4
"""How many partitions and shards per worker, to leave room for more workers."""

_WORKER_MB, _LAUNCHER_MB = 170.0, 80.0
"""Memory of a worker, with up to 64 MiB that it reads ahead, and of the launcher."""

_MEMORY_FACTOR = 2.8
"""Resident memory for each byte of state: growth by doubling, snapshots, the allocator."""

_STORE_FACTOR = 3.0
"""The recovery directory holds two snapshots, and space that SQLite has not released."""

_SAMPLE = 4_096
_TIMED = 8_192
_ROUNDS = 3


class StateSizes(NamedTuple):
    """Bytes that a series takes: in memory, with its id and the index, and in a snapshot."""

    memory: float
    snapshot: float


class Plan(NamedTuple):
    """What a job needs; megabytes are of 10^6 bytes.

    ``busy`` is the share of a core that each worker keeps busy, and ``most_per_worker`` how many
    readings a second one takes with all of a core, at ``cpu_us`` microseconds each, of which
    ``further_us`` are for what is computed beyond a mean; ``memory_mb`` is of each worker;
    ``snapshot_mb`` of all shards together, ``store_mb`` the recovery directory, and
    ``written_mb_s`` what is written to it on average, if every shard has readings in every epoch.
    """

    rate: float
    series: int
    workers: int
    shards: int
    partitions: int
    busy: float
    most_per_worker: float
    cpu_us: float
    further_us: float
    cores: float
    memory_mb: float
    launcher_mb: float
    snapshot_mb: float
    store_mb: float
    written_mb_s: float


def plan(
    rate: float,
    series: int,
    sizes: StateSizes,
    interval_s: float = 10.0,
    further_us: float = 0.0,
) -> Plan:
    """Return what a job needs.

    Parameters
    ----------
    rate
        Readings a second, > 0, all partitions together, at the busiest time.
    series
        How many there are, >= 1.
    sizes
        Of the state of a series.
    interval_s
        Seconds between two snapshots, > 0.
    further_us
        CPU microseconds a reading for what is computed beyond a mean, >= 0.

    Raises
    ------
    ConfigError
        If one job cannot take so much.

    Examples
    --------
    >>> found = plan(500_000, 2_000_000, StateSizes(75.0, 25.0))
    >>> found.workers, found.shards, found.partitions
    (3, 24, 12)
    """
    for workers in _ALIGNED:
        cpu_us = _cpu_us(series / workers) + further_us
        cores = rate * cpu_us / 1e6
        if cores <= _BUSY * workers:
            break
    else:
        raise ConfigError(
            f"{rate:,.0f} readings a second keep {cores:,.0f} cores busy: more than {workers} "
            "workers with half a core each; split the topic over several jobs"
        )
    partitions = _ROOM * workers
    snapshot_mb = series * sizes.snapshot / 1e6
    return Plan(
        rate=rate,
        series=series,
        workers=workers,
        shards=partitions * ceil(_LEAST_SHARDS / partitions),
        partitions=partitions,
        busy=cores / workers,
        most_per_worker=1e6 / cpu_us,
        cpu_us=cpu_us,
        further_us=further_us,
        cores=cores,
        memory_mb=_WORKER_MB + _MEMORY_FACTOR * series / workers * sizes.memory / 1e6,
        launcher_mb=_LAUNCHER_MB,
        snapshot_mb=snapshot_mb,
        store_mb=_STORE_FACTOR * snapshot_mb,
        written_mb_s=snapshot_mb / interval_s,
    )


def _cpu_us(series: float) -> float:
    """Interpolate the measurements; beyond them extrapolate, because caches hold ever less."""
    logs, costs = zip(*_CPU_US, strict=True)
    at = log10(max(series, 1.0))
    if at > logs[-1]:
        rise = (costs[-1] - costs[-2]) / (logs[-1] - logs[-2])
        return float(costs[-1] + rise * (at - logs[-1]))
    return float(np.interp(at, logs, costs))


def state_sizes(
    smoothing_set: SmoothingSet, alarms: AlarmRules | None = None, id_bytes: int = 16
) -> StateSizes:
    """Measure the state of a series on a table of a few thousand, with uncompressed ids.

    Parameters
    ----------
    smoothing_set, alarms
        What is computed.
    id_bytes
        Length of an id, >= 4. The ids of the sample differ only in the number at their end.
    """
    table = SeriesTable(smoothing_set, alarms=alarms)
    for minute in range(3):
        table.update(_made_up(smoothing_set, _SAMPLE, 1, minute, id_bytes))
    _, columns = table.snapshot().plain()
    stored = sum(len(c) if isinstance(c, bytes) else c.nbytes for c in columns.values())
    return StateSizes(table.nbytes / _SAMPLE, stored / _SAMPLE)


def further_us(smoothing_set: SmoothingSet, alarms: AlarmRules | None, series: int) -> float:
    """Measure, on this machine, what statistics and rules cost beyond a mean.

    Parameters
    ----------
    smoothing_set, alarms
        What is computed.
    series
        How many there are, >= 1: of few, many readings of each come together.

    Returns
    -------
    CPU microseconds a reading; 0 for a mean.
    """
    mean = SmoothingSet.of(Smoothing(Decay(beta=0.9)))
    return max(_update_us(smoothing_set, alarms, series) - _update_us(mean, None, series), 0.0)


def _update_us(smoothing_set: SmoothingSet, alarms: AlarmRules | None, series: int) -> float:
    """Return the CPU microseconds a reading of a table whose series are all there."""
    count = min(series, _SAMPLE)
    each = _TIMED // count
    table, least = SeriesTable(smoothing_set, alarms=alarms), inf
    for batch in range(1 + _ROUNDS):
        readings = _made_up(smoothing_set, count, each, batch * each)
        began = time.process_time()
        table.update(readings)
        if batch:  # the first one adds the series
            least = min(least, time.process_time() - began)
    return 1e6 * least / (count * each)


def _made_up(
    smoothing_set: SmoothingSet, series: int, each: int, minute: int, id_bytes: int = 16
) -> Readings:
    """Return readings of each series for some minutes from one on, within the bounds of values."""
    count, width = series * each, smoothing_set.width
    ids = [f"{i:0{id_bytes}d}" for i in range(series)] * each
    shape = (count,) if width == 1 else (count, width)
    values = np.clip(np.random.default_rng(minute).normal(20.0, 1.0, shape), *smoothing_set.bounds)
    times = 60_000 * np.repeat(np.arange(minute, minute + each), series)
    return Readings(ids, values, times, weights=np.ones(count))  # if any needs them
