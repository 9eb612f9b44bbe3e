"""Readings that are taken back or corrected: the table goes on as if they had never been wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable


def quotes(n: int, *, missing: float) -> Readings:
    draw = np.random.default_rng(n)
    values = draw.normal(100, 1, (n, 2))
    values[:, 1] += values[:, 0]
    values[draw.random((n, 2)) < missing] = np.nan
    ids = [f"s{k}" for k in draw.integers(0, 7, n).tolist()]
    return Readings.of(ids, values, np.cumsum(draw.integers(0, 5000, n)))


@pytest.mark.parametrize("weighting", ["observation", "volume"])
def test_a_reading_taken_back_is_as_if_it_had_not_come(weighting: Any) -> None:
    names = ["mean", "sum", "var", "var_biased", "sem", "n_eff", "count", "corr"]
    smoothing = Smoothing(Decay(halflife="20s"), statistics=names, weighting=weighting)
    readings = replace(quotes(60, missing=0.0), weights=np.random.default_rng(2).uniform(1, 3, 60))
    readings = replace(readings, series_ids=["s"] * 60)
    assert readings.times_ms is not None
    assert readings.weights is not None
    table, expected = (SeriesTable(smoothing, fields=["bid", "ask"]) for _ in range(2))
    table.update(readings)
    for i in (20, 45):
        weight = readings.weights[i] if weighting == "volume" else 1.0
        table.retract("s", readings.values[i], int(readings.times_ms[i]), float(weight))
    expected.update(readings.take(np.delete(np.arange(60), [20, 45])))
    last = readings.take(np.array([59]))
    want, got = expected.update(last).statistics, table.update(last).statistics
    for name, column in want.items():
        np.testing.assert_allclose(got[name], column, rtol=1e-11, err_msg=name)


def test_what_cannot_be_taken_back() -> None:
    table = SeriesTable(Smoothing(Decay(halflife="1s")))
    with pytest.raises(ReadingError, match="not in the table"):
        table.retract("s", 1.0, 0)
    table.step("s", 1.0, 0)
    with pytest.raises(ReadingError, match="all the series has"):
        table.retract("s", 1.0, 0)
    with pytest.raises(ReadingError, match="newer than the series"):
        table.retract("s", 1.0, 1)


@pytest.mark.parametrize("weighting", ["observation", "volume"])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_a_reading_corrected_is_as_if_it_had_come_right(weighting: Any, missing: float) -> None:
    names = ["mean", "sum", "var", "var_biased", "sem", "n_eff", "count", "corr", "cov"]
    smoothing = Smoothing(Decay(halflife="20s"), statistics=names, weighting=weighting)
    right = replace(quotes(60, missing=missing), weights=np.random.default_rng(2).uniform(1, 3, 60))
    right = replace(right, series_ids=["s"] * 60)
    assert right.times_ms is not None
    assert right.weights is not None
    wrong = replace(right, values=right.values.copy())
    wrong.values[[20, 45, 59]] += 5.0
    table, expected = (SeriesTable(smoothing, fields=["bid", "ask"]) for _ in range(2))
    table.update(wrong)
    for i in (20, 45, 59):
        weight = float(right.weights[i]) if weighting == "volume" else 1.0
        table.correct("s", wrong.values[i], right.values[i], int(right.times_ms[i]), weight)
    expected.update(right)
    last = Readings.of(["s"], [[1.0, 3.0]], [int(right.times_ms[-1]) + 999], [1.0])
    want, got = expected.update(last).statistics, table.update(last).statistics
    for name, column in want.items():
        np.testing.assert_allclose(got[name], column, rtol=1e-11, err_msg=name)


def test_the_only_reading_that_counts_can_be_corrected() -> None:
    table = SeriesTable(Smoothing(Decay(halflife="1s"), statistics=["mean", "var_biased"]))
    table.step("s", 1e6, 0)
    table.correct("s", 1e6, 2.0, 0)
    assert table.step("s", math.nan, 0) == (2.0, 0.0)
    table.step("s", -3e8, 100_000)  # the one before weighs next to nothing
    table.correct("s", -3e8, 5.0, 100_000)
    assert table.step("s", math.nan, 100_000) == pytest.approx((5.0, 0.0), abs=1e-12)


def test_what_cannot_be_corrected() -> None:
    table = SeriesTable(Smoothing(Decay(halflife="1s"), highest=10.0))
    table.step("s", 1.0, 0)
    for old, new, weight, says in [
        (1.0, math.nan, 1.0, "one of them is missing"),
        (1.0, 11.0, 1.0, "value 11.0 of series 's' is out of bounds"),
        (1.0, 2.0, 1.5, "weighs less"),
    ]:
        with pytest.raises(ReadingError, match=says):
            table.correct("s", old, new, 0, weight)
    with pytest.raises(ReadingError, match="newer than the series"):
        table.correct("s", 1.0, 2.0, 1)
    with pytest.raises(ReadingError, match="not in the table"):
        table.correct("t", 1.0, 2.0, 0)
    assert table.step("s", math.nan, 0) == (1.0,)


def test_a_revision_is_counted_once() -> None:
    smoothing = Smoothing(Decay(halflife="1s"), statistics=["mean", "revision"])
    table, other = SeriesTable(smoothing), SeriesTable(smoothing)
    steps = [(0, 1.0), (1000, 1.0), (1000, 1.0), (500, 1.0), (400, math.nan), (2000, 1.0)]
    revisions = [table.step("s", value, time_ms)[1] for time_ms, value in steps]
    assert revisions == [0, 0, 0, 1, 1, 1]
    table.retract("s", 1.0, 500)
    assert table.step("s", 1.0, 3000)[1] == 2
    table.correct("s", 1.0, 2.0, 3000)
    assert table.step("s", 1.0, 4000)[1] == 3
    other.step("s", 1.0, 0)
    other.step("t", 1.0, 0)
    table.merge(other)
    assert table.step("s", 1.0, 5000)[1] == 4
    assert table.step("t", 1.0, 5000)[1] == 0


# The newest and the oldest --------------------------------------------------------------------

STARTS: list[dict[str, Any]] = [
    {"start_up": "corrected"},
    {"start_up": "uncorrected"},
    {"start_up": "first"},
    {"start_up": "simple", "start_n": 4},
    {"start_up": "prior", "prior": -2.0, "prior_weight": 3.0},
]
TIMED = ["mean", "sum", "settled", "rate"]


def test_the_newest_reading_is_as_if_it_had_never_come() -> None:
    table = SeriesTable(Smoothing(Decay(halflife="1s"), statistics=TIMED))
    for time_ms, value in [(0, 1.0), (1000, 4.0), (2000, 9.0)]:
        table.step("s", value, time_ms)
    table.retract("s", 9.0, 2000, newest_ms=1000)
    found = table.step("s", math.nan, 1000)
    assert found == pytest.approx((3.0, 4.5, 0.5, 2 * math.log(2)), rel=1e-13)


def test_a_clock_that_ran_ahead_can_be_set_back() -> None:
    smoothing = Smoothing(Decay(halflife="1s"), max_lateness="1s")
    table = SeriesTable(smoothing)
    table.step("s", 1.0, 0)
    table.step("s", 99.0, 8000)
    with pytest.raises(ReadingError, match="give its time as newest_ms"):
        table.retract("s", 99.0, 8000)
    with pytest.raises(ReadingError, match="before its newest"):
        table.step("s", 3.0, 1000)
    table.retract("s", 99.0, 8000, newest_ms=0)
    assert table.step("s", 3.0, 1000) == pytest.approx((7 / 3,), rel=1e-12)
    with pytest.raises(ReadingError, match="before its newest"):
        table.step("s", 3.0, -1)


def test_the_oldest_reading_is_as_if_it_had_never_come() -> None:
    table = SeriesTable(Smoothing(Decay(halflife="1s"), statistics=TIMED))
    for time_ms, value in [(0, 1.0), (1000, 4.0), (2000, 9.0)]:
        table.step("s", value, time_ms)
    with pytest.raises(ReadingError, match="give its time as oldest_ms"):
        table.retract("s", 1.0, 0)
    table.retract("s", 1.0, 0, oldest_ms=1000)
    found = table.step("s", math.nan, 2000)
    assert found == pytest.approx((22 / 3, 11.0, 0.5, 2 * math.log(2)), rel=1e-13)


@pytest.mark.parametrize("option", ["sum", "settled", "rate", "revision", "min_weight", "late"])
def test_what_depends_on_the_newest_time_needs_it(option: str) -> None:
    options: dict[str, Any] = {"statistics": ["mean", option]}
    if option == "min_weight":
        options = {"min_weight": 0.5}
    if option == "late":
        options = {"max_lateness": "5s"}
    table = SeriesTable(Smoothing(Decay(halflife="1s"), **options))
    for time_ms in (0, 1000, 2000):
        table.step("s", 5.0, time_ms)
    before = table.step("s", math.nan, 2000)
    for given, says in [
        (None, "give its time as newest_ms"),
        (2001, "after the newest reading"),
        (-100_000, "too long before"),
        (-10_000_000, "too long before"),
    ]:
        with pytest.raises(ReadingError, match=says):
            table.retract("s", 5.0, 2000, newest_ms=given)
    assert table.step("s", math.nan, 2000) == before
    table.retract("s", 5.0, 2000, newest_ms=1000)
    assert table.step("s", math.nan, 1000)[0] == pytest.approx(5.0)


def test_a_mean_does_not_depend_on_the_newest_time() -> None:
    names = ["mean", "var", "n_eff", "count"]
    table, expected = (
        SeriesTable(Smoothing(Decay(halflife="1s"), statistics=names)) for _ in range(2)
    )
    for time_ms, value in [(0, 1.0), (1000, 4.0), (1500, 5.0), (2000, 9.0)]:
        table.step("s", value, time_ms)
        if time_ms < 2000:
            expected.step("s", value, time_ms)
    table.retract("s", 9.0, 2000)
    for value, time_ms in [(math.nan, 1500), (8.0, 700), (3.0, 3000)]:
        wanted = expected.step("s", value, time_ms)
        assert table.step("s", value, time_ms) == pytest.approx(wanted, rel=1e-12)


def test_the_newest_of_fields_with_weights_of_their_own_is_not_retracted() -> None:
    smoothing = Smoothing(Decay(halflife="1s"), statistics=["mean", "sum"])
    table = SeriesTable(smoothing, fields=["a", "b"])
    for time_ms, values in [(0, [1.0, 1.0]), (1000, [4.0, math.nan]), (2000, [9.0, 9.0])]:
        table.step("s", values, time_ms)
    with pytest.raises(ReadingError, match="only corrected"):
        table.retract("s", [9.0, 9.0], 2000, newest_ms=1000)
    table.correct("s", [9.0, 9.0], [4.0, 1.0], 2000)
    found = dict(zip(table.smoothing_set.names, table.step("s", [math.nan] * 2, 2000), strict=True))
    assert [found["a_sum"], found["b_sum"]] == pytest.approx([6.25, 1.25])


def test_what_is_left_of_one_reading_has_no_variance() -> None:
    names = ["mean", "var", "var_biased", "n_eff"]
    table = SeriesTable(Smoothing(Decay(halflife="1s"), statistics=names))
    for time_ms, value in [(0, 0.1), (0, 0.2), (500_000, 7.3)]:
        table.step("s", value, time_ms)
    table.retract("s", 0.1, 0)
    table.retract("s", 0.2, 0)
    found = table.step("s", math.nan, 500_000)
    np.testing.assert_allclose(found, (7.3, math.nan, 0.0, 1.0), rtol=1e-14)
    assert table.step("s", 3.3, 0)[1] == pytest.approx(8.0)


def test_a_variance_that_rounding_has_lost_is_not_corrected() -> None:
    table = SeriesTable(Smoothing(Decay(halflife="1s"), statistics=["mean", "var"]))
    table.step("s", 1.0, 0)
    table.correct("s", 1.0, 2.0, 0)
    table.step("s", 5.0, 100_000)
    with pytest.raises(ReadingError, match="lost to rounding"):
        table.correct("s", 5.0, 9.0, 100_000)
    assert table.step("s", math.nan, 100_000) == pytest.approx((5.0, 4.5))


# Count decay: the open bar --------------------------------------------------------------------


def statistics_of(weighting: str) -> list[str]:
    names = ["mean", "var", "var_biased", "mean_square", "sem", "n_eff", "count", "cov", "corr"]
    return names if weighting == "volume" else [*names, "sum", "settled"]


def closings(weighting: Any, start: dict[str, Any], decay: Decay) -> Smoothing | None:
    names = statistics_of(weighting)
    if start["start_up"] in ("first", "simple", "prior"):
        names = [name for name in names if name not in ("sum", "settled")]
    try:
        return Smoothing(decay, **start, statistics=names, weighting=weighting)
    except ConfigError:
        return None


CLOSINGS = [
    found
    for weighting, start, beta in itertools.product(
        ("observation", "volume"), STARTS, (0.9, 0.5, 0.05)
    )
    if (found := closings(weighting, start, Decay(beta=beta))) is not None
]


def bars(table: SeriesTable, rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    for x, y, weight in rows:
        found = table.step("s", [x, y], None, weight)
    return found


@pytest.mark.parametrize("smoothing", CLOSINGS, ids=Smoothing.fingerprint)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 20])
def test_under_count_decay_the_newest_reading_is_corrected_and_retracted(
    smoothing: Smoothing, n: int
) -> None:
    draw = np.random.default_rng(n)
    rows = np.column_stack([draw.normal(100, 1, (n + 2, 2)), draw.uniform(1, 9, n + 2)]).tolist()
    end = [math.nan, math.nan, 1.0]

    def as_if(*wanted: Sequence[float]) -> tuple[float, ...]:
        return bars(SeriesTable(smoothing, fields=["x", "y"]), wanted)

    def assert_as(wanted: tuple[float, ...], after: Sequence[float]) -> None:
        names = table.smoothing_set.names
        found = bars(table, [after])
        for name, got, right in zip(names, found, wanted, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-8, atol=1e-9, err_msg=name)

    table = SeriesTable(smoothing, fields=["x", "y"])
    bars(table, rows[:n])
    old, weight = rows[n - 1][:2], rows[n - 1][2] if smoothing.weighting == "volume" else 1.0
    for tick in draw.normal(100, 1, (50, 2)).tolist():
        table.correct("s", old, tick, weight=weight)
        old = tick
    closing = [*old, rows[n - 1][2]]
    assert_as(as_if(*rows[: n - 1], closing, end), end)
    if n > 2 or smoothing.start_up != "prior":
        table.retract("s", old, weight=weight)
        assert_as(as_if(*rows[: n - 1], end), end)
        assert_as(as_if(*rows[: n - 1], rows[n]), rows[n])
        assert_as(as_if(*rows[: n - 1], rows[n], rows[n + 1]), rows[n + 1])


def test_what_cannot_be_retracted_under_count_decay() -> None:
    table = SeriesTable(Smoothing(Decay(beta=0.0)))
    table.step("s", 1.0)
    with pytest.raises(ReadingError, match="all the series has"):
        table.retract("s", 1.0)
    table.step("s", 2.0)
    with pytest.raises(ReadingError, match="all the series has"):
        table.retract("s", 2.0)
    table.correct("s", 2.0, 3.0)
    assert table.step("s", math.nan) == (3.0,)
    decaying = SeriesTable(Smoothing(Decay(beta=0.5), missing="decay"))
    decaying.step("s", 1.0)
    with pytest.raises(ConfigError, match='use "skip" in place of "decay"'):
        decaying.correct("s", 1.0, 2.0)
    timed = SeriesTable(Smoothing(Decay(halflife="1s")))
    timed.step("s", 1.0, 0)
    with pytest.raises(ReadingError, match="give the time of the reading"):
        timed.correct("s", 1.0, 2.0)
    watched = SeriesTable(Smoothing(Decay(beta=0.5), max_lateness="1s"))
    watched.step("s", 1.0, 0)
    watched.step("s", 2.0, 5000)
    with pytest.raises(ReadingError, match="a policy depends on times"):
        watched.retract("s", 2.0)
    watched.retract("s", 2.0, 5000, newest_ms=0)
    assert watched.step("s", 4.0, 100) == (3.0,)
