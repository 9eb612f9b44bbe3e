"""Run lengths against the published values, a Markov chain, and simulated charts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.errors import ConfigError
from ewma_ops.monitor.run_lengths import average_run_length, limit_for, spike_limit
from tests.oracles import markov

pytestmark = pytest.mark.slow

SHIFTS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5)
LUCAS_SACCUCCI = {  # 1990, table 3: three digits
    (0.5, 3.071): (500, 255, 88.8, 35.9, 17.5, 6.53, 3.63, 2.50, 1.93, 1.58, 1.34, 1.07),
    (0.03, 2.437): (500, 76.7, 29.3, 17.6, 12.6, 8.07, 5.99, 4.80, 4.03, 3.49, 3.11, 2.55),
}
CROWDER = {  # 1987, table 1, limit 2; its 3.95 at a shift of 1.25 is a misprint of 3.59
    0.5: {0: 26.45, 0.25: 20.12, 0.5: 11.89, 1: 4.91, 1.25: 3.59, 2: 1.94, 3: 1.26, 4: 1.05},
    0.05: {0: 127.53, 0.25: 43.94, 0.5: 18.97, 1: 8.38, 1.25: 6.56, 2: 4.04, 3: 2.76, 4: 2.15},
}


@pytest.mark.parametrize(("chart", "published"), LUCAS_SACCUCCI.items(), ids=str)
def test_run_lengths_of_lucas_and_saccucci(
    chart: tuple[float, float], published: tuple[float, ...]
) -> None:
    alpha, limit = chart
    found = [average_run_length(limit, alpha, shift) for shift in SHIFTS]
    assert [float(f"{length:.3g}") for length in found] == list(published)


@pytest.mark.parametrize(("alpha", "published"), CROWDER.items())
def test_run_lengths_of_crowder(alpha: float, published: dict[float, float]) -> None:
    for shift, length in published.items():
        assert average_run_length(2.0, alpha, shift) == pytest.approx(length, abs=0.006)


def test_single_published_run_lengths() -> None:
    assert average_run_length(3.0, 0.25, 1.0) == pytest.approx(11.154267016, abs=1e-9)  # SAS/QC
    assert average_run_length(3.0, 0.05) == pytest.approx(1379.35, abs=0.005)
    wide = 2.0 * math.sqrt((2.0 - 0.5) / 0.5)  # Waldmann 1986
    assert average_run_length(wide, 0.5) == pytest.approx(1951.6, abs=0.05)


@pytest.mark.parametrize(
    ("alpha", "fixed", "exact"),
    [
        (0.75, 3.087447, 3.087635),
        (0.5, 3.071058, 3.071811),
        (0.4, 3.054030, 3.055206),
        (0.3, 3.023025, 3.024945),
        (0.25, 2.998108, 3.000666),
        (0.2, 2.962178, 2.965761),
        (0.1, 2.814310, 2.823874),
        (0.05, 2.615055, 2.639124),
        (0.03, 2.437124, 2.482974),
        (0.02, 2.277976, 2.352269),
        (0.01, 1.972964, 2.129004),
    ],
)
def test_limits_for_one_false_alarm_in_500(alpha: float, fixed: float, exact: float) -> None:
    assert limit_for(500, alpha) == pytest.approx(fixed, abs=1.01e-6)
    assert limit_for(500, alpha, exact=True) == pytest.approx(exact, abs=1.01e-6)


@pytest.mark.parametrize(
    ("alpha", "limits"),
    [
        (0.02, (2.5854, 3.4174, 4.0660, 4.6143, 5.0991, 5.5391)),
        (0.05, (2.8838, 3.6273, 4.2292, 4.7493, 5.2146, 5.6401)),
        (0.1, (3.0586, 3.7491, 4.3222, 4.8240, 5.2766, 5.6926)),
        (0.2, (3.1866, 3.8344, 4.3838, 4.8706, 5.3130, 5.7215)),
        (0.5, (3.2767, 3.8858, 4.4154, 4.8909, 5.3264, 5.7306)),
        (1.0, (3.2905, 3.8906, 4.4172, 4.8916, 5.3267, 5.7307)),
    ],
)
def test_limits_for_rare_false_alarms(alpha: float, limits: tuple[float, ...]) -> None:
    lengths = [10.0**power for power in range(3, 9)]
    assert [limit_for(length, alpha) for length in lengths] == pytest.approx(limits, abs=6e-5)
    if alpha == 1.0:  # a chart of single readings
        assert [spike_limit(length) for length in lengths] == pytest.approx(limits, abs=6e-5)


@pytest.mark.parametrize(
    ("shift", "length"),
    [(0, 1347.163), (0.25, 125.96), (0.5, 32.222), (1, 9.244), (2, 2.909), (4, 1.162)],
)
def test_run_lengths_with_exact_limits(shift: float, length: float) -> None:
    assert average_run_length(3.0, 0.05, shift, exact=True) == pytest.approx(length, abs=6e-4)


@settings(deadline=None, max_examples=25)
@given(
    alpha=st.floats(0.02, 1.0),
    limit=st.floats(0.5, 3.5),
    shift=st.floats(-4.0, 4.0),
)
def test_run_lengths_agree_with_a_markov_chain(alpha: float, limit: float, shift: float) -> None:
    found = average_run_length(limit, alpha, shift)
    assert found == pytest.approx(markov.average_run_length(limit, alpha, shift), rel=1e-3)


@settings(deadline=None, max_examples=25)
@given(alpha=st.floats(1e-3, 1.0), power=st.floats(0.5, 8.0))
def test_a_limit_has_the_run_length_that_was_asked_for(alpha: float, power: float) -> None:
    wanted = 10.0**power
    assert average_run_length(limit_for(wanted, alpha), alpha) == pytest.approx(wanted, rel=1e-5)


def test_the_decimals_of_a_bound_are_within_it() -> None:
    assert average_run_length(2.0, 1 - 0.9999) == pytest.approx(
        average_run_length(2.0, 0.0001), rel=1e-6
    )


def test_the_corrected_mean_is_the_chart_with_exact_limits() -> None:
    """The table's own mean and n_eff raise alarms as often as the exact limits are made for."""
    alpha, series = 0.1, 4_000
    limit = limit_for(50, alpha, exact=True)
    table = SeriesTable(Smoothing(Decay(beta=1 - alpha), statistics=["mean", "n_eff"]))
    random = np.random.default_rng(7)
    ids = [f"s{i}" for i in range(series)]
    first = np.zeros(series)
    for t in range(1, 601):
        found = table.update(Readings.of(ids, random.standard_normal(series))).statistics
        beyond = np.abs(found["mean"]) > limit / np.sqrt(found["n_eff"])
        first[beyond & (first == 0)] = t
    assert (first > 0).all()
    error = first.std() / math.sqrt(series)
    assert abs(first.mean() - 50) < 4 * error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((500, 0.0), "alpha is 0 .* from 0.0001 to 1"),
        ((500, 1.5), "alpha is 1.5"),
        ((1.5, 0.1), "1.5 readings per false alarm: a limit is computed for 2 to 1e\\+09"),
        ((1e10, 0.1), "calibrated on history"),
        ((math.nan, 0.1), "nan readings per false alarm"),
    ],
)
def test_limits_out_of_bounds(arguments: tuple[float, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        limit_for(*arguments)


def test_run_lengths_out_of_bounds() -> None:
    with pytest.raises(ConfigError, match="limit is 0: it must be a positive number"):
        average_run_length(0.0, 0.1)
    with pytest.raises(ConfigError, match="shift is nan"):
        average_run_length(3.0, 0.1, math.nan)
    with pytest.raises(ConfigError, match=r"from 0\.005 to 1, with exact limits"):
        average_run_length(3.0, 0.001, exact=True)
