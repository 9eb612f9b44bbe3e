"""A Kafka topic as a Bytewax sink: every record acknowledged once, or the flow stops.

Knows Bytewax's parts and epochs, and joins a partition's ledger with the producer and the
read-back; must not know what is in a record, nor which partition a key belongs to.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

import numpy as np
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from prometheus_client import Counter

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins
from ewma_ops.connectors.client import turns
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.client.fencing import Fence
from ewma_ops.connectors.client.topics import KEEPS_TO_THEM, describe_topic
from ewma_ops.connectors.parts import part_key
from ewma_ops.connectors.sink.ledger import Ledger, LedgerState, identities, origins_of
from ewma_ops.connectors.sink.producer import Producer
from ewma_ops.connectors.sink.readback import Readback
from ewma_ops.connectors.sink.recalls import Recall, Recalls
from ewma_ops.errors import ConfigError, DeliveryError, StateError, TopicError
from ewma_ops.metrics.families import STAGES
from ewma_ops.wire.records import EncodedHeaders, Headers, ProducerRecords

__all__ = ["Delivery", "KafkaSink"]

_log = logging.getLogger(__name__)

_NEVER = 1 << 62
_WRITE = STAGES["write"]
_SMALL = 100_000
"""Partitions with up to this many records, about a second, are read back before it is known whether
they will be written to."""

Delivery = Literal["exactly-once", "transactional", "at-least-once"]

_RECALLED = Counter(
    "ewma_ops_recalled_records",
    "Records that an earlier run had written already, so that they were not written again",
    ("topic",),
)
_DOUBLED = Counter(
    "ewma_ops_doubled_records",
    "Records that the topic has twice: another run wrote after this one had read it back",
    ("topic",),
)
_DELIVERIES = ("exactly-once", "transactional", "at-least-once")
_TRANSACTION_S = 60.0
_LONGEST_TRANSACTION_S = 900.0
"""What brokers allow by default (transaction.max.timeout.ms)."""
_ON_GUARD_S = 120.0
"""How long a topic is watched for writes of others: as long as kafka-python, by default, retries a
delivery."""


class KafkaSink(FixedPartitionedSink[ProducerRecords, "bytes | None"]):
    """Write to a topic, one part per Kafka partition: exactly once, or at least once.

    Items are ``(part_key(partition), ProducerRecords)``. A record that Kafka does not
    acknowledge stops the flow: at the next write, or at the latest when the epoch closes, which
    waits for every acknowledgement. Each worker writes with one producer, with transactions one
    for each partition.

    Parameters
    ----------
    client
        The ``[kafka]`` table: kafka-python's connection options by their own names.
        ``delivery_timeout_ms`` (120,000) is how long brokers may be down.
    topic
        The topic; it must exist.
    delivery
        ``"exactly-once"``: records carry their origin in a header; after a crash, those that the
        topic has are not written again. ``"transactional"``: the same, and each epoch is a
        transaction, visible to read_committed readers when it is complete; an older run that is
        still alive is fenced off. A flow may change from ``"exactly-once"`` to this, and not back:
        a run that resumes with ``"exactly-once"`` is refused. ``"at-least-once"``: no header, and
        after a crash, records of an epoch that was not durable come twice.
    job
        Names the job of these records, if several jobs share the topic; needed except for
        at-least-once. With another name all records count as new, and are written.
    interval
        Time between two snapshots: how long a transaction stays open.
    start_offsets
        Where the flow began, by input partition: records of earlier input are not expected.
    partitions
        How many of the topic's partitions, from the first, are written to; None for all. A flow
        that resumes must be given the same number, however much the topic has grown: records are
        recalled for each partition separately.
    input_topics
        Numbers of the input topics, if there are several: the upper half of the partitions' numbers
        in origins.
    view
        The topic as brokers describe it; None to ask them at first use.
    fence
        With ``"exactly-once"``: the fence that this run writes with, so that brokers refuse what
        earlier runs still send; None if only a lock keeps those away.
    answered_at
        When, by the monotonic clock, all leaders of the topic had answered a request made after
        every earlier writer had ended: the wait for late appends begins then. None if unknown: it
        begins when the topic is first used.

    Raises
    ------
    ConfigError
        If an option is wrong or the broker refuses the user.
    BrokerError
        If no broker answers, or there is no such topic.
    TopicError
        From the parts: the topic lost what was written to it, for example by being deleted and
        created again.
    StateError
        From the parts: the flow was transactional, and is to resume as exactly-once.
    DeliveryError
        From the parts: a record was not acknowledged.

    Examples
    --------
    >>> KafkaSink({"bootstrap_servers": "127.0.0.1:9092"}, "smoothed", job="smoother")
    KafkaSink('smoothed')
    """

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str,
        *,
        delivery: Delivery = "exactly-once",
        job: str = "",
        interval: timedelta = timedelta(seconds=10),
        start_offsets: Mapping[int, int] = MappingProxyType({}),
        partitions: int | None = None,
        input_topics: Collection[int] = (0,),
        view: TopicView | None = None,
        fence: Fence | None = None,
        answered_at: float | None = None,
    ) -> None:
        if delivery not in _DELIVERIES:
            raise ConfigError(f"delivery is {delivery!r}: use one of {', '.join(_DELIVERIES)}")
        if not job and delivery != "at-least-once":
            raise ConfigError(f'job is empty: name the job: "{delivery}" identifies records by it')
        self._client = dict(client)
        self._topic = topic
        self._delivery = delivery
        self._transactional = delivery == "transactional"
        self._job = murmur2(job.encode())
        self._start_offsets = start_offsets
        self._transaction_s = min(
            _TRANSACTION_S + 4 * interval.total_seconds(), _LONGEST_TRANSACTION_S
        )
        self._routed = partitions
        self._input_topics = tuple(input_topics)
        self._given = view
        self._fence = fence
        self._answered_at = answered_at
        self._view: TopicView | None = None
        self._quiet_at = 0.0
        self._producers: dict[int, Producer] = {}
        self._readers: dict[int, Readback] = {}
        self._first_reader: Readback | None = None
        self._recalls = Recalls(self._recalls_reader, self._origins_of)
        self._sizes: dict[int, int] = {}
        for counter in (_RECALLED, _DOUBLED):  # starts at 0, so that the first count is a change
            counter.labels(topic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._topic!r})"

    @property
    def partitions(self) -> int:
        """How many partitions are written to: route with this."""
        return self.view.partitions if self._routed is None else self._routed

    @property
    def view(self) -> TopicView:
        """The topic as brokers described it at first."""
        if self._view is None:
            self._view = self._given or describe_topic(self._client, self._topic)
            if self.partitions > self._view.partitions:
                raise TopicError(
                    f"topic {self._topic!r} has {self._view.partitions} partitions, and the flow "
                    f"has written to {self.partitions}: it was deleted and created again; empty "
                    "it, and start with a new recovery directory"
                )
            if self.partitions < self._view.partitions:
                _log.warning(
                    "topic %r has %d partitions: the flow keeps to the first %d, %s",
                    self._topic,
                    self._view.partitions,
                    self.partitions,
                    KEEPS_TO_THEM,
                )
            if self._delivery != "at-least-once":
                # Early, so that the wait for late appends passes while the engine starts.
                self._first_reader = reader = self._connect_reader()
                self._quiet_at = reader.quiet_at(self._view.partitions, self._answered_at)
                self._sizes = reader.sizes
        return self._view

    def list_parts(self) -> list[str]:
        """Return a part name for each partition; begin to read back the short ones."""
        _ = self.view  # looks up the sizes, even if the number of partitions is given
        partitions = range(self.partitions)
        if self._delivery == "exactly-once":
            # A part without a snapshot is built when its first record waits to be written.
            for partition in (p for p in partitions if self._sizes.get(p, _SMALL) < _SMALL):
                self._recall(partition, None)
        return list(map(part_key, partitions))

    def part_fn(self, item_key: str) -> int:
        """Return the partition that a part name stands for."""
        return int(item_key)

    def build_part(
        self,
        step_id: str,  # noqa: ARG002 - Bytewax's signature
        for_part: str,
        resume_state: bytes | None,
    ) -> _Part:
        """Begin to write to a partition, after reading back what an earlier run wrote."""
        partition = int(for_part)
        if self._transactional:
            producer = self._transactional_producer(partition)
        else:
            producer = self._shared_producer(partition)
        producer.partitions.add(partition)
        if self._delivery == "at-least-once":
            return _Part(producer, partition)
        try:
            state = None if resume_state is None else LedgerState.opened(resume_state)
            if self._transactional:
                recall = self._recall(partition, state, producer.true_end(partition))
                return _OncePart(producer, partition, recall, self._job, self._recalls)
            begun = self._recalls.pop(partition) if state is None else None
            recall = begun or self._recall(partition, state)
            reading = self._recalls, self._reader, self._origins_of
            return _UnfencedPart(producer, partition, recall, self._job, *reading)
        except BaseException:
            self._recalls.close()
            producer.release(partition)
            raise

    def _shared_producer(self, partition: int) -> Producer:
        # One outlet for each worker: the worker's thread calls. An existing part is left over from
        # an aborted execution.
        thread = threading.get_ident()
        producer = self._producers.get(thread)
        if producer is not None and partition in producer.partitions:
            producer.close()
        if producer is None or producer.closed:
            producer = self._producers[thread] = Producer(
                self._client, self._topic, self.view, fence=self._fence
            )
        return producer

    def _transactional_producer(self, partition: int) -> Producer:
        return Producer(
            self._client,
            self._topic,
            self.view,
            transactional_id=f"ewma-{self._job:08x}-{self._topic}-{partition}",
            transaction_s=self._transaction_s,
        )

    def _recall(self, partition: int, state: LedgerState | None, until: int = 0) -> Recall:
        ledger = Ledger(state, self._start_offsets, fenced=self._transactional)
        fenced = state is not None and state.fenced
        if fenced and not self._transactional:
            raise StateError(
                f"topic {self._topic!r} was written to with transactions, and records of aborted "
                'ones would now count as written: set delivery = "transactional" again, or '
                "start with a new recovery directory and another output topic"
            )
        quiet_at = 0.0 if fenced else self._quiet_at
        return self._recalls.begin(partition, ledger, until=until, quiet_at=quiet_at)

    def _origins_of(self, headers: Sequence[Headers]) -> Origins:
        return origins_of(self._job, headers, self._input_topics)[1]

    def _recalls_reader(self) -> Readback:
        """Return the reader that looked up the sizes, or if it is closed, another one."""
        reader, self._first_reader = self._first_reader, None
        return reader or self._connect_reader()

    def _connect_reader(self) -> Readback:
        return Readback(self._client, self._topic, committed=self._transactional)

    def _reader(self) -> Readback:
        # One for each worker, connected when needed: when others have written to the topic.
        thread = threading.get_ident()
        reader = self._readers.get(thread)
        if reader is None or reader.closed:
            reader = self._readers[thread] = self._connect_reader()
        return reader


class _Part(StatefulSinkPartition[ProducerRecords, "bytes | None"]):
    """At least once."""

    def __init__(self, producer: Producer, partition: int) -> None:
        self._producer = producer
        self._partition = partition

    def write_batch(self, values: list[ProducerRecords]) -> None:
        began = time.perf_counter()
        for records in values:
            self._producer.write(self._partition, self._prepared(records))
        _WRITE.add(time.perf_counter() - began)

    def _prepared(self, records: ProducerRecords) -> ProducerRecords:
        return records

    def snapshot(self) -> bytes | None:
        self._producer.wait_for_acks()
        return None

    def close(self) -> None:
        self._producer.release(self._partition)


class _OncePart(_Part):
    """Exactly once: the ledger says what the partition already has."""

    def __init__(
        self, producer: Producer, partition: int, recall: Recall, job: int, recalls: Recalls
    ) -> None:
        super().__init__(producer, partition)
        self._recall = recall
        self._complete: Ledger | None = None
        self._job = job
        self._recalls = recalls

    def wait(self) -> Ledger:
        """Return the ledger once the partition is read back, or raise."""
        if self._complete is None:
            turns.end()  # the search for others' writes need not wait for this
            self._complete = self._recall.wait()
            self._producer.reached(self._partition, self._complete.end)
        return self._complete

    @property
    def _ledger(self) -> Ledger:
        return self.wait()

    def close(self) -> None:
        self._recalls.close()
        super().close()

    def _prepared(self, records: ProducerRecords) -> ProducerRecords:
        return identified(self._new(records), self._job)

    def _new(self, records: ProducerRecords) -> ProducerRecords:
        if records.origins is None:
            raise DeliveryError("a record without its origin cannot be delivered exactly once")
        new = self._ledger.admit(records.origins)
        if new.all():
            return records
        _RECALLED.labels(self._producer.topic).inc(int(np.count_nonzero(~new)))
        return records.take(np.flatnonzero(new))

    def snapshot(self) -> bytes:
        ledger = self.wait()
        self._producer.wait_for_acks()
        ledger.reached(self._producer.ends.get(self._partition, 0))
        return ledger.close_epoch().sealed()


class _UnfencedPart(_OncePart):
    """Exactly once without a fence: watches for appends of others after the read-back.

    If more offsets are used than records were sent, somebody else has written. These records are
    read: the ones that this run has not made yet are left out, the others are there twice.
    """

    def __init__(
        self,
        producer: Producer,
        partition: int,
        recall: Recall,
        job: int,
        recalls: Recalls,
        reader: Callable[[], Readback],
        origins_of: Callable[[Sequence[Headers]], Origins],
    ) -> None:
        super().__init__(producer, partition, recall, job, recalls)
        self._reader = reader
        self._looks_with: Readback | None = None
        self._origins_of = origins_of
        self._known = self._sent = 0
        self._on_guard_until = 0.0

    def wait(self) -> Ledger:
        complete = self._complete
        ledger = super().wait()
        if complete is None:
            self._known = ledger.end
            self._on_guard_until = time.monotonic() + _ON_GUARD_S
        return ledger

    def close(self) -> None:
        if self._looks_with is not None:
            self._looks_with.close()
        super().close()

    def _new(self, records: ProducerRecords) -> ProducerRecords:
        new = super()._new(records)
        self._sent += len(new)
        return new

    def snapshot(self) -> bytes:
        self.wait()
        self._producer.wait_for_acks()
        end = self._producer.ends.get(self._partition, 0)
        if end - self._known > self._sent:
            self._look_again(end)
        elif end - self._known == self._sent:  # a broker did not report an offset: wait
            self._known, self._sent = end, 0
        return super().snapshot()

    def _look_again(self, end: int) -> None:
        ours = made = 0
        self._looks_with = self._reader()
        for stretch in self._looks_with.read(self._partition, self._known, until=end):
            origins = self._origins_of(stretch.headers)
            ours += len(origins.offsets)
            made += self._ledger.made(origins)
            self._ledger.recall(origins)
            self._ledger.reached(stretch.end)
            self._known = stretch.end
        if ours > self._sent:
            _warn_of_doubles(self._producer.topic, self._partition, made - self._sent, ours - made)
        elif time.monotonic() > self._on_guard_until:
            self._known = _NEVER  # a topic that others write to all the time
        self._sent = 0


def _warn_of_doubles(topic: str, partition: int, doubled: int, left_out: int) -> None:
    _DOUBLED.labels(topic).inc(doubled)
    _log.error(
        "another run of this job, or the last request of one that died, has written to partition "
        "%d of topic %r after this run had read it back: %d records are there twice, %d will be "
        'left out; let only one run at a time, or set output.delivery = "transactional"',
        partition,
        topic,
        doubled,
        left_out,
    )


def identified(records: ProducerRecords, job: int) -> ProducerRecords:
    """Return the records with their identity as an additional header."""
    assert records.origins is not None
    own = identities(job, records.origins)
    headers: Sequence[Headers] = own
    if isinstance(records.headers, EncodedHeaders):
        headers = records.headers.followed_by(own)
    elif records.headers is not None:
        headers = [[*theirs, *ours] for theirs, ours in zip(records.headers, own, strict=True)]
    return ProducerRecords(
        records.keys, records.values, headers, records.origins, records.appended_ms
    )
