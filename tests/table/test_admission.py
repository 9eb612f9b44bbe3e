"""What a policy does to a series: worked numbers, the definition, and nothing in between."""

from __future__ import annotations

import itertools
import math
import pickle
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.errors import ReadingError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from tests.oracles import naive

HALF = Decay(beta=0.5)
SECOND = Decay(halflife="1s")
NAN, INF = math.nan, math.inf


def update(table: SeriesTable, points: Sequence[tuple[int, Any]], **how: Any) -> Smoothed:
    times, values = zip(*points, strict=True)
    readings = Readings.of(["s"] * len(points), values, times, finite=False)
    return table.update(readings, **how)


def means(points: Sequence[tuple[int, Any]], decay: Decay = HALF, **options: Any) -> list[float]:
    found = update(SeriesTable(Smoothing(decay, **options)), points)
    column: list[float] = found.statistics["mean"].tolist()
    return column


def in_turn(*values: float) -> list[tuple[int, float]]:
    return list(enumerate(values))


# Worked numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("skip", [1.0, 1.0, 3.0]),  # (1/2 + 4) / (1/2 + 1)
        ("decay", [1.0, 1.0, 3.4]),  # (1/4 + 4) / (1/4 + 1)
        ("reset", [1.0, NAN, 4.0]),
        ("clip", [1.0, 7.0, 37 / 7]),  # (1/2 + 10) / (1/2 + 1), (1/4 + 10/2 + 4) / (7/4)
    ],
)
@pytest.mark.parametrize(("cause", "value"), [("out_of_range", 11.0), ("non_finite", INF)])
def test_a_value_that_cannot_be(
    cause: str, value: float, policy: str, expected: list[float]
) -> None:
    options: dict[str, Any] = {cause: policy, "lowest": 0, "highest": 10}
    got = means(in_turn(1, value, 4), **options)
    assert got == pytest.approx(expected, rel=1e-15, nan_ok=True)


def test_a_missing_reading_may_begin_a_series_anew() -> None:
    smoothing = Smoothing(HALF, missing="reset", statistics=["mean", "count"])
    found = update(SeriesTable(smoothing), in_turn(1, NAN, 4, 7)).statistics
    np.testing.assert_array_equal(found["mean"], [1, NAN, 4, 6])
    np.testing.assert_array_equal(found["count"], [1, 0, 1, 2])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("take", 7 / 2),  # 5 weighs 1/2 by now: (1/2 + 4 + 5/2) / 2
        ("skip", 3.0),
        ("reset", 5.0),
        ("clip", 19 / 5),  # 5 at 1000 weighs 1: (1/2 + 4 + 5) / (5/2)
    ],
)
def test_time_that_goes_backwards(policy: str, expected: float) -> None:
    points = [(0, 1.0), (1000, 4.0), (0, 5.0)]
    found = means(points, SECOND, late=policy)
    assert found == pytest.approx([1.0, 3.0, expected], rel=1e-15)


def test_after_a_reset_time_goes_on_from_there() -> None:
    points = [(5000, 1.0), (0, 4.0), (1000, 7.0)]
    assert means(points, SECOND, late="reset") == pytest.approx([1, 4, 6])
    assert means(points, SECOND, late="skip") == pytest.approx([1, 1, 1])


def test_what_is_late_by_no_more_than_may_be_is_taken() -> None:
    points = [(2000, 1.0), (1000, 4.0), (999, 7.0)]
    [_, on, beyond] = means(points, SECOND, late="skip", max_lateness="1s")
    assert on == beyond == pytest.approx((1 + 4 / 2) / 1.5)
    clipped = means(points, SECOND, late="clip", max_lateness="1s")[-1]
    assert clipped == pytest.approx((1 + 4 / 2 + 7 / 2) / 2)


@pytest.mark.parametrize(
    ("policy", "expected"), [("take", 3.0), ("skip", 1.0), ("reset", 4.0), ("decay", 1.0)]
)
def test_a_second_reading_at_the_same_time(policy: Any, expected: float) -> None:
    points = [(7, 1.0), (7, 4.0), (8, NAN)]
    assert means(points, equal_times=policy)[1:] == [expected] * 2


def test_late_is_told_under_count_decay_too_and_needs_times() -> None:
    assert means([(5, 1.0), (4, 9.0), (6, 4.0)], late="skip") == [1.0, 1.0, 3.0]
    with pytest.raises(ReadingError, match="lateness is measured by time, but a reading has none"):
        SeriesTable(Smoothing(HALF, late="skip")).step("s", 1.0)


def test_each_cause_decays_or_not_by_itself() -> None:
    options: dict[str, Any] = {"missing": "skip", "out_of_range": "decay", "highest": 10}
    assert means(in_turn(1, NAN, 4), **options)[-1] == 3.0
    assert means(in_turn(1, 11, 4), **options)[-1] == 3.4


def test_the_readings_are_told_as_they_came_and_counted_by_cause() -> None:
    smoothing = Smoothing(
        HALF, out_of_range="clip", non_finite="skip", highest=10, late="clip", equal_times="skip"
    )
    points = [(5, 1.0), (6, 11.0), (6, 12.0), (2, 1.0), (7, INF), (8, NAN), (9, NAN)]
    smoothed = update(SeriesTable(smoothing), points)
    assert smoothed.readings.values[:5].tolist() == [1, 11, 12, 1, INF]
    assert smoothed.readings.times_ms is not None
    assert smoothed.readings.times_ms[3] == 2
    expected = {"missing": 2, "non-finite": 1, "out-of-range": 1, "late": 1, "equal-times": 1}
    assert smoothed.tally == expected


# Dead letters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "options", "cause", "says"),
    [
        ((9, 11.0), {"highest": 10}, "out-of-range", "value 11.0 of series 's' is out of bounds"),
        ((9, -INF), {}, "non-finite", "value -inf of series 's' is out of bounds"),
        ((9, NAN), {"missing": "dead-letter"}, "missing", "series 's' has a reading without"),
        (
            (5, 1.0),
            {"equal_times": "dead-letter"},
            "equal-times",
            "series 's' already has a reading",
        ),
        (
            (2, 1.0),
            {"max_lateness": "2ms"},
            "late",
            "time 2 of series 's' is 3 ms before its newest, more than max_lateness, 2 ms",
        ),
    ],
)
def test_a_dead_letter_is_an_error_or_put_aside(
    point: tuple[int, float], options: Any, cause: str, says: str
) -> None:
    smoothing = Smoothing(HALF, **options)
    points = [(5, 1.0), point, (6, 4.0)]
    table = SeriesTable(smoothing)
    with pytest.raises(ReadingError, match=says):
        update(table, points)
    assert len(table) == 0
    table.step("s", points[0][1], points[0][0])
    with pytest.raises(ReadingError, match=says):
        table.step("s", point[1], point[0])
    assert table.step("s", points[2][1], points[2][0]) == (3.0,)

    smoothed = update(SeriesTable(smoothing), points, collect_rejected=True)
    assert smoothed.statistics["mean"].tolist() == [1.0, 3.0]
    assert smoothed.rejected is not None
    aside, [rejection] = smoothed.rejected
    np.testing.assert_array_equal(aside.values, [point[1]])
    assert (rejection.at, rejection.cause) == (0, cause)
    assert says in rejection.detail
    assert smoothed.tally == {cause: 1}


def test_an_error_leaves_the_newest_times_as_they_were() -> None:
    table = SeriesTable(Smoothing(SECOND, max_lateness="1s"))
    update(table, [(1000, 1.0)])
    with pytest.raises(ReadingError):
        update(table, [(9000, 2.0), (0, 3.0)])
    assert update(table, [(0, 4.0)]).statistics["mean"].tolist() == pytest.approx([2.0])


def test_what_is_put_aside_takes_its_columns_along() -> None:
    readings = Readings.of(["a", "b", "a"], [1, 9, INF], [3, 2, 1], [1, 2, 3], finite=False)
    table = SeriesTable(Smoothing(HALF, weighting="volume"))
    smoothed = table.update(readings, collect_rejected=True)
    assert (smoothed.readings.series_ids, len(smoothed)) == (["a", "b"], 2)
    assert smoothed.rejected is not None
    aside = smoothed.rejected.readings
    assert aside.times_ms is not None
    assert aside.weights is not None
    assert (aside.series_ids, aside.times_ms[0], aside.weights[0]) == (["a"], 1, 3.0)


# Several fields -------------------------------------------------------------------------------


def test_of_several_fields_one_is_skipped_and_the_series_begins_anew() -> None:
    quotes = [(0, [1.0, 10.0]), (1, [99.0, 20.0]), (2, [4.0, 40.0])]
    for policy, bid, ask in [
        ("skip", [1, 1, 3], [10, 50 / 3, 30]),
        ("clip", [1, 127 / 3, 143 / 7], [10, 50 / 3, 30]),
        ("reset", [1, NAN, 4], [10, 20, 100 / 3]),
    ]:
        smoothing = Smoothing(HALF, out_of_range=policy, highest=63.0)  # type: ignore[arg-type]
        found = update(SeriesTable(smoothing, fields=["bid", "ask"]), quotes).statistics
        assert found["bid_mean"].tolist() == pytest.approx(bid, nan_ok=True)
        assert found["ask_mean"].tolist() == pytest.approx(ask)


def test_a_vector_is_whole_or_missing() -> None:
    smoothing = Smoothing(HALF, out_of_range="skip", highest=50.0, late="skip")
    vectors = [(5, [1.0, 10.0]), (9, [99.0, 20.0]), (6, [4.0, 40.0])]  # 9 was not taken
    found = update(SeriesTable(smoothing, fields=2), vectors).statistics["mean"]
    np.testing.assert_allclose(found, [[1, 10], [1, 10], [3, 30]])


BOTH_WAYS = pytest.mark.parametrize("smallest", [0, 1 << 30], ids=["columns", "steps"])


@BOTH_WAYS
def test_of_several_causes_in_one_reading_the_most_severe_policy_counts(
    smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each smoothing by policies of its own, whichever stands first."""
    monkeypatch.setattr("ewma_ops.table.table._SMALLEST_BATCH", smallest)
    common: dict[str, Any] = {"statistics": ["mean", "sum"], "out_of_range": "skip"}
    x = Smoothing(HALF, missing="skip", lowest=-10, highest=10, **common)
    y = Smoothing(HALF, missing="decay", lowest=-10, highest=10, **common)
    for asked in ({"x": x, "y": y}, {"y": y, "x": x}):
        for odd in ([99.0, NAN], [NAN, 99.0]):
            table = SeriesTable(asked, fields=["a", "b"])
            found = update(table, [(0, [1.0, 1.0]), (1, odd)])
            sums = {name: column[-1] for name, column in found.statistics.items()}
            assert [sums[f"{field}_y_sum"] for field in "ab"] == [0.5, 0.5]
            assert [sums[f"{field}_x_sum"] for field in "ab"] == [1.0, 1.0]
            assert found.tally == {"missing": 1}


@BOTH_WAYS
def test_of_several_values_that_cannot_be_the_cause_names_the_value(
    smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ewma_ops.table.table._SMALLEST_BATCH", smallest)
    smoothing = Smoothing(HALF, missing="dead-letter", non_finite="skip", highest=10)
    for values, cause, says in [
        ([NAN, 99.0], "missing", "has a reading without a value"),
        ([99.0, NAN], "missing", "has a reading without a value"),
        ([INF, 99.0], "out-of-range", "value 99.0 of series 's' is out of bounds"),
    ]:
        found = update(
            SeriesTable(smoothing, fields=["a", "b"]), [(0, values)], collect_rejected=True
        )
        assert found.rejected is not None
        [rejection] = found.rejected.rejections
        assert rejection.cause == cause
        assert says in rejection.detail
        with pytest.raises(ReadingError) as raised:
            SeriesTable(smoothing, fields=["a", "b"]).step("s", values, 0)
        assert str(raised.value) == rejection.detail


def test_the_bounds_are_those_within_which_every_smoothing_can_compute() -> None:
    mean = Smoothing(HALF, out_of_range="skip")
    var = Smoothing(HALF, out_of_range="skip", statistics=["mean", "var"])
    readings = Readings.of(["s"] * 2, [1.0, 1e200])
    alone = SeriesTable({"x": mean}).update(readings).statistics["x_mean"]
    beside = SeriesTable({"x": mean, "y": var}).update(readings).statistics["x_mean"]
    assert (alone[1], beside[1]) == (2e200 / 3, 1.0)


# Weights --------------------------------------------------------------------------------------


def weighed(weights: list[float], values: list[Any]) -> Readings:
    n = len(values)
    readings = Readings.of(["s"] * n, values, range(n), finite=False)
    return replace(readings, weights=np.array(weights))  # from a decoder, where one may be missing


@BOTH_WAYS
@pytest.mark.parametrize("weight", [0.0, NAN])
def test_what_weighs_nothing_is_missing_whatever_else_is_unusual(
    smallest: int, weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ewma_ops.table.table._SMALLEST_BATCH", smallest)
    smoothing = Smoothing(
        HALF, weighting="volume", missing="decay", out_of_range="skip", highest=10,
        statistics=["mean", "sum"],
    )  # fmt: skip
    table = SeriesTable(smoothing, fields=["a", "b"])
    found = table.update(weighed([1.0, weight], [[1.0, 1.0], [2.0, 99.0]])).statistics
    assert (found["a_sum"][-1], found["b_sum"][-1]) == (0.5, 0.5)


@BOTH_WAYS
def test_a_reading_without_its_weight_has_the_policy_of_a_missing_one(
    smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ewma_ops.table.table._SMALLEST_BATCH", smallest)
    reset = Smoothing(HALF, weighting="volume", missing="reset")
    found = SeriesTable(reset).update(weighed([1.0, NAN, 2.0], [1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(found.statistics["mean"], [1.0, NAN, 4.0])
    assert found.tally == {"missing": 1}
    table = SeriesTable(reset)
    rows = [table.step("s", x, 0, w)[0] for x, w in [(1.0, 1.0), (2.0, NAN), (4.0, 2.0)]]
    np.testing.assert_array_equal(rows, [1.0, NAN, 4.0])

    refused = Smoothing(HALF, weighting="volume", missing="dead-letter", late="skip")
    table = SeriesTable(refused)
    found = table.update(weighed([1.0, NAN, 2.0], [1.0, 2.0, 4.0]), collect_rejected=True)
    assert found.rejected is not None
    [rejection] = found.rejected.rejections
    assert rejection.cause == "missing"
    assert "a reading without a weight" in rejection.detail


def test_a_reading_without_its_weight_does_not_move_the_newest_time() -> None:
    table = SeriesTable(Smoothing(HALF, weighting="volume", late="skip"))
    readings = weighed([1.0, NAN, 1.0], [1.0, 2.0, 4.0])
    late = replace(readings, times_ms=np.array([0, 9, 5]))
    assert table.update(late).tally == {"missing": 1}


# State ----------------------------------------------------------------------------------------


def test_the_newest_times_survive_snapshots_evictions_and_merges() -> None:
    smoothing = Smoothing(SECOND, late="skip")
    one, other = SeriesTable(smoothing), SeriesTable(smoothing)
    ids = [f"s{i}" for i in range(200)]
    one.update(Readings.of(ids, [1.0] * 200, range(200)))
    one.evict(before_ms=100)
    other.update(Readings.of(["s150"], [4.0], [500]))
    one.merge(other)
    resumed = SeriesTable(smoothing, pickle.loads(pickle.dumps(one.snapshot())))
    for table in (one, resumed):
        assert table.update(Readings.of(["s150"], [9.0], [499])).tally == {"late": 1}
        assert table.update(Readings.of(["s151"], [9.0], [150])).tally == {"late": 1}
        assert table.update(Readings.of(["s151", "s1"], [9.0, 9.0], [152, 0])).tally == {}


def test_a_series_that_begins_anew_leaves_nothing_behind() -> None:
    smoothing = Smoothing(SECOND, missing="reset", late="reset", statistics=["mean", "var", "rate"])
    table = SeriesTable(smoothing)
    for _ in range(3):
        table.update(Readings.of(["s", "t"] * 200, [1.0, NAN, NAN, 3.0] * 100, range(400)))
    fresh = SeriesTable(smoothing)
    tail = Readings.of(["s"] * 2, [1.0, 5.0], [398, 500])
    assert len(table) == 2
    table.update(Readings.of(["s"], [NAN], [399]))
    wanted, got = fresh.update(tail).statistics, table.update(tail).statistics
    for name, column in wanted.items():
        np.testing.assert_array_equal(got[name], column, name)


# The definition -------------------------------------------------------------------------------


def cells() -> Iterator[Any]:
    values = ("skip", "decay", "reset", "clip")
    lates = ("take", "skip", "reset", "clip", "decay")
    equals = ("take", "skip", "reset", "decay")
    draw = random.Random(4)
    every = list(itertools.product(("skip", "decay", "reset"), values, values, lates, equals))
    for halflife_ms in (None, 2000.0):
        for cell in draw.sample(every, 60):
            if halflife_ms is None or "decay" not in cell[3:]:
                start = draw.choice([{}, {"start_up": "first"}, {"start_up": "simple"}])
                yield pytest.param(halflife_ms, cell, start, id=f"{halflife_ms}-{'-'.join(cell)}")


def odd_series() -> naive.Series:
    draw = random.Random(7)
    series: list[tuple[int, float]] = []
    for _ in range(60):
        step = draw.choice([0, 0, 300, 700, 2500, -600, -3000])
        value = draw.choice([draw.gauss(0, 1)] * 5 + [NAN, INF, -INF, 3.0])
        series.append(((series[-1][0] if series else 10_000) + step, value))
    return series


@pytest.mark.parametrize(("halflife_ms", "cell", "start"), list(cells()))
@pytest.mark.parametrize("cut", [1, 13, 400])
def test_the_table_agrees_with_the_definition(
    halflife_ms: float | None, cell: tuple[str, ...], start: dict[str, str], cut: int
) -> None:
    causes = ("missing", "non_finite", "out_of_range", "late", "equal_times")
    policies = naive.Policies(dict(zip(causes, cell, strict=True)), -2.0, 2.0, 1000)
    names = ["mean", "var", "n_eff", "count"]
    options: dict[str, Any] = {**start, **({"start_n": 3} if "simple" in start.values() else {})}
    smoothing = Smoothing(
        HALF if halflife_ms is None else Decay(halflife=f"{halflife_ms:.0f}ms"),
        **options,
        **dict(zip(causes, cell, strict=True)),  # type: ignore[arg-type] # their words
        lowest=-2.0,
        highest=2.0,
        max_lateness="1s" if cell[3] != "take" else None,
        statistics=names,
    )
    rules = naive.Rules(beta=0.5, halflife_ms=halflife_ms, missing="decay", **options)
    series = odd_series()
    expected = naive.governed(series, rules, policies, names)
    # A second series of the same readings: together they are long enough for columns.
    parts = [series[at : at + cut] for at in range(0, len(series), cut)]
    for several in (1, 2):
        table = SeriesTable(smoothing)
        got: list[Smoothed] = []
        for part in parts:
            rows = [(f"s{k}", *point) for point in part for k in range(several)]
            ids, times, values = zip(*rows, strict=True)
            got.append(table.update(Readings.of(ids, values, times, finite=False)))
        for name in names:
            column = np.concatenate([part.statistics[name] for part in got])[::several]
            np.testing.assert_allclose(column, expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
