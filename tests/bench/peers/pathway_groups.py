"""Pathway: a stateful reducer for each series, between its own Kafka connectors.

Rows of one of its batches have no order, so they are put into that of their time, before the
reducer takes them and before they are written.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import pathway as pw

BETA = 0.9
BATCH_MS = 100
LAST_WRITES_S = 1.0
bootstrap, topic, output, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


class Reading(pw.Schema):  # type: ignore[misc]  # it has no types
    series_id: str
    ts: int
    value: float


State = tuple[float, float, tuple[tuple[int, bytes], ...]]


@pw.reducers.stateful_many  # type: ignore[untyped-decorator]
def smooth(state: State | None, rows: list[tuple[list[Any], int]]) -> State:
    """Return the series' state, and the events of this batch."""
    v, power = (0.0, 1.0) if state is None else state[:2]
    events = []
    for (series_id, time, x), _ in sorted(rows, key=lambda row: row[0][1]):
        v, power = BETA * v + (1 - BETA) * x, power * BETA
        event = {"series_id": series_id, "time": time, "value": x, "ewma": v / (1 - power)}
        events.append((time, json.dumps(event).encode()))
    return v, power, tuple(events)


def events_of(state: State) -> tuple[tuple[int, bytes], ...]:
    return state[2]


class Written:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, key: object, row: object, time: int, is_addition: bool) -> None:
        self.count += 1
        if self.count == n:
            threading.Timer(LAST_WRITES_S, os._exit, [0]).start()


settings = {"bootstrap.servers": bootstrap, "group.id": output, "auto.offset.reset": "earliest"}
reading = {
    "fetch.queue.backoff.ms": "10",
    "fetch.wait.max.ms": "10",
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "500",
}
writing = {
    "linger.ms": "5",
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": "1000000",
}
this = pw.this
readings = pw.io.kafka.read(
    settings | reading,
    topic,
    schema=Reading,
    format="json",
    autocommit_duration_ms=BATCH_MS,
)
states = readings.groupby(this.series_id).reduce(
    this.series_id, state=smooth(this.series_id, this.ts, this.value)
)
batches = states.to_stream().filter(this.is_upsert)
each = batches.select(this.series_id, event=pw.apply(events_of, this.state)).flatten(this.event)
events = each.select(
    key=pw.apply(str.encode, this.series_id),
    time=pw.apply_with_type(lambda event: event[0], int, this.event),
    value=pw.apply_with_type(lambda event: event[1], bytes, this.event),
)
pw.io.kafka.write(
    events,
    settings | writing,
    output,
    format="raw",
    key=events.key,
    value=events.value,
    headers=[events.time],
    sort_by=[events.time],
)
pw.io.subscribe(events, on_change=Written())
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
