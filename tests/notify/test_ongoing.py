"""Which transitions somebody is told of: fresh ones at once, of a replay only what stays."""

from __future__ import annotations

import random
from collections.abc import Hashable

from ewma_ops.notify.ongoing import Notice, Ongoing, OwnAlarms
from tests.notify.alarms import transition

NOW_MS = 1_700_000_000_000
OLD_MS = NOW_MS - 86_400_000


def told(notices: list[Notice]) -> list[str]:
    return [one.transition.key for one in notices]


def ongoing() -> Ongoing:
    return Ongoing(old_after_ms=900_000, hold_ms=60_000)


def test_fresh_transitions_are_told_at_once_and_in_order() -> None:
    alarms = ongoing()
    raised = alarms.take(transition(time=NOW_MS - 5), (0, 1), NOW_MS)
    changed = alarms.take(transition("kitchen", "changed", time=NOW_MS), (0, 2), NOW_MS)
    cleared = alarms.take(transition("kitchen", "cleared", time=NOW_MS + 9), (0, 3), NOW_MS + 10)
    keys = told([*raised, *changed, *cleared])
    own = "level-0-7-9f3a51c2"
    assert keys == [f"{own}/raised", f"{own}/changed/{NOW_MS}", f"{own}/cleared"]
    assert [one.records for one in raised + cleared] == [((0, 1),), ((0, 3),)]
    assert (len(alarms), alarms.done()) == (0, [])


def test_a_replay_is_silent_where_its_alarms_clear() -> None:
    alarms = ongoing()
    read: list[Hashable] = []
    for i in range(500):
        at = OLD_MS + 1_000 * i
        for kind in ("raised", "cleared"):
            read.append((0, len(read)))
            assert alarms.take(transition("a", kind, i, time=at), read[-1], NOW_MS + i) == []
    assert alarms.due(NOW_MS + 10**9) == []
    assert (alarms.done(), len(alarms), alarms.held) == (read, 0, 0)


def test_an_old_alarm_that_stays_is_told_after_a_while_and_then_cleared() -> None:
    alarms = ongoing()
    assert alarms.take(transition(time=OLD_MS), (0, 1), NOW_MS) == []
    assert alarms.take(transition("kitchen", "held", time=OLD_MS + 5), (0, 2), NOW_MS + 1) == []
    assert alarms.due(NOW_MS + 59_999) == []
    (due,) = alarms.due(NOW_MS + 60_000)
    assert (due.transition.transition, due.records) == ("held", ((0, 1), (0, 2)))
    assert alarms.due(NOW_MS + 10**9) == []
    cleared = alarms.take(transition("kitchen", "cleared", time=OLD_MS + 9), (0, 3), NOW_MS)
    assert told(cleared) == ["level-0-7-9f3a51c2/cleared"]


def test_who_was_told_of_a_raise_is_told_of_its_end_however_old() -> None:
    alarms = ongoing()
    alarms.restore(transition(time=OLD_MS))
    assert told(alarms.take(transition("kitchen", "changed", time=OLD_MS + 1), (0, 1), NOW_MS))
    assert told(alarms.take(transition("kitchen", "cleared", time=OLD_MS + 2), (0, 2), NOW_MS))


def test_the_end_of_an_alarm_that_retention_has_removed_is_told_if_it_is_fresh() -> None:
    alarms = ongoing()
    assert alarms.take(transition("a", "cleared", time=OLD_MS), (0, 1), NOW_MS) == []
    assert alarms.done() == [(0, 1)]
    assert told(alarms.take(transition("b", "cleared", 9, time=NOW_MS), (0, 2), NOW_MS))


def test_an_alarm_of_a_job_with_other_rules_ends_when_the_next_one_takes_its_place() -> None:
    alarms = ongoing()
    alarms.restore(transition(time=NOW_MS - 50, alarm_id="level-0-7-00000001"))
    notices = alarms.take(transition(time=NOW_MS, alarm_id="level-0-9-00000002"), (0, 1), NOW_MS)
    assert told(notices) == ["level-0-7-00000001/cleared", "level-0-9-00000002/raised"]
    end = notices[0].transition
    assert (end.field("by"), end.field("transition"), end.time) == ("reset", "cleared", NOW_MS)
    assert notices[0].records == ()
    assert [one.alarm_id for one in alarms] == ["level-0-9-00000002"]


def test_alarms_of_other_rules_that_are_on_at_the_start_are_ended() -> None:
    alarms = ongoing()
    alarms.restore(transition("a", time=NOW_MS - 50, alarm_id="level-0-7-00000001"))
    alarms.restore(transition("b", time=NOW_MS - 40, alarm_id="level-0-9-00000002"))
    own = OwnAlarms({"00000002", "00000003"}, {"readings"})
    assert told(alarms.end_others(own)) == ["level-0-7-00000001/cleared"]
    assert [one.alarm_id for one in alarms] == ["level-0-9-00000002"]
    assert alarms.end_others(OwnAlarms({"00000002"}, {"readings"})) == []


def test_alarms_of_another_job_on_the_same_topic_are_its_own() -> None:
    alarms = ongoing()
    for topic, job in (("readings", "1"), ("readings", "2"), ("ticks", "3")):
        made = transition(topic, time=NOW_MS - 50, alarm_id=f"level-0-7-0000000{job}", topic=topic)
        alarms.restore(made)
    own = OwnAlarms({"00000002"}, {"readings"})
    assert {one.alarm_id[-1] for one in alarms} == {"2", "3"}  # the first gave way to the second
    assert alarms.end_others(own) == []
    same = transition("ticks", time=NOW_MS, alarm_id="level-0-8-00000002", topic="readings")
    assert told(alarms.take(same, (0, 1), NOW_MS)) == ["level-0-8-00000002/raised"]
    assert {one.alarm_id[-1] for one in alarms} == {"2", "3"}
    assert told(alarms.end_others(OwnAlarms({"00000004"}, {"ticks"}))) == [
        "level-0-7-00000003/cleared"
    ]


def test_a_replay_of_other_rules_does_not_end_an_alarm_that_began_later() -> None:
    alarms = ongoing()
    alarms.restore(transition(time=NOW_MS - 50, alarm_id="level-0-7-00000001"))
    past = transition(time=OLD_MS, alarm_id="level-0-1-00000002")
    assert alarms.take(past, (0, 1), NOW_MS) == []
    assert {one.alarm_id for one in alarms} == {"level-0-7-00000001", "level-0-1-00000002"}


def test_every_record_is_done_once_whatever_comes() -> None:
    """Random transitions: each record ends in one notice, or in what nobody is told of."""
    random_ = random.Random(18)
    for _ in range(200):
        alarms, records, ended = ongoing(), [], []
        for n in range(60):
            kind = random_.choice(["raised", "changed", "held", "cleared"])
            at = random_.choice([OLD_MS, NOW_MS]) + n
            series, alarm = random_.choice("ab"), random_.randrange(3)
            made = transition(series, kind, alarm, time=at, alarm_id=f"level-0-{alarm}-{series}")
            records.append((0, n))
            notices = alarms.take(made, (0, n), NOW_MS + 1_000 * n)
            notices += alarms.due(NOW_MS + 1_000 * n)
            ended += [record for one in notices for record in one.records] + alarms.done()
        last = alarms.due(NOW_MS + 10**9)
        ended += [record for one in last for record in one.records]
        assert sorted(map(str, ended)) == sorted(map(str, records))
