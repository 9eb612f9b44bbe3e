"""`Alarms`: scores of readings, and the transitions of alarms, for the series of a table.

Knows readings and rows; must not know formulas (`ewma_ops.monitor.scores`); only passes series ids
on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError, ReadingError, shown
from ewma_ops.monitor.globs import matcher
from ewma_ops.monitor.machine import Event, Scored, Trigger
from ewma_ops.monitor.rules import AlarmRules, ChartRule
from ewma_ops.monitor.scores import Read, read_of
from ewma_ops.monitor.tracking import COLUMNS, LARGEST, NUMBERS, Arrivals
from ewma_ops.stats.states import NEVER
from ewma_ops.table.alarm_counts import AlarmCounts, Judged
from ewma_ops.table.alarm_state import AlarmState, BoundRule
from ewma_ops.table.happened import Happened, triggers_at
from ewma_ops.table.overdue import Overdue, hear, hear_one
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = ["Alarms", "Batch"]

_NAN = float("nan")

# Fewer readings than this are judged faster one by one than as columns (measured).
_FEW_READINGS = 16


class Batch(NamedTuple):
    """The admitted readings of a batch, in order of arrival.

    ``values`` are float64[n] or [n, k], ``times_ms`` those that the decay goes by, ``rows`` those
    of the series. ``resets`` maps the place of a reading that resets its series to the row that the
    series had before.
    """

    readings: Readings
    values: NDArray[np.float64]
    times_ms: NDArray[np.int64] | None
    rows: NDArray[np.intp]
    resets: Mapping[int, int]

    def value_at(self, at: int, place: int) -> float:
        """Return a value of the reading at a place."""
        return float(self.values[at] if self.values.ndim == 1 else self.values[at, place])


class Alarms:
    """Rules of alarms at work in a table.

    Parameters
    ----------
    rules, smoothing_set
        As for `AlarmState`.

    Attributes
    ----------
    state
        What is known about each series.
    overdue
        By rule number, what finds the series that were silent for too long.
    rules
        The rules with their limits.
    names
        Of the scores that go along with the statistics.
    """

    def __init__(self, rules: AlarmRules, smoothing_set: SmoothingSet) -> None:
        self.state = AlarmState(rules, smoothing_set)
        self.rules = self.state.rules
        self.names = self.rules.score_names
        taken_names = set(self.names) & set(smoothing_set.names)
        if taken_names:
            raise ConfigError(
                f"{', '.join(sorted(taken_names))} is the name of a statistic and of a score: "
                "rename the rule"
            )
        self._by_volume = smoothing_set.by_volume
        self._concerns = [matcher(one.rule.series) for one in self.state.bound]
        self._charts = [one for one in self.state.bound if isinstance(one.rule, ChartRule)]
        self._marks = np.zeros(0, np.bool_)
        self._judged = [
            Judged(one.rule, concerns)
            for one, concerns in zip(self.state.bound, self._concerns, strict=True)
        ]
        self.overdue = {
            one.number: Overdue(
                self.state, one, self._concerns[one.number], smoothing_set.forget_after
            )
            for one in self.state.bound
            if one.rule.by_log
        }

    def counts(self) -> list[AlarmCounts]:
        """Return what was counted of each rule; any thread may ask."""
        return [
            AlarmCounts(one.name, of.limit, of.run_length, of.n, one.machine.active())
            for one, of in zip(self.state.bound, self._judged, strict=True)
        ]

    def check_times(self, series_id: str, times_ms: object) -> None:
        """Refuse readings without times if a rule needs them.

        Raises
        ------
        ReadingError
            With the rules that do.
        """
        if times_ms is None and self.state.timed:
            raise ReadingError(
                f"alarms {', '.join(self.state.timed)} go by time (decay, remind or cooldown) or "
                "season, but a reading has none: give (time, value) pairs (series "
                f"{shown(series_id)})"
            )

    def advance(self, batch: Batch) -> tuple[dict[str, NDArray[np.float64]], list[Happened]]:
        """Update the state by a batch; return the scores by name, and what happened."""
        few = 0 < len(batch.rows) < _FEW_READINGS
        return self.one_by_one(batch) if few else self.by_columns(batch)

    # A batch as columns ------------------------------------------------------------------------

    def by_columns(self, batch: Batch) -> tuple[dict[str, NDArray[np.float64]], list[Happened]]:
        """Do :meth:`advance` with all readings at once."""
        if len(self._marks) < self.state.size:
            self._marks = np.zeros(self.state.size, np.bool_)
        scores = {name: np.full(len(batch.rows), _NAN) for name in self.names}
        happened: list[Happened] = []
        everything = Arrivals(batch.rows)
        for place in self.state.places:
            values = batch.values if batch.values.ndim == 1 else batch.values[:, place]
            observed = ~np.isnan(values)
            if self._by_volume and batch.readings.weights is not None:
                observed &= batch.readings.weights > 0.0
            arrivals, order = everything, np.arange(len(values))
            if not observed.all():
                order = np.flatnonzero(observed)
                arrivals = Arrivals(batch.rows[order])
            self._advance_field(place, batch, arrivals, order, scores, happened)
        happened.sort(key=lambda one: one[:2])
        return scores, happened

    def _advance_field(
        self,
        place: int,
        batch: Batch,
        arrivals: Arrivals,
        order: NDArray[np.intp],
        scores: dict[str, NDArray[np.float64]],
        happened: list[Happened],
    ) -> None:
        """Update the rules of one field by the readings at ``order``, which have a value."""
        values = batch.values if batch.values.ndim == 1 else batch.values[:, place]
        values = np.ascontiguousarray(values[order])
        seen: dict[int, Any] = {-1: None}
        if len(order):
            newest, times = self.state.newest.get(place), batch.times_ms
            timed = newest is not None and times is not None
            gaps = arrivals.gaps(times[order], newest) if timed else None  # type: ignore[index, arg-type]
            heard = self.state.heard.get(place)
            of_log = None if heard is None else hear(heard, batch.readings, arrivals, order)
            within = np.minimum(np.maximum(values, -LARGEST), LARGEST)
            for at, one in enumerate(self.state.tracked):
                own = of_log if one.by_log else gaps
                if one.place == place and not (one.by_log and own is None):
                    moments = None if times is None else times[order]
                    seen[at] = arrivals.track(one.tracker, one.columns, within, own, moments)
        logged = batch.readings.logged is not None
        for rule in self.state.bound:
            if rule.place == place and (logged or not rule.rule.by_log):
                read = read_of(values, seen.get(rule.tracker))
                happened += self._judge(rule, batch, order, read)
                if self.names and rule in self._charts and len(order):
                    for name, column in _shown(rule, self.rules.parts, read, COLUMNS).items():
                        scores[name][order] = column

    def _judge(
        self, one: BoundRule, batch: Batch, order: NDArray[np.intp], read: Read
    ) -> list[Happened]:
        """Let a rule judge the readings of series that are not quiet, or no longer."""
        machine = one.machine
        rows = batch.rows[order]
        beyond = np.zeros(0, np.intp)
        if len(order):
            if one.kind.rough is None:
                score = one.kind.score(read, COLUMNS).score
                beyond = machine.beyond(score, -score)
            else:
                score = one.kind.rough(read, COLUMNS)
                beyond = machine.beyond(score, score)
            self._judged[one.number].add(score, rows, order, batch.readings.series_ids)
        if not len(beyond) and not machine.episodes:
            return []
        for_now = np.concatenate([rows[beyond], np.fromiter(machine.episodes, np.intp)])
        self._marks[for_now] = True
        chosen = np.flatnonzero(self._marks[rows])
        self._marks[for_now] = False
        return list(self._step_through(one, batch, order[chosen], read, chosen))

    def _step_through(
        self,
        one: BoundRule,
        batch: Batch,
        arrived: NDArray[np.intp],
        read: Read,
        chosen: NDArray[np.intp],
    ) -> list[Happened]:
        """Judge chosen readings one by one, in order of arrival, and clear what is reset."""
        found: list[Happened] = []
        few = read.take(chosen)
        marks = [(at, k) for k, at in enumerate(arrived.tolist())]
        if batch.resets:
            marks = sorted([*marks, *((at, -1) for at in batch.resets)])
        scored: list[Scored] = []
        if len(chosen):
            columns = np.broadcast_arrays(*one.kind.score(few, COLUMNS))
            scored = list(map(Scored, *(column.tolist() for column in columns)))
        triggers = triggers_at(batch.readings, arrived)
        rows = batch.rows[arrived].tolist()
        concerns = self._concerns[one.number]
        ended = -1
        for at, k in marks:
            if k < 0:
                (trigger,) = triggers_at(batch.readings, np.array([at]))
                value = batch.value_at(at, one.place)
                event = one.machine.reset(batch.resets[at], trigger, value)
                ended = at if event is not None else ended
            elif at == ended or not concerns(batch.readings.series_ids[at]):
                continue
            else:
                look = partial(_evidence_at, one, few, k)
                event = one.machine.judge(rows[k], scored[k], triggers[k], look)
            if event is not None:
                found.append(Happened(at, one.number, event))
        return found

    # A single reading --------------------------------------------------------------------------

    def step(
        self,
        series_id: str,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        weight: float | None,
        trigger: Trigger,
        reset: int | None,
    ) -> tuple[list[float], list[tuple[int, Event]]]:
        """Update one series by one reading; return its scores, and the events by rule number.

        ``reset`` is the row that the series had before, if the reading resets it.
        """
        scores: list[float] = []
        events = [] if reset is None else self._reset(reset, trigger, values)
        if reset == row:
            self.state.clear(row)
        ended = {number for number, _ in events}
        known = self._known(row, values, time_ms, weight, trigger)
        for one in self.state.bound:
            if one.place not in known or (one.rule.by_log and trigger.logged == NEVER):
                scores += [_NAN] * (
                    len(self.rules.parts) if self.names and one in self._charts else 0
                )
                continue
            read = read_of(values[one.place], known[one.place].get(one.tracker))
            scored = one.kind.score(read, NUMBERS)
            if one.number not in ended and self._concerns[one.number](series_id):
                self._judged[one.number].add_one(scored.score)
                look = partial(_evidence, one, read)
                event = one.machine.judge(row, scored, trigger, look)
                if event is not None:
                    events.append((one.number, event))
            if self.names and one in self._charts:
                scores += _shown(one, self.rules.parts, read, NUMBERS).values()
        return scores, sorted(events, key=lambda event: event[0])

    def one_by_one(self, batch: Batch) -> tuple[dict[str, NDArray[np.float64]], list[Happened]]:
        """Do :meth:`advance` with one or more readings, each by :meth:`step`: quicker for a few."""
        rows, n = batch.rows.tolist(), len(batch.rows)
        weights = batch.readings.weights
        ids, times = batch.readings.series_ids, batch.times_ms
        values = batch.values.reshape(n, -1).tolist()
        moments = [None] * n if times is None else times.tolist()
        weighed = [None] * n if weights is None else weights.tolist()
        triggers = triggers_at(batch.readings, np.arange(n))
        scores: list[list[float]] = []
        happened: list[Happened] = []
        for at, (row, trigger) in enumerate(zip(rows, triggers, strict=True)):
            own, events = self.step(
                *(ids[at], row, values[at], moments[at], weighed[at]), trigger, batch.resets.get(at)
            )
            scores.append(own)
            happened += [Happened(at, rule, event) for rule, event in events]
        shown = np.array(scores, np.float64).reshape(n, len(self.names)).T
        return dict(zip(self.names, shown.copy(), strict=True)), happened

    def _known(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        weight: float | None,
        trigger: Trigger,
    ) -> dict[int, dict[int, Any]]:
        """Update the trackers of fields with a value; return what they say, by field and number."""
        known: dict[int, dict[int, Any]] = {}
        weighs = not self._by_volume or (weight is not None and weight > 0.0)
        for place in self.state.places:
            value = values[place]
            if not (value == value and weighs):
                continue
            known[place] = {-1: None}
            gap = 0
            newest = self.state.newest.get(place)
            if newest is not None and time_ms is not None:
                before = int(newest[row])
                gap = 0 if before == NEVER else time_ms - before
                newest[row] = max(before, time_ms)
            heard = self.state.heard.get(place)
            of_log = None if heard is None else hear_one(heard, row, trigger)
            value = min(max(value, -LARGEST), LARGEST)
            for at, one in enumerate(self.state.tracked):
                own = of_log if one.by_log else gap
                if one.place == place and own is not None:
                    known[place][at] = one.step(row, value, own, time_ms)
        return known

    def _reset(
        self, row: int, trigger: Trigger, values: Sequence[float]
    ) -> list[tuple[int, Event]]:
        """Clear the alarms of a series that starts over; return the events by rule number."""
        events: list[tuple[int, Event]] = []
        for one in self.state.bound:
            event = one.machine.reset(row, trigger, values[one.place])
            if event is not None:
                events.append((one.number, event))
        return events

    def forget(self, row: int, trigger: Trigger) -> list[tuple[int, Event]]:
        """Reset a series that is forgotten; return the alarms that this clears."""
        events = self._reset(row, trigger, [_NAN] * (1 + max(self.state.places)))
        self.state.forget(row)
        return events


def _evidence_at(one: BoundRule, few: Read, k: int) -> Mapping[str, float]:
    """Return the evidence about one reading of several."""
    return _evidence(one, few.single(k))


def _evidence(one: BoundRule, read: Read) -> Mapping[str, float]:
    evidence = one.kind.evidence(read, one.rule, NUMBERS)
    if not isinstance(one.rule, ChartRule) or one.rule.limit is None:
        return evidence
    score = one.kind.score(read, NUMBERS).score
    return {**evidence, "score": score, "limit": one.rule.limit}


def _shown(one: BoundRule, parts: Sequence[str], read: Read, o: Any) -> dict[str, Any]:
    """Return the scores of a rule as they go along with the statistics, by name."""
    score, deviation, expected = one.kind.score(read, o)
    known = {"z": score, "deviation": deviation, "expected": expected + read.offset}
    if not known.keys() >= set(parts):
        known.update(one.kind.evidence(read, one.rule, o))
    return {f"{one.name}_{name}": known[name] for name in parts}
