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
from prometheus_client.core import HistogramMetricFamily, Metric

__all__ = ["ColumnHistogram"]


class ColumnHistogram:
    """Count durations by bucket; any thread may add.

    Parameters
    ----------
    name, documentation
        Of the family, whose unit is the second.
    bounds_ms
        Upper bounds of the buckets in milliseconds, whole and increasing; one without a bound
        follows.

    Examples
    --------
    >>> lag = ColumnHistogram("lag_seconds", "Lag.", [10, 100])
    >>> lag.observe(np.array([3, 10, 50, 7_000]))
    >>> [sample.value for family in lag.collect() for sample in family.samples]
    [2, 3, 4, 4, 7.063]
    """

    def __init__(self, name: str, documentation: str, bounds_ms: Sequence[int]) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = list(bounds_ms)
        self._labels = [f"{bound / 1000:g}" for bound in bounds_ms]
        self._counts = [0] * (len(bounds_ms) + 1)
        self._sum_ms = 0
        self._lock = threading.Lock()

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
        # Most columns fall into few buckets, and comparing is several times faster than searching.
        reached = [
            int(np.count_nonzero(durations_ms <= self._bounds[i])) for i in range(first, last)
        ]
        with self._lock:
            self._sum_ms += total
            before = 0
            for i, upto in enumerate([*reached, n], first):
                self._counts[i] += upto - before
                before = upto

    def observe_one(self, duration_ms: int) -> None:
        """Add one duration in milliseconds."""
        self.observe(np.array([duration_ms]))

    def describe(self) -> Iterator[Metric]:
        """Yield the family, without samples."""
        yield HistogramMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterator[Metric]:
        """Yield the family."""
        with self._lock:
            counts, sum_ms = list(accumulate(self._counts)), self._sum_ms
        buckets = list(zip([*self._labels, "+Inf"], counts, strict=True))
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=buckets, sum_value=sum_ms / 1000
        )
