"""Composites against pandas by their published formulas, and by the laws of a table."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ewma_ops.composites import Composite, bollinger, dema, macd, risk_metrics, tema
from ewma_ops.decay import Decay
from ewma_ops.errors import ConfigError
from ewma_ops.readings import Readings

PRICES = 100 * np.exp(np.cumsum(np.random.default_rng(4).normal(0, 0.01, 400)))
X = pd.Series(PRICES)


def run(composite: Composite, values: Any = PRICES) -> dict[str, Any]:
    return composite.update(Readings.of(["s"] * len(values), values)).statistics


@pytest.mark.parametrize("start_up", ["corrected", "first"])
def test_dema_and_tema(start_up: Any) -> None:
    def average(series: pd.Series[float]) -> pd.Series[float]:
        return series.ewm(span=9, adjust=start_up == "corrected").mean()

    one, two, three = average(X), average(average(X)), average(average(average(X)))
    got = run(dema(Decay(span=9), start_up))["dema"]
    np.testing.assert_allclose(got, 2 * one - two, rtol=1e-12)
    got = run(tema(Decay(span=9), start_up))["tema"]
    np.testing.assert_allclose(got, 3 * one - 3 * two + three, rtol=1e-12)


@pytest.mark.parametrize("start_up", ["corrected", "first"])
def test_macd(start_up: Any) -> None:
    adjust = start_up == "corrected"
    line = X.ewm(span=12, adjust=adjust).mean() - X.ewm(span=26, adjust=adjust).mean()
    signal = line.ewm(span=9, adjust=adjust).mean()
    got = run(macd(start_up=start_up))
    np.testing.assert_allclose(got["macd"], line, atol=1e-11)
    np.testing.assert_allclose(got["signal"], signal, atol=1e-11)
    np.testing.assert_allclose(got["histogram"], line - signal, atol=1e-11)


def test_macd_refuses_spans_the_wrong_way_round() -> None:
    with pytest.raises(ConfigError, match="must be less than slow"):
        macd(26, 12)


def test_bollinger() -> None:
    window = X.ewm(span=20)
    got = run(bollinger(Decay(span=20), 2.5))
    np.testing.assert_allclose(got["middle"], window.mean(), rtol=1e-12)
    np.testing.assert_allclose(got["upper"], window.mean() + 2.5 * window.std(), rtol=1e-10)
    np.testing.assert_allclose(got["lower"], window.mean() - 2.5 * window.std(), rtol=1e-10)


def test_risk_metrics() -> None:
    returns = np.diff(np.log(PRICES))
    expected = [math.nan]
    for t in range(1, len(PRICES)):
        weights = 0.94 ** np.arange(t)[::-1]
        expected.append(math.sqrt((weights * returns[:t] ** 2).sum() / weights.sum()))
    got = run(risk_metrics())
    np.testing.assert_allclose(got["volatility"], expected, rtol=1e-10)
    np.testing.assert_allclose(got["return"][1:], returns, atol=1e-14)


MAKERS: list[Callable[..., Composite]] = [
    lambda **how: dema(Decay(span=5), **how),
    lambda **how: tema(Decay(span=5), **how),
    macd,
    lambda **how: bollinger(Decay(span=5), **how),
    risk_metrics,
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("cut", [1, 7, 130])
def test_cuts_and_snapshots_change_no_bit(make: Callable[..., Composite], cut: int) -> None:
    draw = np.random.default_rng(9)
    values = np.where(draw.random(400) < 0.1, np.nan, PRICES)
    readings = Readings.of([f"s{k}" for k in draw.integers(0, 5, 400).tolist()], values)
    whole = make().update(readings).statistics
    composite, parts = make(), []
    for lo in range(0, 400, cut):
        parts.append(composite.update(readings.take(np.arange(lo, min(400, lo + cut)))).statistics)
        composite = make(snapshot=pickle.loads(pickle.dumps(composite.snapshot())))
    for name, column in whole.items():
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), column, name)
