"""Which series have been idle for so long that they are forgotten.

Knows times, rows and where a reading came from; must not know tables, streams or any statistic.

A series is idle at one of its readings if the newest event time of the reading's source, which is
an input partition, is more than ``forget_after`` past the newest time of the series: it begins
anew with that reading. As times of a source only grow, what is idle stays idle. So its state may
be freed at any moment from then on: no output shows when.
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
    """Tell which series are idle.

    Parameters
    ----------
    forget_after_ms
        Milliseconds, > 0.
    sources
        int64[n], where the last reading of each series came from; -1 for no input partition.

    Notes
    -----
    Readings that come from no partition have no clock but their own times. Of those a series is
    idle if its own next reading says so, and its state is freed when the newest time of all is
    more than twice ``forget_after`` past its own: a reading that comes later than that finds the
    series new.
    """

    def __init__(self, forget_after_ms: int, sources: NDArray[np.int64]) -> None:
        self._forget_after_ms = forget_after_ms
        self.sources = sources
        self._newest_of: dict[int, int] = {}

    def is_idle(self, newest_ms: int, clock_ms: int) -> bool:
        """Tell whether a series of that newest time is idle when its source's clock is there."""
        return newest_ms != NEVER and clock_ms - newest_ms > self._forget_after_ms

    def none_idle(self, readings: Readings, newest_ms: NDArray[np.int64]) -> bool:
        """Tell whether certainly no series begins anew among readings, by a look at the extremes.

        ``newest_ms`` (int64[n]) is the newest time of each one's series before them.
        """
        times, clocks = readings.times_ms, clocks_of(readings)
        assert times is not None
        known = newest_ms[newest_ms != NEVER]
        earliest = min(int(times.min()), int(known.min(initial=_LATEST)))
        return int(clocks.max()) - earliest <= self._forget_after_ms

    def note(self, readings: Readings, rows: NDArray[np.intp]) -> None:
        """Note where readings came from, and how far the clocks are."""
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
        """Note readings without a source, of which the newest is of that time."""
        self.sources[rows] = _NO_SOURCE
        self._advance(_NO_SOURCE, time_ms - self._forget_after_ms)

    def _advance(self, source: int, clock_ms: int) -> None:
        self._newest_of[source] = max(clock_ms, self._newest_of.get(source, clock_ms))

    def idle_rows(self, newest_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return bool[n], which of the first n series are idle by what is known of the clocks."""
        sources = self.sources[: len(newest_ms)]
        idle = np.zeros(len(newest_ms), np.bool_)
        for source, clock_ms in self._newest_of.items():
            before_ms = clock_ms - self._forget_after_ms
            idle |= (sources == source) & (newest_ms < before_ms) & (newest_ms != NEVER)
        return idle

    def grow(self, size: int) -> None:
        """Make room for ``size`` series."""
        more = np.full(size - len(self.sources), _NO_SOURCE, np.int64)
        self.sources = np.concatenate([self.sources, more])


def clocks_of(readings: Readings) -> NDArray[np.int64]:
    """Return int64[n], the newest time of each one's source; its own time where it has none."""
    clocks = readings.times_ms if readings.clocks_ms is None else readings.clocks_ms
    assert clocks is not None  # the table refuses readings without
    return clocks
