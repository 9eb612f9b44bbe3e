"""`Reference`: the expected value of a series, given, or frozen after its first readings.

Knows the recurrences of one series, using only operations that give the same bits for a number and
for a column (`stats.ops`); must not know rules, limits or series.

    n <- n + 1    m <- m + (x - m) / n    T <- T + (x - m before) (x - m)    the first readings only
    fast <- fast + p (x' - fast)          x' clipped at m +- 4 standard deviations, once judged

The variance of fast - m is V (U_fast + 1 / n): the 1 / n, of a mean that was learned from n
readings, is not negligible.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from ewma_ops.monitor.baseline import CLIP, Seen
from ewma_ops.monitor.rule import COUNTED
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.ops import Ops
from ewma_ops.stats.weights import plain_factors

__all__ = ["Reference"]


class _Factors(NamedTuple):
    """f and w of a reading, for the EWMA."""

    fast_kept: Any
    fast_added: Any


@dataclass(frozen=True)
class Reference:
    """A fast EWMA against a fixed mean.

    Parameters
    ----------
    fast
        How fast the EWMA forgets.
    warm_up
        Readings before the first that is judged.
    learned
        From how many first readings mean and standard deviation are learned; 0 if they are given.
    mean, std
        If they are given.
    """

    columns: ClassVar[tuple[tuple[str, str, float], ...]] = (
        ("fast", "float64", 0.0),
        ("fast_weight", "float64", 0.0),
        ("fast_u", "float64", 1.0),
        ("mean", "float64", 0.0),
        ("squares", "float64", 0.0),
        ("seen", "uint32", 0),
    )

    fast: Decay
    warm_up: int
    learned: int = 0
    mean: float = 0.0
    std: float = 0.0

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""
        return self.fast.by_time

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> _Factors:  # noqa: ARG002 - gaps matter
        """Return the factors after gaps in ticks, int64[n] or int; of decay by reading: numbers."""
        of_columns, of_numbers = self._of_gap
        return _Factors(*(of_columns if columns else of_numbers)(gap, None))

    @cached_property
    def _of_gap(self) -> Any:
        return plain_factors(self.fast)

    def step(
        self,
        o: Ops,
        y: Any,
        x: Any,
        by: _Factors,
        taken: Any = 0.0,  # noqa: ARG002 - no season goes with it
    ) -> tuple[tuple[Any, ...], Seen]:
        """Return the state after a reading x, and its evaluation."""
        fast, weight, u, mean, squares, seen = y
        kept = weight * by.fast_kept
        weight = kept + by.fast_added
        p, r = by.fast_added / weight, kept / weight
        u = r * r * u + p * p
        judged = seen >= max(self.warm_up, self.learned)
        if self.learned:
            learning = seen < self.learned
            d = x - mean
            after = o.where(learning, mean + d / (seen + 1.0), mean)
            squares = o.where(learning, squares + d * (x - after), squares)
            mean, variance, of_mean = after, squares / (self.learned - 1.0), 1.0 / self.learned
            judged = judged & (variance > 0.0)
        else:
            mean, of_mean = mean * 0.0 + self.mean, 0.0
            variance = mean * 0.0 + self.std * self.std
        reach = o.where(judged, o.sqrt(variance) * CLIP, float("inf"))
        fast = fast + p * (o.minimum(o.maximum(x, mean - reach), mean + reach) - fast)
        state = fast, weight, u, mean, squares, seen + (seen < COUNTED)
        concentration = mean * 0.0 + of_mean
        return state, Seen(fast, mean, mean, variance, concentration, u + of_mean, judged)

    def compiled(self, *_: Any) -> None:
        """Return None: it is not compiled."""
