"""`Baseline`: what is expected of a series, learned from the series itself.

Knows the recurrences of one series, using only operations that give the same bits for a number, for
a column (`stats.ops`) and for the loop in C, `compiled/alarms.c`; must not know rules, limits or
series.

Two EWMAs with the proper weights (bias-corrected), a fast and a slow one:

    S <- f S + w    p = w / S    r = 1 - p      of each: f, w as of `stats.weights`
    U <- r^2 U + p^2                            sum of squared weights, 1 / n_eff
    C <- r_fast r_slow C + p_fast p_slow        sum of the products of both weights
    x' = x within slow +- 4 sqrt(V)             clipped, once the baseline is relied on
    V <- ((1 - U) V + p d^2) / (r (1 - U) + 2 p)     d = x' - slow; unbiased, of the slow one
    fast <- fast + p (x' - fast)                slow <- slow + p d

The variance of fast - slow is V (U_fast + U_slow - 2 C), and that of x - slow before it is V (1 +
U_slow). Clipping keeps a single outlier out of both averages and of V: without it, one would look
like a shift of the level, and hide the next ones.

A series is judged once it has had ``warm_up`` readings, its slow EWMA has an effective number of at
least `LEAST_N_EFF`, and it has varied by more than rounding. After a gap so long that nothing of
the earlier weights is left, the warm-up begins again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.compiled import library
from ewma_ops.monitor.chart_rule import LEAST_N_EFF
from ewma_ops.monitor.rule import COUNTED
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.ops import Ops
from ewma_ops.stats.weights import plain_factors

__all__ = ["Baseline", "Factors", "Seen"]

CLIP = 4.0
"""Number of standard deviations at which readings are clipped."""

_MOST_U = 1.0 / LEAST_N_EFF
_ALONE = 0.75
"""Above this U_slow only the newest reading is left."""
_ROUNDING = 2.0**-72
"""A variance below this share of the squared mean of raw readings is rounding."""
_TINY = 5e-324


class Factors(NamedTuple):
    """f and w of a reading, for the fast and the slow EWMA."""

    fast_kept: Any
    fast_added: Any
    slow_kept: Any
    slow_added: Any


class Seen(NamedTuple):
    """What a baseline knows about a reading (numbers), or each of a batch (columns).

    ``fast`` and ``slow`` after it; ``before``, ``variance`` and ``concentration`` of the slow EWMA
    before it; ``excess``, the variance of fast - slow in units of ``variance``; and whether the
    reading is ``judged``.
    """

    fast: Any
    slow: Any
    before: Any
    variance: Any
    concentration: Any
    excess: Any
    judged: Any


@dataclass(frozen=True)
class Baseline:
    """The recurrences of a fast and a slow EWMA of the same series.

    Parameters
    ----------
    fast, slow
        Decays, both by reading or both by time.
    warm_up
        Readings before the first that is judged.
    """

    columns: ClassVar[tuple[tuple[str, str, float], ...]] = (
        ("fast", "float64", 0.0),
        ("slow", "float64", 0.0),
        ("variance", "float64", 0.0),
        ("fast_weight", "float64", 0.0),
        ("slow_weight", "float64", 0.0),
        ("fast_u", "float64", 1.0),
        ("slow_u", "float64", 1.0),
        ("shared", "float64", 1.0),
        ("seen", "uint32", 0),
    )
    """Names of the state with the dtype and the initial value of each."""

    fast: Decay
    slow: Decay
    warm_up: int

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""
        return self.fast.by_time

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> Factors:  # noqa: ARG002 - gaps matter
        """Return the factors after gaps in ticks, int64[n] or int; of decay by reading: numbers."""
        fast, slow = self._of_columns if columns else self._of_numbers
        return Factors(*fast(gap, None), *slow(gap, None))

    @cached_property
    def _of_columns(self) -> Any:
        return plain_factors(self.fast)[0], plain_factors(self.slow)[0]

    @cached_property
    def _of_numbers(self) -> Any:
        return plain_factors(self.fast)[1], plain_factors(self.slow)[1]

    def compiled(
        self,
        kernels: library.Kernels,
        rows: NDArray[np.intp],
        state: list[NDArray[Any]],
        values: NDArray[np.float64],
        by: Factors,
    ) -> Seen:
        """Do :meth:`step` for readings in order of arrival; ``state`` is of all rows."""
        factors = [np.ascontiguousarray(factor, np.float64).reshape(-1) for factor in by]
        n = len(rows)
        values = np.ascontiguousarray(values, np.float64)
        found = [np.empty(n) for _ in range(6)]
        judged = np.empty(n, np.bool_)
        kernels.track_baseline(
            rows, values, *factors, self.warm_up, *state, *found, judged.view(np.uint8)
        )
        return Seen._make([*found, judged])

    def step(
        self, o: Ops, y: Any, x: Any, by: Factors, taken: Any = 0.0
    ) -> tuple[tuple[Any, ...], Seen]:
        """Return the state after a reading x, and what is known about it.

        ``y`` is the state before, in the order of `columns`; ``taken`` is how large what was
        subtracted from the reading is: rounding is in proportion to it too.
        """
        fast, slow, variance, fast_weight, slow_weight, fast_u, slow_u, shared, seen = y
        kept = fast_weight * by.fast_kept
        fast_weight = kept + by.fast_added
        fast_p, fast_r = by.fast_added / fast_weight, kept / fast_weight
        kept = slow_weight * by.slow_kept
        slow_weight = kept + by.slow_added
        p, r = by.slow_added / slow_weight, kept / slow_weight
        fast_u = fast_r * fast_r * fast_u + fast_p * fast_p
        u = r * r * slow_u + p * p
        shared = fast_r * r * shared + fast_p * p
        size = taken + abs(slow)
        judged = (
            (seen >= self.warm_up)
            & (o.maximum(u, slow_u) <= _MOST_U)
            & (variance > size * size * _ROUNDING)
        )
        reach = o.where(judged, o.sqrt(variance) * CLIP, float("inf"))
        x = o.minimum(o.maximum(x, slow - reach), slow + reach)
        d = x - slow
        spread = o.maximum(1.0 - slow_u, 0.0)
        after = (spread * variance + p * d * d) / o.maximum(r * spread + 2.0 * p, _TINY)
        fast = fast + fast_p * (x - fast)
        seen = o.where(u > _ALONE, 1, seen + (seen < COUNTED))
        state = fast, slow + p * d, after, fast_weight, slow_weight, fast_u, u, shared, seen
        return state, Seen(
            fast, state[1], slow, variance, slow_u, fast_u + u - 2.0 * shared, judged
        )
