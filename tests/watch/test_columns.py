"""The columns of the live page against a plain loop over events."""

from __future__ import annotations

import math
from collections import defaultdict, deque

import numpy as np
import pytest

from ewma_ops import Decay, Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.watch import columns as columns_module
from ewma_ops.watch.book import Book
from ewma_ops.watch.columns import SPARK
from ewma_ops.watch.deep import COLUMNS, Deep, Part, Whole, drawn
from ewma_ops.watch.measures import measures


def a_book(*statistics: str) -> Book:
    return Book(measures(SmoothingSet.of(Smoothing(Decay(beta=0.9), statistics=statistics))))


def take(book: Book, ids: list[str], values: list[list[float]], first: int = 0) -> None:
    n = len(ids)
    at = np.arange(n, dtype=np.float64) + (1.7e9 + first)
    numbers = np.array(values, np.float64)
    book.take(ids, at, at + 0.5, numbers, first + np.arange(n), 0, is_live=True)


@pytest.mark.parametrize("room", [2, 1_000], ids=["grown", "enough"])
@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_they_hold_what_a_loop_over_the_events_gets(
    cut: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns_module, "_ROOM", room)
    rng = np.random.default_rng(3)
    ids = [f"s{i}" for i in rng.integers(0, 9, 1000)]
    values = rng.normal(size=(1000, 3)) ** 2  # value, ewma, std
    book = a_book("mean", "std")
    for begin in range(0, 1000, cut):
        part = slice(begin, begin + cut)
        take(book, ids[part], values[part].tolist(), begin)
    last: dict[str, list[float]] = {}
    z: dict[str, float] = {}
    recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=SPARK))
    for name, row in zip(ids, values.tolist(), strict=True):
        if name in last:
            z[name] = (row[0] - last[name][1]) / last[name][2]
        last[name] = row
        recent[name].append(row[0])
    of = book.columns.measures[0]
    for name, row in last.items():
        at = book.find(name)
        assert at is not None
        assert [of.value[at], of.average[at]] == row[:2]
        assert of.z[at] == pytest.approx(z[name], rel=1e-5)
        count = int(book.columns.count[at])
        assert count == ids.count(name)
        assert of.recent(at, count).tolist() == [np.float32(one) for one in recent[name]]
    assert book.events == 1000


def test_without_a_spread_there_is_no_z() -> None:
    book = a_book("mean")
    take(book, ["a", "a"], [[1, 1], [2, 1.5]])
    assert math.isnan(book.columns.measures[0].z[0])


def test_an_average_that_stays_has_not_changed() -> None:
    book = a_book("mean")
    take(book, ["a", "a", "b"], [[1, 20.1], [1, 20.1], [1, 0.3]])
    assert book.columns.measures[0].change(np.arange(2)).tolist() == [0.0, 0.0]


def test_a_constant_series_has_no_z_and_an_own_z_is_taken() -> None:
    book = a_book("mean", "std")
    take(book, ["a", "a"], [[1, 1, 0], [2, 1.5, 0.5]])
    assert math.isnan(book.columns.measures[0].z[0])


def test_past_and_live_readings_of_a_series_join_at_an_offset() -> None:
    deep = Deep(live_from=10)

    def part(first: int, stop: int) -> Part:
        numbers = np.zeros((stop - first, COLUMNS))
        numbers[:, 0] = np.arange(first, stop)
        return Part(np.arange(first, stop), numbers)

    deep.add_live(part(8, 15))
    deep.add_past(part(0, 6))
    deep.add_past(part(6, 12))
    assert deep.whole().numbers[:, 0].tolist() == list(range(15))
    assert not deep.whole().late.any()


def rows_of(*rows: tuple[float, float, float]) -> Part:
    """Return readings of time, value and revision."""
    numbers = np.full((len(rows), COLUMNS), np.nan)
    numbers[:, [0, 1, 6]] = rows
    return Part(np.arange(len(rows)), numbers)


def test_a_late_reading_stands_at_its_time_and_is_marked() -> None:
    deep = Deep(live_from=0)
    deep.add_live(rows_of((0, 1, 0), (20, 4, 0)))
    deep.add_live(rows_of((10, 100, 1), (30, 5, 1)))
    whole = deep.whole()
    assert whole.numbers[:, 0].tolist() == [0, 10, 20, 30]
    assert whole.late.tolist() == [False, True, False, False]
    seen = drawn(whole, 900, -np.inf, np.inf)
    assert (seen.late, seen.late_at) == (1, [[10.0, 100.0]])


def test_a_correction_takes_the_place_of_what_it_corrects() -> None:
    deep = Deep(live_from=0)
    deep.add_live(rows_of((0, 1, 3), (20, 4, 3), (20, 4, 3)))
    assert len(deep.whole().numbers) == 3, "two readings of one time"
    deep.add_live(rows_of((20, np.nan, 4)))  # the average as it is now, without a reading
    assert deep.whole().numbers[:, [0, 1, 6]].tolist() == [[0, 1, 3], [20, 4, 4]]
    assert deep.whole().late.tolist() == [False, True]
    deep.add_live(rows_of((20, 7, 5), (21, 8, 5)))
    assert deep.whole().numbers[:, 1].tolist() == [1, 7, 8]


def test_of_very_many_readings_the_newest_stay() -> None:
    deep = Deep(live_from=0)
    for first in range(0, 400_000, 40_000):
        numbers = np.zeros((40_000, COLUMNS))
        numbers[:, 0] = np.arange(first, first + 40_000)
        deep.add_live(Part(np.arange(40_000), numbers))
    times = deep.whole().numbers[:, 0]
    assert 200_000 <= len(times) <= 250_000
    assert times[-1] == 399_999
    assert (np.diff(times) == 1).all()
    assert deep.note == "only the newest 200,000 readings"


def test_a_spike_is_drawn_whatever_the_width() -> None:
    numbers = np.zeros((100_000, COLUMNS))
    numbers[:, 0] = np.arange(100_000)
    numbers[77_777, 1] = 50.0
    none = np.zeros(100_000, np.bool_)
    for width in (50, 333, 900):
        seen = drawn(Whole(numbers, none), width, -np.inf, np.inf)
        assert len(seen.x) <= 2 * width
        assert seen.value.max() == 50.0
        assert (np.diff(seen.x) >= 0).all()
    close = drawn(Whole(numbers, none), 900, 77_700.0, 77_800.0)
    assert close.readings == 101


@pytest.mark.parametrize("last", [0.0, 7.0, np.nan])
@pytest.mark.parametrize("spike", [50.0, -50.0])
def test_a_spike_of_the_newest_step_is_drawn_and_the_line_ends_at_the_last_reading(
    spike: float, last: float
) -> None:
    numbers = np.zeros((10_000, COLUMNS))
    numbers[:, 0] = np.arange(10_000)
    numbers[9_990, 1], numbers[-1, 1:5] = spike, last
    seen = drawn(Whole(numbers, np.zeros(10_000, np.bool_)), 100, -np.inf, np.inf)
    assert spike in seen.value
    np.testing.assert_array_equal([seen.value[-1], seen.average[-1]], last)
    assert len(set(map(len, (seen.x, seen.value, seen.average, seen.lower, seen.upper)))) == 1
    assert (np.diff(seen.x) >= 0).all()


def test_what_is_missing_is_drawn_as_missing() -> None:
    numbers = np.full((5000, COLUMNS), np.nan)
    numbers[:, 0] = np.arange(5000)
    whole = Whole(numbers, np.zeros(5000, np.bool_))
    assert np.isnan(drawn(whole, 100, -np.inf, np.inf).value).all()
