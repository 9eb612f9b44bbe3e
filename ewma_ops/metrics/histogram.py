"""A Prometheus histogram that is filled by whole columns.

Knows buckets; must not know what is measured. `prometheus_client.Histogram` takes one value at a
call, which would cost more than the rest of the flow.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

__all__ = ["ColumnHistogram", "NewestMoment"]

_MOST_WAITING = 16_384
"""Moments that are counted together, within the processor's cache: a call costs the same for
few."""
_SHORT = 2**15 - 1
_UNKNOWN_MS = 1_500_000_000_000
"""Longer ones come of -1, which stands for no moment."""


class ColumnHistogram:
    """Count durations by bucket; any thread may add.

    Parameters
    ----------
    name, documentation
        Of the family, whose unit is the second.
    bounds_ms
        Upper bounds of the buckets in milliseconds, whole and increasing; one without a bound
        follows.
    some_unknown
        Whether -1 ms means no moment, and is left out.

    Examples
    --------
    >>> lag = ColumnHistogram("lag_seconds", "Lag.", [10, 100])
    >>> lag.observe(np.array([3, 10, 50, 7_000]))
    >>> [sample.value for family in lag.collect() for sample in family.samples]
    [2, 3, 4, 4, 7.063]
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        bounds_ms: Sequence[int],
        *,
        some_unknown: bool = False,
    ) -> None:
        self._name, self._documentation = name, documentation
        self._some_unknown = some_unknown
        self._bounds = list(bounds_ms)
        self._labels = [f"{bound / 1000:g}" for bound in bounds_ms]
        self._counts = [0] * (len(bounds_ms) + 1)
        self._sum_ms = 0
        self._lock = threading.Lock()
        self._moments: list[tuple[int, int, NDArray[np.int64]]] = []
        self._waiting = 0
        self.newest_ms: int | None = None

    def observe(self, durations_ms: NDArray[np.int64]) -> None:
        """Add int64[n] durations in milliseconds; a negative one counts as 0."""
        n = len(durations_ms)
        if not n:
            return
        low, high = int(durations_ms.min()), int(durations_ms.max())
        if low < 0:
            durations_ms = np.maximum(durations_ms, 0)
            low, high = 0, max(high, 0)
        total = int(durations_ms.sum())
        first, last = bisect_left(self._bounds, low), bisect_left(self._bounds, high)
        # Most columns fall into few buckets, and comparing is several times faster than searching,
        # of short numbers once more.
        if high <= _SHORT:
            durations_ms = durations_ms.astype(np.int16)
        reached = [
            int(np.count_nonzero(durations_ms <= self._bounds[i])) for i in range(first, last)
        ]
        with self._lock:
            self._sum_ms += total
            before = 0
            for i, upto in enumerate([*reached, n], first):
                self._counts[i] += upto - before
                before = upto

    def observe_since(self, now_ms: int, moments: NDArray[np.int64], per_ms: int = 1) -> None:
        """Add how long ago moments are, at the time ``now_ms``: later, for many calls at once.

        Parameters
        ----------
        now_ms
            The time in milliseconds since the epoch.
        moments
            int64[n] times since the epoch, ``per_ms`` to a millisecond.
        """
        with self._lock:
            self._moments.append((now_ms, per_ms, moments))
            self._waiting += len(moments)
            full = self._waiting >= _MOST_WAITING
        if full:
            self.flush()

    def flush(self) -> None:
        """Count what `observe_since` was given."""
        with self._lock:
            given, self._moments, self._waiting = self._moments, [], 0
        durations = np.empty(sum(len(moments) for _, _, moments in given), np.int64)
        if not len(durations):
            return
        at = 0
        for now_ms, per_ms, moments in given:
            moments_ms = moments if per_ms == 1 else moments // per_ms
            np.subtract(now_ms, moments_ms, out=durations[at : at + len(moments)])
            at += len(moments)
        if len(moments):
            self.newest_ms = int(moments_ms.max())
        if self._some_unknown and durations.max() >= _UNKNOWN_MS:
            durations = durations[durations < _UNKNOWN_MS]
        self.observe(durations)

    def observe_one(self, duration_ms: int) -> None:
        """Add one duration in milliseconds."""
        self.observe(np.array([duration_ms]))

    def describe(self) -> Iterator[Metric]:
        """Yield the family, without samples."""
        yield HistogramMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterator[Metric]:
        """Yield the family."""
        self.flush()
        with self._lock:
            counts, sum_ms = list(accumulate(self._counts)), self._sum_ms
        buckets = list(zip([*self._labels, "+Inf"], counts, strict=True))
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=buckets, sum_value=sum_ms / 1000
        )


class NewestMoment:
    """The newest of the moments that a histogram was last given, as a separate family."""

    def __init__(self, name: str, documentation: str, histogram: ColumnHistogram) -> None:
        self._name, self._documentation, self._histogram = name, documentation, histogram

    def collect(self) -> Iterator[Metric]:
        """Yield the family; without a sample where there was none."""
        self._histogram.flush()
        family = GaugeMetricFamily(self._name, self._documentation)
        if (newest_ms := self._histogram.newest_ms) is not None:
            family.add_metric([], newest_ms / 1000)
        yield family
