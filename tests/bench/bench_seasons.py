"""What a season costs: CPU beside mean and line, memory, and from which turn on columns pay.

Turns are taken where there are no compiled loops. They are cut smaller and larger than
`_SMALLEST_TURN`; the figures of both ways are printed.
Run ``python -m tests.bench.bench_seasons [--series 1000000]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

import numpy as np

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.compiled import library
from ewma_ops.job.allocator import keep_freed_memory
from ewma_ops.stats import batch_plan
from ewma_ops.table import smoothing_state

HOUR_MS = 3_600_000
DECAY = Decay(halflife="6h")
SEASON = Smoothing(
    DECAY, statistics=["mean", "level", "season", "forecast"], horizon="3h", season="day"
)
ASKED = {
    "mean": Smoothing(DECAY),
    "line": Smoothing(DECAY, statistics=["mean", "level", "trend"]),
    "season": SEASON,
}


def hour(series: int, k: int) -> Readings:
    """Return one reading of each series, in the k-th hour."""
    values = np.random.default_rng(k).normal(20.0, 1.0, series)
    return Readings.of([f"s{i}" for i in range(series)], values, np.full(series, k * HOUR_MS))


def scattered(k: int) -> Readings:
    """Return 2,000 readings of any of 1,000 series, in the k-th hour."""
    random = np.random.default_rng(k)
    ids = [f"s{i}" for i in random.integers(0, 1000, 2000)]
    return Readings.of(ids, random.normal(20.0, 1.0, 2000), k * HOUR_MS + np.arange(2000))


def compare(what: str, batches: Sequence[Readings]) -> None:
    """Print the median of the second half of some batches."""
    tables = {name: SeriesTable(smoothing) for name, smoothing in ASKED.items()}
    spent: dict[str, list[float]] = {name: [] for name in tables}
    for readings in batches:
        for name, table in tables.items():
            before = time.process_time_ns()
            table.update(readings)
            spent[name].append((time.process_time_ns() - before) / len(readings))
    each = {name: median(times[len(times) // 2 :]) for name, times in spent.items()}
    for name, ns in each.items():
        print(f"{what}: {name:8} {ns:7.0f} ns a reading, {ns / each['mean']:.2f} times the mean")


def turns() -> None:
    library.kernels, batch_plan._SMALLEST_ROUND = None, 1
    for size in (6, 8, 10, 12, 16, 28):
        found = []
        for most in (1, 1 << 60):
            smoothing_state._SMALLEST_TURN = most
            table, best = SeriesTable(SEASON), float("inf")
            for batch in range(4):
                hours = [hour(size, batch * 20 + k) for k in range(20)]
                readings = Readings.concat(hours)
                before = time.process_time()
                table.update(readings)
                best = min(best, time.process_time() - before)
            found.append(best / 20 / size * 1e6)
        print("turns of {}: {:.1f} us by columns, {:.1f} one by one".format(size, *found))


def memory(series: int) -> None:
    table = SeriesTable(SEASON)
    for k in (0, 24, 25):
        table.update(hour(series, k))
    print(f"{series:,} series: {table.nbytes / series:.0f} bytes each, with ids and index")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100_000)
    series = parser.parse_args(arguments).series
    keep_freed_memory()  # as a worker does
    compare("2,000 of 1,000 series", [scattered(k) for k in range(80)])
    for n in (10_000, series):
        compare(f"{n:,} series", [hour(n, k) for k in range(40)])
    memory(series)
    turns()


if __name__ == "__main__":
    main()
