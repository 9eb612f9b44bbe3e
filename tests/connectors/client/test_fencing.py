"""Records of an earlier run are refused by the brokers once a fence is raised, and seen at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from kafka import KafkaProducer
from kafka import errors as kafka_errors

from ewma_ops.connectors.client import fencing
from ewma_ops.connectors.client.connect import close_producer, connect_producer
from ewma_ops.connectors.client.fencing import Fence, raise_fence, stand_behind
from ewma_ops.errors import ConfigError
from tests.helpers.brokers import make_topic, read_all

FENCED = (kafka_errors.ProducerFencedError, kafka_errors.InvalidProducerEpochError)


@contextlib.contextmanager
def writing(bootstrap: str, fence: Fence) -> Iterator[KafkaProducer]:
    producer = connect_producer({"bootstrap_servers": bootstrap})
    stand_behind(producer, fence)
    try:
        yield producer
    finally:
        close_producer(producer, 1.0, abandon=True)


def test_what_an_earlier_run_sends_is_refused_wherever_it_writes(broker: str) -> None:
    topic = make_topic(broker, 3, "fenced")
    client = {"bootstrap_servers": broker}
    before = raise_fence(client, f"ewma-{topic}", {topic: 3})
    with writing(broker, before) as one, writing(broker, before) as other:
        for n in range(3):  # two workers of a run, with the same id, each on its own partition
            for partition, producer in enumerate((one, other)):
                producer.send(topic, b"old %d" % n, partition=partition).get(30)
        now = raise_fence(client, f"ewma-{topic}", {topic: 3})
        assert now.producer_id == before.producer_id
        assert now.epoch > before.epoch
        for partition, producer in ((0, one), (1, other), (2, other)):
            for _ in range(2):  # and it does not help itself to another id
                with pytest.raises(FENCED):
                    producer.send(topic, b"zombie", partition=partition).get(30)
        with writing(broker, now) as new:
            for partition in range(3):
                new.send(topic, b"new", partition=partition).get(30)
    values = sorted(record.value for record in read_all(broker, topic, 9))
    assert values == [b"new"] * 3 + [b"old 0"] * 2 + [b"old 1"] * 2 + [b"old 2"] * 2


def test_without_it_an_earlier_run_still_writes(kafka: str) -> None:
    topic = make_topic(kafka, 1, "unfenced")
    producer = connect_producer({"bootstrap_servers": kafka})
    raise_fence({"bootstrap_servers": kafka}, f"ewma-{topic}", {topic: 1})
    producer.send(topic, b"zombie", partition=0).get(30)
    close_producer(producer, 1.0)


def test_kafka_python_is_as_it_was() -> None:
    assert fencing.incompatibilities() == []


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "-1:2", "1:2:3", "a:b"])
def test_a_fence_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give a producer id and an epoch"):
        Fence.parsed(text)
