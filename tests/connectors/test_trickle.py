"""What one record costs that goes through alone: calls of Python, whatever the machine's speed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from kafka import TopicPartition

from ewma_ops.connectors.client.connect import connect_consumer, connect_producer
from ewma_ops.connectors.client.exchange import poll, send
from ewma_ops.wire.records import ProducerRecords

RECORDS = 50
MOST_CALLS = 500
"""Of one poll that brings a record; kafka-python alone takes 2,000."""


def test_a_record_alone_is_polled_with_few_calls(kafka: str, topic: Callable[..., str]) -> None:
    name = topic(kafka)
    client = {"bootstrap_servers": kafka}
    producer, consumer = connect_producer(client), connect_consumer(client, "group")
    producer.partitions_for(name)
    consumer.assign([TopicPartition(name, 0)])
    consumer.seek_to_beginning(TopicPartition(name, 0))
    calls: list[int] = []
    values: list[bytes | None] = []

    def count(_: Any, event: str, __: Any) -> None:
        calls[-1] += event in ("call", "c_call")

    for number in range(RECORDS):
        futures, _ = send(producer, name, 0, ProducerRecords([b"k"], [b"%d" % number]))
        futures[-1].get(10)
        calls.append(0)
        before = len(values)
        while len(values) == before:
            sys.setprofile(count)
            try:
                polled = poll(consumer, 1_000)
            finally:
                sys.setprofile(None)
            values += [
                value for run in polled.get(TopicPartition(name, 0), ()) for value in run.values
            ]
    producer.close(5)
    consumer.close()
    assert values == [b"%d" % number for number in range(RECORDS)]
    assert sorted(calls)[RECORDS // 2] < MOST_CALLS, calls
