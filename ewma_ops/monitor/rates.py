"""Converts rates of false alarms, such as "1 per week", to readings per false alarm.

Knows words and durations; must not know charts or limits.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from ewma_ops.errors import ConfigError
from ewma_ops.stats.durations import duration_ms

__all__ = ["readings_per_false_alarm"]

_RATE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s+per\s+(\S.*?)\s*")
_READINGS = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)?\s*readings?")


def readings_per_false_alarm(
    false_alarms: str, readings: str | None = None, *, given_by: str = "readings ="
) -> float:
    """Return the average number of readings from one false alarm to the next.

    Parameters
    ----------
    false_alarms
        The wanted rate: ``"1 per 500 readings"``, or by time, such as ``"1 per week"``.
    readings
        How many readings come, such as ``"100 per s"``; needed for a rate by time only.
    given_by
        How the user gives them, for the error that they are missing.

    Raises
    ------
    ConfigError
        If a text is not a rate, a rate is 0, or ``readings`` is missing.

    Examples
    --------
    >>> readings_per_false_alarm("1 per 500 readings")
    500.0
    >>> readings_per_false_alarm("2 per day", readings="100 per s")
    4320000.0
    """
    alarms, per = _split(false_alarms, "1 per 500 readings")
    by_reading = _READINGS.fullmatch(per)
    if by_reading is not None:
        return _checked(float(Fraction(by_reading[1] or 1) / alarms), false_alarms)
    if readings is None:
        raise ConfigError(
            f"{false_alarms!r} is a rate by time: add the rate of readings, such as "
            f'{given_by} "100 per s", or write it by readings, such as "1 per 500 readings"'
        )
    came, within = _split(readings, "100 per s")
    of_readings_ms = _duration_ms(within)
    if not of_readings_ms:
        raise ConfigError(f"{readings!r} is not a rate: its duration is 0")
    found = float(came / alarms) * _duration_ms(per) / of_readings_ms
    return _checked(found, false_alarms)


def _checked(found: float, text: str) -> float:
    if not 0.0 < found < math.inf:
        raise ConfigError(f"{text!r} is not a rate: it has no reading between two alarms")
    return found


def _split(text: str, example: str) -> tuple[Fraction, str]:
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or not Fraction(found[1]):
        raise ConfigError(f"{text!r} is not a rate above 0: write it as {example!r}")
    return Fraction(found[1]), found[2]


def _duration_ms(text: str) -> float:
    """Return a duration in milliseconds; its number may be left out where it is 1."""
    return duration_ms(text if text[0].isdigit() else f"1 {text}")
