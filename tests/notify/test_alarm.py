"""Records of the alarms topic, as the job's own encoder writes them, read back."""

from __future__ import annotations

from dataclasses import replace

from ewma_ops.notify.alarm import parse_transition
from ewma_ops.serde.json.alarms import AlarmEncoder, RuleText
from tests.helpers.transitions import Row, columns_of

RULES = [RuleText("level", "level", "1 per 500 readings", "https://example.org/level")]


def place(number: int) -> tuple[str, int]:
    return "readings", number


def test_records_of_the_job_are_read_back() -> None:
    evidence = {"value": 24.1, "ewma": 23.2, "expected": 21.5, "score": 3.4, "limit": 2.8}
    raised = Row("küche", (3, 70, 2), evidence=evidence)
    cleared = Row("küche", (3, 90, 0), transition="cleared", by="back", raised=(3, 70, 2))
    lines = AlarmEncoder(RULES, 0x9F3A51C2, place).encode(columns_of([raised, cleared]))
    first, last = map(parse_transition, lines)
    assert first is not None
    assert last is not None
    assert first.key == "level-3-70-2-9f3a51c2/raised"
    assert last.key == "level-3-70-2-9f3a51c2/cleared"
    assert (first.active, last.active) == (True, False)
    assert (first.rule, first.kind, first.series_id) == ("level", "level", "küche")
    assert (first.severity, first.runbook) == ("warning", "https://example.org/level")
    assert (first.time, first.since) == (1_700_000_000_000, 1_700_000_000_000)
    assert first.document == lines[0]
    assert first.summary.startswith("küche is high")


def test_readings_without_times_have_alarms_too() -> None:
    columns = replace(columns_of([Row("a", (0, 1, 0))]), times_ms=None, since_ms=None)
    (line,) = AlarmEncoder(RULES, 1, place).encode(columns)
    read = parse_transition(line)
    assert read is not None
    assert (read.time, read.since) == (None, None)
    ended = read.ended(None)
    assert (ended.active, ended.field("by")) == (False, "reset")


def test_what_is_no_record_of_an_alarm() -> None:
    for value in (None, b"", b"\xff", b"[]", b'{"alarm_id": "a"}', b'{"alarm_id": 1}'):
        assert parse_transition(value) is None
