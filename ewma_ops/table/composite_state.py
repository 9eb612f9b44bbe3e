"""`CompositeState`: the state of a composite of one field, a `SmoothingState` for each stage.

Knows columns and rows; must not know formulas, series ids or streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.stats import recurrences
from ewma_ops.stats.batch_plan import BatchPlan
from ewma_ops.stats.policies import MISSING
from ewma_ops.stats.recurrences import Floats, Ints
from ewma_ops.table.smoothing_set import CompositeGroup, FieldGroup, SmoothingSet
from ewma_ops.table.smoothing_state import SmoothingState

__all__ = ["CompositeState", "build_state", "smoothing_states", "with_separate_weights"]


class CompositeState:
    """The stages of a `Composite`, updated together like one `SmoothingState`.

    Parameters
    ----------
    group
        What to compute for which field.
    columns
        As for `SmoothingState`.
    """

    def __init__(
        self, group: CompositeGroup, columns: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        self.group = group
        self._stages = {
            name: SmoothingState(stage, columns) for name, stage in group.stages.items()
        }
        self.smoothing_states = list(self._stages.values())
        (self._place,) = group.places

    def advance(
        self,
        plan: BatchPlan,
        values: Floats,
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None = None,
    ) -> dict[str, Floats]:
        """Update the state by a batch, as `SmoothingState.advance` does."""
        x = values[self._place]
        feed = _ColumnFeed(self._stages, np.isnan(x), plan, times_ms, volumes, causes)
        found = self.group.composite.formula(x, feed)
        named: dict[str, Floats] = {}
        for (key,), result in zip(self.group.keys.values(), found, strict=True):
            named[str(key)] = plan.arrived(result)
        return named

    def step(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        volume: float | None = None,
        causes: int = 0,
    ) -> tuple[float, ...]:
        """Update one series by one reading, with the same bits."""
        (x,) = values
        feed = _ReadingFeed(self._stages, x != x, row, time_ms, volume, causes)
        return tuple(map(float, self.group.composite.formula(x, feed)))


class _ColumnFeed(NamedTuple):
    """Feeds the stages with columns, in the plan's order."""

    stages: dict[str, SmoothingState]
    missing: NDArray[np.bool_]
    plan: BatchPlan
    times_ms: Ints | None
    volumes: Floats | None
    causes: NDArray[np.uint8] | None

    def __call__(self, stage: str, values: Floats) -> tuple[Floats, ...]:
        smoothing_state = self.stages[stage]
        fed = np.where(self.missing, np.nan, values)
        causes = self.causes
        if causes is not None:
            causes = causes | np.where(np.isnan(fed) & ~self.missing, MISSING, 0).astype(np.uint8)
        found = smoothing_state.move(self.plan, fed[None], self.times_ms, self.volumes, causes)
        return tuple(
            [np.atleast_2d(found[s])[0] for s in smoothing_state.group.smoothing.statistics]
        )

    def before(self, stage: str, values: Floats) -> Floats:
        mean = self.stages[stage].state["mean"][0][self.plan.series]
        absent = self.missing | np.isnan(values)
        factors = np.where(absent, 1.0, 0.0)
        before = recurrences.accumulate(self.plan, factors, np.where(absent, 0.0, values), mean)
        self(stage, values)
        return before


class _ReadingFeed(NamedTuple):
    """Feeds the stages with single readings."""

    stages: dict[str, SmoothingState]
    missing: bool
    row: int
    time_ms: int | None
    volume: float | None
    causes: int

    def __call__(self, stage: str, values: float) -> tuple[float, ...]:
        fed = np.nan if self.missing else float(values)
        causes = self.causes | (MISSING if fed != fed and not self.missing else 0)
        return self.stages[stage].step(self.row, [fed], self.time_ms, self.volume, causes)

    def before(self, stage: str, values: float) -> float:
        mean = float(self.stages[stage].state["mean"][0][self.row])
        self(stage, values)
        return mean


def build_state(
    group: FieldGroup | CompositeGroup, columns: Mapping[str, NDArray[Any]] | None = None
) -> SmoothingState | CompositeState:
    """Return a new state for a group, or one that resumes from ``columns``."""
    return (
        CompositeState(group, columns)
        if isinstance(group, CompositeGroup)
        else SmoothingState(group, columns)
    )


def smoothing_states(states: list[SmoothingState | CompositeState]) -> list[SmoothingState]:
    """Return every `SmoothingState`, those of composites too."""
    return [smoothing_state for state in states for smoothing_state in state.smoothing_states]


def with_separate_weights(
    smoothing_set: SmoothingSet, states: list[SmoothingState | CompositeState]
) -> list[SmoothingState | CompositeState]:
    """Return states in which each field has weights of its own."""
    composites = {state.group.name: state for state in states if isinstance(state, CompositeState)}
    whole = {state.group.name: state for state in states if isinstance(state, SmoothingState)}
    return [
        composites[group.name]
        if isinstance(group, CompositeGroup)
        else whole[group.decay].select_fields(group)
        for group in smoothing_set.groups(separate_weights=True)
    ]
