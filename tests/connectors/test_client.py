from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient

from ewma_ops.connectors import create_topic, partition_count
from ewma_ops.connectors.client import (
    check_options,
    connect_consumer,
    connect_producer,
    view_of,
)
from ewma_ops.demo.broker import free_port
from ewma_ops.errors import BrokerError, ConfigError

MakeTopic = Callable[..., str]


def test_options_reach_the_clients_that_know_them(embedded: str) -> None:
    client = {
        "bootstrap_servers": embedded,
        "client_id": "mine",
        "fetch_max_wait_ms": 77,  # of consumers
        "linger_ms": 3,  # of producers
        "request_timeout_ms": 20_000,  # of both
    }
    consumer, producer = connect_consumer(client, "group"), connect_producer(client)
    consumer.close()
    producer.close(5)
    assert consumer.config["fetch_max_wait_ms"] == 77
    assert producer.config["linger_ms"] == 3
    assert consumer.config["request_timeout_ms"] == producer.config["request_timeout_ms"] == 20_000
    assert consumer.config["client_id"] == "mine-consumer"
    assert producer.config["client_id"] == "mine-producer"


def test_what_delivery_rests_on(embedded: str) -> None:
    client = {"bootstrap_servers": embedded}
    consumer, producer = connect_consumer(client, "group"), connect_producer(client)
    consumer.close()
    producer.close(5)
    assert consumer.config["enable_auto_commit"] is False
    assert consumer.config["auto_offset_reset"] == "none"
    assert producer.config["acks"] == -1
    assert producer.config["enable_idempotence"] is True
    assert producer.config["max_request_size"] > (1 << 20) + 1000


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("enable_auto_commit", "durable"),
        ("auto_offset_reset", "start"),
        ("acks", "lost"),
        ("key_serializer", "bytes"),
        ("group_id", "Bytewax"),
        ("partitioner", "partition"),
    ],
)
def test_options_that_are_ours_are_refused_with_the_reason(option: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"kafka\.{option} cannot be set: .*{says}"):
        partition_count({"bootstrap_servers": "127.0.0.1:1", option: "x"}, "topic")


def test_an_unknown_option_names_the_nearest() -> None:
    client = {"bootstrap_servers": "127.0.0.1:1", "sasl_plain_pasword": "x"}
    with pytest.raises(ConfigError, match="did you mean sasl_plain_password"):
        partition_count(client, "topic")


def test_no_address() -> None:
    with pytest.raises(ConfigError, match=r"kafka\.bootstrap_servers is missing"):
        partition_count({}, "topic")


def test_a_value_of_the_wrong_type_is_the_users_fault(embedded: str) -> None:
    client = {"bootstrap_servers": embedded, "request_timeout_ms": "soon"}
    with pytest.raises(ConfigError, match=r"request_timeout_ms = .soon. must be a whole number"):
        connect_consumer(client, "group")


def test_no_broker_is_told_within_the_time_limit() -> None:
    address = f"127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(BrokerError, match=f"no Kafka broker answered at {address}"):
        partition_count({"bootstrap_servers": address, "bootstrap_timeout_ms": 500}, "topic")
    assert time.monotonic() - started < 5


def test_the_time_limit_is_ten_seconds_unless_set(embedded: str) -> None:
    consumer = connect_consumer({"bootstrap_servers": embedded}, "group")
    consumer.close()
    assert consumer.config["bootstrap_timeout_ms"] == 10_000


def test_partition_count(broker: str, topic: MakeTopic) -> None:
    assert partition_count({"bootstrap_servers": [broker]}, topic(broker, 3)) == 3


def test_a_missing_topic_is_an_error_and_stays_missing(broker: str, topic: MakeTopic) -> None:
    there = topic(broker, name_prefix="readings")
    missing = there.replace("readings", "reading")
    client = {"bootstrap_servers": broker}
    with pytest.raises(BrokerError, match=f"did you mean '{there}'.*--create --topic {missing}"):
        partition_count(client, missing)
    consumer = connect_consumer(client, "group")
    consumer._cluster.add_topic(missing)
    time.sleep(0.5)  # a look-up every 0.1 s
    assert view_of(consumer, missing).partitions == 0
    consumer.close()
    admin = KafkaAdminClient(bootstrap_servers=broker)
    assert missing not in admin.list_topics()
    admin.close()


def test_a_topic_name_that_cannot_be(kafka: str) -> None:
    with pytest.raises(ConfigError, match="not a topic name"):
        partition_count({"bootstrap_servers": kafka}, "no spaces allowed")


def test_create_topic_once_or_twice(broker: str, topic: MakeTopic) -> None:
    client, name = {"bootstrap_servers": broker}, topic(broker) + "-created"
    create_topic(client, name, 5)
    create_topic(client, name, 7)
    assert partition_count(client, name) == 5


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
    assert time.monotonic() - started < 5
    assert "wrong" not in str(wrong.value).split("(")[0]


def test_the_inside_of_kafka_python_is_where_it_was(embedded: str, topic: MakeTopic) -> None:
    """When this fails, an upgrade of kafka-python moved what client.py relies on."""
    client, name = {"bootstrap_servers": embedded}, topic(embedded, 2)
    consumer, producer = connect_consumer(client, "group"), connect_producer(client)
    producer.partitions_for(name)
    used: dict[Any, tuple[str, ...]] = {
        consumer: ("_cluster", "_fetcher", "_net", "_subscription"),
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


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("ssl_check_hostname", 1, "true or false"),
        ("compression", "gzip", "did you mean compression_type"),
        ("ssl_cafile", "/no/such/file", "there is no such file"),
        ("security_protocol", "TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    ],
)
def test_a_wrong_option_is_told_without_connecting(option: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"kafka.{option} .*{says}"):
        check_options({"bootstrap_servers": "127.0.0.1:1", option: value})
