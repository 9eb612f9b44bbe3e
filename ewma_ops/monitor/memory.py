"""`Memory`: the expected value of a series whose readings resemble the one before them.

Knows the recurrences of one series, using only operations that give the same bits for a number and
for a column (`stats.ops`); must not know rules, limits or series.

    d = x - c       e = d - phi d'       d' the deviation of the reading before
    c <- c + q d    c0 <- c0 + q (d^2 - c0)    c1 <- c1 + q (d d' - c1)
    phi = c1 / c0, within +-0.98, as it was before the reading

The residuals e of a first-order autoregressive series are independent: charts of them raise as many
false alarms as they are designed for, at every phi, where charts of the readings would raise up to
fifteen times as many. q is 1 / n at first, then 2 / (span + 1): phi has to be learned from many
readings, or its own error raises alarms. Deviations are clipped at 4 standard deviations.

A shift of the level by s shifts the residuals by (1 - phi) s: it takes longer to be found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ewma_ops.monitor.baseline import CLIP, Baseline
from ewma_ops.stats.ops import Ops

__all__ = ["Memory", "Remembered"]

_MOST_PHI = 0.98
_LEAST = 1e-300


class Remembered(NamedTuple):
    """`Seen`, in the units of the readings but for ``variance``, which is that of the residuals.

    ``gain`` is the deviation of the level per unit of residual, and ``foreseen``
    the part of the reading that follows from the one before it.
    """

    fast: Any
    slow: Any
    before: Any
    variance: Any
    concentration: Any
    excess: Any
    judged: Any
    gain: Any
    foreseen: Any


@dataclass(frozen=True)
class Memory:
    """A `Baseline` of the residuals.

    Parameters
    ----------
    inner
        The baseline.
    span
        From how many readings, about, centre and phi are learned.
    warm_up
        Readings before the first that is clipped.
    """

    inner: Baseline
    span: int
    warm_up: int

    @property
    def columns(self) -> tuple[tuple[str, str, float], ...]:
        """Names of the state, with the dtype and the initial value of each."""
        own = ("centre", "c0", "c1", "deviation")
        numbers = tuple((name, "float64", 0.0) for name in own)
        return (*self.inner.columns, *numbers, ("remembered", "uint32", 0))

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""
        return self.inner.by_time

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> Any:
        """Return the factors of the baseline."""
        return self.inner.factors(gap, columns=columns, time=time)

    def step(
        self, o: Ops, y: Any, x: Any, by: Any, taken: Any = 0.0
    ) -> tuple[tuple[Any, ...], Remembered]:
        """Return the state after a reading x, and its evaluation.

        ``taken`` is how large what was subtracted from the reading is.
        """
        *inner, centre, c0, c1, last, seen = y
        known = c0 > _LEAST
        phi = o.where(known, c1 / o.where(known, c0, 1.0), 0.0)
        phi = o.minimum(o.maximum(phi, -_MOST_PHI), _MOST_PHI)
        first = seen == 0  # nothing was expected, so it is not an error
        foreseen = o.where(first, x, centre + phi * last)
        state, found = self.inner.step(o, inner, x - foreseen, by, taken)
        reach = o.where(known & (seen >= self.warm_up), o.sqrt(c0) * CLIP, float("inf"))
        d = o.minimum(o.maximum(x - centre, -reach), reach)
        q = o.maximum(1.0 / (seen + 1.0), 2.0 / (self.span + 1.0))
        own = (
            centre + q * d,
            o.where(first, 0.0, c0 + q * (d * d - c0)),
            o.where(first, 0.0, c1 + q * (d * last - c1)),
            o.where(first, 0.0, d),
            o.where(seen < self.span, seen + 1, seen),
        )
        gain = 1.0 / (1.0 - phi)
        return (*state, *own), Remembered(
            centre + found.fast * gain,
            centre + found.slow * gain,
            foreseen + found.before,
            found.variance,
            found.concentration,
            found.excess,
            found.judged,
            gain,
            foreseen,
        )

    def compiled(self, *_: Any) -> None:
        """Return None: it is not compiled."""
