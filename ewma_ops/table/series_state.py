"""The state of all series: ids, rows and columns; adding, merging and removing whole series.

Knows series ids, rows and growth; must not know readings, streams, or how a statistic is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import TextColumn
from ewma_ops.errors import ConfigError
from ewma_ops.monitor.machine import Event
from ewma_ops.monitor.rules import AlarmRules
from ewma_ops.stats.revise import check_mergeable
from ewma_ops.table.admission import Admission
from ewma_ops.table.alarm_counts import AlarmCounts
from ewma_ops.table.alarms import Alarms
from ewma_ops.table.composite_state import (
    CompositeState,
    build_state,
    smoothing_states,
    with_separate_weights,
)
from ewma_ops.table.index import SeriesIndex
from ewma_ops.table.smoothing_set import SmoothingLike, SmoothingSet
from ewma_ops.table.smoothing_state import SmoothingState
from ewma_ops.table.snapshots import PackedIds, TableSnapshot, check_sound

__all__ = ["SeriesState"]

_LEAST_IDLE = 8
"""Idle series are freed once one in this many is idle: freeing costs a pass over the table."""


class SeriesState:
    """The part of `SeriesTable` that handles whole series: snapshots, merging, eviction."""

    def __init__(
        self,
        smoothing: SmoothingLike | Mapping[str, SmoothingLike] | SmoothingSet,
        snapshot: TableSnapshot | None = None,
        fields: Sequence[str] | int = 1,
        forget_after: timedelta | str | None = None,
        alarms: AlarmRules | None = None,
    ) -> None:
        self.smoothing_set = SmoothingSet.of(smoothing, fields, forget_after)
        self._alarms = None if alarms is None else Alarms(alarms, self.smoothing_set)
        self._stepped: list[tuple[str, int, int | None, int, Event]] = []
        self._index = SeriesIndex()
        self._admission = Admission(self.smoothing_set)
        self._bind(
            [build_state(group) for group in self.smoothing_set.groups()], separate_weights=False
        )
        if snapshot is not None:
            self.absorb(snapshot)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, series_id: str) -> bool:
        return self._index.find(series_id) is not None

    @property
    def hashes(self) -> NDArray[np.uint32]:
        """The stable hash of each series' id, in the order in which the series came."""
        return self._index.hashes()

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the state of all series takes, with their ids and the index."""
        columns = [self._admission.columns, *(one.columns for one in self._smoothing_states)]
        alarms = 0 if self._alarms is None else self._alarms.state.nbytes
        state = sum(int(c.nbytes) for own in columns for c in own.values())
        return self._index.nbytes + state + alarms

    @property
    def alarms(self) -> AlarmRules | None:
        """The rules of alarms, with their limits."""
        return None if self._alarms is None else self._alarms.rules

    def end_alarms(self) -> None:
        """Forget which alarms are on, without a transition; what is expected stays known."""
        if self._alarms is not None:
            self._alarms.state.quiet()

    @property
    def names(self) -> tuple[str, ...]:
        """Every statistic, in the order of the output, and then the scores of alarms."""
        return self._names if self._alarms is None else (*self._names, *self._alarms.names)

    @property
    def alarm_counts(self) -> list[AlarmCounts]:
        """What was counted of each rule of alarms; none without rules."""
        return [] if self._alarms is None else self._alarms.counts()

    def _bind(
        self, states: list[SmoothingState | CompositeState], *, separate_weights: bool
    ) -> None:
        self._states, self._separate_weights = states, separate_weights
        self._smoothing_states = smoothing_states(states)
        self._effort = max(one.effort for one in self._smoothing_states)
        self._names = self.smoothing_set.names
        self._order = self.smoothing_set.order([state.group for state in states])
        self._fields = self.smoothing_set.fields
        alone = self._order is None and len(states) == 1 and not self._fields
        self._alone = states[0] if alone else None
        self._vector = self.smoothing_set.width > 1 and not self.smoothing_set.fields
        self._plain = self.smoothing_set.width == 1 and not self.smoothing_set.by_volume

    def _separate(self) -> None:
        """Give each field weights of its own, because a reading lacks only some of the fields."""
        self._bind(with_separate_weights(self.smoothing_set, self._states), separate_weights=True)

    def _locate(self, series_ids: Sequence[str]) -> NDArray[np.intp]:
        """Return the row of each series id, adding the new ones."""
        rows = self._index.locate(series_ids)
        self._grow(len(self._index))
        return rows

    def _grow(self, needed: int) -> None:
        size = self._smoothing_states[0].size
        if needed > size:
            size = max(needed, size + size // 4, 64)
            for smoothing_state in self._smoothing_states:
                smoothing_state.grow(size)
            self._admission.grow(size)
            if self._alarms is not None:
                self._alarms.state.grow(size)

    def evict(self, before_ms: int) -> int:
        """Remove every series whose newest reading is older than ``before_ms``.

        A removed series that comes back starts from scratch. Costs a pass over the whole table.

        Returns
        -------
        int
            The number of removed series.

        Raises
        ------
        ConfigError
            If decay is by count: its state holds no times.
        """
        timed = [
            smoothing_state.state["newest_ms"]
            for smoothing_state in self._smoothing_states
            if "newest_ms" in smoothing_state.state
        ]
        if not timed:
            raise ConfigError(
                f"{self._smoothing_states[0].group.smoothing.decay} keeps no times, so idle series "
                "cannot be found: use decay by time, for example Decay(halflife='5min')"
            )
        newest_ms = np.maximum.reduce([newest[: len(self)] for newest in timed])
        return self._keep_rows(newest_ms >= before_ms)

    def forget(self, series_ids: Sequence[str]) -> None:
        """Reset those of the series that are in the table; their alarms are forgotten."""
        for row in map(self._index.find, series_ids):
            if row is not None:
                self._forget_row(row)

    def _forget_row(self, row: int) -> None:
        for smoothing_state in self._smoothing_states:
            smoothing_state.clear(row)
        self._admission.forget_newest(row)
        if self._alarms is not None:
            self._alarms.state.forget(row)

    def free_idle(self) -> int:
        """Free the memory of idle series, with ``forget_after``; return how many were freed.

        No output depends on it, because the next reading would reset such a series anyway. Costs a
        pass over the newest times, and one over the whole table if at least an eighth of it is
        idle; if less is idle, nothing is freed.
        """
        idleness, n = self._admission.idleness, len(self)
        if idleness is None or not n:
            return 0
        idle = idleness.idle_rows(self._admission.newest_ms[:n])
        if self._alarms is not None:  # the next reading clears their alarms
            idle[self._alarms.state.in_alarm()] = False
            for rule in self._alarms.overdue.values():
                waits = rule.waiting(np.flatnonzero(idle), self.ids().__getitem__)
                idle[waits] = False
        if _LEAST_IDLE * np.count_nonzero(idle) < n:
            return 0
        return self._keep_rows(~idle)

    def _keep_rows(self, stays: NDArray[np.bool_]) -> int:
        kept = np.flatnonzero(stays)
        self._index.keep(kept)
        for smoothing_state in self._smoothing_states:
            smoothing_state.keep_rows(kept)
        self._admission.keep_rows(kept)
        if self._alarms is not None:
            self._alarms.state.keep_rows(kept)
        return len(stays) - len(kept)

    def merge(self, other: SeriesState) -> None:
        """Merge all series of another table into this one, as if it had had their readings.

        Exact to rounding. Under decay by time the two may overlap; under count decay the other's
        readings count as the later ones. Alarms of series that both have start over, without a
        transition. The other table is not changed.

        Raises
        ------
        ConfigError
            If the tables compute different things, or something that cannot be merged.
        """
        if other.smoothing_set.fingerprint() != self.smoothing_set.fingerprint():
            raise ConfigError(
                f"a table of {other.smoothing_set.fingerprint()} cannot be merged into one of "
                f"{self.smoothing_set.fingerprint()}: give both the same options"
            )
        for _, smoothing in self.smoothing_set.smoothings:
            check_mergeable(smoothing)
        theirs = other._states
        if other._separate_weights and not self._separate_weights:
            self._separate()
        elif self._separate_weights and not other._separate_weights:
            theirs = with_separate_weights(self.smoothing_set, theirs)
        known = len(self)
        rows = self._locate(other._index.ids())
        for smoothing_state, more in zip(
            self._smoothing_states, smoothing_states(theirs), strict=True
        ):
            smoothing_state.merge(more, rows)
        self._admission.merge(other._admission, rows)
        if self._alarms is not None:
            alarms = other._alarms
            if alarms is not None and alarms.rules != self._alarms.rules:
                alarms = None
            self._alarms.state.merge(None if alarms is None else alarms.state, rows, known)

    def ids(self, first: int = 0) -> TextColumn:
        """Return the ids from row ``first`` on; valid until a series is added."""
        return self._index.texts(first)

    def snapshot(
        self, rows: NDArray[np.intp] | None = None, ids: PackedIds | None = None
    ) -> TableSnapshot:
        """Return a copy of the state.

        Parameters
        ----------
        rows
            intp[m], rows of the series, which are in order of arrival; ``None`` for all.
        ids
            Their ids, if packed already.
        """
        where = np.arange(len(self)) if rows is None else rows
        columns = {
            name: np.take(column, where, axis=-1)
            for name, column in _columns(self._admission, self._smoothing_states).items()
        }
        ids = PackedIds.plain(*self._index.encoded(rows)) if ids is None else ids
        snapshot = TableSnapshot.of(
            self.smoothing_set.fingerprint(), ids, columns, separate_weights=self._separate_weights
        )
        if self._alarms is None:
            return snapshot
        state = self._alarms.state
        return snapshot._replace(rules=state.rules.fingerprint(), alarms=state.dump(where))

    def absorb(self, snapshot: TableSnapshot) -> None:
        """Add the series of a snapshot, none of which may be in the table yet.

        Their further outputs have the same bits as in the table of the snapshot. Nothing is changed
        if an error is raised.

        Raises
        ------
        StateError
            If the snapshot was taken with another smoothing or by an unknown version, is damaged,
            or holds a series that is in the table. Alarms of other rules are no error: the series
            have none then, and warm up again.
        """
        snapshot.check_fits(self.smoothing_set.fingerprint())
        n, first = len(snapshot.ids.sizes), len(self)
        groups = self.smoothing_set.groups(separate_weights=snapshot.separate_weights)
        admission = Admission(self.smoothing_set, snapshot.columns)
        states = [build_state(group, snapshot.columns) for group in groups]
        check_sound(_columns(admission, smoothing_states(states)), n)
        alarms = None if self._alarms is None else self._alarms.state.kept_in(snapshot, n)
        self._index.extend(snapshot.ids.utf8(), snapshot.ids.sizes)
        self._add_states(states, admission, first, n, separate_weights=snapshot.separate_weights)
        if self._alarms is not None and alarms is not None:
            self._alarms.state.load(alarms, np.arange(first, first + n))

    def _add_states(
        self,
        states: list[SmoothingState | CompositeState],
        admission: Admission,
        first: int,
        n: int,
        *,
        separate_weights: bool,
    ) -> None:
        if not first:
            self._admission = admission
            self._bind(states, separate_weights=separate_weights)
            if self._alarms is not None:
                self._alarms.state.grow(self._smoothing_states[0].size)
            return
        if separate_weights and not self._separate_weights:
            self._separate()
        elif self._separate_weights and not separate_weights:
            states = with_separate_weights(self.smoothing_set, states)
        self._grow(first + n)
        self._admission.copy_from(admission, first, n)
        for smoothing_state, more in zip(
            self._smoothing_states, smoothing_states(states), strict=True
        ):
            smoothing_state.copy_from(more, first, n)

    def _check(self) -> None:
        """Raise StateError if the state is damaged. For tests."""
        check_sound(_columns(self._admission, self._smoothing_states), len(self))


def _columns(admission: Admission, states: list[SmoothingState]) -> dict[str, NDArray[Any]]:
    parts = [admission.columns, *(smoothing_state.columns for smoothing_state in states)]
    return {name: column for part in parts for name, column in part.items()}
