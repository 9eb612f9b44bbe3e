"""A tombstone lets its series begin anew, at its place among the readings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable

COUNT = Smoothing(Decay(beta=0.5), statistics=["mean", "count"])
LATE = Smoothing(Decay(halflife="1s"), late="skip", max_lateness="1s", statistics=["mean", "n_eff"])

Item = tuple[str, float | None]
"""A series and its value, or None for its tombstone."""


def run_of(items: Sequence[Item], first: int) -> Readings:
    marks = np.array([value is None for _, value in items])
    values = np.array([math.nan if value is None else value for _, value in items])
    times = np.where(marks, np.iinfo(np.int64).min, 1_000 * np.arange(first, first + len(items)))
    return Readings([series_id for series_id, _ in items], values, times, tombstones=marks)


def by_definition(items: Sequence[Item], smoothing: Smoothing) -> list[tuple[float, ...]]:
    """Smooth with a new id after each tombstone of a series."""
    table, lives, results = SeriesTable(smoothing), dict[str, int](), []
    for at, (series_id, value) in enumerate(items):
        if value is None:
            lives[series_id] = lives.get(series_id, 0) + 1
        else:
            results.append(table.step(f"{series_id}{lives.get(series_id, 0)}", value, 1_000 * at))
    return results


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([1.0, 2.5, -4.0, math.nan, None])),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([COUNT, LATE]),
    st.data(),
)
def test_no_bit_depends_on_the_cut(
    items: list[Item], smoothing: Smoothing, data: st.DataObject
) -> None:
    table, found, at = SeriesTable(smoothing), list[tuple[float, ...]](), 0
    while at < len(items):
        n = data.draw(st.integers(1, len(items) - at))
        for smoothed in table.update_in_order(run_of(items[at : at + n], at)):
            columns = [column.tolist() for column in smoothed.statistics.values()]
            found += zip(*columns, strict=True)
        at += n
    expected = by_definition(items, smoothing)
    assert np.array(found).tobytes() == np.array(expected).tobytes()


def test_a_series_that_is_not_there_is_not_added() -> None:
    table = SeriesTable(COUNT)
    assert not list(table.update_in_order(run_of([("a", None)], 0)))
    assert len(table) == 0


@pytest.mark.parametrize("marks", [None, np.zeros(2, np.bool_)])
def test_without_tombstones_it_is_one_update(marks: NDArray[np.bool_] | None) -> None:
    readings = Readings(["a", "a"], np.array([1.0, 4.0]), tombstones=marks)
    (smoothed,) = SeriesTable(COUNT).update_in_order(readings)
    assert smoothed.statistics["mean"].tolist() == [1.0, 3.0]
