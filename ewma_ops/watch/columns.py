"""The current state of every series, in columns: values, averages, and the last few readings.

Knows rows; must not know ids, topics or pages. A million series take 160 MB: the columns are made
for more rows than there are, of memory that the system provides only when it is written to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ewma_ops.watch.measures import Measure

__all__ = ["CHANGE_S", "SPARK", "Batch", "Columns", "MeasureColumns"]

SPARK = 24
"""Latest values of a series that are kept for its sparkline."""

CHANGE_S = 60.0
"""The change of an average is measured from a time within this many seconds."""

_ROOM = 1 << 20
_DAY_S = 86_400.0


class Batch:
    """Some events in the order in which they came, sorted by row.

    Parameters
    ----------
    rows
        intp[n], the row of each.
    """

    def __init__(self, rows: NDArray[np.intp]) -> None:
        self.order = np.argsort(rows, kind="stable")
        self.rows = rows[self.order]
        first = np.ones(len(rows), np.bool_)
        first[1:] = self.rows[1:] != self.rows[:-1]
        self.starts = np.flatnonzero(first)
        self.lasts = np.append(self.starts[1:], len(rows)) - 1
        self.own = self.rows[self.starts]
        """Each row once."""
        self.counts = self.lasts - self.starts + 1
        self.rank = np.arange(len(rows)) - np.repeat(self.starts, self.counts)


class Columns:
    """When each series was seen, and how often; shared by its measures."""

    def __init__(self, measures: list[Measure]) -> None:
        self.room = _ROOM
        self.rows = 0
        self.time_s: NDArray[np.float64] = np.zeros(_ROOM)
        self.seen_s: NDArray[np.float64] = np.zeros(_ROOM)
        self.count: NDArray[np.uint32] = np.zeros(_ROOM, np.uint32)
        self.gap_s: NDArray[np.float32] = np.zeros(_ROOM, np.float32)
        self.part: NDArray[np.uint16] = np.zeros(_ROOM, np.uint16)
        self.alarm: NDArray[np.int8] = np.zeros(_ROOM, np.int8)
        self.measures = [MeasureColumns(measure, _ROOM) for measure in measures]

    def reserve(self, rows: int) -> None:
        """Make room for ``rows`` rows."""
        self.rows = max(self.rows, rows)
        if rows <= self.room:
            return
        self.room = max(rows, 2 * self.room)
        _grow(self, self.room)
        for one in self.measures:
            _grow(one, self.room)

    def take(
        self,
        batch: Batch,
        times_s: NDArray[np.float64],
        seen_s: NDArray[np.float64],
        values: NDArray[np.float64],
        part: int,
    ) -> None:
        """Take events in: their times, when they were written, and their numbers float64[n, k]."""
        self.reserve(int(batch.own[-1]) + 1)
        order, own = batch.order, batch.own
        numbers, seen = values[order], seen_s[order]
        before, last = self.count[own], seen[batch.lasts]
        for one in self.measures:
            one.take(batch, numbers, before, last)
        begun = np.where(before > 0, self.seen_s[own], seen[batch.starts])
        gaps = (last - begun) / np.maximum(batch.counts - (before == 0), 1)
        usual = self.gap_s[own]
        # An average of the gaps, of about the last eight; of the first it is the gap itself.
        share = np.where(usual > 0, np.minimum(0.125 * batch.counts, 0.5), 1.0)
        self.gap_s[own] = usual + share * (np.clip(gaps, 0, _DAY_S) - usual)
        self.seen_s[own] = last
        self.time_s[own] = times_s[order][batch.lasts]
        self.part[own] = part
        self.count[own] = before + batch.counts.astype(np.uint32)


class MeasureColumns:
    """The newest numbers of one measure, and the latest values of each series."""

    def __init__(self, measure: Measure, room: int) -> None:
        self.measure = measure
        self.value: NDArray[np.float64] = np.zeros(room)
        self.average: NDArray[np.float64] = np.zeros(room)
        self.std: NDArray[np.float32] = np.zeros(room, np.float32)
        self.sem: NDArray[np.float32] = np.zeros(room, np.float32)
        self.z: NDArray[np.float32] = np.zeros(room, np.float32)
        self.settled: NDArray[np.float32] = np.zeros(room, np.float32)
        self.base: NDArray[np.float32] = np.zeros(room, np.float32)
        self.base_s: NDArray[np.float64] = np.zeros(room)
        self.spark: NDArray[np.float32] = np.zeros((room, SPARK), np.float32)
        places = {} if measure.outlook is None else measure.outlook.places
        self._outlook_names, self._outlook_at = list(places), list(places.values())
        self.outlook: NDArray[np.float64] = np.zeros((room, len(places)))

    def take(
        self,
        batch: Batch,
        numbers: NDArray[np.float64],
        before: NDArray[np.uint32],
        last_s: NDArray[np.float64],
    ) -> None:
        """Take numbers in, float64[n, k] sorted as the batch.

        ``before`` says how many came to each of its rows before, ``last_s`` when the last did.
        """
        measure, own, lasts = self.measure, batch.own, batch.lasts
        value = numbers[:, measure.value]
        average = _column(numbers, measure.average)
        std = _column(numbers, measure.std)
        self.z[own] = self._z(batch, numbers, value, average, std, before)
        past = last_s > self.base_s[own] + CHANGE_S
        self.base[own[past]] = np.where(before > 0, self.average[own], average[batch.starts])[past]
        self.base_s[own[past]] = last_s[past]
        self.value[own], self.average[own] = value[lasts], average[lasts]
        self.std[own] = std[lasts]
        self.sem[own] = _column(numbers, measure.sem)[lasts]
        self.settled[own] = _column(numbers, measure.settled)[lasts]
        if self._outlook_at:
            self.outlook[own] = numbers[lasts][:, self._outlook_at]
        at = (np.repeat(before, batch.counts) + batch.rank) % SPARK
        self.spark[batch.rows, at] = value  # of several for a place the last one stays

    def _z(
        self,
        batch: Batch,
        numbers: NDArray[np.float64],
        value: NDArray[np.float64],
        average: NDArray[np.float64],
        std: NDArray[np.float64],
        before: NDArray[np.uint32],
    ) -> NDArray[np.float64]:
        """Return the event's own z, or how many standard deviations it is from the mean before."""
        own, lasts = batch.own, batch.lasts
        if self.measure.z is not None:
            own_z: NDArray[np.float64] = numbers[lasts, self.measure.z]
            return own_z
        if self.measure.std is None or self.measure.average is None:
            return np.full(len(own), np.nan)
        several = batch.counts > 1
        earlier = np.maximum(lasts - 1, 0)
        mean = np.where(several, average[earlier], self.average[own])
        spread = np.where(several, std[earlier], self.std[own])
        known = (several | (before > 0)) & (spread > 0)
        z: NDArray[np.float64] = np.where(
            known, (value[lasts] - mean) / np.where(known, spread, 1.0), np.nan
        )
        return z

    def newest_outlook(self, row: int) -> dict[str, float]:
        """Return the outlook of a series, by the names of the statistics in events."""
        return dict(zip(self._outlook_names, self.outlook[row].tolist(), strict=True))

    def outlook_of(self, name: str, rows: NDArray[np.intp]) -> NDArray[np.float64] | None:
        """Return a statistic of the outlook of rows; None if events have none."""
        if name not in self._outlook_names:
            return None
        found: NDArray[np.float64] = self.outlook[rows, self._outlook_names.index(name)]
        return found

    def recent(self, row: int, count: int) -> NDArray[np.float32]:
        """Return the latest values of a series, oldest first, of which ``count`` came in all."""
        if count < SPARK:
            return self.spark[row, :count]
        rolled: NDArray[np.float32] = np.roll(self.spark[row], -(count % SPARK))
        return rolled

    def change(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return by how much the averages of rows changed within the last minute."""
        now = self.average[rows].astype(np.float32)  # as the base is: what is the same differs by 0
        changed: NDArray[np.float64] = now.astype(np.float64) - self.base[rows]
        return changed


def _column(numbers: NDArray[np.float64], place: int | None) -> NDArray[np.float64]:
    return np.full(len(numbers), np.nan) if place is None else numbers[:, place]


def _grow(owner: Columns | MeasureColumns, room: int) -> None:
    """Make room for ``room`` rows in each of its columns."""
    columns = {name: old for name, old in vars(owner).items() if isinstance(old, np.ndarray)}
    for name, old in columns.items():
        grown = np.zeros((room, *old.shape[1:]), old.dtype)
        grown[: len(old)] = old
        setattr(owner, name, grown)
