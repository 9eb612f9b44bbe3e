"""What a million series cost: resident memory, snapshot, and the time to resume from it.

python -m tests.bench.bench_memory
"""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np

from ewma_ops.decay import Decay
from ewma_ops.readings import Readings
from ewma_ops.smoothing import Smoothing
from ewma_ops.table import SeriesTable

SERIES = 1_000_000
RUN = 50_000

SMOOTHING = Smoothing(Decay(beta=0.9))


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _feed(table: SeriesTable, rounds: int) -> None:
    values = np.random.default_rng(1).normal(size=RUN)
    for _ in range(rounds):
        for at in range(0, SERIES, RUN):
            table.update(Readings.of([f"series-{i}" for i in range(at, at + RUN)], values))


def main() -> None:
    """Print the figures."""
    before = _resident_mb()
    table = SeriesTable(SMOOTHING)
    _feed(table, 1)
    print(f"{SERIES:,} series: {_resident_mb() - before:,.0f} MB resident")
    once = len(pickle.dumps(table.snapshot()))
    _feed(table, 4)
    began = time.perf_counter()
    pickled = pickle.dumps(table.snapshot())
    print(f"snapshot: {time.perf_counter() - began:.2f} s, {len(pickled) / 1e6:.1f} MB")
    print(f"after 1 and after 5 readings a series: {once:,} and {len(pickled):,} bytes")
    began = time.perf_counter()
    SeriesTable(SMOOTHING, pickle.loads(pickled))
    print(f"resumed in {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
