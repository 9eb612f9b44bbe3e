"""Presets, each against the library it is named after; Adam's against autograd's optimizers."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import talib
from autograd.misc import optimizers

from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from tests.oracles import exact

SOURCE = np.random.default_rng(12)
VALUES = SOURCE.normal(50, 3, 300)
TIMES = np.cumsum(SOURCE.integers(1, 10_000, 300))


def smooth(smoothing: Smoothing, values: Any = VALUES, times: Any = TIMES) -> dict[str, Any]:
    return SeriesTable(smoothing).update(Readings.of(["s"] * len(values), values, times)).statistics


@pytest.mark.parametrize(
    ("adjust", "ignore_na", "option"),
    [
        (adjust, ignore_na, option)
        for adjust, ignore_na in itertools.product((True, False), repeat=2)
        for option in ({"alpha": 0.3}, {"span": 12}, {"com": 4}, {"halflife": 2.5})
    ],
)
def test_like_pandas(adjust: bool, ignore_na: bool, option: dict[str, Any]) -> None:
    values = np.where(SOURCE.random(300) < 0.2, np.nan, VALUES)
    how = {**option, "adjust": adjust, "ignore_na": ignore_na, "min_periods": 3}
    names = ["mean", "var", "std", "var_biased", *(["sum"] if adjust else [])]
    got = smooth(Smoothing.like_pandas(**how, statistics=names), values)
    window = pd.Series(values).ewm(**how)
    expected = {
        "mean": window.mean(),
        "var": window.var(),
        "std": window.std(),
        "var_biased": window.var(bias=True),
    }
    if adjust:
        expected["sum"] = window.sum()
    for name, column in expected.items():
        np.testing.assert_allclose(got[name], column, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize(("adjust", "ignore_na"), [*itertools.product((True, False), repeat=2)])
@pytest.mark.parametrize("option", [{"alpha": 1.0}, {"span": 1.0}, {"com": 0.0}])
def test_nothing_unbiased_is_defined_where_only_the_newest_weighs(
    option: dict[str, float], adjust: bool, ignore_na: bool
) -> None:
    frame = pd.DataFrame({"a": [2.0, 5.0, math.nan, 4.0], "b": [1.0, 7.0, 7.0, 3.0]})
    how: dict[str, Any] = {**option, "adjust": adjust, "ignore_na": ignore_na}
    names = ["mean", "var", "std", "sem", "var_biased", "cov", "cov_biased", "corr"]
    smoothing = Smoothing.like_pandas(**how, statistics=names)
    window = frame.ewm(**how)
    expected = {"mean": window.mean(), "var": window.var(), "std": window.std()}
    expected["var_biased"] = window.var(bias=True)
    pairs = {"cov": window.cov(), "cov_biased": window.cov(bias=True), "corr": window.corr()}
    polars = pl.Series([2.0, 5.0, None, 4.0]).ewm_var(
        alpha=1.0, adjust=adjust, ignore_nulls=ignore_na
    )
    assert np.isnan(polars.to_numpy()).all()
    table = SeriesTable(smoothing, fields=["a", "b"])
    rows = [table.step("s", row) for row in frame.to_numpy().tolist()]
    batch = SeriesTable(smoothing, fields=["a", "b"]).update(
        Readings.of(["s"] * 4 + ["t"] * 96, frame.to_numpy().tolist() * 25)
    )
    found = dict(zip(table.smoothing_set.names, np.array(rows).T, strict=True))
    for name, column in found.items():
        np.testing.assert_array_equal(batch.statistics[name][:4], column, name)
    for name, frames in expected.items():
        for field in ("a", "b"):
            np.testing.assert_array_equal(found[f"{field}_{name}"], frames[field], name)
    for name, frames in pairs.items():
        np.testing.assert_array_equal(found[f"a_b_{name}"], frames.xs("a", level=1)["b"], name)
    assert np.isnan(found["a_sem"]).all()


def test_a_simple_start_has_variances_until_only_the_newest_weighs() -> None:
    smoothing = Smoothing(Decay(beta=0.0), "simple", start_n=3, statistics=["mean", "var"])
    table = SeriesTable(smoothing)
    found = [table.step("s", value) for value in (1.0, 4.0, 7.0, 9.0)]
    np.testing.assert_allclose(found, [(1, math.nan), (2.5, 4.5), (4, 9), (9, math.nan)])


def test_like_pandas_with_times() -> None:
    got = smooth(Smoothing.like_pandas(halflife=timedelta(seconds=7)))
    window = pd.Series(VALUES).ewm(
        halflife=pd.Timedelta("7s"),  # type: ignore[arg-type] # stubs
        times=TIMES.astype("datetime64[ms]"),
    )
    np.testing.assert_allclose(got["mean"], window.mean(), rtol=1e-12)


def test_like_polars_by() -> None:
    times = pl.Series([datetime(2026, 1, 1) + timedelta(milliseconds=int(t)) for t in TIMES])  # noqa: DTZ001
    expected = pl.Series(VALUES).ewm_mean_by(times, half_life="7s").to_numpy()
    np.testing.assert_allclose(smooth(Smoothing.like_polars_by("7s"))["mean"], expected, rtol=1e-12)


@pytest.mark.parametrize(("adjust", "ignore_nulls"), [*itertools.product((True, False), repeat=2)])
def test_polars_per_reading(adjust: bool, ignore_nulls: bool) -> None:
    values = np.where(SOURCE.random(300) < 0.2, np.nan, VALUES)
    column = pl.Series(values).fill_nan(None)
    expected = column.ewm_mean(span=9, adjust=adjust, ignore_nulls=ignore_nulls)
    smoothing = Smoothing.like_pandas(span=9, adjust=adjust, ignore_na=ignore_nulls)
    shown = expected.is_not_null().to_numpy()
    got = smooth(smoothing, values)["mean"]
    np.testing.assert_allclose(got[shown], expected.to_numpy()[shown], rtol=1e-12)


@pytest.mark.parametrize("period", [2, 12, 26])
def test_like_talib_ema(period: int) -> None:
    got = smooth(Smoothing.like_talib_ema(period))["mean"]
    np.testing.assert_allclose(got, talib.EMA(VALUES, period), rtol=1e-12)


def steepness(weights: Any, step: int) -> Any:
    """Return the gradient of a bowl, with the noise that makes moments worth having."""
    return weights * [2.0, 6.0, 0.5] + np.random.default_rng(step).normal(0, 0.3, 3)


def descended(smoothings: Any, direction: Callable[[dict[str, Any]], Any], steps: int) -> Any:
    """Go downhill from 1, -2, 5 by what is computed of the gradients, a vector a reading."""
    table, weights = SeriesTable(smoothings, fields=3), np.array([1.0, -2.0, 5.0])
    for step in range(steps):
        gradients = Readings.of(["weights"], [steepness(weights, step)])
        found = table.update(gradients).statistics
        weights = weights - direction({name: column[0] for name, column in found.items()})
    return weights


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.98)])
@pytest.mark.parametrize("steps", [1, 2, 300])
def test_like_adam_descends_as_autograd_does(betas: tuple[float, float], steps: int) -> None:
    adam = {
        "m": Smoothing.like_adam(betas[0]),
        "v": Smoothing.like_adam(betas[1], ["mean", "mean_square"]),
    }
    got = descended(
        adam, lambda f: 0.05 * f["m_mean"] / (np.sqrt(f["v_mean_square"]) + 1e-8), steps
    )
    start, rates = np.array([1.0, -2.0, 5.0]), {"b1": betas[0], "b2": betas[1]}
    expected = optimizers.adam(steepness, start, num_iters=steps, step_size=0.05, **rates)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_momentum_descends_as_autograd_does() -> None:
    momentum = Smoothing(Decay(beta=0.9), "uncorrected")
    got = descended(momentum, lambda found: 0.05 * found["mean"], 100)
    start = np.array([1.0, -2.0, 5.0])
    expected = optimizers.sgd(steepness, start, num_iters=100, step_size=0.05, mass=0.9)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.slow
def test_ten_thousand_random_series_in_one_run() -> None:
    source = random.Random(8)
    ids, values = [], []
    for k in range(10_000):
        for _ in range(source.randrange(1, 12)):
            ids.append(f"s{k}")
            missing = source.random() < 0.15
            values.append(np.nan if missing else source.gauss(0, 10 ** source.uniform(-3, 3)))
    order = source.sample(range(len(ids)), len(ids))
    frame = pd.DataFrame({"id": [ids[i] for i in order], "x": [values[i] for i in order]})
    statistics = ["mean", "sum", "var", "std_biased", "var_biased", "mean_square", "n_eff"]
    smoothing = Smoothing.like_pandas(alpha=0.2, statistics=statistics)
    got = SeriesTable(smoothing).update(Readings.of(frame["id"].tolist(), frame["x"])).statistics

    beta, rows = smoothing.decay.beta, list(frame.groupby("id").indices.values())
    places, of = np.concatenate(rows), [frame["x"].to_numpy()[at] for at in rows]
    moments = [m for x in of for m in exact.running(beta, x.tolist())]
    sizes = [m for x in of for m in exact.running(beta, np.abs(x).tolist())]
    scales: dict[str, Any] = {}
    for name in ("mean", "sum", "mean_square", "n_eff", "var", "var_biased"):
        column, expected = got[name][places], np.array([getattr(m, name) for m in moments])
        scales[name] = expected
        if name in ("mean", "sum"):
            scales[name] = np.array([getattr(m, name) for m in sizes])
        if name in ("var", "var_biased"):
            scales[name] = expected * np.array([m.condition for m in moments])
        np.testing.assert_array_equal(np.isnan(column), np.isnan(expected), name)
        assert not (np.abs(column - expected) > 16 * exact.ULP * scales[name]).any(), name

    window = frame.groupby("id")["x"].ewm(alpha=0.2)
    peers = {"mean": window.mean(), "sum": window.sum(), "var_biased": window.var(bias=True)}
    for name, peer in peers.items():
        column = peer.droplevel(0).sort_index().to_numpy()[places]
        assert not (np.abs(got[name][places] - column) > 24 * exact.ULP * scales[name]).any(), name


@pytest.mark.parametrize("ignore_na", [True, False])
def test_a_first_start_by_volume_is_one_average_over_another(ignore_na: bool) -> None:
    volumes = SOURCE.uniform(0.1, 50, 300)
    missing: Any = "skip" if ignore_na else "decay"
    smoothing = Smoothing(Decay(span=9), "first", missing, weighting="volume")
    table = SeriesTable(smoothing)
    got = table.update(Readings.of(["s"] * 300, VALUES, weights=volumes)).statistics["mean"]
    how: dict[str, Any] = {"span": 9, "adjust": False}
    over = pd.Series(VALUES * volumes).ewm(**how).mean() / pd.Series(volumes).ewm(**how).mean()
    np.testing.assert_allclose(got, over, rtol=1e-12)


@pytest.mark.parametrize("decay", [Decay(span=9), Decay(halflife="7s")])
def test_a_first_start_with_equal_volumes_is_one_without(decay: Decay) -> None:
    names = ["mean", "var", "n_eff"]
    plain = Smoothing(decay, "first", statistics=names)
    by_volume = Smoothing(decay, "first", statistics=names, weighting="volume")
    for weight in (1.0, 1e-100, 3e7):
        readings = Readings.of(["s"] * 300, VALUES, TIMES, [weight] * 300)
        wanted = SeriesTable(plain).update(readings).statistics
        for name, column in SeriesTable(by_volume).update(readings).statistics.items():
            np.testing.assert_allclose(column, wanted[name], rtol=1e-9)


def test_a_first_start_by_duration_is_that_of_operators_on_inhomogeneous_series() -> None:
    """G. Zumbach and U. Muller, "Operators on inhomogeneous time series", 2001."""
    for weighting in ("last", "next", "linear"):
        smoothing = Smoothing(Decay(halflife="7s"), "first", weighting=weighting)
        got = smooth(smoothing)["mean"]
        v = VALUES[0]
        assert got[0] == v
        for i, gap in enumerate(np.diff(TIMES), start=1):
            a = gap / 7000 * math.log(2)
            mu = math.exp(-a)
            nu = {"last": 1.0, "next": mu, "linear": (1 - mu) / a if a else 1.0}[weighting]
            v = mu * v + (nu - mu) * VALUES[i - 1] + (1 - nu) * VALUES[i]
            assert got[i] == pytest.approx(v, rel=1e-9)
