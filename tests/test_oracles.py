"""What comes out is right: worked numbers first, then one table of oracles.

Every cell of the table (clock, start-up, missing, min_periods, how the stream is cut) is computed
by the naive definition and by the table; the mean by pandas as well, where pandas defines it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ewma_ops.decay import Decay
from ewma_ops.errors import ConfigError
from ewma_ops.readings import Readings
from ewma_ops.smoothing import PAIRED, STATISTICS, Smoothing
from ewma_ops.table import SeriesTable
from tests import naive
from tests.naive import Rules, Series

TOLERANCE = 1e-12
Columns = Mapping[str, NDArray[np.float64]]


def smooth(series: Series, smoothing: Smoothing) -> Columns:
    """Smooth one series, in one batch."""
    times, values = zip(*series, strict=True)
    readings = Readings.of(["s"] * len(series), values, times)
    return SeriesTable(smoothing).update(readings).statistics


def smooth_values(values: Sequence[float], smoothing: Smoothing) -> Columns:
    return smooth([(0, value) for value in values], smoothing)


# Worked numbers -------------------------------------------------------------------------------


def test_uncorrected_starts_low() -> None:
    smoothing = Smoothing(Decay(beta=0.9), start_up="uncorrected")
    assert smooth_values([30, 17], smoothing)["mean"] == pytest.approx([3, 4.4], rel=1e-15)


def test_uncorrected_of_one_to_five() -> None:
    smoothing = Smoothing(Decay(beta=0.5), start_up="uncorrected")
    assert smooth_values([1, 2, 3, 4, 5], smoothing)["mean"][-1] == 4.03125


def test_corrected_divides_by_the_weight_gathered() -> None:
    corrected = smooth_values([30, 17], Smoothing(Decay(beta=0.9)))["mean"]
    assert corrected == pytest.approx([30, 4.4 / (1 - 0.9**2)], rel=1e-15)


def test_first_value_starts_at_the_first_reading() -> None:
    first = smooth_values([30, 17], Smoothing(Decay(beta=0.9), start_up="first"))["mean"]
    assert first == pytest.approx([30, 0.9 * 30 + 0.1 * 17], rel=1e-15)


def test_corrected_is_the_bias_corrected_moment_of_adam() -> None:
    beta, gradients = 0.9, [random.Random(1).gauss(0, 1) for _ in range(50)]
    moment, expected = 0.0, []
    for t, gradient in enumerate(gradients, start=1):
        moment = beta * moment + (1 - beta) * gradient
        expected.append(moment / (1 - beta**t))
    corrected = smooth_values(gradients, Smoothing(Decay(beta=beta)))["mean"]
    assert corrected == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("beta", [0.98, 0.995])
def test_one_effective_window_leaves_one_part_in_e_of_the_start(beta: float) -> None:
    window = round(1 / (1 - beta))
    smoothing = Smoothing(Decay(beta=beta), statistics=["mean", "settled"])
    settled = smooth_values([1.0] * window, smoothing)["settled"][-1]
    assert settled == pytest.approx(1 - beta**window, rel=1e-12)
    assert 1 - settled == pytest.approx(1 / math.e, rel=0.02)


def test_n_eff_keeps_its_digits_over_a_long_window() -> None:
    beta, n = 0.9999, 100_000
    smoothing = Smoothing(Decay(beta=beta), statistics=["mean", "n_eff"])
    weights = (1 - beta**n) / (1 - beta)
    squares = (1 - beta ** (2 * n)) / (1 - beta) / (1 + beta)
    got = smooth_values([1.0] * n, smoothing)["n_eff"][-1]
    assert got == pytest.approx(weights**2 / squares, rel=1e-11)


def test_n_eff_tends_to_one_plus_beta_over_one_minus_beta() -> None:
    smoothing = Smoothing(Decay(beta=0.9), statistics=["mean", "n_eff"])
    assert smooth_values([1.0] * 400, smoothing)["n_eff"][[0, -1]] == pytest.approx([1, 19])


@pytest.mark.parametrize(
    ("start_up", "expected"), [("corrected", [0, 2 / 3, 2 / 3]), ("first", [0, 0.5, 0.5])]
)
def test_a_half_life_halves_the_weight(start_up: str, expected: list[float]) -> None:
    smoothing = smoothing_of(Rules(halflife_ms=1000, start_up=start_up))
    got = smooth([(0, 0), (1000, 1), (5000, math.nan)], smoothing)["mean"]
    assert got == pytest.approx(expected, rel=1e-15)


def test_a_late_reading_weighs_what_it_would_have_weighed_in_time() -> None:
    smoothing = Smoothing(Decay(halflife="1s"))
    in_time = smooth([(0, 4), (1000, 1)], smoothing)["mean"]
    late = smooth([(1000, 1), (0, 4)], smoothing)["mean"]
    assert in_time[-1] == late[-1] == pytest.approx(2.0)


def test_a_missing_reading_shows_the_mean_so_far() -> None:
    got = smooth_values([math.nan, 5, math.nan], Smoothing(Decay(beta=0.9)))["mean"]
    np.testing.assert_array_equal(got, [math.nan, 5, 5])


def test_min_periods_counts_observed_readings() -> None:
    smoothing = Smoothing(Decay(beta=0.5), min_periods=2, statistics=["mean", "count"])
    got = smooth_values([3, math.nan, 3, math.nan], smoothing)
    np.testing.assert_array_equal(got["mean"], [math.nan, math.nan, 3, 3])
    np.testing.assert_array_equal(got["count"], [1, 1, 2, 2])


def test_unbiased_variance_of_equal_weights_is_the_usual_one() -> None:
    smoothing = Smoothing(Decay(halflife="1s"), statistics=["mean", "var", "std", "sem"])
    got = smooth([(0, 2.0), (0, 4.0), (0, 9.0)], smoothing)
    assert got["var"] == pytest.approx([math.nan, 2.0, 13.0], nan_ok=True)
    assert got["sem"][-1] == pytest.approx(math.sqrt(13 / 3))


@pytest.mark.parametrize("missing", [1, 34, 700, 1100, 5000])
@pytest.mark.parametrize("start_up", ["corrected", "first"])
def test_unbiased_variance_is_right_after_any_gap(missing: int, start_up: str) -> None:
    smoothing = Smoothing.like_pandas(
        span=2, adjust=start_up == "corrected", statistics=["mean", "var"]
    )
    var = smooth_values([1.0] + [math.nan] * missing + [3.0] + [math.nan] * 3, smoothing)["var"]
    assert np.isnan(var[: missing + 1]).all()
    assert var[missing + 1 :] == pytest.approx([2.0] * 4, rel=1e-15)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9])
def test_variance_keeps_its_digits_at_any_offset(offset: float) -> None:
    source = random.Random(3)
    noise = [source.choice((-1, 1)) * 2.0**-10 * (k % 4096) for k in range(4000)]
    smoothing = Smoothing(Decay(beta=0.97), statistics=["mean", "var", "var_biased"])
    here = smooth_values([offset + x for x in noise], smoothing)
    there = smooth_values(noise, smoothing)
    for name in ("var", "var_biased"):
        # The mean itself is only known to the spacing of floats at the offset.
        slack = 1e-12 * there[name] + 4 * np.spacing(offset) * np.sqrt(there[name])
        assert (np.abs(here[name] - there[name]) <= slack)[1:].all()


def test_sum_of_a_momentum_and_mean_square_of_rmsprop() -> None:
    gradients = [random.Random(5).gauss(0, 1) for _ in range(60)]
    velocity, square, velocities, squares = 0.0, 0.0, [], []
    for gradient in gradients:
        velocity = 0.9 * velocity + gradient
        square = 0.99 * square + (1 - 0.99) * gradient**2
        velocities.append(velocity)
        squares.append(square)
    momentum = Smoothing(Decay(beta=0.9), statistics=["mean", "sum"])
    rmsprop = Smoothing(Decay(beta=0.99), "uncorrected", statistics=["mean", "mean_square"])
    assert smooth_values(gradients, momentum)["sum"] == pytest.approx(velocities, abs=1e-13)
    assert smooth_values(gradients, rmsprop)["mean_square"] == pytest.approx(squares, rel=1e-12)


def test_rate_counts_readings_per_second() -> None:
    smoothing = Smoothing(Decay(halflife="1h"), statistics=["mean", "rate"])
    rate = smooth([(250 * k, 1.0) for k in range(100)], smoothing)["rate"]
    assert math.isnan(rate[0])
    assert rate[1:] == pytest.approx([4.0] * 99, rel=1e-4)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [("observation", 0.0028), ("next", 0.667), ("linear", 0.372), ("last", 0.0)],
)
def test_a_thousand_ticks_and_one(weighting: str, expected: float) -> None:
    smoothing = Smoothing(Decay(halflife="1s"), weighting=weighting)  # type: ignore[arg-type]
    ticks = [(k, 0.0) for k in range(1000)] + [(1999, 1.0)]
    assert smooth(ticks, smoothing)["mean"][-1] == pytest.approx(expected, abs=5e-4)


def test_volume_weighs() -> None:
    table = SeriesTable(Smoothing(Decay(beta=0.5), weighting="volume"))
    readings = Readings.of(["s"] * 3, [10, 20, 40], weights=[1, 3, 0])
    assert table.update(readings).statistics["mean"].tolist() == [10, 65 / 3.5, 65 / 3.5]


def test_no_value_once_the_evidence_has_decayed_away() -> None:
    smoothing = Smoothing(Decay(halflife="1s"), missing="decay", min_weight=0.5)
    got = smooth([(0, 5), (900, math.nan), (1100, math.nan), (2000, 7)], smoothing)["mean"]
    assert got == pytest.approx([5, 5, math.nan, 6.6], nan_ok=True)


def test_a_prior_counts_as_readings_before_the_first() -> None:
    prior = Smoothing(Decay(beta=0.5), "prior", prior=10, prior_weight=2)
    assert smooth_values([4, 4], prior)["mean"] == pytest.approx([7.0, 5.5])


# The table of oracles -------------------------------------------------------------------------

COUNT_CLOCKS = [Rules(beta=beta) for beta in (0.9, 0.5, 0.02)]
TIME_CLOCKS = [Rules(halflife_ms=halflife) for halflife in (1000.0, 86_400_000.0)]
STARTS: list[dict[str, Any]] = [
    {"start_up": "corrected"},
    {"start_up": "uncorrected"},
    {"start_up": "first"},
    {"start_up": "simple", "start_n": 5},
    {"start_up": "prior", "prior": 3.0, "prior_weight": 2.5},
]
BOUNDS: list[dict[str, Any]] = [{}, {"min_periods": 4}, {"min_weight": 1.2}]
WEIGHTINGS = ("observation", "volume", "last", "next", "linear")


def allowed(rules: Rules) -> bool:
    try:
        smoothing_of(rules, ["mean"])
    except ConfigError:
        return False
    return True


def smoothing_of(rules: Rules, statistics: Sequence[str] | None = None) -> Smoothing:
    if rules.halflife_ms is None:
        decay = Decay(beta=rules.beta)
    else:
        decay = Decay(halflife=timedelta(milliseconds=rules.halflife_ms))
    options: dict[str, Any] = {
        "start_up": rules.start_up,
        "missing": rules.missing,
        "min_periods": rules.min_periods,
        "min_weight": rules.min_weight,
        "weighting": rules.weighting,
    }
    if rules.start_up == "simple":
        options |= {"start_n": rules.start_n}
    if rules.start_up == "prior":
        options |= {"prior": rules.prior, "prior_weight": rules.prior_weight}
    return Smoothing(decay, **options, statistics=statistics or defined(decay, options))


def defined(decay: Decay, options: dict[str, Any]) -> list[str]:
    """Name every statistic that goes with the options."""
    names = ["mean"]
    for name in STATISTICS[1:]:
        try:
            Smoothing(decay, **options, statistics=["mean", name])
        except ConfigError:
            continue
        if name not in PAIRED:
            names.append(name)
    return names


RULES = [
    rules
    for clock in (*COUNT_CLOCKS, *TIME_CLOCKS)
    for start, missing, bounds, weighting in itertools.product(
        STARTS, ("skip", "decay"), BOUNDS, WEIGHTINGS
    )
    if allowed(rules := replace(clock, missing=missing, weighting=weighting, **start, **bounds))
]

NO_PANDAS: dict[str, Callable[[Rules], bool]] = {
    "pandas has no such start": lambda rules: rules.start_up in ("simple", "prior"),
    "pandas has no such weights": lambda rules: rules.weighting != "observation",
    "pandas has no min_weight (pandas#11167)": lambda rules: rules.min_weight > 0,
    "adjust=False with alpha 0.5 takes other weights after a gap (pandas#66523)": lambda rules: (
        (rules.beta, rules.start_up, rules.missing) == (0.5, "first", "decay")
    ),
    "times with ignore_na=True drops the time before a missing row (pandas#54604)": lambda rules: (
        rules.halflife_ms is not None and rules.missing == "skip"
    ),
    "times with adjust=False came with pandas 3": lambda rules: (
        rules.halflife_ms is not None
        and rules.start_up == "first"
        and int(pd.__version__.split(".")[0]) < 3
    ),
    "a start from 0 is adjust=False after a 0, but pandas fills a gap up": lambda rules: (
        (rules.start_up, rules.missing) == ("uncorrected", "decay")
    ),
}

Cut = Callable[[int], Iterator[int]]


def at_random(n: int) -> Iterator[int]:
    lengths = random.Random(n)
    at = 0
    while at < n:
        at += lengths.choice((1, 2, 5, 40, 170))
        yield min(at, n)


CUTS: dict[str, Cut] = {
    "whole": lambda n: iter([n]),
    "one-by-one": lambda n: iter(range(1, n + 1)),
    "at-random": at_random,
}


def name_of(rules: Rules) -> str:
    clock = f"beta{rules.beta}" if rules.halflife_ms is None else f"{rules.halflife_ms:.0f}ms"
    bounds = f"min{rules.min_periods}" + (f"-weight{rules.min_weight}" if rules.min_weight else "")
    return f"{clock}-{rules.start_up}-{rules.missing}-{rules.weighting}-{bounds}"


@cache
def many_series(in_order: bool) -> dict[str, Series]:
    """Series of every kind: mixed magnitudes, missing readings, gaps, late and equal times."""
    source = random.Random(20)
    many: dict[str, Series] = {}
    for k in range(8):
        time, series = 1_700_000_000_000 + k, []
        for _ in range(source.choice((1, 15, 45))):
            time += round(source.choice((0, 1, 10 ** source.uniform(0, 7), 10**9)))
            value = source.choice((-1, 1, 1)) * 10 ** source.uniform(-6, 6)
            late = 0 if in_order or source.random() < 0.7 else round(10 ** source.uniform(0, 8))
            series.append((time - late, math.nan if source.random() < 0.25 else value))
        many[f"series-{k}"] = series
    return many


@cache
def volumes_of(name: str) -> list[float]:
    source = random.Random(name)
    return [source.choice((0.0, 1.0, 10 ** source.uniform(-3, 3))) for _ in range(60)]


@cache
def by_definition(rules: Rules, in_order: bool) -> dict[str, dict[str, list[float]]]:
    free = replace(rules, min_periods=0, min_weight=0.0)
    if free == rules:
        return {
            name: naive.smooth(series, rules, smoothing_of(rules).statistics, volumes_of(name))
            if rules.weighting == "volume"
            else naive.smooth(series, rules, smoothing_of(rules).statistics)
            for name, series in many_series(in_order).items()
        }
    results: dict[str, dict[str, list[float]]] = {}
    for name, columns in by_definition(free, in_order).items():
        shown = naive.shown(many_series(in_order)[name], rules, volumes_of(name))
        results[name] = {
            statistic: column
            if statistic == "count"
            else [x if show else math.nan for x, show in zip(column, shown, strict=True)]
            for statistic, column in columns.items()
        }
    return results


@cache
def magnitude(rules: Rules, in_order: bool) -> dict[str, dict[str, list[float]]]:
    """Return the mean and sum of the absolute values: errors are relative to what was added up."""
    rules = replace(rules, min_periods=0, min_weight=0.0, prior=abs(rules.prior))
    names = [name for name in ("mean", "sum") if name in smoothing_of(rules).statistics]
    return {
        name: naive.smooth(
            [(t, abs(x)) for t, x in series],
            rules,
            names,
            volumes_of(name) if rules.weighting == "volume" else None,
        )
        for name, series in many_series(in_order).items()
    }


def by_table(rules: Rules, cut: Cut, in_order: bool) -> dict[str, Columns]:
    many = many_series(in_order)
    left = {name: zip(series, volumes_of(name), strict=False) for name, series in many.items()}
    arrivals = [name for name, series in many.items() for _ in series]
    random.Random(21).shuffle(arrivals)
    rows = [(name, *next(left[name])) for name in arrivals]
    smoothing = smoothing_of(rules)
    table = SeriesTable(smoothing)
    parts: list[Columns] = []
    lo = 0
    for hi in cut(len(rows)):
        names, points, volumes = zip(*rows[lo:hi], strict=True)
        times, values = zip(*points, strict=True)
        parts.append(table.update(Readings.of(names, values, times, volumes)).statistics)
        lo = hi
    columns = {
        name: np.concatenate([part[name] for part in parts]) for name in smoothing.statistics
    }
    of = np.array(arrivals)
    return {name: {key: column[of == name] for key, column in columns.items()} for name in many}


def by_pandas(series: Series, rules: Rules) -> NDArray[np.float64]:
    values = [value for _, value in series]
    adjust, ignore_na = rules.start_up == "corrected", rules.missing == "skip"
    if rules.halflife_ms is not None:
        window = pd.Series(values).ewm(
            halflife=pd.Timedelta(milliseconds=rules.halflife_ms),  # type: ignore[arg-type] # stubs
            times=np.array([time for time, _ in series], "datetime64[ms]"),
            adjust=adjust,
            ignore_na=ignore_na,
            min_periods=rules.min_periods,
        )
        return window.mean().to_numpy()
    from_zero = rules.start_up == "uncorrected"
    window = pd.Series([0.0, *values] if from_zero else values).ewm(
        alpha=1 - rules.beta,
        adjust=adjust,
        ignore_na=ignore_na,
        min_periods=max(1, rules.min_periods) + from_zero,
    )
    return window.mean().to_numpy()[int(from_zero) :]


def assert_close(
    got: NDArray[np.float64],
    expected: Sequence[float],
    scale: Sequence[float],
    what: str,
    tolerance: float = TOLERANCE,
    floor: float = 1e-307,
) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), what)
    # Below the floor float64 has fewer digits.
    off = np.maximum(np.abs(got - np.array(expected)) - floor, 0.0)
    error = np.nan_to_num(off / np.abs(scale))
    at = int(np.argmax(error))
    assert error[at] <= tolerance, f"{what}, reading {at}: {got[at]!r}, not {expected[at]!r}"


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize(
    ("rules", "in_order"),
    [
        pytest.param(rules, in_order, id=name_of(rules) + ("" if in_order else "-late"))
        for rules in RULES
        for in_order in ((True,) if rules.halflife_ms is None else (True, False))
    ],
)
def test_the_table_agrees_with_the_definition(rules: Rules, in_order: bool, cut: Cut) -> None:
    got = by_table(rules, cut, in_order)
    for name, expected in by_definition(rules, in_order).items():
        scales = {**expected, **magnitude(rules, in_order)[name]}
        for statistic, column in expected.items():
            scale = [s or 1.0 for s in scales[statistic]]
            floor = 1e-153 if statistic in ("std", "std_biased", "sem") else 1e-307
            what = f"{statistic} of {name}"
            assert_close(got[name][statistic], column, scale, what, floor=floor)


@pytest.mark.parametrize(
    "rules",
    [rules for rules in RULES if not any(fault(rules) for fault in NO_PANDAS.values())],
    ids=name_of,
)
def test_pandas_agrees_with_the_definition(rules: Rules) -> None:
    # By time pandas weighs by 1 - f after a first-value start: digits lost where gaps are short.
    cancels = rules.start_up == "first" and (rules.halflife_ms or 0) > 1e6
    tolerance = 1e-9 if cancels else TOLERANCE
    for name, series in many_series(True).items():
        expected = by_definition(rules, True)[name]["mean"]
        scale = magnitude(rules, True)[name]["mean"]
        assert_close(by_pandas(series, rules), expected, scale, name, tolerance)
