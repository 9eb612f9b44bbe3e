"""The tables of statistics and of states: complete, in agreement, and the same for every way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.columns.event_names import is_whole
from ewma_ops.columns.readings import Readings
from ewma_ops.stats import ops
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.states import STATES, columns_of
from ewma_ops.stats.statistics import OF_READING, PAIRED, STATISTICS
from ewma_ops.table.table import SeriesTable
from tests.oracles import naive

DECAY = Decay(halflife="5s")
NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf])
GAPS = st.integers(0, 10**12) | st.integers(0, 10**4)


def bits(value: Any) -> bytes:
    """Return the bits of a number, those of every NaN alike."""
    number = np.float64(value)
    return b"nan" if np.isnan(number) else number.tobytes()


@given(NUMBERS, NUMBERS)
def test_operations_on_columns_and_numbers_have_the_same_bits(x: float, y: float) -> None:
    columns, numbers = ops.of_columns(DECAY), ops.of_numbers(DECAY)
    for name in ("maximum", "minimum"):
        found = getattr(columns, name)(np.array([x]), np.array([y]))[0]
        if x == y == 0.0:
            continue  # which of 0.0 and -0.0 is greater, IEEE 754 leaves open
        assert bits(found) == bits(getattr(numbers, name)(x, y)), name
    assert bits(columns.sqrt(np.array([abs(x)]))[0]) == bits(numbers.sqrt(abs(x)))
    for condition in (True, False):
        found = columns.where(np.array([condition]), np.array([x]), np.array([y]))[0]
        assert bits(found) == bits(numbers.where(condition, x, y))
    assert columns.all(np.array([x])) == numbers.all(x)


@given(GAPS)
def test_operations_on_gaps_have_the_same_bits(gap_ms: int) -> None:
    columns, numbers = ops.of_columns(DECAY), ops.of_numbers(DECAY)
    for name in ("retention", "lapse", "lean"):
        found = getattr(columns, name)(np.array([gap_ms]))[0]
        assert bits(found) == bits(getattr(numbers, name)(gap_ms)), name


def test_every_statistic_has_a_definition_and_a_description() -> None:
    # The oracles count themselves; the season has one of its own, `tests.oracles.seasons`.
    assert set(STATISTICS) == {*naive.STATISTICS, "count", "season"}
    for name in STATISTICS:
        assert f'``"{name}"``' in str(Smoothing.__doc__), name


@pytest.mark.parametrize("name", STATISTICS)
def test_what_a_statistic_needs_is_kept_for_it(name: str) -> None:
    statistic = STATISTICS[name]
    assert set(statistic.needs) <= set(STATES)
    ahead: dict[str, Any] = {"horizon": "1s", "fixed_lag": "1s", "season": "day"}
    smoothing = Smoothing(DECAY, statistics=["mean", *({name} - {"mean"})], **ahead)
    assert set(statistic.needs) <= set(columns_of(smoothing, smoothing.needs, 2))


def test_a_state_depends_only_on_those_before_it_in_the_table() -> None:
    names = list(STATES)
    for place, (name, state) in enumerate(STATES.items()):
        assert set(state.reads) <= set(names[:place]), name
        assert state.step is None or state.tally is None, name


def test_whole_statistics_are_those_that_are_never_a_fraction() -> None:
    draw = np.random.default_rng(1)
    names = [name for name in STATISTICS if name not in PAIRED]
    times = np.cumsum(draw.integers(1, 9_000, 300)) - draw.integers(0, 5_000, 300)
    readings = Readings.of(["s"] * 300, draw.normal(size=300), times)
    ahead: dict[str, Any] = {"horizon": "1s", "fixed_lag": "1s", "season": "20s"}
    smoothing = Smoothing(DECAY, statistics=names, **ahead, season_phases=4)
    found = SeriesTable(smoothing).update(readings).statistics
    for name, column in found.items():
        defined = column[~np.isnan(column)]
        assert is_whole(name) == bool((defined == np.rint(defined)).all()), name
    assert not any(map(is_whole, PAIRED))


def test_statistics_are_of_a_field_a_pair_or_a_reading() -> None:
    assert set(PAIRED) == {"cov", "cov_biased", "corr"}
    assert set(OF_READING) == {"count", "n_eff", "settled", "rate", "revision", "lag"}
