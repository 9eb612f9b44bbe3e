"""Faults of the demo: what is put into the series, and what is said of the alarms for it."""

from __future__ import annotations

import itertools
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from ewma_ops.demo.data import RecordedReading, recorded_readings, recorded_series
from ewma_ops.demo.faults import (
    FAULTS,
    FAULTY,
    READINGS_PER_FALSE_ALARM,
    fault_at,
    faulty_series,
    judge,
    with_faults,
)

Alarm = dict[str, Any]


@pytest.fixture(scope="module")
def faulty() -> list[RecordedReading]:
    return faulty_series()


def alarm_of(faulty: list[RecordedReading], k: int, rule: str, **more: Any) -> Alarm:
    return {
        "transition": "raised",
        "series_id": FAULTY,
        "time": faulty[k].time_ms,
        "rule": rule,
        "summary": "so",
        **more,
    }


@pytest.mark.slow
def test_only_the_faults_differ_from_what_was_recorded(faulty: list[RecordedReading]) -> None:
    recorded = recorded_series()["sea-surface"]
    other = [
        k
        for k, (a, b) in enumerate(zip(faulty, recorded, strict=False))
        if (a.time_ms, a.value) != (b.time_ms, b.value)
    ]
    put = [k for fault in FAULTS for k in range(fault.first, fault.first + fault.n)]
    assert set(other) <= set(put)
    assert len(other) > 0.98 * len(put), "a stuck sensor is right now and then"
    assert {reading.series_id for reading in faulty} == {FAULTY}


@pytest.mark.slow
def test_all_readings_are_sent_each_series_in_order(faulty: list[RecordedReading]) -> None:
    merged = list(with_faults(recorded_readings()))
    recorded = [reading for reading in merged if reading.series_id != FAULTY]
    assert recorded == list(recorded_readings())
    assert [reading for reading in merged if reading.series_id == FAULTY] == faulty
    cut = list(with_faults(islice(recorded_readings(), 4_160)))
    assert cut == merged[: len(cut)]
    sent = sum(reading.series_id == FAULTY for reading in cut)
    assert sent == 533, "a tenth of the others, and as it is silent later, a third more of it"


def test_nothing_is_sent_for_a_quarter_of_the_time(faulty: list[RecordedReading]) -> None:
    (silence,) = (fault for fault in FAULTS if fault.silent)
    merged = list(with_faults(recorded_readings()))
    places = [k for k, reading in enumerate(merged) if reading.series_id == FAULTY]
    gaps = [b - a for a, b in itertools.pairwise(places)]
    assert gaps.index(max(gaps)) + 1 == silence.first
    assert max(gaps) == pytest.approx(0.25 * (len(merged) - len(faulty)), rel=0.01)
    assert sorted(gaps)[-2] < 20


def test_an_alarm_is_about_the_fault_it_comes_with(faulty: list[RecordedReading]) -> None:
    spike, stuck, _, shift = FAULTS
    for k, fault in [
        (spike.first - 1, None),
        (spike.first, spike),
        (spike.first + 50, spike),
        (spike.first + 200, None),
        (stuck.first + 29, stuck),
        (shift.first + 600, shift),
    ]:
        assert fault_at(faulty, faulty[k].time_ms) == fault


def test_a_fault_that_nothing_was_raised_for_is_told(faulty: list[RecordedReading]) -> None:
    spike, stuck, silence, shift = FAULTS
    sent = Counter({FAULTY: len(faulty)})
    found = [
        alarm_of(faulty, spike.first, "spike"),
        alarm_of(faulty, stuck.first + 29, "stuck"),
        alarm_of(faulty, 0, "silent", time=1_790_000_000_000),
        alarm_of(faulty, shift.first + 9, "level"),
    ]
    verdict = judge(found, sent)
    assert (list(verdict.found), verdict.by_chance, verdict.wrong) == ([*FAULTS], [], [])
    assert judge([*found[:2], found[3]], sent).wrong == [f"no alarm: {silence.label}"]
    other = [*found[:3], alarm_of(faulty, shift.first, "spike")]
    assert judge(other, sent).wrong == [f"no alarm: {shift.label}"]
    assert judge([], Counter({FAULTY: stuck.first})).wrong == [f"no alarm: {spike.label}"]
    assert judge([], Counter()).wrong == []


def test_more_alarms_than_the_design_lets_expect_are_told(faulty: list[RecordedReading]) -> None:
    found = [alarm_of(faulty, one.first + 29 * one.stuck, one.rule) for one in FAULTS]
    chance = alarm_of(faulty, 0, "level", series_id="sea-surface")
    sent = Counter({FAULTY: len(faulty), "sea-surface": 16_000})
    assert judge([*found, chance, chance], sent).expected == 20_000 / READINGS_PER_FALSE_ALARM
    assert judge([*found, chance, chance], sent).wrong == [], "1 is due: 2 are nothing odd"
    assert judge([*found, *[chance] * 12], sent).wrong == [
        "12 alarms without a fault, 1.0 expected by design"
    ]
    cleared = {**chance, "transition": "cleared"}
    assert judge([*found, *[cleared] * 12], sent).wrong == []
