"""How likely so many alarms are where so many were expected.

Knows the Poisson distribution; must not know alarms.
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["at_least", "at_most", "interval", "tail"]

_NEGLIGIBLE = 1e-17


def at_most(count: int, mean: float) -> float:
    """Return the chance of at most so many events where ``mean`` are expected.

    Examples
    --------
    >>> round(at_most(0, 3.0), 6)
    0.049787
    """
    if count < 0:
        return 0.0
    if mean <= 0.0:
        return 1.0
    if count > mean:
        return 1.0 - at_least(count + 1, mean)
    return _sum(count, mean, -1)


def at_least(count: int, mean: float) -> float:
    """Return the chance of at least so many events where ``mean`` are expected.

    Small chances have all their digits.

    Examples
    --------
    >>> f"{at_least(37, 24.0):.4f}"
    '0.0082'
    """
    if count <= 0:
        return 1.0
    if mean <= 0.0:
        return 0.0
    if count <= mean:
        return 1.0 - at_most(count - 1, mean)
    return _sum(count, mean, 1)


def tail(count: int, mean: float) -> float:
    """Return the chance of a count that is as far from the mean, on its side, or farther.

    Examples
    --------
    >>> f"{tail(119, 19.0):.0e}", f"{tail(12, 19.0):.3f}"
    ('2e-53', '0.061')
    """
    return at_least(count, mean) if count > mean else at_most(count, mean)


def interval(mean: float, share: float = 0.95) -> tuple[int, int]:
    """Return the least and the greatest count that are not among the rare ones.

    Parameters
    ----------
    mean
        How many are expected.
    share
        0 < share < 1: on each side counts are rare that have a chance under (1 - share) / 2.

    Examples
    --------
    >>> interval(19.0)
    (11, 28)
    """
    rare = 0.5 * (1.0 - share)
    low, high = 0, max(1, math.ceil(mean + 1.0))
    while at_least(high, mean) > rare:
        high *= 2
    least = _first(lambda count: at_most(count, mean) > rare, low, high)
    most = _first(lambda count: at_least(count + 1, mean) <= rare, low, high)
    return least, most


def _first(true: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first count in a range from which on something is true."""
    while low < high:
        middle = (low + high) // 2
        if true(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _sum(count: int, mean: float, step: int) -> float:
    """Return the sum of the chances from ``count`` on, away from the mean."""
    first = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1.0))
    total, term = 1.0, 1.0
    while count >= 0 and term > _NEGLIGIBLE * total:
        term *= mean / (count + 1.0) if step > 0 else count / mean
        count += step
        total += term
    return min(first * total, 1.0)
