"""Records of alarms: what stands in them, in which bytes, and what tells two of them apart."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from ewma_ops.columns.origins import numbered
from ewma_ops.columns.transitions import BY, EVIDENCE, TRANSITIONS
from ewma_ops.monitor.rules import KINDS
from ewma_ops.serde.json.alarm_summary import AlarmFacts, shown_number, summary
from ewma_ops.serde.json.alarms import AlarmEncoder, RuleText, identified
from tests.helpers.transitions import Row, columns_of

RULES = [
    RuleText("level", "level", "1 per 500 readings", "https://runbooks.example/level"),
    RuleText("spike", "spike"),
]
LEVEL = {
    "value": 24.1,
    "ewma": 23.2,
    "expected": 21.5,
    "lower": 20.7,
    "upper": 22.3,
    "score": 3.41,
    "limit": 2.814,
    "std": 0.42,
    "n_eff": 19.0,
    "readings": 1.0,
}


def encoder(rules: Sequence[RuleText] = RULES, job: int = 0x9F3A51C2, **more: int) -> AlarmEncoder:
    return AlarmEncoder(rules, job, lambda number: ("readings", number & 0xFF), **more)


def test_a_record_says_everything() -> None:
    (line,) = encoder().encode(columns_of([Row("kitchen", (0, 18231, 0), evidence=LEVEL)]))
    record = json.loads(line)
    assert list(record) == [
        *("alarm_id", "transition", "rule", "kind", "severity", "direction", "series_id"),
        *("time", "since", *LEVEL),
        *("designed", "runbook", "topic", "partition", "offset", "summary"),
    ]
    assert record == {
        "alarm_id": "level-0-18231-9f3a51c2",
        "transition": "raised",
        "rule": "level",
        "kind": "level",
        "severity": "warning",
        "direction": "high",
        "series_id": "kitchen",
        "time": 1_700_000_000_000,
        "since": 1_700_000_000_000,
        **LEVEL,
        "designed": "1 per 500 readings",
        "runbook": "https://runbooks.example/level",
        "topic": "readings",
        "partition": 0,
        "offset": 18231,
        "summary": "kitchen is high: average 23.2, expected 20.7 to 22.3 "
        "(3.41 standard errors off, limit 2.814)",
    }


def test_an_alarm_keeps_its_id_until_it_is_cleared() -> None:
    cleared = Row(
        "kitchen",
        (0, 18300, 0),
        transition="cleared",
        by="back",
        raised=(0, 18231, 2),
        since_ms=1_699_999_000_000,
        evidence={**LEVEL, "worst": 4.5, "duration_ms": 1_000_000.0, "readings": 70.0},
    )
    raised = Row("kitchen", (0, 18231, 2), evidence=LEVEL)
    first, last = map(json.loads, encoder().encode(columns_of([raised, cleared])))
    assert first["alarm_id"] == last["alarm_id"] == "level-0-18231-2-9f3a51c2"
    assert (first["ordinal"], last["offset"], last.get("ordinal")) == (2, 18300, None)
    assert (last["by"], last["worst"], last["duration_ms"]) == ("back", 4.5, 1_000_000)
    assert last["since"] == 1_699_999_000_000
    assert last["summary"].startswith("kitchen is back after 16.7 min")
    assert isinstance(last["duration_ms"], int)


def test_topics_do_not_share_ids() -> None:
    rows = [Row("s", (numbered(topic, 3), 7, 0)) for topic in (1, 2)]
    a, b = (json.loads(line)["alarm_id"] for line in encoder().encode(columns_of(rows)))
    assert a != b
    assert a.startswith("level-3-7-")


def test_what_is_absent_is_left_out_and_nothing_is_no_json() -> None:
    (line,) = encoder().encode(columns_of([Row("s", (0, 1, 0), high=0, rule=1)]))
    record = json.loads(line)
    assert not set(EVIDENCE) & set(record)
    assert not {"direction", "by", "designed", "runbook", "ordinal"} & set(record)
    infinite = dict.fromkeys(EVIDENCE, math.inf)
    (line,) = encoder().encode(columns_of([Row("s", (0, 1, 0), evidence=infinite)]))
    assert not set(EVIDENCE) & set(json.loads(line))


def test_durations_are_milliseconds_in_finer_ticks_too() -> None:
    row = Row("s", (0, 1, 0), transition="held", evidence={"duration_ms": 2_500_000.0})
    (line,) = encoder(ticks_per_ms=1_000).encode(columns_of([row]))
    assert json.loads(line)["duration_ms"] == 2_500


def test_hostile_ids_stay_ids() -> None:
    hostile = 'a"\n\x1b[2J\u202e' + "x" * 900
    (line,) = encoder().encode(columns_of([Row(hostile, (0, 1, 0), evidence=LEVEL)]))
    record = json.loads(line)
    assert record["series_id"] == hostile
    assert record["summary"].isprintable()
    assert len(record["summary"]) < 300
    assert b"\n" not in line
    assert len(line) <= encoder().largest(len(hostile.encode()))


@pytest.mark.parametrize("series_id", ["\x00" * 1_024, "\U0001f321" * 256, "s"])
def test_no_record_is_larger_than_the_largest(series_id: str) -> None:
    widest = dict.fromkeys(EVIDENCE, -2.2250738585072014e-308)
    row = Row(
        series_id,
        (2**31 - 1, 2**62, 2**40),
        transition="cleared",
        by="adopted",
        severity="critical",
        time_ms=-(2**60),
        since_ms=-(2**60),
        evidence=widest,
    )
    rules = [RuleText("r" * 64, "level", "1 per 1e+06 readings", "https://" + "é" * 2_000)]
    (line,) = AlarmEncoder(rules, 1, lambda _: ("t" * 249, 0)).encode(columns_of([row]))
    found = encoder(rules).largest(1_024)
    assert len(series_id.encode()) + len(line) <= found


def test_several_alarms_of_one_reading_are_told_apart() -> None:
    rows = [
        Row("a", (0, 5, 0), rule=0),
        Row("a", (0, 5, 0), rule=1),
        Row("b", (0, 5, 0), rule=0),
        Row("a", (0, 5, 1), rule=0),
    ]
    found = identified(columns_of(rows), RULES, job=1)
    assert found is not None
    assert found.ordinals is not None
    assert found.offsets.tolist() == [5] * 4
    assert len(set(found.ordinals.tolist())) == 4
    again = identified(columns_of(rows[::-1]), RULES, job=1)
    assert again is not None
    np.testing.assert_array_equal(again.ordinals_or_zeros()[::-1], found.ordinals)
    other = identified(columns_of(rows), RULES, job=2)
    assert other is not None
    assert not set(other.ordinals_or_zeros().tolist()) & set(found.ordinals.tolist())


def test_the_ordinals_are_for_ever() -> None:
    """They are in the recovery stores and on the topics of jobs that go on."""
    found = identified(columns_of([Row("kitchen", (0, 18231, 0))]), RULES, job=0x9F3A51C2)
    assert found is not None
    assert found.ordinals_or_zeros().tolist() == [ORDINAL]


ORDINAL = 7988720852592100549
"""The first 8 bytes of BLAKE2b of b"2671399362 0 5 level kitchen"."""

SAID = [
    (
        AlarmFacts("k", "level", "raised", "", "warning", -1, 1.0, 2.0, 3.0, 2.5, 3.5, -4.0, 2.8),
        "k is low: average 2, expected 2.5 to 3.5 (4 standard errors off, limit 2.8)",
    ),
    (
        AlarmFacts("k", "level", "changed", "", "critical", 1, 1.0, 9.0, 3.0, 2.5, 3.5, 8.0, 2.8),
        (
            "k is now high, critical: average 9, expected 2.5 to 3.5 (8 standard errors off, "
            "limit 2.8)"
        ),
    ),
    (
        AlarmFacts("k", "spike", "raised", "", "warning", 1, 40.25, lower=20.7, upper=22.3,
                   score=9.1, limit=4.2),
        ("k is far above what is expected: value 40.25, expected 20.7 to 22.3 (9.1 standard errors "
        "off, limit 4.2)"),
    ),
    (
        AlarmFacts("k", "bounds", "held", "", "warning", 1, 31.5, upper=30.0, readings=3.0),
        "k is still above 30 for 3 readings: 31.5",
    ),
    (
        AlarmFacts("k", "flat", "raised", "", "warning", 0, 21.5, score=60.0, readings=1.0),
        "k is the same for 60 readings in a row: 21.5",
    ),
    (
        AlarmFacts("k", "level", "cleared", "adopted", "warning", 1, 25.0, 25.1, 25.0, 24.0, 26.0,
                   duration_ms=86_400_000.0),
        ("k stays where it is after 1 d, which is now taken as normal: average 25.1, "
        "expected 24 to 26"),
    ),
    (
        AlarmFacts("k", "level", "cleared", "reset", "warning", 1),
        "k started over: its alarm ended",
    ),
    (
        AlarmFacts("k", "change", "raised", "", "warning", -1, 3.0, score=-7.0, limit=5.0),
        "k is falling too fast: 3 (-7, limit 5)",
    ),
    (
        AlarmFacts("k", "change", "cleared", "back", "warning", -1, 3.0, expected=2.0, score=1.0,
             limit=5.0, duration_ms=59_999.0),
        "k is back after 1 min: 3",
    ),
    (
        AlarmFacts("k", "bounds", "raised", "", "warning", 1, 1013.26, lower=0.0, upper=1013.25),
        "k is above 1013.25: 1013.26",
    ),
    (
        AlarmFacts("k", "bounds", "raised", "", "warning", -1, -0.0, lower=1e-5, duration_ms=0.0),
        "k is below 1e-05: 0",
    ),
    (
        AlarmFacts("k", "bounds", "cleared", "back", "warning", 1, 1013.2481, upper=1013.25,
             duration_ms=999.9),
        "k is back after 1 s: 1013.2481",
    ),
    (
        AlarmFacts("k", "level", "raised", "", "warning", 1, 1014.0, 1013.6412, lower=1013.1234,
             upper=1013.5812, score=4.9, limit=4.2),
        ("k is high: average 1013.64, expected 1013.12 to 1013.58 (4.9 standard errors off, "
        "limit 4.2)"),
    ),
    (
        AlarmFacts("k", "spread", "raised", "", "warning", 1, 9.25, 1.312, 0.6, 0.0, 0.84, 5.25,
                   3.332),
        ("k is varying too much: standard deviation 1.312, expected up to 0.84 (5.25 standard "
        "errors off, limit 3.332)"),
    ),
    (
        AlarmFacts("k", "spread", "cleared", "back", "warning", 1, 9.25, 0.5, 0.6, 0.0, 0.84,
                   duration_ms=60_000.0),
        "k is back after 1 min: standard deviation 0.5, expected up to 0.84",
    ),
    (
        AlarmFacts("k", "stale", "raised", "", "warning", 0, expected=1e3, duration_ms=1e4),
        "k is silent: nothing for 10 s, usually a reading every 1 s",
    ),
    (
        AlarmFacts("k", "stale", "raised", "", "warning", 0, expected=0.0, duration_ms=1e4),
        "k is silent: nothing for 10 s",
    ),
    (
        AlarmFacts("k", "stale", "cleared", "reset", "warning", 0, duration_ms=6e4),
        "k is forgotten: its alarm ended after 1 min",
    ),
    (
        AlarmFacts("k", "stale", "cleared", "reset", "warning", 0, 21.5, duration_ms=6e4),
        "k started over: its alarm ended after 1 min",
    ),
]  # fmt: skip


@pytest.mark.parametrize("kind", [*KINDS, "a kind of later"])
@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("high", [-1, 0, 1])
def test_without_evidence_there_is_a_sentence_all_the_same(
    kind: str, transition: str, high: int
) -> None:
    for by in BY if transition == "cleared" else ("",):
        said = summary(AlarmFacts("kitchen", kind, transition, by, "warning", high))
        assert said.startswith("kitchen ")
        assert "nan" not in said


@pytest.mark.parametrize(("facts", "said"), SAID)
def test_sentences(facts: AlarmFacts, said: str) -> None:
    assert summary(facts) == said


@pytest.mark.parametrize("x", [1.0, 999.95, 1234.5, 0.00012345, 1e12, -5e-324, 1.7e308, 12.0, 1e-4])
def test_numbers_are_shown_to_four_digits(x: float) -> None:
    assert math.isclose(float(shown_number(x)), x, rel_tol=5.1e-4, abs_tol=5e-324)
    assert len(shown_number(x)) <= 13
