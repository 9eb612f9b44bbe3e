"""Shards on one worker share a table, and nobody can tell."""

from __future__ import annotations

import gc
import pickle
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from hypothesis import given
from hypothesis import strategies as st

import ewma_ops.operators as ew
from ewma_ops.columns.murmur2 import murmur2_column, partition_for
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.errors import StateError
from ewma_ops.operators import shards
from ewma_ops.operators.placement import shard_keys
from ewma_ops.operators.routing import ShardBatch, route
from ewma_ops.operators.shards import BatchShard, PendingBatch, ShardState, Tables, flush
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

SMOOTHING_SET = SmoothingSet.of(Smoothing(Decay(beta=0.5)))
IDS = [f"s{i % 50}" for i in range(400)]


def run_of(n: int = 400, first: int = 0) -> Readings:
    values = np.random.default_rng(first).normal(20, 5, n)
    origins = Origins(np.zeros(n, np.int32), np.arange(first, first + n))
    return Readings(IDS[:n], values, origins=origins)


class Worker:
    """What Bytewax does on one worker, for all shards or some."""

    def __init__(self, shards: int = 4, states: tuple[ShardState, ...] = ()) -> None:
        self.tables = Tables(SMOOTHING_SET, shards)
        self.logics = {state.shard: BatchShard(self.tables, state.sealed()) for state in states}

    def on_batch(self, pieces: list[ShardBatch]) -> list[tuple[str, PendingBatch]]:
        due: list[tuple[str, PendingBatch]] = []
        for shard in sorted({piece.shard for piece in pieces}):
            logic = self.logics.setdefault(shard, BatchShard(self.tables, None))
            own = [piece for piece in pieces if piece.shard == shard]
            due += [(str(shard), one) for one in logic.on_batch(own)[0]]
        return due

    def take_in(self, pieces: list[ShardBatch]) -> list[Smoothed]:
        return list(flush(self.on_batch(pieces)))

    def snapshots(self) -> tuple[ShardState, ...]:
        return tuple(ShardState.opened(logic.snapshot()) for logic in self.logics.values())


def pieces_of(run: Readings, *, all_here: bool = False) -> list[ShardBatch]:
    return [piece for _, piece in route([run], 4, all_here=all_here)]


def means(smoothed: list[Smoothed]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in smoothed:
        column = one.statistics["mean"].tolist()
        for series_id, mean in zip(one.readings.series_ids, column, strict=True):
            found.setdefault(series_id, []).append(mean)
    return found


def expected(*runs: Readings) -> dict[str, list[float]]:
    table = SeriesTable(SMOOTHING_SET)
    return means([table.update(run) for run in runs])


def test_a_run_that_meets_again_is_the_run_that_was_dealt() -> None:
    run = run_of()
    [smoothed] = Worker().take_in(pieces_of(run))
    assert smoothed.readings.series_ids is run.series_ids
    assert means([smoothed]) == expected(run)


def test_each_shard_gets_the_readings_of_its_hash() -> None:
    run = run_of()
    shard_of = partition_for(murmur2_column(run.series_ids), 4).tolist()
    for key, piece in route([run], 4):
        assert key == shard_keys(4)[piece.shard]
        ids = [i for i, n in zip(run.series_ids, shard_of, strict=True) if n == piece.shard]
        assert piece.run.of([piece.shard]).series_ids == ids


@pytest.mark.parametrize("n", [3, 200])
def test_a_run_wakes_only_the_shards_that_it_has_readings_for(n: int) -> None:
    run = Readings(IDS[:3] * n, np.ones(3 * n))
    assert {piece.shard for _, piece in route([run], 64)} == set(
        partition_for(murmur2_column(run.series_ids), 64).tolist()
    )


@pytest.mark.parametrize("told", [True, False])
def test_runs_enter_in_their_order_where_a_short_one_leaves_shards_out(*, told: bool) -> None:
    short = run_of(3, first=400)
    runs = [run_of(), short.take(np.flatnonzero(murmur2_column(IDS[:3]) % 4)), run_of(first=403)]
    runs = runs if told else [replace(run, origins=None) for run in runs]
    assert shard_keys(4)[0] not in dict(route([runs[1]], 4))
    assert means(Worker().take_in([p for run in runs for p in pieces_of(run)])) == expected(*runs)


@pytest.mark.parametrize("lengths", [(9_000, 7, 9_000, 3, 9_000), (100, 5, 9_000, 1, 200)])
def test_runs_of_any_lengths_enter_in_their_order(lengths: tuple[int, ...]) -> None:
    draw = np.random.default_rng(3)
    runs = [
        Readings([f"s{i}" for i in draw.integers(0, 200, n)], draw.normal(size=n)) for n in lengths
    ]
    out: list[Smoothed] = []
    flow = Dataflow("flow")
    up = op.input("in", flow, TestingSource(runs, batch_size=len(runs)))
    op.output("out", ew.smooth_batches("smooth", up, SMOOTHING_SET), TestingSink(out))
    run_main(flow)
    assert means(out) == expected(*runs)


def test_pieces_travel_between_processes() -> None:
    first, second = run_of(), run_of(first=400)
    worker = Worker()
    found: list[Smoothed] = []
    for run in (first, second):
        found += worker.take_in([pickle.loads(pickle.dumps(piece)) for piece in pieces_of(run)])
    assert means(found) == expected(first, second)


@pytest.mark.parametrize("n", [3, 5, 400])
def test_a_piece_is_pickled_alike_each_time(n: int) -> None:
    """Bytewax pickles it to measure it, and again to send it: else the receiver is lost."""
    for piece in pieces_of(run_of(n)):
        assert pickle.dumps(piece) == pickle.dumps(piece)
        assert piece.__reduce__()[1][0] is piece.__reduce__()[1][0]  # made once


def test_a_run_is_not_looked_into_where_all_shards_are_here() -> None:
    alone, half, run = Worker(), Worker(), run_of()
    assert not alone.tables.all_here()
    alone.take_in(pieces_of(run))
    half.take_in([piece for piece in pieces_of(run) if piece.shard % 2])
    assert alone.tables.all_here()
    assert not half.tables.all_here()
    for all_here in (True, False):
        pieces = pieces_of(run, all_here=all_here)
        assert [piece.shard for piece in pieces] == [0, 1, 2, 3]
        assert (pieces[0].run.readings is run) == all_here


def test_two_workers_of_one_process_share_runs_not_tables() -> None:
    first, second = run_of(), run_of(first=400)
    workers, found = (Worker(), Worker()), []
    for run in (first, second):
        for i, worker in enumerate(workers):
            found += worker.take_in([p for p in pieces_of(run) if p.shard % 2 == i])
    assert means(found) == expected(first, second)
    assert sum(len(state.series.ids.sizes) for w in workers for state in w.snapshots()) == 50


def test_shards_come_back_together_on_another_number_of_workers() -> None:
    first, second = run_of(), run_of(first=400)
    whole = Worker()
    found = whole.take_in(pieces_of(first))
    states = pickle.loads(pickle.dumps(whole.snapshots()))
    for i in range(2):
        worker = Worker(states=tuple(state for state in states if state.shard % 2 == i))
        found += worker.take_in([p for p in pieces_of(second) if p.shard % 2 == i])
    assert means(found) == expected(first, second)


def test_a_shard_without_a_series_comes_back_alone() -> None:
    run = Readings(["a"] * 400, np.ones(400))
    worker = Worker()
    worker.take_in(pieces_of(run, all_here=True))
    states = {len(state.series.ids.sizes): state for state in worker.snapshots()}
    assert set(states) == {0, 1}
    [again] = Worker(states=(states[0],)).snapshots()
    assert (again.shard, len(again.series.ids.sizes)) == (states[0].shard, 0)


def test_a_snapshot_holds_what_was_put_by_and_loses_no_output() -> None:
    run = run_of()
    worker = Worker()
    due = worker.on_batch(pieces_of(run))
    states = worker.snapshots()
    assert sum(len(state.series.ids.sizes) for state in states) == 50
    assert means(list(flush(due))) == expected(run)
    assert list(flush(due)) == []


@pytest.mark.parametrize("how", ["whole", "pieces"])
def test_a_reading_that_the_state_has_taken_in_is_refused(how: str) -> None:
    worker = Worker()
    worker.take_in(pieces_of(run_of()))
    resumed = Worker(states=worker.snapshots())
    late = pieces_of(run_of(first=399))
    if how == "pieces":
        late = [pickle.loads(pickle.dumps(piece)) for piece in late]
    with pytest.raises(StateError, match="offset 399 of input partition 0 came after 399"):
        resumed.take_in(late)


def mixed(partitions: list[int], offsets: list[int]) -> Readings:
    origins = Origins(np.array(partitions, np.int32), np.array(offsets))
    return Readings(IDS[: len(offsets)], np.ones(len(offsets)), origins=origins)


def test_positions_are_compared_within_a_partition_however_they_are_mixed() -> None:
    worker = Worker()
    worker.take_in(pieces_of(mixed([0, 2, 0, 2, 0], [10, 5, 11, 6, 15])))
    worker.take_in(pieces_of(mixed([1, 2, 0], [0, 7, 16])))
    for partitions, offsets, told in [
        ([1, 2, 0], [1, 7, 17], "offset 7 of input partition 2 came after 7"),
        ([1, 0, 1], [3, 18, 2], "offset 2 of input partition 1 came after 3"),
        ([0], [9], "offset 9 of input partition 0 came after 16"),
    ]:
        resumed = Worker(states=worker.snapshots())
        with pytest.raises(StateError, match=told):
            resumed.take_in(pieces_of(mixed(partitions, offsets)))


def test_readings_of_one_message_have_ordinals_and_repeat_its_offset() -> None:
    worker = Worker()
    run = mixed([0, 1, 0, 0, 1], [10, 5, 10, 10, 6])
    assert run.origins is not None
    with pytest.raises(StateError, match="offset 10 of input partition 0 came after 10"):
        Worker().take_in(pieces_of(run))
    for ordinals, told in [([0, 0, 1, 7, 0], ""), ([0, 0, 2, 2, 0], "10 of input partition 0")]:
        column = np.array(ordinals, np.uint64)
        several = replace(run, origins=run.origins._replace(ordinals=column))
        if told:
            with pytest.raises(StateError, match=told):
                Worker().take_in(pieces_of(several))
        else:
            worker.take_in(pieces_of(several))
            resumed = Worker(states=worker.snapshots())
            with pytest.raises(StateError, match="offset 10 of input partition 0 came after 10"):
                resumed.take_in(pieces_of(several))


@pytest.mark.slow
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 2)), max_size=8),
        max_size=4,
    ),
    st.booleans(),
)
def test_few_readings_are_compared_one_by_one_as_many_are(
    runs: list[list[tuple[int, int, int]]], numbered: bool
) -> None:
    told = []
    for few in (0, 100):
        table = shards._WorkerTable(SmoothingSet.of(Smoothing(Decay(beta=0.5)), 1, None), 4, None)
        outcome: list[object] = []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(shards, "_FEW_READINGS", few)
            for run in (run for run in runs if run):
                partitions, offsets, ordinals = map(np.array, zip(*run, strict=True))
                column = ordinals.astype(np.uint64) if numbered else None
                origins = Origins(partitions.astype(np.int32), offsets, column)
                try:
                    table._refuse_repeats(origins, [0, 2])
                except StateError as error:
                    outcome.append(str(error))
        newest = {p: column.tolist() for p, column in table._newest.items()}
        outcome.append({p: column for p, column in newest.items() if max(column) >= 0})
        told.append(outcome)
    assert told[0] == told[1]


def test_a_state_that_holds_a_series_twice_is_refused() -> None:
    worker = Worker()
    worker.take_in(pieces_of(run_of()))
    first, second, *_ = worker.snapshots()
    with pytest.raises(StateError, match="a series is in the state twice"):
        Worker(states=(first, second._replace(series=first.series)))


@pytest.mark.parametrize("batch_size", [1, 400])
def test_a_flow_that_is_run_again_begins_anew(batch_size: int) -> None:
    items = [("a", 1.0), ("b", 4.0), ("a", 4.0)] * 100
    out: list[Any] = []
    flow = Dataflow("flow")
    up = op.input("in", flow, TestingSource(items, batch_size=batch_size))
    smoothing = Smoothing(Decay(beta=0.5), statistics=["mean", "count"])
    op.output("out", ew.smooth("smooth", up, smoothing), TestingSink(out))
    run_main(flow)
    first = list(out)
    out.clear()
    run_main(flow)
    assert out == first
    assert max(reading.statistics["count"] for _, reading in out) == 200.0


@pytest.mark.parametrize("resumed", [False, True])
def test_the_shards_of_a_worker_share_a_table_whenever_they_come(
    tmp_path: Path, *, resumed: bool
) -> None:
    """Bytewax's own threads are strangers to Python at each call: nothing local to them stays."""
    runs = [*(run_of(3, 3 * i) for i in range(30)), run_of(400, 90)]
    out: list[Smoothed] = []
    flow = Dataflow("flow")
    source: list[Any] = [*runs, TestingSource.ABORT(), run_of(400, 490)] if resumed else runs
    up = op.input("in", flow, TestingSource(source))
    smoothed = ew.smooth_batches("smooth", up, Smoothing(Decay(beta=0.5)))
    op.output("out", smoothed, TestingSink(out))
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))
    options: dict[str, Any] = {"epoch_interval": timedelta(0), "recovery_config": recovery}
    cluster_main(flow, [], 0, **options)
    if resumed:
        out.clear()
        cluster_main(flow, [], 0, **options)
    assert max(map(len, out)) == 400


def test_the_table_goes_with_the_last_shard() -> None:
    worker = Worker()
    worker.take_in(pieces_of(run_of()))
    tables = worker.tables
    del worker
    gc.collect()
    assert tables.maybe_worker_table() is None
