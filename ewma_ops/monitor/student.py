"""Normal scores of Student's t: how far out a deviation is if its scale was only estimated.

Knows formulas, for numbers and for columns to the same bits; must not know rules or series.

A deviation in estimated standard errors has heavier tails than a normal one. `t_of_normal` is the
expansion of Abramowitz and Stegun 26.7.5 to four terms; `normal_of_t` inverts it, from their
approximation 26.7.8 by two steps of Newton's. From 19 degrees of freedom on, the rate of normal
readings beyond a score of up to 4.9 is right to 0.4 %.
"""

from __future__ import annotations

from typing import Any

from ewma_ops.stats.ops import Ops

__all__ = ["normal_of_t", "t_of_normal"]


def t_of_normal(z: Any, inverse: Any) -> Any:
    """Return the t that is exceeded as rarely as a normal deviation z.

    ``inverse`` is 1 / (degrees of freedom), at most 1/19.

    Examples
    --------
    >>> round(t_of_normal(3.0, 1 / 39), 4)
    3.2042
    """
    s = z * z
    a = z * (s + 1.0) * (1.0 / 4.0)
    b = z * ((5.0 * s + 16.0) * s + 3.0) * (1.0 / 96.0)
    c = z * (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) * (1.0 / 384.0)
    d = z * ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) * (1.0 / 92160.0)
    return z + (a + (b + (c + d * inverse) * inverse) * inverse) * inverse


def normal_of_t(t: Any, inverse: Any, ops: Ops) -> Any:
    """Return the normal deviation that is exceeded as rarely as t; NaN for NaN.

    Examples
    --------
    >>> from ewma_ops.stats.decay import Decay
    >>> from ewma_ops.stats.ops import of_numbers
    >>> round(normal_of_t(3.2042, 1 / 39, of_numbers(Decay(beta=0.9))), 3)
    3.0
    """
    z = t * (1.0 - 0.25 * inverse) / ops.sqrt(1.0 + t * t * (0.5 * inverse))
    for _ in range(2):
        z = z - (t_of_normal(z, inverse) - t) / _slope(z, inverse)
    return z


def _slope(z: Any, inverse: Any) -> Any:
    """Return the derivative of `t_of_normal` by z, which is at least about 1."""
    s = z * z
    a = (3.0 * s + 1.0) * (1.0 / 4.0)
    b = ((25.0 * s + 48.0) * s + 3.0) * (1.0 / 96.0)
    c = (((21.0 * s + 95.0) * s + 51.0) * s - 15.0) * (1.0 / 384.0)
    d = ((((711.0 * s + 5432.0) * s + 7410.0) * s - 5760.0) * s - 945.0) * (1.0 / 92160.0)
    return 1.0 + (a + (b + (c + d * inverse) * inverse) * inverse) * inverse
