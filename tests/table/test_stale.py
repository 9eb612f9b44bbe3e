"""Series that are silent for too long: as defined, and the same however readings are cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.columns.heartbeats import Heartbeats
from ewma_ops.columns.log_clocks import Log, LogClocks
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Smoothed
from ewma_ops.columns.ticks import MICROSECOND, MILLISECOND, NANOSECOND, Tick
from ewma_ops.columns.transitions import BY, TRANSITIONS
from ewma_ops.job.clocks import Clocks
from ewma_ops.monitor import AlarmRules, Bounds, Stale
from ewma_ops.operators.routing import RoutedRun
from tests.oracles.silences import Logged, SilenceRule, silences

START_MS = 1_700_000_000_000
BETA = 0.875
COUNT = Smoothing(Decay(beta=BETA))
RULES = AlarmRules.of(
    {
        "silent": Stale(gaps=3, least="2s", warm_up=3),
        "fixed": Stale(gaps=0, least="5s", warm_up=2, remind="7s", series=["a*"]),
        "calm": Stale(gaps=2, least="1s", warm_up=4, cooldown="20s"),
        "high": Bounds(above=2.0),
    }
)
ORACLES = {
    "silent": SilenceRule(3, 2_000, 3, BETA),
    "fixed": SilenceRule(0, 5_000, 2, BETA, remind=7_000, prefix="a"),
    "calm": SilenceRule(2, 1_000, 4, BETA, cooldown=20_000),
}
law = settings(max_examples=20, deadline=None, derandomize=True)

Row = tuple[str, str, str, int, tuple[int, int], tuple[int, int], int]


@st.composite
def logs(draw: st.DrawFn) -> list[Logged]:
    """Draw records of three partitions: series that fall silent, letters, clocks that jump."""
    n = draw(st.integers(1, 500))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rate = draw(st.sampled_from([50, 400, 3_000]))
    found, offsets = [], [0, 0, 0]
    clock = START_MS
    names = ["a1", "a2", "b1", "b2", "b3", "c1"]
    for k in range(n):
        clock += int(random.exponential(rate))
        at = int(random.integers(0, len(names)))
        partition, name = at % 3, names[at]
        if (k // 90 + at) % 3 == 0 and random.random() < 0.97:
            continue
        ahead = 10_000_000 if random.random() < 0.01 else 0
        timestamp = clock + ahead - int(random.random() < 0.1) * 900
        series = None if random.random() < 0.1 else name
        found.append(Logged(partition, offsets[partition], timestamp, series))
        offsets[partition] += 1
    return found


def marked(records: Sequence[Logged], clocks: LogClocks) -> Readings:
    """Return the readings of records as a job decodes them: runs of one partition each."""
    runs = [list(own) for _, own in itertools.groupby(records, lambda one: one.partition)]
    marks = [
        Log(
            own[0].partition,
            np.array([one.offset for one in own]),
            np.array([one.timestamp_ms for one in own]),
        )
        for own in runs
    ]
    kept = [i for i, one in enumerate(records) if one.series_id is not None]
    readings = [records[i] for i in kept]
    found = Readings(
        [str(one.series_id) for one in readings],
        np.array([one.offset % 4 for one in readings], np.float64),
        np.array([one.timestamp_ms for one in readings], np.int64),
        Origins(
            np.array([one.partition for one in readings], np.int32),
            np.array([one.offset for one in readings], np.int64),
        ),
    )
    return clocks.mark(found, np.array(kept, np.intp), marks)


def rows_of(parts: Sequence[Smoothed]) -> list[Row]:
    """Return what became of silences: series, rule, transition, time, trigger, raised, since."""
    found: list[Row] = []
    for one in (part.transitions for part in parts):
        if one is None:
            continue
        assert one.times_ms is not None
        assert one.since_ms is not None
        assert one.origins is not None
        assert one.raised is not None
        columns = (
            *(one.rules, one.transitions, one.times_ms, one.origins.partitions),
            *(one.origins.offsets, one.raised.partitions, one.raised.offsets, one.since_ms),
        )
        numbers = zip(*(column.tolist() for column in columns), strict=True)
        for name, (rule, what, time, *at, since) in zip(one.series_ids, numbers, strict=True):
            if RULES.names[rule] in ORACLES:
                trigger, raised = (at[0], at[1]), (at[2], at[3])
                found.append(
                    (name, RULES.names[rule], TRANSITIONS[what], time, trigger, raised, since)
                )
    return found


def bits_of(parts: Sequence[Smoothed]) -> list[Any]:
    """Return every number of all transitions, in their order within a series."""
    found = []
    for one in (part.transitions for part in parts):
        if one is not None:
            columns: list[Any] = [one.rules, one.transitions, one.by, one.times_ms, one.since_ms]
            columns += [column.view(np.uint64) for column in one.evidence.values()]
            rows = zip(*(c.tolist() for c in columns if c is not None), strict=True)
            found += [(name, *row) for name, row in zip(one.series_ids, rows, strict=True)]
    return sorted(found, key=lambda row: row[0])


def table(snapshot: Any = None) -> SeriesTable:
    return SeriesTable(COUNT, snapshot, alarms=RULES)


def run(records: Sequence[Logged], ends: Sequence[int]) -> list[Smoothed]:
    """Run records through one table, cut at some places."""
    clocks, own = LogClocks(), table()
    out: list[Smoothed] = []
    bounds = sorted({0, len(records), *(end for end in ends if end < len(records))})
    for lo, hi in itertools.pairwise(bounds):
        out += own.update_in_order(marked(records[lo:hi], clocks))
    return out


@pytest.mark.slow
@law
@given(logs())
def test_silences_are_what_their_definition_says(records: list[Logged]) -> None:
    found = rows_of(run(records, []))
    for rule, numbers in ORACLES.items():
        expected = silences(records, numbers)
        own = [(r[0], *r[2:6]) for r in found if r[1] == rule]
        assert [(*r[:2], *r[3:]) for r in own] == [(*r[:2], *r[3:]) for r in expected]
        assert [r[2] for r in own] == pytest.approx([r[2] for r in expected], rel=0, abs=1)
    of = {(one.partition, one.offset): one.series_id for one in records}
    assert all(of[raised] == name for name, _, _, _, _, raised, _ in found)


@pytest.mark.slow
@law
@given(logs(), st.lists(st.integers(1, 699), max_size=40))
def test_cuts_change_no_bit(records: list[Logged], ends: list[int]) -> None:
    whole = bits_of(run(records, []))
    assert bits_of(run(records, ends)) == whole
    assert bits_of(run(records, range(len(records)))) == whole


@pytest.mark.slow
@law
@given(logs(), st.integers(0, 699))
def test_a_snapshot_of_table_and_clocks_changes_no_bit(records: list[Logged], at: int) -> None:
    whole = bits_of(run(records, []))
    clocks, first = LogClocks(), table()
    out = list(first.update_in_order(marked(records[:at], clocks)))
    resumed = LogClocks()
    for partition in range(3):
        resumed.resume(partition, clocks.state(partition))
    second = table(first.snapshot())
    assert bits_of([*out, *second.update_in_order(marked(records[at:], resumed))]) == whole


@pytest.mark.slow
@law
@given(logs(), st.sampled_from([1, 2, 16]), st.integers(1, 4))
def test_shards_and_tables_change_no_bit(records: list[Logged], shards: int, workers: int) -> None:
    whole = bits_of(run(records, []))
    clocks, tables = LogClocks(), [table() for _ in range(workers)]
    out: list[Smoothed] = []
    for lo in range(0, len(records), 50):
        routed = RoutedRun(marked(records[lo : lo + 50], clocks), shards)
        for k, own in enumerate(tables):
            mine = [shard for shard in routed.present if shard % workers == k]
            if mine:
                out += own.update_in_order(routed.of(mine))
    assert bits_of(out) == whole


@pytest.mark.slow
@law
@given(logs())
def test_one_reading_at_a_time_is_as_many(records: list[Logged]) -> None:
    """Below a size the table goes reading by reading: enough of another series makes it columns."""
    assert bits_of(run(records, [])) == bits_of(run(records, range(0, 700, 13)))


def at(second: float, series: str | None, partition: int = 0) -> tuple[int, float, str | None]:
    return partition, second, series


def told(*events: tuple[int, float, str | None], rule: Stale) -> list[tuple[str, str, float, str]]:
    """Return (series, transition, second, by) of what became of a rule's alarms."""
    offsets = itertools.count()
    records = [Logged(p, next(offsets), START_MS + int(s * 1000), name) for p, s, name in events]
    own = SeriesTable(COUNT, alarms=AlarmRules.of({"silent": rule}))
    found = []
    for part in own.update_in_order(marked(records, LogClocks())):
        if (one := part.transitions) is not None:
            assert one.times_ms is not None
            seconds = ((one.times_ms - START_MS) / 1000).tolist()
            columns = one.series_ids, one.transitions.tolist(), seconds, one.by.tolist()
            found += [(s, TRANSITIONS[w], t, BY[by]) for s, w, t, by in zip(*columns, strict=True)]
    return found


RULE = Stale(gaps=3, least="2s", warm_up=3)
USUAL = [at(k, name) for k in range(5) for name in ("a", "b")]


def test_an_alarm_has_the_time_at_which_the_silence_was_too_long() -> None:
    after = [at(k, "b") for k in range(5, 12)]
    assert told(*USUAL, *after, at(12.5, "a"), rule=RULE) == [
        ("a", "raised", 7.0, ""),
        ("a", "cleared", 12.5, "resumed"),
    ]


def test_the_record_of_a_silent_series_itself_raises_and_clears() -> None:
    assert told(*USUAL, at(20, "a"), rule=RULE) == [
        ("a", "raised", 7.0, ""),
        ("b", "raised", 7.0, ""),
        ("a", "cleared", 20.0, "resumed"),
    ]


def test_records_that_are_no_readings_move_the_clock() -> None:
    assert told(*USUAL, *(at(k, None) for k in (6, 7.5, 8, 9)), rule=RULE) == [
        ("a", "raised", 7.0, ""),
        ("b", "raised", 7.0, ""),
    ]


def test_other_partitions_say_nothing() -> None:
    assert told(*USUAL, *(at(k, "c", 1) for k in range(20)), rule=RULE) == []


def test_one_record_far_ahead_is_not_believed_two_are() -> None:
    far, later = at(9_000, None), at(9_100, None)
    assert told(*USUAL, far, at(5, "a"), at(5, "b"), far, at(6, "a"), rule=RULE) == []
    assert told(*USUAL, far, later, rule=RULE) == [
        ("a", "raised", 7.0, ""),
        ("b", "raised", 7.0, ""),
    ]


@pytest.mark.parametrize("tick", [MILLISECOND, MICROSECOND, NANOSECOND])
@pytest.mark.parametrize("wild_ms", [2**63 - 1, -(2**63), 300_000_000_000_000])
def test_timestamps_that_no_tick_can_count_move_no_clock(tick: Tick, wild_ms: int) -> None:
    times = START_MS + 1_000 * np.arange(8)
    times[[0, 3, 4]] = wild_ms
    clocks, n = LogClocks(tick), np.arange(8)
    first = tick.earliest // tick.per_ms
    marked = clocks.mark(Readings(["a"] * 8, np.ones(8)), n, [Log(0, n, times)])
    assert marked.logged is not None
    assert marked.heartbeats is not None
    seconds = (marked.logged // (1_000 * tick.per_ms) - START_MS // 1_000).tolist()
    # Of nothing earlier to go by, the second record is far ahead.
    assert seconds[:2] == [first // 1_000 - START_MS // 1_000] * 2
    assert seconds[2:] == [2, 2, 2, 5, 6, 7]
    assert [beat.offset for beat in marked.heartbeats] == [2, 5, 6, 7]
    assert clocks.state(0) == [START_MS + 7_000, None]


def test_the_gap_of_a_silence_is_not_learned_but_that_of_a_second_in_a_row_is() -> None:
    b = [at(k / 2, "b") for k in range(10, 400)]

    def times(*own: float) -> list[float]:
        events = sorted([*USUAL, *b, *(at(s, "a") for s in own)], key=lambda one: one[1])
        return [t for name, what, t, _ in told(*events, rule=RULE) if what == "raised"]

    # After one silence of 26 s the limit is still 3 s, ...
    assert times(30, 31, 32)[:2] == [7.0, 35.0]
    # ... and a series that sends each 10 s from then on is known by it after some.
    assert len(times(*range(14, 195, 10))) < 9


def test_the_missing_and_the_rejected_are_no_readings() -> None:
    own = SeriesTable(COUNT, alarms=AlarmRules.of({"silent": RULE}))
    clocks = LogClocks()
    records = [Logged(0, k, START_MS + 1000 * k, "a") for k in range(9)]
    readings = marked(records, clocks)
    readings.values[5:] = np.nan
    found = [part.transitions for part in own.update_in_order(readings)]
    assert [len(one) for one in found if one is not None] == [1]


def test_rows_of_forgotten_series_move_with_what_is_known() -> None:
    own = SeriesTable(COUNT, alarms=RULES)
    clocks = LogClocks()
    records = [Logged(0, 2 * k + j, START_MS + 1000 * k, name) for k in range(5) for j, name in
               enumerate(("gone", "a"))]  # fmt: skip
    list(own.update_in_order(marked(records, clocks)))
    own._keep_rows(np.array([False, True]))
    later = [Logged(0, 10 + k, START_MS + 1000 * (5 + k), "b") for k in range(9)]
    found = rows_of(list(own.update_in_order(marked(later, clocks))))
    assert {row[0] for row in found} == {"a"}


def test_readings_without_times_are_reminded_of_by_the_clock_of_the_log() -> None:
    rule = Stale(gaps=3, least="2s", warm_up=3, remind="4s", cooldown="1s")
    names = ["a", "b"] * 5 + ["b"] * 9
    readings = marked([Logged(0, k, START_MS + 1000 * k, n) for k, n in enumerate(names)],
                      LogClocks())  # fmt: skip
    own = SeriesTable(COUNT, alarms=AlarmRules.of({"silent": rule}))
    parts = own.update_in_order(replace(readings, times_ms=None))
    found = [one for part in parts if (one := part.transitions) is not None]
    assert [TRANSITIONS[one.transitions[0]] for one in found] == ["raised", "held"]
    assert all(one.times_ms is not None for one in found)


def test_without_clocks_of_a_log_the_rule_judges_nothing() -> None:
    own = table()
    readings = Readings.of(["a"] * 200, np.zeros(200), START_MS + 10_000 * np.arange(200))
    assert own.update(readings).transitions is None
    assert own.step("a", 1.0, START_MS * 2) == pytest.approx((1 / 8,), rel=0.1)


def test_heartbeats_between_readings_stay_where_they_are() -> None:
    numbers = np.array([7, 8, 9])
    beats = Heartbeats(np.array([0, 2, 4]), numbers, numbers, numbers)
    readings = replace(Readings.of(list("abcd"), np.zeros(4)), heartbeats=beats)
    twice = Readings.concat([readings, Readings.of(["x"], [1.0]), readings])
    assert twice.heartbeats is not None
    assert [beat.place for beat in twice.heartbeats] == [0, 2, 4, 5, 7, 9]
    some = beats.among(np.array([1, 2]), [3, 1], 4)
    assert ([beat.place for beat in some], some.shards) == ([0, 1, 2], (1, 3))
    assert readings.take(np.array([0])).heartbeats is None


def forgetting(records: Sequence[Logged], *, frees: bool, cut: int) -> list[Any]:
    """Run records through a table that forgets, and frees memory after every cut or never."""
    log, clocks = LogClocks(), Clocks()
    own = SeriesTable(COUNT, alarms=RULES, forget_after="40s")
    out: list[Smoothed] = []
    for lo in range(0, len(records), cut):
        readings = clocks.stamp(marked(records[lo : lo + cut], log))
        out += own.update_in_order(readings)
        if frees:
            own.free_idle()
    return bits_of(out)


@pytest.mark.slow
@law
@given(logs(), st.integers(1, 60))
def test_freed_memory_changes_no_bit(records: list[Logged], cut: int) -> None:
    whole = forgetting(records, frees=False, cut=1_000)
    assert forgetting(records, frees=False, cut=cut) == whole
    assert forgetting(records, frees=True, cut=cut) == whole


def test_the_alarm_of_a_series_that_is_forgotten_ends() -> None:
    gone = Stale(gaps=3, least="2s", warm_up=3, remind="10s")
    after = [at(k, "b") for k in range(5, 60)]
    own = SeriesTable(COUNT, alarms=AlarmRules.of({"silent": gone}), forget_after="30s")
    records = [Logged(p, k, START_MS + int(s * 1000), name)
               for k, (p, s, name) in enumerate([*USUAL, *after])]  # fmt: skip
    found = list(own.update_in_order(Clocks().stamp(marked(records, LogClocks()))))
    rows = [
        (TRANSITIONS[what], BY[by], (time - START_MS) / 1000)
        for one in (part.transitions for part in found)
        if one is not None and one.times_ms is not None
        for what, by, time in zip(one.transitions, one.by, one.times_ms.tolist(), strict=True)
    ]
    assert rows == [
        ("raised", "", 7.0), ("held", "", 17.0), ("held", "", 27.0), ("cleared", "reset", 34.0)
    ]  # fmt: skip
    assert own.free_idle() == 1
    assert "a" not in own
    late = Stale(gaps=0, least="31s", warm_up=3)
    kept = SeriesTable(COUNT, alarms=AlarmRules.of({"silent": late}), forget_after="30s")
    silent = list(kept.update_in_order(Clocks().stamp(marked(records, LogClocks()))))
    assert {part.transitions for part in silent} == {None}, "forgotten before it is missed"
