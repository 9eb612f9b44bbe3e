"""Series are told apart once, in whatever portions they come."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import TextColumn
from ewma_ops.columns.murmur2 import murmur2, murmur2_column
from ewma_ops.errors import StateError
from ewma_ops.operators.shard_members import ShardMembers
from ewma_ops.table.snapshots import PackedIds

SHARDS = 5


def ids_of(members: ShardMembers, shard: int) -> list[str]:
    ids = members.of(shard).ids
    utf8, ends = ids.utf8(), ids.sizes.cumsum().tolist()
    return [utf8[start:end].decode() for start, end in pairwise([0, *ends])]


@given(
    ids=st.lists(st.text(min_size=1, max_size=40), unique=True, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_each_series_is_of_the_shard_of_its_hash_however_they_came(
    ids: list[str], cuts: list[int]
) -> None:
    members = ShardMembers(SHARDS)
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    for start, stop in pairwise(bounds):
        if start < stop:
            part = ids[start:stop]
            members.add(TextColumn.of(part), murmur2_column(part))
    assert members.known == len(ids)
    for shard in range(SHARDS):
        rows = [
            row
            for row, one in enumerate(ids)
            if (murmur2(one.encode()) & 0x7FFFFFFF) % SHARDS == shard
        ]
        assert members.of(shard).rows.tolist() == rows
        assert ids_of(members, shard) == [ids[row] for row in rows]


def test_what_comes_out_of_a_snapshot_takes_the_next_rows() -> None:
    members = ShardMembers(2)
    members.add(TextColumn.of(["a", "b", "c"]), np.array([0, 1, 2], np.uint32))
    members.add_to(1, PackedIds.plain(b"ddee", np.array([2, 2], np.uint32)))
    members.add(TextColumn.of(["f"]), np.array([1], np.uint32))
    assert members.of(0).rows.tolist() == [0, 2]
    assert members.of(1).rows.tolist() == [1, 3, 4, 5]
    assert ids_of(members, 1) == ["b", "dd", "ee", "f"]


@pytest.mark.parametrize("shard", [0, 3])
def test_a_shard_without_series_has_none(shard: int) -> None:
    members = ShardMembers(4)
    members.add(TextColumn.of(["a"]), np.array([1], np.uint32))
    rows, ids = members.of(shard)
    assert rows.tolist() == ids.sizes.tolist() == []
    assert (rows.dtype.kind, ids.utf8()) == ("i", b"")


def test_ids_are_packed_by_the_block_and_go_on_from_there_after_a_snapshot() -> None:
    first, second = ([f"sensor-{i:06}" for i in range(at, at + 3_000)] for at in (0, 3_000))
    members, again = ShardMembers(1), ShardMembers(1)
    for ids in (first, ["a"], second, ["b"]):
        members.add(TextColumn.of(ids), murmur2_column(ids))
    packed = members.of(0).ids
    assert len(packed.blocks) == 3
    assert sum(map(len, packed.blocks)) < len(packed.utf8()) / 2
    assert ids_of(members, 0) == [*first, "a", *second, "b"]
    again.add(TextColumn.of(["z"]), murmur2_column(["z"]))
    again.add_to(0, packed)
    again.add(TextColumn.of(["c"]), murmur2_column(["c"]))
    assert ids_of(again, 0) == ["z", *first, "a", *second, "b", "c"]
    assert again.of(0).ids.blocks[1:3] == packed.blocks[:2]


def test_damaged_ids_are_refused() -> None:
    ids = PackedIds.plain(b"ab", np.array([1, 1], np.uint32))
    damaged = ids._replace(blocks=(ids.blocks[0][:-1] + b"?",))
    with pytest.raises(StateError, match="cannot be unpacked"):
        damaged.utf8()
