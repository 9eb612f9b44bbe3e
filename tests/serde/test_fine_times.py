"""Times of jobs that count in microseconds or nanoseconds: every digit, by every way."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.columns.ticks import MICROSECOND, NANOSECOND, Tick, tick_of
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.csv import CsvDecoder
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.line import LineDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.parquet import History

NOW = 1_700_000_000_123_456_789
NOW_MS = NOW // 1_000_000
FINE = [MICROSECOND, NANOSECOND]


def decode(*times: Any, unit: Any = "ns", column: bool = False, **options: Any) -> Decoded:
    made = DecoderOptions(time="t", time_unit=unit, tick=tick_of(unit), **options)
    payloads: Any = [
        json.dumps({"series_id": "a", "t": time, "value": 1}).encode() for time in times
    ]
    if column:
        payloads = BytesColumn.of(payloads)
    return JsonDecoder(made).decode([None] * len(times), payloads, [NOW_MS] * len(times))


def times_of(decoded: Decoded) -> list[int]:
    assert decoded.readings.times_ms is not None
    assert decoded.readings.times_ms.dtype == np.int64
    found: list[int] = decoded.readings.times_ms.tolist()
    return found


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("unit", "found", "expected"),
    [
        ("ns", NOW, NOW),
        ("ns", str(NOW), NOW),
        ("ns", f"{NOW}.9", NOW),
        ("ns", -1, -1),
        ("ns", "-1.5", -2),
        ("ns", 1.5, 1),
        ("ns", "2023-11-14T22:13:20.123456789Z", NOW),
        ("ns", "2023-11-14T22:13:20.1234567891Z", NOW),
        ("ns", "2023-11-14 23:13:20,123456789 +01", NOW),
        ("ns", "2023-11-14T22:13:20Z", NOW // 10**9 * 10**9),
        ("ns", "1969-12-31T23:59:59.999999999Z", -1),
        ("us", NOW // 1_000, NOW // 1_000),
        ("us", "2023-11-14T22:13:20.123456789Z", NOW // 1_000),
        ("us", "0001-01-01", MICROSECOND.earliest),
        ("us", "9999-12-31T23:59:59.999999Z", MICROSECOND.latest),
    ],
)
def test_every_digit_counts(
    monkeypatch: pytest.MonkeyPatch, unit: str, found: Any, expected: int, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    text = "2023-11-14T22:13:20.123456789Z"
    for times in ([found] * 100, [text, found], [5, found, 7], ["5", found, "8"], [10**15, found]):
        decoded = decode(*times, unit=unit, column=column)
        assert [one for one in decoded.rejected if one.at == 1] == []
        assert times_of(decoded)[1] == expected


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("unit", "found", "said"),
    [
        (
            "ns",
            NANOSECOND.latest + 1,
            "t is 7005657600000000000 ns, outside the years 1900",
        ),
        ("ns", NANOSECOND.earliest - 1, "outside the years 1900 to 2191"),
        ("ns", 10**30, "t is more nanoseconds than fit in 64 bits, outside"),
        ("ns", "9999-01-01", "more nanoseconds than fit in 64 bits"),
        ("ns", "2200-01-01T00:00:00Z", "outside the years 1900 to 2191"),
        ("ns", 1e300, "more nanoseconds"),
        ("us", MICROSECOND.latest + 1, "outside the years 1 to 9999"),
        ("us", "0001-01-01T00:00:00+01:00", "outside the years 1 to 9999"),
    ],
)
def test_a_time_out_of_bounds_says_which_there_are(
    monkeypatch: pytest.MonkeyPatch, unit: str, found: Any, said: str, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    for times in ([found], [found] * 70):
        decoded = decode(*times, unit=unit, column=column)
        assert {one.cause for one in decoded.rejected} == {"time-out-of-range"}
        assert said in decoded.rejected[0].detail


MOMENTS = st.integers(-(2**70), 2**70) | st.integers(NOW - 10**6, NOW + 10**6)
FORMS = st.sampled_from([lambda x: x, str, lambda x: f"{x}.5", lambda x: x / 2**12])


@settings(deadline=None)
@given(st.sampled_from(FINE), st.lists(st.tuples(MOMENTS, FORMS), min_size=1, max_size=6))
def test_numbers_in_every_form_by_columns_and_one_by_one(
    tick: Tick, made: list[tuple[int, Any]]
) -> None:
    times = [form(moment) for moment, form in made]
    exact = [Fraction(time) for time in times]
    expected = [one.numerator // one.denominator for one in exact]
    kept = [time for time in expected if tick.earliest <= time <= tick.latest]
    one_by_one = decode(*times, unit=tick.unit)
    assert times_of(one_by_one) == kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        together = decode(*times, unit=tick.unit, column=True)
    assert times_of(together) == kept
    assert list(together.rejected) == list(one_by_one.rejected)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.sampled_from(FINE),
    st.lists(st.integers(-2_208_988_800 * 10**9, 7_005_657_600 * 10**9 - 1), min_size=1),
    st.integers(0, 9),
    st.sampled_from([1, 40]),
)
def test_iso_8601_with_up_to_nine_decimals(
    tick: Tick, moments_ns: list[int], digits: int, times_over: int
) -> None:
    texts, expected = [], []
    for moment in moments_ns * times_over:
        second, rest = divmod(moment, 10**9)
        decimals = f"{rest:09d}"[:digits]
        day = str(np.datetime64(second, "s"))
        texts.append(f"{day}.{decimals}Z" if decimals else f"{day}Z")
        cut = second * 10**9 + int(decimals.ljust(9, "0"))
        expected.append(cut * tick.per_ms // 1_000_000)
    for column in (False, True):
        assert times_of(decode(*texts, unit=tick.unit, column=column)) == expected


def test_formats_of_lines() -> None:
    options = DecoderOptions(time="time", time_unit="ns", tick=NANOSECOND)
    line = DecoderOptions(
        value="fields.v", series_id="measurement", time="time", time_unit="ns", tick=NANOSECOND
    )
    csv = CsvDecoder(["series_id", "time", "value"], options)
    for several in (3, 2_000):
        times = [NOW + i for i in range(several)]
        rows = "\n".join(f"a,{time},1" for time in times).encode()
        points = "\n".join(f"a v=1 {time}" for time in times).encode()
        for decoder, payload in ((csv, rows), (LineDecoder(line), points)):
            found = decoder.decode([None], BytesColumn.of([payload]), [NOW_MS])
            assert times_of(found) == times


def test_points_count_in_milliseconds_without_a_unit() -> None:
    options = DecoderOptions(value="fields.v", series_id="measurement", time="time")
    found = LineDecoder(options).decode([None], [b"a v=1 %d" % NOW], [NOW_MS])
    assert times_of(found) == [NOW_MS]


@pytest.mark.parametrize("tick", FINE)
def test_ahead_by_one_tick(tick: Tick) -> None:
    at, most = NOW_MS * tick.per_ms, 5
    decoded = decode(at + most, at + most + 1, unit=tick.unit, max_ahead=most)
    assert times_of(decoded) == [at + most]
    [rejection] = decoded.rejected
    assert rejection.cause == "ahead"
    assert f"{6 / tick.per_ms / 1_000:.9f}".rstrip("0") in rejection.detail
    clipped = decode(at + 9, at - 9, unit=tick.unit, max_ahead=most, ahead="clip")
    assert times_of(clipped) == [at + most, at - 9]
    assert clipped.clipped == 1


def test_a_time_decades_away_is_told_in_years() -> None:
    made = DecoderOptions(time="t", time_unit="ns", tick=NANOSECOND)
    decoder = JsonDecoder(made)
    decoder.decode([None], [b'{"series_id":"a","value":1,"t":1700000000000}'], [NOW_MS])
    notice = decoder.pop_notice()
    assert notice is not None
    assert "read as 1970-01-01T00:28:20Z, 53 years away" in notice


@pytest.mark.parametrize("tick", FINE)
def test_parquet(tick: Tick) -> None:
    pa = pytest.importorskip("pyarrow")
    there = datetime(2023, 11, 14, tzinfo=timezone.utc)
    whole = int(there.timestamp()) * 1_000 * tick.per_ms
    for column, expected in (
        (pa.array([NOW], pa.timestamp("ns")), NOW * tick.per_ms // 1_000_000),
        (pa.array([there], pa.timestamp("s", "UTC")), whole),
        (pa.array([there.date()]), whole),
        (pa.array([whole + 7]), whole + 7),
    ):
        frame = pa.table({"series_id": ["a"], "value": [1.0], "time": column})
        [part] = History(frame, time="time", tick=tick)
        assert part.times_ms is not None
        assert part.times_ms.tolist() == [expected]


def test_parquet_of_a_year_that_nanoseconds_do_not_reach() -> None:
    pa = pytest.importorskip("pyarrow")
    far = pa.array([datetime(2700, 1, 1, tzinfo=timezone.utc)], pa.timestamp("s", "UTC"))
    frame = pa.table({"series_id": ["a"], "value": [1.0], "time": far})
    with pytest.raises(ValueError, match="out of bounds"):
        list(History(frame, time="time", tick=NANOSECOND))
