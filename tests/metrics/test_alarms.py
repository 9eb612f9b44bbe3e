"""Metrics of alarms: what is on, and how many false ones the design lets expect."""

from __future__ import annotations

import numpy as np
import pytest

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.metrics.collectors import Tables
from ewma_ops.monitor import AlarmRules, Bounds, Level, Spike

RULES = AlarmRules.of(
    {
        "level": Level(false_alarms="1 per 500 readings", warm_up=20),
        "spike": Spike(limit=5.0, false_alarms="1 per 200 readings", series=["a*"], warm_up=20),
        "given": Level(limit=4.0),
        "high": Bounds(above=3.0, clear_above=1.0, severity="critical"),
    }
)


def fed(n: int, cut: int) -> SeriesTable:
    """Return a table that has got n readings of 8 series, half of them named a0, a1 ..."""
    values = np.random.default_rng(1).normal(size=n)
    ids = [f"{'ab'[k % 2]}{k // 2}" for k in range(8)] * (n // 8)
    table = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=RULES)
    for at in range(0, n, cut):
        table.update(Readings.of(ids[at : at + cut], values[at : at + cut]))
    return table


@pytest.mark.parametrize("cut", [4_000, 17])
def test_readings_that_were_judged_are_counted_however_they_came(cut: int) -> None:
    level, spike, given, high = fed(4_000, cut).alarm_counts
    ready = 8 * (500 - 20)
    assert level.judged == pytest.approx(ready, abs=8)
    assert spike.judged == pytest.approx(ready / 2, abs=4), "of half of the series"
    assert (given.judged, high.judged) == (0, 0), "nobody says what to expect"
    assert (level.run_length, spike.run_length, given.run_length) == (500.0, 200.0, None)
    assert (level.limit, spike.limit, high.limit) == (2.81431, 5.0, None)


def test_families_of_all_tables_together() -> None:
    tables, one, other = Tables(), fed(4_000, 4_000), fed(800, 800)
    for table in (one, other):
        table.update(Readings.of(["a0", "b0", "a1"], [9.0, 9.0, 0.0]))
        tables.add(table)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in tables.collect()
        for sample in family.samples
    }
    judged = one.alarm_counts[0].judged + other.alarm_counts[0].judged
    assert found["ewma_ops_expected_false_alarms_total", "level"] == pytest.approx(judged / 500)
    assert found["ewma_ops_alarm_limit", "spike"] == 5.0
    critical = [counts.active["critical"] for t in (one, other) for counts in t.alarm_counts[3:]]
    assert found["ewma_ops_alarms_active", "high", "critical"] == sum(critical) >= 4
    assert ("ewma_ops_expected_false_alarms_total", "given") not in found
