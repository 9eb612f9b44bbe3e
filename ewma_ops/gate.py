"""Which readings enter, and as what: the policies, applied to columns or to one reading.

Knows policies, values, times and rows; must not know statistics, tables or streams. Its only state
is the newest time of each series, and that only where a policy asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ReadingError
from ewma_ops.family import Family
from ewma_ops.policies import CAUSES, EQUAL_TIMES, LATE, MISSING, NON_FINITE, OUT_OF_RANGE
from ewma_ops.readings import Readings, Rejected, Rejection
from ewma_ops.weighing import NEVER

__all__ = ["Entry", "Gate"]

_COLUMN = "/newest_ms"
"""No unit has a column of this name."""

_GRAVITY = ("take", "clip", "skip", "decay", "reset", "dead-letter")
"""Of several causes the one counts that is dealt with most gravely."""


class Entry(NamedTuple):
    """What enters of a run of readings.

    ``readings`` as they came, their ``values`` and ``times_ms`` as they enter, ``rows`` of their
    series; ``causes`` by code, ``resets`` where a series starts anew. ``None``: nothing of it.
    """

    readings: Readings
    values: NDArray[np.float64]
    times_ms: NDArray[np.int64] | None
    rows: NDArray[np.intp]
    causes: NDArray[np.uint8] | None = None
    resets: NDArray[np.bool_] | None = None
    rejected: Rejected | None = None
    tally: Mapping[str, int] = MappingProxyType({})


class Gate:
    """Apply the policies of a family.

    Parameters
    ----------
    family
        Whose policies.
    columns
        The state to go on from, as `columns` names it; ``None`` for no series.
    """

    def __init__(self, family: Family, columns: Mapping[str, NDArray[Any]] | None = None) -> None:
        policies = family.policies
        self._policies = policies.by_code
        self._gravity = [_GRAVITY.index(policy) for policy in policies.by_code]
        self.low, self.high = family.bounds
        self._max_lateness_ms = policies.max_lateness_ms
        self._timed, self._by_volume = family.by_time, family.by_volume
        self.demands = family.by_time is not None or family.by_volume
        self._width = family.width
        self._whole = family.width > 1 and not family.fields
        self.watches = policies.watches
        self._bind(np.array([] if columns is None else columns.get(_COLUMN, []), np.int64))

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by the names they have in a snapshot."""
        return {_COLUMN: self.newest_ms} if self.watches else {}

    def _bind(self, newest_ms: NDArray[np.int64]) -> None:
        self.newest_ms = newest_ms
        self._newest = memoryview(newest_ms.data)

    def grow(self, size: int) -> None:
        """Make room for ``size`` series."""
        if self.watches:
            more = np.full(size - len(self.newest_ms), NEVER)
            self._bind(np.concatenate([self.newest_ms, more]))

    def take(self, rows: NDArray[np.intp]) -> None:
        """Keep some of the rows."""
        if self.watches:
            self._bind(self.newest_ms[rows])

    def copy_from(self, other: Gate, first: int, n: int) -> None:
        """Put another's first ``n`` rows from row ``first`` on."""
        if self.watches:
            self.newest_ms[first : first + n] = other.newest_ms[:n]

    def merge(self, other: Gate, rows: NDArray[np.intp]) -> None:
        """Take in another's series, of which the i-th is at ``rows[i]`` here."""
        if self.watches:
            theirs = other.newest_ms[: len(rows)]
            self.newest_ms[rows] = np.maximum(self.newest_ms[rows], theirs)

    def resets(self, cause: int) -> bool:
        """Tell whether a series starts anew with a reading with which something is amiss."""
        return self._policies[cause] == "reset"

    def check_shape(self, readings: Readings) -> None:
        """Refuse readings that lack what the family needs of each.

        Raises
        ------
        ReadingError
            Naming what is lacking.
        """
        self.check_given(readings.times_ms, readings.weights)
        values, width = readings.values, self._width
        if values.size != len(readings) * width:
            raise ReadingError(
                f"values have shape {values.shape}, but there are {width} fields: "
                f"give ({len(readings)}, {width})"
            )

    def check_given(self, times_ms: object, weights: object) -> None:
        """Refuse what has no time or no weight where one is needed."""
        timed = self._timed
        if times_ms is None and timed is not None:
            what = f"{timed.decay} decays" if timed.decay.by_time else "what is late is told"
            raise ReadingError(
                f"{what} by time, but a reading has none: "
                "give (time, value) pairs, or a half-life counted in readings"
            )
        if weights is None and self._by_volume:
            raise ReadingError(
                "weighting is by volume, but a reading has no weight: give weights with the "
                "readings"
            )

    def check_bounds(self, series_id: str, values: Sequence[float]) -> None:
        """Refuse values out of bounds, whatever the policy."""
        for value in values:
            if value < self.low or value > self.high:
                raise ReadingError(self._told_of_value(series_id, value))

    def values_of(self, series_id: str, values: Sequence[float]) -> tuple[Sequence[float], int]:
        """Return the values of one reading as they enter, and the code of what is amiss.

        Raises
        ------
        ReadingError
            If the reading does not enter.
        """
        entering: list[float] = []
        cause = 0
        for value in values:
            amiss, mended = self._mended(value)
            if self._policies[amiss] == "dead-letter":
                raise ReadingError(self._told_of_value(series_id, value))
            cause = self._graver(cause, amiss)
            entering.append(mended)
        return entering, cause

    def time_of(
        self, series_id: str, row: int, values: Sequence[float], time_ms: int, cause: int
    ) -> tuple[Sequence[float], int, int]:
        """Return values and time of one reading as they enter, and the cause, by the time too.

        Raises
        ------
        ReadingError
            If the reading does not enter.
        """
        observed = (all if self._whole else any)(value == value for value in values)
        amiss, entering_ms = self._clock(row, time_ms, cause, observed)
        if self._policies[amiss] == "dead-letter":
            raise ReadingError(self._told_of_time(series_id, row, time_ms))
        if self._policies[amiss] in ("skip", "decay"):
            values = [math.nan] * len(values)
        return values, entering_ms, self._graver(cause, amiss)

    def sift(self, readings: Readings, rows: NDArray[np.intp], *, put_aside: bool) -> Entry:
        """Return what enters of a run of readings, and move on the newest times.

        Parameters
        ----------
        readings
            In order of arrival.
        rows
            intp[n], of their series.
        put_aside
            Whether what does not enter is put aside, and not raised.

        Raises
        ------
        ReadingError
            If a reading does not enter; nothing is changed then.
        """
        values, times = readings.values, readings.times_ms
        empty = not values.size
        fine = empty or (self.low <= values.min() and values.max() <= self.high)
        if empty or (fine and not self.watches):
            return Entry(readings, values, times, rows)
        causes = np.zeros(len(readings), np.uint8)
        details: dict[int, str] = {}
        if not fine:
            values = self._sift_values(readings, causes, details)
        before = self.newest_ms[rows] if self.watches else None
        if self.watches:
            values, times = self._sift_times(readings, rows, values, causes, details)
        if details and not put_aside:
            if before is not None:
                self.newest_ms[rows] = before
            raise ReadingError(details[min(details)])
        return self._entry(Entry(readings, values, times, rows, causes), details)

    def _sift_values(
        self, readings: Readings, causes: NDArray[np.uint8], details: dict[int, str]
    ) -> NDArray[np.float64]:
        values = readings.values
        absent = np.isnan(values)
        causes[absent if absent.ndim == 1 else absent.any(axis=1)] = MISSING
        if self._policies[MISSING] == "dead-letter":
            for i in np.flatnonzero(causes).tolist():
                details[i] = self._told_of_value(readings.series_ids[i], math.nan)
        odd = ~absent & ~((values >= self.low) & (values <= self.high))
        if odd.any():
            values = values.copy(order="K")
        for place in map(tuple, np.argwhere(odd).tolist()):
            i, value = place[0], float(values[place])
            amiss, values[place] = self._mended(value)
            causes[i] = self._graver(int(causes[i]), amiss)
            if self._policies[amiss] == "dead-letter":
                details.setdefault(i, self._told_of_value(readings.series_ids[i], value))
        return values

    def _sift_times(
        self,
        readings: Readings,
        rows: NDArray[np.intp],
        values: NDArray[np.float64],
        causes: NDArray[np.uint8],
        details: dict[int, str],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        assert readings.times_ms is not None  # the table refuses readings without
        values, entering = values.copy(order="K"), readings.times_ms.copy()
        absent = np.isnan(values.reshape(len(values), -1)).sum(axis=1)
        observed = absent == 0 if self._whole else absent < values[:1].size
        columns = rows.tolist(), entering.tolist(), causes.tolist(), observed.tolist()
        for i, (row, time_ms, cause, seen) in enumerate(zip(*columns, strict=True)):
            if i in details:
                continue
            amiss, entering_ms = self._clock(row, time_ms, cause, seen)
            if not amiss:
                continue
            causes[i] = self._graver(cause, amiss)
            entering[i] = entering_ms
            if self._policies[amiss] in ("skip", "decay"):
                values[i] = math.nan
            elif self._policies[amiss] == "dead-letter":
                details[i] = self._told_of_time(readings.series_ids[i], row, time_ms)
        return values, entering

    def _entry(self, entry: Entry, details: dict[int, str]) -> Entry:
        readings, values, times, rows, causes = entry[:5]
        assert causes is not None
        counts = np.bincount(causes, minlength=1 + len(CAUSES))[1:].tolist()
        tally = {cause: n for cause, n in zip(CAUSES, counts, strict=True) if n}
        rejected = None
        if details:
            aside = np.array(sorted(details), np.intp)
            kept = np.delete(np.arange(len(readings)), aside)
            names = [CAUSES[code - 1] for code in causes[aside].tolist()]
            rejections = [
                Rejection(i, name, details[at])
                for i, (at, name) in enumerate(zip(aside.tolist(), names, strict=True))
            ]
            rejected = Rejected(readings.take(aside), rejections)
            readings, rows, causes = readings.take(kept), rows[kept], causes[kept]
            values = np.take(values.T, kept, axis=-1).T
            times = None if times is None else times[kept]
        resets = None
        if "reset" in self._policies:
            begins = np.array([policy == "reset" for policy in self._policies])[causes]
            resets = begins if begins.any() else None
        return Entry(readings, values, times, rows, causes, resets, rejected, tally)

    def _mended(self, value: float) -> tuple[int, float]:
        """Return what is amiss with a value, and what enters in its place."""
        if self.low <= value <= self.high:
            return 0, value
        if value != value:
            return MISSING, value
        amiss = NON_FINITE if math.isinf(value) else OUT_OF_RANGE
        if self._policies[amiss] == "clip":
            return amiss, min(max(value, self.low), self.high)
        return amiss, math.nan

    def _clock(self, row: int, time_ms: int, cause: int, observed: bool) -> tuple[int, int]:
        """Move on the newest time; return what is amiss with a time, and what enters for it."""
        if self._policies[cause] == "reset":
            self._newest[row] = NEVER
        newest = self._newest[row]
        if not observed:
            return 0, time_ms
        if time_ms > newest:
            self._newest[row] = time_ms
            return 0, time_ms
        if time_ms == newest:
            return EQUAL_TIMES if self._policies[EQUAL_TIMES] != "take" else 0, time_ms
        policy = self._policies[LATE]
        if policy == "take" or newest - time_ms <= self._max_lateness_ms:
            return 0, time_ms
        if policy == "reset":
            self._newest[row] = time_ms
        return LATE, newest - self._max_lateness_ms if policy == "clip" else time_ms

    def _graver(self, cause: int, other: int) -> int:
        return other if self._gravity[other] > self._gravity[cause] else cause

    def _told_of_value(self, series_id: str, value: float) -> str:
        if value != value:
            return (
                f"series {series_id!r} has a reading without a value: give one, or another policy"
            )
        return (
            f"value {value} of series {series_id!r} is out of bounds: give one within "
            f"{self.low:.6g} and {self.high:.6g}, or another policy"
        )

    def _told_of_time(self, series_id: str, row: int, time_ms: int) -> str:
        newest = self._newest[row]
        if time_ms == newest:
            return f"series {series_id!r} has had a reading at {time_ms} ms already"
        return (
            f"time {time_ms} of series {series_id!r} is {newest - time_ms} ms before its newest, "
            f"more than max_lateness, {self._max_lateness_ms} ms"
        )
