"""The cells of the table of oracles, streams to fill them with, and what comes out by definition.

A cell that is impossible has its reason here. Knows the options of ours, and computes nothing with
it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.statistics import PAIRED, STATISTICS
from tests.oracles import naive
from tests.oracles.naive import Rules

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
    "count": [Rules(beta=beta, horizon=3.0) for beta in (0.9, 0.5, 0.02, 0.0)],
    "time": [Rules(halflife_ms=ms, horizon=7e9) for ms in (1000.0, 86_400_000.0)],
}
WEIGHTINGS = ("observation", "volume", "last", "next", "linear")
CHUNKINGS = ("step", "batch", "cuts", "items-flow", "batches-flow", "killed-flow")

BIASED = ("var_biased", "std_biased", "mean_square", "cov_biased")
UNBIASED = ("var", "std", "sem", "z", "cov", "corr")
OUTLOOK = tuple(naive.OUTLOOK_SIZES)


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
    "a signal starts with its first reading, which at most stands for all before": lambda c: (
        c.by_duration and c.start_up not in ("corrected", "first")
    ),
    "these starts add all weights up to 1, and volumes do not": lambda c: (
        c.weighting == "volume" and c.start_up in ("uncorrected", "simple")
    ),
    "weights that add up to 1 make the sum the mean": lambda c: (
        c.statistic == "sum" and c.start_up in ("first", "simple")
    ),
    "a sum over time would depend on its unit": lambda c: c.statistic == "sum" and c.by_duration,
    "a rate is per time, of readings that weigh 1, and of nothing before them": lambda c: (
        c.statistic == "rate"
        and (c.clock, c.start_up, c.weighting) != ("time", "corrected", "observation")
    ),
    "without times nothing is late": lambda c: (c.statistic, c.clock) == ("revision", "count"),
    "a prior has settled before the first reading": lambda c: (
        (c.statistic, c.start_up) == ("settled", "prior")
    ),
    "volumes have no full weight to be gathered": lambda c: (
        (c.statistic, c.weighting, c.clock) == ("settled", "volume", "count")
    ),
    "durations are no number of independent observations": lambda c: (
        c.by_duration and c.statistic in ("n_eff", *UNBIASED)
    ),
    "a value that is held has no trend": lambda c: c.by_duration and c.statistic in OUTLOOK,
    "none of the rules has a season: it is compared in tests/stats/test_season.py": lambda c: (
        c.statistic == "season"
    ),
    "a start beside the readings has no times, and so no line": lambda c: (
        c.start_up != "corrected" and c.statistic in OUTLOOK
    ),
    "a line varies within its gap, which the values at its ends do not tell": lambda c: (
        c.weighting == "linear" and c.statistic in BIASED
    ),
}


@cache
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


def smoothing_of(rules: Rules, statistics: Sequence[str] | None = None) -> Smoothing:
    if rules.halflife_ms is None:
        decay = Decay(beta=rules.beta)
    else:
        decay = Decay(halflife=timedelta(milliseconds=rules.halflife_ms))
    names = ("start_up", "missing", "weighting", "min_periods", "min_weight")
    options = {name: getattr(rules, name) for name in (*names, *STARTS[rules.start_up])}
    options |= {name: getattr(rules, name) for name in ("outlook", "coverage", "error_span")}
    by_count = rules.halflife_ms is None
    for name, ahead in (("horizon", rules.horizon), ("fixed_lag", naive.fixed_lag(rules))):
        options[name] = ahead if by_count else timedelta(milliseconds=ahead)
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
    """Return which reading of which series comes when: (series, twin, reading)."""
    waiting = [(k, twin) for k in range(SERIES) for twin in range(twins)]
    turns = [which for which in waiting for _ in series_of(kind, which[0])[0]]
    random.Random(21).shuffle(turns)
    taken: dict[tuple[int, int], Iterator[int]] = {which: itertools.count() for which in waiting}
    return [(*which, next(taken[which])) for which in turns]


@cache
def places(kind: str, twins: int) -> NDArray[np.intp]:
    """Return where each reading that comes stands, with all series one after the other."""
    starts = np.cumsum([0, *(len(series_of(kind, k)[0]) for k in range(SERIES))])
    return np.array([starts[k] + i for k, _, i in arrivals(kind, twins)])


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


TWINS = {"batch": 4, "batches-flow": 4}
"""With four of each, a batch of two fields is laid out by rounds, and one of a field by runs."""


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
            if "z" in single:
                scales["z"] = np.abs(columns["z"]) + naive.sizes_of_z(series, rules, volumes)
            of_outlook = [s for s in single if s in OUTLOOK]
            scales |= naive.sizes_of_outlook(series, rules, of_outlook, volumes)
            for name in single:
                found[f"{field}_{name}"].append(Expected(columns[name], np.abs(scales[name])))
        paired = [s for s in statistics_of(rules) if s in PAIRED]
        if paired:
            columns = naive.smooth(fields[0], rules, PAIRED, volumes, values[:, 1])
            scales = {"corr": np.ones(len(times))}
            for name in ("cov", "cov_biased"):
                scales[name] = np.abs(columns[name] / columns["corr"])
            for name in paired:
                found[f"a_b_{name}"].append(Expected(columns[name], scales[name]))
    return dict(found)


def assert_as_defined(
    got: Columns, rules: Rules, kind: str, chunking: str, pairs: bool = True
) -> None:
    expected = by_definition(rules, kind)
    at = places(kind, TWINS.get(chunking, 1))
    assert set(got) == {name for name in expected if pairs or not name.startswith("a_b_")}
    for name, column in got.items():
        wanted, scale = (np.concatenate(parts)[at] for parts in zip(*expected[name], strict=True))
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
