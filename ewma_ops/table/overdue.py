"""`Overdue`: which series a stale rule raises when the clock of their partition advances.

Knows clocks, rows and one rule; must not know how a usual gap is computed, or whose clock it is.

Nearly no heartbeat raises anything. So each pass over the rows records a time before which nothing
can become overdue: series that are silent already are due later, and series heard later may be
silent for ``least``. Until that time a heartbeat costs one lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.heartbeats import Heartbeat
from ewma_ops.columns.readings import Readings
from ewma_ops.monitor.machine import Event, Trigger
from ewma_ops.monitor.silence import Heard, Silences, UsualGap
from ewma_ops.monitor.tracking import COLUMNS, Arrivals
from ewma_ops.stats.states import NEVER
from ewma_ops.table.alarm_state import AlarmState, BoundRule, Kept

__all__ = ["Overdue", "hear", "hear_one"]

_LATEST = int(np.iinfo(np.int64).max)
_UNKNOWN = -1


class Overdue:
    """Finds the alarms that one rule raises, and reminds of, at heartbeats.

    Parameters
    ----------
    state
        What is known of each series.
    one
        The rule.
    concerns
        Says whether it is for a series, by its id.
    forget_after
        After how long, in ticks, idle series are forgotten; ``None`` for never. A silence that may
        be longer raises nothing, and after it an alarm ends: so nobody can tell when the memory of
        a series is freed.
    """

    def __init__(
        self,
        state: AlarmState,
        one: BoundRule,
        concerns: Callable[[str], bool],
        forget_after: int | None = None,
    ) -> None:
        assert isinstance(one.machine, Silences)
        tracker = state.tracked[one.tracker].tracker
        assert isinstance(tracker, UsualGap)
        self._state, self._machine, self._usual = state, one.machine, tracker
        self._one, self._concerns = one, concerns if one.rule.series else None
        self._forget_after = _LATEST if forget_after is None else forget_after
        self._quiet_until: dict[tuple[int, tuple[int, ...]], int] = {}
        self._for = np.zeros(0, np.int8)
        self._changes = state.changes

    def may_be(self, beat: Heartbeat, shards: tuple[int, ...]) -> bool:
        """Return whether a heartbeat may cause anything in some shards."""
        self._refresh()
        return beat.time > self._quiet_until.get((beat.partition, shards), NEVER)

    def at(
        self,
        beat: Heartbeat,
        shards: tuple[int, ...],
        among: NDArray[np.bool_],
        id_of: Callable[[int], str],
    ) -> Iterator[tuple[int, Event]]:
        """Yield the events of a heartbeat, by row; read it to the end.

        Parameters
        ----------
        beat, shards
            The heartbeat.
        among
            bool[n], which of the n series are those of the shards.
        id_of
            Row to series id.
        """
        self._refresh()
        n = len(among)
        usual, _, seen, _ = self._state.tracked[self._one.tracker].columns
        time, source, *_ = self._state.heard[self._one.place].columns
        own = among & (source[:n] == beat.partition) & (seen[:n] >= self._usual.warm_up)
        rows = np.flatnonzero(own)
        reach = self._usual.reach(COLUMNS, usual[rows])
        rows, reach = rows[reach <= self._forget_after], reach[reach <= self._forget_after]
        due = time[rows] + reach.astype(np.int64)
        busy = np.zeros(n, np.bool_)
        busy[np.fromiter(self._machine.episodes, np.intp)] = True
        busy = busy[rows]
        quiet = (due >= beat.time) & ~busy
        until = min(beat.time + self._usual.least, int(due[quiet].min(initial=_LATEST)))
        # One by one: what is overdue and, if something may come of it, what was before.
        lingers = self._machine.lingers or self._forget_after < _LATEST
        looked = ~quiet if lingers else ~quiet & ~busy
        for at in np.flatnonzero(looked).tolist():
            row = int(rows[at])
            evidence = {"expected": float(usual[row]), "limit": float(reach[at])}
            event, later = self._look(row, int(due[at]), beat.time, evidence, id_of)
            if event is not None:
                yield row, event
            until = min(until, later)
        self._quiet_until[beat.partition, shards] = until

    def _look(
        self,
        row: int,
        due: int,
        now: int,
        evidence: Mapping[str, float],
        id_of: Callable[[int], str],
    ) -> tuple[Event | None, int]:
        """Return the event of a series at a time, and when the next one is possible."""
        machine = self._machine
        if machine.lasts(row):
            ends = min(machine.since(row) + self._forget_after, _LATEST)
            if now > ends:
                return machine.give_up(row, ends), _LATEST
            event = machine.reminder(row, now, evidence)
            return event, min(machine.next_reminder(row), ends)
        due = machine.cooled(row, due)
        if due >= now:
            return None, due
        if not self._is_for(row, id_of):
            return None, _LATEST
        heard = [column[row].item() for column in self._state.heard[self._one.place].columns]
        event = machine.raise_alarm(row, due, Heard(*heard), evidence)
        ends = min(machine.since(row) + self._forget_after, _LATEST)
        return event, min(machine.next_reminder(row), ends)

    def _refresh(self) -> None:
        """Forget results that depend on rows that were moved."""
        if self._changes != self._state.changes:
            self._changes = self._state.changes
            self._quiet_until, self._for = {}, np.zeros(0, np.int8)

    def waiting(self, rows: NDArray[np.intp], id_of: Callable[[int], str]) -> NDArray[np.intp]:
        """Return those rows whose silence may still raise an alarm: they must be kept."""
        self._refresh()
        usual, _, seen, _ = self._state.tracked[self._one.tracker].columns
        known = rows[seen[rows] >= self._usual.warm_up]
        known = known[self._usual.reach(COLUMNS, usual[known]) <= self._forget_after]
        may = [row for row in known.tolist() if not self._machine.is_gone(row)]
        return np.array([row for row in may if self._is_for(row, id_of)], np.intp)

    def _is_for(self, row: int, id_of: Callable[[int], str]) -> bool:
        if self._concerns is None:
            return True
        if row >= len(self._for):
            more = np.full(max(row + 1, self._state.size) - len(self._for), _UNKNOWN, np.int8)
            self._for = np.concatenate([self._for, more])
        if self._for[row] == _UNKNOWN:
            self._for[row] = self._concerns(id_of(row))
        return bool(self._for[row])


def hear(
    kept: Kept, readings: Readings, arrivals: Arrivals, order: NDArray[np.intp]
) -> NDArray[np.int64] | None:
    """Keep the readings at ``order`` as the last ones of their series; return their gaps.

    int64[n], in ticks of the log's clock, >= 0; ``None`` for readings without such a clock.
    """
    if readings.logged is None:
        return None
    time, source, offset, ordinal = kept.columns
    gaps = arrivals.gaps(readings.logged[order], time)
    if readings.origins is not None:
        origins = readings.origins.take(order)
        # Of several readings of a row, NumPy assigns the last.
        source[arrivals.rows], offset[arrivals.rows] = origins.partitions, origins.offsets
        ordinal[arrivals.rows] = origins.ordinals_or_zeros()
    return np.maximum(gaps, 0)


def hear_one(kept: Kept, row: int, trigger: Trigger) -> int | None:
    """Do what `hear` does, for one reading."""
    if trigger.logged == NEVER:
        return None
    time, source, offset, ordinal = kept.numbers
    before = int(time[row])
    time[row] = max(before, trigger.logged)
    source[row], offset[row], ordinal[row] = trigger[1:4]
    return 0 if before == NEVER else max(trigger.logged - before, 0)
