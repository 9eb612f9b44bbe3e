"""Readings next to a moment: against a plain search."""

from __future__ import annotations

import numpy as np
import pytest

from ewma_ops.studies.pairing import Clocked, neighbours


@pytest.mark.parametrize("seed", range(30))
def test_neighbours_and_the_nearest_of_them(seed: int) -> None:
    """Few series and close clocks, so that there are ties, gaps, and series without a reading."""
    random = np.random.default_rng(seed)
    drawn = zip(random.integers(0, 4, 25), random.integers(-20, 20, 25), strict=True)
    readings = sorted({(int(row), int(clock)) for row, clock in drawn})
    rows, clocks = (np.array(column) for column in zip(*readings, strict=True))
    of, moments = random.integers(0, 5, 40), random.integers(-25, 25, 40)
    reach, least = int(random.integers(0, 9)), int(random.integers(-25, 0))
    before, after = neighbours(rows, clocks, of, moments)
    values = np.arange(len(readings), dtype=float)
    found = Clocked(rows, clocks, values).nearest(of, moments, np.full(40, least), reach)
    for k in range(40):
        own = [(i, clock) for i, (row, clock) in enumerate(readings) if row == of[k]]
        assert before[k] == max((i for i, clock in own if clock <= moments[k]), default=-1)
        assert after[k] == min((i for i, clock in own if clock > moments[k]), default=-1)
        near = [
            (abs(readings[i][1] - moments[k]), readings[i][1], i)
            for i in (before[k], after[k])
            if i >= 0 and readings[i][1] >= least and abs(readings[i][1] - moments[k]) <= reach
        ]
        expected = min(near)[2] if near else np.nan
        assert found[k] == expected or (np.isnan(found[k]) and np.isnan(expected))
