"""A moment written as text: ISO 8601 in, milliseconds since the epoch out.

Knows forms of dates and times; must not know what the moment is for.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

__all__ = ["FORMS", "moment_ms"]

FORMS = "2026-01-31T00:00:00Z, 2026-01-31T13:00:00.250+01:00 or 2026-01-31"
"""Examples of what is read, for messages."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DATE = r"(?P<year>\d{4})(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
_TIME = (
    r"(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?"
)
_ZONE = r"(?P<zone>[Zz]| ?UTC|(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?)?"
_ISO_8601 = re.compile(rf"{_DATE}(?:(?:[Tt]|\s)\s*{_TIME}\s?{_ZONE})?", re.ASCII)


def moment_ms(text: str) -> int:
    """Return a moment in milliseconds since the epoch; UTC where no zone is given.

    Dates and times of ISO 8601 are read in their extended and basic forms, with ``T`` or a blank
    between them, seconds or not, and a zone such as ``Z``, ``+01:00``, ``+0100`` or ``+01``. Weeks,
    days of the year and years of other lengths are not. Digits beyond the millisecond are cut off.

    Raises
    ------
    ValueError
        If it has another form, is not a valid date or time, or is before 1970.

    Examples
    --------
    >>> moment_ms("1970-01-01T01:00:00.5+01:00"), moment_ms("19700102")
    (500, 86400000)
    """
    found = _ISO_8601.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a time in a known form, such as {FORMS}")
    number = {name: int(part or 0) for name, part in found.groupdict().items() if _is_number(part)}
    moment = datetime(
        number["year"],
        number["month"],
        number["day"],
        number.get("hour", 0),
        number.get("minute", 0),
        number.get("second", 0),
        int((found["fraction"] or "").ljust(6, "0")[:6]),
        timezone.utc,
    )
    away = timedelta(hours=number.get("hours", 0), minutes=number.get("minutes", 0))
    if away >= timedelta(days=1) or number.get("minutes", 0) > 59:
        raise ValueError(f"{text!r} has an unknown time zone")
    moment += away if found["sign"] == "-" else -away
    if moment < _EPOCH:
        raise ValueError(f"{text!r} is before 1970")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _is_number(part: str | None) -> bool:
    return part is not None and part.isdigit()
