"""Requests of bytes and answers, past kafka-python's loop: whatever comes, and if nothing does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import TopicPartition

from ewma_ops.connectors.client import exchange, sockets
from ewma_ops.connectors.client.connect import close_producer, connect_consumer, connect_producer
from ewma_ops.wire.records import ProducerRecords
from tests.chaos.proxy import Proxy
from tests.helpers.brokers import read_all
from tests.helpers.patience import PATIENCE_S

RECORDS = 150


@pytest.fixture
def proxy(kafka: str) -> Iterator[Proxy]:
    with Proxy(kafka, seed=3) as proxy:
        yield proxy


def write(producer: Any, name: str, number: int) -> Any:
    records = ProducerRecords([b"k"], [b"%d" % number])
    futures, _ = exchange.send(producer, name, 0, records, wait_for_wake=True)
    exchange.serve(producer)
    return futures[-1]


def test_answers_in_pieces_are_taken_as_whole_ones_are(
    kafka: str, proxy: Proxy, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic(kafka)
    client = {"bootstrap_servers": proxy.address}
    producer, consumer = connect_producer(client), connect_consumer(client, "group")
    producer.partitions_for(name)
    consumer.assign([TopicPartition(name, 0)])
    consumer.seek_to_beginning(TopicPartition(name, 0))
    proxy.in_pieces = True
    took: list[bool] = []
    take_answer = sockets._take_answer

    def noted(*given: Any) -> bool:
        took.append(take_answer(*given))
        return took[-1]

    monkeypatch.setattr(sockets, "_take_answer", noted)
    futures: list[Any] = []
    values: list[bytes | None] = []
    until = time.monotonic() + PATIENCE_S
    while len(values) < RECORDS:
        assert time.monotonic() < until
        if len(futures) < RECORDS:
            futures.append(write(producer, name, len(futures)))
        polled = exchange.poll(consumer, 5)
        values += [value for run in polled.get(TopicPartition(name, 0), ()) for value in run.values]
    exchange.wake(producer)
    assert [future.get(PATIENCE_S).offset for future in futures] == list(range(RECORDS))
    close_producer(producer, PATIENCE_S)
    consumer.close()
    assert values == [b"%d" % number for number in range(RECORDS)]
    assert {True, False} == set(took)  # both ways


def test_an_answer_that_does_not_come_ends_the_connection(
    kafka: str, proxy: Proxy, topic: Callable[..., str]
) -> None:
    name = topic(kafka)
    client = {"bootstrap_servers": proxy.address, "request_timeout_ms": 2_000}
    producer = connect_producer(client)
    producer.partitions_for(name)
    write(producer, name, 0).get(PATIENCE_S)
    proxy.hold()
    future = write(producer, name, 1)
    before = proxy.connections
    until = time.monotonic() + PATIENCE_S
    while proxy.connections == before:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not future.is_done
    proxy.release()
    assert future.get(PATIENCE_S).offset == 1
    close_producer(producer, PATIENCE_S)
    assert [record.value for record in read_all(kafka, name, 2)] == [b"0", b"1"]
