"""Tracks up to which offset all records of a partition are done, in whatever order.

Knows offsets; must not know Kafka or alarms.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Hashable, Iterable

__all__ = ["Progress"]


class Progress:
    """Counts down what each record still needs; any thread may call it.

    Examples
    --------
    >>> progress = Progress()
    >>> for offset in (5, 6, 8):
    ...     progress.add(0, offset, needs=2)
    >>> progress.done([(0, 6), (0, 6), (0, 5)])
    >>> progress.reached()
    {}
    >>> progress.done([(0, 5)])
    >>> progress.reached()
    {0: 7}
    """

    def __init__(self) -> None:
        self._open: dict[int, deque[int]] = {}
        self._needs: Counter[Hashable] = Counter()
        self._reached: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, partition: int, offset: int, needs: int) -> None:
        """Add the next record of its partition; it is done after ``needs`` calls."""
        with self._lock:
            self._open.setdefault(partition, deque()).append(offset)
            self._needs[partition, offset] = needs
            self._advance(partition)

    def done(self, records: Iterable[Hashable], times: int = 1) -> None:
        """Count one call for each of some records, given by partition and offset."""
        with self._lock:
            for record in records:
                self._needs[record] -= times
                assert isinstance(record, tuple)
                self._advance(record[0])

    def reached(self) -> dict[int, int]:
        """Return, by partition, the offset before which all is done, if it has moved."""
        with self._lock:
            reached, self._reached = self._reached, {}
        return reached

    def _advance(self, partition: int) -> None:
        waiting = self._open[partition]
        while waiting and self._needs[partition, waiting[0]] <= 0:
            offset = waiting.popleft()
            del self._needs[partition, offset]
            self._reached[partition] = offset + 1
