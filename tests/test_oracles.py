"""One table of oracles: statistic x start-up x missing x clock x weighting x chunking.

A cell is impossible, and then the reason stands here and the options are refused; or else it is
computed, and compared with the naive definition. Pandas and polars stand beside it where they
define the same.
"""

from __future__ import annotations

import itertools
import math
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import bytewax.operators as op
import numpy as np
import pandas as pd
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main
from numpy.typing import NDArray

import ewma_ops.operators as ew
from ewma_ops.decay import Decay
from ewma_ops.errors import ConfigError
from ewma_ops.readings import Origins, Reading, Readings, Smoothed, SmoothedReading, event_key
from ewma_ops.smoothing import PAIRED, STATISTICS, Smoothing
from ewma_ops.table import SeriesTable
from tests import naive
from tests.naive import Rules

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]

TOLERANCE = 1e-12
FIELDS = ("a", "b")

# The cells ------------------------------------------------------------------------------------

STARTS: dict[str, dict[str, Any]] = {
    "corrected": {},
    "uncorrected": {},
    "first": {},
    "simple": {"start_n": 5},
    "prior": {"prior": 3.0, "prior_weight": 2.5},
}
CLOCKS: dict[str, list[Rules]] = {
    "count": [Rules(beta=beta) for beta in (0.9, 0.5, 0.02, 0.0)],
    "time": [Rules(halflife_ms=halflife_ms) for halflife_ms in (1000.0, 86_400_000.0)],
}
WEIGHTINGS = ("observation", "volume", "last", "next", "linear")
CHUNKINGS = ("step", "batch", "cuts", "items-flow", "batches-flow", "killed-flow")

BIASED = ("var_biased", "std_biased", "mean_square")
UNBIASED = ("var", "std", "sem", "cov", "corr")


class Cell(NamedTuple):
    statistic: str
    start_up: str
    missing: str
    clock: str
    weighting: str
    chunking: str

    @property
    def by_duration(self) -> bool:
        return self.weighting in ("last", "next", "linear")


CELLS = [
    Cell(*cell)
    for cell in itertools.product(
        STATISTICS, STARTS, ("skip", "decay"), CLOCKS, WEIGHTINGS, CHUNKINGS
    )
]

IMPOSSIBLE: dict[str, Callable[[Cell], bool]] = {
    "a start from 0 is so many readings away, and no time says how many": lambda c: (
        c.start_up == "uncorrected" and c.clock == "time"
    ),
    "without times there are no durations": lambda c: c.by_duration and c.clock == "count",
    "a value is held over a missing reading: nothing decays for it": lambda c: (
        c.by_duration and c.missing == "decay"
    ),
    "what is held lasts from reading to reading, and nothing was held before": lambda c: (
        c.by_duration and c.start_up != "corrected"
    ),
    "these starts add all weights up to 1, and volumes do not": lambda c: (
        c.weighting == "volume" and c.start_up in ("uncorrected", "first", "simple")
    ),
    "weights that add up to 1 make the sum the mean": lambda c: (
        c.statistic == "sum" and c.start_up in ("first", "simple")
    ),
    "a sum over time would depend on its unit": lambda c: c.statistic == "sum" and c.by_duration,
    "a rate is per time, of readings that weigh 1, and of nothing before them": lambda c: (
        c.statistic == "rate"
        and (c.clock, c.start_up, c.weighting) != ("time", "corrected", "observation")
    ),
    "a prior has settled before the first reading": lambda c: (
        (c.statistic, c.start_up) == ("settled", "prior")
    ),
    "volumes have no full weight to be gathered": lambda c: (
        (c.statistic, c.weighting, c.clock) == ("settled", "volume", "count")
    ),
    "durations are no number of independent observations": lambda c: (
        c.by_duration and c.statistic in ("n_eff", *UNBIASED)
    ),
    "a line varies within its gap, which the values at its ends do not tell": lambda c: (
        c.weighting == "linear" and c.statistic in BIASED
    ),
}


def possible(cell: Cell) -> bool:
    return not any(rule(cell) for rule in IMPOSSIBLE.values())


def cells_of(rules: Rules, chunking: str) -> list[Cell]:
    clock = "count" if rules.halflife_ms is None else "time"
    where = (rules.start_up, rules.missing, clock, rules.weighting, chunking)
    cells = [Cell(statistic, *where) for statistic in STATISTICS]
    return [cell for cell in cells if possible(cell)]


RULES = [
    rules
    for start_up, missing, clock, weighting in itertools.product(
        STARTS, ("skip", "decay"), CLOCKS, WEIGHTINGS
    )
    if possible(Cell("mean", start_up, missing, clock, weighting, "step"))
    for number in CLOCKS[clock]
    for rules in [
        replace(number, start_up=start_up, missing=missing, weighting=weighting, **STARTS[start_up])
    ]
]
IN_FLOWS = [r for r in RULES if r.beta == 0.9 or r.halflife_ms == 1000.0]
COMPARED = [
    (rules, chunking)
    for rules in RULES
    for chunking in CHUNKINGS
    if not chunking.endswith("flow") or rules in IN_FLOWS
]


def test_every_cell_is_compared_or_impossible() -> None:
    compared = {cell for rules, chunking in COMPARED for cell in cells_of(rules, chunking)}
    impossible = {cell for cell in CELLS if not possible(cell)}
    assert len(set(CELLS)) == len(STATISTICS) * 5 * 2 * 2 * 5 * 6
    assert compared == set(CELLS) - impossible
    assert all(any(map(reason, CELLS)) for reason in IMPOSSIBLE.values())


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


def smoothing_of(rules: Rules, statistics: Sequence[str] | None = None) -> Smoothing:
    if rules.halflife_ms is None:
        decay = Decay(beta=rules.beta)
    else:
        decay = Decay(halflife=timedelta(milliseconds=rules.halflife_ms))
    names = ("start_up", "missing", "weighting", "min_periods", "min_weight")
    options = {name: getattr(rules, name) for name in (*names, *STARTS[rules.start_up])}
    return Smoothing(decay, **options, statistics=statistics or statistics_of(rules))


def statistics_of(rules: Rules) -> list[str]:
    return [cell.statistic for cell in cells_of(rules, "step")]


def name_of(rules: Rules) -> str:
    clock = f"beta{rules.beta}" if rules.halflife_ms is None else f"{rules.halflife_ms:.0f}ms"
    bounds = f"-min{rules.min_periods}-{rules.min_weight}"
    return f"{clock}-{rules.start_up}-{rules.missing}-{rules.weighting}" + (
        bounds if rules.min_periods or rules.min_weight else ""
    )


# The streams ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """Readings of two fields in order of arrival, of series that come ``twins`` times each."""

    ids: list[str]
    times: list[int]
    values: Floats
    volumes: list[float]

    def readings(self, field: int | None = None) -> Readings:
        values = self.values if field is None else self.values[:, field]
        return Readings.of(self.ids, values, self.times, self.volumes)


SERIES = 8
LENGTHS = (1, 15, 45)
KINDS = {"together": "count", "apart": "count", "late": "time"}
"""Fields that are missing together; each by itself; and readings that come late as well."""


@cache
def series_of(kind: str, k: int) -> tuple[list[int], Floats, list[float]]:
    """Draw times, values and volumes: mixed magnitudes, gaps, equal times, missing readings."""
    source = random.Random(f"{kind} {k}")
    time, times, values, volumes = 1_700_000_000_000 + k, [], [], []
    for _ in range(LENGTHS[k % 3]):
        time += round(source.choice((0, 1, 10 ** source.uniform(0, 7), 10**9)))
        late = source.random() < 0.3 and kind == "late"
        times.append(time - (round(10 ** source.uniform(0, 8)) if late else 0))
        a = source.choice((-1, 1, 1)) * 10 ** source.uniform(-6, 6)
        b = 0.5 * a + source.choice((-1, 1, 1)) * 10 ** source.uniform(-6, 6)
        without_a = source.random() < 0.25
        without_b = source.random() < 0.25 if kind != "together" else without_a
        values.append([math.nan if without_a else a, math.nan if without_b else b])
        volumes.append(source.choice((0.0, 1.0, 10 ** source.uniform(-3, 3))))
    return times, np.array(values), volumes


@cache
def arrivals(kind: str, twins: int) -> list[tuple[int, int, int]]:
    """Tell which reading of which series comes when: (series, twin, reading)."""
    waiting = [(k, twin) for k in range(SERIES) for twin in range(twins)]
    turns = [which for which in waiting for _ in series_of(kind, which[0])[0]]
    random.Random(21).shuffle(turns)
    taken: dict[tuple[int, int], Iterator[int]] = {which: itertools.count() for which in waiting}
    return [(*which, next(taken[which])) for which in turns]


@cache
def stream(kind: str, twins: int) -> Stream:
    rows = arrivals(kind, twins)
    parts = [series_of(kind, k) for k, _, _ in rows]
    return Stream(
        [f"series-{k}-{twin}" for k, twin, _ in rows],
        [times[i] for (times, _, _), (_, _, i) in zip(parts, rows, strict=True)],
        np.array([values[i] for (_, values, _), (_, _, i) in zip(parts, rows, strict=True)]),
        [volumes[i] for (_, _, volumes), (_, _, i) in zip(parts, rows, strict=True)],
    )


def kinds(rules: Rules) -> list[str]:
    return [kind for kind, clock in KINDS.items() if clock == "count" or rules.halflife_ms]


# By definition --------------------------------------------------------------------------------


class Expected(NamedTuple):
    """A column by definition, and what its errors are relative to."""

    column: Floats
    scale: Floats


@cache
def by_definition(rules: Rules, kind: str) -> dict[str, list[Expected]]:
    """Return each statistic of each field or pair, such as ``a_var``, series by series."""
    free = replace(rules, min_periods=0, min_weight=0.0)
    found: dict[str, list[Expected]] = defaultdict(list)
    for k in range(SERIES):
        times, values, volumes = series_of(kind, k)
        fields = [list(zip(times, column, strict=True)) for column in values.T.tolist()]
        for field, series in zip(FIELDS, fields, strict=True):
            single = [s for s in statistics_of(rules) if s not in PAIRED]
            columns = naive.smooth(series, rules, single, volumes)
            sizes = replace(free, prior=abs(rules.prior))
            added = [s for s in ("mean", "sum") if s in single]
            absolute = [(time, abs(x)) for time, x in series]
            scales = {**columns, **naive.smooth(absolute, sizes, added, volumes)}
            for name in single:
                found[f"{field}_{name}"].append(Expected(columns[name], np.abs(scales[name])))
        paired = [s for s in statistics_of(rules) if s in PAIRED]
        if paired:
            columns = naive.smooth(fields[0], rules, paired, volumes, values[:, 1])
            deviations = np.abs(columns["cov"] / columns["corr"])
            found["a_b_cov"].append(Expected(columns["cov"], deviations))
            found["a_b_corr"].append(Expected(columns["corr"], np.ones(len(times))))
    return dict(found)


def assert_as_defined(
    got: Columns, rules: Rules, kind: str, chunking: str, pairs: bool = True
) -> None:
    expected = by_definition(rules, kind)
    rows = [(k, i) for k, _, i in arrivals(kind, TWINS.get(chunking, 1))]
    assert set(got) == {name for name in expected if pairs or not name.startswith("a_b_")}
    for name, column in got.items():
        e = expected[name]
        wanted, scale = np.array([[e[k].column[i], e[k].scale[i]] for k, i in rows]).T
        # Below the floor float64 has fewer digits.
        floor = 1e-153 if name.endswith(("std", "std_biased", "sem")) else 1e-307
        assert_close(column, wanted, scale, name, floor=floor)


def assert_close(
    got: Floats,
    expected: Floats,
    scale: Floats,
    what: str,
    tolerance: float = TOLERANCE,
    floor: float = 1e-307,
) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), what)
    off = np.maximum(np.abs(got - expected) - floor, 0.0)
    error = np.nan_to_num(off / np.where(scale > 0.0, scale, 1.0))
    at = int(np.argmax(error))
    assert error[at] <= tolerance, f"{what}, reading {at}: {got[at]!r}, not {expected[at]!r}"


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
TWINS = {"batch": 4, "batches-flow": 4}
"""With four of each, a batch of two fields is laid out by rounds, and one of a field by runs."""


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
    names, parts = table.family.names, []
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
    names = SeriesTable(smoothings, fields=FIELDS).family.names
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
    [pytest.param(*case, id=f"{name_of(case[0])}-{case[1]}") for case in COMPARED],
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
