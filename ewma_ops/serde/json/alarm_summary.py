"""One sentence about a transition of an alarm, for people.

Knows kinds of rules, transitions and their evidence as numbers; must not know columns, JSON or
topics. A sentence has no units: what a value is in, only its reader knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Told", "shown_number", "summary"]

_MOST_ID = 100
_SIGNIFICANT = 4
_UNITS_S = ((604_800.0, "weeks"), (86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
_PLAIN = (-4, 12)
"""Powers of ten between which a number is shown without an exponent."""


class Told(NamedTuple):
    """A transition as its sentence needs it; a number that is absent is NaN.

    ``high`` is 1 for too high, -1 for too low, 0 for neither; durations are in milliseconds.
    """

    series_id: str
    kind: str
    transition: str
    by: str
    severity: str
    high: int
    value: float = math.nan
    ewma: float = math.nan
    expected: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    score: float = math.nan
    limit: float = math.nan
    std: float = math.nan
    worst: float = math.nan
    readings: float = math.nan
    duration_ms: float = math.nan


def summary(told: Told) -> str:
    """Return the sentence.

    Examples
    --------
    >>> told = Told("kitchen", "level", "raised", "", "warning", 1, 24.1, 23.2, 21.5, 20.7, 22.3,
    ...             3.41, 2.814)
    >>> summary(told)
    'kitchen is high: average 23.2, expected 20.7 to 22.3 (3.41 standard errors off, limit 2.814)'
    >>> summary(told._replace(transition="cleared", by="back", ewma=21.9, duration_ms=720_000.0))
    'kitchen is back after 12 min: average 21.9, expected 20.7 to 22.3'
    """
    name = shown_id(told.series_id)
    if told.transition == "cleared":
        return f"{name} {_cleared(told)}"
    found = _FOUND.get(told.kind, _off)(told)
    again = {"held": "still ", "changed": "now "}.get(told.transition, "")
    critical = ", critical" if told.transition == "changed" and told.severity == "critical" else ""
    return f"{name} {found.verb} {again}{found.state}{critical}{found.numbers}"


def shown_id(series_id: str) -> str:
    r"""Return an id on one line and of bounded length, what a terminal might obey as escapes.

    Examples
    --------
    >>> print(shown_id("a\nb"))
    a\nb
    """
    text = series_id if len(series_id) <= _MOST_ID else series_id[: _MOST_ID - 1] + "…"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shown_number(x: float) -> str:
    """Return a number to four digits, the same text on every machine.

    Examples
    --------
    >>> [shown_number(x) for x in (21.5, 0.123456, 1234567.8, 1e-9, 0.0, -3.0)]
    ['21.5', '0.1235', '1234568', '1e-09', '0', '-3']
    """
    rounded = f"{x:.{_SIGNIFICANT - 1}e}"
    power = int(rounded.rpartition("e")[2])
    if x != 0.0 and not _PLAIN[0] <= power < _PLAIN[1]:
        return f"{x:.{_SIGNIFICANT}g}"
    text = f"{x:.{max(0, _SIGNIFICANT - 1 - power)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def shown_duration(duration_ms: float) -> str:
    """Return a duration in its largest fitting unit.

    Examples
    --------
    >>> shown_duration(90_000.0), shown_duration(12.0), shown_duration(7_200_000.0)
    ('1.5 min', '12 ms', '2 h')
    """
    seconds = duration_ms / 1_000.0
    for size, unit in _UNITS_S:
        if seconds >= size and (unit != "weeks" or seconds >= 2 * size):
            return f"{seconds / size:.3g} {unit}"
    return f"{duration_ms:.3g} ms"


class _Found(NamedTuple):
    """The parts of a sentence: ``kitchen [is] [still] [high][: 23.2 ...]``."""

    verb: str
    state: str
    numbers: str


def _level(told: Told) -> _Found:
    return _Found("is", _side(told, "high", "low", "off"), _against(told, "average", told.ewma))


def _spike(told: Told) -> _Found:
    state = _side(told, "far above", "far below", "far from") + " what is expected"
    return _Found("is", state, _against(told, "value", told.value))


def _bounds(told: Told) -> _Found:
    bound = told.lower if told.high < 0 else told.upper
    state = _side(told, "above", "below", "beyond") + _said(" ", bound)
    rows = f" for {told.readings:.0f} readings" if told.readings > 1.0 else ""
    return _Found("is", f"{state}{rows}", _said(": ", told.value))


def _change(told: Told) -> _Found:
    numbers = _said(": ", told.value)
    if _known(told.score, told.limit):
        numbers += f" ({shown_number(told.score)}, limit {shown_number(told.limit)})"
    return _Found("is", _side(told, "rising", "falling", "changing") + " too fast", numbers)


def _flat(told: Told) -> _Found:
    rows = "" if math.isnan(told.score) else f" for {told.score:.0f} readings in a row"
    return _Found("is", f"the same{rows}", _said(": ", told.value))


def _stale(told: Told) -> _Found:
    since = "" if math.isnan(told.duration_ms) else f" for {shown_duration(told.duration_ms)}"
    return _Found("is", f"silent{since}", _said("; the last value was ", told.value))


def _spread(told: Told) -> _Found:
    state = _side(told, "more", "less", "differently") + " spread than usual"
    return _Found("is", state, _against(told, "standard deviation", told.std))


def _off(told: Told) -> _Found:
    return _Found("is", _side(told, "high", "low", "off"), _against(told, "value", told.value))


_FOUND: dict[str, Callable[[Told], _Found]] = {
    "level": _level,
    "spike": _spike,
    "bounds": _bounds,
    "change": _change,
    "flat": _flat,
    "stale": _stale,
    "spread": _spread,
}


def _cleared(told: Told) -> str:
    after = "" if math.isnan(told.duration_ms) else f" after {shown_duration(told.duration_ms)}"
    if told.by == "reset":
        return f"started over: its alarm ended{after}"
    if told.by == "resumed":
        return f"sends again{after}"
    if told.by == "adopted":
        return f"stays where it is{after}, which is now taken as normal{_average(told)}"
    return f"is back{after}{_average(told)}"


def _average(told: Told) -> str:
    if told.kind == "level" and _known(told.ewma):
        return f": average {shown_number(told.ewma)}{_expected(told)}"
    return _said(": ", told.value) + (_expected(told) if told.kind != "bounds" else "")


def _against(told: Told, what: str, number: float) -> str:
    text = _said(f": {what} ", number) + _expected(told)
    if _known(told.score, told.limit):
        score, limit = shown_number(abs(told.score)), shown_number(told.limit)
        text += f" ({score} standard errors off, limit {limit})"
    return text


def _expected(told: Told) -> str:
    if _known(told.lower, told.upper):
        return f", expected {shown_number(told.lower)} to {shown_number(told.upper)}"
    return _said(", expected ", told.expected)


def _said(ahead: str, number: float) -> str:
    """Return a number behind some words; nothing where there is none."""
    return f"{ahead}{shown_number(number)}" if _known(number) else ""


def _side(told: Told, high: str, low: str, neither: str) -> str:
    return {1: high, -1: low}.get(told.high, neither)


def _known(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))
