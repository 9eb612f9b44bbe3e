"""What a job wrote, held against the truth: computed from the input, as if nothing had happened."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from ewma_ops.connectors.delivery import IDENTITY_HEADER
from ewma_ops.readings import Readings
from ewma_ops.serde.events import JsonEncoder
from ewma_ops.settings import load
from ewma_ops.table import SeriesTable
from ewma_ops.verify import verify
from tests.chaos.job import Job

Position = tuple[int, int]


@dataclass
class Verdict:
    """How the output differs from the truth; all zero but ``kills`` and ``readings`` is right."""

    readings: int = 0
    letters: int = 0
    kills: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    hurts: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    disordered: int = 0
    failed: str = ""
    slowest_stop_s: float = 0.0
    longest_gap_s: float = 0.0

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.disordered or self.failed)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.readings} readings and {self.letters} dead letters: "
            f"{self.lost} lost, {self.doubled} doubled, {self.wrong} wrong, "
            f"{self.disordered} out of order{'; ' + self.failed if self.failed else ''}"
        )

    def details(self) -> str:
        """Return how often each thing was done to it."""
        done = sorted({**self.deaths, **self.hurts}.items())
        lines = [f"  {n:4} {what}" for what, n in done]
        return "\n".join([*lines, f"  slowest graceful stop {self.slowest_stop_s:.1f} s"])


def positions(job: Job, topic: str) -> set[Position]:
    return {position for position, _, _ in events(job, topic)}


def judge(
    job: Job, truth: dict[Position, tuple[bytes, bytes]], bad: set[Position], verdict: Verdict
) -> None:
    """Compare as multisets of (series, position, value), and the order within each series."""
    got = list(events(job, job.target))
    counted = Counter(position for position, _, _ in got)
    letters = Counter(position for position, _, _ in events(job, job.letters))
    verdict.lost = len(truth.keys() - counted.keys()) + len(bad - letters.keys())
    verdict.doubled = sum(counted.values()) - len(counted) + sum(letters.values()) - len(letters)
    verdict.wrong = sum(truth.get(position) != (key, value) for position, key, value in got)
    verdict.wrong += len(letters.keys() - bad)
    found = verify(load(job.config), lambda _: None)
    if found.right != (counted.keys() == truth.keys() and len(got) == len(truth)):
        verdict.failed += f"; ewma verify does not agree: {found}"
    last: dict[bytes, int] = {}
    for (_, offset), key, _ in got:
        verdict.disordered += offset < last.get(key, -1)
        last[key] = max(offset, last.get(key, -1))


def expected(job: Job) -> tuple[dict[Position, tuple[bytes, bytes]], set[Position]]:
    """Return what an uninterrupted run writes, key and value by position, and what is bad."""
    settings = load(job.config)
    rows = sorted(records(job, job.source), key=lambda record: (record.partition, record.offset))
    bad = {(r.partition, r.offset) for r in rows if r.value == b"not json"}
    good = [row for row in rows if (row.partition, row.offset) not in bad]
    payloads = [json.loads(row.value) for row in good]
    readings = Readings(
        [payload["id"] for payload in payloads],
        np.array([payload["value"] for payload in payloads], np.float64),
        np.array([row.timestamp for row in good], np.int64),
    )
    smoothed = SeriesTable(settings.family).update(readings)
    values = JsonEncoder(settings.family.names).encode(smoothed)
    keys = [series.encode() for series in readings.series_ids]
    places = [(row.partition, row.offset) for row in good]
    return dict(zip(places, zip(keys, values, strict=True), strict=True)), bad


def events(job: Job, topic: str) -> Iterator[tuple[Position, bytes, bytes]]:
    for record in records(job, topic):
        identity = [content for name, content in record.headers if name == IDENTITY_HEADER][-1]
        partition = int.from_bytes(identity[4:8], "big")
        offset = int.from_bytes(identity[8:], "big")
        yield (partition, offset), record.key, record.value


def records(job: Job, topic: str) -> list[Any]:
    """Read a topic to its end, as a reader of committed records where there are transactions."""
    isolation = "read_committed" if job.plan.delivery == "transactional" else "read_uncommitted"
    consumer = KafkaConsumer(
        bootstrap_servers=job.bootstrap,
        auto_offset_reset="earliest",
        group_id=None,
        isolation_level=isolation,
        max_poll_records=20_000,
    )
    found: list[Any] = []
    try:
        tps = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(tps)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(tps)
        idle = 0
        while idle < 2:  # some brokers list too low an end, and a slow one is not an idle one
            polled = consumer.poll(timeout_ms=150)
            found += [record for run in polled.values() for record in run]
            marks = {tp: consumer.highwater(tp) for tp in tps}
            ended = all(
                mark is not None and consumer.position(tp) >= max(mark, ends[tp])
                for tp, mark in marks.items()
            )
            idle = idle + 1 if ended and not polled else 0
    finally:
        consumer.close()
    return found
