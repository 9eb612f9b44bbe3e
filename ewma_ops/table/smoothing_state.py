"""`SmoothingState`: the state of one field group for every series, updated by column or reading.

Knows columns and rows; must not know series ids or streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import LARGEST_WEIGHT
from ewma_ops.errors import ReadingError, StateError
from ewma_ops.stats.batch_plan import BatchPlan, turns
from ewma_ops.stats.by_column import ColumnStepper
from ewma_ops.stats.by_reading import ReadingStepper
from ewma_ops.stats.recurrences import Floats, Ints
from ewma_ops.stats.revise import (
    corrected,
    depends_on_times,
    merged,
    newest_weight,
    rebased,
    retracted,
)
from ewma_ops.stats.states import STATES
from ewma_ops.stats.statistics import STATISTICS
from ewma_ops.table.smoothing_set import FieldGroup

__all__ = ["Ends", "SmoothingState"]


# Fewer readings in a turn are faster one by one than as columns (measured).
_SMALLEST_TURN = 10


class Ends(NamedTuple):
    """Times of the newest and the oldest reading that remain after a retraction, if given."""

    newest_ms: int | None = None
    oldest_ms: int | None = None

    def newest(self, time_ms: int, newest_ms: int, *, needed: bool) -> int:
        """Return the newest time that remains after the reading at ``time_ms`` is retracted.

        Raises
        ------
        ReadingError
            If it is needed and not given, or is impossible.
        """
        given = self.newest_ms
        if time_ms < newest_ms or (given is None and not needed):
            return newest_ms
        if given is None:
            raise ReadingError(
                f"the reading at {time_ms} ms is the newest of its series, and what the series "
                "shows or takes depends on which is the newest of the others, which is not kept: "
                "give its time as newest_ms"
            )
        if given > newest_ms:
            raise ReadingError(f"newest_ms = {given} is after the newest reading, at {newest_ms}")
        return given

    def oldest(self, time_ms: int, oldest_ms: int, newest_ms: int) -> int:
        """Return the oldest time that remains.

        Raises
        ------
        ReadingError
            If it is not given, or is impossible.
        """
        given = self.oldest_ms
        if time_ms > oldest_ms:
            return oldest_ms
        if given is None:
            raise ReadingError(
                f"the reading at {time_ms} ms is the oldest of its series, and rate and settled "
                "depend on which is the oldest of the others, which is not kept: give its time as "
                "oldest_ms"
            )
        if not oldest_ms <= given <= newest_ms:
            raise ReadingError(
                f"oldest_ms = {given} must be within {oldest_ms} and {newest_ms}, the times of the "
                "readings"
            )
        return given


class SmoothingState:
    """Columns of state of one `FieldGroup`, a row for each series.

    Parameters
    ----------
    group
        What to compute for which fields.
    columns
        State to resume from, as `columns` names it; ``None`` for no series.

    Raises
    ------
    StateError
        If a column is missing or of another shape.
    """

    def __init__(
        self, group: FieldGroup, columns: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        self.group = group
        self._width = len(group.places)
        self._smoother = ColumnStepper(group.smoothing, self._width, unbiased=group.unbiased)
        self._prefix = f"{group.name}/" if group.name else ""
        self._keys = list(group.keys.items())
        self.state = {name: self._full(name, 0) for name in self._smoother.columns}
        if columns is not None:
            self.state = {name: self._resumed(name, columns) for name in self._smoother.columns}
        self._stepper = ReadingStepper(group.smoothing, self.state, self._width)
        self.step = self._stepper.step
        self.smoothing_states = [self]

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by the names they have in a snapshot."""
        return {
            self._prefix + name: column[0] if column.ndim == 2 and len(column) == 1 else column
            for name, column in self.state.items()
        }

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.state["count"])

    @property
    def effort(self) -> int:
        """About how much more than a mean a reading by itself costs beside columns (measured)."""
        if self._smoother.seasonal:
            return 6
        return 1 if tuple(self.group.smoothing.statistics) == ("mean",) else 2

    def _full(self, name: str, size: int) -> NDArray[Any]:
        dtype, initial, depth, _ = self._smoother.columns[name]
        return np.full((depth, size) if depth else size, initial, dtype)

    def _resumed(self, name: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return a column of a snapshot; StateError if it is missing or of another shape."""
        dtype, _, depth, _ = self._smoother.columns[name]
        column = columns.get(self._prefix + name)
        if column is None:
            raise StateError(f"the state lacks the column {self._prefix + name!r}: damaged state")
        resumed = np.array(column, dtype, ndmin=1 + bool(depth), order="C")
        if resumed.ndim != 1 + bool(depth) or (depth and len(resumed) != depth):
            raise StateError(
                f"column {self._prefix + name!r} has shape {column.shape}, for {self._width} "
                "fields: damaged state"
            )
        return resumed

    def grow(self, size: int) -> None:
        """Make room for ``size`` series."""
        old = self.size
        for name, column in self.state.items():
            grown = self._full(name, size)
            grown[..., :old] = column
            self.state[name] = grown
        self._rebind()

    def keep_rows(self, rows: NDArray[Any]) -> None:
        """Keep some of the rows."""
        self.state = {name: column[..., rows].copy() for name, column in self.state.items()}
        self._rebind()

    def clear(self, rows: int | slice) -> None:
        """Reset rows to their initial state."""
        for name, column in self.state.items():
            column[..., rows] = self._smoother.columns[name].initial

    def copy_rows(self, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        """Copy the state of some rows to others."""
        for column in self.state.values():
            column[..., target] = column[..., source]

    def _rebind(self) -> None:
        self._stepper = ReadingStepper(self.group.smoothing, self.state, self._width)
        self.step = self._stepper.step

    def advance(
        self,
        plan: BatchPlan,
        values: Floats,
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None = None,
    ) -> dict[str, Floats]:
        """Update the state by a batch; return the statistics by key, in order of arrival.

        Parameters
        ----------
        plan
            The layout of the batch.
        values
            float64[fields of the smoothing set, n] in the plan's order.
        times_ms, volumes, causes
            int64[n], float64[n] and uint8[n] in the plan's order.
        """
        if self._width < len(values):
            values = values[list(self.group.places)]
        results = self.move(plan, values, times_ms, volumes, causes)
        named: dict[str, Floats] = {}
        for statistic, keys in self._keys:
            restored = plan.arrived(results[statistic])
            if restored.ndim == 2 and len(keys) != len(restored):  # a vector without names
                named[str(keys[0])] = restored.T
                continue
            for i, key in enumerate(keys):
                if key is not None:
                    named[key] = restored if restored.ndim == 1 else restored[i]
        return named

    def move(
        self,
        plan: BatchPlan,
        values: Floats,
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None = None,
    ) -> dict[str, Floats]:
        """Update the state by a batch of its own fields; return statistics in the plan's order."""
        turned = self._smoother.seasonal and plan.at is None
        if turned and values.shape[1] > len(plan.series):
            return self._move_in_turns(plan, values, times_ms, volumes, causes)
        whole = self._smoother.with_all_rows(plan)
        state = {
            name: column if name in whole else np.take(column, plan.series, axis=-1)
            for name, column in self.state.items()
        }
        results = self._smoother.advance(plan, values, times_ms, volumes, causes, state)
        for name, column in self.state.items():
            if name not in whole:
                column[..., plan.series] = state[name]
        return results

    def _move_in_turns(
        self,
        plan: BatchPlan,
        values: Floats,
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None,
    ) -> dict[str, Floats]:
        """`move`, with one reading of each series at a time."""
        sizes = {"reading": 1, "field": self._width, "pair": self._width * (self._width - 1) // 2}
        ofs = {name: STATISTICS[name].of for name in self.group.smoothing.statistics}
        results = {name: np.empty((sizes[of], values.shape[1])) for name, of in ofs.items()}
        readings: list[list[Any]] = []
        columns: list[NDArray[Any] | None] = [times_ms, volumes, causes]
        for places, rows in turns(plan):
            if len(rows) >= _SMALLEST_TURN:
                turn = BatchPlan(None, rows, [0, len(rows)], True)
                own: list[Any] = [None if c is None else c[places] for c in columns]
                for name, found in self.move(turn, values[:, places], *own).items():
                    results[name][:, places] = found
                continue
            if not readings:
                readings = [[*values.T.tolist()], *(self._listed(c, values) for c in columns)]
            for place, row in enumerate(rows.tolist(), places.start):
                x, time_ms, volume, cause = (column[place] for column in readings)
                numbers = iter(self.step(row, x, time_ms, volume, cause or 0))
                for found in results.values():
                    found[:, place] = [next(numbers) for _ in found]
        return {
            name: found[0] if ofs[name] == "reading" else found for name, found in results.items()
        }

    @staticmethod
    def _listed(column: NDArray[Any] | None, values: Floats) -> list[Any]:
        return [None] * values.shape[1] if column is None else column.tolist()

    def merge(self, other: SmoothingState, rows: NDArray[np.intp]) -> None:
        """Merge another's series into this; its i-th is at ``rows[i]`` here."""
        n = len(rows)
        here = {name: column[..., rows] for name, column in self.state.items()}
        there = {name: column[..., :n] for name, column in other.state.items()}
        found = merged(self.group.smoothing, here, there, self._width)
        for name, column in self.state.items():
            column[..., rows] = found[name]

    def retracted(
        self, row: int, values: Floats, time_ms: int | None, weight: float, ends: Ends
    ) -> dict[str, NDArray[Any]]:
        """Return the state of one series as if a reading had not come."""
        one, own = self._at(row), values[list(self.group.places)]
        if np.isnan(own).any():
            return one
        smoothing = self.group.smoothing
        prior = smoothing.start_up == "prior"
        after = retracted(one, own, self._faded(one, time_ms, weight), self._width, prior=prior)
        if time_ms is None or not smoothing.decay.by_time:
            after["weight"][0] = rebased(smoothing, one, float(after["weight"][0]))
        else:
            self._set_ends(after, time_ms, ends)
        return after

    def _set_ends(self, after: dict[str, NDArray[Any]], time_ms: int, ends: Ends) -> None:
        """Set the newest and oldest time that remain, if the retracted reading had one of them."""
        newest = int(after["newest_ms"][0])
        before = ends.newest(time_ms, newest, needed=depends_on_times(self.group.smoothing))
        if before != newest:
            retained = self.group.smoothing.decay.retention_of(newest - before)
            weight = float(after["weight"][0])
            most = int(after["count"][0]) * (1.0 + 1e-6)
            if self.group.smoothing.weighting == "volume":
                most *= LARGEST_WEIGHT
            if not weight <= most * retained:
                raise ReadingError(
                    f"newest_ms = {before} is too long before {newest}: the readings that are left "
                    "would weigh more than they can; give the time of the newest of them"
                )
            after["weight"][0], after["newest_ms"][0] = weight / retained, before
        if "oldest_ms" in after:
            after["oldest_ms"][0] = ends.oldest(time_ms, int(after["oldest_ms"][0]), before)

    def corrected(
        self, row: int, old: Floats, new: Floats, time_ms: int | None, weight: float
    ) -> dict[str, NDArray[Any]]:
        """Return the state of one series as if a reading had come with another value."""
        one, places = self._at(row), list(self.group.places)
        if np.isnan(old[places]).any():
            return one
        faded = self._faded(one, time_ms, weight)
        return corrected(one, old[places], new[places], faded, self._width)

    def _at(self, row: int) -> dict[str, NDArray[Any]]:
        return {name: column[..., row : row + 1] for name, column in self.state.items()}

    def _faded(self, one: Mapping[str, NDArray[Any]], time_ms: int | None, weight: float) -> float:
        """Return the decayed weight of a reading; with count decay it is the newest."""
        if not self.group.smoothing.decay.by_time:
            return newest_weight(self.group.smoothing, one, weight)
        if time_ms is None:
            raise ReadingError("give the time of the reading: its weight decays by time")
        age = int(one["newest_ms"][0]) - time_ms
        if age < 0:
            raise ReadingError(
                "the reading cannot be taken back or corrected: it is newer than the series"
            )
        return weight * self.group.smoothing.decay.retention_of(age)

    def copy_from(self, other: SmoothingState, first: int, n: int) -> None:
        """Copy the state of another's first ``n`` series to the rows from ``first`` on."""
        for name, column in self.state.items():
            column[..., first : first + n] = other.state[name][..., :n]

    def set_row(self, row: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Set the state of one series."""
        for name, column in self.state.items():
            column[..., row : row + 1] = state[name]

    def select_fields(self, group: FieldGroup) -> SmoothingState:
        """Return a copy of the state for a group of some of the fields."""
        at = [self.group.places.index(place) for place in group.places]
        pairs = list(combinations(self.group.places, 2))
        selected = SmoothingState(group)
        for name, (_, _, depth, phases) in selected._smoother.columns.items():
            rows: Sequence[int] | slice = slice(None)
            if STATES[name].of == "pair":
                rows = [pairs.index(pair) for pair in combinations(group.places, 2)]
            elif phases and STATES[name].of == "field":
                rows = [place * phases + phase for place in at for phase in range(phases)]
            elif depth and not phases:
                rows = at
            selected.state[name] = self.state[name][rows].copy()
        selected._rebind()
        return selected
