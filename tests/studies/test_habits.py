"""Usual gaps, equal values in a row and memory, against plain loops and theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.studies.habits import Habits
from ewma_ops.studies.segments import by_series


def taken(batches: list[list[tuple[int, float, int]]]) -> Habits:
    habits = Habits()
    for batch in batches:
        rows, values, times = (np.array(column) for column in zip(*batch, strict=True))
        segments = by_series(rows)
        order = segments.order
        habits.take(segments, values[order].astype(float), times[order])
    return habits


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from([1.0, 2.0]), st.integers(0, 9)),
            min_size=1,
            max_size=9,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_longest_run_and_gap(batches: list[list[tuple[int, float, int]]]) -> None:
    habits = taken(batches)
    longest, gap = 0, 0
    last: dict[int, tuple[float, int, int]] = {}
    for row, value, time in [one for batch in batches for one in batch]:
        before, run, when = last.get(row, (None, 0, time))
        run = run + 1 if value == before else 1
        longest, gap = max(longest, run), max(gap, time - when)
        last[row] = (value, run, time)
    assert (habits.longest_run, habits.longest_gap) == (longest, gap)


def test_missing_values_are_not_equal() -> None:
    assert taken([[(0, np.nan, i) for i in range(5)]]).longest_run == 1


def test_usual_gaps() -> None:
    habits = taken([[(0, float(i), 1_000 * i) for i in range(1, 100)], [(0, 0.5, 5_000_000)]])
    assert habits.gap(0.5) == pytest.approx(1_000, rel=0.04)
    assert habits.gap(1.0) == pytest.approx(4_901_000, rel=0.04)
    assert taken([[(0, 1.0, 5)]]).gap(0.5) is None


def test_what_the_hour_says_is_the_variance_between_hours() -> None:
    random = np.random.default_rng(2)
    hours = np.repeat(np.arange(24 * 7 * 5), 3)
    times = hours * 3_600_000 + random.integers(0, 3_600_000, len(hours))
    residuals = 3.0 + np.sin(hours / 24 * 2 * np.pi) + random.normal(0, 1, len(hours))
    residuals[(hours // 24) % 7 == 2] -= 4.0
    residuals[random.random(len(hours)) < 0.1] = np.nan
    habits = Habits()
    for first in range(0, len(hours), 501):
        part = slice(first, first + 501)
        segments = by_series(np.zeros(len(hours[part]), np.intp))
        habits.take_residuals(segments, residuals[part], times[part])
    known = ~np.isnan(residuals)
    own, whole = residuals[known], np.var(residuals[known])
    for season, n in (("day", 24), ("week", 168)):
        of_hour = hours[known] % n
        means = np.array([own[of_hour == hour].mean() for hour in range(n)])[of_hour]
        assert habits.of_the_hour(season) == pytest.approx(np.var(means) / whole, rel=1e-9)
    assert Habits().of_the_hour("day") is None
    short = Habits()
    short.take_residuals(segments, residuals[part], times[part])
    assert short.of_the_hour("week") is None


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.95])
def test_correlation_of_an_autoregressive_series(phi: float) -> None:
    random = np.random.default_rng(1)
    n, series = 20_000, 4
    noise = random.normal(size=(n, series))
    for t in range(1, n):
        noise[t] += phi * noise[t - 1]
    habits = Habits()
    rows = np.tile(np.arange(series), n)
    flat = noise.ravel()
    for first in range(0, len(rows), 7_001):
        segments = by_series(rows[first : first + 7_001])
        habits.take_residuals(segments, flat[first : first + 7_001][segments.order])
    assert habits.correlation == pytest.approx(phi, abs=0.02)
    assert Habits().correlation is None
