"""Retract a wrong reading of a series, or correct its value.

Knows series ids and rows; must not know streams, or how a state is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ReadingError, shown
from ewma_ops.stats.revise import check_revisable
from ewma_ops.table.series_state import SeriesState
from ewma_ops.table.smoothing_state import Ends

__all__ = ["Revisable"]


class Revisable(SeriesState):
    """The part of `SeriesTable` that revises past readings."""

    def retract(
        self,
        series_id: str,
        value: float | Sequence[float],
        time_ms: int | None = None,
        weight: float = 1.0,
        *,
        newest_ms: int | None = None,
        oldest_ms: int | None = None,
    ) -> None:
        """Retract a reading: go on as if it had never come.

        With decay by time it can be any reading, with count decay it must be the newest. Exact to
        rounding, whose error grows with the share of the reading in the weight. Nothing is changed
        if an error is raised.

        Parameters
        ----------
        series_id, value, time_ms, weight
            The reading as it came; ``time_ms`` is needed with decay by time.
        newest_ms, oldest_ms
            The times of the newest and the oldest of the readings that are left, in milliseconds
            since the epoch. The state holds the time of the newest reading only, so ``newest_ms``
            is needed to retract that one if ``sum``, ``rate``, ``settled``, ``revision``,
            ``min_weight`` or a policy for late readings or equal times depends on it; and
            ``oldest_ms`` to retract the oldest one with ``rate`` or ``settled`` by time. Otherwise
            no output depends on them; without ``newest_ms`` the series keeps its newest time, which
            `evict` uses.

        Raises
        ------
        ConfigError
            If a smoothing does not allow it: it is a composite, has decay by time and a start-up
            other than ``"corrected"``, weighs by duration, or has count decay and decays past
            missing readings.
        ReadingError
            If there is no such series, no other reading would remain, or a time is needed.

        Examples
        --------
        >>> from ewma_ops import Decay, SeriesTable, Smoothing
        >>> table = SeriesTable(Smoothing(Decay(halflife="1s"), statistics=["mean", "sum"]))
        >>> for time_ms, value in [(0, 1.0), (1000, 4.0), (2000, 9.0)]:
        ...     _ = table.step("s", value, time_ms)
        >>> table.retract("s", 9.0, 2000, newest_ms=1000)
        >>> [round(x, 12) for x in table.step("s", float("nan"), 1000)]
        [3.0, 4.5]
        """
        self._admission.check_weight(series_id, weight)
        values = np.array(value, np.float64, ndmin=1)
        self._admission.check_width(series_id, values)
        row = self._revisable(series_id)
        ends = Ends(newest_ms, oldest_ms)
        if self._separate_weights and newest_ms is not None:
            raise ReadingError(
                "newest_ms is of a reading, but the fields have weights of their own, since one "
                "lacked some of them: the newest reading cannot be retracted, only corrected"
            )
        watched = self._admission.newest_of(row)
        if watched is not None:
            if time_ms is None:
                raise ReadingError("give the time of the reading: a policy depends on times")
            watched = ends.newest(time_ms, watched, needed=True)
        revised = [
            smoothing_state.retracted(row, values, time_ms, weight, ends)
            for smoothing_state in self._smoothing_states
        ]
        self._put(row, revised)
        if watched is not None:
            self._admission.set_newest(row, watched)

    def correct(
        self,
        series_id: str,
        old: float | Sequence[float],
        new: float | Sequence[float],
        time_ms: int | None = None,
        weight: float = 1.0,
    ) -> None:
        """Correct the value of a reading: go on as if it had come with the other one.

        The same as to retract it and to step with the right one at the same time, but one step and
        one revision, and possible even for the only reading. With decay by time it can be any
        reading, with count decay it must be the newest: so a tick replaces the open bar. Exact to
        rounding. Nothing is changed if an error is raised.

        Parameters
        ----------
        series_id, old, time_ms, weight
            The reading as it came; ``time_ms`` is needed with decay by time.
        new
            The right value; missing if and only if the old one is.

        Raises
        ------
        ConfigError
            If a smoothing does not allow it, as for `retract`.
        ReadingError
            If there is no such series, it cannot have had such a reading, or the new value is out
            of bounds; or if an unbiased statistic is requested, and rounding has lost all other
            readings beside this one.

        Examples
        --------
        >>> from ewma_ops import Decay, SeriesTable, Smoothing
        >>> smoothing = Smoothing(Decay(halflife="1s"), statistics=["mean", "revision"])
        >>> table = SeriesTable(smoothing)
        >>> table.step("s", 100.0, 0), table.step("s", 4.0, 1000)
        ((100.0, 0.0), (36.0, 0.0))
        >>> table.correct("s", old=100.0, new=1.0, time_ms=0)
        >>> table.step("s", float("nan"), 1000)
        (3.0, 1.0)
        >>> bars = SeriesTable(Smoothing(Decay(span=3), "first"))
        >>> bars.step("s", 10.0), bars.step("s", 12.0)
        ((10.0,), (11.0,))
        >>> bars.correct("s", old=12.0, new=14.0)
        >>> bars.step("s", float("nan"))
        (12.0,)
        """
        before, after = (np.array(value, np.float64, ndmin=1) for value in (old, new))
        for values in (before, after):
            self._admission.check_width(series_id, values)
        if (np.isnan(before) != np.isnan(after)).any():
            raise ReadingError(
                f"{old!r} cannot be corrected to {new!r}, since one of them is missing: retract "
                "the reading, or take it in late"
            )
        self._admission.check_weight(series_id, weight)
        self._admission.check_bounds(series_id, after.tolist())
        row = self._revisable(series_id)
        revised = [
            smoothing_state.corrected(row, before, after, time_ms, weight)
            for smoothing_state in self._smoothing_states
        ]
        self._put(row, revised)

    def _revisable(self, series_id: str) -> int:
        for _, asked in self.smoothing_set.smoothings:
            check_revisable(asked)
        row = self._index.find(series_id)
        if row is None:
            raise ReadingError(
                f"series {shown(series_id)} is not in the table: nothing to take back"
            )
        return row

    def _put(self, row: int, revised: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        for smoothing_state, state in zip(self._smoothing_states, revised, strict=True):
            smoothing_state.set_row(row, state)
