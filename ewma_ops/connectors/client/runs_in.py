"""Fetches whole batches from kafka-python's consumer, as columns.

May touch kafka-python's inside; must not know connections, or the receiver of the records. Fetch
sessions, retries, leader changes and positions stay the consumer's own: only the class that unpacks
one partition's part of a fetch response is replaced.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel
from kafka.record.memory_records import MemoryRecords

from ewma_ops.connectors.client import compatible
from ewma_ops.errors import CorruptBatch
from ewma_ops.wire.batch import Columns, decode_batches
from ewma_ops.wire.layout import HEADER, MAGIC, MAGIC_AT, PREFIX
from ewma_ops.wire.records import bytes_of

__all__ = ["incompatibilities", "last_epoch", "read_runs"]

_EPOCH_AT = PREFIX.size
_EPOCH_BYTES = 4
_USUAL_BYTES = 256
"""Records up to this size count as one."""


def read_runs(consumer: KafkaConsumer) -> None:
    """Make a consumer's ``poll`` return `Columns` instead of records.

    Partitions whose fetch begins with batches in old formats still come as records.
    """
    fetcher = consumer._fetcher
    fetcher.PartitionRecords = _maker(fetcher.PartitionRecords)


def _maker(record_by_record: Callable[..., Any]) -> Callable[..., Any]:
    def make(fetch_offset: int, tp: TopicPartition, records: MemoryRecords, **named: Any) -> Any:
        buffer = records._buffer
        if len(buffer) > MAGIC_AT and buffer[MAGIC_AT] != MAGIC:
            return record_by_record(fetch_offset, tp, records, **named)
        return PartitionRuns(fetch_offset, tp, records, **named)

    return make


class _Taken:
    """Some records of a fetch: has the length of many, but is iterated as one item.

    Long records count as several, so that a poll ends when enough bytes have come.
    """

    __slots__ = ("_columns", "_len")

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        size = bytes_of(columns.keys) + bytes_of(columns.values)
        self._len = max(len(columns.values), size // _USUAL_BYTES)

    def __len__(self) -> int:
        return self._len

    def __iter__(self) -> Iterator[Columns]:
        yield self._columns


class PartitionRuns:
    """Replaces ``Fetcher.PartitionRecords``: one partition's part of a fetch response."""

    def __init__(
        self,
        fetch_offset: int,
        tp: TopicPartition,
        records: MemoryRecords,
        key_deserializer: None = None,  # noqa: ARG002 - connectors carry bytes
        value_deserializer: None = None,  # noqa: ARG002
        check_crcs: bool = True,
        isolation_level: int = IsolationLevel.READ_UNCOMMITTED,
        aborted_transactions: Sequence[Any] | None = None,
        metric_aggregator: Any = None,
        on_drain: Callable[[Any], None] = lambda _: None,
    ) -> None:
        self.topic_partition = tp
        self.fetch_offset = self.next_fetch_offset = fetch_offset
        self.leader_epoch = -1
        self.bytes_read = self.records_read = 0
        self._metric_aggregator = metric_aggregator
        self._on_drain = on_drain
        hidden = aborted_transactions if isolation_level == IsolationLevel.READ_COMMITTED else None
        self._epochs = _epochs(records._buffer)
        self._next_epoch = next(self._epochs, None)
        self._rest: Columns | None = None
        self._runs: Iterator[Columns] | None = decode_batches(
            records._buffer,
            fetch_offset,
            aborted=[(one.producer_id, one.first_offset) for one in hidden or ()],
            check_crc=check_crcs,
        )

    def __bool__(self) -> bool:
        return self._runs is not None

    def take(self, n: int) -> _Taken | tuple[()]:
        """Return up to ``n`` records, fewer at the end of a run; the rest is kept."""
        if self._runs is None:
            return ()
        try:
            run = next(self._runs, None) if self._rest is None else self._rest
        except CorruptBatch as error:
            partition, topic = self.topic_partition.partition, self.topic_partition.topic
            raise CorruptBatch(f"partition {partition} of topic {topic!r}: {error}") from error
        if run is None:
            self.drain()
            return ()
        run, self._rest = _cut(run, n)
        self.next_fetch_offset = run.next_offset
        while self._next_epoch is not None and self._next_epoch[0] < run.next_offset:
            self.leader_epoch = self._next_epoch[1]
            self._next_epoch = next(self._epochs, None)
        self.bytes_read += 1  # kafka-python asks whether there was anything
        self.records_read += len(run.values)
        return _Taken(run)

    def drain(self) -> None:
        """Drop what is left."""
        if self._runs is not None:
            self._runs = self._rest = None
            if self._metric_aggregator is not None:
                counts = self.bytes_read, self.records_read
                self._metric_aggregator.record(self.topic_partition, *counts)
            self._on_drain(self)


def _cut(run: Columns, n: int) -> tuple[Columns, Columns | None]:
    if len(run.values) <= n:
        return run, None
    first = run.cut(slice(n), int(run.offsets[n - 1]) + 1)
    return first, run.cut(slice(n, None), run.next_offset)


def _epochs(buffer: bytes) -> Iterator[tuple[int, int]]:
    """Yield base offset and leader epoch of each whole batch."""
    at = 0
    while len(buffer) - at >= HEADER.size:
        base_offset, length = PREFIX.unpack_from(buffer, at)
        epoch_at = at + _EPOCH_AT
        epoch = int.from_bytes(buffer[epoch_at : epoch_at + _EPOCH_BYTES], "big", signed=True)
        yield base_offset, epoch
        at += max(PREFIX.size + length, HEADER.size)  # decode_batches reports a wrong length


def last_epoch(buffer: bytes) -> int:
    """Return the leader epoch of the last whole batch; -1 without one."""
    epoch = -1
    for _, epoch in _epochs(buffer):  # noqa: B007 - the last one counts
        pass
    return epoch


_READS = {
    (KafkaConsumer, "_poll_once"): ("_fetcher", "fetch_records"),
    (Fetcher, "_parse_fetched_data"): ("PartitionRecords", "MemoryRecords"),
    (Fetcher, "fetched_records"): ("_append", "topic_partition", "next_fetch_offset"),
    (Fetcher, "_append"): ("take", "drain", "next_fetch_offset", "leader_epoch", "extend"),
    (Fetcher, "_on_partition_records_drain"): ("bytes_read", "topic_partition"),
    (MemoryRecords, "size_in_bytes"): ("_buffer",),
}
"""The code that uses `PartitionRuns` and `_Taken`, and the names it uses."""

_TAKES = {
    Fetcher.PartitionRecords: (
        "fetch_offset", "tp", "records", "key_deserializer", "value_deserializer", "check_crcs",
        "isolation_level", "aborted_transactions", "metric_aggregator", "on_drain",
    ),
}  # fmt: skip


def incompatibilities() -> list[str]:
    """Return one sentence for each part of kafka-python that has moved."""
    return compatible.incompatibilities(_READS, _TAKES, {Fetcher.PartitionRecords: PartitionRuns})
