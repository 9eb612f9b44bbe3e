"""`track`: run what a rule has to know about its series over the readings of a batch.

Knows the layout of a batch; must not know formulas, rules or series.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ewma_ops.stats import ops
from ewma_ops.stats.batch_plan import BatchPlan
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.ops import Ops

__all__ = ["COLUMNS", "LARGEST", "NUMBERS", "Tracker", "track"]

_ANY = Decay(beta=0.9)
COLUMNS = ops.of_columns(_ANY)
"""Operations on columns; their decay is not used."""
NUMBERS = ops.of_numbers(_ANY)
"""The same on numbers."""

LARGEST = 2.0**500
"""Trackers take values up to this magnitude, whose square is finite: greater ones are clipped."""


class Tracker(Protocol):
    """What a rule has to know about a series: numbers of state, moved by each reading.

    Trackers that are equal share their state.
    """

    @property
    def columns(self) -> tuple[tuple[str, str, float], ...]:
        """Names of the state, with the dtype and the initial value of each."""

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""

    def factors(self, gap: Any, *, columns: bool) -> tuple[Any, ...]:
        """Return what follows from the gap before a reading (int, ticks), or each of a batch."""

    def step(self, o: Ops, y: Any, x: Any, by: Any) -> tuple[tuple[Any, ...], Any]:
        """Return the state after a reading of value ``x``, and a named tuple of what is known.

        ``y`` is the state before it, ``by`` the factors. With operations ``o`` only, so that
        numbers and columns give the same bits.
        """


def track(
    tracker: Tracker,
    plan: BatchPlan,
    state: list[NDArray[Any]],
    values: NDArray[np.float64],
    gaps: NDArray[np.int64] | None,
) -> Any:
    """Update the state of a plan's series by its readings; return what is known about each.

    Parameters
    ----------
    tracker
        What to run.
    plan
        The layout of the batch.
    state
        Its columns, one element for each of ``plan.series``; updated in place.
    values, gaps
        float64[n] and int64[n] in the plan's order.

    Returns
    -------
    NamedTuple
        Columns in the plan's order.
    """
    by = tracker.factors(gaps, columns=True)
    if plan.by_rounds:
        return _by_rounds(tracker, plan, state, values, by)
    return _by_runs(tracker, plan, state, values, by)


def _by_rounds(
    tracker: Tracker,
    plan: BatchPlan,
    state: list[NDArray[Any]],
    values: NDArray[np.float64],
    by: Any,
) -> Any:
    y: list[Any] = [column.copy() for column in state]
    found = []
    for (lo, hi), ahead in zip(
        pairwise(plan.bounds), [*np.diff(plan.bounds)[1:].tolist(), 0], strict=True
    ):
        factors = type(by)(*(f[lo:hi] if isinstance(f, np.ndarray) else f for f in by))
        moved, seen = tracker.step(COLUMNS, y, values[lo:hi], factors)
        found.append(seen)
        for column, after in zip(state, moved, strict=True):
            column[ahead : hi - lo] = after[ahead:]  # series that have no further reading
        y = [after[:ahead] for after in moved]
    if len(found) == 1:
        return found[0]
    return type(found[0])(*map(np.concatenate, zip(*found, strict=True)))


def _by_runs(
    tracker: Tracker,
    plan: BatchPlan,
    state: list[NDArray[Any]],
    values: NDArray[np.float64],
    by: Any,
) -> Any:
    x = values.tolist()
    columns = [f.tolist() if isinstance(f, np.ndarray) else [f] * len(x) for f in by]
    factors = list(map(type(by), *columns))
    found = []
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        y: tuple[Any, ...] = tuple(column[i].item() for column in state)
        for j in range(lo, hi):
            y, seen = tracker.step(NUMBERS, y, x[j], factors[j])
            found.append(seen)
        for column, after in zip(state, y, strict=True):
            column[i] = after
    return type(found[0])(*map(np.array, zip(*found, strict=True)))
