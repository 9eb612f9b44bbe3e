"""Who polls a consumer: a thread that fetches ahead, or the worker itself.

Knows how much came and when; must not know who fetches, or from where.

While records trickle in, waking one thread to fetch them and another to process them gains nothing,
as nothing is read ahead. Where much is read, fetching and processing go on at the same time. And
the thread polls where that may take long, as while a broker is away: the worker has more to do.
"""

from __future__ import annotations

import threading
import time

__all__ = ["WhoPolls"]

_FEW_RECORDS, _MANY_RECORDS = 500, 2_000
_QUIET_POLLS = 8
"""After so many polls in a row that took all there was, and little each time, it is the worker."""
_LOOKS_IN_S = 1.0
"""The thread does it all the same if the worker has not for so long: it may be busy, or waiting."""


class WhoPolls:
    """Whether the worker polls, as long as nothing else is said the thread; both hold ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_worker = False
        self._quiet_polls = 0
        self._polled_at = 0.0
        self._called = threading.Event()

    def polled(self, records: int, *, rest: bool, may_be_worker: bool) -> None:
        """Note what a poll brought, and whether it left some behind: that says who polls next.

        ``may_be_worker`` tells whether a poll holds nobody up.
        """
        if rest or records > _MANY_RECORDS or not may_be_worker:
            self.be_thread()
        elif records <= _FEW_RECORDS:
            self._quiet_polls += 1
            self.is_worker = self.is_worker or self._quiet_polls >= _QUIET_POLLS

    def be_thread(self) -> None:
        """Have the thread poll until it is quiet again."""
        self._quiet_polls = 0
        if self.is_worker:
            self.is_worker = False
            self._called.set()

    def note_turn(self) -> None:
        """Note that whoever polls has had its turn."""
        self._polled_at = time.monotonic()

    def thread_may(self) -> bool:
        """Return whether the thread is to poll now; to be called with the lock."""
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
