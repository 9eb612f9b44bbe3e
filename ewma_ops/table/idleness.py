"""Idleness: which series have been idle for longer than ``forget_after``, and are forgotten.

Knows times, rows and input partitions; must not know tables, streams or any statistic.

A series is idle at one of its readings if the newest event time of the reading's source, which is
an input partition, is more than ``forget_after`` past the newest time of the series: the reading
resets the series. The newest time of a source only grows, so an idle series stays idle, and its
state can be freed at any moment from then on without changing an output.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.stats.states import NEVER

__all__ = ["Idleness", "clocks_of"]

_NO_SOURCE = -1
_LATEST = int(np.iinfo(np.int64).max)


class Idleness:
    """Return which series are idle.

    Parameters
    ----------
    forget_after
        > 0, in the ticks of the event times; so are all times here.
    sources
        int64[n], input partition of the last reading of each series; -1 for none.

    Notes
    -----
    Readings without an input partition have no clock but their own times. Their series is idle if
    its next reading is more than ``forget_after`` past its newest, and its state is freed when the
    newest time of all series is more than twice ``forget_after`` past it: a reading that is later
    than that finds the series new.
    """

    def __init__(self, forget_after: int, sources: NDArray[np.int64]) -> None:
        self._forget_after = forget_after
        self.sources = sources
        self._newest_of: dict[int, int] = {}

    def is_idle(self, newest_ms: int, clock_ms: int) -> bool:
        """Return whether a series with this newest time is idle at this time of its source."""
        return newest_ms != NEVER and clock_ms - newest_ms > self._forget_after

    def none_idle(self, readings: Readings, newest_ms: NDArray[np.int64]) -> bool:
        """Return whether no reading can reset its series, by the extreme times alone.

        ``newest_ms`` (int64[n]) is the newest time of the series of each reading before the run.
        """
        times, clocks = readings.times_ms, clocks_of(readings)
        assert times is not None
        known = newest_ms[newest_ms != NEVER]
        earliest = min(int(times.min()), int(known.min(initial=_LATEST)))
        return int(clocks.max()) - earliest <= self._forget_after

    def note(self, readings: Readings, rows: NDArray[np.intp]) -> None:
        """Keep the input partitions of readings, and advance the clocks of these."""
        if not len(rows):
            return
        clocks = clocks_of(readings)
        if readings.origins is None or readings.clocks_ms is None:
            self.note_own(rows, int(clocks.max()))
            return
        sources = readings.origins.partitions
        self.sources[rows] = sources
        for source in np.unique(sources).tolist():
            self._advance(source, int(clocks[sources == source].max()))

    def note_own(self, rows: NDArray[np.intp] | int, time_ms: int) -> None:
        """Do as `note` for readings without an input partition, the newest at ``time_ms``."""
        self.sources[rows] = _NO_SOURCE
        self._advance(_NO_SOURCE, time_ms - self._forget_after)

    def _advance(self, source: int, clock_ms: int) -> None:
        self._newest_of[source] = max(clock_ms, self._newest_of.get(source, clock_ms))

    def idle_rows(self, newest_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return bool[n], which of the first n series are idle at the current clocks."""
        sources = self.sources[: len(newest_ms)]
        idle = np.zeros(len(newest_ms), np.bool_)
        for source, clock_ms in self._newest_of.items():
            before_ms = clock_ms - self._forget_after
            idle |= (sources == source) & (newest_ms < before_ms) & (newest_ms != NEVER)
        return idle

    def grow(self, size: int) -> None:
        """Make room for ``size`` series."""
        more = np.full(size - len(self.sources), _NO_SOURCE, np.int64)
        self.sources = np.concatenate([self.sources, more])


def clocks_of(readings: Readings) -> NDArray[np.int64]:
    """Return int64[n], the newest time of the source of each reading; without one its own time."""
    clocks = readings.times_ms if readings.clocks_ms is None else readings.clocks_ms
    assert clocks is not None  # the table refuses readings without
    return clocks
