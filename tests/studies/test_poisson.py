"""The Poisson distribution against SciPy's, to all digits that matter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.studies.poisson import at_least, at_most, interval, tail

MEANS = st.floats(1e-6, 1e5)


def setup_module() -> None:
    poisson(1.0)  # not within the deadline of the first example


def poisson(mean: float) -> Any:
    from scipy import stats  # slow: not for each who collects the tests

    return stats.poisson(mean)


@pytest.mark.slow
@given(st.integers(0, 100_000), MEANS)
def test_chances(count: int, mean: float) -> None:
    of_mean = poisson(mean)
    assert at_most(count, mean) == pytest.approx(float(of_mean.cdf(count)), rel=1e-9, abs=1e-280)
    assert at_least(count, mean) == pytest.approx(
        float(of_mean.sf(count - 1)), rel=1e-8, abs=1e-280
    )


@pytest.mark.slow
@given(st.integers(0, 60), st.floats(0.01, 60))
def test_tails_have_their_digits(count: int, mean: float) -> None:
    of_mean = poisson(mean)
    wanted = of_mean.sf(count - 1) if count > mean else of_mean.cdf(count)
    assert tail(count, mean) == pytest.approx(float(wanted), rel=1e-10)


@pytest.mark.slow
@given(MEANS, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval(mean: float, share: float) -> None:
    low, high = interval(mean, share)
    rare = (1 - share) / 2
    of_mean = poisson(mean)
    assert of_mean.cdf(low) > rare * (1 - 1e-9)
    assert low == 0 or of_mean.cdf(low - 1) <= rare * (1 + 1e-9)
    assert of_mean.sf(high) <= rare * (1 + 1e-9)
    assert high == 0 or of_mean.sf(high - 1) > rare * (1 - 1e-9)


@pytest.mark.slow
def test_edges() -> None:
    assert (at_most(-1, 3.0), at_most(5, 0.0), at_least(0, 3.0), at_least(1, 0.0)) == (0, 1, 1, 0)
    assert interval(0.0) == (0, 0)
    assert tail(37, 24.0) == pytest.approx(0.008, abs=5e-4)
