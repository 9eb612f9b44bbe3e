"""Powers of two with the same bits on every machine, for columns and for single numbers.

Knows polynomials; must not know what a decay is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COEFFICIENTS",
    "LN2",
    "SHORT_GAP",
    "Floats",
    "exp2",
    "exp2_of",
    "exp2m1_of",
    "in_blocks",
    "lapse",
    "lean",
    "lean_series",
]


Floats = NDArray[np.float64]

LN2 = 0.6931471805599453

COEFFICIENTS = (
    4.4549605981865186e-10,
    7.072585949269223e-09,
    1.0178062445845774e-07,
    1.321544258792169e-06,
    1.525273382983612e-05,
    0.0001540353044173605,
    0.0013333558146416936,
    0.009618129107606888,
    0.0555041086648216,
    0.24022650695910097,
    0.6931471805599453,
)
"""(2**r - 1) / r on [-1/2, 1/2], highest power first: interpolated at the Chebyshev nodes."""
_UNDERFLOW = -1100.0

# 1 / x - 1 / (e^x - 1) = 1/2 - x (1/12 - x^2 / 720 + ...): Bernoulli numbers, highest power first.
_LEANING = (
    1.3382536530684679e-11,
    -5.284190138687493e-10,
    2.08767569878681e-08,
    -8.267195767195767e-07,
    3.306878306878307e-05,
    -0.001388888888888889,
    0.08333333333333333,
)
SHORT_GAP = 0.5
_BLOCK = 8192


def exp2(x: Floats) -> Floats:
    """Return ``2 ** x`` for ``x <= 0``, the same bits on every machine.

    It uses only additions, multiplications and scaling by powers of two, all rounded as IEEE 754
    defines, so that the bits depend neither on the C library nor on the length or alignment
    of the array. The largest error found against 60-digit arithmetic is 1.09 units in the last
    place; exact at integers; results below the smallest float are 0.

    Parameters
    ----------
    x
        float64[n], from -inf to 0.

    Examples
    --------
    >>> exp2(np.array([0.0, -1.0, -1074.0, -np.inf]))
    array([1.e+000, 5.e-001, 5.e-324, 0.e+000])
    """
    return in_blocks(_exp2, x)


def in_blocks(function: Callable[[Floats], Floats], x: Floats) -> Floats:
    """Apply an elementwise function to blocks that fit the cache: four times as fast."""
    result = np.empty_like(x)
    for lo in range(0, len(x), _BLOCK):
        result[lo : lo + _BLOCK] = function(x[lo : lo + _BLOCK])
    return result


def _exp2(x: Floats) -> Floats:
    x = np.maximum(x, _UNDERFLOW)
    whole = np.rint(x)
    return np.ldexp(1.0 + _exp2m1(x - whole), whole.astype(np.int32))


def _exp2m1(r: Floats) -> Floats:
    """Return ``2 ** r - 1`` for ``|r| <= 1/2``, without cancellation near 0."""
    total = r * COEFFICIENTS[0]
    for coefficient in COEFFICIENTS[1:]:
        total += coefficient
        total *= r
    return total


def lapse(x: Floats) -> Floats:
    """Return ``1 - 2 ** x`` for ``x <= 0``, without cancellation."""
    return np.where(x < -0.5, 1.0 - _exp2(x), 0.0 - _exp2m1(np.maximum(x, -0.5)))


def lean(x: Floats) -> Floats:
    """Return `Decay.lean` for ``x = -gap / halflife``."""
    scaled = -x * LN2
    short = scaled < SHORT_GAP
    near, far = np.where(short, scaled, 0.0), np.where(short, 1.0, scaled)
    retained = np.where(short, 0.5, _exp2(x))
    return np.where(
        short, 0.5 - near * lean_series(near * near), 1.0 / far - retained / (1.0 - retained)
    )


def lean_series(square: Any) -> Any:
    """Return 1/12 - x^2/720 + ... of ``square = x * x``: 1/x - 1/(e^x - 1) = 1/2 - x times it."""
    total = square * _LEANING[0]
    for coefficient in _LEANING[1:-1]:
        total = (total + coefficient) * square
    return total + _LEANING[-1]


def exp2_of(x: float) -> float:
    """Return ``2 ** x`` for one ``x``: the operations of `exp2`, so the same bits."""
    x = max(x, _UNDERFLOW)
    whole = round(x)
    return math.ldexp(1.0 + exp2m1_of(x - whole), whole)


def exp2m1_of(r: float) -> float:
    """Return ``2 ** r - 1`` for one ``|r| <= 1/2``, without cancellation near 0."""
    total = r * COEFFICIENTS[0]
    for coefficient in COEFFICIENTS[1:]:
        total = (total + coefficient) * r
    return total
