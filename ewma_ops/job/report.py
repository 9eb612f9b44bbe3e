"""What a run has read and made so far, in numbers.

Knows counts; must not know records, settings or who is told.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["Report"]


class Report:
    """Count what becomes of the messages of a run; any thread may add.

    Examples
    --------
    >>> report = Report()
    >>> report.add(read=5, readings=3)
    >>> report.add(events=3)
    >>> report.add_letters({"not-json": 2})
    >>> report.summary()
    'read 5: 3 events, 2 dead letters (not-json 2)'
    """

    def __init__(self) -> None:
        self.read = self.readings = self.events = self.skipped = 0
        self.letters: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, *, read: int = 0, readings: int = 0, events: int = 0, skipped: int = 0) -> None:
        """Count messages that were read, and readings, events and what was skipped of them."""
        with self._lock:
            self.read += read
            self.readings += readings
            self.events += events
            self.skipped += skipped

    def add_letters(self, causes: Mapping[str, int]) -> None:
        """Count dead letters by their cause."""
        with self._lock:
            self.letters.update(causes)

    @property
    def nothing_readable(self) -> bool:
        """Whether messages came, and every one of them is a dead letter."""
        return not self.readings and not self.skipped and self.letters.total() > 0

    def summary(self) -> str:
        """Say in one line what came of how many messages."""
        parts = [counted(self.events, "event"), counted(self.letters.total(), "dead letter")]
        if self.letters:
            parts[1] += f" ({by_cause(self.letters.items())})"
        if self.skipped:
            parts.append(f"{self.skipped:,} skipped")
        return f"read {self.read:,}: {', '.join(parts)}"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "event"), counted(1200, "event")
    ('1 event', '1,200 events')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def by_cause(causes: Iterable[tuple[str, int]]) -> str:
    """List causes, the most frequent first."""
    ranked = sorted(causes, key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{cause} {n:,}" for cause, n in ranked)
