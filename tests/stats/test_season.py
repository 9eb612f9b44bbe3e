"""The season of an outlook: worked numbers, as defined, as Holt-Winters, with bounds that hold."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.compiled import library
from ewma_ops.errors import ConfigError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.revise import check_mergeable, check_revisable
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from tests.oracles import seasons

Floats = NDArray[np.float64]

NAMES = ["mean", "level", "trend", "season", "forecast", "forecast_error"]
HOUR = 3_600_000
HOLT_WINTERS = json.loads(
    (Path(__file__).parent.parent / "oracles" / "holt_winters_by_statsmodels.json").read_text()
)


def smoothed(values: Any, smoothing: Smoothing, times: Any = None) -> dict[str, Floats]:
    readings = Readings.of(["s"] * len(values), values, times)
    return SeriesTable(smoothing).update(readings).statistics


# Worked numbers -------------------------------------------------------------------------------


def test_a_season_is_there_after_one_period() -> None:
    values = [10.0, 13.0, 7.0] * 3
    got = smoothed(values, Smoothing(Decay(beta=0.5), statistics=NAMES, horizon=1, season=3))
    np.testing.assert_allclose(got["season"][3:], [0, 3, -3] * 2, atol=1e-14)
    np.testing.assert_allclose(got["level"][3:], 10.0, rtol=1e-15)
    np.testing.assert_allclose(got["forecast"][3:], [13, 7, 10] * 2, rtol=1e-15)
    np.testing.assert_allclose(got["forecast_error"][3:], 0.0, atol=1e-14)
    np.testing.assert_allclose(got["trend"][3:], 0.0, atol=1e-14)


def test_in_the_first_period_the_forecast_is_the_mean_and_no_forecast_is_judged() -> None:
    names = [*NAMES, "forecast_lower", "mase"]
    asked = Smoothing(Decay(beta=0.5), statistics=names, horizon=1, season=3)
    got = smoothed([10.0, 13.0, 7.0, 10.0, 13.0], asked)
    np.testing.assert_array_equal(got["forecast"][:3], got["mean"][:3])
    np.testing.assert_allclose(got["level"][:3], [10.0, 11.5, 10.0])  # of the phases so far
    for name in ("trend", "season", "forecast_error", "forecast_lower", "mase"):
        assert np.isnan(got[name][:3]).all(), name
        assert not np.isnan(got[name][3:]).any(), name


def test_a_phase_that_was_never_met_says_nothing_of_the_line() -> None:
    """Of a day in four quarters, the night is first seen on the third day."""
    quarter = 6 * HOUR
    met = [k for k in range(12) if k % 4 or k >= 8]
    values = [100.0 if k % 4 == 0 else 10.0 + k % 4 for k in met]
    asked = Smoothing(
        Decay(halflife="3h"), statistics=NAMES, horizon="6h", season="day", season_phases=4
    )
    got = smoothed(values, asked, [k * quarter for k in met])
    nights = [at for at, k in enumerate(met) if k == 8]
    before, after = nights[0] - 1, nights[0]
    assert got["forecast"][before] == got["mean"][before]
    assert np.isnan(got["forecast_error"][after])
    assert got["level"][after] + got["season"][after] == pytest.approx(100.0)
    assert got["forecast"][after] == pytest.approx(11.0)  # the morning is as it was


def test_a_factor_is_there_after_one_period_and_scales_with_the_level() -> None:
    values = [10.0, 12.0, 8.0] * 3 + [20.0] * 1
    asked = Smoothing(
        Decay(beta=0.01), statistics=[n for n in NAMES if n != "trend"], horizon=1, season=3,
        season_kind="multiplicative", lowest=1e-6, outlook="level",
    )  # fmt: skip
    got = smoothed(values, asked)
    np.testing.assert_allclose(got["season"][3:9], [1, 1.2, 0.8] * 2, rtol=1e-14)
    np.testing.assert_allclose(got["level"][3:9], 10.0, rtol=1e-14)
    assert got["forecast"][-1] == pytest.approx(24.0, rel=0.01)


@pytest.mark.slow
def test_between_two_phases_the_season_is_a_line() -> None:
    """Readings at any time of the day, of a day that is made of lines."""
    random = np.random.default_rng(3)
    times = np.sort(random.integers(0, 40 * 24 * HOUR, 20_000))
    corners = np.array([0.0, 4.0, 8.0, 2.0])
    day = np.interp(times / HOUR % 24, [0, 6, 12, 18, 24], [*corners, 0.0])
    asked = Smoothing(
        Decay(halflife="1d"), statistics=NAMES, horizon="6h", season="day", season_phases=4
    )
    got = smoothed(20.0 + day, asked, times)
    late = slice(15_000, None)
    np.testing.assert_allclose(got["forecast_error"][late], 0.0, atol=0.15)
    np.testing.assert_allclose(got["season"][late], (day - corners.mean())[late], atol=0.15)


# By definition --------------------------------------------------------------------------------


def drawn(seed: int, n: int, slot: int) -> tuple[list[int], list[float]]:
    random = np.random.default_rng(seed)
    times = np.cumsum(
        random.choice([0, slot // 3, slot, 2 * slot, 40 * slot], n, p=[0.1, 0.3, 0.4, 0.17, 0.03])
    )
    values = 50.0 + 0.01 * np.arange(n) + 9.0 * np.sin(times / slot) + random.normal(0, 3.0, n)
    values[random.random(n) < 0.1] = np.nan
    return times.tolist(), values.tolist()


@pytest.mark.parametrize("missing", ["skip", "decay"])
@pytest.mark.parametrize("factor", [False, True])
@pytest.mark.parametrize("outlook", ["level", "trend"])
@pytest.mark.parametrize("clock", ["count", "time", "late"])
def test_it_is_as_defined(clock: str, outlook: Any, factor: bool, missing: Any) -> None:
    slot, phases, n = 1000, 6, 160
    times, values = drawn(5, n, slot)
    if clock == "late":
        back = np.random.default_rng(6).random(n) < 0.2
        times = (np.array(times) - np.where(back, 7_300, 0)).tolist()
    by_count = clock == "count"
    rules = seasons.Rules(
        halflife=3.0 if by_count else 3000.0,
        trend_halflife=50.0 if by_count else 50_000.0,
        season_halflife=4.0,
        period=6.0 if by_count else 6000.0,
        phases=phases,
        offset=0.0 if by_count else 900.0,
        horizon=4.0 if by_count else 4700.0,
        sloped=outlook == "trend",
        factor=factor,
        by_count=by_count,
        passed_by_missing=missing == "decay",
    )
    decay = Decay(halflife=3.0) if by_count else Decay(halflife="3s")
    options: dict[str, Any] = {"season": 6, "horizon": 4, "season_halflife": 24.0}
    if not by_count:
        options = {"season": "6s", "season_phases": 6, "horizon": "4.7s", "season_halflife": "24s"}
        rules = replace(rules, offset=0.0)
    if factor:
        options |= {"season_kind": "multiplicative", "lowest": 1e-3}
    if outlook == "trend":
        options["trend_halflife"] = 50.0 if by_count else "50s"
    else:  # the reference has the weights that a season has by itself
        rules = replace(rules, trend_halflife=6.578813478960585 * rules.period)
    names = [name for name in NAMES if outlook == "trend" or name != "trend"]
    asked = Smoothing(decay, missing=missing, statistics=names, outlook=outlook, **options)
    got = smoothed(values, asked, times)
    expected = seasons.outlook(list(zip(times, values, strict=True)), rules)
    for name in names[1:]:
        scale = 1000.0 if name == "trend" and not by_count else 1.0
        wanted = np.array(expected[name]) * scale
        np.testing.assert_array_equal(np.isnan(got[name]), np.isnan(wanted), name)
        np.testing.assert_allclose(got[name], wanted, rtol=1e-9, atol=1e-9, err_msg=name)


# Holt and Winters -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("case", HOLT_WINTERS["cases"], ids=lambda c: f"{c['kind']}{c['season']}")
def test_after_the_start_it_is_holt_winters(case: dict[str, Any]) -> None:
    """The numbers are of statsmodels, from ``ExponentialSmoothing``, gains and start known."""
    m, factor = case["season"], case["kind"] == "mul"
    k = np.arange(4000)
    wave = np.sin(2 * np.pi * k / m) + 0.5 * np.cos(4 * np.pi * k / m)
    base = 50 + 0.01 * k + 2 * np.cos(k * k * 0.37)
    values = np.round(base * (1 + 0.2 * wave) if factor else base + 6 * wave, 6)
    sloped = case["trend"] is not None
    halflife = -math.log(2) / math.log(case["beta"])
    options: dict[str, Any] = {"trend_halflife": halflife} if sloped else {"outlook": "level"}
    if factor:
        options |= {"season_kind": "multiplicative", "lowest": 0.1}
    for horizon in (1, 2, m - 1, m + 1):  # at m statsmodels has the season before the last reading
        asked = Smoothing(
            Decay(beta=case["beta"]),
            statistics=["mean", "forecast", "forecast_error"],
            horizon=horizon,
            season=m,
            season_halflife=-m * math.log(2) / math.log(1 - case["gamma"]),
            **options,
        )
        got = smoothed(values, asked)
        one_ahead = values - got["forecast_error"]
        np.testing.assert_allclose(one_ahead[-5:], case["one_ahead"], rtol=1e-9)
        assert got["forecast"][-1] == pytest.approx(case["ahead"][horizon - 1], rel=1e-9)


def test_beside_a_fast_level_holt_winters_does_not_find_a_season_that_changes() -> None:
    """What is wrong with a wave is multiplied by |1 - gamma E| a period: by 1.01, or 0.9."""
    k = np.arange(24 * 60)
    values = 10.0 + np.where(k < 24, 0.0, 5.0) * np.sin(2 * np.pi * k / 24)
    worst = {}
    for own in (-math.log(2) / math.log(0.2), None):
        asked = Smoothing(
            Decay(beta=0.2), statistics=["mean", "forecast_error"], season=24, trend_halflife=own
        )
        worst[own is None] = abs(smoothed(values, asked)["forecast_error"][-24:]).max()
    assert worst[True] < 0.01
    assert worst[False] > 0.3


# Bounds ---------------------------------------------------------------------------------------


def simulated(n: int, series: int, m: int, *, factor: bool) -> Floats:
    """Draw Holt-Winters with gains 0.2, 0.0025 and 0.1, errors added, or in proportion."""
    random = np.random.default_rng(12)
    wave = np.sin(2 * np.pi * np.arange(m) / m)
    level, slope = np.full(series, 100.0), np.zeros(series)
    season = np.outer(1.0 + 0.3 * wave if factor else 10.0 * wave, np.ones(series))
    values = np.empty((n, series))
    for k, row in enumerate(values):
        error = random.normal(0.0, 1.0, series)
        line, own = level + slope, season[k % m]
        level, slope = line + 0.2 * error, slope + (0.0025 if not factor else 0.0) * error
        if factor:
            row[:] = own * (line + error)
            season[k % m] = own + 0.1 * own * error / line
        else:
            row[:] = line + own + error
            season[k % m] = own + 0.1 * error
    return values


@pytest.mark.slow
@pytest.mark.parametrize("coverage", [0.8, 0.95])
@pytest.mark.parametrize("horizon", [1, 5, 30])
@pytest.mark.parametrize("factor", [False, True])
def test_bounds_cover_what_they_promise(factor: bool, horizon: int, coverage: float) -> None:
    n, series, start, m = 900, 60, 500, 12
    values = simulated(n, series, m, factor=factor)
    names = ["mean", "forecast", "forecast_lower", "forecast_upper"]
    options: dict[str, Any] = {"outlook": "level"} if factor else {"trend_halflife": 13.5}
    if factor:
        options |= {"season_kind": "multiplicative", "lowest": 1e-3}
    smoothing = Smoothing(
        Decay(beta=0.8), statistics=names, horizon=horizon, coverage=coverage, season=m, **options
    )
    ids = [f"s{k}" for k in range(series)] * n
    got = SeriesTable(smoothing).update(Readings.of(ids, values.ravel())).statistics
    lower, upper = (got[name].reshape(n, series)[start:-horizon] for name in names[2:])
    then = values[start + horizon :]
    assert np.mean((then >= lower) & (then <= upper)) == pytest.approx(coverage, abs=0.02)


# Clocks and fields ----------------------------------------------------------------------------


def hourly(n: int = 300) -> tuple[Floats, NDArray[np.int64]]:
    random = np.random.default_rng(4)
    times = 1_700_000_000_000 + np.cumsum(random.integers(1, 2 * HOUR, n))
    values: Floats = 10.0 + 5.0 * np.sin(times / HOUR * math.pi / 12) + random.normal(0, 1, n)
    return values, times


def test_hours_of_a_day_may_be_ahead_of_utc() -> None:
    values, times = hourly()
    asked = Smoothing(Decay(halflife="6h"), statistics=NAMES, horizon="5h", season="day")
    expected = smoothed(values, asked, times + 19_800_000)
    got = smoothed(values, replace(asked, utc_offset="+05:30"), times)
    for name in NAMES:
        np.testing.assert_array_equal(got[name], expected[name], name)


def test_a_season_is_the_same_in_finer_ticks() -> None:
    values, times = hourly()
    asked = Smoothing(
        Decay(halflife="6h"), statistics=[*NAMES, "forecast_upper"], horizon="5h", season="day",
        utc_offset="-08:00",
    )  # fmt: skip
    expected = smoothed(values, asked, times - 1_690_000_000_000)
    finer = Readings.of(["s"] * len(values), values, (times - 1_690_000_000_000) * 1000)
    got = SeriesTable(asked.in_ticks(1000)).update(finer).statistics
    for name, column in expected.items():
        np.testing.assert_allclose(got[name], column, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("smallest", [1, 1 << 30])
def test_each_field_has_a_season_of_its_own(smallest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after fields were missing by themselves, by columns and one by one."""
    monkeypatch.setattr("ewma_ops.table.table._SMALLEST_BATCH", smallest)
    n = 200
    values, times = hourly(n)
    both = np.column_stack([values, values[::-1]])
    both[40, 0] = np.nan
    asked = Smoothing(Decay(halflife="6h"), statistics=NAMES, horizon="5h", season="day")
    table = SeriesTable(asked, fields=["a", "b"])
    got = table.update(Readings.of(["s"] * n, both, times)).statistics
    for name, own in (("a", both[:, 0]), ("b", both[:, 1])):
        alone = smoothed(own, asked, times)
        for statistic in NAMES:
            np.testing.assert_array_equal(got[f"{name}_{statistic}"], alone[statistic])


@pytest.mark.parametrize("compiled", [True, False])
def test_many_series_have_the_bits_of_each_alone(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without compiled loops by turns, of which the last are small: their lengths differ."""
    if not compiled:
        monkeypatch.setattr(library, "kernels", None)
    random = np.random.default_rng(9)
    asked = Smoothing(Decay(beta=0.7), statistics=[*NAMES, "mase"], horizon=2, season=4)
    of = np.minimum(random.geometric(0.03, 3000), 60)
    values = random.normal(0, 1, 3000) + of % 4
    got = SeriesTable(asked).update(Readings.of([f"s{k}" for k in of], values)).statistics
    for k in (1, 2, 40, 59):
        alone = smoothed(values[of == k], asked)
        for name, column in alone.items():
            np.testing.assert_array_equal(got[name][of == k], column, name)


def test_a_snapshot_may_lie_in_memory_in_any_order() -> None:
    random = np.random.default_rng(2)
    asked = Smoothing(Decay(beta=0.7), statistics=NAMES, horizon=2, season=4)
    ids, values = [f"s{k}" for k in range(200)], random.normal(0, 1, (9, 200))
    table = SeriesTable(asked)
    for row in values[:8]:
        table.update(Readings.of(ids, row))
    snapshot = table.snapshot()
    turned = {name: np.asfortranarray(column) for name, column in snapshot.columns.items()}
    last = Readings.of(ids, values[8])
    got = SeriesTable(asked, snapshot._replace(columns=turned)).update(last).statistics
    for name, column in table.update(last).statistics.items():
        np.testing.assert_array_equal(got[name], column, name)


# Options --------------------------------------------------------------------------------------

TIMED = Decay(halflife="1h")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"season": "day"},
            "season is 'day': because the decay is per reading it must be a number of",
        ),
        ({"season": 1}, "season is 1: it must be an integer >= 2"),
        ({"season": 20_000}, "season is 20000: it must be an integer <= 10080"),
        ({"season": 12, "season_phases": 4}, "season_phases is 4, but each of the 12 readings"),
        ({"season": 12, "utc_offset": "+01:00"}, "utc_offset is '+01:00', but each of the 12"),
        ({"season": 12, "horizon": 2.5}, "horizon is 2.5: with a season it must be a whole"),
        (
            {"decay": TIMED, "season": 12},
            'season is 12: because the decay is by time, it must be "hour"',
        ),
        ({"decay": TIMED, "season": "year"}, "season: 'year' is not a duration"),
        ({"decay": TIMED, "season": "7ms"}, "has 24 phases, which are not whole numbers of"),
        ({"decay": TIMED, "season": "day", "season_phases": 1}, "season_phases is 1: it must be"),
        (
            {"decay": TIMED, "season": "day", "season_phases": 7},
            "has 7 phases, which are not whole",
        ),
        ({"decay": TIMED, "season": "day", "utc_offset": "UTC"}, "utc_offset is 'UTC': write how"),
        ({"decay": TIMED, "season": "day", "season_halflife": 3}, "season_halflife is 3: it must"),
        ({"season_phases": 24}, "season_phases is 24, but there is no season: add season, or"),
        ({"season_halflife": 24}, "season_halflife is 24, but there is no season"),
        ({"season_kind": "multiplicative", "lowest": 1.0}, "but there is no season: add season"),
        ({"utc_offset": "+01:00"}, "utc_offset is '+01:00', but there is no season"),
        ({"season": 12, "season_kind": "mul"}, "season_kind is 'mul': it must be one of additive"),
        ({"season": 12, "season_kind": "multiplicative"}, "needs values > 0, and lowest is None"),
        (
            {"season": 12, "season_kind": "multiplicative", "lowest": "1"},
            "lowest is '1': it must be a number that is finite",
        ),
        ({"season": 12, "weighting": "volume"}, 'season does not go with weighting "volume"'),
        ({"statistics": ["mean", "season"]}, 'statistic "season" needs a season: give one'),
        (
            {"season": 12, "start_up": "first", "statistics": ["mean", "season"]},
            "start_up 'first' has no times",
        ),
    ],
)
def test_mistakes_name_the_value_the_bound_and_the_fix(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Smoothing(**{"decay": Decay(beta=0.9), **options})
    assert said in str(refused.value)


def test_a_season_is_in_the_fingerprint_if_something_needs_it() -> None:
    plain = Smoothing(Decay(beta=0.9), statistics=["mean", "level"])
    known = {plain.fingerprint()}
    each: list[dict[str, Any]] = [{"season": 12}, {"season": 4}]
    for options in (*each, {"season": 12, "season_halflife": 99}):
        known.add(replace(plain, **options).fingerprint())
    known.add(replace(plain, season=12, season_kind="multiplicative", lowest=1.0).fingerprint())
    assert len(known) == 5
    bare = Smoothing(Decay(beta=0.9))
    assert replace(bare, season=12).fingerprint() == bare.fingerprint()


def test_what_a_season_was_learned_from_is_not_merged_or_retracted() -> None:
    asked = Smoothing(Decay(beta=0.9), statistics=["mean", "level"], season=12)
    with pytest.raises(ConfigError, match="in the order in which they came"):
        check_mergeable(asked)
    with pytest.raises(ConfigError, match='leave "level", "trend" and forecasts out'):
        check_revisable(asked)
    check_mergeable(Smoothing(Decay(beta=0.9), season=12))
