"""One producer and its unacknowledged records, for the parts of one worker.

Knows the producer's futures and transactions; must not know Bytewax, nor what is in a record.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from kafka import errors as kafka_errors

from ewma_ops.connectors.client import turns
from ewma_ops.connectors.client.connect import (
    TopicView,
    abort_transaction,
    close_producer,
    commit_transaction,
    connect_producer,
    translating_errors,
    view_of,
)
from ewma_ops.connectors.client.exchange import send, serve, wake
from ewma_ops.connectors.client.fencing import Fence, stand_behind
from ewma_ops.connectors.client.options import PRODUCER
from ewma_ops.connectors.client.topics import TopicWatch
from ewma_ops.errors import BrokerError, DeliveryError, RefusedError
from ewma_ops.metrics.families import acknowledged
from ewma_ops.wire.records import ProducerRecords

__all__ = ["Producer"]

_log = logging.getLogger(__name__)

_IN_FLIGHT_FUTURES = 16_384
"""Kept small: a future is some ten objects that the garbage collector visits."""
_IN_FLIGHT_BYTES = 16 << 20
_MANY_RECORDS = 1_000
"""From this size on, records are sent while the worker writes to other partitions."""
_PATIENCE_S = 10.0
"""How long to wait beyond kafka-python's own delivery time-out, should that fail to fire."""
_CLOSE_S = 10.0
_FENCED = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
)


_REFUSALS: dict[type[Exception] | tuple[type[Exception], ...], str] = {
    (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError): (
        "raise max.message.bytes of topic {topic!r}"
    ),
    kafka_errors.InvalidRecordError: (
        "a topic with cleanup.policy=compact takes no record without a key, so set "
        "cleanup.policy=delete for topic {topic!r}, or write to another topic"
    ),
    kafka_errors.InvalidTimestampError: (
        "set message.timestamp.before.max.ms and message.timestamp.after.max.ms of topic "
        "{topic!r} to their defaults, and correct this machine's clock"
    ),
    kafka_errors.AuthorizationError: (
        "grant the user Write on topic {topic!r}, and IdempotentWrite where brokers want it"
    ),
    kafka_errors.PolicyViolationError: (
        "ask the operators of the brokers for their policy for topic {topic!r}"
    ),
    (kafka_errors.UnsupportedForMessageFormatError, kafka_errors.UnsupportedCompressionTypeError): (
        "remove message.format.version from topic {topic!r}, or set another "
        "kafka.compression_type (now {compression_type})"
    ),
    kafka_errors.InvalidTopicError: "write to a topic with a valid name, not {topic!r}",
}
"""Errors for which a broker always refuses a record, and the fix of each."""


class _Sent(NamedTuple):
    futures: list[Any]
    n_futures: int  # at first: splitting a batch adds some
    partition: int
    size: int


class Producer:
    """Write to some partitions of a topic with one producer.

    ``ends`` holds, for each partition, the offset after the last acknowledged record, and
    ``partitions`` the ones that use the outlet: the last to release it closes it.

    Parameters
    ----------
    client, topic
        As for the sink.
    view
        The topic as brokers described it when the flow started.
    transactional_id
        Makes everything between two calls of :meth:`wait_for_acks` one transaction.
    transaction_s
        Seconds after which the brokers abort a transaction that is not committed.
    fence
        The fence that all producers of a run write with, without transactions; None for none.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str,
        view: TopicView,
        *,
        transactional_id: str | None = None,
        transaction_s: float = 60.0,
        fence: Fence | None = None,
    ) -> None:
        self.partitions: set[int] = set()
        self.ends: dict[int, int] = {}
        self.closed = False
        self.topic = topic
        self._topic_watch = TopicWatch(topic, view, written=True)
        self._sent: deque[_Sent] = deque()
        self._futures = self._bytes = 0
        self._failure: BrokerError | None = None
        self._raised = False
        self._transactional = transactional_id is not None
        self._in_transaction = self._measured = False
        self._kafka = connect_producer(client, transactional_id, int(transaction_s * 1000))
        if fence is not None:
            stand_behind(self._kafka, fence)
        self._options: dict[str, Any] = self._kafka.config
        # A user's longer linger time is kept.
        self._gathers = self._options["linger_ms"] <= PRODUCER["linger_ms"]
        self._patience_s = self._options["delivery_timeout_ms"] / 1000 + _PATIENCE_S
        with translating_errors(client, f"looking up topic {topic!r}"):
            self._kafka.partitions_for(topic)

    def write(self, partition: int, records: ProducerRecords) -> None:
        """Hand records to the producer; wait while too much is unacknowledged."""
        self._raise_failure()
        if not len(records):
            return
        try:
            if self._transactional and not self._in_transaction:
                self._kafka.begin_transaction()
                self._in_transaction = True
            few = self._gathers and len(records) < _MANY_RECORDS
            later = few and turns.at_end(self._serve)
            futures, size = send(self._kafka, self.topic, partition, records, wait_for_wake=later)
        except (kafka_errors.KafkaError, ValueError, TypeError) as error:
            raise self._fail(partition, error, sent=False) from error
        futures[-1].add_errback(partial(self._note, partition))
        if records.appended_ms is not None:
            self._measured = True  # when its acknowledgement is overdue
            futures[-1].add_callback(partial(acknowledged, records.appended_ms))
        self._sent.append(_Sent(futures, len(futures), partition, size))
        self._futures += len(futures)
        self._bytes += size
        self._wait_down_to(_IN_FLIGHT_FUTURES, _IN_FLIGHT_BYTES)

    def _serve(self) -> None:
        if serve(self._kafka):
            turns.at_next_end(self._serve, soon=self._measured)

    def true_end(self, partition: int) -> int:
        """Return where a partition ends, by writing a record there that nobody sees.

        Brokers may list too low an end, and fetch as if it were. But once they acknowledge a
        record, everything before it can be read, or soon can; and with a transactional id nothing
        of an older run can follow it. Its transaction is then aborted.
        """
        try:
            self._kafka.begin_transaction()
            (mark,), _ = send(self._kafka, self.topic, partition, ProducerRecords([None], [None]))
            offset = mark.get(timeout=self._patience_s).offset
            abort_transaction(self._kafka, self._patience_s)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise self._fail(partition, error, sent=True) from error
        return int(offset)

    def wait_for_acks(self) -> None:
        """Wait until everything is acknowledged, and committed if asked, or raise."""
        self._wait_down_to(0, 0)
        if self._in_transaction:
            (partition,) = self.partitions
            try:
                commit_transaction(self._kafka, self._patience_s)
            except kafka_errors.KafkaError as error:
                raise self._fail(partition, error, sent=True) from error
            self._in_transaction = False
        self._topic_watch.look(view_of(self._kafka, self.topic), time.monotonic())

    def reached(self, partition: int, end: int) -> None:
        """Record that a partition reaches ``end`` at least: what is written comes after it."""
        self.ends[partition] = max(end, self.ends.get(partition, 0))

    def release(self, partition: int) -> None:
        """Leave the outlet; the last one closes it."""
        self.partitions.discard(partition)
        if not self.partitions:
            self.close()

    def close(self) -> None:
        """Wait briefly for unacknowledged records; never raises."""
        if self.closed:
            return
        self.closed = True
        self._patience_s = _CLOSE_S
        try:
            # Only a snapshot may commit a transaction; and the errors were reported.
            if not self._in_transaction and not self._raised:
                self.wait_for_acks()
        except Exception as error:  # noqa: BLE001 - a raise in close aborts the process
            _log.error("closing the sink of topic %r: %s", self.topic, error)
            if self._failure is not None:
                self._failure.logged = True
        abandon = self._failure is not None or self._in_transaction
        close_producer(self._kafka, _CLOSE_S, abandon=abandon)

    def _wait_down_to(self, futures: int, size: int) -> None:
        deadline = time.monotonic() + self._patience_s
        if self._futures > futures or self._bytes > size:
            turns.end()
            wake(self._kafka)
        while self._futures > futures or self._bytes > size:
            self._wait_for_oldest(deadline)
        while self._sent and self._sent[0].futures[-1].is_done:
            self._wait_for_oldest(deadline)
        self._raise_failure()

    def _wait_for_oldest(self, deadline: float) -> None:
        self._raise_failure()
        oldest = self._sent[0]
        for future in oldest.futures:
            try:
                if not future.is_done:
                    future.get(timeout=max(0.0, deadline - time.monotonic()))
                if future.exception is not None:
                    raise future.exception
            except Exception as error:
                raise self._fail(oldest.partition, error, sent=True) from error
        # -1 if the broker does not say; a split batch has put others after the last.
        offsets = [future.value.offset for future in oldest.futures]
        if 0 <= min(offsets) < self.ends.get(oldest.partition, 0):
            # Before earlier records: the topic was replaced, and the client may not know yet.
            self._failure = self._topic_watch.replaced()
            self._raise_failure()
        self.reached(oldest.partition, max(offsets) + 1)
        self._sent.popleft()
        self._futures -= oldest.n_futures
        self._bytes -= oldest.size

    def _note(self, partition: int, error: Exception) -> None:
        # Called by the producer's thread. The first failure causes those that follow.
        if self._failure is None:
            self._failure = self._worded(partition, error, sent=True)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._raised = True
            raise self._failure

    def _fail(self, partition: int, error: Exception, *, sent: bool) -> BrokerError:
        if self._failure is None:
            self._failure = self._worded(partition, error, sent=sent)
        self._raised = True
        return self._failure

    def _worded(self, partition: int, error: Exception, *, sent: bool) -> DeliveryError:
        what = (
            f"a record was not delivered to partition {partition} of topic {self.topic!r}: "
            f"{type(error).__name__}: {error}"
        )
        refusal = next((fix for kinds, fix in _REFUSALS.items() if isinstance(error, kinds)), None)
        if refusal is not None:
            if not sent:
                refusal = "raise kafka.max_request_size (now {max_request_size} bytes)"
            fix = refusal.format(topic=self.topic, **self._options)
            return RefusedError(
                f"{what}. The broker will not accept it later either: {fix}, then start the flow "
                "again, which continues with this record"
            )
        if isinstance(error, _FENCED):
            fix = "another run of this job has taken over: let only one run at a time"
        elif isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
            fix = "if the topic was deleted, create it and start with a new recovery directory"
        elif isinstance(error, kafka_errors.RetriableError):
            fix = (
                "bring the brokers back, or raise kafka.delivery_timeout_ms "
                f"(now {self._options['delivery_timeout_ms']})"
            )
        else:
            fix = "see the broker's log" if sent else "it cannot be sent in this form"
        return DeliveryError(f"{what}; {fix}. The flow stops, and writes it again when restarted")
