"""A steady stream of numbered readings, and when a broker appended each reading and its event.

Knows a topic in and a topic out; must not know who is in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from itertools import count, islice

import msgspec
from kafka import TopicPartition

from ewma_ops.columns.murmur2 import partition_of_key
from ewma_ops.connectors.client.connect import connect_consumer, connect_producer
from ewma_ops.connectors.client.exchange import poll, send
from ewma_ops.wire.records import ProducerRecords
from tests.bench.contest import PARTITIONS

TICK_S = 0.002
APPEND_CLOCK = {"message.timestamp.type": "LogAppendTime"}
"""Of a topic: record when the broker got each record, not what its producer says."""


class _Number(msgspec.Struct):
    ts: int = -1
    time: int = -1


_read = msgspec.json.Decoder(_Number).decode


def feed(
    bootstrap: str,
    topic: str,
    *,
    a_second: int,
    series: int,
    seconds: float,
    first: int = 0,
    stop: threading.Event | None = None,
    partitions: Collection[int] = range(PARTITIONS),
    value: Callable[[int], float] = lambda _: 20.125,
) -> int:
    """Send readings at a steady rate, their time a running number; return the next number.

    ``partitions`` are those that the series belong to; ``value`` gives a reading's by its number.
    """
    ids = map(b"sensor-%d".__mod__, count())
    placed = ((one, partition_of_key(one, PARTITIONS)) for one in ids)
    senders = list(islice((one for one in placed if one[1] in partitions), series))
    producer = connect_producer({"bootstrap_servers": bootstrap, "linger_ms": 0})
    producer.partitions_for(topic)
    started, sent, most = time.monotonic(), 0, int(seconds * a_second)
    while sent < most and not (stop is not None and stop.is_set()):
        due = min(most, int((time.monotonic() - started) * a_second))
        runs: dict[int, tuple[list[bytes | None], list[bytes | None]]] = {}
        for at in range(sent, due):
            key, partition = senders[at % series]
            keys, values = runs.setdefault(partition, ([], []))
            keys.append(key)
            number = first + at
            message = b'{"series_id":"%s","ts":%d,"value":%r}' % (key, number, value(number))
            values.append(message)
        for partition, run in runs.items():
            send(producer, topic, partition, ProducerRecords(*run))
        sent = due
        time.sleep(TICK_S)
    producer.flush(10)
    producer.close(10)
    return first + sent


def await_events(bootstrap: str, topic: str, number: int, timeout_s: float = 120.0) -> None:
    """Return once a topic holds as many numbered events; raises RuntimeError after a time."""
    deadline = time.monotonic() + timeout_s
    while len(appended(bootstrap, topic, wait_ms=200)) < number:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not {number} events within {timeout_s:g} s")


def appended(bootstrap: str, topic: str, wait_ms: int = 1_000) -> dict[int, int]:
    """Return the timestamp of each reading or event, in milliseconds, by its number."""
    consumer = connect_consumer({"bootstrap_servers": bootstrap}, "live")
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    consumer.assign(tps)
    consumer.seek_to_beginning(*tps)
    found: dict[int, int] = {}
    while runs := [run for each in poll(consumer, wait_ms).values() for run in each]:
        for run in runs:
            rows = map(_read, run.values)  # type: ignore[arg-type]  # none is null
            numbers = [max(row.ts, row.time) for row in rows]
            found.update(zip(numbers, run.timestamps_ms.tolist(), strict=True))
    consumer.close()
    return found
