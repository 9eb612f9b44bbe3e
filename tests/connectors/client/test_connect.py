from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from ewma_ops.connectors import create_topic, partition_count
from ewma_ops.connectors.client.connect import connect_consumer, connect_producer, view_of
from ewma_ops.demo.broker import free_port
from ewma_ops.errors import BrokerError, ConfigError
from tests.helpers.patience import slowness

MakeTopic = Callable[..., str]


def test_no_broker_is_told_within_the_time_limit() -> None:
    address = f"127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(BrokerError, match=f"no Kafka broker answered at {address}"):
        partition_count({"bootstrap_servers": address, "bootstrap_timeout_ms": 500}, "topic")
    assert time.monotonic() - started < 5 * slowness()


def test_password(kafka_sasl: tuple[str, str, str]) -> None:
    address, user, password = kafka_sasl
    client = {
        "bootstrap_servers": address,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": user,
        "sasl_plain_password": password,
    }
    create_topic(client, "behind-a-password", 2)
    assert partition_count(client, "behind-a-password") == 2
    started = time.monotonic()
    with pytest.raises(ConfigError, match=f"refused user '{user}'.*sasl_plain_password") as wrong:
        partition_count({**client, "sasl_plain_password": "wrong"}, "behind-a-password")
    assert time.monotonic() - started < 5 * slowness()
    assert "wrong" not in str(wrong.value).split("(")[0]


def test_the_inside_of_kafka_python_is_where_it_was(embedded: str, topic: MakeTopic) -> None:
    """When this fails, an upgrade of kafka-python moved what client.py relies on."""
    client, name = {"bootstrap_servers": embedded}, topic(embedded, 2)
    consumer, producer = connect_consumer(client, "group"), connect_producer(client)
    producer.partitions_for(name)
    used: dict[Any, tuple[str, ...]] = {
        consumer: ("_cluster", "_fetcher", "_net", "_subscription"),
        consumer._fetcher: ("_parse_fetched_data",),
        consumer._net: ("_io_thread", "stop", "wakeup"),
        producer: ("_accumulator", "_metadata", "_sender"),
        producer._sender: ("force_close", "wakeup"),
    }
    missing = [(of, part) for of, parts in used.items() for part in parts if not hasattr(of, part)]
    assert missing == []
    assert consumer._net._io_thread is None  # the thread that polls serves the sockets
    assert view_of(producer, name).partitions == 2
    consumer.close()
    producer.close(5)
