"""What rules would have done: against the table that raises alarms, and against theory."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.demo.data import recorded_series
from ewma_ops.monitor.rules import AlarmRules, Bounds, Level, Rule, Spike, Spread
from ewma_ops.studies.backtest import Backtest, Count, RuleFindings, _calibrated
from ewma_ops.studies.poisson import interval
from ewma_ops.table.smoothing_set import SmoothingSet

DECAY = Decay(beta=0.9)
SMOOTHING_SET = SmoothingSet.of(Smoothing(DECAY))
Floats = NDArray[np.float64]


def outcome(
    rules: dict[str, Rule], readings: Readings, every: dict[str, float], batch: int = 3_000
) -> tuple[Backtest, list[RuleFindings]]:
    study = Backtest(SMOOTHING_SET, AlarmRules.of(rules).with_limits(Smoothing(DECAY)))
    for first in range(0, len(readings), batch):
        study.take(readings.take(np.arange(first, min(first + batch, len(readings)))))
    return study, study.result(every)


def mixed(n: int, series: int, seed: int = 1) -> Readings:
    """Return normal readings of several series in random turns, with shifts."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, series, n)
    values = random.normal(20, 1, n) + 2.0 * (np.arange(n) % 5_000 > 4_800)
    return Readings([f"s{i}" for i in ids], values, np.arange(n) * 1_000)


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(["both", "high", "low"]),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([0.0, 1.5]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 10_000),
)
def test_counts_are_those_of_the_table(
    direction: str, clear: float, least: float, for_: int, clear_for: int, seed: int
) -> None:
    """The limit of the rule counts as many alarms as the table raises, series by series."""
    common = {"limit": 2.5, "direction": direction, "clear": clear, "least": least}
    rules: dict[str, Rule] = {
        "level": Level(**common, for_=for_, clear_for=clear_for),  # type: ignore[arg-type]
        "spike": Spike(**common, for_=for_, clear_for=clear_for),  # type: ignore[arg-type]
        "some": Level(**common, series=["s1", "s[2-9]*"]),  # type: ignore[arg-type]
        "spread": Spread(limit=2.0, clear=clear, least=least / 10, for_=for_, clear_for=clear_for),
        "bounds": Bounds(above=22.5, clear_above=21.0, series=["s0"]),
    }
    readings = mixed(1_500, 3, seed)
    _, found = outcome(rules, readings, {}, batch=700)
    table = SeriesTable(SMOOTHING_SET, alarms=AlarmRules.of(rules))
    transitions = table.update(readings).transitions
    raised: Counter[tuple[int, str]] = Counter()
    if transitions is not None:
        columns = zip(transitions.rules.tolist(), transitions.transitions.tolist(),
                      transitions.series_ids, strict=True)  # fmt: skip
        raised.update((rule, one) for rule, became, one in columns if became == 0)
    for number, one in enumerate(found):
        own = {series: n for (rule, series), n in raised.items() if rule == number}
        assert one.own.raised == sum(own.values())
        assert dict(one.worst) == own
        assert one.own.first + one.own.second == (one.own.raised if one.counts else 0)


def test_normal_readings_do_what_is_designed_and_calibration_agrees() -> None:
    """400,000 readings of 200 series: 1 alarm per 1,000, by theory and as counted."""
    random = np.random.default_rng(2)
    n, series = 400_000, 200
    ids = [f"s{i}" for i in range(series)] * (n // series)
    readings = Readings(ids, random.normal(5, 3, n), np.arange(n) * 10)
    rules: dict[str, Rule] = {"level": Level(false_alarms="1 per 1000 readings")}
    study, (level,) = outcome(rules, readings, {"level": 1_000.0}, batch=16_384)
    assert level.judged == n - 100 * series
    assert level.expected == pytest.approx(level.judged / 1_000)
    assert level.own.raised == pytest.approx(level.expected, rel=0.15)
    calibrated = level.calibrated
    assert calibrated is not None
    assert calibrated.limit == pytest.approx(level.own.limit, rel=0.05)
    assert calibrated.first == pytest.approx(calibrated.wanted_first, rel=0.1)
    low, high = interval(calibrated.wanted, 0.999)
    assert low <= calibrated.second <= high
    assert study.habits.correlation == pytest.approx(0.0, abs=0.02)
    assert (study.series, study.readings) == (series, n)
    assert (study.first, study.last) == (0, 10 * (n - 1))


def test_a_spread_rule_does_what_is_designed_and_is_calibrated() -> None:
    random = np.random.default_rng(5)
    n, series = 200_000, 200
    ids = [f"s{i}" for i in range(series)] * (n // series)
    rules: dict[str, Rule] = {"spread": Spread(false_alarms="1 per 500 readings")}
    readings = Readings(ids, random.normal(5, 3, n))
    study, (spread,) = outcome(rules, readings, {"spread": 500.0}, batch=16_384)
    assert spread.own.raised == pytest.approx(spread.expected, rel=0.15)
    assert spread.calibrated is not None
    assert spread.calibrated.limit == pytest.approx(spread.own.limit, rel=0.08)
    assert study.habits.correlation is None  # nothing expects a mean


def test_an_autoregressive_series_is_calibrated_where_theory_fails() -> None:
    random = np.random.default_rng(3)
    values = random.normal(0, 1, 120_000)
    for t in range(1, len(values)):
        values[t] += 0.8 * values[t - 1]
    readings = Readings(["a"] * len(values), values)
    rules: dict[str, Rule] = {"level": Level(false_alarms="1 per 1000 readings")}
    study, (level,) = outcome(rules, readings, {"level": 1_000.0})
    assert level.own.raised > 5 * (level.expected or math.inf)
    assert level.chance is not None
    assert level.chance < 1e-50
    assert level.calibrated is not None
    first, second = level.calibrated.first, level.calibrated.second
    assert abs(second - first) < 3.3 * math.sqrt(first + second)  # both are counts by chance
    assert study.habits.correlation == pytest.approx(0.8, abs=0.05)
    assert (study.first, study.habits.gap(0.5)) == (None, None)


def test_a_rate_that_no_limit_reaches_is_not_calibrated() -> None:
    counts = [Count(limit, 90, 50, 40) for limit in (2.0, 58.5)]
    assert _calibrated(counts, 1_000, 1_000, every=500.0) is None
    assert _calibrated(counts, 1_000, 0, every=10.0) is None  # all in one half
    fits = _calibrated([*counts, Count(60.0, 4, 1, 3)], 1_000, 1_000, every=500.0)
    assert fits is not None
    assert (fits.limit, fits.first, fits.second, fits.wanted) == (60.0, 1, 3, 2.0)


def recorded(name: str) -> Readings:
    rows = recorded_series()[name]
    values = np.array([one.value for one in rows])
    return Readings([name] * len(rows), values, np.array([one.time_ms for one in rows]))


def test_the_sea_is_calibrated_by_its_first_half(capsys: pytest.CaptureFixture[str]) -> None:
    """Half-hourly sea temperatures, 400 days: theory fails, the calibrated limit holds."""
    rules: dict[str, Rule] = {"level": Level(false_alarms="1 per 500 readings")}
    study, (level,) = outcome(rules, recorded("sea-surface"), {"level": 500.0})
    calibrated = level.calibrated
    assert calibrated is not None
    assert study.readings == 19_226
    assert level.own.raised > 4 * (level.expected or math.inf)
    low, high = calibrated.within
    assert low <= calibrated.second <= high
    assert study.habits.correlation is not None
    assert study.habits.correlation > 0.9


def test_seattle_is_not_as_its_summer_is_not_as_its_winter() -> None:
    """Hourly temperatures of a year: the second half is another season, and says so."""
    rules: dict[str, Rule] = {"level": Level(false_alarms="1 per 500 readings")}
    _, (level,) = outcome(rules, recorded("seattle-hourly"), {"level": 500.0})
    calibrated = level.calibrated
    assert calibrated is not None
    assert level.own.raised > 10 * (level.expected or math.inf)
    assert calibrated.second > 3 * calibrated.within[1]
    assert calibrated.chance < 1e-20
