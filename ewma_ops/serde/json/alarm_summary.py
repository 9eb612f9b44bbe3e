"""One sentence about a transition of an alarm, for people.

Knows kinds of rules, transitions and their evidence as numbers; must not know columns, JSON or
topics. A sentence has no units: only its reader knows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from ewma_ops.columns.ticks import shown_duration

__all__ = ["AlarmFacts", "shown_number", "summary"]

_MOST_ID = 100
_SIGNIFICANT = 4
_MOST_SIGNIFICANT = 15
_PLAIN = (-4, 12)
"""Powers of ten between which a number is shown without an exponent."""


class AlarmFacts(NamedTuple):
    """The parts of a transition for its sentence; a missing number is NaN.

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
    readings: float = math.nan
    duration_ms: float = math.nan


def summary(facts: AlarmFacts) -> str:
    """Return the sentence.

    Examples
    --------
    >>> facts = AlarmFacts("kitchen", "level", "raised", "", "warning", 1, 24.1, 23.2, 21.5,
    ...                    20.7, 22.3, 3.41, 2.814)
    >>> summary(facts)
    'kitchen is high: average 23.2, expected 20.7 to 22.3 (3.41 standard errors off, limit 2.814)'
    >>> summary(facts._replace(transition="cleared", by="back", ewma=21.9, duration_ms=720_000.0))
    'kitchen is back after 12 min: average 21.9, expected 20.7 to 22.3'
    """
    name = shown_id(facts.series_id)
    if facts.transition == "cleared":
        return f"{name} {_cleared(facts)}"
    found = _FOUND.get(facts.kind, _off)(facts)
    again = {"held": "still ", "changed": "now "}.get(facts.transition, "")
    critical = (
        ", critical" if facts.transition == "changed" and facts.severity == "critical" else ""
    )
    return f"{name} is {again}{found.state}{critical}{found.numbers}"


def shown_id(series_id: str) -> str:
    r"""Return an id on one line, of bounded length, with control characters escaped.

    Examples
    --------
    >>> print(shown_id("a\nb"))
    a\nb
    """
    text = series_id if len(series_id) <= _MOST_ID else series_id[: _MOST_ID - 1] + "…"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shown_number(x: float, apart: float = math.nan) -> str:
    """Return a number to four digits, the same text on every machine.

    With more digits if numbers that differ by ``apart`` would otherwise look equal: the difference
    is then shown to two digits.

    Examples
    --------
    >>> [shown_number(x) for x in (21.5, 0.123456, 1234567.8, 1e-9, -0.0, -3.0)]
    ['21.5', '0.1235', '1234568', '1e-09', '0', '-3']
    >>> shown_number(1013.2512), shown_number(1013.2512, apart=0.4)
    ('1013', '1013.25')
    """
    if x == 0.0:
        return "0"
    digits = _SIGNIFICANT
    if math.isfinite(apart) and apart != 0.0:
        needed = _power(x, _SIGNIFICANT) - _power(apart, _SIGNIFICANT) + 2
        digits = min(max(digits, needed), _MOST_SIGNIFICANT)
    power = _power(x, digits)
    if not _PLAIN[0] <= power < _PLAIN[1]:
        return f"{x:.{digits}g}"
    text = f"{x:.{max(0, digits - 1 - power)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _power(x: float, digits: int) -> int:
    """Return the power of ten of a number that is rounded to some digits."""
    return int(f"{x:.{digits - 1}e}".rpartition("e")[2])


def _as_written(x: float) -> str:
    """Return a number of the file with its digits as written, at least four."""
    for digits in range(_SIGNIFICANT, _MOST_SIGNIFICANT):
        if float(f"{x:.{digits}g}") == x:
            return shown_number(x, apart=x / 10.0 ** (digits - 2))
    return shown_number(x)


class _Found(NamedTuple):
    """The parts of a sentence: ``kitchen is [still] [high][: 23.2 ...]``."""

    state: str
    numbers: str


def _level(facts: AlarmFacts) -> _Found:
    return _Found(_side(facts, "high", "low", "off"), _against(facts, "average", facts.ewma))


def _spike(facts: AlarmFacts) -> _Found:
    state = _side(facts, "far above", "far below", "far from") + " what is expected"
    return _Found(state, _against(facts, "value", facts.value))


def _spread(facts: AlarmFacts) -> _Found:
    return _Found("varying too much", _against(facts, "standard deviation", facts.ewma))


def _bounds(facts: AlarmFacts) -> _Found:
    bound = _bound(facts)
    written = f" {_as_written(bound)}" if _known(bound) else ""
    state = _side(facts, "above", "below", "beyond") + written
    rows = f" for {facts.readings:.0f} readings" if facts.readings > 1.0 else ""
    return _Found(f"{state}{rows}", _said(": ", facts.value, facts.value - bound))


def _change(facts: AlarmFacts) -> _Found:
    numbers = _said(": ", facts.value)
    if _known(facts.score, facts.limit):
        numbers += f" ({shown_number(facts.score)}, limit {shown_number(facts.limit)})"
    return _Found(_side(facts, "rising", "falling", "changing") + " too fast", numbers)


def _flat(facts: AlarmFacts) -> _Found:
    rows = "" if math.isnan(facts.score) else f" for {facts.score:.0f} readings in a row"
    return _Found(f"the same{rows}", _said(": ", facts.value))


def _stale(facts: AlarmFacts) -> _Found:
    numbers = _said_duration(": nothing for ", facts.duration_ms)
    if facts.expected > 0.0:  # otherwise its readings came at once
        numbers += _said_duration(", usually a reading every ", facts.expected)
    return _Found("silent", numbers)


def _said_duration(ahead: str, duration_ms: float) -> str:
    return f"{ahead}{shown_duration(duration_ms)}" if _known(duration_ms) else ""


def _off(facts: AlarmFacts) -> _Found:
    return _Found(_side(facts, "high", "low", "off"), _against(facts, "value", facts.value))


_FOUND: dict[str, Callable[[AlarmFacts], _Found]] = {
    "level": _level,
    "spike": _spike,
    "bounds": _bounds,
    "change": _change,
    "flat": _flat,
    "spread": _spread,
    "stale": _stale,
}


def _cleared(facts: AlarmFacts) -> str:
    after = "" if math.isnan(facts.duration_ms) else f" after {shown_duration(facts.duration_ms)}"
    if facts.by == "reset" and facts.kind == "stale" and math.isnan(facts.value):
        return f"is forgotten: its alarm ended{after}"
    if facts.by == "reset":
        return f"started over: its alarm ended{after}"
    if facts.by == "resumed":
        return f"sends again{after}{_said(': ', facts.value)}"
    if facts.by == "adopted":
        return f"stays where it is{after}, which is now taken as normal{_average(facts)}"
    return f"is back{after}{_average(facts)}"


def _average(facts: AlarmFacts) -> str:
    if facts.kind == "level" and _known(facts.ewma):
        return f": average {shown_number(facts.ewma, _width(facts))}{_expected(facts)}"
    if facts.kind == "spread":
        return _said(": standard deviation ", facts.ewma, _width(facts)) + _expected(facts)
    if facts.kind == "bounds":
        return _said(": ", facts.value, facts.value - _bound(facts))
    if facts.kind == "change":  # it expects the previous value
        return _said(": ", facts.value)
    return _said(": ", facts.value, _width(facts)) + _expected(facts)


def _against(facts: AlarmFacts, what: str, number: float) -> str:
    text = _said(f": {what} ", number, _width(facts)) + _expected(facts)
    if _known(facts.score, facts.limit):
        score, limit = shown_number(abs(facts.score)), shown_number(facts.limit)
        text += f" ({score} standard errors off, limit {limit})"
    return text


def _expected(facts: AlarmFacts) -> str:
    if facts.kind == "spread":
        return _said(", expected up to ", facts.upper, _width(facts))
    if _known(facts.lower, facts.upper):
        lower, upper = (shown_number(x, _width(facts)) for x in (facts.lower, facts.upper))
        return f", expected {lower} to {upper}"
    return _said(", expected ", facts.expected)


def _bound(facts: AlarmFacts) -> float:
    """Return the bound that was passed."""
    return facts.lower if facts.high < 0 else facts.upper


def _width(facts: AlarmFacts) -> float:
    """Return the width of the expected range."""
    return facts.upper - facts.lower


def _said(ahead: str, number: float, apart: float = math.nan) -> str:
    """Return a number after some words; empty without a number."""
    return f"{ahead}{shown_number(number, apart)}" if _known(number) else ""


def _side(facts: AlarmFacts, high: str, low: str, neither: str) -> str:
    return {1: high, -1: low}.get(facts.high, neither)


def _known(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))
