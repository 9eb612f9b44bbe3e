"""The laws of policies: for any smoothings, fields, policies and causes, on every path.

A family of smoothings is drawn, and readings with any mix of causes. Then it must make no
difference how the readings are cut, whether they go by columns or one by one, or which smoothings
stand beside; and what comes out must be as `naive` defines it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ewma_ops.table.table
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.errors import ReadingError
from ewma_ops.stats.composites import dema
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.policies import SEVERITY
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingLike
from ewma_ops.table.table import SeriesTable
from tests.oracles import naive

NAN, INF = math.nan, math.inf
BOUNDS: dict[str, Any] = {"lowest": -2.0, "highest": 2.0}
FIELDS: list[Any] = [["a", "b"], ["a", "b", "c"], 1, 2]
DECAYS: dict[str, tuple[Decay, naive.Rules]] = {
    "count": (Decay(beta=0.5), naive.Rules(beta=0.5, missing="decay")),
    "slow": (Decay(beta=0.9), naive.Rules(beta=0.9, missing="decay")),
    "time": (Decay(halflife="2s"), naive.Rules(halflife_ms=2000.0, missing="decay")),
}
STATISTICS = ["mean", "var", "n_eff", "count"]

law = settings(max_examples=60, deadline=None, derandomize=True)


class Drawn(NamedTuple):
    """One smoothing: how it decays, and its policy for each cause."""

    decay: str
    policies: Mapping[str, Any]
    options: Mapping[str, Any]

    def smoothing(self) -> Smoothing:
        late = self.policies["late"] != "take"
        lateness: dict[str, Any] = {"max_lateness": "1s"} if late else {}
        return Smoothing(
            DECAYS[self.decay][0], **self.policies, **self.options, **BOUNDS, **lateness
        )


SHARED = st.fixed_dictionaries(
    {
        cause: st.sampled_from([*["skip"] * 4, *others])
        for cause, others in {
            "missing": ["reset", "dead-letter"],
            "non_finite": ["reset", "clip", "dead-letter"],
            "out_of_range": ["reset", "clip", "dead-letter"],
            "late": ["take", "take", "reset", "clip", "dead-letter"],
            "equal_times": ["take", "take", "reset", "dead-letter"],
        }.items()
    }
)
"""The policies that all smoothings of a family have in common, but that some may decay."""


@st.composite
def families(draw: st.DrawFn, most: int = 3) -> list[Drawn]:
    shared = draw(SHARED)
    found: list[Drawn] = []
    for _ in range(draw(st.sampled_from([1, 2, 2, most]))):
        decay = draw(st.sampled_from(list(DECAYS)))
        policies = {
            cause: "decay" if policy == "skip" and draw(st.booleans()) else policy
            for cause, policy in shared.items()
        }
        if decay == "time":
            for cause in ("late", "equal_times"):
                policies[cause] = shared[cause]
        options: list[dict[str, Any]] = [{}, {"start_up": "first"}, {"min_periods": 2}]
        statistics = draw(st.sampled_from([["mean"], STATISTICS, ["sum", "mean", "settled"]]))
        start = draw(st.sampled_from(options))
        if start.get("start_up") == "first":
            statistics = [name for name in statistics if name != "sum"]
        found.append(Drawn(decay, policies, {**start, "statistics": statistics}))
    return found


ODD = [NAN, NAN, INF, -INF, 99.0, -3.0]


@st.composite
def readings(draw: st.DrawFn, width: int, most: int = 30) -> Readings:
    """Draw readings of one or two series, with values and times out of the ordinary."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, most))
    values = random.uniform(-2, 2, (n, width)).round(2)
    odd = random.random((n, width)) < draw(st.sampled_from([0.1, 0.4, 0.8]))
    values[odd] = random.choice(ODD, int(odd.sum()))
    steps = random.choice([0, 0, 300, 700, 2500, -600, -3000], n)
    ids = [f"s{k}" for k in random.integers(0, draw(st.integers(1, 2)), n).tolist()]
    times = 10_000 + np.cumsum(steps)
    found = Readings.of(ids, values if width > 1 else values[:, 0], times, finite=False)
    return replace(found, origins=Origins(np.zeros(n, np.int32), np.arange(n)))


def width_of(fields: Any) -> int:
    return fields if isinstance(fields, int) else len(fields)


@st.composite
def cases(draw: st.DrawFn, fields: Sequence[Any] = FIELDS) -> tuple[list[Drawn], Any, Readings]:
    chosen = draw(st.sampled_from(list(fields)))
    return draw(families()), chosen, draw(readings(width_of(chosen)))


def named(
    smoothing_set: Sequence[Drawn], fields: Any, *, composites: bool = False
) -> dict[str, SmoothingLike]:
    """Give each of the smoothings a name; and what is made of the first, as a composite."""
    asked: dict[str, SmoothingLike] = {
        f"x{i}": one.smoothing() for i, one in enumerate(smoothing_set)
    }
    if composites and (not isinstance(fields, int) or fields == 1):
        asked["twice"] = dema(replace(smoothing_set[0].smoothing(), statistics=["mean"]))
    return asked


@contextmanager
def by(path: str) -> Iterator[None]:
    """Take even the shortest runs by columns, or even the longest one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ewma_ops.table.table, "_SMALLEST_BATCH", 0 if path == "columns" else 1 << 30)
        yield


def pick(stream: Readings, start: int, stop: int) -> Readings:
    return stream.take(np.arange(start, stop, dtype=np.intp))


class Outcome(NamedTuple):
    """All that came of a stream: by place, so that it does not matter how it was cut."""

    columns: dict[str, NDArray[np.float64]]
    rejected: list[tuple[int, str, str]]
    tally: dict[str, int]


def outcome(table: SeriesTable, parts: Sequence[Readings]) -> Outcome:
    smoothed = [table.update(part, collect_rejected=True) for part in parts]
    return joined(table.smoothing_set.names, smoothed)


def joined(names: Sequence[str], smoothed: Sequence[Smoothed]) -> Outcome:
    rejected: list[tuple[int, str, str]] = []
    tally = Counter[str]()
    for one in smoothed:
        tally.update(one.tally)
        if one.rejected is not None:
            origins = one.rejected.readings.origins
            assert origins is not None
            told = zip(origins.offsets.tolist(), one.rejected.rejections, strict=True)
            rejected += [(at, rejection.cause, rejection.detail) for at, rejection in told]
    columns = {name: np.concatenate([one.statistics[name] for one in smoothed]) for name in names}
    return Outcome(columns, rejected, dict(tally))


def assert_same(got: Outcome, expected: Outcome) -> None:
    assert got.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        found = got.columns[name]
        assert found.shape == column.shape, name
        assert found.tobytes() == column.tobytes(), (name, found, column)
    assert got.rejected == expected.rejected
    assert got.tally == expected.tally


cuts = st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["columns", "steps"])), max_size=8)


@pytest.mark.slow
@law
@given(cases(), cuts)
def test_columns_steps_and_any_cut_give_the_same_bits(
    case: tuple[list[Drawn], Any, Readings], lengths: list[tuple[int, str]]
) -> None:
    smoothing_set, fields, stream = case
    asked = named(smoothing_set, fields, composites=True)
    with by("columns"):
        expected = outcome(SeriesTable(asked, fields=fields), [stream])
    with by("steps"):
        assert_same(outcome(SeriesTable(asked, fields=fields), [stream]), expected)
    bounds = [0, *itertools.accumulate(n for n, _ in lengths)]
    bounds = [*(at for at in bounds if at < len(stream)), len(stream)]
    paths = itertools.cycle([path for _, path in lengths] or ["columns"])
    table, parts = SeriesTable(asked, fields=fields), list[Smoothed]()
    for start, stop in itertools.pairwise(bounds):
        with by(next(paths)):
            parts.append(table.update(pick(stream, start, stop), collect_rejected=True))
    assert_same(joined(table.smoothing_set.names, parts), expected)


@pytest.mark.slow
@law
@given(cases([1, ["a", "b"]]))
def test_a_step_gives_the_bits_and_the_words_of_a_column(
    case: tuple[list[Drawn], Any, Readings],
) -> None:
    smoothing_set, fields, stream = case
    asked = named(smoothing_set, fields, composites=True)
    with by("columns"):
        expected = outcome(SeriesTable(asked, fields=fields), [stream])
    table, rows, told = SeriesTable(asked, fields=fields), list[Any](), list[Any]()
    assert stream.times_ms is not None
    points = zip(stream.series_ids, stream.values.tolist(), stream.times_ms.tolist(), strict=True)
    for at, (series_id, value, time_ms) in enumerate(points):
        try:
            rows.append(table.step(series_id, value, time_ms))
        except ReadingError as error:
            told.append((at, str(error)))
    assert told == [(at, detail) for at, _, detail in expected.rejected]
    found = np.array(rows, np.float64).reshape(-1, len(table.smoothing_set.names)).T
    for column, wanted in zip(found, expected.columns.values(), strict=True):
        assert column.tobytes() == wanted.tobytes()


@pytest.mark.slow
@law
@given(cases(), st.sampled_from(["columns", "steps"]))
def test_a_smoothing_beside_others_gives_the_bits_that_it_gives_alone(
    case: tuple[list[Drawn], Any, Readings], path: str
) -> None:
    smoothing_set, fields, stream = case
    asked = named(smoothing_set, fields, composites=True)
    with by(path):
        together = outcome(SeriesTable(asked, fields=fields), [stream])
        for name, one in asked.items():
            alone = outcome(SeriesTable({name: one}, fields=fields), [stream])
            own = {key: together.columns[key] for key in alone.columns}
            # How often a cause counted is told of the family; which readings enter is the same.
            assert_same(Outcome(own, together.rejected, alone.tally), alone)


@pytest.mark.slow
@law
@given(cases([1, ["a", "b"], ["a", "b", "c"]]), st.sampled_from(["columns", "steps"]))
def test_what_comes_out_is_as_defined(case: tuple[list[Drawn], Any, Readings], path: str) -> None:
    smoothing_set, fields, stream = case
    asked = {
        f"x{i}": one._replace(options={"statistics": STATISTICS}).smoothing()
        for i, one in enumerate(smoothing_set)
    }
    assert stream.times_ms is not None
    with by(path):
        table = SeriesTable(asked, fields=fields)
        smoothed = table.update(stream, collect_rejected=True)
    values = stream.values.reshape(len(stream), -1).tolist()
    columns = smoothed.statistics
    for series_id in sorted(set(stream.series_ids)):
        own = [at for at, name in enumerate(stream.series_ids) if name == series_id]
        points = [(int(stream.times_ms[at]), values[at]) for at in own]
        kept = enumerate(smoothed.readings.series_ids)
        places = [at for at, name in kept if name == series_id]
        for i, one in enumerate(smoothing_set):
            lateness = 0 if one.policies["late"] == "take" else 1000
            policies = naive.Policies(dict(one.policies), -2.0, 2.0, lateness)
            expected, refused = naive.governed_fields(
                points, DECAYS[one.decay][1], policies, STATISTICS
            )
            assert len(own) - len(refused) == len(places)
            names = [""] if isinstance(fields, int) else [f"{field}_" for field in fields]
            for field, found in zip(names, expected, strict=True):
                for name in STATISTICS:
                    np.testing.assert_allclose(
                        columns[f"{field}x{i}_{name}"][places], found[name],
                        rtol=1e-9, atol=1e-9, err_msg=f"{field} {one} {name}",
                    )  # fmt: skip


def test_the_order_of_severity_is_that_of_the_definition() -> None:
    assert SEVERITY == naive.SEVERITY
