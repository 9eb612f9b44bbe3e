"""Connections to Kafka: options merged and checked, errors put into words.

May touch kafka-python's inside, as may `exchange`, `runs_in` and `runs_out`, and no other module;
must not know what is read or written. Its test lists what it uses of the inside, and tells when an
upgrade moved it.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import contextlib
import difflib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kafka import (
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka import errors as kafka_errors
from kafka.admin import NewTopic

from ewma_ops.connectors.exchange import take_runs
from ewma_ops.errors import BrokerError, ConfigError, EwmaError

__all__ = [
    "TopicView",
    "close_consumer",
    "close_producer",
    "commit_offsets",
    "connect_admin",
    "connect_consumer",
    "connect_producer",
    "create_topic",
    "in_words",
    "partition_count",
    "positions",
    "speaking_to",
    "view_of",
]

_log = logging.getLogger(__name__)

_EVERY = {
    "bootstrap_timeout_ms": 10_000,  # a missing broker is told within seconds
    "reconnect_backoff_max_ms": 1_000,  # a restarted one is found again within a second
    "metrics_enabled": False,  # nobody reads them, and they cost a tenth of the throughput
}
_CONSUMER = {
    "metadata_max_age_ms": 30_000,  # how soon a vanished or grown topic is noticed
    "max_poll_records": 16_000,
    "fetch_max_bytes": 16 << 20,
}
_PRODUCER = {
    "linger_ms": 2,
    "batch_size": 512 << 10,  # half of what a topic takes
    "max_block_ms": 30_000,
    "max_request_size": 4 << 20,  # above what topics take: let the topic's own limit rule
}
_OURS: dict[str, dict[str, object]] = {
    "consumer": {"enable_auto_commit": False, "auto_offset_reset": "none"},
    "producer": {"acks": "all", "enable_idempotence": True},
}
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
_ANSWER_TIMEOUT_S = 10.0


class TopicView(NamedTuple):
    """What the client's last metadata say of a topic; ``partitions`` 0 where it is missing."""

    topic_id: object
    partitions: int


def connect_consumer(client: Mapping[str, object], group_id: str) -> KafkaConsumer:
    """Connect a consumer that commits nothing, and resets nothing, by itself.

    Parameters
    ----------
    client
        The ``[kafka]`` table: kafka-python's connection options by their own names.
    group_id
        The group that offsets are committed to; it is never joined.

    Raises
    ------
    ConfigError
        If an option is unknown, not the user's to set or wrong, or the broker refuses the user.
    BrokerError
        If no broker answers in time.
    """
    consumer = _connect(KafkaConsumer, client, "consumer", {**_CONSUMER, "group_id": group_id})
    take_runs(consumer)
    return consumer


def connect_producer(client: Mapping[str, object]) -> KafkaProducer:
    """Connect an idempotent producer; parameters and errors as of :func:`connect_consumer`."""
    producer = _connect(KafkaProducer, client, "producer", _PRODUCER)
    take_runs(producer)
    return producer


@contextlib.contextmanager
def connect_admin(client: Mapping[str, object]) -> Iterator[KafkaAdminClient]:
    """Connect an admin client for a ``with`` block; errors as of :func:`connect_consumer`."""
    admin = _connect(KafkaAdminClient, client, "admin", {})
    try:
        yield admin
    finally:
        admin.close()


def partition_count(client: Mapping[str, object], topic: str) -> int:
    """Return how many partitions a topic has; never creates it.

    Raises
    ------
    BrokerError
        If no broker answers, or there is no such topic.
    ConfigError
        If the broker refuses the user or the name, or an option is wrong.
    """
    with connect_admin(client) as admin, speaking_to(client, f"looking up topic {topic!r}"):
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while True:
            answer = admin.describe_topics([topic])[0]
            error = kafka_errors.for_code(answer["error_code"])
            if error is kafka_errors.NoError:
                return len(answer["partitions"])
            if error is kafka_errors.UnknownTopicOrPartitionError:
                raise _no_such_topic(client, topic, admin.list_topics())
            if not issubclass(error, kafka_errors.RetriableError) or time.monotonic() > deadline:
                raise error(topic)
            time.sleep(0.1)


def create_topic(client: Mapping[str, object], topic: str, partitions: int) -> None:
    """Create a topic, replicated as the broker does by default; do nothing if it exists.

    Raises
    ------
    BrokerError, ConfigError
        As of :func:`partition_count`.
    """
    new = NewTopic(topic, partitions, -1)
    with connect_admin(client) as admin, speaking_to(client, f"creating topic {topic!r}"):
        with contextlib.suppress(kafka_errors.TopicAlreadyExistsError):
            admin.create_topics([new])
        admin.wait_for_topics([topic], timeout_ms=int(_ANSWER_TIMEOUT_S * 1000))


def commit_offsets(
    client: Mapping[str, object], group_id: str, topic: str, offsets: Mapping[int, int]
) -> None:
    """Commit an offset for each partition in ``offsets`` and wait for it; errors as above."""
    if not offsets:
        return
    consumer = connect_consumer(client, group_id)
    commits = {
        TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)
        for partition, offset in offsets.items()
    }
    try:
        with speaking_to(client, f"committing offsets to group {group_id!r}"):
            consumer.commit(commits, timeout_ms=int(_ANSWER_TIMEOUT_S * 1000))
    finally:
        close_consumer(consumer, _ANSWER_TIMEOUT_S)


def positions(consumer: KafkaConsumer) -> dict[TopicPartition, int]:
    """Return the offset each assigned partition will be read from next.

    ``KafkaConsumer.position`` visits every partition for each one that it is asked of.
    """
    consumed = consumer._subscription.all_consumed_offsets()
    return {partition: position.offset for partition, position in consumed.items()}


def view_of(client: KafkaConsumer | KafkaProducer, topic: str) -> TopicView:
    """Return what the client knows of a topic, without asking the broker."""
    cluster = client._cluster if isinstance(client, KafkaConsumer) else client._metadata
    return TopicView(cluster.topic_id(topic), len(cluster.partitions_for_topic(topic) or ()))


def close_consumer(consumer: KafkaConsumer, timeout_s: float) -> None:
    """Close a consumer within about ``timeout_s``; never raises."""
    try:
        consumer.close(autocommit=False, timeout_ms=int(timeout_s * 1000))
    except Exception:  # noqa: BLE001 - whatever it is, the flow has ended
        _log.warning("closing a Kafka consumer failed", exc_info=True)


def close_producer(producer: KafkaProducer, timeout_s: float, *, abandon: bool = False) -> None:
    """Close a producer within about ``timeout_s``; never raises.

    What is not sent by then, or nothing more at all with ``abandon``, will not be sent later
    either: ``KafkaProducer.close`` alone would leave its thread at work after a failure.
    """
    for by_force in (True,) if abandon else (False, True):
        if by_force:
            producer._sender.force_close()
        try:
            producer.close(timeout=timeout_s)
        except Exception:  # noqa: BLE001 - whatever it is, the flow has ended
            _log.warning("closing a Kafka producer failed", exc_info=True)
        else:
            return


@contextlib.contextmanager
def speaking_to(client: Mapping[str, object], doing: str) -> Iterator[None]:
    """Put kafka-python's errors within the block into words: whose fault, and what mends it."""
    try:
        yield
    except EwmaError:
        raise
    except (kafka_errors.KafkaError, OSError, ValueError, TypeError, AssertionError) as error:
        raise in_words(error, client, doing) from error


def in_words(error: Exception, client: Mapping[str, object], doing: str) -> EwmaError:
    """Return the error to raise instead of one of kafka-python's."""
    servers = _servers(client)
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, _CREDENTIALS):
        user = client.get("sasl_plain_username")
        return ConfigError(
            f"the broker at {servers} refused user {user!r}: correct kafka.sasl_plain_username, "
            f"sasl_plain_password or sasl_mechanism ({what})"
        )
    if isinstance(error, kafka_errors.AuthorizationError):
        return ConfigError(
            f"{doing} at {servers} is not allowed: grant the user what it needs ({what})"
        )
    if isinstance(error, kafka_errors.InvalidTopicError):
        return ConfigError(
            f"{doing}: not a topic name: use up to 249 of A-Z a-z 0-9 . _ - ({what})"
        )
    if isinstance(error, _UNREACHABLE):
        protocol = client.get("security_protocol", "PLAINTEXT")
        return BrokerError(
            f"{doing}: no Kafka broker answered at {servers} in time: start it, or correct "
            f"kafka.bootstrap_servers or kafka.security_protocol (now {protocol}) ({what})"
        )
    if isinstance(error, _MISUSE):
        return ConfigError(f"{doing} at {servers}: kafka-python cannot use this: {what}")
    return BrokerError(f"{doing} at {servers} failed: {what}")


_CREDENTIALS = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)
_UNREACHABLE = (
    kafka_errors.KafkaTimeoutError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.MetadataEmptyBrokerList,
    OSError,
)
_MISUSE = (kafka_errors.KafkaConfigurationError, ValueError, TypeError, AssertionError)


def _connect(
    factory: Callable[..., Any],
    client: Mapping[str, object],
    role: str,
    defaults: Mapping[str, object],
) -> Any:
    options = _options(client, factory, role, defaults)
    made: list[Any] = []

    def kafka_client(**settings: Any) -> Any:
        made.append(_net_client(settings))
        return made[-1]

    with speaking_to(client, "connecting"):
        try:
            return factory(**options, kafka_client=kafka_client)
        except BaseException:
            for started in made:  # kafka-python leaves its thread and its sockets behind
                started.close()
            raise


def _net_client(settings: Mapping[str, Any]) -> Any:
    """Return kafka-python's network client, three faults of its release 3.0.12 mended."""
    net_client = KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**settings)
    manager = net_client._manager
    build_transport, connect = manager._build_transport, manager._connect

    async def hear_the_last_word(*arguments: Any, **named: Any) -> Any:
        # What comes together with the end of a connection, as a refusal does, is thrown away.
        transport = await build_transport(*arguments, **named)
        receive = transport._sock_recv

        def sock_recv() -> tuple[bytes, Exception | None]:
            data, error = receive()
            return data, None if data else error

        transport._sock_recv = sock_recv
        return transport

    async def remember_a_refusal(node: Any, connection: Any, **named: Any) -> None:
        # A refused password is forgotten at once, and tried until the time-out.
        await connect(node, connection, **named)
        if isinstance(connection.init_future.exception, _CREDENTIALS):
            manager._auth_failures[node.node_id] = connection.init_future.exception

    manager._build_transport = hear_the_last_word
    manager._connect = remember_a_refusal
    # The option of this name does not reach the requests.
    manager.cluster.config["allow_auto_create_topics"] = False
    return net_client


def _options(
    client: Mapping[str, object],
    factory: Callable[..., Any],
    role: str,
    defaults: Mapping[str, object],
) -> dict[str, object]:
    """Return what of ``client`` and of our own this kind of client takes."""
    _check(client)
    known = factory.DEFAULT_CONFIG  # type: ignore[attr-defined]  # each of the three has it
    name = f"{client.get('client_id', 'ewma_ops')}-{role}"
    merged = {**_EVERY, **defaults, **client, **_OURS.get(role, {}), "client_id": name}
    api_version = merged.get("api_version")
    if isinstance(api_version, list):  # TOML has no tuples
        merged["api_version"] = tuple(api_version)
    return {option: value for option, value in merged.items() if option in known}


def _check(client: Mapping[str, object]) -> None:
    known = {
        option
        for factory in (KafkaConsumer, KafkaProducer, KafkaAdminClient)
        for option in factory.DEFAULT_CONFIG
    }
    for option in client:
        if option in _OWNED:
            raise ConfigError(f"kafka.{option} cannot be set: {_OWNED[option]}; remove it")
        if option not in known:
            near = difflib.get_close_matches(option, known - _OWNED.keys(), 1)
            raise ConfigError(
                f"kafka.{option} is not an option of kafka-python"
                + (f": did you mean {near[0]}?" if near else ": remove it")
            )
    if not client.get("bootstrap_servers"):
        raise ConfigError('kafka.bootstrap_servers is missing: for example "127.0.0.1:9092"')


def _no_such_topic(client: Mapping[str, object], topic: str, topics: Sequence[str]) -> BrokerError:
    servers = _servers(client)
    near = difflib.get_close_matches(topic, topics, 1)
    return BrokerError(
        f"topic {topic!r} does not exist at {servers}"
        + (f" (did you mean {near[0]!r}?)" if near else "")
        + f": create it, for example with kafka-topics.sh --bootstrap-server {servers} "
        f"--create --topic {topic} --partitions 4"
    )


def _servers(client: Mapping[str, object]) -> str:
    servers = client.get("bootstrap_servers", "")
    return servers if isinstance(servers, str) else ",".join(map(str, servers))  # type: ignore[call-overload]  # any sequence
