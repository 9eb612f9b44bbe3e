"""`VarianceChart`: how much a series has varied lately, relative to its usual variation.

Knows the recurrences of one series, using only operations that give the same bits for a number and
for a column (`stats.ops`); must not know rules, limits or series.

    w = min(z^2, 25)       z the normal score of a reading (`standard`), from the variance before it
    g <- r g + p (w - 1)   p, r the weights of the fast EWMA, q, s those of the slow one
    A <- r^2 A + p^2 (1 + U) - 2 r p B        2 A is the variance of g
    B <- r s B + p q - p s U                  2 B its covariance with the error of the variance
    score = g / sqrt(2 A)

1 + g is the EWMA of the squares. The variance that they are standardised by is an EWMA of squares
itself, of relative variance 2 U: it has seen the same readings, so its errors persist, and what a
burst adds to g it removes later. A and B account for that, exactly to first order, at any spacing.
While nothing is judged, g falls back towards 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.compiled import library
from ewma_ops.monitor.baseline import Baseline
from ewma_ops.monitor.spread_run_lengths import MOST_SQUARE
from ewma_ops.monitor.standard import reading_z
from ewma_ops.monitor.tracking import COLUMNS, ChartTracker
from ewma_ops.stats.ops import Ops

__all__ = ["VarianceChart", "Varied"]


class Varied(NamedTuple):
    """What is known about a reading (numbers), or each of a batch (columns).

    ``before``, ``variance`` and ``concentration`` as of `Seen`; the clipped ``square`` of its
    normal score, 1 where there is none; the ``excess`` of the EWMA of such squares over 1, its
    standard error ``scale``, and whether the reading is ``judged``.
    """

    before: Any
    variance: Any
    concentration: Any
    square: Any
    excess: Any
    scale: Any
    judged: Any


@dataclass(frozen=True)
class VarianceChart:
    """The EWMA of squared normal scores.

    Parameters
    ----------
    inner
        The source of the scores: a tracker whose state has ``fast_weight``, and ``slow_weight`` if
        the variance keeps learning.
    """

    inner: ChartTracker

    @property
    def columns(self) -> tuple[tuple[str, str, float], ...]:
        """Names of the state, with the dtype and the initial value of each."""
        own = ("square_excess", 0.0), ("square_u", 1.0), ("square_shared", 0.0)
        return (*self.inner.columns, *((name, "float64", initial) for name, initial in own))

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""
        return self.inner.by_time

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> Any:
        """Return the factors of the baseline."""
        return self.inner.factors(gap, columns=columns, time=time)

    def step(
        self, o: Ops, y: Any, x: Any, by: Any, taken: Any = 0.0
    ) -> tuple[tuple[Any, ...], Varied]:
        """Return the state after a reading x, and its evaluation.

        ``taken`` is how large what was subtracted from the reading is.
        """
        *before, excess, own, shared = y
        state, seen = self.inner.step(o, before, x, by, taken)
        fast, slow = self._weights
        p = by.fast_added / state[fast]
        r, q = 1.0 - p, 0.0 if slow is None else by.slow_added / state[slow]
        s, u = 1.0 - q, seen.concentration
        z = reading_z(x, seen, o)
        square = o.where(seen.judged, o.minimum(z * z, MOST_SQUARE), 1.0)
        excess = r * excess + p * (square - 1.0)
        own, shared = (
            r * r * own + (p * p * (1.0 + u) - 2.0 * r * p * shared),
            r * s * shared + (p * q - p * s * u),
        )
        scale = o.sqrt(o.maximum(2.0 * own, 0.0))
        known = Varied(seen.before, seen.variance, u, square, excess, scale, seen.judged)
        return (*state, excess, own, shared), known

    @cached_property
    def _weights(self) -> tuple[int, int | None]:
        """The places of the weights of the fast and the slow EWMA in the state."""
        names = [name for name, _, _ in self.inner.columns]
        slow = names.index("slow_weight") if "slow_weight" in names else None
        return names.index("fast_weight"), slow

    def compiled(
        self,
        kernels: library.Kernels,
        rows: NDArray[np.intp],
        state: list[NDArray[Any]],
        values: NDArray[np.float64],
        by: Any,
    ) -> Varied | None:
        """Do :meth:`step` for readings in order of arrival, where the inner tracker is compiled."""
        inner = self.inner
        if not isinstance(inner, Baseline):
            return None
        own_state = state[-3:]
        fast, slow = (state[at] for at in self._weights if at is not None)
        p = _shares(kernels, rows, fast, by.fast_kept, by.fast_added)
        q = _shares(kernels, rows, slow, by.slow_kept, by.slow_added)
        seen = inner.compiled(kernels, rows, state[:-3], values, by)
        r, s, u = 1.0 - p, 1.0 - q, seen.concentration
        z = reading_z(values, seen, COLUMNS)
        square = np.where(seen.judged, np.minimum(z * z, MOST_SQUARE), 1.0)
        (_, excess) = _accumulated(kernels, rows, own_state[0], r, p * (square - 1.0))
        shared, _ = _accumulated(kernels, rows, own_state[2], r * s, p * q - p * s * u)
        gains = p * p * (1.0 + u) - 2.0 * r * p * shared
        (_, own) = _accumulated(kernels, rows, own_state[1], r * r, gains)
        scale = np.sqrt(np.maximum(2.0 * own, 0.0))
        return Varied(seen.before, seen.variance, u, square, excess, scale, seen.judged)


def _accumulated(
    kernels: library.Kernels,
    rows: NDArray[np.intp],
    state: NDArray[Any],
    factors: NDArray[np.float64],
    gains: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run y <- a y + g; return y before and after each reading."""
    before = np.empty(len(rows))
    kernels.accumulate(rows, factors, gains, state, before)
    return before, factors * before + gains


def _shares(
    kernels: library.Kernels,
    rows: NDArray[np.intp],
    weights: NDArray[Any],
    kept: Any,
    added: Any,
) -> NDArray[np.float64]:
    """Return the share of each reading in an EWMA; its weights stay as they are."""
    gains = np.ascontiguousarray(np.broadcast_to(added, rows.shape), np.float64)
    factors = np.ascontiguousarray(np.broadcast_to(kept, rows.shape), np.float64)
    before, after = _accumulated(kernels, rows, weights, factors, gains)
    weights[rows[::-1]] = before[::-1]  # of the first reading of each series
    return gains / after
