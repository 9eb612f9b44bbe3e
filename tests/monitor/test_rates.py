"""Rates of false alarms in words."""

from __future__ import annotations

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.rates import readings_per_false_alarm


@pytest.mark.parametrize(
    ("rate", "readings", "every"),
    [
        ("1 per 500 readings", None, 500),
        ("2 per 1000 readings", None, 500),
        ("0.5 per 250 readings", "1 per s", 500),
        ("1 per reading", None, 1),
        ("1 per week", "100 per s", 60_480_000),
        ("1 per 2 weeks", "100 per s", 120_960_000),
        ("3 per day", "1 per min", 480),
        ("1 per h", "0.5 per 250ms", 7_200),
    ],
)
def test_rates(rate: str, readings: str | None, every: float) -> None:
    assert readings_per_false_alarm(rate, readings) == every


@pytest.mark.parametrize(
    ("rate", "readings", "message"),
    [
        ("1 per week", None, "'1 per week' is a rate by time: add the rate of readings"),
        ("0 per week", "1 per s", "'0 per week' is not a rate above 0"),
        (1e-4, None, "0.0001 is not a rate above 0: write it as '1 per 500 readings'"),
        ("weekly", None, "'weekly' is not a rate above 0: write it as '1 per 500 readings'"),
        ("1 per fortnight", "1 per s", "'1 fortnight' is not a duration"),
        ("1 per week", "100/s", "'100/s' is not a rate above 0: write it as '100 per s'"),
        ("1 per 0 s", "1 per s", "'1 per 0 s' is not a rate: it has no reading"),
        ("1 per s", "1 per 0 s", "'1 per 0 s' is not a rate: its duration is 0"),
        ("1 per 0 readings", None, "it has no reading between two alarms"),
    ],
)
def test_what_is_no_rate(rate: str, readings: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        readings_per_false_alarm(rate, readings)
