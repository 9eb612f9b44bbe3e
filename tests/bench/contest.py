"""What every contender of the flow's benchmark is given, and how it is measured.

Every contender is a process of its own, that reads a topic to its end and writes another; what it
wrote is read back and checked.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from kafka import TopicPartition
from kafka.admin import NewTopic

from ewma_ops.columns.murmur2 import murmur2_column, partition_for
from ewma_ops.connectors.client.connect import connect_admin, connect_consumer, connect_producer
from ewma_ops.connectors.client.exchange import poll, send
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.records import ProducerRecords

PARTITIONS = 4
BETA = 0.9
TIME_MS = 1_700_000_000_000
_TOLERANCE = 1e-9
_TIMEOUT_S = 300
_HERE = Path(__file__).parent


class Contest(NamedTuple):
    """A filled topic, and the last smoothed value of each series."""

    bootstrap: str
    topic: str
    readings: int
    last: dict[str, float]


class Score(NamedTuple):
    """Seconds from start to end and CPU seconds of a contender's process; bytes that it wrote."""

    wall_s: float
    cpu_s: float
    size: float


def make_topic(bootstrap: str, topic: str, configs: Mapping[str, str] | None = None) -> None:
    """Create a topic; with the options that Quix Streams asks of every one."""
    options = {"retention.ms": str(10**10), "cleanup.policy": "delete", **(configs or {})}
    with connect_admin({"bootstrap_servers": bootstrap}) as admin:
        admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=options)])
        admin.wait_for_topics([topic], timeout_ms=10_000)


def fill(
    bootstrap: str,
    topic: str,
    readings: int,
    series: int,
    *,
    every: bool = False,
    configs: Mapping[str, str] | None = None,
) -> Contest:
    """Create a topic of readings: JSON of 50 to 60 bytes, keyed by series, of ``every`` one."""
    client = {"bootstrap_servers": bootstrap}
    make_topic(bootstrap, topic, configs)
    draw = random.Random(7)
    order = range(series) if every else ()
    drawn = (draw.randrange(series) for _ in range(readings - len(order)))
    ids = [f"sensor-{number}" for number in (*order, *drawn)]
    numbers = [round(draw.gauss(20, 5), 3) for _ in range(readings)]
    form = '{"series_id":"%s","ts":%d,"value":%s}'
    values = [
        (form % (i, TIME_MS + at, x)).encode()
        for at, (i, x) in enumerate(zip(ids, numbers, strict=True))
    ]
    partitions = partition_for(murmur2_column(ids), PARTITIONS)
    producer = connect_producer(client)
    producer.partitions_for(topic)
    futures = []
    for partition in range(PARTITIONS):
        for at in np.array_split(
            np.flatnonzero(partitions == partition), max(1, readings // 80_000)
        ):
            run = ProducerRecords([ids[i].encode() for i in at], [values[i] for i in at])
            futures += send(producer, topic, partition, run)[0] if len(at) else []
    for future in futures:
        future.get(60)
    producer.close(10)
    return Contest(bootstrap, topic, readings, _smoothed(ids, numbers))


def _smoothed(ids: Sequence[str], numbers: Sequence[float]) -> dict[str, float]:
    state: dict[str, tuple[float, float]] = {}
    for series_id, x in zip(ids, numbers, strict=True):
        v, power = state.get(series_id, (0.0, 1.0))
        state[series_id] = (BETA * v + (1 - BETA) * x, power * BETA)
    return {series_id: v / (1 - power) for series_id, (v, power) in state.items()}


def run(contender: str, contest: Contest, *options: str, python: str = sys.executable) -> Score:
    """Have a contender smooth the topic into a new one, check what it wrote, and measure it."""
    output = f"{contest.topic}-{contender}-{time.monotonic_ns()}"
    make_topic(contest.bootstrap, output)
    script = str(_HERE / "peers" / f"{contender}.py")
    command = [python, script, contest.bootstrap, contest.topic, output, str(contest.readings)]
    environment = {**os.environ, "PYTHONPATH": str(_HERE.parents[1])}
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        process = subprocess.Popen(
            [*command, *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        killer = threading.Timer(_TIMEOUT_S, process.kill)
        killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{contender} failed:\n{said.read().decode()[-3000:]}")
    return Score(wall_s, usage.ru_utime + usage.ru_stime, _check(contest, output))


def _check(contest: Contest, output: str) -> int:
    """Return how many bytes the events take as one run; raise unless they are right."""
    consumer = connect_consumer({"bootstrap_servers": contest.bootstrap}, "contest")
    tps = [TopicPartition(output, partition) for partition in range(PARTITIONS)]
    consumer.assign(tps)
    consumer.seek_to_beginning(*tps)
    last: dict[str, float] = {}
    count, size, ends = 0, 0, time.monotonic() + 60
    while count < contest.readings and time.monotonic() < ends:
        for columns in (c for run in poll(consumer, 200).values() for c in run):
            count += len(columns.values)
            events = ProducerRecords(columns.keys, columns.values, columns.headers)
            size += len(encode_batch(events, timestamp_ms=TIME_MS))
            # The last of a series in the run is the last that is put into the dictionary.
            last.update((event.series_id, event.ewma) for event in map(_read, columns.values))  # type: ignore[arg-type]
    consumer.close()
    if count != contest.readings:
        raise RuntimeError(f"{count} of {contest.readings} in {output}")
    wrong = [i for i, ewma in contest.last.items() if abs(last[i] - ewma) > _TOLERANCE]
    if wrong:
        raise RuntimeError(f"{output}: {len(wrong)} series are wrong, such as {wrong[0]}")
    return size


class _Event(msgspec.Struct):
    series_id: str
    ewma: float


_read = msgspec.json.Decoder(_Event).decode
