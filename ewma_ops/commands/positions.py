"""Positions in the input, kept by ``ewma verify``: those without a counterpart, and the newest.

Knows arrays; must not know topics, nor what is at a position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.origins import alike, unpacked

__all__ = ["Offsets", "Order", "Pending", "Positions", "shown"]

Offsets = NDArray[np.int64]
Positions = NDArray[Any]
"""Offsets, or offsets with ordinals: a column that `packed` made."""


class Pending:
    """Positions of one input partition without their counterpart: sorted, with a digest each.

    A position is an offset and an ordinal, in a column as `packed` makes it.
    """

    def __init__(self) -> None:
        self.positions: Positions = np.empty(0, np.int64)
        self.digests: Offsets = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.positions)

    def add(self, positions: Positions, digests: Offsets) -> None:
        """Add positions that come after all others, with a digest each."""
        ours, theirs = alike(self.positions, positions)
        self.positions = np.concatenate([ours, theirs])
        self.digests = np.concatenate([self.digests, digests])

    def find(self, positions: Positions) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the place of each, and whether it is there; a repeated one counts once."""
        if not len(self):
            return np.zeros(len(positions), np.intp), np.zeros(len(positions), np.bool_)
        ours, theirs = alike(self.positions, positions)
        places = np.minimum(np.searchsorted(ours, theirs), len(ours) - 1)
        first = np.zeros(len(theirs), np.bool_)
        first[np.unique(theirs, return_index=True)[1]] = True
        return places, first & (ours[places] == theirs)

    def remove(self, places: NDArray[np.intp]) -> None:
        """Remove the positions at some places."""
        stays = np.ones(len(self), np.bool_)
        stays[places] = False
        self.positions, self.digests = self.positions[stays], self.digests[stays]


class Order:
    """The newest event of each series."""

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._newest: Offsets = np.empty(0, np.int64)
        self._ordinals: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._home = np.empty(0, np.int64)
        self.spread: set[int] = set()

    def check(self, partition: int, keys: list[bytes], positions: Positions) -> NDArray[np.bool_]:
        """Return which events came after a later one of their series."""
        rows = self._rows
        row = np.fromiter((rows.setdefault(key, len(rows)) for key in keys), np.intp, len(keys))
        self._grow()
        home = self._home[row]
        self.spread.update(row[(home != partition) & (home >= 0)].tolist())
        newest = np.where(home == partition, self._newest[row], -1)
        order = np.argsort(row, kind="stable")
        offsets, ordinals = unpacked(positions[order])
        ordinals = np.zeros(len(order), np.uint64) if ordinals is None else ordinals
        row = row[order]
        before, ordinals_before = np.roll(offsets, 1), np.roll(ordinals, 1)
        fresh = np.flatnonzero(np.append(True, row[1:] != row[:-1]))
        before[fresh] = newest[order[fresh]]
        ordinals_before[fresh] = self._ordinals[row[fresh]]
        late = np.empty(len(keys), np.bool_)
        late[order] = (offsets < before) | ((offsets == before) & (ordinals <= ordinals_before))
        self._note_newest(partition, row, offsets, ordinals)
        return late

    def _note_newest(
        self,
        partition: int,
        row: NDArray[np.intp],
        offsets: Offsets,
        ordinals: NDArray[np.uint64],
    ) -> None:
        """Note the last event of each series, and where its readings are."""
        order = np.lexsort((ordinals, offsets, row))
        lasts = order[np.append(row[order][1:] != row[order][:-1], True)]
        row, offsets, ordinals = row[lasts], offsets[lasts], ordinals[lasts]
        newest, ordinal = self._newest[row], self._ordinals[row]
        later = (offsets > newest) | ((offsets == newest) & (ordinals > ordinal))
        row = row[later]
        self._newest[row], self._ordinals[row] = offsets[later], ordinals[later]
        self._home[row] = partition

    def _grow(self) -> None:
        missing = len(self._rows) - len(self._newest)
        if missing > 0:
            room = max(missing, len(self._rows) // 4)
            self._newest = np.append(self._newest, np.full(room, -1))
            self._ordinals = np.append(self._ordinals, np.zeros(room, np.uint64))
            self._home = np.append(self._home, np.full(room, -1))


def shown(position: Positions) -> str:
    """Return an offset, and which reading of the message it is where there are several."""
    offsets, ordinals = unpacked(position)
    return f"{offsets[0]}" if ordinals is None else f"{offsets[0]}/{ordinals[0]}"
