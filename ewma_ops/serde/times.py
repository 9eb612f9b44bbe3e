"""Event times as text, ISO 8601: the usual forms as a column, any other one by one.

Knows calendars; must not know where a time stands, nor any bounds.

Days are counted from the civil date as in Hinnant, "chrono-compatible low-level date algorithms",
2013, with the year beginning in March, so that a leap day is its last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn, words_at
from ewma_ops.columns.ticks import MILLISECOND, NANOSECOND, Tick

__all__ = ["read_time", "read_times", "ticks_of", "times_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_US = timedelta(microseconds=1)
_FORM = re.compile(
    r"""(?P<date>\d{4}-\d\d-\d\d|\d{8})
    (?:[Tt\ ](?P<time>\d\d(?::?\d\d(?::?\d\d(?:[.,]\d{1,30})?)?)?)
       (?:\ ?(?P<offset>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)(?:\[[\w/+:-]{1,40}\])?)?
    |(?P<of_date>[Zz]|[+-]\d\d:?\d\d))?""",
    re.ASCII | re.VERBOSE,
)
"""What people write as ISO 8601: the basic form too, a comma, hours alone, a zone's name behind."""

_FEW = 64
"""Fewer times than this are read more quickly one by one (measured)."""
_LONGEST = 32
_MOST_DECIMALS = 9
_POWERS = 10 ** np.arange(_MOST_DECIMALS - 1, -1, -1)
_DAY_MS = 86_400_000
_DAYS_TO_1970 = 719_468
"""From the first of March of year 0."""


def read_time(text: str, tick: Tick = MILLISECOND) -> int | None:
    """Return the ticks since the epoch of one time, UTC where it names no offset.

    ``None`` if it is none. What is finer than a tick is cut off, downwards.

    Examples
    --------
    >>> read_time("1970-01-01T01:00:00.5+01:00"), read_time("1970-01-02"), read_time("yesterday")
    (500, 86400000, None)
    >>> [read_time(form) for form in ("19700101T000001Z", "1970-01-01 01:00:01,5 +01")]
    [1000, 1500]
    >>> read_time("1970-01-01T00:00:01Z[UTC]"), read_time("1970-01-01 00:00:01 UTC")
    (1000, 1000)
    """
    form = _FORM.fullmatch(text.strip())
    if form is None:
        return None
    digits = form["date"].replace("-", "")
    time = (form["time"] or "00").replace(":", "").replace(",", ".")
    whole, _, decimals = time.partition(".")
    hour, minute, second = whole[:2], whole[2:4] or "00", whole[4:] or "00"
    full = f"{digits[:4]}-{digits[4:6]}-{digits[6:]}T{hour}:{minute}:{second}"
    try:
        moment = msgspec.convert(full + _offset(form["offset"] or form["of_date"]), datetime)
    except msgspec.ValidationError:
        return None
    fine = int(decimals[:_MOST_DECIMALS].ljust(_MOST_DECIMALS, "0"))
    return ticks_of(moment, tick) + fine // (NANOSECOND.per_ms // tick.per_ms)


def _offset(written: str | None) -> str:
    """Return an offset as RFC 3339 has it."""
    if written is None:
        return ""
    if written[0] not in "+-":
        return "Z"
    digits = written[1:].replace(":", "")
    return f"{written[0]}{digits[:2]}:{digits[2:] or '00'}"


def ticks_of(moment: datetime, tick: Tick = MILLISECOND) -> int:
    """Return the ticks since the epoch, rounded down, UTC where it has no time zone.

    Examples
    --------
    >>> ticks_of(datetime(1970, 1, 1, 0, 0, 1, 1999))
    1001
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // _US * 1_000 // (NANOSECOND.per_ms // tick.per_ms)


def times_of(texts: Sequence[str], tick: Tick = MILLISECOND) -> list[int | None]:
    """Return what :func:`read_time` does of each."""
    if len(texts) < _FEW:
        return [read_time(text, tick) for text in texts]
    times, good = read_times(TextColumn.of(texts).utf8, tick)
    found: list[int | None] = times.tolist()
    for i in np.flatnonzero(~good).tolist():
        found[i] = read_time(texts[i], tick)
    return found


def read_times(
    spans: BytesColumn, tick: Tick = MILLISECOND
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Read times of the usual forms, in ticks within their bounds; say which spans have one.

    A date, or a date and a time of day to the minute, the second or up to nine decimals; with no
    offset, ``Z`` or ``+hh:mm``. Others may be times too: see :func:`read_time`.

    Examples
    --------
    >>> read_times(BytesColumn.of([b"1970-01-01T00:00:01.5Z", b"1970-01-02", b"yesterday"]))
    (array([    1500, 86400000,        0]), array([ True,  True, False]))
    """
    sizes = spans.sizes
    words = words_at(spans.data, spans.starts, _LONGEST // 8)
    text = np.ascontiguousarray(words).view(np.uint8).reshape(-1, _LONGEST)
    text = np.where(np.arange(_LONGEST) < sizes[:, None], text, 0)
    good = (sizes >= len("1970-01-01")) & (sizes <= _LONGEST)
    digits = text - np.uint8(ord("0"))
    reader = _Reader(text, digits, digits < 10)
    year, month, day = reader.number(0, 4), reader.number(5, 2), reader.number(8, 2)
    good &= reader.stands(4, b"-") & reader.stands(7, b"-")
    good &= reader.digits(0, 4) & reader.digits(5, 2) & reader.digits(8, 2)
    good &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    day_ms, decimals_ns, end, fine = reader.time_of_day()
    offset_min, offset_fine = reader.offset(end, sizes)
    good &= fine & offset_fine & (day <= _days_in(year, month))
    times_ms = (_days(year, month, day) * _DAY_MS) + day_ms - offset_min * 60_000
    if tick.per_ms > 1:  # the whole years of milliseconds are all within their bounds
        good &= (times_ms >= tick.earliest // tick.per_ms) & (times_ms < tick.latest // tick.per_ms)
    times = np.where(good, times_ms, 0) * tick.per_ms
    return times + np.where(good, decimals_ns // (NANOSECOND.per_ms // tick.per_ms), 0), good


class _Reader:
    """The bytes of n texts in rows, zeros behind them."""

    def __init__(
        self, text: NDArray[np.uint8], digits: NDArray[np.uint8], are: NDArray[np.bool_]
    ) -> None:
        self._text, self._digits, self._are = text, digits, are
        self._rows = np.arange(len(text))

    def stands(self, at: int, any_of: bytes) -> NDArray[np.bool_]:
        column = self._text[:, at]
        found: NDArray[np.bool_] = column == any_of[0]
        for byte in any_of[1:]:
            found |= column == byte
        return found

    def digits(self, at: int, count: int) -> NDArray[np.bool_]:
        digits = self._are[:, at].copy()
        for place in range(at + 1, at + count):
            digits &= self._are[:, place]
        return digits

    def number(self, at: int, count: int) -> NDArray[np.int64]:
        value = self._digits[:, at].astype(np.int64)
        for place in range(at + 1, at + count):
            value = value * 10 + self._digits[:, place]
        return value

    def time_of_day(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return whole seconds since midnight, as milliseconds; nanoseconds beside; where it ends.

        And whether that is a time.
        """
        timed = self.stands(10, b"Tt ")
        hour, minute, second = self.number(11, 2), self.number(14, 2), self.number(17, 2)
        fine = self.digits(11, 2) & self.digits(14, 2) & self.stands(13, b":")
        fine &= (hour < 24) & (minute < 60)
        to_second = timed & self.stands(16, b":")
        fine &= ~to_second | (self.digits(17, 2) & (second < 60))
        decimal = to_second & self.stands(19, b".")
        run = np.logical_and.accumulate(self._are[:, 20 : 21 + _MOST_DECIMALS], axis=1)
        decimals = run.sum(axis=1)
        fine &= ~decimal | ((decimals >= 1) & (decimals <= _MOST_DECIMALS))
        digits = np.where(run[:, :_MOST_DECIMALS], self._digits[:, 20 : 20 + _MOST_DECIMALS], 0)
        decimals_ns = np.where(decimal, digits @ _POWERS, 0)
        day_ms = (hour * 60 + minute) * 60_000
        day_ms += np.where(to_second, second * 1000, 0)
        end = np.where(timed, np.where(to_second, 19 + np.where(decimal, 1 + decimals, 0), 16), 10)
        return np.where(timed, day_ms, 0), np.where(timed, decimals_ns, 0), end, fine | ~timed

    def offset(
        self, at: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the minutes ahead of UTC that are named at a place, and whether they are."""
        left = sizes - at
        columns = np.minimum(at[:, None] + np.arange(6), _LONGEST - 1)
        text = self._text[self._rows[:, None], columns]
        tail = _Reader(text, text - np.uint8(ord("0")), self._are[self._rows[:, None], columns])
        hour, minute = tail.number(1, 2), tail.number(4, 2)
        named = (left == 6) & tail.stands(0, b"+-") & tail.stands(3, b":")
        named &= tail.digits(1, 2) & tail.digits(4, 2) & (hour < 24) & (minute < 60)
        sign = np.where(tail.stands(0, b"-"), -1, 1)
        fine = named | (left == 0) | ((left == 1) & tail.stands(0, b"Zz"))
        return np.where(named, sign * (hour * 60 + minute), 0), fine


def _days(
    year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the days since the epoch."""
    year = year - (month <= 2)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    leap_days = year // 4 - year // 100 + year // 400
    days: NDArray[np.int64] = 365 * year + leap_days + of_year - _DAYS_TO_1970
    return days


def _days_in(year: NDArray[np.int64], month: NDArray[np.int64]) -> NDArray[np.int64]:
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    days: NDArray[np.int64] = _MONTH_DAYS[np.minimum(month, 12)] + (leap & (month == 2))
    return days


_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
