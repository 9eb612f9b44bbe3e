"""How far a mean lags behind, and the level some time ago by all readings since."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.errors import ConfigError

Floats = NDArray[np.float64]


def smooth(values: Any, smoothing: Smoothing, times: Any = None) -> dict[str, Floats]:
    return SeriesTable(smoothing).update(Readings.of(["a"] * len(values), values, times)).statistics


def test_after_the_start_the_lag_is_beta_over_alpha() -> None:
    asked = Smoothing(Decay(beta=0.9), statistics=["mean", "lag"])
    found = smooth(np.zeros(400), asked)["lag"]
    assert found[:3] == pytest.approx([0.0, 0.9 / 1.9, (0.9 + 2 * 0.81) / 2.71])
    assert found[-1] == pytest.approx(9.0)


def test_by_time_it_is_in_seconds() -> None:
    """Readings a second apart, whose weights halve each second: ages 0, 1, 2 weigh 4, 2, 1."""
    asked = Smoothing(Decay(halflife="1s"), statistics=["mean", "lag"], outlook="level")
    found = smooth([5.0, 6.0, 7.0], asked, [0, 1_000, 2_000])["lag"]
    assert found == pytest.approx([0.0, 1 / 3, 4 / 7])


@pytest.mark.parametrize("own", [{}, {"trend_halflife": 20}])
def test_a_line_is_what_it_was_and_the_mean_is_the_line_a_lag_ago(own: dict[str, Any]) -> None:
    values = 3.0 + 0.25 * np.arange(300)
    names = ["mean", "level", "trend", "lag", "smoothed_level"]
    found = smooth(values, Smoothing(Decay(beta=0.8), statistics=names, fixed_lag=7, **own))
    assert found["smoothed_level"][50:] == pytest.approx(values[43:-7])
    assert found["mean"] == pytest.approx(
        found["level"] - found["lag"] * np.nan_to_num(found["trend"])
    )


def kalman(values: Floats, steps: Floats, noise: Floats, lags: list[int]) -> dict[int, Floats]:
    """Return the best estimate of the level so long ago, of a state that moves by ``steps``.

    The state is kept for as many readings as the longest lag: a fixed-lag smoother.
    """
    k, most = len(steps), max(lags)
    move = np.zeros((k + most, k + most))
    move[:k, :k] = steps
    move[k, 0] = 1.0
    move[np.arange(k + 1, k + most), np.arange(k, k + most - 1)] = 1.0
    added = np.zeros_like(move)
    added[:k, :k] = noise
    state, spread = np.zeros(k + most), np.eye(k + most) * 1e4
    state[0] = values[0]
    found = np.empty((len(values), k + most))
    for t, value in enumerate(values.tolist()):
        state, spread = move @ state, move @ spread @ move.T + added
        gain = spread[:, 0] / (spread[0, 0] + 1.0)
        state = state + gain * (value - state[0])
        spread = spread - np.outer(gain, spread[0])
        found[t] = state
    return {lag: found[:, 0 if lag == 0 else k + lag - 1] for lag in lags}


@pytest.mark.parametrize(
    ("name", "beta", "lags"), [("level", 0.96, [0, 2, 5, 8]), ("trend", 0.8, [0, 1, 3, 5])]
)
def test_it_comes_near_the_best_smoother_that_knows_the_model(
    name: str, beta: float, lags: list[int]
) -> None:
    """Of noise about a level, or a trend, that walks; the figures of the guide."""
    random = np.random.default_rng(3)
    n = 4_000
    if name == "level":
        level = np.cumsum(random.normal(0, 0.1, n))
        steps, noise = np.eye(1), np.array([[0.01]])
    else:
        level = np.cumsum(np.cumsum(random.normal(0, np.sqrt(0.001), n)))
        steps, noise = np.array([[1.0, 1.0], [0.0, 1.0]]), np.diag([0.0, 0.001])
    values = level + random.normal(0, 1, n)
    best = kalman(values, steps, noise, lags)
    error: dict[int, float] = {}
    for lag in lags:
        asked = Smoothing(
            Decay(beta=beta),
            statistics=["mean", "level", *(["smoothed_level"] if lag else [])],
            fixed_lag=lag or None,
        )
        found = smooth(values, asked)["smoothed_level" if lag else "level"]

        def rmse(one: Floats, back: int = lag) -> float:
            return float(np.sqrt(((one[300:] - level[300 - back : n - back]) ** 2).mean()))

        error[lag] = rmse(found)
        print(name, lag, round(error[lag], 3), round(rmse(best[lag]), 3))
        assert 1.0 < error[lag] / rmse(best[lag]) < 1.15
    assert error[lags[-1]] < 0.85 * error[0]  # later it is known better


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"statistics": ["mean", "smoothed_level"]}, "fixed_lag is not given"),
        ({"statistics": ["mean", "smoothed_level"], "fixed_lag": 0}, "fixed_lag is 0"),
        ({"statistics": ["mean", "smoothed_level"], "fixed_lag": "5s"}, "fixed_lag is '5s'"),
        (
            {"statistics": ["mean", "smoothed_level"], "fixed_lag": 5, "outlook": "level"},
            "it is the mean",
        ),
        ({"statistics": ["mean", "lag"], "start_up": "first"}, "no times before the first reading"),
    ],
)
def test_mistakes_are_explained(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Smoothing(Decay(beta=0.9), **options)


def test_a_table_of_lags_is_not_one_of_lines() -> None:
    lag = Smoothing(Decay(beta=0.9), statistics=["mean", "lag"])
    line = Smoothing(Decay(beta=0.9), statistics=["mean", "lag", "level"])
    assert lag.fingerprint() != line.fingerprint()
    assert (
        lag.fingerprint()
        == Smoothing(Decay(beta=0.9), statistics=["mean", "lag"], outlook="level").fingerprint()
    )
    near = Smoothing(Decay(beta=0.9), statistics=["mean", "smoothed_level"], fixed_lag=3)
    far = Smoothing(Decay(beta=0.9), statistics=["mean", "smoothed_level"], fixed_lag=30)
    assert near.fingerprint() == far.fingerprint()  # it is of the output alone
