"""A baseline by single readings, by runs, by rounds and compiled: the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops import Decay, Smoothing
from ewma_ops.compiled import library
from ewma_ops.monitor.baseline import Baseline
from ewma_ops.monitor.forecast import Forecast
from ewma_ops.monitor.memory import Memory
from ewma_ops.monitor.tracking import NUMBERS, Arrivals, Tracker
from ewma_ops.monitor.variance_chart import VarianceChart
from ewma_ops.stats.line import Line

BASELINES = [
    Baseline(Decay(beta=0.8), Decay(beta=0.98), 20),
    Baseline(Decay(halflife="10s"), Decay(halflife="100s"), 30),
]

LINES = [
    Line(Smoothing(Decay(beta=0.8), statistics=["mean", "level"], outlook="level")),
    Line(Smoothing(Decay(halflife="10s"), statistics=["mean", "level"], trend_halflife="1min")),
]

TRACKERS = [
    *BASELINES,
    *map(VarianceChart, BASELINES),
    VarianceChart(Memory(BASELINES[0], 100, 20)),
    *(Forecast(inner, line) for inner, line in zip(BASELINES, LINES, strict=True)),
    Forecast(Memory(BASELINES[0], 100, 20), LINES[0]),
    VarianceChart(Forecast(BASELINES[0], LINES[1])),  # by reading, of a line by time
]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(TRACKERS), st.integers(0, 2**32), st.integers(1, 60))
def test_every_way_gives_the_same_bits(tracker: Tracker, seed: int, series: int) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 1_500))
    rows = random.integers(0, series, n)
    values = random.normal(0, 1, n) * np.where(random.random(n) < 0.02, 1e9, 1.0)
    values[rows == 1] = 5.0
    gaps = random.integers(-2_000, 20_000, n) * np.where(random.random(n) < 0.01, 10**9, 1)
    gaps[np.unique(rows, return_index=True)[1]] = 0  # frozen: learned from the first readings
    given_gaps = gaps if tracker.by_time else None

    singly = [[initial] * series for _, _, initial in tracker.columns]
    seen = []
    for row, value, gap in zip(rows.tolist(), values.tolist(), gaps.tolist(), strict=True):
        by = tracker.factors(gap, columns=False)
        state, one = tracker.step(NUMBERS, [column[row] for column in singly], value, by)
        for column, number in zip(singly, state, strict=True):
            column[row] = number
        seen.append(one)
    for kernels in {None, library.kernels}:
        columns = [np.full(series, initial, dtype) for _, dtype, initial in tracker.columns]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(library, "kernels", kernels)
            found = Arrivals(rows).track(tracker, columns, values, given_gaps)
        for after, numbers in zip(columns, singly, strict=True):
            np.testing.assert_array_equal(after, np.array(numbers))
        for name, known in found._asdict().items():
            np.testing.assert_array_equal(known, [getattr(one, name) for one in seen], name)


@pytest.mark.skipif(library.kernels is None, reason=library.missing)
def test_columns_that_do_not_fit_together_are_refused() -> None:
    tracker = BASELINES[0]
    columns = [np.full(3, initial, dtype) for _, dtype, initial in tracker.columns]
    with pytest.raises(ValueError, match="do not fit together"):
        Arrivals(np.array([3])).track(tracker, columns, np.ones(1), None)
    with pytest.raises(ValueError, match="do not fit together"):
        Arrivals(np.array([1])).track(tracker, columns, np.ones(2), None)
