"""How long a spread chart runs until it raises an alarm, and the limit for a wanted run length.

Knows charts of independent normal readings; must not know streams, series or configuration. For
design, not for the stream: a call takes about 10 milliseconds.

The chart is an EWMA of squared standardised readings, z <- (1 - alpha) z + alpha w, which starts at
1, where w is clipped at 25. It raises an alarm as soon as z > 1 + limit * (standard deviation of z
in the long run, sqrt(2 alpha / (2 - alpha))). The average run length A(z) that is left at z solves

    A(z) = 1 + integral of A((1 - alpha) z + alpha w) dF(w)    over what stays below the limit

A is a sum of Chebyshev polynomials that solves it at their nodes (Knoth 2005). In v = sqrt(w) the
integrand is smooth, and Gauss and Legendre's nodes do; what is clipped is a step of F. From where
a clipped reading is beyond the limit on, A has polynomials of its own: it jumps there.

Source: S. Knoth, Statistics and Computing 15 (2005) 341-352.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.run_lengths import check_alpha, check_limit, quadrature, solve, spike_limit

__all__ = ["MOST_SQUARE", "highest_spread_limit", "spread_limit_for", "spread_run_length"]

MOST_SQUARE = 25.0
"""Squared readings are clipped here, that is, readings at 5 standard deviations."""

_Floats = NDArray[np.float64]
_DEGREE, _NODES = 48, 64
_LOWEST = 12.0
"""The chart does not fall this many standard deviations below 1; A is constant from there."""
_LEAST = 1e-6
"""Limit of a chart that raises an alarm almost as soon as it is above 1."""
_LONGEST = 1e12
_FARTHEST = 9.0
"""Standard deviations beyond which there is no reading."""


def spread_run_length(limit: float, alpha: float, growth: float = 1.0) -> float:
    """Return the average number of readings until the spread chart raises an alarm.

    Parameters
    ----------
    limit
        > 0: the chart's upper limit is 1 + limit * sqrt(2 alpha / (2 - alpha)), which is ``limit``
        standard deviations of it above its mean.
    alpha
        As for :func:`ewma_ops.monitor.run_lengths.average_run_length`.
    growth
        > 0: how many times as large the standard deviation of readings is as expected, from the
        first one on. With 1 the result is the readings per false alarm.

    Returns
    -------
    float
        Infinite if clipped squares cannot reach the limit, or only after 1e12 readings.

    Raises
    ------
    ConfigError
        If an argument is out of range.

    Examples
    --------
    The published value is 249.9997 (Knoth 2005).

    >>> round(spread_run_length(1.661865, alpha=0.025), 3)
    250.0
    """
    check_alpha(alpha)
    check_limit(limit)
    if not 0.0 < growth < math.inf:
        raise ConfigError(f"growth is {growth:g}: it must be a positive number")
    if limit >= highest_spread_limit(alpha):
        return math.inf
    found = _Remaining(limit, alpha, growth).at_one()
    return found if 1.0 <= found <= _LONGEST else math.inf  # its digits are lost


@lru_cache(maxsize=256)
def spread_limit_for(run_length: float, alpha: float) -> float:
    """Return the limit of the spread chart for a wanted average run length, to 6 decimals.

    Raises
    ------
    ConfigError
        If an argument is out of range, or clipped readings alone exceed any limit more often.

    Examples
    --------
    >>> spread_limit_for(250, alpha=0.025)
    1.661866
    """
    check_alpha(alpha)
    spike_limit(run_length)  # refuses arguments out of range for every kind
    least = spread_run_length(_LEAST, alpha)
    if run_length < least:
        raise ConfigError(
            f"{run_length:g} readings per false alarm: a spread rule with alpha {alpha:g} needs "
            f"{least:.3g} at least"
        )
    highest = highest_spread_limit(alpha) * (1.0 - 1e-9)
    most = min(0.5, highest)
    while most < highest and spread_run_length(most, alpha) < run_length:
        most = min(1.25 * most, highest)
    if spread_run_length(most, alpha) < run_length:
        raise ConfigError(
            f"{run_length:g} readings per false alarm are too many for a spread rule with alpha "
            f"{alpha:g}: it clips readings at {math.sqrt(MOST_SQUARE):g} standard deviations; give "
            "a slower decay, or a higher rate"
        )
    return round(solve(lambda limit: spread_run_length(limit, alpha), run_length, most, most), 6)


def highest_spread_limit(alpha: float) -> float:
    """Return the limit that the chart stays below however large readings are."""
    return (MOST_SQUARE - 1.0) / math.sqrt(2.0 * alpha / (2.0 - alpha))


class _Remaining:
    """The run length that is left, as polynomials on one or two intervals below the limit."""

    def __init__(self, limit: float, alpha: float, growth: float) -> None:
        deviation, beta = math.sqrt(2.0 * alpha / (2.0 - alpha)), 1.0 - alpha
        top, low = 1.0 + limit * deviation, max(0.0, 1.0 - _LOWEST * deviation)
        jump = (top - alpha * MOST_SQUARE) / beta if beta > 0.0 else low
        self._edges = [low, *([jump] if low < jump < top else []), top]
        nodes = np.cos(math.pi * (np.arange(_DEGREE) + 0.5) / _DEGREE)
        z = np.concatenate([a + 0.5 * (b - a) * (1.0 + nodes) for a, b in pairwise(self._edges)])
        reach = np.sqrt(np.minimum(np.maximum(top - beta * z, 0.0) / alpha, MOST_SQUARE)) / growth
        half = 0.5 * np.minimum(reach, _FARTHEST)[:, None]
        places, weights = quadrature(_NODES)
        v = half * (places + 1.0)
        density = np.exp(-0.5 * v * v) * math.sqrt(2.0 / math.pi) * half * weights
        ahead = self._basis(beta * z[:, None] + alpha * (growth * v) ** 2)
        step = (density[:, :, None] * ahead).sum(axis=1)
        clipped = beta * z + alpha * MOST_SQUARE
        chance = math.erfc(math.sqrt(MOST_SQUARE / 2.0) / growth)
        step += np.where(clipped <= top, chance, 0.0)[:, None] * self._basis(clipped)
        self._parts = np.linalg.solve(self._basis(z) - step, np.ones(len(z)))

    def at_one(self) -> float:
        """Return the average run length of a chart that starts at 1."""
        return float(self._basis(np.ones(1))[0] @ self._parts)

    def _basis(self, z: _Floats) -> _Floats:
        """Return every polynomial at each z; 0 for those of the other interval."""
        z = np.clip(z, self._edges[0], self._edges[-1])
        found = np.zeros((*z.shape, _DEGREE * (len(self._edges) - 1)))
        interval = np.searchsorted(self._edges[1:-1], z)
        for k, (a, b) in enumerate(pairwise(self._edges)):
            own = interval == k
            scaled = (2.0 * z[own] - a - b) / (b - a)
            values = np.polynomial.chebyshev.chebvander(scaled, _DEGREE - 1)
            found[own, k * _DEGREE : (k + 1) * _DEGREE] = values
        return found
