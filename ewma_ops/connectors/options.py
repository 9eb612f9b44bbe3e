"""Options of kafka-python's clients: the user's own checked, and merged with ours.

Knows every option by its name; must not know what is done with a client.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from ewma_ops.errors import ConfigError

__all__ = ["CONSUMER", "PRODUCER", "READER", "check_options", "options_of", "servers_of"]

_EVERY = {
    "bootstrap_timeout_ms": 10_000,  # a missing broker is told within seconds
    "reconnect_backoff_max_ms": 1_000,  # a restarted one is found again within a second
    "metrics_enabled": False,  # nobody reads them, and they cost a tenth of the throughput
}
CONSUMER = {
    "metadata_max_age_ms": 30_000,  # how soon a vanished or grown topic is noticed
    "max_poll_records": 64_000,  # what a fetch brings of four partitions
    "fetch_max_bytes": 16 << 20,
}
READER = {
    "fetch_max_wait_ms": 20,  # at the end of a topic nothing is to come
    "max_poll_records": 20_000,
    "fetch_max_bytes": 16 << 20,
}
PRODUCER = {
    "linger_ms": 0.3,  # what is written to several partitions together goes as one request
    "batch_size": 900 << 10,  # a little less than a topic takes
    "max_block_ms": 30_000,
    "max_request_size": 4 << 20,  # above what topics take: let the topic's own limit rule
}
_OURS: dict[str, dict[str, object]] = {
    "consumer": {"enable_auto_commit": False, "auto_offset_reset": "none"},
    "producer": {"acks": "all", "enable_idempotence": True},
}
_KINDS = {bool: "true or false", int: "a whole number", str: "text"}
_FREE = {"bootstrap_servers", "client_id", "api_version"}
"""Options that take more than one kind of value."""
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_OWNED = {
    **dict.fromkeys(
        ("enable_auto_commit", "auto_commit_interval_ms", "default_offset_commit_callback"),
        "offsets are committed when what was read is durable",
    ),
    **dict.fromkeys(
        ("group_id", "group_instance_id", "partition_assignment_strategy"),
        "Bytewax assigns the partitions, and the group, for commits only, is named elsewhere",
    ),
    "auto_offset_reset": "where to start is the source's own option: start",
    "consumer_timeout_ms": "where to end is the source's own option: stop",
    **dict.fromkeys(
        ("key_serializer", "value_serializer", "key_deserializer", "value_deserializer"),
        "connectors carry bytes; decoding and encoding are steps of the flow",
    ),
    **dict.fromkeys(
        ("acks", "enable_idempotence", "retries", "max_in_flight_requests_per_connection"),
        "no record may be lost or change its place",
    ),
    **dict.fromkeys(
        ("transactional_id", "transaction_timeout_ms"), "how to deliver is an option of the output"
    ),
    "partitioner": "the sink writes to the partition it is told",
    "allow_auto_create_topics": "looking a topic up never creates it",
}


def options_of(
    client: Mapping[str, object],
    factory: Callable[..., Any],
    role: str,
    defaults: Mapping[str, object],
) -> dict[str, object]:
    """Return what of ``client`` and of our own this kind of client takes."""
    check_options(client)
    known = factory.DEFAULT_CONFIG  # type: ignore[attr-defined]  # each of the three has it
    name = f"{client.get('client_id', 'ewma_ops')}-{role}"
    merged = {**_EVERY, **defaults, **client, **_OURS.get(role, {}), "client_id": name}
    api_version = merged.get("api_version")
    if isinstance(api_version, list):  # TOML has no tuples
        merged["api_version"] = tuple(api_version)
    return {option: value for option, value in merged.items() if option in known}


def check_options(client: Mapping[str, object]) -> None:
    """Raise ConfigError unless ``client`` holds options that may be set, each known by its name."""
    known: dict[str, object] = {}
    for factory in (KafkaConsumer, KafkaProducer, KafkaAdminClient):
        known.update(factory.DEFAULT_CONFIG)
    for option, value in client.items():
        if option in _OWNED:
            raise ConfigError(f"kafka.{option} cannot be set: {_OWNED[option]}; remove it")
        if option not in known:
            near = difflib.get_close_matches(option, known.keys() - _OWNED.keys(), 1)
            raise ConfigError(
                f"kafka.{option} is not an option of kafka-python"
                + (f": did you mean {near[0]}?" if near else ": remove it")
            )
        usual = known[option]
        wanted = next((kind for kind in (bool, int, str) if isinstance(usual, kind)), None)
        numeric = wanted is int and isinstance(value, float)
        if option not in _FREE and wanted and not numeric and type(value) is not wanted:
            raise ConfigError(
                f"kafka.{option} = {value!r} must be {_KINDS[wanted]}, for example {usual!r}"
            )
        if option.startswith("ssl_") and option.endswith("file") and not os.path.exists(str(value)):
            raise ConfigError(
                f"kafka.{option} = {value!r}: there is no such file; correct the path"
            )
    protocol = client.get("security_protocol", _PROTOCOLS[0])
    if protocol not in _PROTOCOLS:  # kafka-python takes any other for PLAINTEXT
        raise ConfigError(
            f"kafka.security_protocol = {protocol!r}: it must be one of {', '.join(_PROTOCOLS)}"
        )
    if not client.get("bootstrap_servers"):
        raise ConfigError('kafka.bootstrap_servers is missing: for example "127.0.0.1:9092"')


def servers_of(client: Mapping[str, object]) -> str:
    """Return the addresses in ``client`` as text."""
    servers = client.get("bootstrap_servers", "")
    return servers if isinstance(servers, str) else ",".join(map(str, servers))  # type: ignore[call-overload]  # any sequence
