"""Weighted moments in whole numbers, so that nothing is rounded but each result, once.

What errors are measured by where `naive` would have roundings of its own. Imports nothing of ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import NamedTuple

ONE = 1 << 4000
"""What a weight of 1 is, under decay by time: what is left of it after 3900 half-lives counts."""

_MOST = 2**1023
"""More than any ratio of squares that a float can tell."""

ULP = 2.0**-53
"""The relative error of one rounding."""


class Moments(NamedTuple):
    """Sums of w, w^2, w x and w x^2 in units of weight and of value, and what is made of them."""

    weight: int
    weight_squares: int
    total: int
    squares: int
    one: int
    per_value: int

    @property
    def mean(self) -> float:
        return _ratio(self.total, self.weight * self.per_value)

    @property
    def sum(self) -> float:
        return _ratio(self.total, self.one * self.per_value if self.weight else 0)

    @property
    def mean_square(self) -> float:
        return _ratio(self.squares, self.weight * self.per_value**2)

    @property
    def var_biased(self) -> float:
        """Sum w (x - m)^2 / sum w."""
        return _ratio(self._spread, (self.weight * self.per_value) ** 2)

    @property
    def var(self) -> float:
        """Sum w (x - m)^2 over sum w - sum w^2 / sum w."""
        return _ratio(self._spread, self._pairs * self.per_value**2)

    @property
    def n_eff(self) -> float:
        return _ratio(self.weight**2, self.weight_squares)

    @property
    def condition(self) -> float:
        """By how much more, relatively, the variance moves than the values: rms / std, or 1.

        Values that are rounded relatively by u can move it by 2 u of this (Chan, Golub and LeVeque,
        "Algorithms for computing the sample variance", 1983); at an offset it is offset / std.
        """
        if self._spread == 0:
            return 1.0  # all the same: any way gives 0
        part, whole = self.squares * self._pairs, self._spread * self.weight
        return max(1.0, math.sqrt(_MOST if part >= whole * _MOST else part / whole))

    @property
    def _spread(self) -> int:
        return self.squares * self.weight - self.total**2

    @property
    def _pairs(self) -> int:
        return self.weight**2 - self.weight_squares


def _ratio(numerator: int, denominator: int) -> float:
    """Divide, rounded once; NaN where a definition leaves 0 / 0."""
    return numerator / denominator if denominator else math.nan


def moments(weights: Sequence[int], values: Sequence[float], one: int = ONE) -> Moments:
    """Sum up readings, with weights in units of ``1 / one``."""
    whole, per_value = _whole(values)
    return Moments(
        sum(weights),
        sum(w * w for w in weights),
        sum(w * x for w, x in zip(weights, whole, strict=True)),
        sum(w * x * x for w, x in zip(weights, whole, strict=True)),
        one,
        per_value,
    )


def covariances(
    weights: Sequence[int], left: Sequence[float], right: Sequence[float]
) -> tuple[float, float]:
    """Return the covariance, unbiased and biased."""
    (x, per_x), (y, per_y) = _whole(left), _whole(right)
    weight, squares = sum(weights), sum(w * w for w in weights)
    products = sum(w * a * b for w, a, b in zip(weights, x, y, strict=True))
    totals = [sum(w * a for w, a in zip(weights, column, strict=True)) for column in (x, y)]
    spread, unit = products * weight - totals[0] * totals[1], per_x * per_y
    return _ratio(spread, (weight**2 - squares) * unit), _ratio(spread, weight**2 * unit)


def running(beta: float, values: Sequence[float]) -> list[Moments]:
    """Return the moments after each reading under count decay, a missing one (NaN) decaying too."""
    kept, of = beta.as_integer_ratio()
    whole, per_value = _whole(values)
    s = s2 = a = b = 0
    one = 1
    found: list[Moments] = []
    for x, value in zip(whole, values, strict=True):
        one *= of
        s, s2, a, b = s * kept, s2 * kept * kept, a * kept, b * kept
        if not math.isnan(value):
            s, s2, a, b = s + one, s2 + one * one, a + one * x, b + one * x * x
        found.append(Moments(s, s2, a, b, one, per_value))
    return found


def halved(gap_ms: int, halflife_ms: float) -> int:
    """Return 2 ** (-gap / halflife) in units of ``1 / ONE``, to 60 digits."""
    with localcontext() as context:
        context.prec = 80
        halflives = Decimal(gap_ms) / Decimal(halflife_ms)
        whole = int(halflives)
        left = Decimal(2) ** (whole - halflives) * 10**60
        return int(left) * ONE // 10**60 >> whole


def _whole(values: Sequence[float]) -> tuple[list[int], int]:
    """Return the values in the largest unit that makes all whole; a missing one as 0."""
    ratios = [(0, 1) if math.isnan(x) else x.as_integer_ratio() for x in values]
    per_value = max((denominator for _, denominator in ratios), default=1)  # powers of two
    return [n * (per_value // denominator) for n, denominator in ratios], per_value
