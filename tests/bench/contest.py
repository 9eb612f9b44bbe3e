"""What every contender of the flow's benchmark is given, and how it is measured.

Every contender is a process of its own, that reads a topic to its end and writes another; what it
wrote is read back and checked.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from kafka import KafkaConsumer, TopicPartition
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
_FIRST_S, _TIMEOUT_S = 60, 300
_LOOK_S, _SETTLE_S = 0.05, 5.0
_FETCH_MS = 20
_COMPILERS = re.compile(r"C[12] Compiler")
SHARE = 3
"""What is measured begins after one in so many of the readings."""
ROOT = Path(__file__).parents[2]


class Contest(NamedTuple):
    """A filled topic, and the last smoothed value of each series."""

    bootstrap: str
    topic: str
    readings: int
    last: dict[str, float]


class Score(NamedTuple):
    """What a contender takes for a million readings, its start and warm-up apart.

    Of the last two thirds of the readings. ``compilers_s`` are the CPU seconds of the JVM's
    just-in-time compilers, which are not in ``cpu_s``; ``warm_up_s`` all CPU seconds, in total,
    from the start to the end of the first third. ``size`` are the bytes that it wrote.
    """

    wall_s: float
    cpu_s: float
    compilers_s: float
    warm_up_s: float
    size: float


class _Mark(NamedTuple):
    """How far a contender was at a time, and what it had used until then."""

    events: int
    at_s: float
    cpu_s: float
    compilers_s: float


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


def run(
    name: str, command: Sequence[str], contest: Contest, *options: str, root: Path = ROOT
) -> Score:
    """Have a contender smooth the topic into a new one, check what it wrote, and measure it.

    It is killed when it has written all events, unless it has ended by then. What is ours is of the
    repository at ``root``.

    Raises
    ------
    RuntimeError
        If it fails, takes too long, or writes something else.
    """
    output = re.sub(r"[^\w.-]+", "-", f"{contest.topic}-{name}-{time.monotonic_ns()}")
    make_topic(contest.bootstrap, output)
    arguments = [contest.bootstrap, contest.topic, output, str(contest.readings)]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": scratch}
        process = subprocess.Popen(
            [*command, *arguments, *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        try:
            third, last = _watch(process.pid, contest, output)
        except RuntimeError as reason:
            said.seek(0)
            raise RuntimeError(f"{name}: {reason}\n{said.read().decode()[-3000:]}") from None
        finally:
            process.kill()
            process.wait()
    million = (last.events - third.events) / 1e6
    compilers_s = last.compilers_s - third.compilers_s
    return Score(
        (last.at_s - third.at_s) / million,
        (last.cpu_s - third.cpu_s - compilers_s) / million,
        compilers_s / million,
        third.cpu_s,
        _check(contest, output) * 1e6 / contest.readings,
    )


def _watch(pid: int, contest: Contest, output: str) -> tuple[_Mark, _Mark]:
    """Return where a contender was after a third of the readings, or soon after, and at the end."""
    consumer = connect_consumer({"bootstrap_servers": contest.bootstrap}, "contest")
    tps = [TopicPartition(output, partition) for partition in range(PARTITIONS)]
    consumer.assign(tps)
    third: _Mark | None = None
    ended: object = None
    first_until, until = (time.monotonic() + most for most in (_FIRST_S, _TIMEOUT_S))
    try:
        while True:
            # Not reaped, so that what it has used can be read after its end too.
            if ended is None:
                ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                until = until if ended is None else time.monotonic() + _SETTLE_S
            events = _written(consumer, tps)
            mark = _Mark(events, time.monotonic(), tree_cpu_s(pid), compilers_s(pid))
            if third is None and events >= contest.readings // SHARE:
                third = mark
            if third is not None and events >= contest.readings:
                return third, mark
            if events == 0 and time.monotonic() > first_until:
                raise RuntimeError(f"no event in {_FIRST_S} s")
            if time.monotonic() > until:
                how = f"in {_TIMEOUT_S} s" if ended is None else "when it ended"
                raise RuntimeError(f"{events} of {contest.readings} events {how}")
            time.sleep(_LOOK_S)
    finally:
        consumer.close()


def _written(consumer: KafkaConsumer, tps: Sequence[TopicPartition]) -> int:
    """Return how many records some partitions have.

    Asked for the end of a partition, the embedded broker says where its last batch begins; what it
    says with that batch is right.
    """
    ends = consumer.end_offsets(tps)
    for tp, end in ends.items():
        consumer.seek(tp, end)
    poll(consumer, _FETCH_MS)
    return sum(max(end, consumer.highwater(tp) or 0) for tp, end in ends.items())


def compilers_s(pid: int) -> float:
    """Return the CPU seconds of the just-in-time compilers in a process, a JVM or not."""
    used = 0.0
    for task in Path(f"/proc/{pid}").glob("task/*"):
        with contextlib.suppress(OSError):  # it has ended
            if _COMPILERS.match((task / "comm").read_text()):
                used += _cpu_s(task)
    return used


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, with its descendants and their dead ones."""
    stats = {int(path.name): _stat(path) for path in Path("/proc").glob("[0-9]*")}
    family, grown = {pid}, True
    while grown:
        children = {one for one, stat in stats.items() if stat and int(stat[1]) in family}
        grown = not children <= family
        family |= children
    ticks = sum(sum(map(int, stats[one][11:15])) for one in family if stats.get(one))
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(path: Path) -> list[str]:
    """Return the fields of a process' stat from the state on: parent, process group, ..."""
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return []


def _cpu_s(path: Path) -> float:
    stat = (path / "stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


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
