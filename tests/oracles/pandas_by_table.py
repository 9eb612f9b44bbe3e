"""A pytest plugin that has pandas compute its ewm statistics with a `SeriesTable`.

For pandas' own tests: their windows, alignment and pairs stay pandas', the numbers become ours. It
stands in place of the two compiled functions that every ewm statistic of pandas goes through. What
a table does not offer is skipped, with a reason that `test_pandas_own` counts; what came of each
test goes to the file named by ``EWMA_PANDAS_REPORT``.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas.core.window.ewm
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable

Floats = NDArray[np.float64]

DAY_MS = 86_400_000
calls = Counter[str]()
found: dict[str, str] = {}
reached: list[str] = []
every = Counter[str]()


def in_windows(start: Any, end: Any, n: int, compute: Any) -> Floats:
    result = np.full(n, np.nan)
    for first, last in zip(start.tolist(), end.tolist(), strict=True):
        if first < last:
            result[first:last] = compute(slice(first, last))
    return result


def by_table(smoothing: Smoothing, values: Floats, times_ms: Any, name: str) -> Floats:
    fields = ["x", "y"] if values.ndim == 2 else 1
    table = SeriesTable(smoothing, fields=fields)
    calls[name.removeprefix("x_y_")] += 1
    return table.update(Readings.of(["s"] * len(values), values, times_ms)).statistics[name]


def ewm(
    vals: Any,
    start: Any,
    end: Any,
    minp: int,
    com: float,
    adjust: bool,
    ignore_na: bool,
    deltas: Any = None,
    normalize: bool = True,
) -> Floats:
    """Stand in for the mean, and for the sum (``normalize=False``)."""
    name = "mean" if normalize else "sum"
    vals = np.asarray(vals, np.float64)

    def compute(window: slice) -> Floats:
        own = vals[window]
        if deltas is None:
            how: dict[str, Any] = {"com": com, "adjust": adjust, "ignore_na": ignore_na}
            how["min_periods"] = minp
            smoothing = Smoothing.like_pandas(**how, statistics=list({"mean": 0, name: 0}))
            return by_table(smoothing, own, None, name)
        # pandas hands over gaps in half-lives: of a day each, they are whole milliseconds again.
        halflives = np.concatenate([[0.0], np.asarray(deltas)[window.start : window.stop - 1]])
        times = np.rint(np.cumsum(halflives) * DAY_MS).astype(np.int64)
        if com != 1.0:
            pytest.skip("decay by time and by count at once")
        if ignore_na and np.isnan(own).any():
            pytest.skip("ignore_na with times leaves time out (pandas#54604)")
        smoothing = Smoothing(
            Decay(halflife="1d"),
            "corrected" if adjust else "first",
            min_periods=minp,
            statistics=list({"mean": 0, name: 0}),
        )
        return by_table(smoothing, own, times, name)

    return in_windows(start, end, len(vals), compute)


def ewmcov(
    input_x: Any,
    start: Any,
    end: Any,
    minp: int,
    input_y: Any,
    com: float,
    adjust: bool,
    ignore_na: bool,
    bias: bool,
) -> Floats:
    """Stand in for variances and covariances."""
    x, y = np.asarray(input_x, np.float64), np.asarray(input_y, np.float64)
    if len(x) != len(y):
        raise ValueError(f"arrays are of different lengths ({len(x)} and {len(y)})")
    how: dict[str, Any] = {"com": com, "adjust": adjust, "ignore_na": ignore_na}
    how["min_periods"] = minp
    alone = np.array_equal(x, y, equal_nan=True)
    name = ("var" if alone else "cov") + ("_biased" if bias else "")
    smoothing = Smoothing.like_pandas(**how, statistics=["mean", name])

    def compute(window: slice) -> Floats:
        if alone:
            return by_table(smoothing, x[window], None, name)
        both = np.column_stack([x[window], y[window]])
        return by_table(smoothing, both, None, f"x_y_{name}")

    return in_windows(start, end, len(x), compute)


class ByTable:
    """What pandas imports as its compiled window functions, as far as ewm calls them."""

    ewm = staticmethod(ewm)
    ewmcov = staticmethod(ewmcov)


def pytest_configure() -> None:
    setattr(pandas.core.window.ewm, "window_aggregations", ByTable)  # noqa: B010 - not declared


def pytest_runtest_logstart() -> None:
    calls.clear()


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" and calls:
        reached.append(name_of(report))
        every.update(calls)
    if report.when == "call" or report.outcome != "passed":
        what = report.outcome
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            what = f"skipped: {report.longrepr[2].removeprefix('Skipped: ')}"
        elif report.outcome == "failed":
            what = f"failed: {report.longrepr!s:.4000}"
        found[name_of(report)] = what


def name_of(report: Any) -> str:
    path, _, test = report.location
    return f"{Path(path).name}::{test}"


def pytest_sessionfinish() -> None:
    told = {"found": found, "reached": reached, "calls": dict(every)}
    Path(os.environ["EWMA_PANDAS_REPORT"]).write_text(json.dumps(told))
