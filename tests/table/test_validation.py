"""A table checks its arguments before it changes anything: after an error it is as it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError, ReadingError, StateError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable, TableSnapshot

NAN = float("nan")
EVERYTHING = ["mean", "var", "n_eff", "revision", "settled", "rate"]
BY_TIME = Smoothing(Decay(halflife="5s"), statistics=EVERYTHING, max_lateness=timedelta(seconds=1))
BY_VOLUME = Smoothing(Decay(beta=0.9), weighting="volume", missing="dead-letter")
PAIRED = Smoothing(Decay(halflife="5s"), statistics=["mean", "std", "cov"])


def timed() -> SeriesTable:
    table = SeriesTable(BY_TIME)
    for i in range(40):
        table.step(f"s{i % 3}", float(i), 1000 * i)
    return table


def weighed() -> SeriesTable:
    table = SeriesTable(BY_VOLUME)
    for i in range(9):
        table.step("s0", float(i), None, 1.0 + i)
    return table


def paired(missing: float = 1.0) -> SeriesTable:
    table = SeriesTable(PAIRED, fields=["a", "b"])
    for i in range(9):
        table.step("s0", [float(i), missing], 1000 * i)
    return table


def forgetful() -> SeriesTable:
    table = SeriesTable(BY_TIME, forget_after="1min")
    for i in range(40):
        table.step(f"s{i % 3}", float(i), 1000 * i)
    return table


def vectors() -> SeriesTable:
    table = SeriesTable(Smoothing(Decay(beta=0.9), statistics=["mean", "std"]), fields=3)
    table.update(Readings.of(["s0"], [[1.0, 2.0, 3.0]]))
    return table


def run(values: Any, times: Any = None, weights: Any = None, new: int = 1) -> Readings:
    """Return readings of which the first are of new series, beyond the bounds too."""
    ids = [f"new{i}" if i < new else "s0" for i in range(len(values))]
    return Readings.of(ids, values, times, weights, finite=False)


def damaged(table: SeriesTable, **changes: Any) -> TableSnapshot:
    snapshot = table.snapshot()
    columns = {name: column for name, column in snapshot.columns.items() if name not in changes}
    found = {name: change for name, change in changes.items() if change is not None}
    return snapshot._replace(columns={**columns, **found})


def of_others(table: SeriesTable) -> SeriesTable:
    table.step("other", 1.0, 0)
    return table


REFUSED: dict[str, tuple[Callable[[], SeriesTable], Callable[[SeriesTable], Any]]] = {
    "an infinite value, at the end": (timed, lambda t: t.update(run([1.0, np.inf], [1, 2]))),
    "an infinite value, among many": (
        timed,
        lambda t: t.update(run([*np.arange(300.0), np.inf], 100_000 + np.arange(301), new=50)),
    ),
    "a late reading, after some that are not": (
        timed,
        lambda t: t.update(run([1.0, 2.0, 3.0], [0, 90_000, 0])),
    ),
    "a run without times": (timed, lambda t: t.update(run([1.0, 2.0]))),
    "a run without weights": (weighed, lambda t: t.update(run([1.0, 2.0]))),
    "a run with a missing value": (
        weighed,
        lambda t: t.update(run([1.0, NAN], None, [1.0, 1.0])),
    ),
    "a run of another shape": (paired, lambda t: t.update(run([1.0, 2.0], [1, 2]))),
    "an infinite reading": (timed, lambda t: t.step("new", np.inf, 1)),
    "a late reading": (timed, lambda t: t.step("s0", 1.0, 1)),
    "a reading without a time": (timed, lambda t: t.step("new", 1.0)),
    "a reading without a weight": (weighed, lambda t: t.step("new", 1.0)),
    "a weight below 0": (weighed, lambda t: t.step("new", 1.0, None, -1.0)),
    "a field too few": (paired, lambda t: t.step("new", [1.0], 90_000)),
    "a field too many": (paired, lambda t: t.step("s0", [1.0, 2.0, 3.0], 90_000)),
    "a number for two fields": (paired, lambda t: t.step("s0", 1.0, 90_000)),
    "a number for a vector": (vectors, lambda t: t.step("s0", 1.0)),
    "a vector by step": (vectors, lambda t: t.step("s0", [1.0, 2.0, 3.0])),
    "an idle series, then an infinite value": (
        forgetful,
        lambda t: t.update(run([1.0, 2.0, np.inf], [10**6, 10**6, 10**6])),
    ),
    "an infinite reading of an idle series": (forgetful, lambda t: t.step("s0", np.inf, 10**6)),
    "a late reading of a series that may be idle": (forgetful, lambda t: t.step("s0", 1.0, 1)),
    "an idle series, then a late reading": (
        forgetful,
        lambda t: t.update(run([1.0, 2.0, 3.0], [10**6, 10**6, 1])),
    ),
    "a run without times, where idle series are forgotten": (
        forgetful,
        lambda t: t.update(run([1.0, 2.0])),
    ),
    "retracting what never was": (timed, lambda t: t.retract("s0", 1.0, 10**7)),
    "retracting from no series": (timed, lambda t: t.retract("new", 1.0, 1)),
    "retracting the newest alone": (timed, lambda t: t.retract("s0", 39.0, 39_000)),
    "retracting too far back": (timed, lambda t: t.retract("s0", 39.0, 39_000, newest_ms=-(10**9))),
    "retracting a field too few": (paired, lambda t: t.retract("s0", [1.0], 0)),
    "retracting a field too many": (paired, lambda t: t.retract("s0", [1.0, 1.0, 1.0], 0)),
    "correcting to a missing value": (timed, lambda t: t.correct("s0", 1.0, NAN, 1)),
    "correcting to what is out of bounds": (timed, lambda t: t.correct("s0", 1.0, 1e300, 1)),
    "correcting a field too few": (paired, lambda t: t.correct("s0", [1.0], [2.0], 0)),
    "correcting without a time": (timed, lambda t: t.correct("s0", 0.0, 2.0)),
    "merging another smoothing": (timed, lambda t: t.merge(weighed())),
    "merging what cannot be merged": (
        lambda: SeriesTable(Smoothing(Decay(beta=0.9), "first")),
        lambda t: t.merge(SeriesTable(Smoothing(Decay(beta=0.9), "first"))),
    ),
    "evicting without times": (weighed, lambda t: t.evict(1)),
    "a snapshot of another smoothing": (timed, lambda t: t.absorb(weighed().snapshot())),
    "a snapshot of a series that is there": (timed, lambda t: t.absorb(timed().snapshot())),
    "a snapshot with a negative count": (
        timed,
        lambda t: t.absorb(damaged(of_others(SeriesTable(BY_TIME)), count=np.array([-1]))),
    ),
    "a snapshot without a column": (
        timed,
        lambda t: t.absorb(damaged(of_others(SeriesTable(BY_TIME)), mean=None)),
    ),
    "a snapshot without newest times": (
        timed,
        lambda t: t.absorb(damaged(of_others(SeriesTable(BY_TIME)), **{"/newest_ms": None})),
    ),
    "a snapshot with a field too few": (
        lambda: SeriesTable(PAIRED, fields=["a", "b"]),
        lambda t: t.absorb(damaged(paired(), mean=np.zeros((1, 1)))),
    ),
    "a snapshot with a column too deep": (
        lambda: SeriesTable(PAIRED, fields=["a", "b"]),
        lambda t: t.absorb(damaged(paired(), weight=np.zeros((1, 1)))),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_the_table_as_it_was(name: str) -> None:
    make, act = REFUSED[name]
    table, twin = make(), make()
    with pytest.raises((ReadingError, ConfigError, StateError)):
        act(table)
    assert_same(table, twin)


def assert_same(table: SeriesTable, twin: SeriesTable) -> None:
    """Compare two tables to the bit: their series, their state, and what they go on to give."""
    found, expected = table.snapshot(), twin.snapshot()
    assert found.ids.utf8() == expected.ids.utf8()
    assert found.separate_weights == expected.separate_weights
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], column, name)
    assert table.hashes.tolist() == twin.hashes.tolist()
    width = table.smoothing_set.width
    values = np.full((130, width), 2.0) if width > 1 else np.full(130, 2.0)
    times = 100_000 + np.arange(130)
    more = Readings.of(["s0", "later"] * 65, values, times, np.ones(130))
    for one, other in zip(
        table.update(more).statistics.values(), twin.update(more).statistics.values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("missing", [(1.0, NAN), (NAN, 1.0)])
def test_a_merge_leaves_the_other_table_as_it_is(missing: tuple[float, float]) -> None:
    into, other, twin = (paired(x) for x in (*missing, missing[1]))
    into.merge(other)
    assert_same(other, twin)
