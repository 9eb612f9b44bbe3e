"""Counts by time, in bins that widen as the time grows, so that it can be cut at the end.

Knows times and counts; must not know what is counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TimeBins"]

_MOST = 2_048


class TimeBins:
    """Count events of several kinds by their time.

    Parameters
    ----------
    kinds
        How many there are.

    Attributes
    ----------
    counts
        int64[bins, kinds], in order of time.

    Examples
    --------
    >>> bins = TimeBins(1)
    >>> bins.add(0, np.arange(0, 10_000_000, 1000))
    >>> len(bins.counts) <= 2048, int(bins.counts.sum()), bins.width
    (True, 10000, 8192)
    """

    def __init__(self, kinds: int) -> None:
        self.width = 1
        """Of a bin, in ticks."""
        self.origin = 0
        """Where the first bin begins."""
        self.counts: NDArray[np.int64] = np.zeros((0, kinds), np.int64)

    def add(self, kind: int, times: NDArray[np.int64]) -> None:
        """Count events of a kind at some times."""
        if not len(times):
            return
        self._cover(int(times.min()), int(times.max()))
        places = (times - self.origin) // self.width
        self.counts[:, kind] += np.bincount(places, minlength=len(self.counts))

    def cut_at(self, kind: int, share: float) -> int:
        """Return how many bins hold a share of the events of a kind, or a little more."""
        reached = np.cumsum(self.counts[:, kind])
        return int(np.searchsorted(reached, share * reached[-1])) + 1 if len(reached) else 0

    def time_of(self, place: int) -> int:
        """Return when a bin begins."""
        return self.origin + place * self.width

    def _cover(self, first: int, last: int) -> None:
        if len(self.counts):
            first = min(first, self.origin)
            last = max(last, self.time_of(len(self.counts)) - 1)
        width = self.width
        while last // width - first // width >= _MOST:
            width *= 2
        origin = first // width * width
        bins = last // width - first // width + 1
        if (origin, width, bins) == (self.origin, self.width, len(self.counts)):
            return
        counts = np.zeros((bins, self.counts.shape[1]), np.int64)
        old = self.origin + self.width * np.arange(len(self.counts))
        np.add.at(counts, (old - origin) // width, self.counts)
        self.origin, self.width, self.counts = origin, width, counts
