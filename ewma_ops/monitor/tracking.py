"""`Arrivals`: run what a rule has to know about its series over the readings of a batch.

Knows the layout of a batch; must not know formulas, rules or series.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ewma_ops.compiled import library
from ewma_ops.stats import ops, recurrences
from ewma_ops.stats.batch_plan import BatchPlan, plan_series
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.ops import Ops
from ewma_ops.stats.states import NEVER

__all__ = ["COLUMNS", "LARGEST", "NUMBERS", "Arrivals", "Tracker"]

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

    def compiled(
        self,
        kernels: library.Kernels,
        rows: NDArray[np.intp],
        state: list[NDArray[Any]],
        values: NDArray[np.float64],
        by: Any,
    ) -> Any | None:
        """Do :meth:`step` for readings in order of arrival, compiled; ``None`` if it is not.

        ``state`` has an element for each row, and is updated in place.
        """


class Arrivals:
    """The rows of the readings of a batch, in order of arrival; laid out only if need be.

    Parameters
    ----------
    rows
        intp[n], the row of each reading's series.
    """

    def __init__(self, rows: NDArray[np.intp]) -> None:
        self.rows = rows

    @cached_property
    def _plan(self) -> BatchPlan:
        return plan_series(self.rows)

    def gaps(self, times: NDArray[np.int64], newest: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time since the newest earlier reading of the series; late ones are < 0.

        Parameters
        ----------
        times
            int64[n].
        newest
            int64[rows], the newest time of every series; updated in place.
        """
        if library.kernels is not None:
            before = np.empty(len(times), np.int64)
            given = np.ascontiguousarray(times, np.int64)
            library.kernels.latest(self.rows, given, newest, before)
        else:
            plan = self._plan
            own = newest[plan.series]
            before = plan.arrived(recurrences.latest(plan, plan.planned(times), own))
            newest[plan.series] = own
        opens = before == NEVER
        return np.asarray(np.where(opens, 0, times - np.where(opens, 0, before)))

    def track(
        self,
        tracker: Tracker,
        state: list[NDArray[Any]],
        values: NDArray[np.float64],
        gaps: NDArray[np.int64] | None,
    ) -> Any:
        """Update the state of the series by the readings; return what is known about each.

        Parameters
        ----------
        tracker
            What to run.
        state
            Its columns, one element for each row; updated in place.
        values, gaps
            float64[n] and int64[n].

        Returns
        -------
        NamedTuple
            Columns.
        """
        by = tracker.factors(gaps, columns=True)
        if library.kernels is not None:
            found = tracker.compiled(library.kernels, self.rows, state, values, by)
            if found is not None:
                return found
        plan = self._plan
        by = type(by)(*(plan.planned(f) if isinstance(f, np.ndarray) else f for f in by))
        own = [column[plan.series] for column in state]
        run = _by_rounds if plan.by_rounds else _by_runs
        seen = run(tracker, plan, own, plan.planned(values), by)
        for column, moved in zip(state, own, strict=True):
            column[plan.series] = moved
        return type(seen)(*map(plan.arrived, seen))


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
