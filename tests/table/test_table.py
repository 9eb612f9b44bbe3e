"""SeriesTable: growth, eviction, snapshots that fit and snapshots that are refused."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.errors import ConfigError, ReadingError, StateError
from ewma_ops.monitor import AlarmRules, Bounds, Level
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from tests.oracles import naive

HALF = Smoothing(Decay(beta=0.5))
BY_TIME = Smoothing(Decay(halflife="1s"))


def means(table: SeriesTable, readings: Readings) -> list[float]:
    column: list[float] = table.update(readings).statistics["mean"].tolist()
    return column


def test_the_worked_figures() -> None:
    table = SeriesTable(Smoothing(Decay(beta=0.9), start_up="uncorrected"))
    assert means(table, Readings.of(["s", "s"], [30, 17])) == pytest.approx([3.0, 4.4], rel=1e-15)


@pytest.mark.slow
def test_series_are_kept_apart_through_growth() -> None:
    table = SeriesTable(HALF)
    ids = [f"s{i}" for i in range(100_000)]
    for at in range(0, len(ids), 7_000):
        table.update(Readings.of(ids[at : at + 7_000], np.arange(len(ids[at : at + 7_000]))))
    assert len(table) == 100_000
    table._check()
    again = means(table, Readings.of(ids, np.zeros(len(ids))))
    assert again == pytest.approx([(i % 7_000) / 3 for i in range(100_000)], rel=1e-15)


def test_an_empty_batch_changes_nothing() -> None:
    table = SeriesTable(HALF)
    smoothed = table.update(Readings.of([], []))
    assert (len(smoothed), len(table)) == (0, 0)
    assert list(smoothed.statistics) == ["mean"]


@pytest.mark.parametrize("n", [1, 500])
def test_readings_without_times_are_refused_before_anything_changes(n: int) -> None:
    table = SeriesTable(BY_TIME)
    with pytest.raises(ReadingError, match=r"Decay\(halflife='1s'\) decays by time"):
        table.update(Readings.of(["a"] * n, [1.0] * n))
    assert len(table) == 0


def test_idle_series_are_forgotten_and_start_anew() -> None:
    table = SeriesTable(BY_TIME)
    table.update(Readings.of(["idle", "busy"], [10.0, 10.0], [0, 5_000]))
    assert table.evict(before_ms=5_000) == 1
    assert ("idle" in table, "busy" in table) == (False, True)
    table._check()
    assert means(table, Readings.of(["idle", "busy"], [1.0, 1.0], [6_000, 6_000])) == pytest.approx(
        [1.0, 4.0], rel=1e-15
    )


def test_eviction_needs_times() -> None:
    with pytest.raises(ConfigError, match="use decay by time"):
        SeriesTable(HALF).evict(before_ms=0)


@pytest.mark.parametrize("ids", [["a", "b"], ["", "x\x00y", "ä" * 5_000, "\ud800"]])
def test_a_snapshot_holds_any_id(ids: list[str]) -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(ids, np.arange(len(ids))))
    resumed = SeriesTable(HALF, pickle.loads(pickle.dumps(table.snapshot())))
    again = Readings.of(ids, np.full(len(ids), 3.0))
    assert means(resumed, again) == means(table, again)


def test_a_snapshot_does_not_change_with_the_table() -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(["a"], [1.0]))
    snapshot = table.snapshot()
    before = pickle.dumps(snapshot)
    table.update(Readings.of(["a"] * 500, [9.0] * 500))
    assert pickle.dumps(snapshot) == before


def test_a_snapshot_of_some_rows_is_of_those_series() -> None:
    table = SeriesTable(Smoothing(Decay(beta=0.5)))
    table.update(Readings.of(["a", "b", "c"], [1.0, 2.0, 3.0]))
    some = SeriesTable(table.smoothing_set, table.snapshot(np.array([2, 0])))
    assert len(some) == 2
    assert "b" not in some
    assert some.step("c", 6.0) == table.step("c", 6.0) == (5.0,)


def test_a_snapshot_of_another_smoothing_is_refused() -> None:
    snapshot = SeriesTable(HALF).snapshot()
    with pytest.raises(StateError, match=r"taken with beta=0.5 .* now asks for beta=0.9"):
        SeriesTable(Smoothing(Decay(beta=0.9)), snapshot)


def test_a_snapshot_of_an_unknown_version_is_refused() -> None:
    snapshot = SeriesTable(HALF).snapshot()._replace(version=99)
    with pytest.raises(StateError, match="version 99, this release reads"):
        SeriesTable(HALF, snapshot)


@pytest.mark.parametrize(
    ("column", "damage"), [("weight", -1.0), ("weight", np.nan), ("mean", np.inf), ("count", -1)]
)
def test_a_damaged_snapshot_is_refused(column: str, damage: float) -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(["a"], [1.0]))
    snapshot = table.snapshot()
    snapshot.columns[column] = np.array([damage])
    with pytest.raises(StateError, match="damaged state"):
        SeriesTable(HALF, snapshot)


def test_a_snapshot_holds_whole_numbers_in_four_bytes() -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(["a", "b"], [1.0, 3.0]))
    snapshot = table.snapshot()
    assert snapshot.columns["count"].dtype == np.uint32
    assert snapshot.ids.sizes.dtype == np.uint8
    snapshot.columns["count"] = np.array([2**32 - 1, 1], np.uint32)
    again = SeriesTable(HALF, snapshot)
    assert again.step("a", 2.0) == table.step("a", 2.0)
    assert again.snapshot().columns["count"].tolist() == [2**32, 1]


def test_a_snapshot_cut_short_is_refused() -> None:
    table = SeriesTable(HALF)
    table.update(Readings.of(["a", "b"], [1.0, 2.0]))
    snapshot = table.snapshot()
    snapshot.columns["mean"] = snapshot.columns["mean"][:1]
    with pytest.raises(StateError, match="column 'mean' has 1 rows for 2 series"):
        SeriesTable(HALF, snapshot)


# Several fields and smoothings ----------------------------------------------------------------

PAIR = {
    "fast": Smoothing(Decay(span=3), statistics=["mean", "std", "cov", "corr", "n_eff"]),
    "slow": Smoothing(Decay(halflife="9s"), "first", "decay", statistics=["mean", "count"]),
}


def quotes(n: int, *, missing: float) -> Readings:
    draw = np.random.default_rng(n)
    values = draw.normal(100, 1, (n, 2))
    values[:, 1] += values[:, 0]
    values[draw.random((n, 2)) < missing] = np.nan
    ids = [f"s{k}" for k in draw.integers(0, 7, n).tolist()]
    return Readings.of(ids, values, np.cumsum(draw.integers(0, 5000, n)))


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("cut", [1, 7, 150, 400])
def test_one_pass_gives_the_bits_of_each_field_and_smoothing_alone(
    missing: float, cut: int
) -> None:
    readings = quotes(400, missing=missing)
    both = SeriesTable(PAIR, fields=["bid", "ask"])
    parts = [
        both.update(readings.take(np.arange(lo, min(lo + cut, 400)))) for lo in range(0, 400, cut)
    ]
    for i, field in enumerate(["bid", "ask"]):
        for name, smoothing in PAIR.items():
            own = [s for s in smoothing.statistics if s not in ("cov", "corr")]
            one = Readings(readings.series_ids, readings.values[:, i], readings.times_ms)
            alone = SeriesTable(replace(smoothing, statistics=own)).update(one)
            for statistic, column in alone.statistics.items():
                got = np.concatenate([p.statistics[f"{field}_{name}_{statistic}"] for p in parts])
                np.testing.assert_array_equal(got, column, f"{field} {name} {statistic}")


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_a_pair_is_of_the_readings_that_have_both(missing: float) -> None:
    readings = quotes(300, missing=missing)
    got = SeriesTable(PAIR, fields=["bid", "ask"]).update(readings).statistics
    ids = np.array(readings.series_ids)
    for series_id in set(readings.series_ids):
        own = ids == series_id
        bid, ask = readings.values[own].T.tolist()
        expected = naive.smooth(
            [(0, x) for x in bid], naive.Rules(beta=0.5), ["cov", "corr"], others=ask
        )
        for name in ("cov", "corr"):
            column = got[f"bid_ask_fast_{name}"][own]
            np.testing.assert_allclose(column, expected[name], rtol=1e-11, atol=1e-12)


def test_pandas_agrees_on_pairs() -> None:
    frame = pd.DataFrame(quotes(200, missing=0.0).values, columns=["a", "b"])
    readings = Readings.of(["s"] * 200, frame.to_numpy())
    biased = Smoothing.like_pandas(span=9, statistics=["mean", "cov_biased"])
    alone = SeriesTable(biased, fields=["a", "b"]).update(readings).statistics["a_b_cov_biased"]
    names = ["mean", "var", "cov", "cov_biased", "corr"]
    smoothing = Smoothing.like_pandas(span=9, statistics=names)
    got = SeriesTable(smoothing, fields=["a", "b"]).update(readings).statistics
    window = frame.ewm(span=9)
    expected = {
        "a_var": window.var()["a"],
        "a_b_cov": window.cov().xs("a", level=1)["b"],
        "a_b_cov_biased": window.cov(bias=True).xs("a", level=1)["b"],
        "a_b_corr": window.corr().xs("a", level=1)["b"],
    }
    for name, column in expected.items():
        np.testing.assert_allclose(got[name], column, rtol=1e-9)
    np.testing.assert_allclose(alone, expected["a_b_cov_biased"], rtol=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_snapshots_of_several_fields_change_no_bit(missing: float) -> None:
    readings = quotes(600, missing=missing)
    table = SeriesTable(PAIR, fields=["bid", "ask"])
    whole = SeriesTable(PAIR, fields=["bid", "ask"]).update(readings).statistics
    parts = []
    for lo in range(0, 600, 120):
        parts.append(table.update(readings.take(np.arange(lo, lo + 120))).statistics)
        snapshot = pickle.loads(pickle.dumps(table.snapshot()))
        table = SeriesTable(PAIR, snapshot, fields=["bid", "ask"])
    for name, column in whole.items():
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), column, name)


@pytest.mark.parametrize("missing", [(0.0, 0.3), (0.3, 0.0), (0.3, 0.3)])
def test_a_table_takes_in_the_series_of_others(missing: tuple[float, float]) -> None:
    parts = []
    for prefix, share in zip("xy", missing, strict=True):
        part = quotes(400, missing=share)
        parts.append(replace(part, series_ids=[prefix + one for one in part.series_ids]))
    tables = [SeriesTable(PAIR, fields=["bid", "ask"]) for _ in parts]
    halves = [np.arange(200), np.arange(200, 400)]
    joined = SeriesTable(PAIR, fields=["bid", "ask"])
    for table, part in zip(tables, parts, strict=True):
        table.update(part.take(halves[0]))
        joined.absorb(table.snapshot())
    joined._check()
    for table, part in zip(tables, parts, strict=True):
        rest = part.take(halves[1])
        found, wanted = joined.update(rest).statistics, table.update(rest).statistics
        assert all(np.array_equal(found[k], wanted[k], equal_nan=True) for k in wanted)


def test_fields_share_their_weights_until_one_is_missing_alone() -> None:
    smoothing = Smoothing(Decay(beta=0.9))
    table = SeriesTable(smoothing, fields=["bid", "ask"])
    table.update(Readings.of(["s"] * 3, np.array([[1, 2], [math.nan] * 2, [3, 4]])))
    assert set(table.snapshot().columns) == {"weight", "count", "mean"}
    table.step("s", [5.0, math.nan])
    assert len(table.snapshot().columns) == 6


def test_a_vector_is_smoothed_number_by_number() -> None:
    gradients = np.random.default_rng(1).normal(0, 1, (50, 10))
    adam = {
        "m": Smoothing.like_adam(0.9),
        "v": Smoothing.like_adam(0.999, ["mean", "mean_square"]),
    }
    got = SeriesTable(adam, fields=10).update(Readings.of(["w"] * 50, gradients)).statistics
    m = v = np.zeros(10)
    for t, gradient in enumerate(gradients, 1):
        m = 0.9 * m + (1 - 0.9) * gradient
        v = 0.999 * v + (1 - 0.999) * gradient**2
        np.testing.assert_allclose(got["m_mean"][t - 1], m / (1 - 0.9**t), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(got["v_mean_square"][t - 1], v / (1 - 0.999**t), rtol=1e-10)


@pytest.mark.parametrize(
    ("smoothing", "fields", "says"),
    [
        ({}, 1, "no smoothing is given"),
        ({"a": 3}, 1, "must be a Smoothing"),
        (HALF, 0, "fields = 0"),
        (HALF, "bid", "give a list of names"),
        (HALF, ["a", "a"], "each once"),
        (Smoothing(Decay(beta=0.5), statistics=["mean", "cov"]), 2, "cov is of two fields"),
        ({"c": HALF, "b_c": HALF}, ["a", "a_b"], "the same name twice"),
    ],
)
def test_names_that_do_not_go_together(smoothing: Any, fields: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SeriesTable(smoothing, fields=fields)


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(ReadingError, match="there are 2 fields"):
        SeriesTable(HALF, fields=["a", "b"]).update(Readings.of(["s"], [1.0]))


def test_values_too_large_to_square_are_refused() -> None:
    table = SeriesTable(Smoothing(Decay(beta=0.5), statistics=["mean", "var"]))
    with pytest.raises(ReadingError, match="out of bounds"):
        table.update(Readings.of(["s"], [1e200]))


@pytest.mark.parametrize("weight", [1e-310, 5e-324, 2.0**501, -1.0])
def test_weights_that_lose_digits_are_refused(weight: float) -> None:
    smoothing = Smoothing(Decay(halflife="1s"), weighting="volume")
    table = SeriesTable(smoothing)
    table.step("s", 1.0, 0, 2.0)
    bounds = "2.23e-308 and 3.27e\\+150, or 0"
    for call in (
        lambda: table.step("s", 5.0, 0, weight),
        lambda: table.retract("s", 1.0, 0, weight),
        lambda: table.correct("s", 1.0, 2.0, 0, weight),
        lambda: Readings.of(["s"], [5.0], [0], [weight]),
    ):
        with pytest.raises(ReadingError, match=f"weight .* of series 's' .* {bounds}"):
            call()


@pytest.mark.parametrize("weight", [2.0**-1022, 1e-300, 2.0**500])
@pytest.mark.parametrize("decay", [Decay(beta=0.5), Decay(halflife="1s")])
def test_the_least_and_the_greatest_weight_weigh_in_full(decay: Decay, weight: float) -> None:
    smoothing = Smoothing(decay, weighting="volume", statistics=["mean", "var", "n_eff"])
    table, whole, other = (SeriesTable(smoothing) for _ in range(3))
    values, times = [5.0, 7.0], [0, 1000]
    for value, time_ms in zip(values, times, strict=True):
        found = table.step("s", value, time_ms, weight)
    assert found == pytest.approx((19 / 3, 2.0, 1.8), rel=1e-14)
    ids, weights = ["s"] * 100, [weight, weight, *[0.0] * 98]
    readings = Readings.of(ids, values + [1.0] * 98, times + [1000] * 98, weights)
    columns = whole.update(readings).statistics.values()
    assert tuple(float(column[-1]) for column in columns) == found
    other.update(readings.take(np.array([1])))
    merged = SeriesTable(smoothing)
    merged.update(readings.take(np.array([0])))
    merged.merge(other)
    assert merged.step("s", math.nan, 1000, weight) == pytest.approx(found, rel=1e-14)


def test_weighting_by_volume_needs_weights() -> None:
    table = SeriesTable(Smoothing(Decay(beta=0.5), weighting="volume"))
    with pytest.raises(ReadingError, match="no weight"):
        table.update(Readings.of(["s"], [1.0]))
    with pytest.raises(ReadingError, match="no weight"):
        table.step("s", 1.0)


def test_tables_that_cannot_be_merged() -> None:
    with pytest.raises(ConfigError, match="the same options"):
        SeriesTable(HALF).merge(SeriesTable(BY_TIME))
    first = Smoothing(Decay(beta=0.5), "first")
    with pytest.raises(ConfigError, match="a separate start"):
        SeriesTable(first).merge(SeriesTable(first))


def test_fields_apart_merge_with_fields_together() -> None:
    both = Smoothing(Decay(halflife="20s"), statistics=["mean", "corr"])
    readings = quotes(300, missing=0.0)
    values = readings.values.copy()
    values[200, 0] = np.nan
    readings = replace(readings, values=values)
    whole, one, two = (SeriesTable(both, fields=["bid", "ask"]) for _ in range(3))
    whole.update(readings)
    one.update(readings.take(np.arange(150)))
    two.update(readings.take(np.arange(150, 300)))
    one.merge(two)
    ids = sorted(set(readings.series_ids))
    last = Readings.of(ids, np.ones((len(ids), 2)), [10**7] * len(ids))
    want, got = whole.update(last).statistics, one.update(last).statistics
    for name, column in want.items():
        np.testing.assert_allclose(got[name], column, rtol=1e-9, err_msg=name)


LAYOUTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "every other": lambda column: np.repeat(column, 2)[::2],
    "backwards": lambda column: column[::-1].copy()[::-1],
    "big-endian": lambda column: column.astype(column.dtype.newbyteorder(">")),
    "unaligned": lambda column: np.frombuffer(b"x" + column.tobytes(), column.dtype, offset=1),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("n", [1, 30, 3_000])
def test_columns_may_lie_in_memory_as_they_like(
    layout: Callable[[NDArray[Any]], NDArray[Any]], n: int
) -> None:
    rng = np.random.default_rng(4)
    ids = [f"s{i % 7}" for i in range(n)]
    given = rng.normal(size=n), np.arange(n) * 1_000, rng.random(n) + 0.5
    rules = AlarmRules.of({"level": Level(limit=3.0), "high": Bounds(above=1.0)})
    smoothing = Smoothing(Decay(halflife="5s"), statistics=("mean", "std", "n_eff"))
    found = []
    for values, times, weights in (given, map(layout, given)):
        table = SeriesTable(smoothing, alarms=rules)
        found.append(table.update(Readings(ids, values, times, weights=weights)))
    as_usual, otherwise = found
    for name, column in as_usual.statistics.items():
        assert column.tobytes() == otherwise.statistics[name].tobytes()
    assert as_usual.transitions is not None or n < 3_000
    if as_usual.transitions is not None:
        assert otherwise.transitions is not None
        assert as_usual.transitions.rules.tolist() == otherwise.transitions.rules.tolist()
