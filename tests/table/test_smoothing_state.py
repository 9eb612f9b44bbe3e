"""The state of a unit: what goes to which part once fields are missing apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable


@pytest.mark.parametrize("cut", [1, 250])
@pytest.mark.parametrize("weighting", ["observation", "last"])
def test_each_pair_of_fields_takes_its_own_state_along(weighting: str, cut: int) -> None:
    names = ["mean", "var_biased"] if weighting == "last" else ["mean", "std", "cov", "corr"]
    smoothing = Smoothing(Decay(halflife="9s"), weighting=weighting, statistics=names)  # type: ignore[arg-type]
    draw = np.random.default_rng(3)
    values = draw.normal(0, 1, (500, 3)) @ draw.normal(0, 1, (3, 3))
    values[300:][draw.random((200, 3)) < 0.2] = np.nan  # together before, apart after
    times = np.cumsum(draw.integers(0, 5000, 500))
    ids, fields = [f"s{k}" for k in draw.integers(0, 5, 500)], ["a", "b", "c"]
    table = SeriesTable(smoothing, fields=fields)
    parts = [
        table.update(Readings(ids[at : at + cut], values[at : at + cut], times[at : at + cut]))
        for at in range(0, 500, cut)
    ]
    for pair in combinations(range(3), 2):
        own = [fields[i] for i in pair]
        alone = SeriesTable(smoothing, fields=own).update(
            Readings(ids, np.asfortranarray(values[:, pair]), times)
        )
        for name, column in alone.statistics.items():
            got = np.concatenate([part.statistics[name] for part in parts])
            np.testing.assert_array_equal(got, column, name)
