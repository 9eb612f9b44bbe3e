"""The state of a composite of one field: a block for each stage, and what feeds them.

Knows columns and rows; must not know formulas, series ids or streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.stats import recurrences
from ewma_ops.stats.batch_plan import Plan
from ewma_ops.stats.policies import MISSING
from ewma_ops.stats.recurrences import Floats, Ints
from ewma_ops.table.smoothing_set import ChainUnit, Family, Unit
from ewma_ops.table.smoothing_state import Block

__all__ = ["Chain", "blocks_of", "line_of", "parted"]


class Chain:
    """Blocks that a `Composite` feeds, moved on together like one `Block`.

    Parameters
    ----------
    unit
        What to compute of which field.
    columns
        As for `Block`.
    """

    def __init__(self, unit: ChainUnit, columns: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.unit = unit
        self._stages = {name: Block(stage, columns) for name, stage in unit.stages.items()}
        self.blocks = list(self._stages.values())
        (self._place,) = unit.places

    def advance(
        self,
        plan: Plan,
        values: Floats,
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None = None,
    ) -> dict[str, Floats]:
        """Move the state on by a batch, as `Block.advance` does."""
        x = values[self._place]
        feed = _Columns(self._stages, np.isnan(x), plan, times_ms, volumes, causes)
        found = self.unit.composite.formula(x, feed)
        named: dict[str, Floats] = {}
        for (key,), result in zip(self.unit.keys.values(), found, strict=True):
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
        """Move one series on by one reading, to the same bits."""
        (x,) = values
        feed = _One(self._stages, x != x, row, time_ms, volume, causes)
        return tuple(map(float, self.unit.composite.formula(x, feed)))


class _Columns(NamedTuple):
    """Feeds the stages by the column; everything is in the plan's order."""

    stages: dict[str, Block]
    missing: NDArray[np.bool_]
    plan: Plan
    times_ms: Ints | None
    volumes: Floats | None
    causes: NDArray[np.uint8] | None

    def __call__(self, stage: str, values: Floats) -> tuple[Floats, ...]:
        block = self.stages[stage]
        fed = np.where(self.missing, np.nan, values)
        causes = self.causes
        if causes is not None:
            causes = causes | np.where(np.isnan(fed) & ~self.missing, MISSING, 0).astype(np.uint8)
        found = block.move(self.plan, fed[None], self.times_ms, self.volumes, causes)
        return tuple([np.atleast_2d(found[s])[0] for s in block.unit.smoothing.statistics])

    def before(self, stage: str, values: Floats) -> Floats:
        mean = self.stages[stage].state["mean"][0][self.plan.series]
        absent = self.missing | np.isnan(values)
        factors = np.where(absent, 1.0, 0.0)
        before = recurrences.accumulate(self.plan, factors, np.where(absent, 0.0, values), mean)
        self(stage, values)
        return before


class _One(NamedTuple):
    """Feeds the stages by the number."""

    stages: dict[str, Block]
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


def line_of(
    unit: Unit | ChainUnit, columns: Mapping[str, NDArray[Any]] | None = None
) -> Block | Chain:
    """Return what keeps the state of a unit."""
    return Chain(unit, columns) if isinstance(unit, ChainUnit) else Block(unit, columns)


def blocks_of(lines: list[Block | Chain]) -> list[Block]:
    """Return every block there is."""
    return [block for line in lines for block in line.blocks]


def parted(family: Family, lines: list[Block | Chain]) -> list[Block | Chain]:
    """Give each field weights of its own."""
    chains = {line.unit.name: line for line in lines if isinstance(line, Chain)}
    whole = {line.unit.name: line for line in lines if isinstance(line, Block)}
    return [
        chains[unit.name] if isinstance(unit, ChainUnit) else whole[unit.decay].part(unit)
        for unit in family.units(apart=True)
    ]
