"""What comes out is right: worked numbers, variances where others lose them, and what is kept."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from tests.oracles import exact

Columns = Mapping[str, NDArray[np.float64]]


def smooth(series: Sequence[tuple[int, float]], smoothing: Smoothing) -> Columns:
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
def test_a_half_life_halves_the_weight(start_up: Any, expected: list[float]) -> None:
    smoothing = Smoothing(Decay(halflife="1s"), start_up)
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


# Variances ------------------------------------------------------------------------------------

GAPS = (1, 2, 5, 17, 34, 35, 100, 700, 1074, 1075, 5000)
"""Missing readings: two lose the digits of 1 - beta^k, 1074 halvings are the smallest float."""


def with_gap(f: Fraction, g: Fraction | None, gap: int, values: Sequence[float]) -> exact.Moments:
    """Return the exact moments of values, the last of which comes after a gap.

    Count decay, f kept per reading; where all weights add up to 1 before each, the next weighs g.
    """
    weights: list[int] = []
    one = 1  # what a weight of 1 is: fractions would be cut down at each step, at great cost
    for i in range(len(values)):
        steps = 1 if i < len(values) - 1 else gap + 1
        kept, of = f.numerator**steps, f.denominator**steps
        if g is None or not weights:
            weights, one = [*(w * kept for w in weights), one * of], one * of
        else:
            own = sum(weights) * of * g.numerator
            kept, of = kept * g.denominator, of * g.denominator
            weights, one = [*(w * kept for w in weights), own], one * of
    return exact.moments(weights, values, one)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("beta", [0.9, 0.5, 1 / 3, 0.02])
@pytest.mark.parametrize("start_up", ["corrected", "first"])
def test_unbiased_variance_is_right_after_any_gap(
    start_up: Any, beta: float, offset: float
) -> None:
    smoothing = Smoothing(Decay(beta=beta), start_up, "decay", statistics=["mean", "var", "std"])
    values = [offset + x for x in (1.0, 4.0, -2.0, 3.0)]
    for gap in GAPS:
        missing = [math.nan] * gap
        got = smooth_values([*values[:3], *missing, values[3], *missing], smoothing)
        g = None if start_up == "corrected" else Fraction(1 - beta)
        moments = with_gap(Fraction(beta), g, gap, values)
        within = 4 * exact.ULP * moments.condition
        np.testing.assert_allclose(got["var"][3 + gap :], moments.var, rtol=within)
        assert len(got["var"][3 + gap :]) == gap + 1
        assert got["std"][3 + gap] == pytest.approx(math.sqrt(moments.var), rel=within)
        assert (got["var"][2 : 3 + gap] == got["var"][2]).all()


@pytest.mark.parametrize("gap", [10**k for k in range(1, 10)])
def test_unbiased_variance_is_right_after_any_time(gap: int) -> None:
    smoothing = Smoothing(Decay(halflife="1s"), statistics=["mean", "var"])
    got = smooth([(0, 1.0), (gap, 3.0), (gap, math.nan)], smoothing)["var"]
    assert got[1:] == pytest.approx([2.0, 2.0], rel=2 * exact.ULP)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.5, 0.97])
@pytest.mark.parametrize(("deviation", "reached"), [(1e3, 4e-10), (1.0, 4e-7), (1e-3, 4e-4)])
def test_variance_at_an_offset_of_a_thousand_million(
    beta: float, deviation: float, reached: float
) -> None:
    draw = np.random.default_rng(1)
    values = (1e9 + draw.normal(0, deviation, 300)).tolist()
    smoothing = Smoothing(Decay(beta=beta), statistics=["mean", "var", "var_biased"])
    got = smooth_values(values, smoothing)
    for i, moments in list(enumerate(exact.running(beta, values)))[1:]:
        # No way is nearer: this is how much the rounding of the values themselves can do.
        within = 2 * exact.ULP * moments.condition
        assert got["var"][i] == pytest.approx(moments.var, rel=within)
        assert got["var_biased"][i] == pytest.approx(moments.var_biased, rel=within)
        if i >= 10:
            assert abs(got["var"][i] / moments.var - 1) < reached


def test_one_observation_has_no_variance() -> None:
    names = ["mean", "var", "std", "sem", "cov", "corr", "var_biased", "std_biased"]
    for decay, start_up in ((Decay(beta=0.9), "corrected"), (Decay(halflife="1s"), "first")):
        smoothing = Smoothing(decay, start_up, "decay", statistics=names)  # type: ignore[arg-type]
        table = SeriesTable(smoothing, fields=["a", "b"])
        values = [[math.nan] * 2, [5.0, 7.0], [math.nan] * 2, [math.nan] * 2]
        found = table.update(Readings.of(["s"] * 4, values, range(0, 4000, 1000))).statistics
        for name, column in found.items():
            if name.endswith("_biased"):
                np.testing.assert_array_equal(column[1:], 0.0, name)
            elif not name.endswith("_mean"):
                assert np.isnan(column).all(), name


# What is kept ---------------------------------------------------------------------------------

BY_COUNT, BY_TIME = Decay(beta=0.9), Decay(halflife="5min")
SIZES: list[tuple[dict[str, Any], int, int]] = [
    # what is asked for; bytes per series under count decay, and under time decay
    ({}, 24, 32),
    ({"statistics": ["mean", "count", "sum"]}, 24, 32),
    ({"statistics": ["mean", "n_eff"]}, 32, 40),
    ({"statistics": ["mean", "settled"]}, 24, 40),
    ({"statistics": ["mean", "var_biased", "std_biased", "mean_square"]}, 32, 40),
    ({"statistics": ["mean", "var", "std"]}, 40, 56),
    ({"statistics": ["mean", "sem"]}, 48, 64),
    ({"start_up": "first", "statistics": ["mean", "settled"]}, 24, 32),
    ({"start_up": "simple", "start_n": 5}, 24, 32),
    ({"start_up": "prior", "prior": 1.0, "prior_weight": 2.0}, 24, 32),
    ({"missing": "decay", "min_periods": 3, "min_weight": 0.5}, 24, 32),
    ({"weighting": "volume"}, 24, 32),
]
BY_TIME_ONLY: list[tuple[dict[str, Any], int]] = [
    ({"statistics": ["mean", "rate"]}, 40),
    ({"weighting": "next"}, 32),
    ({"weighting": "last"}, 40),
    ({"weighting": "linear"}, 40),
]


@pytest.mark.parametrize(
    ("smoothing", "size"),
    [
        *((Smoothing(BY_COUNT, **how), by_count) for how, by_count, _ in SIZES),
        *((Smoothing(BY_TIME, **how), by_time) for how, _, by_time in SIZES),
        *((Smoothing(BY_TIME, **how), by_time) for how, by_time in BY_TIME_ONLY),
    ],
    ids=str,
)
def test_what_is_not_asked_for_is_not_stored(smoothing: Smoothing, size: int) -> None:
    assert bytes_per_series(smoothing, 1) == size


@pytest.mark.parametrize(
    ("statistics", "size"),
    [(["mean"], 32), (["mean", "var"], 56), (["mean", "cov"], 48), (["mean", "corr"], 64)],
)
def test_a_second_field_shares_the_weights(statistics: list[str], size: int) -> None:
    assert bytes_per_series(Smoothing(BY_COUNT, statistics=statistics), ["a", "b"]) == size


def bytes_per_series(smoothing: Smoothing, fields: Sequence[str] | int) -> int:
    width = 1 if isinstance(fields, int) else len(fields)
    table = SeriesTable(smoothing, fields=fields)
    ids = [f"s{k}" for k in range(100)]
    values = np.ones((100, width)) if width > 1 else np.ones(100)
    table.update(Readings.of(ids, values, [0] * 100, [1.0] * 100))
    columns = table.snapshot().columns.values()
    return sum(8 * column.size for column in columns) // 100  # in a snapshot some are narrower
