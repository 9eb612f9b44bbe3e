"""`AlarmState`: the state of alarm rules for every series: columns, and alarms by row.

Knows rows and snapshots; must not know readings, formulas, or series ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError, StateError
from ewma_ops.monitor.machine import EPISODE, GONE, Episode, Machine
from ewma_ops.monitor.rules import AlarmRules, Rule
from ewma_ops.monitor.scores import KINDS, Kind
from ewma_ops.monitor.silence import HEARD, UsualGap
from ewma_ops.monitor.tracking import NUMBERS, Tracker
from ewma_ops.stats.states import NEVER
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.snapshots import TableSnapshot

__all__ = ["AlarmState", "BoundRule", "Kept", "Tracked"]


class BoundRule(NamedTuple):
    """A rule of a table: its kind, the place of its field, the number of its tracker, its alarms.

    ``tracker`` is the place in `AlarmState.tracked`; -1 for none.
    """

    number: int
    name: str
    rule: Rule
    kind: Kind
    place: int
    tracker: int
    machine: Machine


class Kept:
    """State about a field of every series: a column for each number, a row for each series.

    ``spec`` names the columns, with their dtypes and initial values; in a snapshot they stand
    behind ``prefix``.
    """

    def __init__(self, spec: Sequence[tuple[str, str, float]], prefix: str) -> None:
        self.spec, self.prefix = spec, prefix
        self.bind(self.fresh(0))

    def bind(self, columns: list[NDArray[Any]]) -> None:
        """Take other columns."""
        self.columns = columns
        # Reading one element through a memoryview costs half of what it does from an array.
        self.numbers = [memoryview(column.reshape(-1).data) for column in columns]
        self._hours = [column.shape[1] for column in columns if column.ndim > 1]

    def fresh(self, size: int) -> list[NDArray[Any]]:
        """Return columns of series without a reading."""
        return [np.full(size, initial, dtype) for _, dtype, initial in self.spec]

    def named(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the columns by their names in a snapshot."""
        for (name, _, _), column in zip(self.spec, self.columns, strict=True):
            yield f"{self.prefix}/{name}", column

    def clear(self, rows: int | slice) -> None:
        """Reset rows to those of series without a reading."""
        for column, (_, _, initial) in zip(self.columns, self.spec, strict=True):
            column[rows] = initial


class Tracked(Kept):
    """A tracker of a field, and its state.

    ``by_log``: it takes gaps between the clocks of input partitions, not between event times.
    """

    def __init__(self, tracker: Tracker, place: int, number: int = 0) -> None:
        super().__init__(tracker.columns, str(number))
        self.tracker, self.place = tracker, place
        self.by_log = isinstance(tracker, UsualGap)

    def step(self, row: int, value: float, gap: int, time: int | None) -> Any:
        """Update the state of a series by a reading; return the tracker's evaluation."""
        by: Any = self.tracker.factors(gap, columns=False, time=time)
        if not self._hours:
            y = [column[row] for column in self.numbers]
            state, known = self.tracker.step(NUMBERS, y, value, by)
            for column, number in zip(self.numbers, state, strict=True):
                column[row] = number
            return known
        plain = len(self.numbers) - len(self._hours)
        places = [(column, row) for column in self.numbers[:plain]]
        for column, hours in zip(self.numbers[plain:], self._hours, strict=True):
            places += [(column, row * hours + hour) for hour in (by.hour, by.next_hour)]
        y = [column[place] for column, place in places]
        state, known = self.tracker.step(NUMBERS, y, value, by)
        for (column, place), number in zip(places, state, strict=True):
            column[place] = number
        return known


class AlarmState:
    """The state of alarm rules for every series.

    Parameters
    ----------
    rules
        The rules; their limits are computed here, if need be.
    smoothing_set
        Names the fields, and the decay if there is one smoothing.

    Attributes
    ----------
    heard
        By field, the last reading of every series, for rules that go by the clocks of partitions.
    changes
        How often rows were moved, or state was taken in: what follows from either is out of date.

    Raises
    ------
    ConfigError
        If a rule names no field of several, or one that is not there, or has no decay or outlook.
    """

    def __init__(self, rules: AlarmRules, smoothing_set: SmoothingSet) -> None:
        self.rules = rules.with_limits(smoothing_set.only)
        self.tracked: list[Tracked] = []
        self.heard: dict[int, Kept] = {}
        self.changes = 0
        self.bound = [
            self._bound(number, name, rule, smoothing_set)
            for number, (name, rule) in enumerate(self.rules.rules)
        ]
        self.places = sorted({one.place for one in self.bound})
        by_time = {one.place for one in self.tracked if one.tracker.by_time}
        self.newest = {place: np.zeros(0, np.int64) for place in sorted(by_time)}
        self.timed = [
            one.name
            for one in self.bound
            if (
                not one.rule.by_log  # whose times are those of the log
                and (one.rule.ticks("cooldown", 1) or one.rule.ticks("remind", 1))
            )
            or (one.tracker >= 0 and self.tracked[one.tracker].tracker.by_time)
        ]
        self.size = 0

    def _bound(self, number: int, name: str, rule: Rule, smoothing_set: SmoothingSet) -> BoundRule:
        kind, place = KINDS[rule.kind], _place(name, rule, smoothing_set)
        rule = rule.in_ticks(smoothing_set.tick.per_ms)
        tracker, at = kind.tracker(rule, smoothing_set.tick.per_ms), -1
        if tracker is not None:
            same = [(one.place, one.tracker) for one in self.tracked]
            if (place, tracker) not in same:
                self.tracked.append(Tracked(tracker, place, len(self.tracked)))
                same.append((place, tracker))
            at = same.index((place, tracker))
        if rule.by_log and place not in self.heard:
            self.heard[place] = Kept(HEARD, f"heard/{place}")
        machine = kind.machine(rule, kind.thresholds(rule), smoothing_set.tick.per_ms)
        return BoundRule(number, name, rule, kind, place, at, machine)

    @property
    def kept(self) -> list[Kept]:
        """The state of every series, except for the newest times."""
        return [*self.tracked, *self.heard.values()]

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the columns."""
        columns = [column for kept in self.kept for column in kept.columns]
        return sum(int(column.nbytes) for column in [*columns, *self.newest.values()])

    def grow(self, size: int) -> None:
        """Make room for ``size`` series."""
        more = size - self.size
        for kept in self.kept:
            pairs = zip(kept.columns, kept.fresh(more), strict=True)
            kept.bind([np.concatenate(pair) for pair in pairs])
        for place, newest in self.newest.items():
            self.newest[place] = np.concatenate([newest, np.full(more, NEVER)])
        self.size = size

    def keep_rows(self, rows: NDArray[np.intp]) -> None:
        """Keep some of the rows; alarms of the others are forgotten."""
        self.changes += 1
        for kept in self.kept:
            kept.bind([column[rows] for column in kept.columns])
        for place, newest in self.newest.items():
            self.newest[place] = newest[rows]
        self.size = len(rows)
        if any(one.machine.episodes for one in self.bound):
            moved = {old: new for new, old in enumerate(rows.tolist())}
            for one in self.bound:
                episodes = one.machine.episodes.items()
                one.machine.episodes = {moved[row]: e for row, e in episodes if row in moved}

    def clear(self, rows: int | slice) -> None:
        """Reset the columns of rows to those of series without a reading."""
        for kept in self.kept:
            kept.clear(rows)
        for newest in self.newest.values():
            newest[rows] = NEVER

    def forget(self, row: int) -> None:
        """Let a series start over; its alarms are forgotten."""
        self.clear(row)
        for one in self.bound:
            one.machine.episodes.pop(row, None)

    def quiet(self) -> None:
        """Forget every alarm; expectations are kept."""
        self.changes += 1
        for one in self.bound:
            one.machine.episodes.clear()

    def copy_rows(self, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        """Move the state of some rows to others."""
        for kept in self.kept:
            for column in kept.columns:
                column[target] = column[source]
        for newest in self.newest.values():
            newest[target] = newest[source]
        pairs = list(zip(source.tolist(), target.tolist(), strict=True))
        for one in self.bound:
            moved = {new: one.machine.episodes.pop(old, None) for old, new in pairs}
            for row, episode in moved.items():
                one.machine.episodes.pop(row, None)
                if episode is not None:
                    one.machine.episodes[row] = episode

    def merge(self, other: AlarmState | None, rows: NDArray[np.intp], known: int) -> None:
        """Add the new series of another with the same rules: from row ``known`` on.

        Its i-th series is at ``rows[i]`` here. Existing series start over.
        """
        if other is not None:
            new = np.flatnonzero(rows >= known)
            self.load(other.dump(new), rows[new])
        for row in rows[rows < known].tolist():
            self.forget(row)

    def in_alarm(self) -> NDArray[np.intp]:
        """Return the rows for which a rule is not quiet."""
        rows = {
            row
            for one in self.bound
            for row, episode in one.machine.episodes.items()
            if episode.phase != GONE
        }
        return np.fromiter(rows, np.intp, len(rows))

    def dump(self, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """Return a copy of the state of some rows, by name."""
        found: dict[str, NDArray[Any]] = {}
        for part in self.kept:
            found |= {name: column[rows].reshape(-1) for name, column in part.named()}
        for place, newest in self.newest.items():
            found[f"newest/{place}"] = newest[rows]
        places: dict[int, int] = {}
        if any(one.machine.episodes for one in self.bound):
            places = {row: at for at, row in enumerate(rows.tolist())}
        for one in self.bound:
            kept = [(places[r], *e.numbers()) for r, e in _ordered(one.machine) if r in places]
            columns = list(zip(*kept, strict=True)) if kept else [()] * (1 + len(EPISODE))
            for (name, dtype), numbers in zip((_ROW, *EPISODE), columns, strict=True):
                found[f"{one.name}/{name}"] = np.array(numbers, dtype)
        return found

    def load(self, state: Mapping[str, NDArray[Any]], rows: NDArray[np.intp]) -> None:
        """Put the state that :meth:`dump` gave into rows."""
        self.changes += 1
        for part in self.kept:
            for name, column in part.named():
                column[rows] = state[name].reshape(-1, *column.shape[1:])
        for place, newest in self.newest.items():
            newest[rows] = state[f"newest/{place}"]
        for one in self.bound:
            names = [f"{one.name}/{name}" for name, _ in (_ROW, *EPISODE)]
            for at, *numbers in zip(*(state[name].tolist() for name in names), strict=True):
                one.machine.episodes[int(rows[at])] = Episode(*numbers)

    def kept_in(self, snapshot: TableSnapshot, n: int) -> dict[str, NDArray[Any]] | None:
        """Return the alarms of ``n`` series in a snapshot, if they are of the same rules.

        Raises
        ------
        StateError
            If they are, and are damaged.
        """
        if snapshot.alarms is None or snapshot.rules != self.rules.fingerprint():
            return None
        self._check(snapshot.alarms, n)
        return snapshot.alarms

    def _check(self, state: Mapping[str, NDArray[Any]], n: int) -> None:
        """Refuse a state that cannot be that of ``n`` series.

        Raises
        ------
        StateError
            Naming the column.
        """
        sizes = {
            name: column.size
            for part in self.kept
            for (name, _), column in zip(part.named(), part.fresh(1), strict=True)
        }
        sizes |= {f"newest/{place}": 1 for place in self.newest}
        for name, size in sizes.items():
            column = state.get(name)
            if column is None or column.shape != (n * size,) or not np.isfinite(column).all():
                raise StateError(f"column {name!r} of the alarms is not of {n} series: damaged")
        for one in self.bound:
            columns = [state.get(f"{one.name}/{name}") for name, _ in (_ROW, *EPISODE)]
            shapes = {None if column is None else column.shape for column in columns}
            rows = columns[0]
            if len(shapes) > 1 or rows is None or not ((rows >= 0) & (rows < n)).all():
                raise StateError(f"the alarms of rule {one.name!r} are not of {n} series: damaged")


_ROW = ("row", "int64")


def _ordered(machine: Machine) -> list[tuple[int, Episode]]:
    return sorted(machine.episodes.items())


def _place(name: str, rule: Rule, smoothing_set: SmoothingSet) -> int:
    fields = smoothing_set.fields
    if smoothing_set.width > 1 and not fields:
        raise ConfigError(f"alarms.{name}: readings are vectors without names: name the fields")
    if not fields:
        if rule.field is not None:
            raise ConfigError(
                f"alarms.{name}: field is {rule.field!r}, but readings have one value: leave it out"
            )
        return 0
    if rule.field not in fields:
        raise ConfigError(
            f"alarms.{name}: field is {rule.field!r}: it must be one of {', '.join(fields)}"
        )
    return fields.index(rule.field)
