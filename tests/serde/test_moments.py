"""Event times in every unit and form: exact, or rejected with what to write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions

NOW_MS = 1_700_000_000_000


def decode(*times: Any, column: bool = False, at: int = NOW_MS, **options: Any) -> Decoded:
    decoder = JsonDecoder(DecoderOptions(time="t", **options))
    payloads: Any = [
        json.dumps({"series_id": "a", "t": time, "value": 1}).encode() for time in times
    ]
    if column:
        payloads = BytesColumn.of(payloads)
    return decoder.decode([None] * len(times), payloads, [at] * len(times))


def times_ms(decoded: Decoded) -> list[int]:
    assert decoded.readings.times_ms is not None
    found: list[int] = decoded.readings.times_ms.tolist()
    return found


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("unit", "found", "expected"),
    [
        ("s", 1_700_000_000, NOW_MS),
        ("s", 1_700_000_000.5, NOW_MS + 500),
        ("s", 1_700_000_060.0, NOW_MS + 60_000),
        ("s", 1_700_000_000.123, NOW_MS + 123),
        ("s", 1_700_000_000.1239, NOW_MS + 123),
        ("s", "1700000000", NOW_MS),
        ("s", "1700000000.123456", NOW_MS + 123),
        ("s", -1, -1000),
        ("s", -0.0005, -1),
        ("ms", NOW_MS, NOW_MS),
        ("ms", NOW_MS + 0.75, NOW_MS),
        ("ms", str(NOW_MS), NOW_MS),
        ("us", 1_700_000_000_000_999, NOW_MS),
        ("us", "1700000000001000", NOW_MS + 1),
        ("us", -1, -1),
        ("ns", 1_700_000_000_000_999_999, NOW_MS),
        ("ns", "1700000000001000000", NOW_MS + 1),
        ("ns", 1_700_000_000_001_000_000, NOW_MS + 1),
        ("ns", 1.7e18, NOW_MS),
        ("s", "2023-11-14T22:13:20Z", NOW_MS),
        ("ns", "2023-11-14T22:13:20Z", NOW_MS),
    ],
)
def test_units(
    monkeypatch: pytest.MonkeyPatch, unit: str, found: Any, expected: int, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    for run in ([found] * 3, ["2023-11-14T22:13:20Z", found], [5, found, 7], ["5", found, "8"]):
        decoded = decode(*run, time_unit=unit, column=column)
        assert not decoded.rejected
        assert times_ms(decoded)[1] == expected


@pytest.mark.parametrize(
    ("form", "after_ms"),
    [
        ("2023-11-14 22:13:20", 0),
        ("2023-11-14T22:13:20.123456789Z", 123),
        ("2023-11-14T22:13:20.123456+00:00", 123),
        ("2023-11-14T22:13:20,5Z", 500),
        ("2023-11-14 22:13:20 UTC", 0),
        ("2023-11-14 22:13:20 GMT", 0),
        ("2023-11-14 22:13:20 +0000", 0),
        ("2023-11-14T23:13:20+0100", 0),
        ("2023-11-14T23:13:20+01", 0),
        ("2023-11-14T22:13:20Z[UTC]", 0),
        ("2023-11-14T23:13:20+01:00[Europe/Berlin]", 0),
        ("20231114T221320Z", 0),
        ("20231114T221320.5Z", 500),
        ("20231114T231320+0100", 0),
        (" 2023-11-14T22:13:20Z ", 0),
    ],
)
def test_every_form_of_iso_8601(form: str, after_ms: int) -> None:
    assert times_ms(decode(form, form)) == [NOW_MS + after_ms] * 2


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("2016-12-31T23:59:60Z", "not ISO 8601"),
        ("2023-11-14T22:13:20[Europe/Berlin]", "not ISO 8601"),
        ("Tue, 14 Nov 2023 22:13:20 GMT", "time_format in [input]"),
        ("14.11.2023 22:13", "time_format in [input]"),
        ("1700000000", 'time_unit = "s" in [input]'),
        ("1700000000.5", 'time_unit = "s" in [input]'),
        ("1700000000000", 'time_unit = "ms" in [input]'),
        ("1700000000000000", 'time_unit = "us" in [input]'),
        ("1700000000000000000", 'time_unit = "ns" in [input]'),
        ("1" * 100_000, "not ISO 8601"),
    ],
)
def test_what_is_no_time_is_said_with_what_to_write(form: str, said: str) -> None:
    [rejection] = decode(form).rejected
    assert rejection.cause == "not-a-time"
    assert said in rejection.detail
    assert len(rejection.detail) < 300


@pytest.mark.parametrize(
    ("found", "cause", "said"),
    [
        (1_700_000_000.5, "wrong-type", 'time_unit = "s" in [input]'),
        (1_700_000_000_000_000, "time-out-of-range", 'time_unit = "us" in [input]'),
        (1_700_000_000_000_000_000, "time-out-of-range", 'time_unit = "ns" in [input]'),
    ],
)
def test_numbers_of_another_unit_are_said_to_be(found: Any, cause: str, said: str) -> None:
    [rejection] = decode(found).rejected
    assert rejection.cause == cause
    assert said in rejection.detail


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("%a, %d %b %Y %H:%M:%S GMT", "Tue, 14 Nov 2023 22:13:20 GMT", NOW_MS),
        ("%d.%m.%Y %H:%M", "14.11.2023 22:13", NOW_MS - 20_000),
        ("%Y%m%d%H%M%S", "20231114221320", NOW_MS),
        ("%Y-%m-%dT%H:%M:%S%z", "2023-11-14T23:13:20+0100", NOW_MS),
    ],
)
def test_a_format_of_their_own(form: str, text: str, expected: int) -> None:
    assert times_ms(decode(text, text, time_format=form)) == [expected] * 2
    [rejection] = decode("yesterday", time_format=form).rejected
    assert f"not of the form {form!r}" in rejection.detail


def test_numbers_are_read_beside_a_format() -> None:
    decoded = decode("14.11.2023 22:13", NOW_MS, time_format="%d.%m.%Y %H:%M")
    assert times_ms(decoded) == [NOW_MS - 20_000, NOW_MS]


@pytest.mark.parametrize(
    ("found", "said"), [(1_700_000_000, 'time_unit = "s"'), (0, "53 years"), (-1, "53 years")]
)
def test_a_time_decades_away_is_reported_once(found: int, said: str) -> None:
    decoder = JsonDecoder(DecoderOptions(time="t"))
    payload = json.dumps({"series_id": "a", "t": found, "value": 1}).encode()
    notices = []
    for _ in range(3):
        decoder.decode([None], [payload], [NOW_MS])
        notices.append(decoder.pop_notice())
    assert notices[1:] == [None, None]
    assert notices[0] is not None
    assert said in notices[0]


@pytest.mark.parametrize("at", [NOW_MS, -1, 0])
def test_a_time_of_these_years_is_not_reported(at: int) -> None:
    decoder = JsonDecoder(DecoderOptions(time="t"))
    decoder.decode([None], [b'{"series_id":"a","t":1600000000000,"value":1}'], [at])
    assert decoder.pop_notice() is None


UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@settings(deadline=None)
@given(st.sampled_from(sorted(UNITS)), st.lists(st.integers(-(2**62), 2**62), min_size=1))
def test_whole_numbers_are_converted_exactly(unit: str, moments: list[int]) -> None:
    decoded = decode(*moments, time_unit=unit)
    expected = [moment * 1_000 // UNITS[unit] for moment in moments]
    kept = [ms for ms in expected if -62_135_596_800_000 <= ms <= 253_402_300_799_999]
    assert times_ms(decoded) == kept
    quoted = decode(*map(str, moments), time_unit=unit)
    assert times_ms(quoted) == kept


NUMBERS = st.integers(-(2**62), 2**62) | st.integers(0, 2 * 10**12) | st.floats(-1e13, 1e13)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.sampled_from([None, *UNITS]),
    st.lists(NUMBERS, min_size=1, max_size=6),
    st.sampled_from([repr, float]),
)
def test_by_columns_as_one_by_one(unit: Any, moments: list[float], made: Any) -> None:
    times = [repr(moment) if made is repr else moment for moment in moments]
    one_by_one = [decode(time, time_unit=unit) for time in times]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        together = decode(*times, time_unit=unit, column=True)
    assert times_ms(together) == [ms for one in one_by_one for ms in times_ms(one)]
    details = [why.detail for one in one_by_one for why in one.rejected]
    assert [why.detail for why in together.rejected] == details


def test_a_nanosecond_feed_keeps_its_order() -> None:
    moments = np.arange(1_700_000_000_000_000_000, 1_700_000_000_000_000_000 + 10**7, 99_991)
    times = times_ms(decode(*moments.tolist(), time_unit="ns"))
    assert times == sorted(times)
