"""`Line`: the line of an outlook, for callers whose readings depend on its forecasts.

Runs the steps of `STATES`, so that there is one definition of a line; must not know how forecasts
are used. The steppers run the same steps for tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ewma_ops.stats import ops, outlook
from ewma_ops.stats.moments import Moments
from ewma_ops.stats.ops import Ops
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.states import STATES
from ewma_ops.stats.weights import TINY, Weighing

__all__ = ["Aged", "Line"]

_NEEDS = ("mean_age", "age_variance", "trend")


class Aged(NamedTuple):
    """What follows from the gap before a reading: f and w, how much all ages, and its own age."""

    kept: Any
    added: Any
    ageing: Any
    own_age: Any


@dataclass(frozen=True)
class Line:
    """The recurrences of the line of one field, or of its mean where the outlook is its level.

    Parameters
    ----------
    smoothing
        Its decay, outlook and half-life of the trend; every reading weighs alike.
    """

    smoothing: Smoothing

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""
        return self.smoothing.decay.by_time

    @cached_property
    def _weighing(self) -> list[Weighing]:
        decay = self.smoothing.decay
        return [Weighing(self.smoothing, of(decay)) for of in (ops.of_numbers, ops.of_columns)]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the state, in the order in which it is stepped."""
        needs = _NEEDS if self.smoothing.ahead.sloped else ()
        own = [
            name
            for name, state in STATES.items()
            if state.step is not None and state.is_kept(self.smoothing, needs)
        ]
        return ("weight", "mean", *own)

    @cached_property
    def _moments(self) -> dict[bool, Moments]:
        """What the steps read and set, of numbers and of columns."""
        decay = self.smoothing.decay
        found = {
            False: Moments(self.smoothing, ops.of_numbers(decay)),
            True: Moments(self.smoothing, ops.of_columns(decay)),
        }
        for one in found.values():
            one.observed = True
        return found

    @cached_property
    def _steps(self) -> list[tuple[str, Any, bool]]:
        own = [STATES[name] for name in self.names[2:]]
        return [(state.name, state.step, state.of == "field") for state in own]

    def aged(self, gap: Any, *, columns: bool) -> Aged:
        """Return what follows from gaps in ticks, int64[n] or int; of decay by reading: numbers."""
        kept, added = self._weighing[columns].factors(gap, None)
        if not self.by_time:
            return Aged(kept, added, 1.0, None)
        if columns:
            return Aged(kept, added, np.maximum(gap, 0), np.maximum(-gap, 0))
        return Aged(kept, added, max(gap, 0), max(-gap, 0))

    def forecast(self, o: Ops, y: tuple[Any, ...], by: Aged) -> Any:
        """Return what the line has at the time of the reading, before it; 0 before the first."""
        mean = y[1]
        if not self.smoothing.ahead.sloped:
            return mean
        state = dict(zip(self.names, y, strict=True))
        slope = o.where(state["age_variance"] > 0.0, state["trend"], 0.0)
        return mean + slope * outlook.from_mean_time(by, state["mean_age"])

    def step(self, o: Ops, y: tuple[Any, ...], x: Any, by: Aged) -> tuple[Any, ...]:
        """Return the state after a reading x; ``y`` is that before, in the order of `names`."""
        weight, mean, *others = y
        kept = weight * by.kept
        weight = kept + by.added
        total = o.maximum(weight, TINY)
        p, r = by.added / total, kept / total
        d = x - mean
        mean = o.where(p > 0.5, x - d * r, mean + d * p)
        m = self._moments[isinstance(x, np.ndarray)]
        m.p, m.r = p, o.where(p > 0.0, r, 1.0)
        m.ageing, m.own_age, m.line_values, m.line_d = by.ageing, by.own_age, (x,), (d,)
        after = []
        for (name, step, of_field), before in zip(self._steps, others, strict=True):
            m.before[name] = (before,) if of_field else before
            factor, gain = step(m, 0, 0)
            moved = before * factor + gain
            after.append(moved)
            setattr(m, name, moved)
        return (weight, mean, *after)
