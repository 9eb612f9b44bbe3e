"""A Kafka topic as a Bytewax sink: every record acknowledged, or the flow stops.

Knows Bytewax's parts and the producer's futures; must not know what is in a record, nor which
partition a key belongs to: that is settled before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from kafka import errors as kafka_errors

from ewma_ops.connectors.client import (
    close_producer,
    connect_producer,
    partition_count,
    speaking_to,
    view_of,
)
from ewma_ops.connectors.exchange import send
from ewma_ops.connectors.parts import part_key
from ewma_ops.errors import DeliveryError
from ewma_ops.wire.records import ProducerRecords

__all__ = ["KafkaSink"]

_log = logging.getLogger(__name__)

_IN_FLIGHT_FUTURES = 16_384
"""Kept small: a future is some ten objects that the garbage collector visits."""
_IN_FLIGHT_BYTES = 16 << 20
_PATIENCE_S = 10.0
"""What is waited beyond kafka-python's own delivery time-out, should that fail to fire."""
_CLOSE_S = 10.0


class KafkaSink(FixedPartitionedSink[ProducerRecords, None]):
    """Write to a topic, one part per Kafka partition, at least once.

    Items are ``(part_key(partition), ProducerRecords)``. A record that Kafka does not
    acknowledge stops the flow: at the next write, or at the latest when the epoch closes, which
    waits for every acknowledgement. Each worker writes with one producer.

    Parameters
    ----------
    client
        The ``[kafka]`` table: kafka-python's connection options by their own names.
        ``delivery_timeout_ms`` (120,000) is how long brokers may be away.
    topic
        The topic; it must exist.

    Raises
    ------
    ConfigError
        If an option is wrong or the broker refuses the user.
    BrokerError
        If no broker answers, or there is no such topic.
    DeliveryError
        From the parts: a record was not acknowledged.

    Examples
    --------
    >>> KafkaSink({"bootstrap_servers": "127.0.0.1:9092"}, "smoothed")
    KafkaSink('smoothed')
    """

    def __init__(self, client: Mapping[str, object], topic: str) -> None:
        self._client = dict(client)
        self._topic = topic
        self._partitions: int | None = None
        self._outlets: dict[int, _Outlet] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._topic!r})"

    @property
    def partitions(self) -> int:
        """How many partitions the topic had when it was first looked up: route with this."""
        if self._partitions is None:
            self._partitions = partition_count(self._client, self._topic)
        return self._partitions

    def list_parts(self) -> list[str]:
        """Return a part name for each partition."""
        return [part_key(partition) for partition in range(self.partitions)]

    def part_fn(self, item_key: str) -> int:
        """Return the partition that a part name stands for."""
        return int(item_key)

    def build_part(
        self,
        step_id: str,  # noqa: ARG002 - Bytewax's signature
        for_part: str,
        resume_state: None,  # noqa: ARG002
    ) -> _Part:
        """Begin to write to a partition."""
        partition = int(for_part)
        # One outlet for each worker: the worker's thread calls. A part that is there already is
        # left from an execution that was aborted.
        thread = threading.get_ident()
        outlet = self._outlets.get(thread)
        if outlet is not None and partition in outlet.partitions:
            outlet.close()
        if outlet is None or outlet.closed:
            outlet = self._outlets[thread] = _Outlet(self._client, self._topic, self.partitions)
        outlet.partitions.add(partition)
        return _Part(outlet, partition)


class _Part(StatefulSinkPartition[ProducerRecords, None]):
    def __init__(self, outlet: _Outlet, partition: int) -> None:
        self._outlet = outlet
        self._partition = partition

    def write_batch(self, values: list[ProducerRecords]) -> None:
        for records in values:
            self._outlet.write(self._partition, records)

    def snapshot(self) -> None:
        self._outlet.settle()

    def close(self) -> None:
        self._outlet.partitions.discard(self._partition)
        if not self._outlet.partitions:
            self._outlet.close()


class _Sent(NamedTuple):
    futures: list[Any]
    n_futures: int  # at first: a batch that is split adds some
    partition: int
    size: int


class _Outlet:
    """One producer with what it has not had acknowledged, for the parts of one worker."""

    def __init__(self, client: Mapping[str, object], topic: str, topic_partitions: int) -> None:
        self.partitions: set[int] = set()
        self.closed = False
        self._topic = topic
        self._topic_partitions = topic_partitions
        self._sent: deque[_Sent] = deque()
        self._futures = self._bytes = 0
        self._failure: DeliveryError | None = None
        self._producer = connect_producer(client)
        self._options: dict[str, Any] = self._producer.config
        self._patience_s = self._options["delivery_timeout_ms"] / 1000 + _PATIENCE_S
        with speaking_to(client, f"looking up topic {topic!r}"):
            self._producer.partitions_for(topic)

    def write(self, partition: int, records: ProducerRecords) -> None:
        """Hand records to the producer; wait while too much is not acknowledged."""
        self._raise_failure()
        if not len(records):
            return
        try:
            futures, size = send(self._producer, self._topic, partition, records)
        except (kafka_errors.KafkaError, ValueError, TypeError) as error:
            raise self._fail(partition, error, sent=False) from error
        futures[-1].add_errback(partial(self._note, partition))
        self._sent.append(_Sent(futures, len(futures), partition, size))
        self._futures += len(futures)
        self._bytes += size
        self._settle_down_to(_IN_FLIGHT_FUTURES, _IN_FLIGHT_BYTES)

    def settle(self) -> None:
        """Wait until everything is acknowledged, or raise."""
        self._settle_down_to(0, 0)
        self._watch()

    def close(self) -> None:
        """Wait, for a short while, for what is under way; never raises."""
        if self.closed:
            return
        self.closed = True
        self._patience_s = _CLOSE_S
        try:
            self.settle()
        except Exception as error:  # noqa: BLE001 - a raise in close aborts the process
            _log.error("closing the sink of topic %r: %s", self._topic, error)
        close_producer(self._producer, _CLOSE_S, abandon=self._failure is not None)

    def _settle_down_to(self, futures: int, size: int) -> None:
        deadline = time.monotonic() + self._patience_s
        while self._futures > futures or self._bytes > size:
            self._settle_oldest(deadline)
        while self._sent and self._sent[0].futures[-1].is_done:
            self._settle_oldest(deadline)
        self._raise_failure()

    def _settle_oldest(self, deadline: float) -> None:
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
        self._sent.popleft()
        self._futures -= oldest.n_futures
        self._bytes -= oldest.size

    def _note(self, partition: int, error: Exception) -> None:
        # Called by the producer's thread. The first failure is the cause of those that follow.
        if self._failure is None:
            self._fail(partition, error, sent=True)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, partition: int, error: Exception, *, sent: bool) -> DeliveryError:
        if self._failure is None:
            self._failure = DeliveryError(
                f"a record was not delivered to partition {partition} of topic {self._topic!r}: "
                f"{type(error).__name__}: {error}; {self._mend(error, sent=sent)}. The flow stops "
                "here, and writes it again when it is started again"
            )
        return self._failure

    def _mend(self, error: Exception, *, sent: bool) -> str:
        if isinstance(error, kafka_errors.MessageSizeTooLargeError):
            if sent:
                return f"raise max.message.bytes of topic {self._topic!r}"
            return f"raise kafka.max_request_size (now {self._options['max_request_size']} bytes)"
        if isinstance(error, kafka_errors.AuthorizationError):
            return "grant the user Write on the topic, and IdempotentWrite where brokers want it"
        if isinstance(error, kafka_errors.RetriableError):
            return (
                "bring the brokers or the topic back, or raise kafka.delivery_timeout_ms "
                f"(now {self._options['delivery_timeout_ms']})"
            )
        return "see what the broker says of it" if sent else "it cannot be sent as it is"

    def _watch(self) -> None:
        now = view_of(self._producer, self._topic).partitions
        if now > self._topic_partitions:
            _log.warning(
                "topic %r has grown from %d to %d partitions: the flow keeps to the first ones "
                "until it is restarted; then many series change their partition",
                self._topic,
                self._topic_partitions,
                now,
            )
            self._topic_partitions = now
