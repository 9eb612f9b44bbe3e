"""The decay that predicts best: against theory, and against plain sums of squared errors."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, Smoothing
from ewma_ops.errors import ConfigError
from ewma_ops.studies import tuning as tuning_module
from ewma_ops.studies.tuning import Tuned, Tuning

Floats = NDArray[np.float64]


def walk(q: float, n: int, seed: int = 1) -> Floats:
    """Return noise of variance 1 about a random walk with steps of variance q."""
    random = np.random.default_rng(seed)
    return np.cumsum(random.normal(0, math.sqrt(q), n)) + random.normal(0, 1, n)


def tuned(values: Floats, ids: list[str] | None = None, batch: int = 5_000) -> Tuned:
    tuning = Tuning(Smoothing(Decay(beta=0.9)))
    ids = ["a"] * len(values) if ids is None else ids
    for first in range(0, len(values), batch):
        stop = first + batch
        tuning.take(Readings(ids[first:stop], values[first:stop]))
    (found,) = tuning.result()
    return found


@pytest.mark.parametrize("q", [0.5, 0.04, 0.0025])
def test_theory_of_a_level_that_is_a_random_walk(q: float) -> None:
    """Muth 1960: alpha = (sqrt(q^2 + 4 q) - q) / 2."""
    found = tuned(walk(q, 60_000))
    alpha = 1 - 0.5 ** (1 / found.decay.best)
    theory = (math.sqrt(q * q + 4 * q) - q) / 2
    assert alpha == pytest.approx(theory, rel=0.12)
    low, high = found.decay.interval
    assert low < found.decay.best < high == found.decay.suggested
    assert low < math.log(0.5) / math.log(1 - theory) < high
    assert found.decay.at_edge == ""
    assert found.last_value > 1.05


def test_costs_are_those_of_plain_one_step_errors() -> None:
    """Independent: pandas' mean, shifted by one reading, for each candidate."""
    values = walk(0.1, 2_000)
    found = tuned(values, batch=333)
    series = pd.Series(values)
    rmse = []
    for halflife, _ in found.decay.candidates:
        errors = series - series.ewm(halflife=halflife).mean().shift(1)
        rmse.append(float(np.sqrt((errors**2).mean())))
    costs = [cost for _, cost in found.decay.candidates]
    np.testing.assert_allclose(np.array(costs) / min(costs), np.array(rmse) / min(rmse), rtol=1e-9)
    assert found.given == pytest.approx(
        float(np.sqrt(((series - series.ewm(alpha=0.1).mean().shift(1)) ** 2).mean()))
        / min(rmse) * min(costs)
    )  # fmt: skip
    last = float(np.sqrt((series.diff() ** 2).mean()))
    assert found.last_value == pytest.approx(last / min(rmse) * min(costs))
    assert found.readings == 1_999


def test_scales_of_series_do_not_matter() -> None:
    """A series a million times as large does not outvote the others."""
    small, large = walk(0.04, 20_000, 2), walk(2.0, 2_000, 3) * 1e6
    ids = ["small"] * len(small) + ["large"] * len(large)
    mixed = np.random.default_rng(5).permutation(np.array(ids)).tolist()
    each = {"small": iter(small), "large": iter(large)}
    found = tuned(np.array([next(each[one]) for one in mixed]), mixed)
    alone = tuned(small)
    assert found.series == 2
    assert found.decay.best == pytest.approx(alone.decay.best, rel=0.35)
    assert found.decay.best < alone.decay.best


def test_missing_readings_are_no_errors() -> None:
    values = walk(0.1, 3_000)
    holed = values.copy()
    holed[::7] = np.nan
    found = tuned(holed, batch=100)
    dense = tuned(holed[~np.isnan(holed)])
    assert found.readings == dense.readings
    assert found.decay.best == pytest.approx(dense.decay.best)
    assert found.last_value == pytest.approx(dense.last_value)


def test_a_random_walk_and_a_constant_level_are_at_the_edges() -> None:
    random = np.random.default_rng(6)
    assert tuned(np.cumsum(random.normal(size=4_000))).decay.at_edge == "shortest"
    still = tuned(random.normal(size=2_000))
    assert still.decay.suggested > 200


def test_by_time_finds_the_same_as_by_reading_where_gaps_are_even() -> None:
    values = walk(0.04, 20_000)
    tuning = Tuning(Smoothing(Decay(halflife="1min")), usual_gap_ms=500.0)
    times = np.arange(len(values)) * 500
    tuning.take(Readings(["a"] * len(values), values, times))
    (found,) = tuning.result()
    assert found.by_time
    assert found.decay.best == pytest.approx(500.0 * tuned(values).decay.best, rel=1e-6)


def test_several_fields_are_tuned_apart() -> None:
    tuning = Tuning(Smoothing(Decay(beta=0.9)), ["a", "b"])
    values = np.column_stack([walk(0.5, 9_000), walk(0.0025, 9_000, 2)])
    tuning.take(Readings(["s"] * len(values), np.asfortranarray(values)))
    first, second = tuning.result()
    assert (first.field, second.field) == ("a", "b")
    assert first.decay.best < 2 < 6 < second.decay.best


@pytest.mark.parametrize("values", [[5.0] * 50, [1.0], [math.nan] * 9])
def test_nothing_to_tune_is_an_error(values: list[float]) -> None:
    with pytest.raises(ConfigError, match="nothing to tune"):
        tuned(np.array(values))


def test_by_time_needs_a_gap() -> None:
    with pytest.raises(ConfigError, match="nothing to tune"):
        Tuning(Smoothing(Decay(halflife="1min")), usual_gap_ms=None)


def test_readings_of_too_many_series_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_module, "MOST_SERIES", 2)
    found = tuned(walk(0.5, 900), ["a", "b", "c"] * 300)
    assert (found.series, found.unseen) == (2, 300)


@pytest.mark.parametrize("beta", [0.6, 0.9])
def test_the_line_is_tuned_where_a_trend_is_asked_for(beta: float) -> None:
    """Errors follow Holt's model with the gains that a decay of beta has: theory says beta."""
    level = slope = 0.0
    values = []
    for error in np.random.default_rng(4).normal(0, 1, 20_000).tolist():
        values.append(level + slope + error)
        level, slope = level + slope + (1 - beta**2) * error, slope + (1 - beta) ** 2 * error
    tuning = Tuning(Smoothing(Decay(beta=0.7), statistics=["mean", "trend"]))
    for first in range(0, 20_000, 3_000):
        part = values[first : first + 3_000]
        tuning.take(Readings(["a"] * len(part), np.array(part)))
    (found,) = tuning.result()
    low, high = found.decay.interval
    assert low < math.log(0.5) / math.log(beta) < high
    assert found.of_line
    assert found.last_value > 1.05
    assert not tuned(np.array(values)).of_line


def seasonal(gain: float, n: int, m: int) -> Floats:
    """Draw a level and a season of which these gains are the best: 0.1, and ``gain``."""
    random = np.random.default_rng(3)
    level, season = 20.0, 5.0 * np.sin(2 * np.pi * np.arange(m) / m)
    values = np.empty(n)
    for k in range(n):
        error = random.normal()
        values[k] = level + season[k % m] + error
        level += 0.1 * error
        season[k % m] += gain * error
    return values


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.05, 0.3])
def test_the_half_life_of_a_season_is_found(gain: float) -> None:
    values, m = seasonal(gain, 2_500, 4), 4
    asked = Smoothing(
        Decay(alpha=0.1), statistics=["mean", "forecast"], horizon=1, season=m, outlook="level"
    )
    tuning = Tuning(asked)
    tuning.take(Readings(["a"] * len(values), values))
    (found,) = tuning.result()
    assert not found.of_line
    assert found.season is not None
    low, high = found.season.interval
    assert low < -m / math.log2(1 - gain) < high == found.season.suggested
    assert found.last_value > 1.3
