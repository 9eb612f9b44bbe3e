"""Admission: apply the policies to readings, as columns or one by one, before any state changes.

Knows policies, values, times and rows; must not know statistics, tables or streams. Its only state
is the newest time of each series, and only if a policy needs it. It changes only after the whole
run has been admitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings, Rejected
from ewma_ops.columns.rejections import Rejection
from ewma_ops.errors import ReadingError, shown
from ewma_ops.stats.policies import EQUAL_TIMES, LATE, MISSING
from ewma_ops.stats.states import NEVER
from ewma_ops.table.bounds import Bounds
from ewma_ops.table.idleness import Idleness, clocks_of
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = ["Admission", "Admitted"]

_COLUMN, _SOURCES = "/newest_ms", "/source"
"""No field group has columns of these names."""


class Admitted(NamedTuple):
    """The admitted part of a run of readings.

    ``readings`` as they came, ``values`` and ``times_ms`` as the policies admit them, ``rows`` of
    their series, ``causes`` as sets, ``resets`` where a reading resets its series (each ``None``
    if there are none); ``rejected`` readings, and a ``tally`` of the readings with each cause.
    """

    readings: Readings
    values: NDArray[np.float64]
    times_ms: NDArray[np.int64] | None
    rows: NDArray[np.intp]
    causes: NDArray[np.uint8] | None = None
    resets: NDArray[np.bool_] | None = None
    rejected: Rejected | None = None
    tally: Mapping[str, int] = MappingProxyType({})


class Admission(Bounds):
    """Apply the policies of a smoothing set.

    Decisions are for all smoothings of the set together: the bounds (the narrowest of theirs),
    which values and times are admitted, whether a series is reset, whether a reading is a dead
    letter, and the newest time of a series. So a smoothing gives the same bits as alone with the
    same bounds. Only whether its weights decay past a reading that is not admitted, each smoothing
    decides by its own policies, from the causes of the reading.

    Parameters
    ----------
    smoothing_set
        Whose policies to apply.
    columns
        State to resume from, as `columns` names it; ``None`` for no series.
    """

    def __init__(
        self, smoothing_set: SmoothingSet, columns: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        super().__init__(smoothing_set)
        policies = smoothing_set.policies
        self._refused = np.array([policy == "dead-letter" for policy in self._policies])
        self._reset = np.array([policy == "reset" for policy in self._policies])
        self._max_lateness = policies.max_lateness
        self._unit = smoothing_set.tick.unit
        self._whole = smoothing_set.width > 1 and not smoothing_set.fields
        state = {} if columns is None else columns
        forget_after = smoothing_set.forget_after
        self.idleness: Idleness | None = None
        if forget_after is not None:
            sources = np.array(state.get(_SOURCES, []), np.int64)
            self.idleness = Idleness(forget_after, sources)
        self._judges_times = policies.watches
        self.watches = policies.watches or self.idleness is not None
        self._bind(np.array(state.get(_COLUMN, []), np.int64))

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by the names they have in a snapshot."""
        newest = {_COLUMN: self.newest_ms} if self.watches else {}
        return newest if self.idleness is None else {**newest, _SOURCES: self.idleness.sources}

    def _bind(self, newest_ms: NDArray[np.int64]) -> None:
        self.newest_ms = newest_ms
        self._newest = memoryview(newest_ms.data)

    def grow(self, size: int) -> None:
        """Make room for ``size`` series."""
        if self.watches:
            more = np.full(size - len(self.newest_ms), NEVER)
            self._bind(np.concatenate([self.newest_ms, more]))
        if self.idleness is not None:
            self.idleness.grow(size)

    def keep_rows(self, rows: NDArray[np.intp]) -> None:
        """Keep some of the rows."""
        if self.watches:
            self._bind(self.newest_ms[rows])
        if self.idleness is not None:
            self.idleness.sources = self.idleness.sources[rows]

    def copy_from(self, other: Admission, first: int, n: int) -> None:
        """Copy the first ``n`` rows of another to the rows from ``first`` on."""
        if self.watches:
            self.newest_ms[first : first + n] = other.newest_ms[:n]
        if self.idleness is not None and other.idleness is not None:
            self.idleness.sources[first : first + n] = other.idleness.sources[:n]

    def merge(self, other: Admission, rows: NDArray[np.intp]) -> None:
        """Merge another's series into this; its i-th is at ``rows[i]`` here."""
        if self.watches:
            theirs = other.newest_ms[: len(rows)]
            self.newest_ms[rows] = np.maximum(self.newest_ms[rows], theirs)
        if self.idleness is not None and other.idleness is not None:
            self.idleness.sources[rows] = other.idleness.sources[: len(rows)]

    def newest_of(self, row: int) -> int | None:
        """Return the newest time of a series; ``None`` if no policy needs it."""
        return int(self.newest_ms[row]) if self.watches else None

    def forget_newest(self, row: int) -> None:
        """Forget the newest time of a series that starts over."""
        if self.watches:
            self.newest_ms[row] = NEVER

    def set_newest(self, row: int, newest_ms: int) -> None:
        """Set the newest time of a series, after its newest reading is retracted."""
        self.newest_ms[row] = newest_ms

    def resets(self, causes: int) -> bool:
        """Return whether a reading with these causes resets its series."""
        return self._policies[causes] == "reset"

    def values_of(
        self, series_id: str, values: Sequence[float], weight: float | None
    ) -> tuple[Sequence[float], int]:
        """Return the admitted values of one reading, and the set of their causes.

        Raises
        ------
        ReadingError
            If a policy rejects the reading.
        """
        entering: list[float] = []
        causes = MISSING if self.by_volume and weight != weight else 0
        for value in values:
            cause, entered = self.entering(value)
            causes |= cause
            entering.append(entered)
        if self._policies[causes] == "dead-letter":
            raise ReadingError(self.message(series_id, values, causes))
        return entering, causes

    def time_of(
        self,
        series_id: str,
        row: int,
        values: Sequence[float],
        weight: float | None,
        time_ms: int,
        causes: int,
    ) -> tuple[Sequence[float], int, int, bool]:
        """Return the admitted values and time of one reading, and its causes, including the time's.

        The last item tells whether the series was idle, so that the reading resets it.

        Raises
        ------
        ReadingError
            If a policy rejects the reading.
        """
        was_idle = self._reset_if_idle(self._newest, row, time_ms)
        observed = (all if self._whole else any)(value == value for value in values)
        if self.by_volume:
            observed = observed and weight == weight
        cause, entering_ms = self._clock(self._newest, row, time_ms, causes, observed)
        if self._policies[cause] == "dead-letter":
            raise ReadingError(self._time_message(series_id, self._newest[row], time_ms))
        if self._policies[cause] in ("skip", "decay"):
            values = [math.nan] * len(values)
        if self.idleness is not None:
            self.idleness.note_own(row, time_ms)
        return values, entering_ms, causes | cause, was_idle

    def admit(
        self, readings: Readings, rows: NDArray[np.intp], *, collect_rejected: bool
    ) -> Admitted:
        """Apply the policies to a run of readings, and update the newest times.

        Parameters
        ----------
        readings
            In order of arrival.
        rows
            intp[n], rows of their series.
        collect_rejected
            Whether to return rejected readings, and not raise an error for the first.

        Raises
        ------
        ReadingError
            If a policy rejects a reading; nothing is changed then.
        """
        values, times = readings.values, readings.times_ms
        empty = not values.size
        fine = empty or (self.low <= values.min() and values.max() <= self.high)
        if not empty and fine and self.by_volume and readings.weights is not None:
            fine = bool(readings.weights.min() >= 0.0)  # not if one is missing
        if empty or (fine and not self.watches):
            return Admitted(readings, values, times, rows)
        if fine and not self._judges_times and (quick := self._admit_busy(readings, rows)):
            return quick
        causes = np.zeros(len(readings), np.uint8)
        details: dict[int, str] = {}
        if not fine:
            values = self._admit_values(readings, causes, details)
        newest: dict[int, int] = {}
        was_idle = np.zeros(len(readings), np.bool_)
        if self.watches:
            newest = dict(zip(rows.tolist(), self.newest_ms[rows].tolist(), strict=True))
            values, times = self._admit_times(
                readings, rows, values, causes, details, newest, was_idle
            )
        if details and not collect_rejected:
            raise ReadingError(details[min(details)])
        if newest:
            self.newest_ms[list(newest)] = list(newest.values())
        if self.idleness is not None:
            self.idleness.note(readings, rows)
        return self._admitted(Admitted(readings, values, times, rows, causes, was_idle), details)

    def _admit_busy(self, readings: Readings, rows: NDArray[np.intp]) -> Admitted | None:
        """Admit usual readings if none of their series has been idle; ``None`` if one may be."""
        idleness, times = self.idleness, readings.times_ms
        assert idleness is not None
        assert times is not None
        if not idleness.none_idle(readings, self.newest_ms[rows]):
            return None
        np.maximum.at(self.newest_ms, rows, times)
        idleness.note(readings, rows)
        return Admitted(readings, readings.values, times, rows)

    def _admit_values(
        self, readings: Readings, causes: NDArray[np.uint8], details: dict[int, str]
    ) -> NDArray[np.float64]:
        values = readings.values
        absent = np.isnan(values)
        causes[absent if absent.ndim == 1 else absent.any(axis=1)] = MISSING
        if self.by_volume and readings.weights is not None:
            causes[np.isnan(readings.weights)] = MISSING
        odd = ~absent & ~((values >= self.low) & (values <= self.high))
        if odd.any():
            values = values.copy(order="K")
        for place in map(tuple, np.argwhere(odd).tolist()):
            cause, values[place] = self.entering(float(values[place]))
            causes[place[0]] |= cause
        for i in np.flatnonzero(self._refused[causes]).tolist():
            came = np.atleast_1d(readings.values[i]).tolist()
            details[i] = self.message(readings.series_ids[i], came, int(causes[i]))
        return values

    def _admit_times(
        self,
        readings: Readings,
        rows: NDArray[np.intp],
        values: NDArray[np.float64],
        causes: NDArray[np.uint8],
        details: dict[int, str],
        newest: dict[int, int],
        was_idle: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        assert readings.times_ms is not None  # the table refuses readings without
        clocks = clocks_of(readings).tolist()
        values, entering = values.copy(order="K"), readings.times_ms.copy()
        absent = np.isnan(values.reshape(len(values), -1)).sum(axis=1)
        observed = absent == 0 if self._whole else absent < values[:1].size
        if self.by_volume and readings.weights is not None:
            observed &= ~np.isnan(readings.weights)
        columns = rows.tolist(), entering.tolist(), causes.tolist(), observed.tolist()
        for i, (row, time_ms, cause, seen) in enumerate(zip(*columns, strict=True)):
            if i in details:
                continue
            if self._reset_if_idle(newest, row, clocks[i]):
                was_idle[i] = True
            untimely, entering_ms = self._clock(newest, row, time_ms, cause, seen)
            if not untimely:
                continue
            causes[i] |= untimely
            entering[i] = entering_ms
            if self._policies[untimely] in ("skip", "decay"):
                values[i] = math.nan
            elif self._policies[untimely] == "dead-letter":
                details[i] = self._time_message(readings.series_ids[i], newest[row], time_ms)
        return values, entering

    def _admitted(self, admitted: Admitted, details: dict[int, str]) -> Admitted:
        readings, values, times, rows, causes, was_idle = admitted[:6]
        assert causes is not None
        assert was_idle is not None
        tally: dict[str, int] = {}
        for cause, n in list(zip(self._causes, np.bincount(causes).tolist(), strict=False))[1:]:
            if n:
                tally[cause] = tally.get(cause, 0) + n
        rejected = None
        if details:
            aside = np.array(sorted(details), np.intp)
            kept = np.delete(np.arange(len(readings)), aside)
            names = [self._causes[found] for found in causes[aside].tolist()]
            rejections = [
                Rejection(i, name, details[at])
                for i, (at, name) in enumerate(zip(aside.tolist(), names, strict=True))
            ]
            rejected = Rejected(readings.take(aside), rejections)
            readings, rows, causes = readings.take(kept), rows[kept], causes[kept]
            was_idle = was_idle[kept]
            values = np.take(values.T, kept, axis=-1).T
            times = None if times is None else times[kept]
        begins = self._reset[causes] | was_idle
        resets = begins if begins.any() else None
        return Admitted(readings, values, times, rows, causes, resets, rejected, tally)

    def _reset_if_idle(
        self, newest_ms: memoryview[int] | dict[int, int], row: int, clock_ms: int
    ) -> bool:
        """Reset the newest time of a series that has been idle; return whether it has."""
        if self.idleness is None or not self.idleness.is_idle(newest_ms[row], clock_ms):
            return False
        newest_ms[row] = NEVER
        return True

    def _clock(
        self,
        newest_ms: memoryview[int] | dict[int, int],
        row: int,
        time_ms: int,
        causes: int,
        observed: bool,
    ) -> tuple[int, int]:
        """Update the newest time; return the cause of a time, and the admitted time."""
        if self._policies[causes] == "reset":
            newest_ms[row] = NEVER
        newest = newest_ms[row]
        if not observed:
            return 0, time_ms
        if time_ms > newest:
            newest_ms[row] = time_ms
            return 0, time_ms
        if time_ms == newest:
            return EQUAL_TIMES if self._policies[EQUAL_TIMES] != "take" else 0, time_ms
        policy = self._policies[LATE]
        if policy == "take" or newest - time_ms <= self._max_lateness:
            return 0, time_ms
        if policy == "reset":
            newest_ms[row] = time_ms
        return LATE, newest - self._max_lateness if policy == "clip" else time_ms

    def _time_message(self, series_id: str, newest: int, time_ms: int) -> str:
        unit = self._unit
        if time_ms == newest:
            return f"series {shown(series_id)} already has a reading at {time_ms} {unit}"
        return (
            f"time {time_ms} of series {shown(series_id)} is {newest - time_ms} {unit} before its "
            f"newest, more than max_lateness, {self._max_lateness} {unit}"
        )
