"""What is asked for of payloads, and what was read of them.

Knows the paths of fields, and columns; must not know how payloads are read, nor any bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import TextColumn

__all__ = ["Fields", "Paths", "Reasons"]


Reasons = dict[int, tuple[str, str]]
"""Why payloads are no readings: cause and detail by place. The first one that is noted counts."""


class Paths(NamedTuple):
    """Where each thing stands in a payload; what has no path is not in it.

    ``ids`` are joined; ``numbers`` are the values, and what a reading weighs behind them.
    """

    ids: Sequence[str]
    time: str | None
    numbers: Sequence[str]


class Fields(NamedTuple):
    """What was read of n payloads, by the column: not looked at yet.

    ``ids`` is ``None`` and ``times_ms`` (float64[n] or int64[n]) are, where they are not asked for;
    ``numbers`` is float64[n] for each path of them.
    """

    ids: Sequence[str] | None
    times_ms: NDArray[np.float64] | NDArray[np.int64] | None
    numbers: list[NDArray[np.float64]]

    def take(self, at: NDArray[np.intp]) -> Fields:
        """Return what was read of some payloads; ids must be a column."""
        return Fields(
            None if self.ids is None else TextColumn.of(self.ids).take(at),
            None if self.times_ms is None else self.times_ms[at],
            [column[at] for column in self.numbers],
        )

    def merged(self, at: NDArray[np.intp], others: Fields, others_at: NDArray[np.intp]) -> Fields:
        """Join with what was read of others, in the order of their places."""
        order = np.argsort(np.concatenate([at, others_at]), kind="stable")
        ids = times_ms = None
        if self.ids is not None and others.ids is not None:
            ids = TextColumn.concat([TextColumn.of(self.ids), TextColumn.of(others.ids)])
        if self.times_ms is not None and others.times_ms is not None:
            times_ms = np.concatenate([self.times_ms.astype(np.float64), others.times_ms])
        numbers = map(np.concatenate, zip(self.numbers, others.numbers, strict=True))
        return Fields(ids, times_ms, list(numbers)).take(order)
