"""Options of kafka-python's clients: the user's own checked, and merged with ours.

Knows every option by its name; must not know what a client is used for.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from ewma_ops.connectors.client.oauth import OWN_OPTIONS, provider_of
from ewma_ops.errors import ConfigError
from ewma_ops.secrets.masking import Secret, mask_logs
from ewma_ops.secrets.option_names import (
    DEFAULT_ISOLATION,
    SECRETS,
    foreign,
    is_address,
    refused_choice,
    remember_secrets,
    shown,
)

__all__ = [
    "CONSUMER",
    "PRODUCER",
    "READER",
    "check_options",
    "isolation_of",
    "options_of",
    "servers_of",
    "shown_of",
]

_EVERY = {
    "bootstrap_timeout_ms": 10_000,  # a missing broker is reported within seconds
    "reconnect_backoff_max_ms": 1_000,  # a restarted one is found again within a second
    "metrics_enabled": False,  # nobody reads them, and they cost a tenth of the throughput
}
CONSUMER = {
    "isolation_level": DEFAULT_ISOLATION,  # aborted records are not read
    "metadata_max_age_ms": 30_000,  # how soon a vanished or grown topic is noticed
    "max_poll_records": 64_000,  # what a fetch brings of four partitions
    "fetch_max_bytes": 16 << 20,
}
READER = {
    "fetch_max_wait_ms": 20,  # at the end of a topic nothing is to come
    # A session does not repeat an unchanged watermark, which a consumer forgets when it is assigned
    # the partition again.
    "enable_incremental_fetch_sessions": False,
    "max_poll_records": 20_000,
    "fetch_max_bytes": 16 << 20,
}
PRODUCER: dict[str, float] = {
    "metadata_max_age_ms": 30_000,
    "linger_ms": 0.3,  # writes to several partitions at once go as one request
    "batch_size": 900 << 10,  # a little less than a topic accepts
    "max_block_ms": 30_000,
    "max_request_size": 4 << 20,  # above what topics accept: let the topic's own limit decide
}
_OURS: dict[str, dict[str, object]] = {
    "consumer": {"enable_auto_commit": False, "auto_offset_reset": "none"},
    "producer": {"acks": "all", "enable_idempotence": True},
}
_KINDS = {bool: "true or false", int: "a whole number", str: "text"}
_FREE = {"bootstrap_servers", "client_id", "api_version"}
"""Options that take more than one kind of value."""
_TEXTS = SECRETS | {
    "compression_type", "proxy_url", "sasl_mechanism", "sasl_plain_username", "socks5_proxy",
    "ssl_cafile", "ssl_certfile", "ssl_ciphers", "ssl_crlfile", "ssl_keyfile",
}  # fmt: skip
"""Options that are text, although kafka-python's default is None."""
_OLDEST_BROKER = (2, 7)
_OWNED = {
    **dict.fromkeys(
        ("enable_auto_commit", "auto_commit_interval_ms", "default_offset_commit_callback"),
        "offsets are committed once what was read is durable",
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
        "no record may be lost or reordered",
    ),
    **dict.fromkeys(
        ("transactional_id", "transaction_timeout_ms"), "how to deliver is an option of the output"
    ),
    "check_crcs": "a damaged batch must stop the flow, not be smoothed",
    "partitioner": "the sink chooses the partition",
    "allow_auto_create_topics": "looking a topic up never creates it",
}


def options_of(
    client: Mapping[str, object],
    factory: Callable[..., Any],
    role: str,
    defaults: Mapping[str, object],
) -> dict[str, object]:
    """Return the options from ``client`` and our own that this kind of client takes."""
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
    known: dict[str, object] = {**OWN_OPTIONS}
    for factory in (KafkaConsumer, KafkaProducer, KafkaAdminClient):
        known.update(factory.DEFAULT_CONFIG)
    for option, value in client.items():
        other = foreign(option, value)
        remember_secrets(option if other is None else other.name or option, value)
        if option in _OWNED:
            raise ConfigError(f"kafka.{option} cannot be set: {_OWNED[option]}; remove it")
        if option not in known:
            raise _unknown(option, value, known.keys() - _OWNED.keys())
        _check_kind(option, value, known[option])
        _check_value(option, value)
    if not client.get("bootstrap_servers"):
        raise ConfigError('kafka.bootstrap_servers is missing: for example "127.0.0.1:9092"')
    _check_user(client)
    provider_of(client)
    mask_logs("kafka", "ewma_ops")


def _check_user(client: Mapping[str, object]) -> None:
    """Refuse a protocol that needs a user, without one: kafka-python retries until a time-out."""
    if not str(client.get("security_protocol")).startswith("SASL"):
        return
    mechanism = client.get("sasl_mechanism")
    if mechanism is None:
        raise ConfigError(
            f"kafka.sasl_mechanism is missing, which {client['security_protocol']} needs: for "
            'example sasl_mechanism = "SCRAM-SHA-512"'
        )
    if str(mechanism).startswith(("PLAIN", "SCRAM")):
        for option in ("sasl_plain_username", "sasl_plain_password"):
            if client.get(option) is None:
                raise ConfigError(f"kafka.{option} is missing, which {mechanism} needs")
    if mechanism == "AWS_MSK_IAM":
        _check_msk(client)


def _check_msk(client: Mapping[str, object]) -> None:
    if client["security_protocol"] != "SASL_SSL":
        raise ConfigError(
            'kafka.sasl_mechanism = "AWS_MSK_IAM" works over TLS only: set security_protocol = '
            '"SASL_SSL", and the port of bootstrap_servers to 9098'
        )
    if importlib.util.find_spec("botocore") is None:
        raise ConfigError(
            'kafka.sasl_mechanism = "AWS_MSK_IAM" needs the package botocore, which finds the '
            "credentials: pip install 'ewma-ops[msk]'"
        )


def _unknown(option: str, value: object, known: Iterable[str]) -> ConfigError:
    if (other := foreign(option, value)) is not None:
        return ConfigError(f"kafka.{option} {other}")
    near = difflib.get_close_matches(option, known, 1)
    return ConfigError(
        f"kafka.{option} is not an option of kafka-python"
        + (f": did you mean {near[0]}?" if near else ": remove it")
    )


def _check_kind(option: str, value: object, usual: object) -> None:
    usual = "some text" if option in _TEXTS else usual
    wanted = next((kind for kind in (bool, int, str) if isinstance(usual, kind)), None)
    kind = str if isinstance(value, Secret) else type(value)
    numeric = wanted is int and kind is float
    if option not in _FREE and wanted and not numeric and kind is not wanted:
        raise ConfigError(
            f"kafka.{option} = {shown(option, value)} must be {_KINDS[wanted]}, for example "
            f"{usual!r}"
        )


def _check_value(option: str, value: object) -> None:
    if (refused := refused_choice(option, value)) is not None:
        raise ConfigError(f"kafka.{refused}")
    if option.startswith("ssl_") and option.endswith("file") and not os.path.exists(str(value)):
        raise ConfigError(
            f"kafka.{option} = {shown(option, value)}: there is no such file; correct the path"
        )
    if option == "bootstrap_servers":
        _check_servers(value)
    if option == "api_version":
        _check_version(value)


def _check_version(value: object) -> None:
    numbers = tuple(value) if isinstance(value, (list, tuple)) else ()
    if not numbers or any(type(n) is not int for n in numbers) or numbers < _OLDEST_BROKER:
        raise ConfigError(
            f"kafka.api_version = {shown('api_version', value)}: it must be a list of numbers, and "
            "at least [2, 7], as older requests leave out headers and transactions; remove it, to "
            "ask the broker"
        )


def _check_servers(value: object) -> None:
    """Refuse malformed addresses: kafka-python would print them, and passwords in them."""
    servers = value.split(",") if isinstance(value, str) else value
    for server in servers if isinstance(servers, (list, tuple)) else ():
        if not is_address(str(server)):
            raise ConfigError(
                f"kafka.bootstrap_servers = {shown('bootstrap_servers', value)}: each server must "
                'be host:port, such as "127.0.0.1:9092"; user and password go into '
                "sasl_plain_username and sasl_plain_password, the protocol into security_protocol"
            )


def isolation_of(client: Mapping[str, object]) -> str:
    """Return which records of the input are read: those of aborted transactions or not."""
    return str(client.get("isolation_level", DEFAULT_ISOLATION))


def shown_of(client: Mapping[str, object], option: str) -> str:
    """Return the value of an option, or the word ``none``, as it may be shown."""
    value = client.get(option)
    return "none" if value is None else shown(option, value)


def servers_of(client: Mapping[str, object]) -> str:
    """Return the addresses in ``client`` as text that may be shown."""
    servers = client.get("bootstrap_servers", "")
    listed = [servers] if isinstance(servers, str) else servers
    assert isinstance(listed, (list, tuple))
    return ",".join(shown("bootstrap_servers", server)[1:-1] for server in listed)
