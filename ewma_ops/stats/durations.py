"""Durations as text, such as "5min" or "1h30min", in milliseconds or finer ticks."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

from ewma_ops.errors import ConfigError

__all__ = ["NS_PER_MS", "duration_ms", "whole_ticks"]


_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    **dict.fromkeys(("s", "sec", "second", "seconds"), 10**9),
    **dict.fromkeys(("min", "minute", "minutes"), 60 * 10**9),
    **dict.fromkeys(("h", "hour", "hours"), 3_600 * 10**9),
    **dict.fromkeys(("d", "day", "days"), 86_400 * 10**9),
    **dict.fromkeys(("w", "week", "weeks"), 604_800 * 10**9),
}
NS_PER_MS = 1_000_000
_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-z]+)\s*")


def duration_ms(text: str) -> float:
    """Return a duration such as ``"5min"``, ``"1h30min"`` or ``"2 days"`` in milliseconds.

    Units: ns, us, ms, s, min, h, d, w, and the names of those from s on in full.

    Raises
    ------
    ConfigError
        If the text is not a duration, or a number stands without its unit.

    Examples
    --------
    >>> duration_ms("1h30min")
    5400000.0
    """
    return float(_duration_ns(text) / NS_PER_MS)


def _duration_ns(text: str) -> Fraction:
    total = Fraction(0)
    at = 0
    while at < len(text) or at == 0:
        found = _QUANTITY.match(text, at)
        if found is None or found[2] not in _UNITS_NS:
            raise ConfigError(
                f"{text!r} is not a duration: write numbers with the units ns, us, ms, s, min, h, "
                'd or w, such as "250ms", "90s", "1h30min" or "2 days"'
            )
        total += Fraction(found[1]) * _UNITS_NS[found[2]]
        at = found.end()
    return total


def whole_ticks(name: str, duration: object, per_ms: int = 1) -> int:
    """Return a duration, as text or a ``timedelta``, in whole ticks, rounded down.

    ``per_ms`` (>= 1, a divisor of a million) of them are a millisecond.

    Raises
    ------
    ConfigError
        If it is none, or negative, by the option's name.

    Examples
    --------
    >>> whole_ticks("max_lateness", "1.5ms"), whole_ticks("max_lateness", "1.5ms", 1000)
    (1, 1500)
    """
    duration_ns = Fraction(-1)
    if isinstance(duration, timedelta):
        duration_ns = Fraction(duration // timedelta(microseconds=1) * 1_000)
    elif isinstance(duration, str):
        try:
            duration_ns = _duration_ns(duration)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    if duration_ns < 0:
        raise ConfigError(f'{name} is {duration!r}: it must be a duration >= 0, such as "10min"')
    return int(duration_ns // (NS_PER_MS // per_ms))
