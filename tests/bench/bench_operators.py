"""The operators against Bytewax's own ``op.stateful_map`` with the same arithmetic.

python -m tests.bench.bench_operators
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow, Stream
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, run_main

import ewma_ops.operators as ew
from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.states import columns_of

READINGS = 1_000_000
COLUMNS = 50_000
ROUNDS = 3
SMOOTHING = Smoothing(Decay(beta=0.9))

State = tuple[float, float]


class _Nowhere(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        pass


class _NowhereSink(DynamicSink[Any]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nowhere:
        return _Nowhere()


def _by_hand(state: State | None, x: float) -> tuple[State, float]:
    v, power = (0.0, 1.0) if state is None else state
    v = 0.9 * v + (1.0 - 0.9) * x
    power *= 0.9
    return (v, power), v / (1.0 - power)


def _rate(items: list[Any], batch_size: int, step: Callable[[Stream[Any]], Stream[Any]]) -> float:
    flow = Dataflow("bench")
    up = op.input("in", flow, TestingSource(items, batch_size=batch_size))
    op.output("out", step(up), _NowhereSink())
    start = time.perf_counter()
    run_main(flow)
    return READINGS / (time.perf_counter() - start)


_OUTLOOKS = {
    "level and trend": ["mean", "level", "trend"],
    "and a forecast with bounds": ["mean", "level", "trend", "forecast_lower", "forecast_upper"],
}


def outlook(readings: int = READINGS) -> None:
    """Print the CPU of an outlook over that of the mean alone, in turns, and the state it takes."""
    draw = np.random.default_rng(1)
    columns = [
        Readings.of(
            [f"s{k}" for k in draw.integers(0, 10_000, COLUMNS).tolist()],
            draw.normal(size=COLUMNS),
            at * 60_000 + np.sort(draw.integers(0, 60_000, COLUMNS)),
        )
        for at in range(readings // COLUMNS)
    ]
    for decay, horizon in ((Decay(beta=0.9), 10), (Decay(halflife="5min"), "10min")):
        mean = Smoothing(decay)
        print(f"{decay!r}: CPU over that of the mean alone, {_state_bytes(mean)} bytes a series")
        for what, names in _OUTLOOKS.items():
            asked = Smoothing(decay, statistics=names, horizon=horizon)
            ratios = [_cpu(columns, asked) / _cpu(columns, mean) for _ in range(ROUNDS)]
            least, most = min(ratios), max(ratios)
            print(
                f"  {what:28} {median(ratios):.2f} ({least:.2f} to {most:.2f}), "
                f"{_state_bytes(asked)} bytes a series"
            )


def _cpu(columns: list[Readings], smoothing: Smoothing) -> float:
    flow = Dataflow("bench")
    up = op.input("in", flow, TestingSource(columns, batch_size=1))
    op.output("out", ew.smooth_batches("step", up, smoothing), _NowhereSink())
    start = time.process_time()
    run_main(flow)
    return time.process_time() - start


def _state_bytes(smoothing: Smoothing) -> int:
    return 8 * sum(max(1, one.depth) for one in columns_of(smoothing, smoothing.needs, 1).values())


def main() -> None:
    """Print the tables."""
    outlook()
    print("series   batch    stateful_map     ew.smooth        ew.smooth_batches (50,000 a batch)")
    for series in (1_000, 100_000):
        draw = random.Random(1)
        pairs = [(f"s{draw.randrange(series)}", draw.random()) for _ in range(READINGS)]
        columns = [
            Readings.of([i for i, _ in run], [x for _, x in run])
            for run in (pairs[at : at + COLUMNS] for at in range(0, READINGS, COLUMNS))
        ]
        for batch_size in (1, 1_000, 10_000):
            rates: list[tuple[float, float, float]] = [
                (
                    _rate(pairs, batch_size, lambda up: op.stateful_map("step", up, _by_hand)),
                    _rate(pairs, batch_size, lambda up: ew.smooth("step", up, SMOOTHING)),
                    _rate(columns, 1, lambda up: ew.smooth_batches("step", up, SMOOTHING)),
                )
                for _ in range(ROUNDS)
            ]
            plain, items, batches = (median(column) for column in zip(*rates, strict=True))
            print(
                f"{series:7,} {batch_size:6,} {plain:12,.0f}/s {items:12,.0f}/s "
                f"({items / plain:4.1f}x) {batches:12,.0f}/s ({batches / plain:4.1f}x)"
            )


if __name__ == "__main__":
    main()
