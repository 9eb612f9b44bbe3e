from __future__ import annotations

import importlib.util
import json

import pytest
from kafka.net.sasl.msk import SaslMechanismAwsMskIam

from ewma_ops.connectors import partition_count
from ewma_ops.connectors.client.connect import connect_consumer, connect_producer
from ewma_ops.connectors.client.options import check_options
from ewma_ops.errors import ConfigError


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
        ("check_crcs", "damaged"),
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


def test_the_time_limit_is_ten_seconds_unless_set(embedded: str) -> None:
    consumer = connect_consumer({"bootstrap_servers": embedded}, "group")
    consumer.close()
    assert consumer.config["bootstrap_timeout_ms"] == 10_000


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("ssl_check_hostname", 1, "true or false"),
        ("compression", "gzip", "did you mean compression_type"),
        ("ssl_cafile", "/no/such/file", "there is no such file"),
        ("security_protocol", "TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ("security_protocol", "sasl_ssl", "did you mean SASL_SSL?"),
        ("sasl_mechanism", "scram-sha-512", "did you mean SCRAM-SHA-512?"),
        ("isolation_level", "read_commited", "did you mean read_committed?"),
        ("compression_type", "gz", "gzip, snappy, lz4, zstd"),
        ("sasl_plain_password", 12345, "must be text"),
        ("api_version", [0, 11], "at least .2, 7."),
        ("api_version", "2.8", "must be a list of numbers"),
        ("bootstrap_servers", "http://127.0.0.1:1", "each server must be host:port"),
        ("bootstrap_servers", ["127.0.0.1:1", "a:b"], "each server must be host:port"),
        ("bootstrap.servers", "a:1", 'write bootstrap_servers = "a:1"'),
    ],
)
def test_a_wrong_option_is_told_without_connecting(option: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"kafka.{option} .*{says}"):
        check_options({"bootstrap_servers": "127.0.0.1:1", option: value})


@pytest.mark.parametrize("server", ["host", "127.0.0.1:9092", "[::1]:9092", "::1", "a_b.c-d:1"])
def test_addresses_of_every_form(server: str) -> None:
    check_options({"bootstrap_servers": server, "api_version": [2, 8]})
    check_options({"bootstrap_servers": [server, "other:1"]})
    check_options({"bootstrap_servers": f"{server}, other:1"})


MSK = {"bootstrap_servers": "127.0.0.1:9098", "sasl_mechanism": "AWS_MSK_IAM"}


def test_iam_of_msk_asks_for_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match='security_protocol = "SASL_SSL"'):
        check_options({**MSK, "security_protocol": "SASL_PLAINTEXT"})
    check_options({**MSK, "security_protocol": "SASL_SSL"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ewma-ops\[msk\]'"):
        check_options({**MSK, "security_protocol": "SASL_SSL"})


def test_iam_of_msk_signs_with_the_credentials_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-example")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    mechanism = SaslMechanismAwsMskIam(security_protocol="SASL_SSL", host="b-1.example.test")
    signed = json.loads(mechanism.auth_bytes())
    assert signed["host"] == "b-1.example.test"
    assert signed["action"] == "kafka-cluster:Connect"
    assert signed["x-amz-credential"].startswith("AKIDEXAMPLE/")
    assert signed["x-amz-credential"].endswith("/eu-west-1/kafka-cluster/aws4_request")
    assert len(signed["x-amz-signature"]) == 64
    assert "secret-example" not in json.dumps(signed)
