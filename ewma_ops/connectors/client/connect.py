"""Connections to Kafka: opening, closing, and their errors as ours.

May touch kafka-python's inside, as may `network`, `exchange`, `frames`, `polling`, `sending`,
`fencing`, `runs_in` and `runs_out`, and no other module; must not know what is read or written. Its
test lists the internals that it uses, and fails when an upgrade moves them.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kafka import (
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from ewma_ops.connectors.client.exchange import take_runs
from ewma_ops.connectors.client.network import (
    CREDENTIALS,
    BadCertificateError,
    net_client,
    token_provider,
)
from ewma_ops.connectors.client.oauth import provider_of
from ewma_ops.connectors.client.options import (
    CONSUMER,
    PRODUCER,
    READER,
    isolation_of,
    options_of,
    servers_of,
)
from ewma_ops.connectors.client.trouble import explain, patient, refusal
from ewma_ops.errors import BrokerError, ConfigError, EwmaError
from ewma_ops.secrets.masking import masked

__all__ = [
    "TopicView",
    "abort_transaction",
    "close_consumer",
    "close_producer",
    "commit_offsets",
    "commit_transaction",
    "connect_admin",
    "connect_consumer",
    "connect_follower",
    "connect_input_reader",
    "connect_producer",
    "connect_reader",
    "positions",
    "to_ewma_error",
    "topic_settings",
    "translating_errors",
    "view_of",
]

_log = logging.getLogger(__name__)

_ANSWER_TIMEOUT_S = 10.0
_PAUSE_S = 0.1
_NO_ID = "00000000-0000-0000-0000-000000000000"


class TopicView(NamedTuple):
    """A topic as brokers describe it; ``partitions`` is 0 if it is missing.

    ``topic_id`` distinguishes it from a later topic of the same name; None before Kafka 2.8.
    """

    topic_id: str | None
    partitions: int

    @classmethod
    def of(cls, topic_id: object, partitions: int) -> TopicView:
        """Return a view from an id of kafka-python, which may be a UUID or its text."""
        text = None if topic_id is None else str(topic_id)
        return cls(None if text == _NO_ID else text, partitions)


def connect_consumer(client: Mapping[str, object], group_id: str) -> KafkaConsumer:
    """Connect a consumer that neither commits nor resets offsets automatically.

    Parameters
    ----------
    client
        The ``[kafka]`` table: kafka-python's connection options by their own names.
    group_id
        The group that offsets are committed to; it is never joined.

    Raises
    ------
    ConfigError
        If an option is unknown, wrong, or not the user's to set, or the broker refuses the user.
    BrokerError
        If no broker answers in time.
    """
    consumer = _connect(KafkaConsumer, client, "consumer", {**CONSUMER, "group_id": group_id})
    _end_where_decided(consumer)
    _serve_by_caller(consumer)
    take_runs(consumer)
    return consumer


def connect_reader(client: Mapping[str, object], *, committed: bool = False) -> KafkaConsumer:
    """Connect a consumer without a group, to read a topic back.

    Parameters
    ----------
    client
        As for :func:`connect_consumer`, with the same errors.
    committed
        Whether to leave out what transactions have not committed.
    """
    isolation_level = "read_committed" if committed else "read_uncommitted"
    own = {**client, **READER, "isolation_level": isolation_level}
    return _connect(KafkaConsumer, own, "consumer", {"group_id": None})


def connect_follower(
    client: Mapping[str, object], *, committed: bool = False, fetch_bytes: int = 512 << 10
) -> KafkaConsumer:
    """Connect a reader as :func:`connect_reader` does, for topics that keep growing.

    Its records come in whole runs; at the end of a topic the broker waits until something comes,
    unless ``client`` sets ``fetch_max_wait_ms``. A fetch brings about ``fetch_bytes``, several
    times which are held at once.
    """
    isolation_level = "read_committed" if committed else "read_uncommitted"
    room = {
        "max_poll_records": 10_000,
        "fetch_max_bytes": fetch_bytes,
        "max_partition_fetch_bytes": fetch_bytes,
    }
    own = {**client, **room, "isolation_level": isolation_level}
    defaults = {"group_id": None, "fetch_max_wait_ms": 250}
    consumer: KafkaConsumer = _connect(KafkaConsumer, own, "consumer", defaults)
    _serve_by_caller(consumer)
    take_runs(consumer)
    return consumer


def connect_producer(
    client: Mapping[str, object],
    transactional_id: str | None = None,
    transaction_timeout_ms: int = 60_000,
) -> KafkaProducer:
    """Connect an idempotent producer; errors as of :func:`connect_consumer`.

    With a ``transactional_id``, the former producer is fenced off and its open transaction is
    aborted when this returns.
    """
    if transactional_id is None:
        producer = _connect(KafkaProducer, client, "producer", PRODUCER)
        take_runs(producer)
        return producer
    transactions: dict[str, object] = {
        "transactional_id": transactional_id,
        "transaction_timeout_ms": transaction_timeout_ms,
        "retry_backoff_ms": 10,  # initialising waits for several answers in turn
    }
    producer = _connect(KafkaProducer, client, "producer", {**PRODUCER, **transactions})
    try:
        with translating_errors(client, f"taking over transactional id {transactional_id!r}"):
            producer.init_transactions()
    except BaseException:
        close_producer(producer, 1.0, abandon=True)
        raise
    take_runs(producer)
    return producer


def commit_transaction(producer: KafkaProducer, timeout_s: float) -> None:
    """Commit; unlike ``KafkaProducer.commit_transaction`` this returns even if no broker answers.

    It also succeeds when a record of the transaction is lost: check every future before.

    Raises
    ------
    kafka.errors.KafkaError
        If the transaction failed, or its result is not known in time.
    """
    _end_transaction(producer, producer._transaction_manager.begin_commit(), timeout_s)


def abort_transaction(producer: KafkaProducer, timeout_s: float) -> None:
    """Abort; errors as of :func:`commit_transaction`."""
    _end_transaction(producer, producer._transaction_manager.begin_abort(), timeout_s)


def _end_transaction(producer: KafkaProducer, result: Any, timeout_s: float) -> None:
    producer._sender.wakeup()
    if not result.wait(timeout_ms=timeout_s * 1000):
        raise kafka_errors.KafkaTimeoutError(
            f"no answer to the end of a transaction within {timeout_s:g} s"
        )


def connect_input_reader(client: Mapping[str, object]) -> KafkaConsumer:
    """Connect a consumer without a group that reads what a source reads with these options.

    Its records come in whole runs. Errors as for :func:`connect_consumer`.
    """
    reader = connect_reader(client, committed=isolation_of(client) == "read_committed")
    _end_where_decided(reader)
    _serve_by_caller(reader)
    take_runs(reader)
    return reader


def _end_where_decided(consumer: KafkaConsumer) -> None:
    """Make ``highwater`` end before the first open transaction, if that hides what follows.

    Nothing is readable from there on, neither for a bounded source nor as a lag.
    """
    if consumer.config["isolation_level"] != "read_committed":
        return
    fetcher = consumer._fetcher
    parse = fetcher._parse_fetched_data

    def parse_decided(fetch: Any) -> Any:
        partition = fetch.partition_data
        stable = partition.last_stable_offset
        if stable is not None and 0 <= stable < partition.high_watermark:
            partition.high_watermark = stable
        return parse(fetch)

    fetcher._parse_fetched_data = parse_decided


@contextlib.contextmanager
def connect_admin(client: Mapping[str, object]) -> Iterator[KafkaAdminClient]:
    """Connect an admin client for a ``with`` block; errors as of :func:`connect_consumer`."""
    admin = _connect(KafkaAdminClient, client, "admin", {})
    _ask_another_broker(admin._manager)
    try:
        yield admin
    finally:
        admin.close()


def _ask_another_broker(manager: Any) -> None:
    """Repeat a request whose broker cannot be reached: another one may answer it.

    kafka-python asks any broker, even one that has just died, and does not retry.
    """
    run = manager.run

    def run_patiently(ask: Any, *arguments: Any, **options: Any) -> Any:
        until = time.monotonic() + _ANSWER_TIMEOUT_S
        while True:
            try:
                return run(ask, *arguments, **options)
            except (kafka_errors.KafkaConnectionError, kafka_errors.NodeNotReadyError):
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)

    manager.run = run_patiently


def topic_settings(admin: KafkaAdminClient, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the settings of topics that a broker lists; some list only those that were set.

    Unlike ``KafkaAdminClient.describe_configs`` this raises where the user may not ask.
    """
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    request = admin._describe_configs_request(resources)
    settings = {}
    for result in admin._manager.run(admin._manager.send, request).results:
        error = kafka_errors.for_code(result.error_code)
        if error is kafka_errors.UnknownTopicOrPartitionError:
            continue
        if error is not kafka_errors.NoError:
            raise error(result.error_message)
        settings[result.resource_name] = {entry.name: entry.value for entry in result.configs}
    return settings


def commit_offsets(
    client: Mapping[str, object], group_id: str, offsets: Mapping[TopicPartition, int]
) -> None:
    """Commit an offset for each partition in ``offsets`` and wait for it; errors as above."""
    if not offsets:
        return
    consumer = connect_consumer(client, group_id)
    commits = {tp: OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()}
    try:
        with translating_errors(client, f"committing offsets to group {group_id!r}"):
            consumer.commit(commits, timeout_ms=int(_ANSWER_TIMEOUT_S * 1000))
    finally:
        close_consumer(consumer, _ANSWER_TIMEOUT_S)


def positions(consumer: KafkaConsumer) -> dict[TopicPartition, int]:
    """Return the offset each assigned partition will be read from next.

    ``KafkaConsumer.position`` visits every partition for each one that it is asked of.
    """
    return {
        partition: state._position.offset
        for partition, state in consumer._subscription.assignment.items()
        if state._position is not None
    }


def _serve_by_caller(consumer: KafkaConsumer) -> None:
    """Let the thread that polls serve the sockets, so that it waits for no other thread."""
    consumer._net.stop()
    consumer._net.wakeup = lambda: None  # the thread that asks for something serves it too


def view_of(client: KafkaConsumer | KafkaProducer, topic: str) -> TopicView:
    """Return what the client knows of a topic, without asking the broker."""
    cluster = client._cluster if isinstance(client, KafkaConsumer) else client._metadata
    return TopicView.of(cluster.topic_id(topic), len(cluster.partitions_for_topic(topic) or ()))


def close_consumer(consumer: KafkaConsumer, timeout_s: float) -> None:
    """Close a consumer within about ``timeout_s``; never raises."""
    try:
        consumer.close(autocommit=False, timeout_ms=int(timeout_s * 1000))
    except Exception:  # noqa: BLE001 - whatever it is, the flow has ended
        _log.warning("closing a Kafka consumer failed", exc_info=True)


def close_producer(producer: KafkaProducer, timeout_s: float, *, abandon: bool = False) -> None:
    """Close a producer within about ``timeout_s``; never raises.

    Nothing is sent afterwards, and with ``abandon`` nothing from now on: ``KafkaProducer.close``
    alone would leave its thread working after a failure.
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
def translating_errors(client: Mapping[str, object], doing: str) -> Iterator[None]:
    """Translate kafka-python's errors within the block: whose fault, and the fix."""
    try:
        yield
    except EwmaError:
        raise
    except (kafka_errors.KafkaError, OSError, ValueError, TypeError, AssertionError) as error:
        raise to_ewma_error(error, client, doing) from error


def to_ewma_error(error: Exception, client: Mapping[str, object], doing: str) -> EwmaError:
    """Return the error to raise instead of one of kafka-python's."""
    servers = servers_of(client)
    what = masked(f"{type(error).__name__}: {error}")
    if isinstance(error, CREDENTIALS):
        return refusal(error, client, final=not patient(client, error))
    if isinstance(error, BadCertificateError):
        return ConfigError(
            f"the certificate of the broker at {servers} is not trusted: set kafka.ssl_cafile to "
            f"the file of its authority, and connect by a name that it is made out to ({what})"
        )
    if isinstance(error, kafka_errors.AuthorizationError):
        return ConfigError(
            f"{doing} at {servers} is not allowed: grant the user the permission ({what})"
        )
    if isinstance(error, kafka_errors.InvalidTopicError):
        return ConfigError(
            f"{doing}: not a topic name: use up to 249 of A-Z a-z 0-9 . _ - ({what})"
        )
    if isinstance(error, _UNREACHABLE):
        if (explained := explain(client, doing)) is not None:
            return explained
        protocol = client.get("security_protocol", "PLAINTEXT")
        return BrokerError(
            f"{doing}: no Kafka broker answered at {servers} in time: start it, or correct "
            f"kafka.bootstrap_servers or kafka.security_protocol (now {protocol}) ({what})"
        )
    if isinstance(error, _MISUSE):
        return ConfigError(f"{doing} at {servers}: kafka-python cannot use this: {what}")
    return BrokerError(f"{doing} at {servers} failed: {what}")


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
    options = options_of(client, factory, role, defaults)
    if (provider := provider_of(client)) is not None:
        options["sasl_oauth_token_provider"] = token_provider(*provider)
    made: list[Any] = []

    def kafka_client(**settings: Any) -> Any:
        made.append(net_client(settings))
        return made[-1]

    with translating_errors(client, "connecting"):
        try:
            return factory(**options, kafka_client=kafka_client)
        except BaseException:
            for started in made:  # kafka-python leaves its thread and its sockets behind
                started.close()
            raise
