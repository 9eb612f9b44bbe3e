"""Predicts when an epoch of a worker ends, and how long parts need not be polled then.

Knows the engine's clock; must not know what is read, or from where.

Until the snapshots of an epoch are durable on all workers, the engine polls no part, but checks in
a busy loop whether it may: a worker that waits for another occupies a core, which the other may
need. If a part said beforehand when it wants to be polled again, the engine sleeps until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

__all__ = ["Epochs"]

_SHARE = 0.75
"""Share of the time that the last epoch took to close. That time includes the sleep: with a share
of 1 it could never decrease."""
_LEAST_S = 0.001
"""The engine's own longest sleep."""
_LONGEST_S = 0.5
"""One long epoch says little about the next one, and nothing is read meanwhile."""


class Epochs:
    """The epochs of one worker, inferred from the engine's calls.

    Parameters
    ----------
    interval
        Time between two snapshots; ``None`` where there is no other worker to wait for.
    clock
        Seconds since 1970, by the wall clock: as used by the engine.
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
        """Record that the engine begins to poll all parts, before the first one waits."""
        self._turn, self._awake = self._clock(), None
        self._is_last = (
            self._interval_s is not None
            and self._turn - self._began >= self._interval_s
            and self._pause_s > _LEAST_S
        )

    def next_awake(self) -> datetime | None:
        """Return when to poll parts again if the epoch ends with this turn, else None.

        It is the same for all parts of a turn, so that the next turn polls them all.
        """
        if self._is_last and self._awake is None:
            until = self._clock() + self._pause_s
            self._awake = datetime.fromtimestamp(until, timezone.utc)
        return self._awake

    def ends(self) -> None:
        """Record that the engine has ended an epoch, within the turn."""
        self._began = self._turn
        if self._ended is None:
            self._ended = self._clock()

    def is_durable(self) -> None:
        """Record that the ended epoch is durable everywhere."""
        if self._ended is not None:
            took_s, self._ended = self._clock() - self._ended, None
            self._pause_s = min(_SHARE * took_s, _LONGEST_S)
