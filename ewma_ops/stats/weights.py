"""The weight of each reading: the part of the formulas that needs no values.

Knows the options of a `Smoothing`, and chooses the formula once, before any reading. Formulas have
only operations that give the same bits for a number and for a column (`ops`), so `by_reading`
and `by_column` share them. Must not know values, series ids, tables or streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ewma_ops.stats.decay import Decay
from ewma_ops.stats.moments import Moments, starting_readings
from ewma_ops.stats.ops import Ops, of_columns, of_numbers
from ewma_ops.stats.smoothing import Smoothing

__all__ = ["Weighing", "plain_factors"]

_FactorsOf = Callable[[Any, Any], tuple[Any, Any]]

TINY = 5e-324
"""Least divisor: 0 / 0 (no reading so far, and this one missing) is 0; no positive sum is below."""


class Weighing:
    """Weights of readings by the rules of one `Smoothing`.

    Attributes
    ----------
    factors
        (gap_ms, count) -> (f, w) of observed readings: the retained part of earlier weights, and
        the weight of the reading; with weighting by volume, for a volume of 1.
    by_time, by_duration, by_volume
        Whether decay is by time, and whether the weight is a duration, or a volume.
    needs_idle
        Whether weights decay past missing readings, by time.
    """

    def __init__(self, smoothing: Smoothing, ops: Ops) -> None:
        decay = smoothing.decay
        self._ops = ops
        self.by_time = decay.by_time
        self.by_duration = smoothing.by_duration
        self.by_volume = smoothing.weighting == "volume"
        self._alpha = 1.0 if self.by_time else decay.alpha
        self._beta = 1.0 if self.by_time else decay.beta
        self._start_n = starting_readings(smoothing) or 0
        self._adds_to_1 = self._start_n > 0 and not self.by_volume
        self._holds = smoothing.weighting == "last"
        self.needs_idle = self.by_time and any(smoothing.policies.decays)
        # With beta = 0 only the newest reading has a weight after the start: unbiased statistics
        # are undefined then.
        self._most = self._start_n if not self.by_time and decay.beta == 0.0 else None
        self.factors = self._rule()

    def _rule(self) -> _FactorsOf:
        if not self.by_time:
            return self._by_count_from_start if self._start_n else self._by_count
        if not self._start_n:
            return self._by_gap_divided if self.by_duration else self._by_gap
        return self._by_gap_from_start

    def _by_count(self, _: Any, __: Any) -> tuple[Any, Any]:
        return self._beta, 1.0

    def _by_count_from_start(self, _: Any, count: Any) -> tuple[Any, Any]:
        started, where = count > self._start_n, self._ops.where
        return where(started, self._beta, 1.0), where(started, self._alpha, 1.0)

    def _by_gap(self, gap: Any, _: Any) -> tuple[Any, Any]:
        """Weigh by the gap to the newest reading so far.

        A late reading (gap < 0) gets the decayed weight that it would have now had it been on time,
        and the sum of weights does not decay: exact, without a reorder buffer.
        """
        fading, on_time, where = self._ops.retention(abs(gap)), gap >= 0, self._ops.where
        return where(on_time, fading, 1.0), where(on_time, 1.0, fading)

    def _by_gap_divided(self, gap: Any, _: Any) -> tuple[Any, Any]:
        """Weigh by the part of the gap that the reading stands for.

        A late reading has no weight: later readings already have the weight of its gap.
        """
        passed = self._ops.maximum(gap, 0)
        return self._ops.retention(passed), self._ops.lapse(passed)

    def _by_gap_from_start(self, gap: Any, count: Any) -> tuple[Any, Any]:
        retained, added = self._by_gap_divided(gap, count)
        started, where = count > self._start_n, self._ops.where
        return where(started, retained, 1.0), where(started, added, 1.0)

    def retained(self, passed: Any, count: Any) -> Any:
        """Return the retained part of the weights for a missing reading.

        Parameters
        ----------
        passed
            Whether the weights decay past it.
        count
            Number of readings observed so far.
        """
        if self.by_time:
            return 1.0
        return self._ops.where(passed & (count >= self._start_n), self._beta, 1.0)

    def whole(self, observed: Any, count: Any) -> Any:
        """Tell after which readings S is set to 1: the start is over, and weights sum to 1.

        ``None`` if it never is.
        """
        return observed & (count >= self._start_n) if self._adds_to_1 else None

    def share(self, m: Moments, observed: Any, kept: Any, added: Any) -> None:
        """Set the sum of weights, and the share of the reading in it, on ``m``.

        Parameters
        ----------
        m
            ``seen`` is set already.
        observed
            Whether the reading is observed.
        kept, added
            f S and w; columns are overwritten.
        """
        m.weight = weight = kept + added
        total = self._ops.maximum(weight, TINY)
        has_weight = added > 0.0
        added /= total  # of columns in place
        kept /= total
        m.p, m.r = added, kept
        # By volume a share may underflow to 0 although the weight is not 0.
        m.weighs = has_weight if self.by_volume else m.p > 0.0
        if self.by_duration and not self._ops.all(m.seen > 1):
            opens, where = observed & (m.seen == 1), self._ops.where
            m.p, m.r = where(opens, 1.0, m.p), where(opens, 0.0, m.r)
            m.weighs = m.weighs | opens

    def over_gap(self, m: Moments, before: Any, value: Any) -> Any:
        """Return the value that stands for a gap, from the values at its two ends."""
        before = self._ops.where(m.seen <= 1, value, before)
        if self._holds:
            return before
        return value - (value - before) * self._ops.lean(self._ops.maximum(m.gap_ms, 0))

    def unbiased_defined(self, m: Moments) -> Any:
        """Return whether unbiased statistics are defined: more than one reading has a weight."""
        defined = m.weighed >= m.least_unbiased
        return defined if self._most is None else defined & (m.seen <= self._most)


def plain_factors(decay: Decay) -> tuple[_FactorsOf, _FactorsOf]:
    """Return `Weighing.factors` of readings that weigh alike: for columns, and for numbers.

    Examples
    --------
    >>> of_columns, of_numbers = plain_factors(Decay(halflife="1s"))
    >>> of_numbers(2000, None)
    (0.25, 1.0)
    """
    alike = Smoothing(decay)
    return Weighing(alike, of_columns(decay)).factors, Weighing(alike, of_numbers(decay)).factors
