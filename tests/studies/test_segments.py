"""A batch in order of its series: what a series had before, across batches."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.studies.segments import by_series, grown, usual_gap


@given(st.lists(st.lists(st.integers(0, 4), max_size=20), max_size=6))
def test_what_a_series_had_before_does_not_depend_on_the_cut(batches: list[list[int]]) -> None:
    last = np.full(5, -1)
    known: dict[int, int] = {}
    n = 0
    for batch in batches:
        values = np.arange(n, n + len(batch))
        n += len(batch)
        wanted = []
        for row, value in zip(batch, values.tolist(), strict=True):
            wanted.append(known.get(row, -1))
            known[row] = value
        if not batch:
            continue
        segments = by_series(np.array(batch))
        found = np.empty(len(batch), np.int64)
        found[segments.order] = segments.before(values[segments.order], last)
        assert found.tolist() == wanted
        sums = dict(
            zip(segments.series.tolist(), segments.sums(values[segments.order]), strict=True)
        )
        assert all(sums[row] == sum(v for r, v in zip(batch, values, strict=True) if r == row)
                   for row in set(batch))  # fmt: skip
    assert last.tolist() == [known.get(row, -1) for row in range(5)]


def test_places_within_a_series() -> None:
    segments = by_series(np.array([3, 1, 3, 3, 1]))
    assert (segments.series.tolist(), segments.ends.tolist()) == ([1, 3], [1, 4])


def test_a_column_grows_with_its_fill() -> None:
    column = grown(np.zeros((2, 3)), 5, np.nan)
    assert column.shape[1] == 3
    assert len(column) >= 5
    assert np.isnan(column[2:]).all()
    assert grown(column, 3, 0.0) is column


def test_usual_gap_is_within_a_series_and_above_0() -> None:
    assert usual_gap(np.array([0, 1, 0, 0]), np.array([0, 7, 0, 9])) == 9.0
    assert usual_gap(np.array([0, 1]), np.array([0, 7])) is None
