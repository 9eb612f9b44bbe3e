"""What a season costs: CPU beside mean and line, memory, and from which turn on columns pay.

Turns are cut smaller and larger than `_SMALLEST_TURN`; the figures of both ways are printed.
Run ``python -m tests.bench.bench_seasons [--series 1000000]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
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


def compare(series: int, hours: int = 28) -> None:
    tables = {name: SeriesTable(smoothing) for name, smoothing in ASKED.items()}
    spent = dict.fromkeys(tables, 0.0)
    for k in range(hours):
        readings = hour(series, k)
        for name, table in tables.items():
            before = time.process_time()
            table.update(readings)
            spent[name] += (time.process_time() - before) * (k > 3)
    for name, seconds in spent.items():
        each = seconds / (hours - 4) / series * 1e9
        print(f"{name:8} {each:7.0f} ns a reading, {seconds / spent['mean']:.2f} times the mean")


def turns() -> None:
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
    compare(10_000)
    turns()
    memory(series)


if __name__ == "__main__":
    main()
