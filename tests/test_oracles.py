"""What comes out is right: worked numbers first, then one table of oracles.

Every cell of the table (clock, start-up, missing, min_periods, how the stream is cut) is computed
by the naive definition and by the table; the mean by pandas as well, where pandas defines it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ewma_ops.decay import Decay
from ewma_ops.readings import Readings
from ewma_ops.smoothing import STATISTICS, Smoothing
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


# The table of oracles -------------------------------------------------------------------------

COUNT_CLOCKS = [{"beta": beta} for beta in (0.9, 0.5, 0.02)]
TIME_CLOCKS = [{"halflife_ms": halflife} for halflife in (1000.0, 86_400_000.0)]
RULES = [
    Rules(**clock, start_up=start_up, missing=missing, min_periods=min_periods)
    for clocks, start_ups in (
        (COUNT_CLOCKS, ("corrected", "uncorrected", "first")),
        (TIME_CLOCKS, ("corrected", "first")),
    )
    for clock, start_up, missing, min_periods in itertools.product(
        clocks, start_ups, ("skip", "decay"), (0, 4)
    )
]

NO_PANDAS: dict[str, Callable[[Rules], bool]] = {
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


def smoothing_of(rules: Rules) -> Smoothing:
    if rules.halflife_ms is None:
        decay = Decay(beta=rules.beta)
    else:
        decay = Decay(halflife=timedelta(milliseconds=rules.halflife_ms))
    return Smoothing(decay, rules.start_up, rules.missing, rules.min_periods, STATISTICS)  # type: ignore[arg-type] # names as text


def name_of(rules: Rules) -> str:
    clock = f"beta{rules.beta}" if rules.halflife_ms is None else f"{rules.halflife_ms:.0f}ms"
    return f"{clock}-{rules.start_up}-{rules.missing}-min{rules.min_periods}"


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
def by_definition(rules: Rules, in_order: bool) -> dict[str, dict[str, list[float]]]:
    return {name: naive.smooth(series, rules) for name, series in many_series(in_order).items()}


@cache
def magnitude(rules: Rules, in_order: bool) -> dict[str, list[float]]:
    """Return the mean of the absolute values: errors are relative to what was added up."""
    return {
        name: naive.smooth([(t, abs(x)) for t, x in series], rules, ["mean"])["mean"]
        for name, series in many_series(in_order).items()
    }


def by_table(rules: Rules, cut: Cut, in_order: bool) -> dict[str, Columns]:
    many = many_series(in_order)
    left = {name: iter(series) for name, series in many.items()}
    arrivals = [name for name, series in many.items() for _ in series]
    random.Random(21).shuffle(arrivals)
    rows = [(name, *next(left[name])) for name in arrivals]
    table = SeriesTable(smoothing_of(rules))
    parts: list[Columns] = []
    lo = 0
    for hi in cut(len(rows)):
        names, times, values = zip(*rows[lo:hi], strict=True)
        parts.append(table.update(Readings.of(names, values, times)).statistics)
        lo = hi
    columns = {name: np.concatenate([part[name] for part in parts]) for name in STATISTICS}
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
) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), what)
    error = np.nan_to_num(np.abs(got - np.array(expected)) / np.abs(scale))
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
        for statistic, column in expected.items():
            scale = magnitude(rules, in_order)[name] if statistic == "mean" else column
            scale = [s or 1.0 for s in scale]
            assert_close(got[name][statistic], column, scale, f"{statistic} of {name}")


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
        expected, scale = by_definition(rules, True)[name]["mean"], magnitude(rules, True)[name]
        assert_close(by_pandas(series, rules), expected, scale, name, tolerance)
