"""Polls and sends records with kafka-python: in whole batches, or else one by one.

May touch kafka-python's inside; must not know connections, or what is in a record. Batches need
`runs_in` and `runs_out`, which reach deep into kafka-python. If an upgrade has moved what they rely
on, records go through its public interface: the same records, many times slower.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import kafka
import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors

from ewma_ops.wire.batch import Columns
from ewma_ops.wire.records import ProducerRecords

__all__ = [
    "answers_shortly",
    "forget_watermarks",
    "poll",
    "poll_records",
    "send",
    "serve",
    "take_runs",
    "wake",
]

_log = logging.getLogger(__name__)

_RECORD_OVERHEAD = 96
"""Most bytes of a batch's header and a record's fields."""

_LONGEST_WAIT_MS = 500
"""How long a broker may wait for records, if it waits longer than it was asked to."""

_in_runs: WeakSet[KafkaConsumer | KafkaProducer] = WeakSet()
_often: WeakKeyDictionary[KafkaConsumer, Any] = WeakKeyDictionary()
"""What polls each consumer that is polled often."""
_sendings: WeakKeyDictionary[KafkaProducer, Any] = WeakKeyDictionary()
"""What serves each producer that sends whole runs."""


def take_runs(client: KafkaConsumer | KafkaProducer) -> None:
    """Make records go through a client in whole batches, if its internals allow it."""
    why = _incompatibilities(client)
    if why:
        _log.warning(
            "records go through kafka-python %s one by one, which is many times slower: %s; "
            "install the release that the lock file names",
            kafka.__version__,
            "; ".join(why),
        )
        return
    if isinstance(client, KafkaConsumer):
        from ewma_ops.connectors.client import polling, runs_in

        runs_in.read_runs(client)
        _often[client] = polling.Polling(client)
    else:
        from ewma_ops.connectors.client import sending

        _sendings[client] = sending.Sending(client)
    _in_runs.add(client)


def _incompatibilities(client: KafkaConsumer | KafkaProducer) -> list[str]:
    try:
        from ewma_ops.connectors.client import polling, runs_in, runs_out, sending
    except (ImportError, AttributeError) as moved:  # a module or class that no longer exists
        return [str(moved)]
    return (
        runs_in.incompatibilities() + polling.incompatibilities()
        if isinstance(client, KafkaConsumer)
        else runs_out.incompatibilities(client) + sending.incompatibilities()
    )


def poll(consumer: KafkaConsumer, timeout_ms: int) -> dict[TopicPartition, list[Columns]]:
    """Return what was fetched, as columns: a few runs of each partition, in order."""
    return {
        tp: [run for of, items in groupby(fetched, type) for run in _runs(of, items)]
        for tp, fetched in poll_records(consumer, timeout_ms).items()
    }


def answers_shortly(consumer: KafkaConsumer) -> bool:
    """Return whether the client has a short poll, which does no more than is needed."""
    polling = _often.get(consumer)
    return polling is not None and polling.is_connected()


def forget_watermarks(consumer: KafkaConsumer, tps: Iterable[TopicPartition]) -> None:
    """Make ``highwater`` None for assigned partitions until a poll takes a fetch of them."""
    for tp in tps:
        consumer._subscription.assignment[tp].highwater = None


def poll_records(
    consumer: KafkaConsumer, timeout_ms: int, *, at_end: bool = False
) -> dict[TopicPartition, list[Any]]:
    """Return what was fetched, in the consumer's form.

    A broker that is slow gets longer the next time: some answer with nothing when the wait is over,
    and would do so forever. Not ``at_end``, where nothing is expected.
    """
    polling = _often.get(consumer)
    polled: dict[TopicPartition, list[Any]] = (
        consumer.poll(timeout_ms=timeout_ms) if polling is None else polling.poll(timeout_ms)
    )
    asked_ms: int = consumer.config["fetch_max_wait_ms"]
    ruling = consumer._fetcher.config
    longer_ms = max(asked_ms, min(2 * ruling["fetch_max_wait_ms"], _LONGEST_WAIT_MS))
    ruling["fetch_max_wait_ms"] = asked_ms if polled or at_end else longer_ms
    return polled


def send(
    producer: KafkaProducer,
    topic: str,
    partition: int,
    records: ProducerRecords,
    timestamps_ms: Sequence[int] | None = None,
    *,
    wait_for_wake: bool = False,
) -> tuple[list[Any], int]:
    """Hand records to the producer; return kafka-python's futures, and about how many bytes.

    Each future covers the records after the previous one; the last is that of the last record. The
    list may grow, but not after all in it are done. With ``wait_for_wake`` they may be sent only
    when :func:`wake` is called. Records have the time of now, or ``timestamps_ms``, which is for
    few: they go one by one. Bypasses ``KafkaProducer.send``, which refuses some records that Kafka
    accepts (without key and value, or with a header without a value) and costs half as much again.
    So the producer must already know the topic.

    Raises
    ------
    kafka.errors.MessageSizeTooLargeError
        If a record is larger than ``max_request_size``.
    TypeError
        If a key, a value or a header has a type that Kafka does not take.
    ValueError
        If the columns differ in length.
    """
    tp = TopicPartition(topic, partition)
    transactions = producer._transaction_manager
    if transactions is not None and transactions.is_transactional():
        transactions.maybe_add_partition_to_transaction(tp)
    if producer in _in_runs and timestamps_ms is None:
        from ewma_ops.connectors.client import runs_out

        return runs_out.append(producer, tp, records, wake=not wait_for_wake)
    return _send_one_by_one(producer, tp, records, timestamps_ms)


def wake(producer: KafkaProducer) -> None:
    """Make a producer send its records, and take the answers as they come."""
    producer._sender.wakeup()


def serve(producer: KafkaProducer) -> bool:
    """Make a producer send its records, in this thread if little is written.

    Returns whether to call this again soon, because only this thread takes the answers.
    """
    sending = _sendings.get(producer)
    if sending is None:
        wake(producer)
        return False
    again: bool = sending.serve()
    return again


def _runs(of: type[Any], fetched: Iterable[Any]) -> list[Columns]:
    rows = list(fetched)
    if of is Columns:
        return rows
    times = [-1 if row.timestamp is None else row.timestamp for row in rows]
    headers = [row.headers for row in rows] if any(row.headers for row in rows) else None
    return [
        Columns(
            np.array([row.offset for row in rows], np.int64),
            np.array(times, np.int64),
            [row.key for row in rows],
            [row.value for row in rows],
            headers,
            rows[-1].offset + 1,
        )
    ]


def _send_one_by_one(
    producer: KafkaProducer,
    tp: TopicPartition,
    records: ProducerRecords,
    timestamps_ms: Sequence[int] | None = None,
) -> tuple[list[Any], int]:
    append = producer._accumulator.append
    limit = producer.config["max_request_size"]
    futures, total = [], 0
    times = repeat(None) if timestamps_ms is None else timestamps_ms
    for (key, value, headers), time_ms in zip(_rows(records), times, strict=False):
        size = _RECORD_OVERHEAD + len(key or b"") + len(value or b"")
        if headers is not _NO_HEADERS:
            size += sum(8 + len(name) + len(content or b"") for name, content in headers)
        if size > limit:
            raise kafka_errors.MessageSizeTooLargeError(f"the record has about {size} bytes")
        future, _, opened, _ = append(tp, time_ms, key, value, headers)
        if opened:  # the previous batch is full, or there was none: time to send
            producer._sender.wakeup()
        futures.append(future)
        total += size
    return futures, total


class _Headers(list[tuple[str, bytes | None]]):
    """Headers that kafka-python writes but does not measure: it fails to measure a null."""

    def __bool__(self) -> bool:
        return False


_NO_HEADERS = _Headers()


def _rows(
    records: ProducerRecords,
) -> Iterator[tuple[bytes | None, bytes | None, _Headers]]:
    headers: Iterable[_Headers] = (
        repeat(_NO_HEADERS, len(records))
        if records.headers is None
        else map(_Headers, records.headers)
    )
    return zip(records.keys, records.values, headers, strict=True)
