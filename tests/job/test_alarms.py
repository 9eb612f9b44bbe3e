"""Alarms on their way out: routed, counted, reported, and written once whatever happens."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from ewma_ops import Decay, SeriesTable, Smoothing, testing
from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.connectors import KafkaSink, part_key
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.parts import Addressed
from ewma_ops.job.alarms import AlarmRecords, RouteAlarms
from ewma_ops.job.report import Counts, Report, total
from ewma_ops.monitor.rules import AlarmRules, Bounds, Change, Level, Spike
from ewma_ops.testing import run_job
from tests.helpers.brokers import make_topic, read_all
from tests.helpers.jobs import START_MS, Job, Reading, as_record, ewma
from tests.helpers.transitions import Row, columns_of

MakeTopic = Callable[..., str]

RULES = AlarmRules.of({"level_of_test": Level(limit=3.0), "spike_of_test": Spike(limit=4.0)})
INPUTS = InputTopics.alone("readings", TopicView(None, 4))
IDENTITY = "the job of these tests"


def records(identity: str = IDENTITY) -> AlarmRecords:
    return AlarmRecords(RULES, identity, INPUTS)


def smoothed(rows: list[Row]) -> Smoothed:
    """Return a run that has nothing but its transitions."""
    return Smoothed(Readings.of([], np.zeros(0)), {}, transitions=columns_of(rows))


def rows(n: int, first: int = 0) -> list[Row]:
    """Return transitions of both rules at each offset, of 10 series."""
    return [
        Row(f"s{offset % 10}", (offset % 2, offset, 0), rule)
        for offset in range(first, first + n)
        for rule in (0, 1)
    ]


def test_records_are_keyed_by_series_and_routed_as_events_are() -> None:
    routed = list(RouteAlarms(records(), 3)([smoothed(rows(20)), smoothed(rows(2, 20))]))
    seen = []
    for part, made in routed:
        assert made.origins is not None
        for key, value in zip(made.keys, made.values, strict=True):
            assert key is not None
            assert value is not None
            assert (murmur2(key) & 0x7FFFFFFF) % 3 == int(part)
            assert json.loads(value)["series_id"] == key.decode()
            seen.append(value)
    assert len(seen) == len(set(seen)) == 44


def test_without_transitions_there_is_nothing_to_do() -> None:
    nothing = Smoothed(Readings.of([], np.zeros(0)), {})
    assert list(RouteAlarms(records(), 3)([nothing])) == []


def test_transitions_are_counted_and_raises_reported() -> None:
    said: list[str] = []
    report = Report(said.append)
    route = RouteAlarms(records(), 1, report)
    row = Row("kitchen", (0, 7, 0), evidence={"ewma": 23.2, "lower": 20.0, "upper": 22.0})
    labels = {"rule": "level_of_test", "transition": "raised", "severity": "warning"}
    before = REGISTRY.get_sample_value("ewma_ops_alarms_total", labels) or 0.0
    cleared = row._replace(transition="cleared", by="back")
    list(route([smoothed([row, row._replace(rule=1), cleared])]))
    assert REGISTRY.get_sample_value("ewma_ops_alarms_total", labels) == before + 1
    assert report.alarms == {"level_of_test": 1, "spike_of_test": 1}
    assert said == [
        (
            "2 alarms (level_of_test 1, spike_of_test 1), such as level_of_test: kitchen is high: "
            "average 23.2, expected 20 to 22"
        )
    ]
    assert report.summary() == (
        "read 0: 0 events, 0 dead letters, 2 alarms (level_of_test 1, spike_of_test 1)"
    )


def test_globs_are_told_when_enough_was_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    rules = AlarmRules.of({"none": Spike(limit=4.0, series=["x*"]), "one": Spike(limit=4.0)})
    report = Report()
    route = RouteAlarms(AlarmRecords(rules, IDENTITY, INPUTS), 1, report)
    run = Smoothed(Readings.of([f"s{i}" for i in range(50_000)], np.zeros(50_000)), {})
    list(route([run]))
    assert not caplog.records
    list(route([run, run, run]))
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        "alarms.none.series matches no series of the first 100,000 readings, such as 's0': it "
        "judges none (of this worker's series)"
    )
    assert total([report.counts()])[1] == [], "it was said before"
    short = Report()
    list(RouteAlarms(AlarmRecords(rules, IDENTITY, INPUTS), 1, short)([run]))
    assert "matches no series of the first 50,000" in total([short.counts()])[1][0]
    assert total([short.counts(), report.counts()])[1] == [], "another worker has said it"
    assert total([short.counts(), Counts(matched=["none"])])[1] == [], "another has such a series"


def test_bounds_that_are_whole_numbers_make_the_same_bytes_in_any_cut() -> None:
    """Where all of a column is whole, NumPy takes it for integers: 24 is not the text 24.0."""
    rules = AlarmRules.of({"high": Bounds(above=24, clear_above=21), "jump": Change(limit=9)})
    values = np.random.default_rng(1).normal(20, 5, 400).round(3)
    readings = replace(
        Readings.of([f"s{i % 7}" for i in range(400)], values, np.arange(400)),
        origins=Origins(np.zeros(400, np.int64), np.arange(400, dtype=np.int64)),
    )
    found = []
    for size in (1, 7, 400):
        table = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules)
        own = AlarmRecords(rules, IDENTITY, INPUTS)
        cuts = [np.arange(at, min(at + size, 400)) for at in range(0, 400, size)]
        runs = [table.update(readings.take(cut)).transitions for cut in cuts]
        found.append([value for run in runs if run is not None for value in own.of(run).values])
    assert len(found[0]) > 100
    assert found[0] == found[1] == found[2]
    assert b'"upper":24.0' in (found[0][0] or b"") or b'"limit":9.0' in (found[0][0] or b"")


def written(broker: str, topic: str, sinking: Any, routed: list[Addressed]) -> Any:
    """Write records to the one partition of a topic; return the state at the end of the epoch."""
    part = sinking.build_part("alarms", part_key(0), None)
    try:
        part.write_batch([made for _, made in routed])
        return part.snapshot()
    finally:
        part.close()


@pytest.mark.parametrize("delivery", ["exactly-once", "transactional"])
def test_after_a_crash_each_alarm_is_there_once(
    kafka: str, topic: MakeTopic, delivery: Any
) -> None:
    """Both alarms of a reading too, of which one was written before the crash and one was not."""
    name = topic(kafka)

    def sink(identity: str = IDENTITY) -> KafkaSink:
        client = {"bootstrap_servers": kafka}
        return KafkaSink(client, name, delivery=delivery, job=identity)

    whole = rows(20)
    for cut in (15, 31, 40):  # of 40; the first two are in the middle of a reading
        written(kafka, name, sink(), list(RouteAlarms(records(), 1)([smoothed(whole[:cut])])))
    found = [
        json.loads(record.value)
        for record in read_all(kafka, name, 40, isolation_level="read_committed")
    ]
    assert len(found) == 40
    assert len({(one["alarm_id"], one["transition"]) for one in found}) == 40

    other = "the job, with other rules"  # its alarms are others, also of the same readings
    written(kafka, name, sink(other), list(RouteAlarms(records(other), 1)([smoothed(whole)])))
    assert len(read_all(kafka, name, 80, isolation_level="read_committed")) == 80


def noisy(n: int, shifted_from: int, series: int = 3, step_ms: int = 1_000) -> list[Reading]:
    """Return readings of some series that rise by ten standard deviations at some time."""
    chance = random.Random(7)
    return [
        Reading(
            f"s{i % series}",
            START_MS + step_ms * i,
            round(chance.gauss(20, 1) + 10 * (i >= shifted_from), 3),
        )
        for i in range(n)
    ]


ALARMS: dict[str, object] = {"level": {"limit": 4.0, "warm_up": 30}, "spike": {"limit": 4.5}}
HOUR_MS = 3_600_000
SEASONED: dict[str, object] = {
    "spread": {"limit": 4.0, "warm_up": 30},
    "daily": {"kind": "level", "limit": 4.0, "warm_up": 30, "season": "day"},
}
HOT: dict[str, object] = {"kind": "bounds", "above": 29.5, "clear_above": 28.0}


def verified(job: Job) -> tuple[int, str]:
    done = ewma("verify", str(job.path))
    return done.returncode, done.stdout


def test_alarms_come_and_change_while_a_job_goes_on(embedded: str, tmp_path: Path) -> None:
    """No event is written again for it, and no alarm twice."""
    job, topic = Job(embedded, tmp_path), make_topic(embedded, 2, "alarms")
    sent = noisy(1_200, shifted_from=900)
    job.send(sent[:300])
    job.run()
    job.configure(alarms={"topic": topic, **ALARMS})
    job.send(sent[300:1_000])
    said = job.run(workers=2)
    assert re.search(r"read 700: 700 events, 0 dead letters, \d+ alarms \(", said)
    assert verified(job)[0] == 1
    assert "cannot be known: the rules were changed while the job went on" in verified(job)[1]

    first = alarms_of(embedded, topic, 6)
    raised = [one for one in first if one["transition"] == "raised"]
    assert {(one["series_id"], one["rule"]) for one in raised} >= {
        (f"s{i}", rule) for i in range(3) for rule in ("level", "spike")
    }
    assert all(one["time"] >= START_MS + 900_000 for one in raised)

    job.configure(alarms={"topic": topic, **ALARMS, "too_hot": HOT})
    job.send(sent[1_000:])
    job.run()
    both = alarms_of(embedded, topic, len(first) + 3)
    assert Counter(map(str, first)) <= Counter(map(str, both))
    assert {one["rule"] for one in both} == {"level", "spike", "too_hot"}
    assert len({(one["alarm_id"], one["transition"], one["offset"]) for one in both}) == len(both)

    job.configure()
    job.run()
    events = read_all(embedded, job.output, 1_200)
    assert len(events) == 1_200, "none was written again"


def test_what_a_job_writes_of_alarms_is_what_its_input_says(embedded: str, tmp_path: Path) -> None:
    """Whatever the workers and the cut; and the same as without a broker."""
    job, topic = Job(embedded, tmp_path), make_topic(embedded, 2, "alarms")
    rules = {"topic": topic, "in_events": True, **ALARMS, "too_hot": HOT, **SEASONED}
    job.configure(alarms=rules)
    sent = noisy(1_000, shifted_from=700, step_ms=HOUR_MS // 3)
    for part, workers in ((sent[:750], 1), (sent[750:], 2)):
        job.send(part)
        job.run(workers)
    code, told = verified(job)
    assert code == 0, told
    assert re.search(r"\n\d+ transitions of alarms, \d+ records\nmissing 0, doubled 0,", told)
    found = alarms_of(embedded, topic, 9)
    whole = run_job(job.path, [as_run_record(reading) for reading in sent])
    assert bare(found) == bare([record.json() for record in whole.alarms])
    assert {one["rule"] for one in found} >= {"level", "too_hot", "daily", "spread"}
    event = json.loads(read_all(embedded, job.output, 1_000)[-1].value)
    assert {"spread_z", "daily_upper"} <= event.keys()
    assert {"level_z", "level_lower", "spike_upper"} <= event.keys()

    job.configure(alarms={**rules, "level": {"limit": 5.0}})
    done = ewma("run", str(job.path))
    assert done.returncode == 2
    assert "belongs to another job: alarms in events was" in done.stderr, "events would be others"


def alarms_of(bootstrap: str, topic: str, n: int) -> list[dict[str, Any]]:
    """Return the records of a topic, n at least."""
    return [json.loads(record.value) for record in read_all(bootstrap, topic, n)]


def bare(alarms: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return alarms without what names the job and the place of the reading."""
    places = {"alarm_id", "topic", "partition", "offset"}
    return sorted(
        tuple((key, value) for key, value in one.items() if key not in places) for one in alarms
    )


def as_run_record(reading: Reading) -> testing.Record:
    record = as_record(reading)
    return testing.Record(record.value, record.key, timestamp_ms=record.timestamp_ms)
