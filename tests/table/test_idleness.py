"""Idle series begin anew, as a few lines define it, however readings are cut and freed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

NAN = math.nan
WEEK_MS = 7 * 86_400_000
COUNT = Smoothing(Decay(beta=0.5), statistics=["mean", "count"])
TIME = Smoothing(Decay(halflife="1d"), statistics=["mean", "n_eff", "count"])
LATE = Smoothing(Decay(beta=0.9), late="skip", max_lateness="1d", statistics=["mean", "count"])
SMOOTHINGS = [COUNT, TIME, LATE]


class Arrival(NamedTuple):
    """One reading, in order of arrival within its partition."""

    series_id: str
    partition: int
    time_ms: int
    value: float


def by_definition(
    arrivals: Sequence[Arrival], smoothing: Smoothing, forget_after_ms: int, *, clocked: bool
) -> list[tuple[float, ...]]:
    """Smooth with a new id for each life of a series, in a table that forgets nothing."""
    table = SeriesTable(smoothing)
    clock: dict[int, int] = {}
    newest: dict[str, int] = {}
    lives: dict[str, int] = {}
    results = []
    for series_id, partition, time_ms, value in arrivals:
        clock[partition] = max(time_ms, clock.get(partition, time_ms))
        now = clock[partition] if clocked else time_ms
        if series_id in newest and now - newest[series_id] > forget_after_ms:
            lives[series_id] = lives.get(series_id, 0) + 1
            del newest[series_id]
        if value == value:
            newest[series_id] = max(time_ms, newest.get(series_id, time_ms))
        life = f"{series_id} {lives.get(series_id, 0)}"
        results.append(table.step(life, value, time_ms))
    return results


def columns(arrivals: Sequence[Arrival], clocks: dict[int, int]) -> Readings:
    """Return readings as a job has them; ``clocks`` moves on."""
    clocks_ms = []
    for one in arrivals:
        clocks[one.partition] = max(one.time_ms, clocks.get(one.partition, one.time_ms))
        clocks_ms.append(clocks[one.partition])
    ids, partitions, times, values = zip(*arrivals, strict=True)
    origins = Origins(np.array(partitions, np.int32), np.arange(len(ids)))
    return Readings(
        list(ids),
        np.array(values, np.float64),
        np.array(times, np.int64),
        origins=origins,
        clocks_ms=np.array(clocks_ms, np.int64),
    )


def rows(statistics: dict[str, Any]) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in statistics.values()), strict=True))


def bits(results: Sequence[tuple[float, ...]]) -> bytes:
    return np.array(results, np.float64).tobytes()


@st.composite
def streams(draw: st.DrawFn) -> list[Arrival]:
    """Draw readings of a few series, two to a partition; a clock may jump or stand still."""
    now = dict.fromkeys((0, 1), 0)
    arrivals = []
    for _ in range(draw(st.integers(1, 60))):
        series = draw(st.integers(0, 3))
        days = draw(st.sampled_from([0, 0, 1, 3, 7, 8, 20]))
        now[series % 2] += days * 86_400_000
        behind = draw(st.sampled_from([0, 0, 0, 1, 6, 7, 8])) * 86_400_000
        value = draw(st.sampled_from([1.0, 2.5, -3.0, NAN]))
        arrivals.append(Arrival(f"s{series}", series % 2, now[series % 2] - behind, value))
    return arrivals


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(streams(), st.sampled_from(SMOOTHINGS), st.data())
def test_no_bit_depends_on_the_cut_or_on_when_memory_is_freed(
    arrivals: list[Arrival], smoothing: Smoothing, data: st.DataObject
) -> None:
    expected = by_definition(arrivals, smoothing, WEEK_MS, clocked=True)
    table = SeriesTable(smoothing, forget_after="7d")
    found: list[tuple[float, ...]] = []
    clocks: dict[int, int] = {}
    at = 0
    while at < len(arrivals):
        n = data.draw(st.integers(1, len(arrivals) - at))
        found += rows(table.update(columns(arrivals[at : at + n], clocks)).statistics)
        at += n
        if data.draw(st.booleans()):
            table.free_idle()
        if data.draw(st.booleans()):
            table = SeriesTable(table.smoothing_set, table.snapshot())
    assert bits(found) == bits(expected)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("repeats", [1, 40], ids=["one by one", "by columns"])
def test_many_readings_at_once_come_to_the_same(smoothing: Smoothing, repeats: int) -> None:
    days = [0, 1, 2, 9, 10, 30, 31, 24, 25, 40]
    arrivals = [
        Arrival(f"s{i}", i % 3, day * 86_400_000, float(day + i))
        for day in days
        for i in range(repeats)
        if (day + i) % 4
    ]
    expected = by_definition(arrivals, smoothing, WEEK_MS, clocked=True)
    table = SeriesTable(smoothing, forget_after="7d")
    assert bits(rows(table.update(columns(arrivals, {})).statistics)) == bits(expected)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(streams(), st.sampled_from(SMOOTHINGS), st.data())
def test_without_a_partition_a_series_goes_by_its_own_times(
    arrivals: list[Arrival], smoothing: Smoothing, data: st.DataObject
) -> None:
    expected = by_definition(arrivals, smoothing, WEEK_MS, clocked=False)
    table = SeriesTable(smoothing, forget_after=timedelta(days=7))
    found: list[tuple[float, ...]] = []
    for one in arrivals:
        if data.draw(st.booleans()):
            found.append(table.step(one.series_id, one.value, one.time_ms))
        else:
            run = Readings.of([one.series_id], [one.value], [one.time_ms])
            found += rows(table.update(run).statistics)
    assert bits(found) == bits(expected)


def test_what_is_idle_is_freed_and_the_others_keep_their_bits() -> None:
    table = SeriesTable(COUNT, forget_after="1s")
    clocks: dict[int, int] = {}
    table.update(columns([Arrival("a", 0, 0, 1.0), Arrival("b", 1, 0, 1.0)], clocks))
    table.update(columns([Arrival("c", 0, 1_000, 1.0)], clocks))
    assert table.free_idle() == 0  # one second is not more than one second
    table.update(columns([Arrival("c", 0, 1_001, 3.0)], clocks))
    assert table.free_idle() == 1
    assert "a" not in table
    assert "b" in table  # no later reading of its partition is known
    twin = SeriesTable(COUNT)
    twin.update(Readings.of(["c", "c"], [1.0, 3.0]))
    assert table.step("c", 4.0, 1_500) == twin.step("c", 4.0)


def test_without_partitions_twice_the_time_passes_before_memory_is_freed() -> None:
    table = SeriesTable(COUNT, forget_after="1s")
    table.step("a", 1.0, 0)
    table.step("b", 1.0, 2_000)
    assert table.free_idle() == 0
    table.step("b", 1.0, 2_001)
    assert table.free_idle() == 1
    assert "a" not in table


def test_a_reading_that_is_refused_forgets_nothing() -> None:
    table = SeriesTable(COUNT, forget_after="1s")
    table.step("a", 1.0, 0)
    with pytest.raises(ReadingError, match="out of bounds"):
        table.step("a", math.inf, 10_000)
    twin = SeriesTable(COUNT)
    twin.step("a", 1.0)
    assert table.step("a", 3.0, 500) == twin.step("a", 3.0)


def test_readings_need_times() -> None:
    table = SeriesTable(COUNT, forget_after="1s")
    with pytest.raises(ReadingError, match="forget_after goes by time, but a reading has none"):
        table.step("a", 1.0)


@pytest.mark.parametrize(
    ("forget_after", "says"),
    [
        ("0s", "it must be at least 1 ms"),
        (timedelta(0), "it must be at least 1 ms"),
        ("soon", "forget_after: 'soon' is not a duration"),
        (7, "forget_after is 7: it must be a duration"),
        (timedelta(days=-1), "it must be a duration"),
    ],
)
def test_what_is_no_duration_is_refused(forget_after: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SmoothingSet.of(COUNT, forget_after=forget_after)


def test_a_snapshot_belongs_to_its_forget_after() -> None:
    one, other = (SmoothingSet.of(COUNT, forget_after=text) for text in ("1d", "2d"))
    assert one.fingerprint() != other.fingerprint()
    assert SmoothingSet.of(COUNT).fingerprint() in one.fingerprint()
