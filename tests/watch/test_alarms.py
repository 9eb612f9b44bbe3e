"""What the live page knows of alarms, from the records on their topic."""

from __future__ import annotations

import msgspec

from ewma_ops.watch.alarms import Alarm, Alarms, Span, parse_alarm


def an_alarm(rule: str, transition: str, since: int, time: int, direction: str = "high") -> Alarm:
    record = {
        "alarm_id": f"{rule}-0-{since}-9f3a51c2",
        "transition": transition,
        "rule": rule,
        "series_id": "s",
        "severity": "warning",
        "since": since,
        "time": time,
        "score": 3.5,
        "more": [1],
    }
    if direction:
        record["direction"] = direction
    found = parse_alarm(msgspec.json.encode(record))
    assert found is not None
    return found


def test_spans_of_rules_that_overlap_end_each_at_its_own_clear() -> None:
    alarms = Alarms(1000.0, {"level": 500.0})
    for one in (
        an_alarm("level", "raised", 1000, 1000),
        an_alarm("spike", "raised", 2000, 2000, "low"),
        an_alarm("spike", "cleared", 2000, 3000, ""),
        an_alarm("level", "changed", 1000, 4000),
    ):
        alarms.take(one)
    assert alarms.spans("s") == [Span(1.0, None, 1, "level"), Span(2.0, 3.0, -1, "spike")]
    assert [one.rule for one in alarms.of("s")] == ["level"]
    alarms.take(an_alarm("level", "cleared", 1000, 5000))
    assert alarms.spans("s")[0] == Span(1.0, 5.0, 1, "level")
    assert alarms.of("s") == []
    assert alarms.raised == {"level": 1, "spike": 1}
    assert alarms.rules(1000) == [
        {"rule": "level", "raised": 1, "expected": 2.0},
        {"rule": "spike", "raised": 1, "expected": None},
    ]


def test_a_late_clear_of_an_older_alarm_leaves_the_newer_one_on() -> None:
    alarms = Alarms(1000.0, {})
    alarms.take(an_alarm("level", "raised", 1000, 1000))
    alarms.take(an_alarm("level", "raised", 9000, 9000))
    alarms.take(an_alarm("level", "cleared", 1000, 9500))
    assert [one.since for one in alarms.of("s")] == [9000]


def test_what_is_no_record_of_an_alarm_is_left_out() -> None:
    for value in (None, b"", b"{}", b"[]", b"\xff", b'{"alarm_id": 5}'):
        assert parse_alarm(value) is None


def test_a_silence_by_another_clock_is_not_among_the_readings() -> None:
    """Recorded readings of 2016 that are sent now: the log's clock is years ahead of theirs."""
    alarms = Alarms(1000.0, {})
    alarms.take(an_alarm("spike", "raised", 2_000, 2_000))
    alarms.take(an_alarm("silent", "raised", 10**12, 10**12 + 2_000, ""))
    assert [span.rule for span in alarms.spans("s", newest=3.0)] == ["spike"]
    assert [span.rule for span in alarms.spans("s", newest=10.0**9)] == ["spike", "silent"]
    assert [one.rule for one in alarms.of("s")] == ["spike", "silent"]
