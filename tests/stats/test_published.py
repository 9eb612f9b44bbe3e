"""Simple exponential smoothing as R's forecast package prints it, to the digits that it prints.

The examples are those of R. J. Hyndman and G. Athanasopoulos, Forecasting: Principles and Practice
(2014), section 7.1, with the numbers of statsmodels' tests, which have them from R. Its examples of
Holt's method (gains 0.8 and 0.2) and of a damped trend (which fades in the recurrence, with phi)
are not here: the line has one gain, or a decay of its own for the trend, and fades ahead only.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, SeriesTable, Smoothing

OIL = np.array(
    [
        *(446.6565229, 454.4733065, 455.6629740, 423.6322388, 456.2713279, 440.5880501),
        *(425.3325201, 485.1494479, 506.0481621, 526.7919833, 514.2688890, 494.2110193),
    ]
)
"""Oil production of Saudi Arabia, 1996 to 2007, in millions of tonnes: of the R package fpp."""
LEVELS = [
    *(446.65652290, 448.21987962, 449.7084985, 444.49324656, 446.84886283, 445.59670028),
    *(441.54386424, 450.26498098, 461.4216172, 474.49569042, 482.45033014, 484.80246797),
]
"""With alpha = 0.2 and initial = "simple": the level begins with the first value."""


def smooth(values: NDArray[np.float64], smoothing: Smoothing) -> dict[str, NDArray[np.float64]]:
    return SeriesTable(smoothing).update(Readings.of(["a"] * len(values), values)).statistics


def test_levels_from_the_first_value_on() -> None:
    found = smooth(OIL, Smoothing(Decay(alpha=0.2), "first"))["mean"]
    np.testing.assert_allclose(found, LEVELS, rtol=0.0, atol=5e-9)


@pytest.mark.parametrize(("alpha", "forecast"), [(0.2, 484.802468), (0.6, 501.837461)])
def test_forecasts_from_the_first_value_on(alpha: float, forecast: float) -> None:
    found = smooth(OIL, Smoothing(Decay(alpha=alpha), "first"))["mean"]
    assert found[-1] == pytest.approx(forecast, abs=5e-7)


def test_a_level_that_was_estimated_is_a_prior_as_heavy_as_the_whole_past() -> None:
    """A past without end weighs 1 / alpha. Alpha and level are printed to 6 and 5 digits."""
    alpha, level = 0.891998, 447.47844
    given = Smoothing(Decay(alpha=alpha), "prior", prior=level, prior_weight=1.0 / alpha)
    assert smooth(OIL, given)["mean"][-1] == pytest.approx(496.493543, abs=2e-5)


def test_once_the_start_is_forgotten_the_corrected_mean_is_the_same() -> None:
    long = np.tile(OIL, 20)
    first = smooth(long, Smoothing(Decay(alpha=0.2), "first"))["mean"][-1]
    ours = Smoothing(Decay(alpha=0.2), statistics=["mean", "forecast"], outlook="level", horizon=3)
    assert smooth(long, ours)["forecast"][-1] == pytest.approx(first, rel=1e-12)
