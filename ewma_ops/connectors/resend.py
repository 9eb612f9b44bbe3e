"""Sends records of one topic to another, with a note on the first, in one transaction.

Knows Kafka and transactions; must not know what is in a record. A producer that takes over a
transactional id fences off the former one, whose open transaction is aborted. So the notes are
complete, and nothing is sent twice.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from kafka import TopicPartition

from ewma_ops.connectors.client.connect import (
    abort_transaction,
    close_consumer,
    close_producer,
    commit_transaction,
    connect_producer,
    connect_reader,
    positions,
    translating_errors,
)
from ewma_ops.connectors.client.exchange import poll_records, send
from ewma_ops.connectors.client.topics import partition_count
from ewma_ops.errors import BrokerError
from ewma_ops.wire.records import ProducerRecords

__all__ = ["Resender", "Timed", "read_topic"]

_POLL_MS = 100
_LOOK_UP_MS = 10_000
_IDLE_POLLS = 5
_WAIT_S = 60.0
_CLOSE_S = 5.0


class Timed(NamedTuple):
    """A record for a partition of a topic, with its timestamp in milliseconds; ``None`` for now."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int | None = None


def read_topic(
    client: Mapping[str, object], topic: str, ends: Mapping[int, int] | None = None
) -> Iterator[Any]:
    """Yield all committed records of a topic, as kafka-python's objects.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    topic
        The topic; it must exist.
    ends
        The offset up to which each partition is read; ``None`` for its end now, as brokers list it.

    Raises
    ------
    BrokerError
        If no broker answers, there is no such topic, or an end is not reached within a minute, for
        example because of an open transaction.
    """
    tps = [TopicPartition(topic, p) for p in range(partition_count(client, topic))]
    consumer = connect_reader(client, committed=True)
    try:
        with translating_errors(client, f"reading topic {topic!r}"):
            consumer.assign(tps)
            listed = consumer.end_offsets(tps, _LOOK_UP_MS)
            wanted = {tp: listed[tp] if ends is None else ends[tp.partition] for tp in tps}
            for tp, begin in consumer.beginning_offsets(tps, _LOOK_UP_MS).items():
                consumer.seek(tp, begin)
        deadline, idle = time.monotonic() + _WAIT_S, 0
        while idle < _IDLE_POLLS:
            with translating_errors(client, f"reading topic {topic!r}"):
                polled = poll_records(consumer, _POLL_MS)
                reached = positions(consumer)
            for records in polled.values():
                yield from records
            if polled:
                deadline, idle = time.monotonic() + _WAIT_S, 0
            elif all(reached[tp] >= wanted[tp] for tp in tps):
                idle += 1
            elif time.monotonic() > deadline:
                raise BrokerError(
                    f"topic {topic!r} cannot be read to its end within {_WAIT_S:g} s: wait until "
                    "the transactions on it have ended, and try again"
                )
    finally:
        close_consumer(consumer, _CLOSE_S)


class Resender:
    """Send records to topics, each batch atomically with notes on another topic.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    targets, notes
        The topics of the records, and of the notes.
    name
        The transactional id: of two runs at the same time only one can commit.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers, or the user may not write transactions.
    """

    def __init__(
        self, client: Mapping[str, object], targets: Collection[str], notes: str, name: str
    ) -> None:
        self._client, self._targets, self._notes = client, targets, notes
        self._producer = connect_producer(client, name)
        self._patience_s = self._producer.config["delivery_timeout_ms"] / 1000
        self._open = False
        for topic in (*targets, notes):
            with translating_errors(client, f"looking up topic {topic!r}"):
                self._producer.partitions_for(topic)

    def __enter__(self) -> Resender:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        close_producer(self._producer, _CLOSE_S, abandon=self._open)

    def ends(self) -> dict[int, int]:
        """Return where each partition of the notes' topic ends.

        Writes a record there and aborts it, because some brokers list too low an end.
        """
        found = {}
        with self._translated(self._notes):
            for partition in range(partition_count(self._client, self._notes)):
                self._producer.begin_transaction()
                self._open = True
                nothing = ProducerRecords([None], [None])
                (mark,), _ = send(self._producer, self._notes, partition, nothing)
                found[partition] = int(mark.get(timeout=self._patience_s).offset)
                abort_transaction(self._producer, self._patience_s)
                self._open = False
        return found

    def send(self, records: Sequence[Timed], notes: Sequence[Timed]) -> None:
        """Send records and the notes on them in one transaction.

        Raises
        ------
        BrokerError
            If they were not sent; or, where no broker answered in time, may not have been.
        """
        with self._translated(" and ".join(self._targets)):
            self._producer.begin_transaction()
            self._open = True
            futures = [self._append(record) for record in (*records, *notes)]
            for future in futures:
                future.get(timeout=self._patience_s)
            commit_transaction(self._producer, self._patience_s)
            self._open = False

    def _append(self, record: Timed) -> Any:
        made = ProducerRecords([record.key], [record.value], [list(record.headers)])
        times = None if record.timestamp_ms is None else [record.timestamp_ms]
        futures, _ = send(self._producer, record.topic, record.partition, made, times)
        return futures[-1]

    def _translated(self, topic: str) -> Any:
        return translating_errors(self._client, f"writing to topic {topic!r}")
