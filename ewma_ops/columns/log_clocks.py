"""`LogClocks`: clocks of input partitions by the timestamps of their records.

Knows timestamps, and readings by their places; must not know what is computed from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.heartbeats import Heartbeats
from ewma_ops.columns.readings import Readings
from ewma_ops.columns.ticks import MILLISECOND, Tick

__all__ = ["Log", "LogClocks"]

_SECOND_MS = 1_000
_HOUR_MS = 3_600_000
"""A record further ahead than this is believed only if the next one is too."""


class Log(NamedTuple):
    """Consecutive records of one partition: int64[n] offsets and timestamps."""

    number: int
    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]


class LogClocks:
    """Clocks of input partitions by the timestamps of all records, whatever they contain.

    A clock is the newest timestamp so far. One that is more than an hour ahead of the clock is
    believed when the next record is ahead as well: a producer with a wrong clock is not. A time
    outside the years that a tick can count moves no clock.

    Parameters
    ----------
    tick
        The unit in which readings count times.

    Examples
    --------
    >>> clocks = LogClocks()
    >>> log = Log(0, np.arange(4), np.array([5_000, 5_900, 9_000_000, 6_100]))
    >>> marked = clocks.mark(Readings(["a"], np.ones(1)), np.array([3]), [log])
    >>> marked.logged, list(marked.heartbeats), clocks.state(0)
    (array([6100]), [Heartbeat(place=0, partition=0, offset=3, time=6000)], [6100, None])
    """

    def __init__(self, tick: Tick = MILLISECOND) -> None:
        self._ticks_per_ms = tick.per_ms
        self._earliest_ms = -(-tick.earliest // tick.per_ms)
        self._latest_ms = tick.latest // tick.per_ms
        self._of: dict[int, tuple[int, int | None]] = {}

    def state(self, partition: int) -> list[int | None] | None:
        """Return the clock of a partition, and the timestamp that is not believed yet, in ms."""
        found = self._of.get(partition)
        return None if found is None else list(found)

    def resume(self, partition: int, state: Sequence[int | None] | None) -> None:
        """Set the clock of a partition to a result of :meth:`state`."""
        self._of.pop(partition, None)
        if state is not None and state[0] is not None:
            self._of[partition] = state[0], state[1]

    def mark(self, readings: Readings, kept: NDArray[np.intp], logs: Sequence[Log]) -> Readings:
        """Return readings with the times of the clocks, and with the heartbeats among them.

        Parameters
        ----------
        readings
            The readings of the records.
        kept
            intp[n], in order, which record each reading is of, counted through all logs.
        logs
            The records, all of them.
        """
        clocks_ms, beats, start = [], [], 0
        for log in (one for one in logs if len(one.offsets)):
            before = self._of.get(log.number)
            own = self._advance(log)
            clocks_ms.append(own)
            seconds = own // _SECOND_MS
            ahead = np.append(seconds[0] if before is None else before[0] // _SECOND_MS, seconds)
            at = np.flatnonzero(ahead[1:] > ahead[:-1])
            if len(at):
                beats.append((start + at, log.number, log.offsets[at], seconds[at]))
            start += len(own)
        per_ms = self._ticks_per_ms
        logged = np.concatenate(clocks_ms)[kept] * per_ms if clocks_ms else None
        if not beats:
            return replace(readings, logged=logged)
        records = np.concatenate([one[0] for one in beats])
        heartbeats = Heartbeats(
            np.searchsorted(kept, records),
            np.concatenate([np.full(len(one[0]), one[1], np.int64) for one in beats]),
            np.concatenate([one[2] for one in beats]),
            np.concatenate([one[3] for one in beats]) * (_SECOND_MS * per_ms),
        )
        return replace(readings, logged=logged, heartbeats=heartbeats)

    def _advance(self, log: Log) -> NDArray[np.int64]:
        """Return the time of a partition's clock at each record, and keep the last."""
        times = log.timestamps_ms
        if times.min() < self._earliest_ms or times.max() > self._latest_ms:
            times = np.where(times > self._latest_ms, self._earliest_ms, times)
            times = np.maximum(times, self._earliest_ms)
        clock_ms, doubted = self._of.get(log.number, (int(times[0]), None))
        clocks_ms = np.maximum.accumulate(np.append(clock_ms, times))
        if doubted is not None or (np.diff(clocks_ms) > _HOUR_MS).any():
            return self._advance_by_one(log.number, times, clock_ms, doubted)
        self._of[log.number] = int(clocks_ms[-1]), None
        return clocks_ms[1:]

    def _advance_by_one(
        self, number: int, times: NDArray[np.int64], clock_ms: int, doubted: int | None
    ) -> NDArray[np.int64]:
        found = np.empty(len(times), np.int64)
        for i, time_ms in enumerate(times.tolist()):
            if doubted is not None and time_ms - clock_ms > _HOUR_MS:
                clock_ms = min(doubted, time_ms)
            doubted = time_ms if time_ms - clock_ms > _HOUR_MS else None
            if doubted is None:
                clock_ms = max(clock_ms, time_ms)
            found[i] = clock_ms
        self._of[number] = clock_ms, doubted
        return found
