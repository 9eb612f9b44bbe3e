from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.settings.moments import moment_ms

AT_MS = 1_769_860_800_000  # 2026-01-31T12:00:00Z


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.000Z",
        "2026-01-31T12:00:00,000000000Z",
        "2026-01-31T12:00Z",
        "2026-01-31T12Z",
        "2026-01-31t12:00:00z",
        "2026-01-31 12:00:00",
        "2026-01-31 12:00:00 UTC",
        "2026-01-31 12:00",
        "2026-01-31T12:00:00",
        "2026-01-31T13:00:00+01:00",
        "2026-01-31T13:00:00+0100",
        "2026-01-31T13:00+01",
        "2026-01-31T06:30:00-05:30",
        "20260131T120000Z",
        "20260131T1200Z",
        "20260131T130000.000+0100",
        " 2026-01-31T12:00:00Z ",
    ],
)
def test_every_form_of_one_moment(text: str) -> None:
    assert moment_ms(text) == AT_MS


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01", 0),
        ("19700102", 86_400_000),
        ("2026-01-31T12:00:00.25Z", AT_MS + 250),
        ("2026-01-31T12:00:00.2509999", AT_MS + 250),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_others(text: str, ms: int) -> None:
    assert moment_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026", "2026-01", "2026-13-01", "2026-02-30", "2026-01-31T25:00", "2026-W05-6",
        "2026-031", "2026-0131", "202601-31", "2026-01-31T12:60Z", "2026-01-31T12:00:60Z",
        "2026-01-31T12:00:00.Z", "2026-01-31T12:00+25:00", "2026-01-31T12:00+01:60",
        "1969-12-31T23:59:59Z", "1970-01-01T00:00:00+01:00", "1769860800000", "12:00", "31.01.2026",
        "2026-01-31T12:00 CET", "٢٠٢٦-01-31", "0001-01-01T00:00:00+01:00",
    ],
)  # fmt: skip
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        moment_ms(text)


@given(
    st.datetimes(datetime(1970, 1, 2), timezones=st.just(timezone.utc)),  # noqa: DTZ001 - a bound has none
    st.sampled_from(["auto", "milliseconds", "microseconds", "minutes", "seconds"]),
)
def test_it_reads_what_python_writes(moment: datetime, timespec: str) -> None:
    text = moment.isoformat(timespec=timespec)
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert moment_ms(text) == since // timedelta(milliseconds=1)
