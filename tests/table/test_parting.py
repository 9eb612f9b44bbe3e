"""Readings that lack some of their fields only: each statistic beside each other, however cut."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.statistics import PAIRED
from ewma_ops.table.table import SeriesTable
from tests.oracles import naive

Columns = Mapping[str, NDArray[np.float64]]

FIELDS = ("a", "b")
SINGLE = ("var_biased", "mean_square", "sem")
SERIES, EACH, WHOLE = 16, 10, 4
"""From reading ``WHOLE`` of each series on, fields are missing by themselves."""


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return itertools.chain.from_iterable(
        itertools.combinations(names, k) for k in range(len(names) + 1)
    )


SUBSETS = [(*single, *pairs) for single in subsets(SINGLE) for pairs in subsets(PAIRED)]
RULES = {
    "count": naive.Rules(beta=0.7),
    "count-first": naive.Rules(beta=0.7, start_up="first", missing="decay"),
    "time": naive.Rules(halflife_ms=2000.0),
}


def smoothing_of(rules: naive.Rules, statistics: Sequence[str]) -> Smoothing:
    decay = Decay(beta=rules.beta) if rules.halflife_ms is None else Decay(halflife="2s")
    return Smoothing(decay, rules.start_up, rules.missing, statistics=["mean", *statistics])  # type: ignore[arg-type]


@cache
def stream() -> Readings:
    draw = np.random.default_rng(4)
    values = draw.normal(1000, 3, (EACH, SERIES, 2))
    values[..., 1] += values[..., 0]
    values[WHOLE:][draw.random((EACH - WHOLE, SERIES, 2)) < 0.4] = math.nan
    times = np.cumsum(draw.integers(0, 3000, (EACH, SERIES)), axis=0)
    ids = [f"s{k}" for k in range(SERIES)] * EACH
    return Readings.of(ids, values.reshape(-1, 2), times.ravel())


@cache
def expected(name: str) -> Columns:
    """Return every statistic by definition, in the order of arrival."""
    readings, rules = stream(), RULES[name]
    assert readings.times_ms is not None
    values = readings.values.reshape(EACH, SERIES, 2)
    times = readings.times_ms.reshape(EACH, SERIES)
    found: dict[str, NDArray[np.float64]] = {}
    for k in range(SERIES):
        a, b = values[:, k].T.tolist()
        columns: dict[str, NDArray[np.float64]] = {}
        for field, column in zip(FIELDS, (a, b), strict=True):
            series = list(zip(times[:, k].tolist(), column, strict=True))
            single = naive.smooth(series, rules, ["mean", *SINGLE])
            columns |= {f"{field}_{statistic}": c for statistic, c in single.items()}
        series = list(zip(times[:, k].tolist(), a, strict=True))
        paired = naive.smooth(series, rules, PAIRED, others=b)
        columns |= {f"a_b_{statistic}": c for statistic, c in paired.items()}
        for key, column in columns.items():
            found.setdefault(key, np.empty((EACH, SERIES)))[:, k] = column
    return {key: column.ravel() for key, column in found.items()}


def run(smoothing: Smoothing, bounds: Sequence[int], *, restored: bool = False) -> Columns:
    table, parts = SeriesTable(smoothing, fields=FIELDS), []
    for lo, hi in itertools.pairwise(bounds):
        parts.append(table.update(stream().take(np.arange(lo, hi))).statistics)
        if restored:
            snapshot = pickle.loads(pickle.dumps(table.snapshot()))
            table = SeriesTable(smoothing, snapshot, fields=FIELDS)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def absorbed(smoothing: Smoothing, *, first_apart: bool) -> Columns:
    """Smooth half of the series in one table and half in another, and join them half-way.

    Only one of the two has had readings that lack some fields.
    """
    readings = stream()
    place = np.arange(len(readings))
    early = np.array(readings.series_ids) < "s3"
    apart, together = SeriesTable(smoothing, fields=FIELDS), SeriesTable(smoothing, fields=FIELDS)
    at, start = (WHOLE + 2) * SERIES, WHOLE * SERIES
    parts = [place[early & (place < at)], place[~early & (place < start)]]
    found = [
        table.update(readings.take(part)).statistics
        for table, part in zip((apart, together), parts, strict=True)
    ]
    one, other = (apart, together) if first_apart else (together, apart)
    one.absorb(other.snapshot())
    parts.append(place[(early & (place >= at)) | (~early & (place >= start))])
    found.append(one.update(readings.take(parts[-1])).statistics)
    order = np.argsort(np.concatenate(parts))
    return {name: np.concatenate([f[name] for f in found])[order] for name in found[0]}


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_each_subset_of_statistics_has_the_values_and_the_bits_of_any_cut(name: str) -> None:
    wanted, n = expected(name), len(stream())
    for statistics in SUBSETS:
        smoothing = smoothing_of(RULES[name], statistics)
        whole = run(smoothing, [0, n])
        for key, column in whole.items():
            np.testing.assert_allclose(
                column, wanted[key], rtol=1e-9, atol=1e-9, err_msg=f"{key} of {statistics}"
            )
        ways = {
            "singly": run(smoothing, range(n + 1)),
            "before any field is missing": run(smoothing, [0, WHOLE * SERIES, n], restored=True),
            "in the middle": run(smoothing, [0, 30, 31, 130, n], restored=True),
            "into one that is apart": absorbed(smoothing, first_apart=True),
            "into one that is not": absorbed(smoothing, first_apart=False),
        }
        for way, found in ways.items():
            for key, column in whole.items():
                np.testing.assert_array_equal(
                    found[key].view(np.uint64),
                    column.view(np.uint64),
                    f"{key} of {statistics}, {way}",
                )


@pytest.mark.parametrize("by_column", [False, True])
def test_one_reading_has_a_biased_variance_of_0_when_the_next_lacks_a_field(
    by_column: bool,
) -> None:
    names = ["mean", "var_biased", "std_biased", "cov"]
    table: Any = SeriesTable(Smoothing(Decay(beta=0.5), statistics=names), fields=FIELDS)
    for values in ([1000.0, 2000.0], [math.nan, 2000.0]):
        if by_column:
            found = table.update(Readings.of(["s"] * 100, [[math.nan] * 2] * 99 + [values]))
            shown = {name: column[-1] for name, column in found.statistics.items()}
        else:
            shown = dict(zip(table.smoothing_set.names, table.step("s", values), strict=True))
        assert shown["a_var_biased"] == shown["b_var_biased"] == 0.0
        assert shown["a_std_biased"] == shown["b_std_biased"] == 0.0
