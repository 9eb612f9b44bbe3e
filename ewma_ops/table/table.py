"""`SeriesTable`: update the state of millions of series by readings, in batches or one by one.

Every method checks its arguments before it changes anything, so an error leaves the table as it
was. Operations on whole series are in `series_state`, retracting and correcting in `revisions`.
Must not know streams, Kafka, the clock ("now" is an argument) or how a statistic is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, repeat

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.heartbeats import Heartbeat, Heartbeats
from ewma_ops.columns.murmur2 import partition_for
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.columns.transitions import Transitions
from ewma_ops.errors import ReadingError
from ewma_ops.monitor.machine import Trigger
from ewma_ops.stats.batch_plan import plan_batch, renewed
from ewma_ops.stats.states import NEVER
from ewma_ops.table.admission import Admitted
from ewma_ops.table.alarms import Batch
from ewma_ops.table.happened import Happened, as_transitions, rows_before, triggers_at
from ewma_ops.table.revisions import Revisable
from ewma_ops.table.snapshots import TableSnapshot

__all__ = ["SeriesTable", "TableSnapshot"]

# Fewer readings than this, of a mean alone, are faster one by one than as columns (measured).
_SMALLEST_BATCH = 72


class SeriesTable(Revisable):
    """Smooth the readings of any number of series.

    A series' outputs do not depend, in one bit, on how its readings are cut into batches, on the
    other series of the table, or on a snapshot and restore in between.

    Parameters
    ----------
    smoothing
        What to compute: one `Smoothing` or `Composite`, or several by name, all in one pass.
    snapshot
        State to resume from, as :meth:`snapshot` of an earlier table returned it.
    fields
        Names of the fields of a reading, or the length of the vector that its value is. A field
        is missing by itself; a vector is missing as a whole if any number of it is.
    alarms
        Rules of alarms (`ewma_ops.monitor`): what becomes of them is in ``transitions`` of what
        :meth:`update` returns.
    forget_after
        A reading that is more than this past the newest of its series, such as ``"7d"``, resets
        the series; readings need times then. If readings have ``clocks_ms``, the clock is used in
        place of their own time. :meth:`free_idle` frees the memory of idle series.

    Raises
    ------
    ConfigError
        If the names of fields and smoothings are incompatible.
    StateError
        If the snapshot was taken with another smoothing, or by an unknown version.

    Notes
    -----
    A series costs 24 bytes of state for the mean (32 by time), and about 50 bytes for its id and
    its place in the index. Biased variances take 8 bytes more, unbiased ones 16 (24 by time),
    ``n_eff``, ``revision``, ``settled`` and ``rate`` by time 8, weighting ``last`` and ``linear``
    8, a policy for late readings or equal times 8. A further field costs 8 bytes for its mean, 8
    for its variance and 8 for each covariance, as long as no reading lacks only some of the fields.

    Statistics are named ``mean``; with several fields and smoothings ``bid_fast_mean``; of two
    fields ``bid_ask_fast_corr``.

    Examples
    --------
    >>> from ewma_ops import Decay, Smoothing
    >>> table = SeriesTable(Smoothing(Decay(beta=0.9), start_up="uncorrected"))
    >>> table.update(Readings.of(["s", "s"], [30, 17])).statistics["mean"].round(12)
    array([3. , 4.4])
    >>> spans = {"fast": Smoothing(Decay(span=3)), "slow": Smoothing(Decay(span=9))}
    >>> table = SeriesTable(spans, fields=["bid", "ask"])
    >>> smoothed = table.update(Readings.of(["s", "s"], [[1.0, 2.0], [4.0, 5.0]]))
    >>> list(smoothed.statistics)
    ['bid_fast_mean', 'bid_slow_mean', 'ask_fast_mean', 'ask_slow_mean']
    >>> smoothed.statistics["ask_fast_mean"]
    array([2., 4.])
    """

    def update(self, readings: Readings, *, collect_rejected: bool = False) -> Smoothed:
        """Update the series by readings, in order of arrival; return each with its statistics.

        Series that are not in the table yet are added. Nothing is changed if an error is raised.

        Parameters
        ----------
        readings
            Of any number of series.
        collect_rejected
            Whether to return readings whose policy is ``"dead-letter"`` as ``rejected`` of the
            result; if not, they are an error.

        Raises
        ------
        ReadingError
            If the readings lack times, weights or fields that the smoothing set needs, or if a
            policy rejects one.
        """
        self._admission.check_shape(readings)
        if self._alarms is not None and len(readings):
            self._alarms.check_times(readings.series_ids[0], readings.times_ms)
        located = self._index.look_up(readings.series_ids)
        self._grow(len(self) + located.n_new)
        admitted = self._admission.admit(readings, located.rows, collect_rejected=collect_rejected)
        self._index.add(located)
        kept = admitted.readings
        if kept.hashes is None and len(kept):
            kept = replace(kept, hashes=self.hashes[admitted.rows])
        happened: list[Happened] = []
        if admitted.resets is None:
            statistics = self._advance(admitted, {}, happened)
        else:
            free = len(self)
            renewal = renewed(admitted.rows, admitted.resets, free)
            self._grow(free + int(admitted.resets.sum()))
            before = rows_before(admitted.rows, admitted.resets, renewal.rows)
            statistics = self._advance(admitted._replace(rows=renewal.rows), before, happened)
            for smoothing_state in self._smoothing_states:
                smoothing_state.copy_rows(renewal.last, renewal.series)
                smoothing_state.clear(slice(free, None))
            if self._alarms is not None:
                self._alarms.state.copy_rows(renewal.last, renewal.series)
                self._alarms.state.clear(slice(free, None))
        transitions = as_transitions(kept, happened)
        return Smoothed(kept, statistics, admitted.rejected, admitted.tally, transitions)

    def update_in_order(self, readings: Readings) -> Iterator[Smoothed]:
        """Take in readings among which there are tombstones and heartbeats.

        At a tombstone its series starts over; at a heartbeat series may be silent for too long.
        Yields what came of the readings, and of heartbeats transitions; rejected readings are
        collected. Without tombstones, and where nothing comes of heartbeats, this is one
        :meth:`update`, else one for each stretch between two.
        """
        beats = readings.heartbeats
        if beats is None:
            yield from self._between_beats(readings)
            return
        readings, start = replace(readings, heartbeats=None), 0
        for beat in beats:
            if not self._may_be_silent(beat, beats.shards):
                continue
            if beat.place > start:
                yield from self._between_beats(readings.take(np.arange(start, beat.place)))
                start = beat.place
            if (silent := self._silent_at(beat, beats)) is not None:
                yield silent
        if start < len(readings):
            rest = readings.take(np.arange(start, len(readings))) if start else readings
            yield from self._between_beats(rest)

    def _between_beats(self, readings: Readings) -> Iterator[Smoothed]:
        marks = readings.tombstones
        if marks is None or not marks.any():
            readings = readings if marks is None else replace(readings, tombstones=None)
            yield self.update(readings, collect_rejected=True)
            return
        changes = np.flatnonzero(marks[1:] != marks[:-1]) + 1
        for start, stop in pairwise([0, *changes.tolist(), len(readings)]):
            part = readings.take(np.arange(start, stop))
            if marks[start]:
                cleared = self._forget_at(part)
                if cleared is not None:
                    yield cleared
            else:
                yield self.update(replace(part, tombstones=None), collect_rejected=True)

    def _may_be_silent(self, beat: Heartbeat, shards: tuple[int, ...]) -> bool:
        rules = () if self._alarms is None else self._alarms.overdue.values()
        return any(rule.may_be(beat, shards) for rule in rules)

    def _silent_at(self, beat: Heartbeat, beats: Heartbeats) -> Smoothed | None:
        """Return the alarms about series that are silent for too long by now; no readings."""
        assert self._alarms is not None
        hashes, ids = self.hashes, self.ids()
        among = np.ones(len(hashes), np.bool_)
        if beats.shards:
            among = np.isin(partition_for(hashes, beats.of), beats.shards)
        found = [
            (event.time, ids[row], rule, row, event)
            for rule, overdue in self._alarms.overdue.items()
            if overdue.may_be(beat, beats.shards)
            for row, event in overdue.at(beat, beats.shards, among, ids.__getitem__)
        ]
        if not found:
            return None
        found.sort(key=lambda one: one[:3])
        rows = np.array([row for _, _, _, row, _ in found], np.intp)
        n = len(rows)
        at_beat = Readings(
            [series_id for _, series_id, _, _, _ in found],
            np.zeros((n, self.smoothing_set.width) if self.smoothing_set.width > 1 else n),
            origins=Origins(np.full(n, beat.partition), np.full(n, beat.offset)),
            hashes=hashes[rows],
        )
        happened = [Happened(at, rule, event) for at, (_, _, rule, _, event) in enumerate(found)]
        return self._without_readings(at_beat, happened)

    def _without_readings(self, at: Readings, happened: Sequence[Happened]) -> Smoothed | None:
        """Return what happened at things that are no readings; ``None`` if nothing did."""
        transitions = as_transitions(at, happened)
        if transitions is None:
            return None
        none = replace(at.take(np.zeros(0, np.intp)), tombstones=None)
        empty = {name: np.zeros(0) for name in self.names}
        return Smoothed(none, empty, transitions=replace(transitions, places=None))

    def _forget_at(self, tombstones: Readings) -> Smoothed | None:
        """Let series start over; return no readings, but the alarms that this clears, if any."""
        happened: list[Happened] = []
        hashes = np.zeros(len(tombstones), np.uint32)
        triggers = triggers_at(tombstones, np.arange(len(tombstones)))
        for at, series_id in enumerate(tombstones.series_ids):
            row = self._index.find(series_id)
            if row is None:
                continue
            if self._alarms is not None:
                hashes[at] = self.hashes[row]
                events = self._alarms.forget(row, triggers[at])
                happened += [Happened(at, rule, event) for rule, event in events]
            self._forget_row(row)
        return self._without_readings(replace(tombstones, hashes=hashes), happened)

    def _advance(
        self, admitted: Admitted, before: Mapping[int, int], happened: list[Happened]
    ) -> dict[str, NDArray[np.float64]]:
        """Update the state by admitted readings; return statistics, and add what happened.

        ``before`` holds the rows that series had which a reading resets, by its place.
        """
        if len(admitted.rows) * self._effort < _SMALLEST_BATCH and not self._vector:
            return self._step_through(admitted, before, happened)
        width = self.smoothing_set.width
        laid_out = plan_batch(admitted.rows, width)
        planned = laid_out.planned
        values = np.reshape(planned(admitted.values.T), (width, -1))
        times, weights, causes = admitted.times_ms, admitted.readings.weights, admitted.causes
        times = None if times is None else planned(times)
        weights = None if weights is None else planned(weights)
        causes = None if causes is None else planned(causes)
        if not self._separate_weights and self.smoothing_set.fields:
            missing = np.isnan(values)
            if (missing != missing[0]).any():
                self._separate()
        found: dict[str, NDArray[np.float64]] = {}
        for state in self._states:
            found |= state.advance(laid_out, values, times, weights, causes)
        found |= self._scores(admitted, before, happened)
        return {name: found[name] for name in self.names}

    def step(
        self,
        series_id: str,
        value: float | Sequence[float],
        time_ms: int | None = None,
        weight: float | None = None,
    ) -> tuple[float, ...]:
        """Update a series by one reading; return its statistics, in the order of the output.

        The same to the last bit as :meth:`update` with one reading, and faster for few readings.

        Parameters
        ----------
        series_id
            The series; it is added if new.
        value
            A number, or NaN for a missing reading; one for each field where there are several.
            Not for vectors.
        time_ms
            Event time in milliseconds since the epoch; needed for decay by time.
        weight
            0, or from `SMALLEST_WEIGHT` to `LARGEST_WEIGHT`; needed for weighting by volume.

        Raises
        ------
        ReadingError
            If decay is by time and there is none, if the weight is out of bounds, if there are
            more or fewer values than fields, or if a policy rejects the reading.

        Examples
        --------
        >>> from ewma_ops import Decay, Smoothing
        >>> table = SeriesTable(Smoothing(Decay(beta=0.5)))
        >>> table.step("s", 1.0), table.step("s", 4.0)
        ((1.0,), (3.0,))
        """
        admission, causes, was_idle = self._admission, 0, False
        came_ms = time_ms
        if admission.demands and (time_ms is None or weight is None):
            admission.check_given(series_id, time_ms, weight)
        if self._alarms is not None:
            self._alarms.check_times(series_id, time_ms)
        if admission.by_volume:
            admission.check_weight(series_id, weight)
        values: Sequence[float] = value if self._fields else (value,)  # type: ignore[assignment] # one for each field
        low, high = admission.low, admission.high
        usual = self._plain and low <= value <= high  # type: ignore[operator] # the same
        if not usual:
            if self._vector:
                raise ReadingError("step takes no vectors: give them to update, as Readings")
            admission.check_width(series_id, value)
            values, causes = admission.values_of(series_id, values, weight)
        row = self._index.find(series_id)
        if row is None:
            row = int(self._locate([series_id])[0])
        if admission.watches and time_ms is not None:
            values, time_ms, causes, was_idle = admission.time_of(
                series_id, row, values, weight, time_ms, causes
            )
        resets = was_idle or bool(causes and admission.resets(causes))
        if resets:
            for smoothing_state in self._smoothing_states:
                smoothing_state.clear(row)
        move = self._move if self._alone is None else self._alone.step
        found = move(row, values, time_ms, weight, causes)
        if self._alarms is None:
            return found
        trigger = Trigger(NEVER if came_ms is None else came_ms)
        scores, events = self._alarms.step(
            series_id, row, values, time_ms, weight, trigger, row if resets else None
        )
        for rule, event in events:
            self._stepped.append((series_id, int(self.hashes[row]), came_ms, rule, event))
        return (*found, *scores)

    def pop_transitions(self) -> Transitions | None:
        """Return what became of alarms in :meth:`step` since the last call; ``None`` for nothing.

        Without input positions, as `step` knows none.
        """
        stepped, self._stepped = self._stepped, []
        if not stepped:
            return None
        ids, hashes, times, rules, events = zip(*stepped, strict=True)
        timed = all(time is not None for time in times)
        readings = Readings(
            list(ids),
            np.zeros(len(ids)),
            np.array(times, np.int64) if timed else None,
            hashes=np.array(hashes, np.uint32),
        )
        happened = [Happened(at, *one) for at, one in enumerate(zip(rules, events, strict=True))]
        return as_transitions(readings, happened)

    def _move(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        weight: float | None,
        causes: int,
    ) -> tuple[float, ...]:
        if (
            self._fields
            and not self._separate_weights
            and 0 < sum([x != x for x in values]) < len(values)
        ):
            self._separate()
        flat: list[float] = []
        for state in self._states:
            places = state.group.places
            own = values if len(places) == len(values) else [values[i] for i in places]
            flat += state.step(row, own, time_ms, weight, causes)
        return tuple(flat) if self._order is None else tuple([flat[i] for i in self._order])

    def _step_through(
        self, admitted: Admitted, before: Mapping[int, int], happened: list[Happened]
    ) -> dict[str, NDArray[np.float64]]:
        n = len(admitted.rows)
        weights, times, causes = admitted.readings.weights, admitted.times_ms, admitted.causes
        steps = map(
            self._move if self._alone is None else self._alone.step,
            admitted.rows.tolist(),
            admitted.values.reshape(n, self.smoothing_set.width).tolist(),
            repeat(None) if times is None else times.tolist(),
            repeat(None) if weights is None else weights.tolist(),
            repeat(0) if causes is None else causes.tolist(),
        )
        columns = np.array(list(steps), np.float64).reshape(n, len(self._names)).T
        found = dict(zip(self._names, columns.copy(), strict=True))
        return found | self._scores(admitted, before, happened)

    def _scores(
        self, admitted: Admitted, before: Mapping[int, int], happened: list[Happened]
    ) -> dict[str, NDArray[np.float64]]:
        """Let the rules of alarms judge admitted readings; return scores, and add what happened."""
        if self._alarms is None:
            return {}
        batch = Batch(admitted.readings, admitted.values, admitted.times_ms, admitted.rows, before)
        scores, more = self._alarms.advance(batch)
        happened += more
        return scores
