"""Where Bytewax puts shards: what is read on a worker is kept on it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import cluster_main
from numpy.typing import NDArray

from ewma_ops.columns.murmur2 import murmur2, partition_for
from ewma_ops.connectors.parts import part_key
from ewma_ops.operators.placement import placed_by, shard_keys

SHARDS = 48


def test_keys_are_what_recovery_stores_have() -> None:
    assert shard_keys(16)[:3] == ("0000-aax", "0001-deq", "0002-cbh")
    assert shard_keys(1024)[:16] == shard_keys(16)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16])
def test_shards_go_to_the_workers_in_turn(workers: int) -> None:
    keys = shard_keys(1024)
    assert len(set(keys)) == 1024
    assert [placed_by(key) % workers for key in keys] == [n % workers for n in range(1024)]


class _Seen:
    """Which thread, and so which worker, has each part and each key."""

    def __init__(self) -> None:
        self.sources: dict[int, int] = {}
        self.shards: dict[int, int] = {}
        self.sinks: dict[int, int] = {}


class _Source(FixedPartitionedSource[Any, None]):
    """Every part yields every shard's key once."""

    def __init__(self, parts: int, seen: _Seen) -> None:
        self.parts, self.seen = parts, seen

    def list_parts(self) -> list[str]:
        return [part_key(n) for n in range(self.parts)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _SourcePart:
        self.seen.sources[int(for_part)] = threading.get_ident()
        return _SourcePart()


class _SourcePart(StatefulSourcePartition[Any, None]):
    def __init__(self) -> None:
        self.left = [list(enumerate(shard_keys(SHARDS)))]

    def next_batch(self) -> list[tuple[str, int]]:
        if not self.left:
            raise StopIteration
        return [(key, shard) for shard, key in self.left.pop()]

    def snapshot(self) -> None:
        pass


class _Logic(StatefulBatchLogic[int, int, None]):
    def __init__(self, seen: _Seen) -> None:
        self.seen = seen

    def on_batch(self, values: list[int]) -> tuple[Iterable[int], bool]:
        self.seen.shards[values[0]] = threading.get_ident()
        return values, StatefulBatchLogic.RETAIN

    def snapshot(self) -> None:
        pass


class _Sink(FixedPartitionedSink[int, None]):
    def __init__(self, parts: int, seen: _Seen) -> None:
        self.parts, self.seen = parts, seen

    def list_parts(self) -> list[str]:
        return [part_key(n) for n in range(self.parts)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _SinkPart:
        self.seen.sinks[int(for_part)] = threading.get_ident()
        return _SinkPart()


class _SinkPart(StatefulSinkPartition[int, None]):
    def write_batch(self, values: list[int]) -> None:
        pass

    def snapshot(self) -> None:
        pass


@pytest.mark.parametrize(("workers", "parts"), [(2, 4), (3, 12), (4, 64)])
def test_bytewax_places_partitions_and_shards_alike(workers: int, parts: int) -> None:
    """An upgrade of Bytewax could move them: then readings move, and no result would tell."""
    seen, flow = _Seen(), Dataflow("placed")
    keyed = op.input("in", flow, _Source(parts, seen))
    shards = op.stateful_batch("shards", keyed, lambda _: _Logic(seen))
    to_parts = op.map("to-parts", shards, lambda item: (part_key(item[1] % parts), item[1]))
    op.output("out", to_parts, _Sink(parts, seen))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    worker_of = [seen.sources[n] for n in range(workers)]
    assert len(set(worker_of)) == workers
    for places in (seen.sources, seen.shards, seen.sinks):
        assert {n: worker_of[n % workers] for n in places} == places
    for series_id in (f"sensor-{i}" for i in range(50)):
        partition = partition_for(_hash(series_id), parts).item()
        shard = partition_for(_hash(series_id), SHARDS).item()
        assert seen.sources[partition] == seen.shards[shard]


def _hash(series_id: str) -> NDArray[np.uint32]:
    return np.array([murmur2(series_id.encode())], np.uint32)
