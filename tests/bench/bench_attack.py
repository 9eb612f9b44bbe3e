"""Whether who floods one partition with garbage holds up the readings of the others.

python -m tests.bench.bench_attack [--garbage 2000000] [--a-second 2000]

Three of four partitions get readings at a steady rate. After a while somebody writes garbage to
the fourth, as fast as the broker takes it; each message becomes a dead letter. Latency is from the
broker's append of a reading to its append of the event, by the broker's own clock, hence against
Apache Kafka. The others' lag stays flat if their latency in the second half of the attack is that
of the first.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from kafka import TopicPartition
from numpy.typing import NDArray

from ewma_ops.connectors.client.connect import connect_consumer, connect_producer
from ewma_ops.connectors.client.exchange import send
from ewma_ops.wire.records import ProducerRecords
from tests.bench.contest import PARTITIONS, make_topic
from tests.bench.feeding import APPEND_CLOCK, appended, feed
from tests.bench.running import Flow
from tests.helpers.brokers import ApacheKafka
from tests.helpers.kafka_jars import KafkaUnavailableError

SERIES = 300
WARM_UP_S, CALM_S = 5, 10
LONGEST_ATTACK_S = 300
ATTACKED = PARTITIONS - 1
_AT_ONCE = 50_000


def attack(bootstrap: str, topic: str, garbage: int) -> None:
    """Write messages that are no readings to one partition, as fast as the broker takes them."""
    producer = connect_producer({"bootstrap_servers": bootstrap})
    producer.partitions_for(topic)
    for at in range(0, garbage, _AT_ONCE):
        n = min(_AT_ONCE, garbage - at)
        futures, _ = send(
            producer, topic, ATTACKED, ProducerRecords([None] * n, [b'{"garbage":1}'] * n)
        )
        for future in futures:
            future.get(60)
    producer.close(10)


def await_records(bootstrap: str, topic: str, n: int) -> None:
    """Wait until a topic has so many records."""
    consumer = connect_consumer({"bootstrap_servers": bootstrap}, "attack")
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    until = time.monotonic() + LONGEST_ATTACK_S
    while (found := sum(consumer.end_offsets(tps).values())) < n:
        if time.monotonic() > until:
            raise RuntimeError(f"{found} of {n} dead letters after {LONGEST_ATTACK_S} s")
        time.sleep(0.1)
    consumer.close()


def measure(bootstrap: str, garbage: int, a_second: int) -> dict[str, NDArray[np.int64]]:
    """Return the latencies in milliseconds before the attack, and in both its halves."""
    for topic in ("in", "out"):
        make_topic(bootstrap, topic, APPEND_CLOCK)
    enough = threading.Event()

    def honest() -> None:
        feed(
            bootstrap,
            "in",
            a_second=a_second,
            series=SERIES,
            seconds=WARM_UP_S + CALM_S + LONGEST_ATTACK_S,
            stop=enough,
            partitions=range(ATTACKED),
        )

    feeding = threading.Thread(target=honest)
    with (
        tempfile.TemporaryDirectory() as directory,
        Flow(bootstrap, "in", "out", Path(directory)).running(),
    ):
        feeding.start()
        try:
            time.sleep(WARM_UP_S + CALM_S)
            began_ms = time.time() * 1_000
            attack(bootstrap, "in", garbage)
            await_records(bootstrap, "out-dead", garbage)
            ended_ms = time.time() * 1_000
        finally:
            enough.set()
            feeding.join()
        time.sleep(2)
    came, went = appended(bootstrap, "in"), appended(bootstrap, "out")
    del came[-1]  # the garbage, which has no number
    numbers = sorted(came)
    at = np.array([came[number] for number in numbers])
    took = np.array([went[number] for number in numbers]) - at
    half_ms = (began_ms + ended_ms) / 2
    calm_ms = began_ms - CALM_S * 1_000
    return {
        "before": took[(at >= calm_ms) & (at < began_ms)],
        "first half of the attack": took[(at >= began_ms) & (at < half_ms)],
        "second half": took[(at >= half_ms) & (at < ended_ms)],
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--garbage", type=int, default=2_000_000)
    parser.add_argument("--a-second", type=int, default=2_000)
    options = parser.parse_args(arguments)
    print(f"{options.garbage:,} messages of garbage on one partition of {PARTITIONS};", end=" ")
    print(f"{options.a_second:,} readings/s on the others:")
    try:
        with tempfile.TemporaryDirectory() as directory, ApacheKafka(Path(directory)) as kafka:
            found = measure(kafka.bootstrap_servers, options.garbage, options.a_second)
    except KafkaUnavailableError as reason:
        print(f"attack: left out, {reason}")
        return
    for name, took in found.items():
        p50, p99 = np.percentile(took, [50, 99])
        line = f"{name:26} {len(took):8,} readings, p50 {p50:6.0f} ms, p99 {p99:6.0f} ms"
        print(f"{line}, at most {took.max():6} ms", flush=True)


if __name__ == "__main__":
    main()
