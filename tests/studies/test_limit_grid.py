"""Alarms by limit, against a plain machine that looks at one reading after the other."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.studies.limit_grid import LimitGrid, grid_of
from ewma_ops.studies.segments import by_series

LIMITS = [0.5, 1.0, 1.7, 2.5, 9.0]
SCORES = st.sampled_from([0.0, 0.3, -0.3, 0.6, -0.6, 1.2, -1.2, 2.0, -2.0, 3.0, -3.0, math.nan])


class Plain:
    """One alarm of one series and limit."""

    def __init__(self, limit: float, clear: float, for_: int, clear_for: int) -> None:
        self.limit, self.clear, self.needs, self.clears = limit, clear, for_, clear_for
        self.on, self.run, self.side, self.back = False, 0, 0, 0

    def raises(self, score: float) -> bool:
        side = (score > self.limit) - (score < -self.limit)
        self.run = self.run + 1 if side and side == self.side else int(side != 0)
        self.side = side
        self.back = self.back + 1 if abs(score) <= self.clear * self.limit else 0
        if not self.on and self.run >= self.needs:
            self.on = True
            return True
        if self.on and self.back >= self.clears:
            self.on = False
        return False


@pytest.mark.slow
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), SCORES), min_size=1, max_size=12), max_size=8),
    st.sampled_from([0.5, 0.75, 1.0]),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_counts_are_those_of_a_plain_machine(
    batches: list[list[tuple[int, float]]], clear: float, for_: int, clear_for: int
) -> None:
    grid = LimitGrid(LIMITS, clear, for_, clear_for, range(len(LIMITS)))
    plain = {(row, g): Plain(limit, clear, for_, clear_for)
             for row in range(4) for g, limit in enumerate(LIMITS)}  # fmt: skip
    wanted: Counter[tuple[int, int]] = Counter()
    for batch in batches:
        raised: list[tuple[int, int]] = []
        for at, (row, score) in enumerate(batch):
            for g in range(len(LIMITS)):
                if plain[row, g].raises(score):
                    wanted[row, g] += 1
                    raised.append((g, at))
        rows, scores = np.array([row for row, _ in batch]), np.array([score for _, score in batch])
        segments = by_series(rows)
        own = scores[segments.order]
        never = np.isnan(own)
        found: list[tuple[int, int]] = []
        grid.take(
            segments,
            np.where(never, -np.inf, own),
            np.where(never, -np.inf, -own),
            np.where(never, np.inf, abs(own)),
            lambda g, places: found.extend((g, int(segments.order[at])) for at in places),  # noqa: B023
        )
        assert sorted(found) == sorted(raised)
    for g, limit in enumerate(LIMITS):
        near, counts = grid.by_series(limit)
        found_by_series = {(row, g): int(n) for row, n in enumerate(counts) if n}
        assert near == limit
        assert found_by_series == {key: n for key, n in wanted.items() if key[1] == g}


def test_the_grid_is_even_in_ratio_and_holds_the_limit_of_the_rule() -> None:
    limits = grid_of(2.81431)
    assert (limits[0], limits[-1]) == (1.5, pytest.approx(58.5, abs=0.1))
    assert 2.81431 in limits
    assert len(limits) == 187
    assert (np.diff(limits) > 0).all()
    ratios = np.delete(limits, np.searchsorted(limits, 2.81431))
    assert ratios[1:] / ratios[:-1] == pytest.approx(1.02, abs=0.002)


def test_series_are_counted_at_the_nearest_of_some_limits() -> None:
    grid = LimitGrid(grid_of(), 0.5)
    segments = by_series(np.zeros(4, np.intp))
    score = np.array([5.0, 0.0, 5.0, 0.0])
    grid.take(segments, score, -score, abs(score), lambda g, places: None)
    near, counts = grid.by_series(4.0)
    assert near == pytest.approx(4.0, rel=0.11)
    assert (int(counts[0]), int(counts.sum())) == (2, 2)
