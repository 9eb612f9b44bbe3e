"""SeriesTable: the state of millions of series as columns, and one row for each series id.

Knows series ids, rows and growth; must not know streams, Kafka, the clock ("now" is an argument)
or how a statistic is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import TextColumn
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.stats.batch_plan import plan_batch, renewed
from ewma_ops.stats.revise import check_mergeable
from ewma_ops.table.admission import Admission, Admitted
from ewma_ops.table.composite_state import (
    CompositeState,
    build_state,
    smoothing_states,
    with_separate_weights,
)
from ewma_ops.table.index import SeriesIndex
from ewma_ops.table.revisions import Revisable
from ewma_ops.table.smoothing_set import SmoothingLike, SmoothingSet
from ewma_ops.table.smoothing_state import SmoothingState
from ewma_ops.table.snapshots import PackedIds, TableSnapshot, check_sound

__all__ = ["SeriesTable", "TableSnapshot"]

# Fewer readings than this cost less one by one than as columns (measured).
_SMALLEST_BATCH = 96


class SeriesTable(Revisable):
    """Smooth the readings of any number of series.

    A series' outputs do not depend, in one bit, on how its readings are cut into batches, on the
    other series of the table, or on a snapshot and restore in between.

    Parameters
    ----------
    smoothing
        What to compute: one `Smoothing` or `Composite`, or several by name, all in one pass.
    snapshot
        What an earlier table's :meth:`snapshot` returned, to go on from there.
    fields
        Names of the fields of a reading, or how many numbers its value is a vector of. A field
        that is missing is missing alone; a vector is missing whole where any number of it is.

    Raises
    ------
    ConfigError
        If the names of fields and smoothings do not go together.
    StateError
        If the snapshot was taken with another smoothing, or by an unknown version.

    Notes
    -----
    A series costs 24 bytes of state for the mean (32 by time), and about 50 bytes for its id and
    its place in the index. Biased variances take 8 bytes more, unbiased ones 16 (24 by time),
    ``n_eff``, ``revision``, ``settled`` and ``rate`` by time 8, weighting ``last`` and ``linear``
    8, a policy for what is late or at equal times 8. A further field costs 8 bytes for its mean, 8
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

    def __init__(
        self,
        smoothing: SmoothingLike | Mapping[str, SmoothingLike] | SmoothingSet,
        snapshot: TableSnapshot | None = None,
        fields: Sequence[str] | int = 1,
    ) -> None:
        self.smoothing_set = SmoothingSet.of(smoothing, fields)
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

    def _bind(
        self, states: list[SmoothingState | CompositeState], *, separate_weights: bool
    ) -> None:
        self._states, self._separate_weights = states, separate_weights
        self._smoothing_states = smoothing_states(states)
        self._names = self.smoothing_set.names
        self._order = self.smoothing_set.order([state.group for state in states])
        self._fields = self.smoothing_set.fields
        alone = self._order is None and len(states) == 1 and not self._fields
        self._alone = states[0] if alone else None
        self._vector = self.smoothing_set.width > 1 and not self.smoothing_set.fields

    def update(self, readings: Readings, *, collect_rejected: bool = False) -> Smoothed:
        """Take in readings, in order of arrival, and return each with its statistics.

        Series that are not in the table yet are added. Nothing is changed if an error is raised.

        Parameters
        ----------
        readings
            Of any number of series.
        collect_rejected
            What becomes of readings whose policy is ``"dead-letter"``: put aside, as ``rejected``
            of the result, or else an error.

        Raises
        ------
        ReadingError
            If the readings lack times, weights or fields that the smoothing set needs, or if one
            does not enter by its policy.
        """
        self._admission.check_shape(readings)
        known = len(self)
        rows = self._locate(readings.series_ids)
        try:
            admitted = self._admission.admit(readings, rows, collect_rejected=collect_rejected)
        except ReadingError:
            self._index.keep(np.arange(known))
            raise
        if admitted.resets is None:
            statistics = self._advance(admitted)
        else:
            free = len(self)
            anew = renewed(admitted.rows, admitted.resets, free)
            self._grow(free + int(admitted.resets.sum()))
            statistics = self._advance(admitted._replace(rows=anew.rows))
            for smoothing_state in self._smoothing_states:
                smoothing_state.copy_rows(anew.last, anew.series)
                smoothing_state.clear(slice(free, None))
        kept = admitted.readings
        if kept.hashes is None and len(kept):
            kept = replace(kept, hashes=self.hashes[admitted.rows])
        return Smoothed(kept, statistics, admitted.rejected, admitted.tally)

    def _advance(self, admitted: Admitted) -> dict[str, NDArray[np.float64]]:
        if len(admitted.rows) < _SMALLEST_BATCH and not self._vector:
            return self._step_through(admitted)
        width = self.smoothing_set.width
        laid_out = plan_batch(admitted.rows, width)
        order = laid_out.order
        values = np.take(admitted.values.T, order, axis=-1).reshape(width, -1)
        times, weights, causes = admitted.times_ms, admitted.readings.weights, admitted.causes
        times = None if times is None else times[order]
        weights = None if weights is None else weights[order]
        causes = None if causes is None else causes[order]
        if not self._separate_weights and self.smoothing_set.fields:
            missing = np.isnan(values)
            if (missing != missing[0]).any():
                self._separate()
        found: dict[str, NDArray[np.float64]] = {}
        for state in self._states:
            found |= state.advance(laid_out, values, times, weights, causes)
        return {name: found[name] for name in self._names}

    def step(
        self,
        series_id: str,
        value: float | Sequence[float],
        time_ms: int | None = None,
        weight: float | None = None,
    ) -> tuple[float, ...]:
        """Take in one reading and return its statistics, in the order of the output.

        The same to the last bit as :meth:`update` with one reading, and quicker for few.

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
            If decay is by time and there is none, if the weight is out of bounds, or if it does
            not enter by its policy.

        Examples
        --------
        >>> from ewma_ops import Decay, Smoothing
        >>> table = SeriesTable(Smoothing(Decay(beta=0.5)))
        >>> table.step("s", 1.0), table.step("s", 4.0)
        ((1.0,), (3.0,))
        """
        admission, causes = self._admission, 0
        if admission.demands and (time_ms is None or weight is None):
            admission.check_given(series_id, time_ms, weight)
        if admission.by_volume:
            admission.check_weight(series_id, weight)
        values: Sequence[float] = value if self._fields else (value,)  # type: ignore[assignment] # as many as fields
        low, high = admission.low, admission.high
        usual = not (self._fields or admission.by_volume) and low <= value <= high  # type: ignore[operator] # the same
        if not usual:
            values, causes = admission.values_of(series_id, values, weight)
        row = self._index.find(series_id)
        if row is None:
            row = int(self._locate([series_id])[0])
        if admission.watches and time_ms is not None:
            values, time_ms, causes = admission.time_of(
                series_id, row, values, weight, time_ms, causes
            )
        if causes and admission.resets(causes):
            for smoothing_state in self._smoothing_states:
                smoothing_state.clear(row)
        if self._alone is not None:
            return self._alone.step(row, values, time_ms, weight, causes)
        return self._move(row, values, time_ms, weight, causes)

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

    def _step_through(self, admitted: Admitted) -> dict[str, NDArray[np.float64]]:
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
        return dict(zip(self._names, columns.copy(), strict=True))

    def _separate(self) -> None:
        """Give each field weights of its own: a reading lacks some of the fields only."""
        self._bind(with_separate_weights(self.smoothing_set, self._states), separate_weights=True)

    def _locate(self, series_ids: Sequence[str]) -> NDArray[np.intp]:
        """Row of each series id, adding the new ones."""
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

    def evict(self, before_ms: int) -> int:
        """Forget every series whose newest reading is older than ``before_ms``.

        A forgotten series that comes back starts from scratch. Costs a pass over the whole table.

        Returns
        -------
        int
            How many series were forgotten.

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
                "cannot be "
                "told: use decay by time, for example Decay(halflife='5min')"
            )
        n = len(self)
        stays = np.maximum.reduce([newest[:n] for newest in timed]) >= before_ms
        kept = np.flatnonzero(stays)
        self._index.keep(kept)
        for smoothing_state in self._smoothing_states:
            smoothing_state.keep_rows(kept)
        self._admission.keep_rows(kept)
        return n - len(kept)

    def merge(self, other: SeriesTable) -> None:
        """Take in all series of another table, as if their readings had come to this one.

        Exact to rounding. Under decay by time the two may overlap; under count decay the other's
        readings are taken as the later ones. The other table is not changed.

        Raises
        ------
        ConfigError
            If the tables differ in what they compute, or it cannot be merged.
        """
        if other.smoothing_set.fingerprint() != self.smoothing_set.fingerprint():
            raise ConfigError(
                f"a table of {other.smoothing_set.fingerprint()} cannot be merged into one of "
                f"{self.smoothing_set.fingerprint()}: give both the same options"
            )
        for _, smoothing in self.smoothing_set.smoothings:
            check_mergeable(smoothing)
        for table, twin in ((self, other), (other, self)):
            if twin._separate_weights and not table._separate_weights:  # noqa: SLF001 - of this class
                table._separate()  # noqa: SLF001 - of this class
        rows = self._locate(other._index.ids())
        for smoothing_state, more in zip(
            self._smoothing_states, other._smoothing_states, strict=True
        ):
            smoothing_state.merge(more, rows)
        self._admission.merge(other._admission, rows)

    def ids(self, first: int = 0) -> TextColumn:
        """Return the ids of all series but the ``first``; to be used before others are added."""
        return self._index.texts(first)

    def snapshot(
        self, rows: NDArray[np.intp] | None = None, ids: PackedIds | None = None
    ) -> TableSnapshot:
        """Copy the state. The table goes on unchanged.

        Parameters
        ----------
        rows
            intp[m]: of which series, by the order in which they came; ``None`` for all.
        ids
            Theirs, where they are packed already.
        """
        where = np.arange(len(self)) if rows is None else rows
        columns = {
            name: np.take(column, where, axis=-1)
            for name, column in _columns(self._admission, self._smoothing_states).items()
        }
        ids = PackedIds.plain(*self._index.encoded(rows)) if ids is None else ids
        return TableSnapshot.of(
            self.smoothing_set.fingerprint(), ids, columns, separate_weights=self._separate_weights
        )

    def absorb(self, snapshot: TableSnapshot) -> None:
        """Take in the series of a snapshot, none of which is in the table yet.

        Their outputs go on to the last bit as they would in the table they come from. Nothing is
        changed if an error is raised.

        Raises
        ------
        StateError
            If the snapshot was taken with another smoothing or by an unknown version, is damaged,
            or holds a series that is in the table.
        """
        snapshot.check_fits(self.smoothing_set.fingerprint())
        n, first = len(snapshot.ids.sizes), len(self)
        groups = self.smoothing_set.groups(separate_weights=snapshot.separate_weights)
        admission = Admission(self.smoothing_set, snapshot.columns)
        states = [build_state(group, snapshot.columns) for group in groups]
        check_sound(_columns(admission, smoothing_states(states)), n)
        self._index.extend(snapshot.ids.utf8(), snapshot.ids.sizes)
        if not first:
            self._admission = admission
            self._bind(states, separate_weights=snapshot.separate_weights)
            return
        if snapshot.separate_weights and not self._separate_weights:
            self._separate()
        elif self._separate_weights and not snapshot.separate_weights:
            states = with_separate_weights(self.smoothing_set, states)
        self._grow(first + n)
        self._admission.copy_from(admission, first, n)
        for smoothing_state, more in zip(
            self._smoothing_states, smoothing_states(states), strict=True
        ):
            smoothing_state.copy_from(more, first, n)

    def _check(self) -> None:
        """Raise StateError unless the table is sound: for tests."""
        check_sound(_columns(self._admission, self._smoothing_states), len(self))


def _columns(admission: Admission, states: list[SmoothingState]) -> dict[str, NDArray[Any]]:
    parts = [admission.columns, *(smoothing_state.columns for smoothing_state in states)]
    return {name: column for part in parts for name, column in part.items()}
