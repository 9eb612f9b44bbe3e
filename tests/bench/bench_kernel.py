"""Each statistic, field and decay against the mean alone: updates per second, bytes per series.

python -m tests.bench.bench_kernel
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from ewma_ops.decay import Decay
from ewma_ops.readings import Readings
from ewma_ops.smoothing import STATISTICS, Smoothing
from ewma_ops.table import SeriesTable

READINGS = 20_000
SERIES = 4_000
ROUNDS = 15

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
    """Return the time of one run through all tables, and the bytes of state per series."""
    tables = [SeriesTable(smoothing, fields=fields) for smoothing in smoothings]
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for table in tables:
            table.update(readings)
        times.append(time.perf_counter() - began)
    columns = [c for table in tables for c in table.snapshot().columns.values()]
    return min(times), sum(column.nbytes for column in columns) / SERIES


def main() -> None:
    """Print the table."""
    readings = _readings()
    for decay in (Decay(beta=0.9), Decay(halflife="5s")):
        alone, size = _seconds([Smoothing(decay)], readings)
        print(f"{decay!r}: mean {READINGS / alone:12,.0f}/s {size:4.0f} bytes a series")
        for name in STATISTICS[1:]:
            fields = ["a", "b"] if name in ("cov", "corr") else 1
            if name == "rate" and not decay.by_time:
                continue
            smoothing = Smoothing(decay, statistics=["mean", name])
            given = _readings(2) if fields != 1 else readings
            seconds, size = _seconds([smoothing], given, fields)
            print(f"  + {name:12} {alone / seconds:5.2f} of the speed {size:4.0f} bytes")
        for weighting in ("volume", "last", "next", "linear"):
            if weighting != "volume" and not decay.by_time:
                continue
            smoothing = Smoothing(decay, weighting=weighting)
            seconds, size = _seconds([smoothing], readings)
            print(f"  by {weighting:12} {alone / seconds:5.2f} of the speed {size:4.0f} bytes")
    three = {f"d{span}": Smoothing(Decay(span=span)) for span in (5, 12, 26)}
    together, size = _seconds([three], readings)
    apart, _ = _seconds(list(three.values()), readings)
    print(f"three decays in one pass: {apart / together:.2f} times three passes, {size:.0f} bytes")
    pair, size = _seconds([Smoothing(Decay(beta=0.9))], _readings(2), ["bid", "ask"])
    one, _ = _seconds([Smoothing(Decay(beta=0.9))], readings)
    print(f"two fields in one pass: {one / pair:.2f} of the speed of one, {size:.0f} bytes")


if __name__ == "__main__":
    main()
