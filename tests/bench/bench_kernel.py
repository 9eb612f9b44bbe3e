"""Each statistic, field and decay against the mean alone: updates per second, bytes per series.

python -m tests.bench.bench_kernel
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from statistics import median
from typing import Any

import numpy as np

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError
from ewma_ops.job.allocator import keep_freed_memory
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.statistics import PAIRED, STATISTICS
from ewma_ops.table import table as table_module
from ewma_ops.table.table import SeriesTable

READINGS = 20_000
SERIES = 4_000
ROUNDS = 9
TURNS = 5

Smoothings = Smoothing | Mapping[str, Smoothing]


def _readings(width: int = 1) -> Readings:
    draw = np.random.default_rng(1)
    ids = [f"s{k}" for k in draw.integers(0, SERIES, READINGS).tolist()]
    values = draw.normal(0, 1, READINGS) if width == 1 else draw.normal(0, 1, (READINGS, width))
    times = np.cumsum(draw.integers(0, 100, READINGS))
    return Readings.of(ids, values, times, draw.uniform(0, 5, READINGS))


def _seconds(
    smoothings: Sequence[Smoothings], readings: Readings, fields: Sequence[str] | int = 1
) -> tuple[float, float]:
    """Return the CPU time of the best run through all tables, and the bytes per series."""
    tables = [SeriesTable(smoothing, fields=fields) for smoothing in smoothings]
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for table in tables:
            table.update(readings)
        times.append(time.process_time() - began)
    columns = [c for table in tables for c in table.snapshot().columns.values()]
    return min(times), sum(column.nbytes for column in columns) / len(tables[0])


def _against(
    first: tuple[Sequence[Smoothings], Readings, Sequence[str] | int],
    second: tuple[Sequence[Smoothings], Readings, Sequence[str] | int],
) -> tuple[float, float, float, float]:
    """Return lowest, middle and highest of first / second in time, and the bytes of the second."""
    ratios, size = [], 0.0
    for _ in range(TURNS):  # in turns, so that what else the machine does falls on both
        one, _ = _seconds(*first)
        other, size = _seconds(*second)
        ratios.append(one / other)
    return min(ratios), median(ratios), max(ratios), size


def _tell(what: str, found: tuple[float, float, float, float]) -> None:
    low, middle, high, size = found
    print(f"  {what:26} {middle:5.2f} ({low:.2f} to {high:.2f}) {size:4.0f} bytes a series")


_OPTIONS: dict[str, dict[str, Any]] = {
    "start_up uncorrected": {"start_up": "uncorrected"},
    "start_up first": {"start_up": "first"},
    "start_up simple": {"start_up": "simple", "start_n": 5},
    "start_up prior": {"start_up": "prior", "prior": 0.0, "prior_weight": 1.0},
    "missing decay": {"missing": "decay"},
    "min_weight": {"min_weight": 0.5},
    "weighting volume": {"weighting": "volume"},
    "weighting last": {"weighting": "last"},
    "weighting next": {"weighting": "next"},
    "weighting linear": {"weighting": "linear"},
}


def _configurations(decay: Decay) -> Iterator[tuple[str, Smoothing]]:
    """Name every statistic and option that goes with the decay."""
    single = [name for name in list(STATISTICS)[1:] if name not in PAIRED]
    asked: dict[str, dict[str, Any]] = {
        **{name: {"statistics": ["mean", name]} for name in single},
        "all of one field": {"statistics": [s for s in STATISTICS if s in ("mean", *single)]},
        **_OPTIONS,
    }
    if not decay.by_time:
        asked.pop("rate")
        asked["all of one field"]["statistics"].remove("rate")
    asked["level and trend"] = {"statistics": ["mean", "level", "trend"]}
    horizon = "10s" if decay.by_time else 10
    for name, options in asked.items():
        options = {"horizon": horizon, "fixed_lag": horizon, **options}
        with suppress(ConfigError):  # they do not go together
            yield name, Smoothing(decay, **options)


def _batches() -> None:
    """Print the cost of small batches by columns, and of their readings one by one."""
    hour, decay = 3_600_000, Decay(halflife="6h")
    of_season: dict[str, Any] = {"horizon": "3h", "season": "day"}
    asked = {
        "mean": Smoothing(decay),
        "mean and std": Smoothing(decay, statistics=["mean", "std"]),
        "level and trend": Smoothing(decay, statistics=["mean", "level", "trend"]),
        "season": Smoothing(decay, statistics=["mean", "season", "forecast"], **of_season),
    }
    for (name, smoothing), size in product(asked.items(), (8, 12, 16, 24, 36, 48, 72, 96)):
        ids, found = [f"s{k}" for k in range(size)], []
        for smallest in (1, 1 << 30):
            table_module._SMALLEST_BATCH = smallest
            table, times = SeriesTable(smoothing), []
            for k in range(100):
                readings = Readings.of(ids, np.sin(np.arange(size) + k), np.full(size, k * hour))
                began = time.process_time_ns()
                table.update(readings)
                times.append((time.process_time_ns() - began) / size / 1e3)
            found.append(median(times[50:]))
        columns, single = found
        print(f"  {name:16} {size:3} readings: {columns:5.1f} us each, {single:5.1f} one by one")


def main() -> None:
    """Print the table."""
    keep_freed_memory()  # as a worker does
    readings, pairs = _readings(), _readings(2)
    fields = ["a", "b"]
    for decay in (Decay(beta=0.9), Decay(halflife="5s")):
        alone = ([Smoothing(decay)], readings, 1)
        both = ([Smoothing(decay)], pairs, fields)
        seconds, size = _seconds(*alone)
        print(f"{decay!r}: the mean alone {READINGS / seconds:,.0f}/s, {size:.0f} bytes a series")
        print("of the speed of the mean alone:")
        for name, smoothing in _configurations(decay):
            _tell(name, _against(alone, ([smoothing], readings, 1)))
        _tell("a second field", _against(alone, both))
        print("of the speed of the means of two fields:")
        for name in PAIRED:
            smoothing = Smoothing(decay, statistics=["mean", name])
            _tell(name, _against(both, ([smoothing], pairs, fields)))
    three = {f"d{span}": Smoothing(Decay(span=span)) for span in (5, 12, 26)}
    apart = (list(three.values()), readings, 1)
    print("speed of one pass against three:")
    _tell("three decays", _against(apart, ([three], readings, 1)))
    print("batches by columns:")
    _batches()


if __name__ == "__main__":
    main()
