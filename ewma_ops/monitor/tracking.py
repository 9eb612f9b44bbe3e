"""`Arrivals`: runs the trackers of rules over the readings of a batch.

Knows the layout of a batch; must not know formulas, rules or series.
"""

from __future__ import annotations

from collections.abc import Callable
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

__all__ = ["COLUMNS", "LARGEST", "NUMBERS", "Arrivals", "ChartTracker", "Tracker"]

_ANY = Decay(beta=0.9)
COLUMNS = ops.of_columns(_ANY)
"""Operations on columns; their decay is unused."""
NUMBERS = ops.of_numbers(_ANY)
"""The same on numbers."""

LARGEST = 2.0**500
"""Trackers take values up to this magnitude, whose square is finite: greater ones are clipped."""


class Tracker(Protocol):
    """A rule's memory of a series: numbers of state, updated by each reading.

    Equal trackers share their state. A column whose dtype is that of a row, such as
    ``"(24,)f8"``, has a number for each hour of a season: a reading moves those of its ``hour`` and
    ``next_hour``, which then are in its factors.
    """

    @property
    def columns(self) -> tuple[tuple[str, str, float], ...]:
        """Names of the state, with the dtype and the initial value of each."""

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> tuple[Any, ...]:
        """Return the factors for the gap before a reading (int, ticks), or before each of a batch.

        ``time`` is that of the reading, in ticks; ``None`` without.
        """

    def step(self, o: Ops, y: Any, x: Any, by: Any) -> tuple[tuple[Any, ...], Any]:
        """Return the state after a reading of value ``x``, and its evaluation, a named tuple.

        ``y`` is the state before it, ``by`` the factors. It uses only the operations ``o``, so that
        numbers and columns give the same bits. Both numbers of a column with hours are adjacent,
        after those of the other columns.
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


class ChartTracker(Tracker, Protocol):
    """A tracker that may see what is left of readings when something was subtracted."""

    def step(
        self, o: Ops, y: Any, x: Any, by: Any, taken: Any = 0.0
    ) -> tuple[tuple[Any, ...], Any]:
        """`Tracker.step`; ``taken`` is how large what was subtracted is, as rounding goes by it."""


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
        times: NDArray[np.int64] | None = None,
    ) -> Any:
        """Update the state of the series by the readings; return the evaluation of each.

        Parameters
        ----------
        tracker
            The tracker to run.
        state
            Its columns, one element for each row; updated in place.
        values, gaps, times
            float64[n] and int64[n].

        Returns
        -------
        NamedTuple
            Columns.
        """
        by = tracker.factors(gaps, columns=True, time=times)
        if library.kernels is not None:
            found = tracker.compiled(library.kernels, self.rows, state, values, by)
            if found is not None:
                return found
        plan = self._plan
        by = _each(by, lambda f: plan.planned(f) if isinstance(f, np.ndarray) else f)
        plain = [column for column in state if column.ndim == 1]
        own = [column[plan.series] for column in plain]
        hourly = [column for column in state if column.ndim > 1]
        run = _by_rounds if plan.by_rounds else _by_runs
        seen = run(tracker, plan, own, hourly, plan.planned(values), by)
        for column, moved in zip(plain, own, strict=True):
            column[plan.series] = moved
        return _each(seen, plan.arrived)


def _each(parts: Any, change: Callable[[Any], Any]) -> Any:
    """Return a named tuple of changed parts; those that are tuples are changed part by part."""
    changed = (_each(one, change) if isinstance(one, tuple) else change(one) for one in parts)
    return type(parts)(*changed)


def _joined(found: list[Any]) -> Any:
    """Return named tuples of columns end to end, as one."""
    if len(found) == 1:
        return found[0]
    first = found[0]
    parts = zip(*found, strict=True)
    joined = (_joined(list(p)) if isinstance(p[0], tuple) else np.concatenate(p) for p in parts)
    return type(first)(*joined)


def _by_rounds(
    tracker: Tracker,
    plan: BatchPlan,
    state: list[NDArray[Any]],
    hourly: list[NDArray[Any]],
    values: NDArray[np.float64],
    by: Any,
) -> Any:
    y: list[Any] = [column.copy() for column in state]
    found = []
    for (lo, hi), ahead in zip(
        pairwise(plan.bounds), [*np.diff(plan.bounds)[1:].tolist(), 0], strict=True
    ):
        factors = _each(by, lambda f: f[lo:hi] if isinstance(f, np.ndarray) else f)  # noqa: B023
        places: list[tuple[Any, Any]] = []
        if hourly:
            rows = plan.series[: hi - lo]
            places = [(rows, factors.hour), (rows, factors.next_hour)]
        met = [column[place] for column in hourly for place in places]
        moved, seen = tracker.step(COLUMNS, [*y, *met], values[lo:hi], factors)
        found.append(seen)
        for at, after in enumerate(moved[len(state) :]):
            hourly[at // 2][places[at % 2]] = after
        plain = moved[: len(state)]
        for column, after in zip(state, plain, strict=True):
            column[ahead : hi - lo] = after[ahead:]  # series without further readings
        y = [after[:ahead] for after in plain]
    return _joined(found)


def _by_runs(
    tracker: Tracker,
    plan: BatchPlan,
    state: list[NDArray[Any]],
    hourly: list[NDArray[Any]],
    values: NDArray[np.float64],
    by: Any,
) -> Any:
    x = values.tolist()
    factors = _singly(by, len(x))
    found = []
    rows = plan.series.tolist()
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        y: tuple[Any, ...] = tuple(column[i].item() for column in state)
        own = [column[rows[i]] for column in hourly]
        for j in range(lo, hi):
            if not own:
                y, seen = tracker.step(NUMBERS, y, x[j], factors[j])
            else:
                hours = factors[j].hour, factors[j].next_hour
                met = [column[hour].item() for column in own for hour in hours]
                moved, seen = tracker.step(NUMBERS, (*y, *met), x[j], factors[j])
                y = moved[: len(state)]
                for at, after in enumerate(moved[len(state) :]):
                    own[at // 2][hours[at % 2]] = after
            found.append(seen)
        for column, after in zip(state, y, strict=True):
            column[i] = after
    return _columns(found)


def _singly(by: Any, n: int) -> list[Any]:
    """Return the factors of each reading separately."""
    columns = (
        _singly(f, n)
        if isinstance(f, tuple)
        else (f.tolist() if isinstance(f, np.ndarray) else [f] * n)
        for f in by
    )
    return list(map(type(by), *columns))


def _columns(found: list[Any]) -> Any:
    """Return named tuples of numbers as one of columns."""
    parts = zip(*found, strict=True)
    return type(found[0])(
        *(_columns(list(p)) if isinstance(p[0], tuple) else np.array(p) for p in parts)
    )
