"""The state of a job, from its topics: series, dead letters, alarms, and their rates.

Knows records as columns; must not know how they are fetched, nor pages. One lock: one thread adds
records, others read.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import TextColumn, utf8_of
from ewma_ops.table.index import SeriesIndex
from ewma_ops.watch.alarms import Alarm, Alarms
from ewma_ops.watch.columns import Batch, Columns, MeasureColumns
from ewma_ops.watch.deep import COLUMNS, WITH_FORECASTS, Deep, Part
from ewma_ops.watch.measures import BAND_ERRORS, Measure
from ewma_ops.watch.outlook import FORECASTS
from ewma_ops.watch.search import by_name

__all__ = ["Book", "Example", "Rates"]

_MOST_DEEP = 64
_RATE_S = 5.0
_MANY, _RANK_S = 100_000, 5.0
"""Up to this many series are sorted whenever one is added, more of them at this interval."""
_LEVELS = {"info": 1, "warning": 2, "critical": 3}


class Example(NamedTuple):
    """One dead letter of a cause: the newest."""

    detail: str
    place: str
    written_ms: int
    payload: bytes | None


class Rates:
    """How many events were written lately, per second."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque(maxlen=64)

    def take(self, n: int, now_s: float) -> None:
        """Count events that came."""
        second = int(now_s)
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1] = (second, self._counts[-1][1] + n)
        else:
            self._counts.append((second, n))

    def per_s(self, now_s: float) -> float:
        """Return events a second, over the last whole seconds."""
        begin = int(now_s) - _RATE_S
        counted = [n for second, n in self._counts if begin <= second < int(now_s)]
        return sum(counted) / _RATE_S


class Book:
    """The state of a job; read and change it only while holding ``lock``.

    Parameters
    ----------
    measures
        What an event holds.
    alarms
        The state of alarms; None if the job raises none.
    """

    def __init__(self, measures: list[Measure], alarms: Alarms | None = None) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Event()
        self.index = SeriesIndex()
        self.columns = Columns(measures)
        self.measures = measures
        self.alarms = alarms
        self._unplaced: set[str] = set()
        self._ranks: NDArray[np.int32] = np.zeros(0, np.int32)
        self._ranked_s = 0.0
        self.rates = Rates()
        self.events = 0
        self.version = 0
        self.newest_s = 0.0
        """When the newest event was written, by its record."""
        self.arrived_s = 0.0
        """When the last events came, by the clock of this process."""
        self.event_lag_s = float("nan")
        self.causes: Counter[str] = Counter()
        self.examples: dict[str, Example] = {}
        self.deep: dict[tuple[int, int], Deep] = {}
        """By row and measure."""
        self.ends: dict[int, int] = {}
        """Where the next event of each partition will be."""

    def take(
        self,
        series_ids: Sequence[str],
        times_s: NDArray[np.float64],
        written_s: NDArray[np.float64],
        values: NDArray[np.float64],
        offsets: NDArray[np.int64],
        part: int,
        *,
        is_live: bool,
    ) -> None:
        """Add events of one partition, in order; ``is_live`` if they count for the rate."""
        if not len(times_s):
            return
        now_s = time.time()
        with self.lock:
            rows = self.index.locate(series_ids)
            self.columns.take(Batch(rows), times_s, written_s, values, part)
            if self.deep:
                self._take_deep(rows, times_s, values, offsets)
            if self._unplaced:
                self._place(set(self._unplaced))
            self.ends[part] = int(offsets[-1]) + 1
            self.events += len(rows)
            self.newest_s = max(self.newest_s, float(written_s[-1]))
            self.event_lag_s = float(np.median(written_s[-1000:] - times_s[-1000:]))
            if is_live:
                self.arrived_s = now_s
                self.rates.take(len(rows), now_s)
            self.version += 1
        self.changed.set()

    def last_s(self, now_s: float) -> float:
        """Return when the last events came, in seconds; 0.0 for never.

        Of those that were there before this process, their records tell.
        """
        return self.arrived_s or min(self.newest_s, now_s)

    def _take_deep(
        self,
        rows: NDArray[np.intp],
        times_s: NDArray[np.float64],
        values: NDArray[np.float64],
        offsets: NDArray[np.int64],
    ) -> None:
        for (row, place), deep in self.deep.items():
            at = np.flatnonzero(rows == row)
            if len(at):
                numbers = self.numbers(place, times_s[at], values[at])
                deep.add_live(Part(offsets[at], numbers))

    def numbers(
        self, place: int, times_s: NDArray[np.float64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return what a chart needs of some events, as in `Part`, of the measure at a place."""
        measure = self.measures[place]
        numbers = np.full((len(times_s), self._width(place)), np.nan)
        numbers[:, 0], numbers[:, 1] = times_s, values[:, measure.value]
        if measure.average is not None:
            numbers[:, 2] = values[:, measure.average]
        if measure.lower is not None and measure.upper is not None:
            numbers[:, 3], numbers[:, 4] = values[:, measure.lower], values[:, measure.upper]
        elif measure.sem is not None:
            half = BAND_ERRORS * values[:, measure.sem]
            numbers[:, 3], numbers[:, 4] = numbers[:, 2] - half, numbers[:, 2] + half
        if measure.settled is not None:
            numbers[:, 5] = values[:, measure.settled]
        if measure.revision is not None:
            numbers[:, 6] = values[:, measure.revision]
        if measure.outlook is not None and measure.outlook.forecasts:
            for column, name in enumerate(FORECASTS, COLUMNS):
                if name in measure.outlook.places:
                    numbers[:, column] = values[:, measure.outlook.places[name]]
        return numbers

    def _width(self, place: int) -> int:
        outlook = self.measures[place].outlook
        return WITH_FORECASTS if outlook is not None and outlook.forecasts else COLUMNS

    def take_letters(self, letters: Iterable[tuple[str, Example]]) -> None:
        """Count dead letters by cause, and keep the newest of each."""
        with self.lock:
            for cause, example in letters:
                self.causes[cause] += 1
                self.examples[cause] = example
            self.version += 1
        self.changed.set()

    def take_alarms(self, alarms: Iterable[Alarm]) -> None:
        """Add transitions of alarms, in order."""
        with self.lock:
            assert self.alarms is not None
            names = set()
            for alarm in alarms:
                self.alarms.take(alarm)
                names.add(alarm.series_id)
            self._place(names)
            self.version += 1
        self.changed.set()

    def _place(self, names: set[str]) -> None:
        """Note at the rows of series whether one is on; a series may not have come yet."""
        assert self.alarms is not None
        for name in names:
            row = self.index.find(name)
            if row is None:
                self._unplaced.add(name)
                continue
            self._unplaced.discard(name)
            found = self.alarms.of(name)
            levels = [_LEVELS.get(alarm.severity, 1) for alarm in found]
            self.columns.alarm[row] = max(levels, default=0)

    def open(self, row: int, place: int) -> tuple[Deep, bool]:
        """Return the readings of a series, and whether they are yet to be read back."""
        deep = self.deep.get((row, place))
        is_new = deep is None
        if deep is None:
            if len(self.deep) >= _MOST_DEEP:
                del self.deep[min(self.deep, key=lambda key: self.deep[key].used_at)]
            deep = self.deep[row, place] = Deep(
                self.ends.get(int(self.columns.part[row]), 0), self._width(place)
            )
        deep.used_at = time.monotonic()
        return deep, is_new

    def measure(self, place: int) -> MeasureColumns:
        """Return the columns of the measure at a place; of the last one if there are fewer."""
        return self.columns.measures[min(place, len(self.measures) - 1)]

    def find(self, series_id: str) -> int | None:
        """Return the row of a series, if it was seen."""
        return self.index.find(series_id)

    def name(self, row: int) -> str:
        """Return the id of a row."""
        text: str = self.names([row])[0]
        return text

    def names(self, rows: Sequence[int] | NDArray[np.intp]) -> list[str]:
        """Return the ids of rows."""
        utf8 = self.index.texts().utf8.take(np.asarray(rows, np.intp))
        return [(one or b"").decode("utf-8", "replace") for one in utf8]

    def key(self, row: int) -> bytes:
        """Return the bytes of the id of a row."""
        return utf8_of(self.index.texts()[row])

    def ranks(self) -> NDArray[np.int32]:
        """Return the place of each row in the order of names; of very many rows now and then.

        Those that came since follow in the order in which they came.
        """
        count, known, now_s = len(self.index), len(self._ranks), time.monotonic()
        if known < count and (count <= _MANY or not known or now_s > self._ranked_s + _RANK_S):
            order = by_name(self.ids())
            self._ranks = np.empty(count, np.int32)
            self._ranks[order] = np.arange(count, dtype=np.int32)
            self._ranked_s = now_s
        elif known < count:
            return np.append(self._ranks, np.arange(known, count, dtype=np.int32))
        return self._ranks

    def ids(self, first: int = 0) -> TextColumn:
        """Return the ids of the rows from ``first`` on; valid while the lock is held."""
        return self.index.texts(first)
