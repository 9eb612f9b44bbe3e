"""Shards forget idle series: memory and snapshots stay as small as what is alive."""

from __future__ import annotations

from typing import Any

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

import ewma_ops.operators as ew
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings, SmoothedReading
from ewma_ops.operators.placement import shard_keys
from ewma_ops.operators.routing import route
from ewma_ops.operators.shards import BatchShard, Tables, flush
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet

COUNT = Smoothing(Decay(beta=0.5))
A_ROUND = 20_000
ROUNDS = 10


def run_of(round_number: int, *, clocked: bool) -> Readings:
    """Return readings of series that come in this round and in no other, and of one that stays."""
    ids = [f"{round_number}-{i}" for i in range(A_ROUND)] + ["stays"]
    first_ms = round_number * 10_000
    times = np.linspace(first_ms, first_ms + 5_000, len(ids)).astype(np.int64)
    origins = Origins(np.zeros(len(ids), np.int32), np.arange(len(ids)) + round_number * len(ids))
    values = np.full(len(ids), float(round_number))
    return Readings(ids, values, times, origins, clocks_ms=times if clocked else None)


@pytest.mark.slow
@pytest.mark.parametrize("clocked", [True, False], ids=["partition", "own times"])
def test_series_that_come_once_take_no_more_room_with_time(*, clocked: bool) -> None:
    tables = Tables(SmoothingSet.of(COUNT, forget_after="1s"), 4)
    logics = {key: BatchShard(tables, None) for key in shard_keys(4)}
    series, snapshot_bytes, newest = [], [], []
    for round_number in range(ROUNDS):
        dealt = route([run_of(round_number, clocked=clocked)], 4)
        due: list[Any] = []
        for key, batch in dealt:
            due += [(key, pending) for pending in logics[key].on_batch([batch])[0]]
        newest += [smoothed.statistics["mean"][-1] for smoothed in flush(due)]
        snapshot_bytes.append(sum(len(logic.snapshot()) for logic in logics.values()))
        worker_table = tables.maybe_worker_table()
        assert worker_table is not None
        series.append(len(worker_table.table))
    assert max(series) <= 3 * A_ROUND
    assert max(snapshot_bytes[4:]) <= 1.01 * max(snapshot_bytes[:4])
    # What stays begins anew after each pause of five seconds.
    assert newest == [float(i) for i in range(ROUNDS)]


def test_shards_that_resume_forget_what_their_snapshots_hold() -> None:
    smoothing_set = SmoothingSet.of(COUNT, forget_after="1s")
    tables = Tables(smoothing_set, 1)
    logic = BatchShard(tables, None)
    for _, batch in route([run_of(0, clocked=True)], 1):
        list(logic.on_batch([batch])[0])
    again = Tables(smoothing_set, 1)
    resumed = BatchShard(again, logic.snapshot())
    for round_number in (1, 2):
        for key, batch in route([run_of(round_number, clocked=True)], 1):
            flush([(key, pending) for pending in resumed.on_batch([batch])[0]])
    worker_table = again.maybe_worker_table()
    assert worker_table is not None
    assert "0-0" not in worker_table.table
    assert f"2-{A_ROUND - 1}" in worker_table.table


def test_values_of_any_flow_begin_anew_after_a_silence() -> None:
    flow, out = Dataflow("forgets"), list[tuple[str, SmoothedReading]]()
    items: list[Any] = [("a", (0, 1.0)), ("a", (1_000, 3.0)), ("a", (2_001, 9.0))]
    up = op.input("in", flow, TestingSource(items))
    op.output("out", ew.smooth("smooth", up, COUNT, forget_after="1s"), TestingSink(out))
    run_main(flow)
    means = [reading.ewma for _, reading in out]
    assert means == [1.0, pytest.approx(7 / 3), 9.0]
