"""The outlook of a series: as defined, as Holt's, mergeable, and with bounds that hold."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.ops import of_numbers
from ewma_ops.stats.outlook import opening
from ewma_ops.stats.revise import check_mergeable, check_revisable
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from tests.oracles import naive
from tests.oracles.cells import SERIES, assert_close, series_of, smoothing_of

Floats = NDArray[np.float64]

ERRORS = ("forecast_error", "mae", "rmse", "mase")
EVERY = ("level", "lag", "forecast", "forecast_lower", "forecast_upper", *ERRORS)
HOLT = json.loads(
    (Path(__file__).parent.parent / "oracles" / "holt_by_statsmodels.json").read_text()
)


def smoothed(
    values: Any, smoothing: Smoothing, times: Any = None, weights: Any = None
) -> dict[str, Floats]:
    readings = Readings.of(["s"] * len(values), values, times, weights)
    return SeriesTable(smoothing).update(readings).statistics


# By definition --------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["observation", "volume"])
@pytest.mark.parametrize("missing", ["skip", "decay"])
@pytest.mark.parametrize("clock", [{"beta": 0.8, "horizon": 4.0}, {"halflife_ms": 5000.0}])
def test_an_outlook_of_the_level_is_as_defined(
    clock: dict[str, Any], missing: str, weighting: str
) -> None:
    """The line's own is compared in the table of oracles."""
    rules = naive.Rules(missing=missing, weighting=weighting, outlook="level", error_span=7.0)
    rules = replace(rules, coverage=0.8, **{"horizon": 7e9, **clock})
    for kind in ("together", "late"):
        if kind == "late" and rules.halflife_ms is None:
            continue
        for k in range(SERIES):
            times, values, volumes = series_of(kind, k)
            x = values[:, 0]
            series = list(zip(times, x.tolist(), strict=True))
            expected = naive.smooth(series, rules, EVERY, volumes)
            sizes = naive.sizes_of_outlook(series, rules, EVERY, volumes)
            got = smoothed(x, smoothing_of(rules, ["mean", *EVERY]), times, volumes)
            np.testing.assert_array_equal(got["level"], got["mean"])
            for name in EVERY:
                assert_close(got[name], expected[name], np.abs(sizes[name]), f"{name} of {k}")


def test_a_line_is_found_exactly_at_any_gaps() -> None:
    times = np.cumsum([0, 1, 3000, 5, 0, 3_600_000, 7])
    values = 20.0 + 0.25 * times / 1000
    smoothing = Smoothing(
        Decay(halflife="1min"), statistics=["mean", "level", "trend", "forecast"], horizon="1h"
    )
    got = smoothed(values, smoothing, times)
    assert np.isnan(got["trend"][0])
    assert got["forecast"][0] == values[0]
    np.testing.assert_allclose(got["trend"][1:], 0.25, rtol=1e-10)
    np.testing.assert_allclose(got["level"], values, rtol=1e-12)
    np.testing.assert_allclose(got["forecast"][2:], values[2:] + 900.0, rtol=1e-10)


@pytest.mark.parametrize("missing", ["skip", "decay"])
@pytest.mark.parametrize("decay", [Decay(beta=0.8), Decay(halflife="1min")])
def test_a_trend_with_a_decay_of_its_own_is_as_defined(decay: Decay, missing: Any) -> None:
    """The slope by the weights of the trend; given it, the level by those of its own."""
    by_time = decay.by_time
    random = np.random.default_rng(2)
    times = np.cumsum(random.integers(0, 30_000, 200))
    values = random.normal(0, 1, 200).cumsum()
    values[random.random(200) < 0.1] = np.nan
    if by_time:
        times[50:70] -= 60_000  # late
    names = ["mean", "level", "trend", "forecast_error"]
    halflife: Any = "5min" if by_time else 12.0
    asked = Smoothing(decay, missing=missing, statistics=names, trend_halflife=halflife)
    got = smoothed(values, asked, times)
    came = ~np.isnan(values)
    steps = np.cumsum(came | (missing == "decay"))
    for k in range(5, 200):
        seen = came & (np.arange(200) <= k)
        newest = times[seen].max()
        now = max(newest, times[k]) if missing == "decay" else newest
        ages = (now - times[seen]) / 1000 if by_time else (steps[k] - steps[seen]).astype(float)
        fast = 2.0 ** (-ages / 60) if by_time else decay.beta**ages
        slow = 2.0 ** (-ages / (300 if by_time else 12))
        slope = np.polyfit(-ages, values[seen], 1, w=np.sqrt(slow))[0]
        level = (fast * (values[seen] + slope * ages)).sum() / fast.sum()
        assert got["trend"][k] == pytest.approx(slope, rel=1e-9, abs=1e-9)
        assert got["level"][k] == pytest.approx(level, rel=1e-9, abs=1e-9)
    last = int(np.flatnonzero(came)[-1])
    since = (times[last] - times[last - 1]) / 1000 if by_time else 1.0
    if came[last - 1]:
        expected = values[last] - got["level"][last - 1] - since * got["trend"][last - 1]
        assert got["forecast_error"][last] == pytest.approx(expected, rel=1e-9)


def test_a_decay_of_its_own_that_is_the_levels_changes_nothing() -> None:
    values, times = drawn(8)
    line = Smoothing(Decay(halflife="1min"), statistics=LINE, horizon="1min")
    own = replace(line, trend_halflife="1min")
    expected, got = (smoothed(np.cbrt(values), one, times) for one in (line, own))
    for name in LINE:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-7, atol=1e-9)


def test_a_trend_that_changes_slower_than_the_level_is_forecast_better_and_is_covered() -> None:
    values = simulated(0.7, 0.01, 1.0, 900, 40)
    errors = {}
    for own in (None, 8.0):
        names = ["mean", "forecast_error", "forecast", "forecast_lower", "forecast_upper"]
        asked = Smoothing(
            Decay(beta=0.3 if own else 0.7),  # each the best
            statistics=names, horizon=10, coverage=0.8, trend_halflife=own,
        )  # fmt: skip
        ids = [f"s{k}" for k in range(40)] * 900
        got = SeriesTable(asked).update(Readings.of(ids, values.ravel())).statistics
        rows = {name: column.reshape(900, 40)[200:] for name, column in got.items()}
        errors[own] = float(np.sqrt((rows["forecast_error"] ** 2).mean()))
        within = (rows["forecast_lower"][:-10] <= values[210:]) & (
            values[210:] <= rows["forecast_upper"][:-10]
        )
        assert np.mean(within) == pytest.approx(0.8, abs=0.03)
    assert errors[8.0] < 1.01  # the errors that the series are made of are 1
    assert errors[None] > 1.03


# Holt -----------------------------------------------------------------------------------------


def test_after_the_start_it_is_holts_and_simple_exponential_smoothing() -> None:
    """The numbers are of statsmodels, from ``Holt`` and ``SimpleExpSmoothing``, start known."""
    k = np.arange(400)
    values = np.round(20 + 0.05 * k + 5 * np.sin(k / 9.0) + np.cos(k * k * 0.37) * 2, 6)
    for case in HOLT["cases"]:
        sloped = case["trend"] is not None
        smoothing = Smoothing(
            Decay(beta=case["beta"]),
            statistics=["mean", "level", "forecast", "forecast_error", *(["trend"] * sloped)],
            outlook="trend" if sloped else "level",
            horizon=7,
        )
        got = smoothed(values, smoothing)
        np.testing.assert_allclose(got["level"][-5:], case["level"], rtol=1e-9)
        one_ahead = values - got["forecast_error"]
        np.testing.assert_allclose(one_ahead[-5:], case["one_ahead"], rtol=1e-9)
        assert got["forecast"][-1] == pytest.approx(case["seven_ahead"], rel=1e-9)
        if sloped:
            np.testing.assert_allclose(got["trend"][-5:], case["trend"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("beta", [0.6, 0.85])
@pytest.mark.parametrize("outlook", ["level", "trend"])
def test_it_is_the_steady_state_of_kalmans_filter(outlook: Any, beta: float) -> None:
    """Of the local level, and the local linear trend, of which its gains are the best.

    With noise of variance 1, the variances of the steps of level and slope follow from those gains
    by the autocovariances of second differences (of first ones, of a level).
    """
    sloped, lost = outlook == "trend", 1 - beta
    steps = [2 * lost**2 / beta, lost**4 / beta**2] if sloped else [lost**2 / beta, 0.0]
    moves = np.array([[1.0, 1.0 if sloped else 0.0], [0.0, 1.0]])
    values = np.cumsum(np.cos(np.arange(400) ** 2 * 0.37)) + 0.3 * np.arange(400)
    state, covariance = np.zeros(2), np.diag([1e6, 1e6 if sloped else 0.0])
    for x in values:  # the state before each reading, moved ahead
        gains = covariance[:, 0] / (covariance[0, 0] + 1.0)
        level, slope = state + gains * (x - state[0])
        after = covariance - np.outer(gains, covariance[0])
        state = moves @ np.array([level, slope])
        covariance = moves @ after @ moves.T + np.diag(steps)
    one_step = covariance[0, 0] + 1.0
    names = ["mean", "level", "forecast", "forecast_upper", "rmse", *(["trend"] if sloped else [])]
    for horizon in (1, 2, 9):
        asked = Smoothing(Decay(beta=beta), statistics=names, outlook=outlook, horizon=horizon)
        got = smoothed(values, asked)
        assert got["level"][-1] == pytest.approx(level, rel=1e-9)
        assert got["forecast"][-1] == pytest.approx(level + horizon * slope, rel=1e-9)
        if sloped:
            assert got["trend"][-1] == pytest.approx(slope, rel=1e-9)
        half = (got["forecast_upper"] - got["forecast"])[-1] / 1.959963984540054 / got["rmse"][-1]
        assert half**2 == pytest.approx((covariance[0, 0] + 1.0) / one_step, rel=1e-9)
        for _ in range({1: 1, 2: 7}.get(horizon, 0)):  # to the next horizon
            covariance = moves @ covariance @ moves.T + np.diag(steps)


# Merging and order ----------------------------------------------------------------------------

LINE = ["mean", "level", "trend", "forecast"]


def drawn(seed: int, n: int = 120) -> tuple[Floats, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    gaps = (10 ** random.uniform(0, 6, n)).astype(np.int64) * (random.random(n) < 0.8)
    values: Floats = random.normal(0, 1, n) * 10 ** random.uniform(-4, 4, n)
    return values, 1_700_000_000_000 + np.cumsum(gaps)


def assert_same_line(got: dict[str, Floats], values: Floats, times: Any, rules: Any) -> None:
    series = list(zip(np.asarray(times).tolist(), values.tolist(), strict=True))
    expected = naive.smooth(series, rules, LINE)
    sizes = naive.sizes_of_outlook(series, rules, LINE[1:])
    for name in LINE[1:]:
        assert_close(got[name][-1:], expected[name][-1:], np.abs(sizes[name][-1:]), name, 1e-11)


@pytest.mark.parametrize("rules", [
    naive.Rules(beta=0.9, horizon=3.0), naive.Rules(halflife_ms=60_000.0, horizon=9000.0)
])  # fmt: skip
@pytest.mark.parametrize("parts", [(0, 60), (1, 60), (60, 119), (2, 3)])
def test_lines_are_merged(rules: naive.Rules, parts: Sequence[int]) -> None:
    values, times = drawn(5)
    a, b = parts
    smoothing = smoothing_of(rules, LINE)
    one, other = SeriesTable(smoothing), SeriesTable(smoothing)
    for table, lo, hi in ((one, 0, a), (other, a, b)):
        if hi > lo:
            table.update(Readings.of(["s"] * (hi - lo), values[lo:hi], times[lo:hi]))
    one.merge(other)
    got = one.update(Readings.of(["s"] * (120 - b), values[b:], times[b:])).statistics
    assert_same_line(got, values, times, rules)


def test_a_line_depends_on_no_order_of_arrival() -> None:
    values, times = drawn(7)
    rules = naive.Rules(halflife_ms=600_000.0, horizon=9000.0)
    at = np.random.default_rng(1).permutation(120)
    for order in (at, at[::-1]):
        got = smoothed(values[order], smoothing_of(rules, LINE), times[order])
        assert_same_line(got, values, times, rules)


def test_what_cannot_be_merged_or_retracted_is_refused() -> None:
    decay = Decay(halflife="5min")
    check_mergeable(Smoothing(decay, statistics=LINE[:3]))
    with pytest.raises(ConfigError, match="errors of forecasts depend on the order"):
        check_mergeable(Smoothing(decay, statistics=["mean", "rmse"]))
    with pytest.raises(ConfigError, match="a trend with a decay of its own"):
        check_mergeable(Smoothing(decay, statistics=["mean", "trend"], trend_halflife="1h"))
    with pytest.raises(ConfigError, match='leave "level", "trend" and forecasts out'):
        check_revisable(Smoothing(decay, statistics=["mean", "level"]))


# Bounds ---------------------------------------------------------------------------------------


def simulated(gain: float, drift: float, sigma: float, n: int, series: int) -> Floats:
    """Draw local levels (drift 0) or local trends of which these gains are the best."""
    random = np.random.default_rng(11)
    level, slope = np.zeros(series), np.zeros(series)
    values = np.empty((n, series))
    for row in values:
        error = random.normal(0.0, sigma, series)
        row[:] = level + slope + error
        level += slope + gain * error
        slope += drift * error
    return values


@pytest.mark.parametrize("coverage", [0.8, 0.95])
@pytest.mark.parametrize("horizon", [1, 5, 20])
@pytest.mark.parametrize(("outlook", "beta"), [("level", 0.7), ("trend", 0.7), ("trend", 0.9)])
@pytest.mark.parametrize("by_time", [False, True])
def test_bounds_cover_what_they_promise(
    outlook: Any, beta: float, horizon: int, coverage: float, by_time: bool
) -> None:
    gain, drift = (1 - beta, 0.0) if outlook == "level" else (1 - beta**2, (1 - beta) ** 2)
    n, series, start = 700, 60, 300
    values = simulated(gain, drift, 2.0, n, series)
    names = ["mean", "forecast", "forecast_lower", "forecast_upper"]
    decay = Decay(halflife=f"{-60.0 / np.log2(beta):.9f}s") if by_time else Decay(beta=beta)
    ahead = f"{horizon}min" if by_time else horizon
    smoothing = Smoothing(
        decay, statistics=names, outlook=outlook, horizon=ahead, coverage=coverage
    )
    ids = [f"s{k}" for k in range(series)] * n
    times = np.repeat(np.arange(n) * 60_000, series)
    got = SeriesTable(smoothing).update(Readings.of(ids, values.ravel(), times)).statistics
    lower, upper = (got[name].reshape(n, series)[start:-horizon] for name in names[2:])
    then = values[start + horizon :]
    assert np.mean((then >= lower) & (then <= upper)) == pytest.approx(coverage, abs=0.02)


@pytest.mark.parametrize("damping", [0.5, 8.0, 21.0, 400.0])
def test_a_damped_trend_halves_with_every_damping(damping: float) -> None:
    """Independent: the sums that the variance of an error is made of, as fine integrals."""
    values, _ = drawn(4, 300)
    values = np.cbrt(values).cumsum()
    names = ["mean", "level", "trend", "forecast", "forecast_upper", "rmse"]
    beta, horizon = 0.8, 30
    asked = Smoothing(Decay(beta=beta), statistics=names, horizon=horizon, damping=damping)
    got = smoothed(values, asked)
    at = np.linspace(0.0, horizon, 200_001)
    reach = np.log(2) ** -1 * damping * (1 - 0.5 ** (at / damping))
    np.testing.assert_allclose(
        got["forecast"][1:], (got["level"] + got["trend"] * reach[-1])[1:], rtol=1e-11
    )
    gone = np.trapezoid(reach, at) / (horizon**2 / 2)
    squared = np.trapezoid(reach**2, at) / (horizon**3 / 3)
    j = np.arange(1, horizon)
    gain, drift = 1 - beta**2, (1 - beta) ** 2
    growth = 1 + (gain**2 + 2 * gain * drift * gone * j + drift**2 * squared * j**2).sum()
    half = 1.959963984540054 * got["rmse"] * np.sqrt(growth)
    np.testing.assert_allclose((got["forecast_upper"] - got["forecast"])[3:], half[3:], rtol=1e-7)
    plain = replace(asked, damping=None)
    assert replace(asked, damping=1e9).ahead.reach == pytest.approx(plain.ahead.reach, rel=1e-7)
    assert asked.fingerprint() == plain.fingerprint()


# Options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"statistics": ["mean", "forecast"]}, "horizon is not given"),
        ({"horizon": "5min"}, "horizon is '5min': it must be a number >= 1"),
        ({"horizon": 0}, "horizon is 0: it must be a number >= 1"),
        ({"damping": 0.0}, "damping is 0.0: it must be a number >= 0.001, of readings"),
        ({"damping": 3, "outlook": "level"}, 'outlook "level" has no trend; leave'),
        ({"trend_halflife": "1h"}, "trend_halflife is '1h': it must be a number"),
        ({"trend_halflife": 9, "weighting": "volume"}, "trend_halflife does not go with"),
        ({"coverage": 1.0}, "coverage is 1.0: it must be a number > 0, < 1"),
        ({"coverage": math.nextafter(1.0, 0.0)}, "it must be a number > 0, < 1 - 1e-9"),
        ({"error_span": 0}, "error_span is 0: it must be a number >= 1"),
        ({"outlook": "holt"}, "outlook is 'holt': it must be one of level, trend"),
        ({"outlook": "level", "statistics": ["mean", "trend"]}, 'needs outlook "trend"'),
        ({"start_up": "first", "statistics": ["mean", "level"]}, "start_up 'first' has no times"),
        ({"decay": Decay(halflife="5s"), "horizon": 3}, "horizon is 3: it must be a duration"),
        ({"decay": Decay(halflife="5s"), "horizon": "300000d"}, "at most 100000 days"),
        (
            {"decay": Decay(halflife="5s"), "weighting": "last", "statistics": ["mean", "trend"]},
            'statistic "trend" is not defined with weighting "last"',
        ),
    ],
)
def test_mistakes_name_the_value_the_bound_and_the_fix(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Smoothing(**{"decay": Decay(beta=0.9), **options})
    assert said in str(refused.value)


def test_what_only_changes_the_output_is_not_in_the_fingerprint() -> None:
    names = ["mean", "forecast", "forecast_upper"]
    near = Smoothing(Decay(beta=0.9), statistics=names, horizon=1, coverage=0.5)
    assert near.fingerprint() == replace(near, horizon=9, coverage=0.9).fingerprint()
    for other in ({"outlook": "level"}, {"error_span": 50}, {"trend_halflife": 9}):
        assert near.fingerprint() != replace(near, **other).fingerprint()


def test_a_horizon_is_the_same_in_finer_ticks() -> None:
    smoothing = Smoothing(
        Decay(halflife="5s"), statistics=["mean", "trend", "forecast", "forecast_upper"],
        horizon="90s",
    )  # fmt: skip
    values, times = drawn(3)
    expected = smoothed(values, smoothing, times - times[0])
    finer = Readings.of(["s"] * 120, values, (times - times[0]) * 1000)
    got = SeriesTable(smoothing.in_ticks(1000)).update(finer).statistics
    for name, column in expected.items():
        np.testing.assert_allclose(got[name], column, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"decay": Decay(beta=0.7), "horizon": 12},
        {"decay": Decay(beta=0.7), "horizon": 12, "outlook": "level"},
        {"decay": Decay(beta=0.7), "horizon": 12, "damping": 4, "trend_halflife": 9},
        {"decay": Decay(halflife="3min"), "horizon": "12min"},
        {"decay": Decay(halflife="3min"), "horizon": "12min", "damping": "4min"},
    ],
)
def test_a_forecast_opens_as_those_of_nearer_horizons_are(options: dict[str, Any]) -> None:
    values = np.cumsum(np.random.default_rng(8).normal(0.2, 1, 60)).tolist()
    times = 60_000 * np.arange(60)
    names = ["mean", "level", "forecast", "forecast_upper"]
    whole = Smoothing(statistics=names, **options)

    def newest(smoothing: Smoothing) -> dict[str, float]:
        found = smoothed(values, smoothing, times if smoothing.decay.by_time else None)
        return {name: float(column[-1]) for name, column in found.items()}

    end = newest(whole)
    steps = [1, 3, 6, 9, 12]
    opened = opening(whole.ahead, of_numbers(whole.decay), 60_000.0, [step / 12 for step in steps])
    for step, (way, width) in zip(steps, opened, strict=True):
        nearer = newest(replace(whole, horizon=f"{step}min" if whole.decay.by_time else step))
        line = end["level"] + way * (end["forecast"] - end["level"])
        apart = width * (end["forecast_upper"] - end["forecast"])
        assert line == pytest.approx(nearer["forecast"], rel=1e-12)
        assert apart == pytest.approx(nearer["forecast_upper"] - nearer["forecast"], rel=1e-12)
