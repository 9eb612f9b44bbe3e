"""The series of each shard: their rows in the table, and their ids in the form of a snapshot.

Knows ids, hashes and rows; must not know state, streams or Bytewax.

The row and the id of a series never change. So series are assigned to shards and their ids packed
once, thousands of new series at a time as they arrive: a snapshot only joins the packed blocks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import TextColumn, copy_into
from ewma_ops.columns.murmur2 import partition_for
from ewma_ops.table.snapshots import PackedIds, packed

__all__ = ["ShardMembers", "ShardSeries", "shard_of"]

_BLOCK_BYTES = 16 << 10
"""Ids are compressed in blocks of at least this many bytes."""


class ShardSeries(NamedTuple):
    """The series of one shard in order of arrival: intp[n] rows, and ids."""

    rows: NDArray[np.intp]
    ids: PackedIds


def shard_of(hashes: NDArray[np.uint32], shards: int) -> NDArray[np.uint16]:
    """Return the shard of each series, as if it were Kafka's partition of its id."""
    return partition_for(hashes, shards).astype(np.uint16)


class ShardMembers:
    """The series of each of ``shards`` shards."""

    def __init__(self, shards: int) -> None:
        self.known = 0
        self._shard_ids = [_ShardIds() for _ in range(shards)]

    def add(self, ids: TextColumn, hashes: NDArray[np.uint32]) -> None:
        """Assign the series of the next rows to shards, about 200 ns each."""
        shards = shard_of(hashes, len(self._shard_ids))
        order = np.argsort(shards, kind="stable")
        # Ids are read in the order of memory, and written where the block of their shard starts.
        sizes = ids.utf8.sizes
        ends = np.append(0, np.cumsum(sizes[order]))
        at = np.empty(len(sizes), np.int64)
        at[order] = ends[:-1]
        laid_out = np.empty(int(ends[-1]), np.uint8)
        copy_into(laid_out, at, ids.utf8)
        bounds = np.append(0, np.bincount(shards, minlength=len(self._shard_ids)).cumsum())
        for one, (start, stop) in zip(self._shard_ids, pairwise(bounds.tolist()), strict=True):
            if start < stop:
                own = order[start:stop]
                utf8 = laid_out[ends[start] : ends[stop]].tobytes()
                one.add(self.known + own, PackedIds.narrow(sizes[own]), utf8)
        self.known += len(ids)

    def add_to(self, shard: int, ids: PackedIds) -> None:
        """Add the series of a snapshot, which are all of one shard."""
        first, self.known = self.known, self.known + len(ids.sizes)
        self._shard_ids[shard].add_packed(np.arange(first, self.known), ids)

    def of(self, shard: int) -> ShardSeries:
        """Return the series of a shard."""
        return self._shard_ids[shard].series()


class _ShardIds:
    """The series of one shard, in pieces as they arrived."""

    def __init__(self) -> None:
        self._rows: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
        self._sizes: list[NDArray[np.unsignedinteger[Any]]] = [np.empty(0, np.uint8)]
        self._blocks: list[bytes] = []
        self._last = b""

    def add(
        self, rows: NDArray[np.intp], sizes: NDArray[np.unsignedinteger[Any]], utf8: bytes
    ) -> None:
        self._rows.append(rows)
        self._sizes.append(sizes)
        self._last += utf8
        if len(self._last) >= _BLOCK_BYTES:
            self._seal()

    def add_packed(self, rows: NDArray[np.intp], ids: PackedIds) -> None:
        self._seal()
        *sealed, last = ids.blocks
        self._blocks += sealed
        self.add(rows, ids.sizes, ids._replace(blocks=(last,)).utf8())

    def _seal(self) -> None:
        if self._last:
            self._blocks.append(packed(self._last))
            self._last = b""

    def series(self) -> ShardSeries:
        self._rows, self._sizes = _in_one(self._rows), _in_one(self._sizes)
        blocks = (*self._blocks, packed(self._last, small=False))
        return ShardSeries(self._rows[0], PackedIds(blocks, self._sizes[0]))


def _in_one(columns: list[NDArray[Any]]) -> list[NDArray[Any]]:
    return columns if len(columns) == 1 else [np.concatenate(columns)]
