"""Composites: by their published formulas, against TA-Lib, and by the laws of a table."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.stats.composites import Composite, bollinger, dema, macd, risk_metrics, tema
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable

PRICES = 100 * np.exp(np.cumsum(np.random.default_rng(4).normal(0, 0.01, 400)))
X = pd.Series(PRICES)


def run(composite: Composite, values: Any = PRICES) -> dict[str, Any]:
    return SeriesTable(composite).update(Readings.of(["s"] * len(values), values)).statistics


def test_dema_of_a_few_numbers() -> None:
    # Spans of 3 weigh 1, 1/2, 1/4 ...: e1 = 1, 5/3, 17/7; e2 = 1, 13/9, 2.0068
    second = (17 / 7 + 5 / 3 / 2 + 1 / 4) / (7 / 4)
    got = run(dema(Smoothing(Decay(span=3))), [1.0, 2.0, 3.0])["dema"]
    assert got == pytest.approx([1, 10 / 3 - 13 / 9, 34 / 7 - second])


def test_volatility_of_a_doubling_and_a_halving() -> None:
    got = run(risk_metrics(Smoothing(Decay(beta=0.5))), [1.0, 2.0, math.nan, 1.0, 1.0])
    two = math.log(2.0)
    assert got["return"] == pytest.approx([math.nan, two, math.nan, -two, 0.0], nan_ok=True)
    volatility = [math.nan, two, two, two, two * math.sqrt(3 / 7)]
    assert got["volatility"] == pytest.approx(volatility, nan_ok=True)


def test_a_price_that_is_not_above_zero_is_missing() -> None:
    got = run(risk_metrics(), [1.0, 2.0, 0.0, -3.0, 4.0])
    assert np.isnan(got["return"][[0, 2, 3]]).all()
    assert got["return"][4] == pytest.approx(math.log(2.0))


def test_macd_refuses_spans_the_wrong_way_round() -> None:
    with pytest.raises(ConfigError, match="must be less than slow"):
        macd(26, 12)


def test_statistics_of_its_own_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave them out"):
        dema(Smoothing(Decay(span=3), statistics=["mean", "std"]))


def test_a_width_that_is_no_number_above_zero_is_refused() -> None:
    for widths in (0, -1.0, math.nan, True, "2"):
        with pytest.raises(ConfigError, match="widths = "):
            bollinger(Smoothing(Decay(span=3)), widths)  # type: ignore[arg-type]


def test_composites_are_not_merged_or_taken_apart() -> None:
    one, other = SeriesTable(macd()), SeriesTable(macd())
    with pytest.raises(ConfigError, match="stages of macd"):
        one.merge(other)
    with pytest.raises(ConfigError, match="stages of macd"):
        one.retract("s", 1.0, 0)


def test_composites_are_of_numbers_and_not_of_vectors() -> None:
    with pytest.raises(ConfigError, match="name the fields"):
        SeriesTable(macd(), fields=3)
    with pytest.raises(ReadingError, match="decays by time"):
        SeriesTable(dema(Smoothing(Decay(halflife="1s")))).update(Readings.of(["s"], [1.0]))


@pytest.mark.parametrize("make", [macd, risk_metrics, lambda: tema(Smoothing(Decay(span=2)))])
def test_the_largest_values_stay_finite(make: Callable[[], Composite]) -> None:
    largest = make().largest
    values = np.tile([largest, -largest, largest], 100)
    for column in run(make(), np.abs(values) if make is risk_metrics else values).values():
        assert np.isfinite(column[1:]).all()


def test_a_snapshot_of_another_composite_is_refused() -> None:
    fingerprints = [
        macd().fingerprint(),
        macd(11).fingerprint(),
        macd(start_up="first").fingerprint(),
        macd(min_periods=2).fingerprint(),
        dema(Smoothing(Decay(span=12))).fingerprint(),
        tema(Smoothing(Decay(span=12))).fingerprint(),
    ]
    assert len(set(fingerprints)) == len(fingerprints)


# By definition: averages of averages in a plain loop, one reading at a time


def average(values: Any, beta: float, start_up: str = "corrected") -> list[float]:
    """Sum the readings so far with their weights; a missing one repeats what was."""
    averages, seen = [], []
    for value in values:
        if not math.isnan(value):
            seen.append(value)
        weights = [beta**k for k in range(len(seen))][::-1]
        if start_up == "first" and seen:
            weights = [w * (1 - beta) for w in weights]
            weights[0] = beta ** (len(seen) - 1)
        total = math.fsum(w * x for w, x in zip(weights, seen, strict=True))
        averages.append(total / math.fsum(weights) if seen else math.nan)
    return averages


def where_seen(values: Any, averages: Any) -> list[float]:
    return [math.nan if math.isnan(x) else a for x, a in zip(values, averages, strict=True)]


def chained(values: Any, span: float, depth: int, start_up: str) -> Any:
    found, beta = [list(values)], 1 - 2 / (span + 1)
    for _ in range(depth):
        found.append(average(where_seen(values, found[-1]), beta, start_up))
    return np.array(found[1:])


HOLES = np.where(np.random.default_rng(2).random(150) < 0.1, np.nan, PRICES[:150])


@pytest.mark.parametrize("start_up", ["corrected", "first"])
def test_averages_of_averages_by_definition(start_up: Any) -> None:
    smoothing = Smoothing(Decay(span=9), start_up)
    one, two, three = chained(HOLES, 9, 3, start_up)
    np.testing.assert_allclose(run(dema(smoothing), HOLES)["dema"], 2 * one - two, rtol=1e-11)
    expected = 3 * one - 3 * two + three
    np.testing.assert_allclose(run(tema(smoothing), HOLES)["tema"], expected, rtol=1e-11)


@pytest.mark.parametrize("start_up", ["corrected", "first"])
def test_macd_by_definition(start_up: Any) -> None:
    fast, slow = (average(HOLES, 1 - 2 / (span + 1), start_up) for span in (12, 26))
    line = np.array(fast) - slow
    signal: Any = np.array(average(where_seen(HOLES, line), 0.8, start_up))
    got = run(macd(start_up=start_up), HOLES)
    np.testing.assert_allclose(got["macd"], line, atol=1e-11)
    np.testing.assert_allclose(got["macd_signal"], signal, atol=1e-11)
    np.testing.assert_allclose(got["macd_histogram"], line - signal, atol=1e-11)


def test_bollinger_by_pandas() -> None:
    window = X.ewm(span=20)
    got = run(bollinger(Smoothing(Decay(span=20)), 2.5))
    np.testing.assert_allclose(got["mean"], window.mean(), rtol=1e-12)
    np.testing.assert_allclose(got["upper"], window.mean() + 2.5 * window.std(), rtol=1e-10)
    np.testing.assert_allclose(got["lower"], window.mean() - 2.5 * window.std(), rtol=1e-10)


def test_risk_metrics_by_definition() -> None:
    returns = np.diff(np.log(PRICES))
    expected = [math.nan]
    for t in range(1, len(PRICES)):
        weights = 0.94 ** np.arange(t)[::-1]
        expected.append(math.sqrt((weights * returns[:t] ** 2).sum() / weights.sum()))
    got = run(risk_metrics())
    np.testing.assert_allclose(got["volatility"], expected, rtol=1e-10)
    np.testing.assert_allclose(got["return"][1:], returns, atol=1e-14)


# Against TA-Lib


@pytest.mark.parametrize("period", [2, 9, 30])
def test_dema_and_tema_are_those_of_talib(period: int) -> None:
    smoothing = Smoothing.like_talib_ema(period)
    got = run(dema(smoothing))["dema"]
    np.testing.assert_allclose(got, talib.DEMA(PRICES, period), rtol=1e-11)
    np.testing.assert_allclose(run(tema(smoothing))["tema"], talib.TEMA(PRICES, period), rtol=1e-11)


def test_macd_is_that_of_talib_once_the_start_is_forgotten() -> None:
    # TA-Lib begins the fast average late, with the slow one: 25 readings after any other library.
    names = ("macd", "macd_signal", "macd_histogram")
    expected = dict(zip(names, talib.MACD(PRICES), strict=True))
    got = run(macd())
    for name in names:
        np.testing.assert_allclose(got[name][-50:], expected[name][-50:], atol=1e-9)


# The laws of a table

MAKERS: list[Callable[[], Composite]] = [
    lambda: dema(Smoothing.like_talib_ema(5)),
    lambda: tema(Smoothing(Decay(halflife="3s"), missing="decay", min_weight=0.3)),
    lambda: macd(3, 7, 4, missing="decay", min_periods=2),
    lambda: bollinger(Smoothing(Decay(span=5), weighting="volume")),
    risk_metrics,
]


@st.composite
def streams(draw: st.DrawFn) -> Readings:
    n = draw(st.integers(1, 260))
    source = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = np.exp(source.normal(0, 2, (n, 2)))
    values[source.random((n, 2)) < 0.15] = np.nan
    values[source.random((n, 2)) < 0.05] *= -1.0
    ids = [f"s{k}" for k in source.integers(0, draw(st.integers(1, 40)), n).tolist()]
    times = np.cumsum(source.integers(-500, 2000, n))
    return Readings.of(ids, values, times, source.integers(0, 3, n))


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=25, deadline=None)
@given(streams(), st.integers(1, 260), st.booleans())
def test_cuts_and_snapshots_change_no_bit(
    make: Callable[[], Composite], readings: Readings, size: int, mixed: bool
) -> None:
    asked: Any = {"m": make(), "plain": Smoothing(Decay(span=5))} if mixed else make()
    whole = SeriesTable(asked, fields=["bid", "ask"]).update(readings).statistics
    table, parts = SeriesTable(asked, fields=["bid", "ask"]), []
    for lo in range(0, len(readings), size):
        at = np.arange(lo, min(len(readings), lo + size))
        parts.append(table.update(readings.take(at)).statistics)
        kept = pickle.loads(pickle.dumps(table.snapshot()))
        table = SeriesTable(asked, kept, fields=["bid", "ask"])
    for name, column in whole.items():
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), column, name)


@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=10, deadline=None)
@given(streams())
def test_other_fields_and_series_change_no_bit(
    make: Callable[[], Composite], readings: Readings
) -> None:
    whole = SeriesTable(make(), fields=["bid", "ask"]).update(readings).statistics
    at = np.flatnonzero(np.array(readings.series_ids) == readings.series_ids[0])
    own = readings.take(at)
    alone = Readings(own.series_ids, own.values[:, 1], own.times_ms, weights=own.weights)
    for name, column in SeriesTable(make()).update(alone).statistics.items():
        np.testing.assert_array_equal(whole[f"ask_{name}"][at], column, name)
