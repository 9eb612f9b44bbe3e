"""Alarms on their way out: routed, counted, reported, and written once whatever happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.connectors import KafkaSink, part_key
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.job.alarms import AlarmRecords, RouteAlarms
from ewma_ops.job.report import Report
from ewma_ops.job.steps import Addressed
from ewma_ops.monitor.rules import AlarmRules, Level, Spike
from tests.helpers.brokers import read_all
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
