"""Tables that count in microseconds or nanoseconds: the laws of milliseconds, and finer."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.columns.ticks import MICROSECOND, MILLISECOND, NANOSECOND, Tick
from ewma_ops.composites import bollinger
from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.table.smoothing_set import SmoothingLike, SmoothingSet

FINE = [MICROSECOND, NANOSECOND]
START_MS = 1_700_000_000_000
SMOOTHINGS: list[SmoothingLike] = [
    Smoothing(Decay(halflife="7s"), statistics=["mean", "std", "n_eff", "rate", "settled"]),
    Smoothing(Decay(tau="13ms"), max_lateness="9ms", equal_times="skip"),
    Smoothing(Decay(tau="3d"), "first", late="reset", max_lateness="1h"),
    Smoothing(Decay(halflife="40ms"), weighting="linear"),
    Smoothing(Decay(halflife="2h"), weighting="last", late="clip", max_lateness="20ms"),
    Smoothing(Decay(halflife="30s"), missing="decay", statistics=["mean", "revision"]),
    Smoothing(Decay(beta=0.5), max_lateness="10ms", late="dead-letter"),
    bollinger(Smoothing(Decay(tau="50ms"))),
]


def table(one: SmoothingLike, tick: Tick, forget_after: str | None = None) -> SeriesTable:
    return SeriesTable(SmoothingSet.of(one, forget_after=forget_after, tick=tick))


def of(times: list[int], values: list[float], tick: Tick) -> Readings:
    return Readings.of(["s"] * len(times), values, times, tick=tick)


def run(into: SeriesTable, readings: Readings) -> list[Any]:
    smoothed = into.update(readings, collect_rejected=True)
    columns = [smoothed.statistics[name] for name in into.smoothing_set.names]
    return [column.view(np.int64).tolist() for column in columns]


GAPS = st.integers(-30, 60) | st.integers(-(10**7), 10**9) | st.integers(0, 10**12)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(SMOOTHINGS),
    st.sampled_from(FINE),
    st.sampled_from([None, "1h"]),
    st.lists(st.tuples(GAPS, st.floats(-1e6, 1e6) | st.just(float("nan"))), min_size=1, max_size=5),
    st.integers(1, 40),
)
def test_whole_milliseconds_give_the_same_bits_in_every_unit(
    one: SmoothingLike,
    tick: Tick,
    forget_after: str | None,
    moves: list[tuple[int, float]],
    times_over: int,
) -> None:
    """By one reading and by columns, of short gaps and of those that no float holds in ns."""
    gaps, values = zip(*(moves * times_over), strict=True)
    at_ms = (START_MS + np.cumsum(gaps) % 10**12).tolist()
    usual, fine = table(one, MILLISECOND, forget_after), table(one, tick, forget_after)
    found = run(usual, of(at_ms, list(values), MILLISECOND))
    ticks = [time * tick.per_ms for time in at_ms]
    assert run(fine, of(ticks, list(values), tick)) == found


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(SMOOTHINGS[:6]),
    st.sampled_from(FINE),
    st.lists(st.integers(-2_000, 10**7), min_size=100, max_size=120),
)
def test_by_columns_as_by_readings(one: SmoothingLike, tick: Tick, gaps: list[int]) -> None:
    times = (START_MS * tick.per_ms + np.cumsum(gaps)).tolist()
    values = [float(i % 7) for i in range(len(times))]
    together = run(table(one, tick), of(times, values, tick))
    single = table(one, tick)
    parts = [run(single, of([at], [x], tick)) for at, x in zip(times, values, strict=True)]
    assert together == [list(chain(*columns)) for columns in zip(*parts, strict=True)]


@pytest.mark.parametrize("tick", FINE)
def test_one_tick_is_neither_equal_nor_lost(tick: Tick) -> None:
    start = START_MS * tick.per_ms
    one = Smoothing(Decay(halflife=f"1{tick.unit}"), equal_times="dead-letter")
    times = [start, start + 1, start + 1, start + 3]
    smoothed = table(one, tick).update(of(times, [0.0, 3.0, 9.0, 9.0], tick), collect_rejected=True)
    assert smoothed.rejected is not None
    [rejection] = smoothed.rejected.rejections
    assert rejection.cause == "equal-times"
    assert f"already has a reading at {start + 1} {tick.unit}" in rejection.detail
    mean = smoothed.statistics["mean"]
    weights = np.array([0.125, 0.25, 1.0])
    expected = weights @ np.array([0.0, 3.0, 9.0]) / weights.sum()
    assert mean[-1] == pytest.approx(expected, rel=1e-12)
    assert mean[1] == pytest.approx(2.0, rel=1e-12)


def test_late_by_one_nanosecond() -> None:
    start = START_MS * 1_000_000
    one = Smoothing(Decay(halflife="1s"), max_lateness="5us")
    own = table(one, NANOSECOND)
    own.step("s", 1.0, start)
    own.step("s", 1.0, start - 5_000)
    with pytest.raises(ReadingError, match="5001 ns before its newest, more than max_lateness"):
        own.step("s", 1.0, start - 5_001)
    assert "(by more than 5e-06 s)" in own.smoothing_set.policies.describe()


def test_idle_by_one_microsecond() -> None:
    own = table(Smoothing(Decay(beta=0.5)), MICROSECOND, "100us")
    start = START_MS * 1_000
    means = [own.step("s", x, start + at)[0] for x, at in ((0.0, 0), (3.0, 100), (8.0, 201))]
    assert means == [0.0, 2.0, 8.0]


@pytest.mark.parametrize("tick", FINE)
def test_the_outermost_times_do_not_wrap_around(tick: Tick) -> None:
    one = Smoothing(Decay(halflife="1d"), statistics=["mean", "settled"], start_up="corrected")
    times = [tick.earliest, tick.latest] * 60
    values = [1.0, 2.0] * 60
    smoothed = table(one, tick).update(of(times, values, tick))
    np.testing.assert_array_equal(smoothed.statistics["mean"][1:], 2.0)
    with pytest.raises(ReadingError, match=f"{tick.unit} .years {tick.years.split()[0]}-"):
        of([tick.latest + 1], [1.0], tick)


def test_state_of_another_unit_does_not_fit() -> None:
    one = Smoothing(Decay(halflife="1s"))
    prints = {SmoothingSet.of(one, tick=tick).fingerprint() for tick in (MILLISECOND, *FINE)}
    assert len(prints) == 3
    assert SmoothingSet.of(one).fingerprint() in prints


def test_durations_in_ticks() -> None:
    assert whole_ticks("x", "1us", 1) == 0
    assert whole_ticks("x", "1us500ns", 1_000) == 1
    assert whole_ticks("x", "1us500ns", 1_000_000) == 1_500
    assert Decay(halflife="100us").halflife_ms == 0.1
    with pytest.raises(ConfigError, match="at least 1 us"):
        SmoothingSet.of(Smoothing(Decay(beta=0.5)), forget_after="999ns", tick=MICROSECOND)
