"""Run lengths of the spread chart against the published value, a Markov chain, and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.run_lengths import spike_limit
from ewma_ops.monitor.spread_run_lengths import spread_limit_for, spread_run_length
from tests.oracles import markov


def test_the_spread_chart() -> None:
    assert spread_run_length(1.661865, 0.025) == pytest.approx(249.9997, abs=2e-4)  # Knoth 2005
    limit = spread_limit_for(250, 0.025)
    assert limit == pytest.approx(1.661865, abs=1.01e-6)


def test_the_spread_chart_against_simulated_ones() -> None:
    alpha, charts = 0.1, 4_000
    limit = spread_limit_for(40, alpha)
    top = 1 + limit * math.sqrt(2 * alpha / (2 - alpha))
    random = np.random.default_rng(11)
    spread, first = np.ones(charts), np.zeros(charts)
    for t in range(1, 1000):
        spread += alpha * (random.standard_normal(charts) ** 2 - spread)
        first[(spread > top) & (first == 0)] = t
    assert (first > 0).all()
    assert abs(first.mean() - 40) < 4 * first.std() / math.sqrt(charts)


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(
    alpha=st.floats(0.05, 0.95), power=st.floats(1.2, 5.5), growth=st.sampled_from([1.0, 1.5, 3.0])
)
def test_run_lengths_agree_with_a_markov_chain(alpha: float, power: float, growth: float) -> None:
    limit = spread_limit_for(10.0**power, alpha)
    found = spread_run_length(limit, alpha, growth)
    assert found == pytest.approx(markov.spread_run_length(limit, alpha, growth), rel=3e-3)
    if growth == 1.0:
        assert found == pytest.approx(10.0**power, rel=1e-5)


@pytest.mark.parametrize("alpha", [1e-4, 1e-3, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("run_length", [500, 1e5, 1e9])
def test_a_limit_has_the_run_length_that_was_asked_for(alpha: float, run_length: float) -> None:
    limit = spread_limit_for(run_length, alpha)
    assert spread_run_length(limit, alpha) == pytest.approx(run_length, rel=1e-4)


def test_single_squares_are_the_spike_chart() -> None:
    """With alpha = 1 the chart is beyond its limit as often as a normal reading beyond a root."""
    for run_length in (50, 500, 1e6):
        limit = spread_limit_for(run_length, 1.0)
        assert math.sqrt(1 + limit * math.sqrt(2.0)) == pytest.approx(
            spike_limit(run_length), abs=1e-5
        )
    assert spread_run_length(24.0 / math.sqrt(2.0), 1.0) == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((500, 0.0), "alpha is 0 .* from 0.0001 to 1"),
        ((4, 0.1), "4 readings per false alarm: a spread rule with alpha 0.1 needs 7.72 at least"),
        ((1.5, 0.1), "1.5 readings per false alarm: a limit is computed for 2 to 1e\\+09"),
        ((2e6, 1.0), "2e\\+06 readings per false alarm are too many .* clips readings at 5"),
    ],
)
def test_limits_out_of_bounds(arguments: tuple[float, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spread_limit_for(*arguments)


def test_run_lengths_out_of_bounds() -> None:
    with pytest.raises(ConfigError, match="limit is 0: it must be a positive number"):
        spread_run_length(0.0, 0.1)
    with pytest.raises(ConfigError, match="growth is 0: it must be a positive number"):
        spread_run_length(2.0, 0.1, 0.0)
