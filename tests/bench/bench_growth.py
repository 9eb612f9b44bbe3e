"""What further workers cost and bring, on layouts of a topic that suit them and on odd ones.

python -m tests.bench.bench_growth [--layouts NAME ...] [--workers N ...] [--readings N]
    [--rate N [--seconds N]] [--rounds N] [--against DIRECTORY]

``ewma run`` with so many workers, exactly once, a snapshot every two seconds. A few readings in
every partition start all workers; then they are held until all others have been appended. Of these:
CPU seconds a million, launcher and workers together, and as a multiple of the first number of
workers; readings a second; after which share of the time the output partition with the fewest was
done: late, if it starved; and the most memory that launcher and workers took together. With
``--rate`` there is no backlog: so many readings a second for each worker, which says what further
workers cost where each has as much to do as the one. With ``--against`` the code of another copy of
this repository takes turns.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple
from zlib import crc32

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from ewma_ops.columns.murmur2 import partition_of_key
from ewma_ops.connectors.client.connect import connect_admin, connect_consumer, connect_producer
from ewma_ops.connectors.client.exchange import poll, send
from ewma_ops.demo.broker import EmbeddedBroker
from ewma_ops.wire.records import ProducerRecords
from tests.bench.contest import PARTITIONS, TIME_MS, make_topic, tree_cpu_s
from tests.bench.running import ROOT, Flow

_FIRST = 20
"""Readings of each partition that start the flow."""

_RUN = 10_000
_TICK_S = 0.02
"""Of readings at a rate."""
_LIMIT_S = 60.0
_FETCH_MS = 20
_SETTLE_S = 1.5


def _as_librdkafka(key: bytes, partitions: int) -> int:
    return crc32(key) % partitions


def _all_in_one(key: bytes, partitions: int) -> int:
    return 0


class Layout(NamedTuple):
    """How many partitions and series, where series go, and the share of the hot one."""

    partitions: int
    series: int
    place: Callable[[bytes, int], int] = partition_of_key
    hot: float = 0.0


LAYOUTS = {
    "1,000 series": Layout(4, 1_000),
    "100,000 series": Layout(4, 100_000),
    "partitions by CRC-32": Layout(4, 1_000, _as_librdkafka),
    "one hot series": Layout(4, 1_000, hot=0.9),
    "one full partition": Layout(4, 1_000, _all_in_one),
    "1 partition": Layout(1, 1_000),
    "64 partitions": Layout(64, 1_000),
    "1,000 partitions": Layout(1_000, 10_000),
}


class Score(NamedTuple):
    """What the module says, in its order."""

    cpu_s: float
    a_second: float
    fewest_done: float
    peak_mb: float


class Readings(NamedTuple):
    """Runs of readings by partition: what starts the flow, and the others."""

    first: dict[int, ProducerRecords]
    others: list[tuple[int, ProducerRecords]]

    def events(self) -> Counter[int]:
        """Return how many events come to each output partition."""
        keys = (key for _, run in [*self.first.items(), *self.others] for key in run.keys)
        return Counter(partition_of_key(key or b"", PARTITIONS) for key in keys)


def drawn(layout: Layout, n: int, longest_run: int = _RUN) -> Readings:
    """Return readings of random series, so many beside the first."""
    draw = random.Random(7)
    keys = [b"sensor-%d" % number for number in range(layout.series)]
    placed = {key: layout.place(key, layout.partitions) for key in keys}
    own: dict[int, list[bytes]] = {}
    for key, partition in placed.items():
        own.setdefault(partition, []).append(key)
    queued: dict[int, list[bytes]] = {partition: [] for partition in own}
    for _ in range(n):
        key = keys[0] if draw.random() < layout.hot else draw.choice(keys)
        queued[placed[key]].append(key)
    first = {partition: _run(draw.choices(few, k=_FIRST), draw) for partition, few in own.items()}
    longest = max(map(len, queued.values()))
    others = [
        (partition, _run(some, draw))
        for at in range(0, longest, longest_run)
        for partition, all_of_it in queued.items()
        if (some := all_of_it[at : at + longest_run])
    ]
    return Readings(first, others)


def _run(keys: list[bytes], draw: random.Random) -> ProducerRecords:
    form = b'{"series_id":"%%s","ts":%d,"value":%%.3f}' % TIME_MS
    return ProducerRecords(list(keys), [form % (key, draw.gauss(20, 5)) for key in keys])


def measure(
    bootstrap: str,
    layout: Layout,
    readings: Readings,
    workers: int,
    root: Path = ROOT,
    a_second: float | None = None,
) -> Score:
    """Run a flow, and give it the readings: so many a second, or all at once."""
    source, target = (f"growth-{end}-{time.monotonic_ns()}" for end in ("in", "out"))
    with connect_admin({"bootstrap_servers": bootstrap}) as admin:
        admin.create_topics([NewTopic(source, layout.partitions, 1)])
        admin.wait_for_topics([source], timeout_ms=20_000)
    make_topic(bootstrap, target)
    producer = connect_producer({"bootstrap_servers": bootstrap, "linger_ms": 0})
    consumer = connect_consumer({"bootstrap_servers": bootstrap}, "growth")
    expected, options = readings.events(), ["--workers", str(workers)]
    n_first = sum(map(len, readings.first.values()))
    n_others = expected.total() - n_first
    with tempfile.TemporaryDirectory() as directory:
        flow = Flow(bootstrap, source, target, Path(directory), 2, root=root, options=options)
        try:
            with flow.running():
                producer.partitions_for(source)
                for partition, run in readings.first.items():
                    send(producer, source, partition, run)
                _await(consumer, target, n_first, flow)
                time.sleep(_SETTLE_S)
                with contextlib.nullcontext() if a_second else flow.paused():
                    used, began = tree_cpu_s(flow.pid), time.monotonic()
                    _send(producer, source, readings, a_second)
                    if not a_second:
                        used, began = tree_cpu_s(flow.pid), time.monotonic()
                done = _await(consumer, target, expected.total(), flow, expected)
                took, used = time.monotonic() - began, tree_cpu_s(flow.pid) - used
                _, peak_mb = flow.memory_mb()
        finally:
            producer.close(10)
            consumer.close()
    fewest = min(expected, key=lambda partition: expected[partition])
    return Score(used / n_others * 1e6, n_others / took, (done[fewest] - began) / took, peak_mb)


def _send(producer: KafkaProducer, topic: str, readings: Readings, a_second: float | None) -> None:
    futures, sent, began = [], 0, time.monotonic()
    for partition, run in readings.others:
        if a_second and (ahead_s := sent / a_second - (time.monotonic() - began)) > 0:
            time.sleep(ahead_s)
        futures += send(producer, topic, partition, run)[0]
        sent += len(run)
    for future in futures:
        future.get(_LIMIT_S)


def _await(
    consumer: KafkaConsumer,
    topic: str,
    events: int,
    flow: Flow,
    expected: Counter[int] | None = None,
) -> dict[int, float]:
    """Wait for events; return when each output partition had those that are expected of it."""
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    consumer.assign(tps)
    done: dict[int, float] = {}
    until = time.monotonic() + _LIMIT_S
    while True:
        ends = consumer.end_offsets(tps)
        for tp, end in ends.items():
            consumer.seek(tp, end)
        poll(consumer, _FETCH_MS)  # the embedded broker tells the true end with a fetch alone
        ends = {tp: max(end, consumer.highwater(tp) or 0) for tp, end in ends.items()}
        for tp, end in ends.items():
            if expected is not None and end >= expected[tp.partition]:
                done.setdefault(tp.partition, time.monotonic())
        if sum(ends.values()) >= events:
            return done
        if time.monotonic() > until:
            raise RuntimeError(f"{sum(ends.values())} of {events} events:\n{flow.said}")


def _given(layout: Layout, options: argparse.Namespace, workers: int) -> Readings:
    if options.rate is None:
        return drawn(layout, options.readings)
    a_second = options.rate * workers
    run = max(1, int(a_second * _TICK_S / layout.partitions))
    return drawn(layout, int(a_second * options.seconds), run)


def main(arguments: list[str] | None = None) -> None:
    """Print a line for each layout and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layouts", nargs="*", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args(arguments)
    roots = [ROOT] if options.against is None else [options.against.resolve(), ROOT]
    print(
        f"{'':32}{'workers':>8}{'CPU s/million':>15}{'':9}{'readings/s':>12}"
        f"{'fewest done':>13}{'MB':>6}",
        flush=True,
    )
    with EmbeddedBroker() as broker:
        for name in options.layouts:
            layout = LAYOUTS[name]
            given = {w: _given(layout, options, w) for w in options.workers}
            scores: dict[tuple[Path, int], list[Score]] = {}
            for _ in range(options.rounds):
                for root in roots:
                    for workers in options.workers:
                        rate = options.rate and options.rate * workers
                        score = measure(
                            broker.bootstrap_servers, layout, given[workers], workers, root, rate
                        )
                        scores.setdefault((root, workers), []).append(score)
            for (root, workers), each in scores.items():
                found = Score(*map(median, zip(*each, strict=True)))
                one = median(one.cpu_s for one in scores[root, options.workers[0]])
                label = name if root == ROOT else f"{name}, {root.name}"
                print(
                    f"{label:32}{workers:8}{found.cpu_s:15.2f}{found.cpu_s / one:8.2f}x"
                    f"{found.a_second:12,.0f}{found.fewest_done:13.2f}{found.peak_mb:6.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
