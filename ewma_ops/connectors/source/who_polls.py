"""Decides who polls a consumer: a thread that fetches ahead, or the worker itself.

Knows how much came and when; must not know who fetches, or from where.

While records trickle in, waking one thread to fetch them and another to process them gains nothing,
as nothing is read ahead. When much is read, fetching and processing run concurrently. The thread
also polls when that may take long, for example while a broker is down: the worker has other work.
"""

from __future__ import annotations

import threading
import time

__all__ = ["WhoPolls"]

_FEW_RECORDS, _MANY_RECORDS = 500, 2_000
_QUIET_POLLS = 8
"""After this many small polls in a row that took everything there was, the worker polls."""
_LOOKS_IN_S = 1.0
"""The thread polls anyway if the worker has not for this long: it may be busy or waiting."""


class WhoPolls:
    """Decides who polls, initially the thread; both hold ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_worker = False
        self._quiet_polls = 0
        self._polled_at = 0.0
        self._called = threading.Event()

    def polled(self, records: int, *, rest: bool, may_be_worker: bool) -> None:
        """Record the size of a poll, and whether it left records: this decides who polls next.

        ``may_be_worker`` is whether a poll blocks nobody.
        """
        if rest or records > _MANY_RECORDS or not may_be_worker:
            self.be_thread()
        elif records <= _FEW_RECORDS:
            self._quiet_polls += 1
            self.is_worker = self.is_worker or self._quiet_polls >= _QUIET_POLLS

    def be_thread(self) -> None:
        """Let the thread poll until traffic is low again."""
        self._quiet_polls = 0
        if self.is_worker:
            self.is_worker = False
            self._called.set()

    def note_turn(self) -> None:
        """Record that the current one has polled."""
        self._polled_at = time.monotonic()

    def thread_may(self) -> bool:
        """Return whether the thread should poll now; call it with the lock."""
        if time.monotonic() - self._polled_at > _LOOKS_IN_S:
            self.is_worker = False
        return not self.is_worker

    def wait(self) -> None:
        """Wait, as the thread, while the worker polls."""
        if self.is_worker:
            self._called.wait(_LOOKS_IN_S)
            self._called.clear()

    def wake(self) -> None:
        """End the wait of the thread."""
        self._called.set()
