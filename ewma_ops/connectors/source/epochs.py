"""When an epoch of a worker is about to end, and how long no part has to be asked then.

Knows the engine's clock; must not know what is read, or from where.

Until the snapshots of an epoch are durable on all workers the engine asks no part, but looks all
the time whether it may: a worker that waits for another one keeps a core busy, which the other may
need. Where a part has said before when it wants to be asked again, the engine sleeps until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

__all__ = ["Epochs"]

_SHARE = 0.75
"""Of the time that the last epoch took to close, which is no less than was slept: with all of it,
that could never become less."""
_LEAST_S = 0.001
"""The engine by itself sleeps as long."""
_LONGEST_S = 0.5
"""One epoch that took long says little about the next one, and nothing is read meanwhile."""


class Epochs:
    """The epochs of one worker, as it learns of them from the engine's calls.

    Parameters
    ----------
    interval
        Time between two snapshots; ``None`` where there is no other worker to wait for.
    clock
        Seconds since 1970, by the wall clock: the engine goes by it.
    """

    def __init__(self, interval: timedelta | None, clock: Callable[[], float] = time.time) -> None:
        self._interval_s = None if interval is None else interval.total_seconds()
        self._clock = clock
        self._began = self._turn = clock()
        self._ended: float | None = None
        self._pause_s = 0.0
        self._awake: datetime | None = None
        self._is_last = False

    def turn_begins(self) -> None:
        """Note that the engine asks all parts, before the first of them waits for anything."""
        self._turn, self._awake = self._clock(), None
        self._is_last = (
            self._interval_s is not None
            and self._turn - self._began >= self._interval_s
            and self._pause_s > _LEAST_S
        )

    def next_awake(self) -> datetime | None:
        """Return when to ask parts again if the epoch ends with this turn, else None.

        It is the same for all parts of a turn, so that the next one asks them all.
        """
        if self._is_last and self._awake is None:
            until = self._clock() + self._pause_s
            self._awake = datetime.fromtimestamp(until, timezone.utc)
        return self._awake

    def ends(self) -> None:
        """Note that the engine has ended an epoch: it does so within the turn."""
        self._began = self._turn
        if self._ended is None:
            self._ended = self._clock()

    def is_durable(self) -> None:
        """Note that the epoch that has ended is durable everywhere."""
        if self._ended is not None:
            took_s, self._ended = self._clock() - self._ended, None
            self._pause_s = min(_SHARE * took_s, _LONGEST_S)
