"""The readings sent to the flow, and the averages of a plain loop over them.

Knows readings and the seed formula; must not know of Kafka, nor use the package's own arithmetic,
against which the flow is checked.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping

from ewma_ops.demo.data import RecordedReading

__all__ = ["Expected"]


class Expected:
    """Write down readings as they leave.

    Parameters
    ----------
    beta
        In [0, 1): of the plain loop's average.
    """

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.readings: Counter[str] = Counter()
        """Readings sent, by series."""
        self._sums: dict[str, float] = {}
        self._sent_at_s: dict[str, deque[float]] = {}

    def entering(self, readings: Iterable[RecordedReading]) -> Iterator[RecordedReading]:
        """Yield ``readings`` unchanged, each written down just before."""
        for reading in readings:
            series_id = reading.series_id
            so_far = self._sums.get(series_id, 0.0)
            self._sums[series_id] = self.beta * so_far + (1 - self.beta) * reading.value
            self.readings[series_id] += 1
            self._sent_at_s.setdefault(series_id, deque()).append(time.perf_counter())
            yield reading

    def average(self, series_id: str) -> float:
        """Return the bias-corrected average of a series' readings so far."""
        return self._sums[series_id] / (1 - self.beta ** self.readings[series_id])

    def arrived(self, series_id: str) -> float | None:
        """Return how many seconds ago the oldest outstanding reading of a series was sent.

        Returns ``None`` if none is outstanding. Events of a series come in the order of its
        readings, so that the oldest is the one that has just arrived.
        """
        outstanding = self._sent_at_s.get(series_id)
        return time.perf_counter() - outstanding.popleft() if outstanding else None

    def differences(self, averages: Mapping[str, float]) -> dict[str, float]:
        """Return the relative difference of each series' last average from the plain loop's.

        A series without an average differs by infinity.
        """
        return {
            series_id: abs(averages.get(series_id, float("inf")) / self.average(series_id) - 1)
            for series_id in self.readings
        }
