"""What a plan promises: workers with room, state as a table really has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError
from ewma_ops.job.capacity import StateSizes, plan, state_sizes
from ewma_ops.operators.placement import placed_by, shard_keys
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

SIZES = StateSizes(85.0, 35.0)


@given(rate=st.integers(1, 15_000_000), series=st.integers(1, 10**9))
def test_a_plan_has_room_and_is_aligned(rate: int, series: int) -> None:
    found = plan(rate, series, SIZES)
    assert 0 < found.busy <= 0.5
    assert found.cores == pytest.approx(found.busy * found.workers)
    assert found.partitions % found.workers == found.shards % found.workers == 0
    assert 16 <= found.shards <= 1024
    for workers in (found.workers, 2 * found.workers, 4 * found.workers):
        assert found.partitions % workers == found.shards % workers == 0


def test_workers_are_of_a_number_for_which_keys_are_placed() -> None:
    planned = {plan(rate, 10**6, SIZES).workers for rate in range(10_000, 20_000_000, 100_000)}
    assert planned >= {1, 2, 3, 4, 5, 6, 8, 16}
    keys = shard_keys(48)
    for workers in planned:
        assert all(placed_by(key) % workers == n % workers for n, key in enumerate(keys))


def test_more_readings_or_series_never_need_less() -> None:
    for series in (1_000, 10**6, 10**8):
        cores = [plan(rate, series, SIZES).cores for rate in (1_000, 10**5, 10**6, 10**7)]
        assert cores == sorted(cores)
    per_message = [plan(1_000, series, SIZES).cores for series in (1, 10**3, 10**5, 10**7, 10**9)]
    assert per_message == sorted(per_message)
    assert per_message[-1] > per_message[0]


def test_a_rate_beyond_all_workers_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="split the topic over several jobs"):
        plan(10**9, 1_000, SIZES)


def test_disk_follows_the_interval() -> None:
    often, seldom = (plan(1_000, 10**6, SIZES, interval_s) for interval_s in (1.0, 100.0))
    assert often.snapshot_mb == seldom.snapshot_mb == 35.0
    assert (often.written_mb_s, seldom.written_mb_s) == (35.0, 0.35)


def test_sizes_are_those_of_a_table() -> None:
    mean = Smoothing(Decay(beta=0.9))
    sizes = state_sizes(SmoothingSet.of(mean))
    table = SeriesTable(mean)
    ids = [f"{i:016d}" for i in range(20_000)]
    table.update(Readings(ids, np.ones(20_000)))
    assert sizes.memory == pytest.approx(table.nbytes / 20_000, rel=0.3)
    scatter = Smoothing(Decay(halflife="1min"), statistics=["mean", "std", "rate"])
    more = state_sizes(SmoothingSet.of(scatter))
    assert more.memory > sizes.memory
    assert more.snapshot > sizes.snapshot
    longer = state_sizes(SmoothingSet.of(mean), id_bytes=116)
    assert longer.snapshot == pytest.approx(sizes.snapshot + 100, abs=1)


def test_fields_and_volumes_are_counted() -> None:
    by_volume = Smoothing(Decay(beta=0.9), weighting="volume")
    two = state_sizes(SmoothingSet.of(by_volume, ["bid", "ask"]))
    assert two.memory > state_sizes(SmoothingSet.of(by_volume)).memory
