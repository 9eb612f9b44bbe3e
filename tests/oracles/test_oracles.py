"""One table of oracles: statistic x start-up x missing x clock x weighting x chunking.

A cell is impossible, and then `cells` has the reason and the options are refused; or else it is
computed, and compared with the naive definition. Pandas and polars stand beside it where they
define the same.
"""

from __future__ import annotations

import itertools
import math
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import bytewax.operators as op
import numpy as np
import pandas as pd
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main

import ewma_ops.operators as ew
from ewma_ops.columns.event_names import event_key
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import (
    Reading,
    Readings,
    Smoothed,
    SmoothedReading,
)
from ewma_ops.errors import ConfigError
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.statistics import PAIRED, STATISTICS
from ewma_ops.table.table import SeriesTable
from tests.oracles.cells import (
    CELLS,
    CLOCKS,
    COMPARED,
    FIELDS,
    IMPOSSIBLE,
    IN_FLOWS,
    RULES,
    SERIES,
    STARTS,
    TOLERANCE,
    TWINS,
    UNBIASED,
    Columns,
    Floats,
    Stream,
    assert_as_defined,
    assert_close,
    by_definition,
    cells_of,
    kinds,
    name_of,
    possible,
    series_of,
    smoothing_of,
    stream,
)
from tests.oracles.naive import Rules


def test_every_cell_is_compared_or_impossible() -> None:
    compared = {cell for rules, chunking in COMPARED for cell in cells_of(rules, chunking)}
    impossible = {cell for cell in CELLS if not possible(cell)}
    assert len(set(CELLS)) == len(STATISTICS) * 5 * 2 * 2 * 5 * 6
    assert compared == set(CELLS) - impossible
    quick = [(rules, chunking) for rules, chunking in COMPARED if rules in IN_FLOWS]
    assert {cell for rules, chunking in quick for cell in cells_of(rules, chunking)} == compared
    assert all(any(map(reason, CELLS)) for reason in IMPOSSIBLE.values())


@pytest.mark.slow
def test_what_is_impossible_is_refused_and_nothing_else() -> None:
    for cell in CELLS:
        number = CLOCKS[cell.clock][0]
        start_up, missing, _, weighting, _ = cell[1:]
        rules = replace(
            number, start_up=start_up, missing=missing, weighting=weighting, **STARTS[start_up]
        )
        try:
            smoothing_of(rules, list(dict.fromkeys(["mean", cell.statistic])))
            refused = False
        except ConfigError:
            refused = True
        assert refused != possible(cell), cell


# By ours, however it is cut -------------------------------------------------------------------


def at_random(n: int) -> Iterator[slice]:
    lengths = random.Random(n)
    lo = 0
    while lo < n:
        hi = lo + lengths.choice((1, 2, 5, 40, 170))
        yield slice(lo, min(hi, n))
        lo = hi


CUTS: dict[str, Callable[[int], Iterator[slice]]] = {
    "step": lambda n: iter([slice(i, i + 1) for i in range(n)]),
    "batch": lambda n: iter([slice(n)]),
    "cuts": at_random,
}


def by_table(rules: Rules, kind: str, chunking: str, together: bool = True) -> Columns:
    """Smooth both fields in one table, or each in its own."""
    smoothing, of = smoothing_of(rules), stream(kind, TWINS.get(chunking, 1))
    if together:
        table = SeriesTable(smoothing, fields=FIELDS)
        return run(table, of.readings(), chunking)
    smoothing = replace(smoothing, statistics=[s for s in smoothing.statistics if s not in PAIRED])
    columns: dict[str, Floats] = {}
    for i, field in enumerate(FIELDS):
        found = run(SeriesTable(smoothing), of.readings(i), chunking)
        columns |= {f"{field}_{name}": column for name, column in found.items()}
    return columns


def run(table: SeriesTable, readings: Readings, chunking: str) -> Columns:
    names, parts = table.smoothing_set.names, []
    if chunking == "step":
        assert readings.times_ms is not None
        assert readings.weights is not None
        columns = (readings.values, readings.times_ms, readings.weights)
        rows = zip(readings.series_ids, *(column.tolist() for column in columns), strict=True)
        found = np.array([table.step(*row) for row in rows])
        return dict(zip(names, found.T, strict=True))
    for cut in CUTS[chunking](len(readings)):
        part = readings.take(np.arange(len(readings))[cut])
        parts.append(table.update(part).statistics)
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def by_items_flow(stream: Stream, smoothings: dict[str, Smoothing]) -> dict[str, Floats]:
    """Columns by name in order of arrival, of a flow of items."""
    rows = zip(stream.values.tolist(), stream.times, stream.volumes, strict=True)
    items = [(name, Reading(*row)) for name, row in zip(stream.ids, rows, strict=True)]
    out: list[tuple[str, SmoothedReading]] = []
    flow = Dataflow("items")
    up = op.input("in", flow, TestingSource(items, batch_size=17))
    smoothed = ew.smooth("smooth", up, smoothings, shards=2, fields=FIELDS)
    op.output("out", smoothed, TestingSink(out))
    run_main(flow)
    of: dict[str, list[SmoothedReading]] = defaultdict(list)
    for name, reading in out:
        of[name].append(reading)
    in_turn = {name: iter(readings) for name, readings in of.items()}
    found = [next(in_turn[name]).statistics for name in stream.ids]
    names = SeriesTable(smoothings, fields=FIELDS).smoothing_set.names
    return {name: np.array([row[event_key(name)] for row in found]) for name in names}


def by_batches_flow(
    stream: Stream, smoothings: dict[str, Smoothing], killed: bool
) -> dict[str, Floats]:
    """Columns by name in order of arrival, of a flow of columns; killed, resumed and stopped."""
    readings, n = stream.readings(), len(stream.ids)
    readings = replace(readings, origins=Origins(np.zeros(n, np.int32), np.arange(n)))
    batches: list[Any] = [readings.take(at) for at in np.array_split(np.arange(n), 3)]
    if killed:
        batches[2:2], batches[1:1] = [TestingSource.EOF()], [TestingSource.ABORT()]
    out: list[Smoothed] = []
    flow = Dataflow("batches")
    up = op.input("in", flow, TestingSource(batches, batch_size=1))
    smoothed = ew.smooth_batches("smooth", up, smoothings, shards=2, fields=FIELDS)
    op.output("out", smoothed, TestingSink(out))
    if not killed:
        run_main(flow)
        return in_order_of_arrival(out, n)
    with tempfile.TemporaryDirectory() as directory:
        init_db_dir(directory, 1)
        for _ in range(4):
            run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(directory))
    return in_order_of_arrival(out, n)


def in_order_of_arrival(out: list[Smoothed], n: int) -> dict[str, Floats]:
    names = list(out[0].statistics)
    found = np.zeros((len(names), n))
    seen = np.zeros(n, bool)
    for run in out:
        assert run.readings.origins is not None
        at = run.readings.origins.offsets
        columns = np.array([run.statistics[name] for name in names])
        # What came after the last snapshot may come again, but with the same bits.
        np.testing.assert_array_equal(found[:, at[seen[at]]], columns[:, seen[at]])
        found[:, at], seen[at] = columns, True
    assert seen.all()
    return dict(zip(names, found, strict=True))


@cache
def by_flow_of_all(kind: str, chunking: str) -> dict[str, Floats]:
    """Smooth by all rules that are shown by such a stream, in one pass."""
    smoothings = {f"r{i}": smoothing_of(r) for i, r in enumerate(IN_FLOWS) if kinds(r)[-1] == kind}
    readings = stream(kind, TWINS.get(chunking, 1))
    if chunking == "items-flow":
        return by_items_flow(readings, smoothings)
    return by_batches_flow(readings, smoothings, chunking == "killed-flow")


def by_flow(rules: Rules, kind: str, chunking: str) -> Columns:
    columns, own = by_flow_of_all(kind, chunking), f"_r{IN_FLOWS.index(rules)}_"
    return {name.replace(own, "_"): column for name, column in columns.items() if own in name}


@pytest.mark.parametrize(
    ("rules", "chunking"),
    [
        # Every cell is quick by one decay of its clock; other decays are slow, and flows.
        pytest.param(
            *case,
            id=f"{name_of(case[0])}-{case[1]}",
            marks=() if case[0] in IN_FLOWS and case[1] in CUTS else pytest.mark.slow,
        )
        for case in COMPARED
    ],
)
def test_a_cell_is_as_defined(rules: Rules, chunking: str) -> None:
    if chunking not in CUTS:
        kind = kinds(rules)[-1]
        assert_as_defined(by_flow(rules, kind, chunking), rules, kind, chunking)
        return
    for kind in kinds(rules):
        assert_as_defined(by_table(rules, kind, chunking), rules, kind, chunking)
        alone = by_table(rules, kind, chunking, together=False)
        assert_as_defined(alone, rules, kind, chunking, pairs=False)


# Bounds ---------------------------------------------------------------------------------------

BOUNDED = [
    replace(rules, **bounds)
    for rules in IN_FLOWS
    for bounds in ({"min_periods": 4}, {"min_weight": 1.2})
    if not ("min_weight" in bounds and rules.start_up in ("first", "simple"))
]


@pytest.mark.parametrize("chunking", CUTS)
@pytest.mark.parametrize("rules", BOUNDED, ids=name_of)
def test_too_little_evidence_shows_nothing(rules: Rules, chunking: str) -> None:
    for kind in kinds(rules):
        assert_as_defined(by_table(rules, kind, chunking), rules, kind, chunking)


# Pandas and polars ----------------------------------------------------------------------------

NOT_THERE: dict[str, Callable[[str, Rules], bool]] = {
    "neither has such a start": lambda peer, r: r.start_up in ("simple", "prior"),
    "neither has such weights": lambda peer, r: r.weighting != "observation",
    "neither keeps its digits where nothing is left of the past": lambda peer, r: r.beta == 0.0,
    "polars has no start from 0, and pandas fills a gap after that 0 up": lambda peer, r: (
        r.start_up == "uncorrected" and (peer == "polars" or r.missing == "decay")
    ),
    "by time polars starts from the first value only": lambda peer, r: (
        peer == "polars" and r.halflife_ms is not None and r.start_up != "first"
    ),
    "adjust=False with alpha 0.5 takes other weights after a gap (pandas#66523)": lambda peer, r: (
        (peer, r.beta, r.start_up, r.missing) == ("pandas", 0.5, "first", "decay")
    ),
    "ignore_na=True drops the time before a missing row (pandas#54604)": lambda peer, r: (
        peer == "pandas" and r.halflife_ms is not None and r.missing == "skip"
    ),
    "times with adjust=False came with pandas 3": lambda peer, r: (
        peer == "pandas"
        and r.halflife_ms is not None
        and r.start_up == "first"
        and int(pd.__version__.split(".")[0]) < 3
    ),
}


def digits_lost(peer: str, rules: Rules, statistic: str) -> float:
    """Return the tolerance; larger where the peer's way of computing loses digits."""
    if rules.halflife_ms is not None and rules.start_up == "first":
        return 1e-9  # both weigh by 1 - f: the difference of two that are close in a short gap
    if peer == "polars" and statistic == "mean" and rules.beta < 0.1:
        return 1e-10  # it steps from a mean that may be far larger than the reading
    if peer == "pandas" and rules.missing == "decay" and rules.beta < 0.1:
        # (sum w)^2 - sum w^2 cancels after a gap: what it divides by to be unbiased
        return 1e-5 if statistic in UNBIASED and statistic != "corr" else TOLERANCE
    return TOLERANCE


def by_pandas(rules: Rules, kind: str, k: int) -> dict[str, Any]:
    """Return what pandas has of both fields of a series."""
    times, values, _ = series_of(kind, k)
    frame = pd.DataFrame(values, columns=list(FIELDS))
    how: dict[str, Any] = {
        "adjust": rules.start_up == "corrected",
        "ignore_na": rules.missing == "skip",
    }
    if rules.halflife_ms is not None:  # with times, pandas has the mean only
        halflife = pd.Timedelta(milliseconds=rules.halflife_ms)
        window = frame.ewm(halflife=halflife, times=np.array(times, "datetime64[ms]"), **how)
        return {f"{field}_mean": column for field, column in window.mean().items()}
    if rules.start_up == "uncorrected":
        first = pd.DataFrame([[0.0, 0.0]], columns=list(FIELDS))
        window = pd.concat([first, frame]).ewm(alpha=1 - rules.beta, min_periods=2, **how)
        return {f"{field}_mean": column[1:] for field, column in window.mean().items()}
    window = frame.ewm(alpha=1 - rules.beta, **how)
    found = {
        "mean": window.mean(),
        "var": window.var(),
        "std": window.std(),
        "var_biased": window.var(bias=True),
        "std_biased": window.std(bias=True),
        **({"sum": window.sum()} if how["adjust"] else {}),
    }
    columns = {f"{f}_{name}": frame[f] for name, frame in found.items() for f in FIELDS}
    columns["a_b_cov"] = window.cov().xs("a", level=1)["b"]
    columns["a_b_corr"] = window.corr().xs("a", level=1)["b"]
    return columns


def by_polars(rules: Rules, kind: str, k: int) -> dict[str, Any]:
    """Return what polars has of both fields of a series, where they are not missing."""
    times, values, _ = series_of(kind, k)
    columns: dict[str, Any] = {}
    for field, numbers in zip(FIELDS, values.T, strict=True):
        column = pl.Series(numbers).fill_nan(None)
        if rules.halflife_ms is not None:
            at = pl.Series(times).cast(pl.Datetime("ms"))
            found = {"mean": column.ewm_mean_by(at, half_life=f"{rules.halflife_ms:.0f}ms")}
        else:
            how: dict[str, Any] = {
                "alpha": 1 - rules.beta,
                "adjust": rules.start_up == "corrected",
                "ignore_nulls": rules.missing == "skip",
            }
            found = {
                "mean": column.ewm_mean(**how),
                "var": column.ewm_var(**how),
                "std": column.ewm_std(**how),
                "var_biased": column.ewm_var(bias=True, **how),
                "std_biased": column.ewm_std(bias=True, **how),
            }
        columns |= {f"{field}_{name}": c.to_numpy() for name, c in found.items()}
    return columns


@pytest.mark.parametrize(
    ("peer", "rules"),
    [
        pytest.param(peer, rules, id=f"{peer}-{name_of(rules)}")
        for peer, rules in itertools.product(("pandas", "polars"), RULES)
        if not any(reason(peer, rules) for reason in NOT_THERE.values())
    ],
)
def test_pandas_and_polars_agree_with_the_definition(peer: str, rules: Rules) -> None:
    for kind, k in itertools.product(("together", "apart"), range(SERIES)):
        missing = dict(zip(FIELDS, np.isnan(series_of(kind, k)[1]).T, strict=True))
        for name, column in {"pandas": by_pandas, "polars": by_polars}[peer](
            rules, kind, k
        ).items():
            expected, scale = by_definition(rules, kind)[name][k]
            got = np.array(column, np.float64)
            if peer == "polars":
                expected = np.where(missing[name[0]], math.nan, expected)
            if name == "a_b_cov":  # pandas' rounding makes a covariance of 0 of one observation
                got[(got == 0.0) & np.isnan(expected)] = math.nan
            tolerance = digits_lost(peer, rules, name.removeprefix("a_").removeprefix("b_"))
            assert_close(got, expected, scale, f"{name} of series {k}", tolerance)
