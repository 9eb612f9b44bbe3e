"""How long an EWMA chart runs until it raises an alarm, and the limit for a wanted run length.

Knows charts of independent normal readings; must not know streams, series or configuration. For
design, not for the stream: a call takes milliseconds, at small ``alpha`` up to seconds.

The EWMA z <- (1 - alpha) z + alpha x starts at the mean, here 0; readings have a standard deviation
of 1. The chart raises an alarm as soon as abs(z) > limit * (standard deviation of z). The *run
length* is the number of readings until then. Its average is the number of readings per false alarm
where the mean is as expected, and the delay of detection where the mean has shifted.

Fixed limits use the standard deviation of z in the long run, sqrt(alpha / (2 - alpha)). The average
run length A(z) that is left at z solves (Crowder 1987)

    A(z) = 1 + integral of A(y) p(y, z) dy
    p(y, z) = pdf((y - (1 - alpha) z) / alpha - shift) / alpha

over the limits. On Gauss-Legendre nodes it is a set of linear equations (Nystroem's method).

Exact limits use the standard deviation of z after t readings, which is smaller at first by the
factor sqrt(1 - (1 - alpha)^(2 t)). The density of z among the charts that still run is carried
from reading to reading, until the limits are as good as fixed (Steiner 1999, by quadrature).
Dividing z and its limit by 1 - (1 - alpha)^t changes no alarm: so these are the limits of the
bias-corrected mean, mean +- limit * std / sqrt(n_eff).

Sources: S. V. Crowder, Technometrics 29 (1987) 401-407; J. M. Lucas and M. S. Saccucci,
Technometrics 32 (1990) 1-12; S. H. Steiner, J. Quality Technology 31 (1999) 75-86.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError

__all__ = [
    "LONGEST_RUN",
    "SMALLEST_ALPHA",
    "SMALLEST_ALPHA_EXACT",
    "average_run_length",
    "check_alpha",
    "check_limit",
    "limit_for",
    "quadrature",
    "solve",
    "spike_limit",
]

SMALLEST_ALPHA = 1e-4
"""Below this alpha the equations have thousands of unknowns."""

SMALLEST_ALPHA_EXACT = 5e-3
"""Below this alpha exact limits take minutes: the density is carried over 2,000 readings."""

LONGEST_RUN = 1e9
"""Longest average run length that a limit is computed for: beyond it digits are lost."""

_Floats = NDArray[np.float64]
_SETTLED = 1e-10
"""The share by which exact limits may still differ from fixed ones (of the variance)."""
_ROUNDING = 2.0**-53
"""Tolerance for a decimal beta of 1 minus a bound: 1 - 0.9999 is below 0.0001."""


def average_run_length(
    limit: float, alpha: float, shift: float = 0.0, *, exact: bool = False
) -> float:
    """Return the average number of readings until the chart raises an alarm.

    Parameters
    ----------
    limit
        > 0, in standard deviations of the EWMA.
    alpha
        The weight of the newest reading, 1 - beta: from `SMALLEST_ALPHA` to 1.
    shift
        By how much the mean differs from the expected one from the first reading on, in standard
        deviations of a reading. With 0 the result is the readings per false alarm.
    exact
        Whether the limits are exact at every reading, or those in the long run. Needs
        ``alpha`` of at least `SMALLEST_ALPHA_EXACT`, where it takes seconds.

    Raises
    ------
    ConfigError
        If an argument is out of range.

    Examples
    --------
    The published value is 500, and 17.5 after a shift (Lucas and Saccucci 1990, table 3).

    >>> round(average_run_length(3.071, alpha=0.5), 1)
    499.9
    >>> round(average_run_length(3.071, alpha=0.5, shift=1.0), 2)
    17.48
    """
    check_alpha(alpha, exact=exact)
    check_limit(limit)
    if not math.isfinite(shift):
        raise ConfigError(f"shift is {shift:g}: it must be a finite number")
    remaining = _Remaining(limit, alpha, shift)
    return remaining.with_exact_limits() if exact else remaining.at_centre()


def limit_for(run_length: float, alpha: float, *, exact: bool = False) -> float:
    """Return the limit at which a chart has the given average run length without a shift.

    Parameters
    ----------
    run_length
        Readings per false alarm: from 2 to `LONGEST_RUN`.
    alpha, exact
        As for :func:`average_run_length`.

    Returns
    -------
    float
        In standard deviations of the EWMA, rounded to 6 decimals: so that a configuration gives
        the same limit on every machine.

    Raises
    ------
    ConfigError
        If an argument is out of range.

    Examples
    --------
    >>> limit_for(500, alpha=0.1)
    2.81431
    """
    check_alpha(alpha, exact=exact)
    most = spike_limit(run_length)  # averaging only lowers the limit
    fixed = solve(lambda limit: average_run_length(limit, alpha), run_length, most, 0.9 * most)
    if not exact:
        return round(fixed, 6)
    found = solve(
        lambda limit: average_run_length(limit, alpha, exact=True), run_length, most, fixed
    )
    return round(found, 6)


def spike_limit(run_length: float) -> float:
    """Return the limit of a single normal reading for a false alarm every ``run_length`` readings.

    Raises
    ------
    ConfigError
        If ``run_length`` is not from 2 to `LONGEST_RUN`.

    Examples
    --------
    >>> round(spike_limit(1e4), 4)
    3.8906
    """
    if not 2 <= run_length <= LONGEST_RUN:
        raise ConfigError(
            f"{run_length:g} readings per false alarm: a limit is computed for 2 to "
            f"{LONGEST_RUN:g}; for fewer false alarms give the limit itself, calibrated on history"
        )
    return -NormalDist().inv_cdf(0.5 / run_length)


class _Remaining:
    """The run length that is left at each node between fixed limits."""

    def __init__(self, limit: float, alpha: float, shift: float) -> None:
        self._alpha, self._shift = alpha, shift
        self._half = limit * math.sqrt(alpha / (2.0 - alpha))
        # p is a bell of width alpha: with fewer nodes the result is silently wrong.
        self._nodes, self._weights = quadrature(max(48, math.ceil(4 * self._half / alpha + 32)))
        self._z, widths = self._half * self._nodes, self._half * self._weights
        step = self._density(self._z, self._z) * widths
        lengths = np.linalg.solve(np.eye(len(step)) - step, np.ones(len(step)))
        self._weighed = widths * lengths

    def at(self, z: _Floats) -> _Floats:
        """Return the average run length that is left at values of the EWMA."""
        return 1.0 + self._density(self._z, z) @ self._weighed

    def at_centre(self) -> float:
        return float(self.at(np.zeros(1))[0])

    def with_exact_limits(self) -> float:
        """Return the average run length from the first reading on."""
        beta = 1.0 - self._alpha
        kept = beta * beta  # (1 - alpha)^(2 t), with t = 1
        half = self._half * math.sqrt(1.0 - kept)
        nodes = half * self._nodes
        density = self._density(nodes, np.zeros(1))[0]
        total = 1.0
        while kept > _SETTLED:
            weighed = density * (half * self._weights)
            total += float(weighed.sum())  # the probability that the chart still runs
            kept *= beta * beta
            half = self._half * math.sqrt(1.0 - kept)
            ahead = half * self._nodes
            density = weighed @ self._density(ahead, nodes)
            nodes = ahead
        return total + float((density * (half * self._weights)) @ self.at(nodes))

    def _density(self, to: _Floats, start: _Floats) -> _Floats:
        """Return p[i, j], the density of the next z at ``to[j]`` where it is ``start[i]``."""
        steps = (to[None, :] - (1.0 - self._alpha) * start[:, None]) / self._alpha - self._shift
        density: _Floats = np.exp(-0.5 * steps * steps) / (math.sqrt(2.0 * math.pi) * self._alpha)
        return density


@lru_cache(maxsize=64)
def quadrature(n: int) -> tuple[_Floats, _Floats]:
    """Return nodes and weights of Gauss and Legendre on (-1, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes, weights


def solve(
    run_length_at: Callable[[float], float], wanted: float, most: float, guess: float
) -> float:
    """Return the limit from 0 to ``most`` that has a run length.

    The logarithm of the run length rises with the limit, nearly along a line: the secant finds it
    in a few steps, and bisection takes over where the secant would leave the bracket.
    """
    low, high = 0.0, most
    before, at = guess, 0.999 * guess
    error_before = math.log(run_length_at(before) / wanted)
    for _ in range(100):
        error = math.log(run_length_at(at) / wanted)
        low, high = (at, high) if error < 0.0 else (low, at)
        if abs(error) < 1e-9 or high - low < 1e-9:
            break
        slope = (error - error_before) / (at - before)
        before, error_before = at, error
        at = at - error / slope if slope > 0.0 else low
        if at >= most and error < 0.0:
            at = most
        elif not low < at < high:
            at = 0.5 * (low + high)
    return at


def check_alpha(alpha: float, *, exact: bool = False) -> None:
    """Refuse an ``alpha`` out of range."""
    smallest = SMALLEST_ALPHA_EXACT if exact else SMALLEST_ALPHA
    if not smallest - _ROUNDING <= alpha <= 1.0:
        raise ConfigError(
            f"alpha is {alpha:g} (beta {1 - alpha:g}): run lengths are computed for alpha from "
            f"{smallest:g} to 1" + (", with exact limits" if exact else "")
        )


def check_limit(limit: float) -> None:
    """Refuse a limit that is not positive."""
    if not 0.0 < limit < math.inf:
        raise ConfigError(f"limit is {limit:g}: it must be a positive number")
