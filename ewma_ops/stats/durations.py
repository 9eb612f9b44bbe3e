"""Durations as text, such as "5min" or "1h30min", in milliseconds."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

from ewma_ops.errors import ConfigError

__all__ = ["duration_ms", "milliseconds"]


_UNITS_MS = {
    "ms": 1,
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1_000),
    **dict.fromkeys(("min", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000),
    **dict.fromkeys(("w", "week", "weeks"), 604_800_000),
}
_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-z]+)\s*")


def duration_ms(text: str) -> float:
    """Return a duration such as ``"5min"``, ``"1h30min"`` or ``"2 days"`` in milliseconds.

    Units: ms, s, min, h, d, w, and their names in full.

    Raises
    ------
    ConfigError
        If the text is not a duration, or a number stands without its unit.

    Examples
    --------
    >>> duration_ms("1h30min")
    5400000.0
    """
    total = Fraction(0)
    at = 0
    while at < len(text) or at == 0:
        found = _QUANTITY.match(text, at)
        if found is None or found[2] not in _UNITS_MS:
            raise ConfigError(
                f"{text!r} is not a duration: write numbers with the units ms, s, min, h, d or w, "
                'such as "250ms", "90s", "1h30min" or "2 days"'
            )
        total += Fraction(found[1]) * _UNITS_MS[found[2]]
        at = found.end()
    return float(total)


def milliseconds(name: str, duration: object) -> int:
    """Return a duration, as text or a ``timedelta``, in whole milliseconds, rounded down.

    Raises
    ------
    ConfigError
        If it is none, or negative, by the option's name.
    """
    time_ms = -1.0
    if isinstance(duration, timedelta):
        time_ms = duration / timedelta(milliseconds=1)
    elif isinstance(duration, str):
        try:
            time_ms = duration_ms(duration)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    if time_ms < 0:
        raise ConfigError(f'{name} is {duration!r}: it must be a duration >= 0, such as "10min"')
    return int(time_ms)
