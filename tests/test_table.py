"""SeriesTable: growth, eviction, snapshots that fit and snapshots that are refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from ewma_ops.decay import Decay
from ewma_ops.errors import ConfigError, ReadingError, StateError
from ewma_ops.readings import Readings
from ewma_ops.smoothing import Smoothing
from ewma_ops.table import SeriesTable

HALF = Smoothing(Decay(beta=0.5))
BY_TIME = Smoothing(Decay(halflife="1s"))


def means(table: SeriesTable, readings: Readings) -> list[float]:
    column: list[float] = table.update(readings).statistics["mean"].tolist()
    return column


def test_the_worked_figures() -> None:
    table = SeriesTable(Smoothing(Decay(beta=0.9), start_up="uncorrected"))
    assert means(table, Readings.of(["s", "s"], [30, 17])) == pytest.approx([3.0, 4.4], rel=1e-15)


def test_series_are_kept_apart_through_growth() -> None:
    table = SeriesTable(HALF)
    ids = [f"s{i}" for i in range(100_000)]
    for at in range(0, len(ids), 7_000):
        table.update(Readings.of(ids[at : at + 7_000], np.arange(len(ids[at : at + 7_000]))))
    assert len(table) == 100_000
    table._check()
    again = means(table, Readings.of(ids, np.zeros(len(ids))))
    assert again == pytest.approx([(i % 7_000) / 3 for i in range(100_000)], rel=1e-15)


def test_an_empty_batch_changes_nothing() -> None:
    table = SeriesTable(HALF)
    smoothed = table.update(Readings.of([], []))
    assert (len(smoothed), len(table)) == (0, 0)
    assert list(smoothed.statistics) == ["mean"]


@pytest.mark.parametrize("n", [1, 500])
def test_readings_without_times_are_refused_before_anything_changes(n: int) -> None:
    table = SeriesTable(BY_TIME)
    with pytest.raises(ReadingError, match=r"Decay\(halflife='1s'\) decays by time"):
        table.update(Readings.of(["a"] * n, [1.0] * n))
    assert len(table) == 0


def test_idle_series_are_forgotten_and_start_anew() -> None:
    table = SeriesTable(BY_TIME)
    table.update(Readings.of(["idle", "busy"], [10.0, 10.0], [0, 5_000]))
    assert table.evict(before_ms=5_000) == 1
    assert ("idle" in table, "busy" in table) == (False, True)
    table._check()
    assert means(table, Readings.of(["idle", "busy"], [1.0, 1.0], [6_000, 6_000])) == pytest.approx(
        [1.0, 4.0], rel=1e-15
    )


def test_eviction_needs_times() -> None:
    with pytest.raises(ConfigError, match="use decay by time"):
        SeriesTable(HALF).evict(before_ms=0)


@pytest.mark.parametrize("ids", [["a", "b"], ["", "x\x00y", "ä" * 5_000, "\ud800"]])
def test_a_snapshot_holds_any_id(ids: list[str]) -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(ids, np.arange(len(ids))))
    resumed = SeriesTable(HALF, pickle.loads(pickle.dumps(table.snapshot())))
    again = Readings.of(ids, np.full(len(ids), 3.0))
    assert means(resumed, again) == means(table, again)


def test_a_snapshot_does_not_change_with_the_table() -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(["a"], [1.0]))
    snapshot = table.snapshot()
    before = pickle.dumps(snapshot)
    table.update(Readings.of(["a"] * 500, [9.0] * 500))
    assert pickle.dumps(snapshot) == before


def test_a_snapshot_of_another_smoothing_is_refused() -> None:
    snapshot = SeriesTable(HALF).snapshot()
    with pytest.raises(StateError, match=r"taken with beta=0.5 .* now asks for beta=0.9"):
        SeriesTable(Smoothing(Decay(beta=0.9)), snapshot)


def test_a_snapshot_of_an_unknown_version_is_refused() -> None:
    snapshot = SeriesTable(HALF).snapshot()._replace(version=99)
    with pytest.raises(StateError, match="version 99, this release reads"):
        SeriesTable(HALF, snapshot)


@pytest.mark.parametrize(
    ("column", "damage"), [("weight", -1.0), ("weight", np.nan), ("mean", np.inf), ("count", -1)]
)
def test_a_damaged_snapshot_is_refused(column: str, damage: float) -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(["a"], [1.0]))
    snapshot = table.snapshot()
    snapshot.columns[column][0] = damage
    with pytest.raises(StateError, match="damaged state"):
        SeriesTable(HALF, snapshot)


def test_a_snapshot_cut_short_is_refused() -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(["a", "b"], [1.0, 2.0]))
    snapshot = table.snapshot()
    snapshot.columns["mean"] = snapshot.columns["mean"][:1]
    with pytest.raises(StateError, match="column 'mean' has 1 rows for 2 series"):
        SeriesTable(HALF, snapshot)
