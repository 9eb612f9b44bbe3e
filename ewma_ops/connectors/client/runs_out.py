"""Appends whole batches to kafka-python's producer, as columns.

May touch kafka-python's inside; must not know connections, or where the records come from. Retries,
idempotence, transactions and the splitting of batches stay the producer's own: only the class that
fills a batch is replaced, by one that holds columns until the batch is sent.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from kafka import KafkaProducer, TopicPartition, codec
from kafka import errors as kafka_errors
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.producer.sender import Sender
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from ewma_ops.connectors.client import compatible
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.layout import HEADER, MAGIC
from ewma_ops.wire.records import (
    EncodedHeaders,
    Headers,
    LikeHeaders,
    ProducerRecords,
    bytes_of,
)

__all__ = ["append", "incompatibilities"]

_RECORD_BYTES = 16
"""Bytes of a record besides key, value and headers: up to 21, mostly 7 to 12."""
_SPREAD = 1.1  # batches of equal counts differ a little in size

_newest: WeakKeyDictionary[RecordAccumulator, RunBatch] = WeakKeyDictionary()
"""The batch that was opened last in each accumulator."""


def append(
    producer: KafkaProducer, tp: TopicPartition, records: ProducerRecords, *, wake: bool = True
) -> tuple[list[Any], int]:
    """Queue records to be sent; return kafka-python's futures, and about how many bytes.

    Each batch with some of the records has one future: that of the last of them.
    If a batch has to be split, the futures of the others are added to the list before that one
    is done. Without ``wake`` they are sent, without lingering, when the sender is woken.

    Raises
    ------
    MessageSizeTooLargeError
        If a record is larger than ``max_request_size``.
    TypeError
        If a key, a value or a header has a type that Kafka does not take.
    ValueError
        If the columns differ in length.
    """
    accumulator = producer._accumulator
    most, linger_s = producer.config["max_request_size"], producer.config["linger_ms"] / 1000
    accumulator.config["linger_ms"] = producer.config["linger_ms"] if wake else 0
    futures: list[Any] = []
    total = 0
    accumulator._appends_in_progress.increment()
    try:
        for piece, size in _pieces(records, accumulator.config["batch_size"]):
            if size > most and len(piece) == 1:
                raise kafka_errors.MessageSizeTooLargeError(f"the record has about {size} bytes")
            newest = _newest.get(accumulator)
            opened = _append(accumulator, tp, piece, size, futures)
            if opened and wake and not _lingers(newest, linger_s):
                producer._sender.wakeup()
            total += size
    finally:
        accumulator._appends_in_progress.decrement()
    return futures, total


def _append(
    accumulator: RecordAccumulator,
    tp: TopicPartition,
    records: ProducerRecords,
    size: int,
    futures: list[Any],
) -> bool:
    """Add records to the last batch of the queue, or to a new one; return whether to wake."""
    with accumulator._tp_lock(tp):
        if accumulator._closed:
            raise kafka_errors.IllegalStateError("RecordAccumulator is closed")
        queue = accumulator._batches[tp]
        if (
            queue
            and isinstance(queue[-1], RunBatch)
            and queue[-1].try_extend(records, size, futures)
        ):
            return bool(queue[-1].records.is_full())
        config = accumulator.config
        batch = RunBatch(tp, RunRecords(config["batch_size"], config["compression_attrs"]))
        batch.try_extend(records, size, futures)
        queue.append(batch)
        accumulator._incomplete.add(batch)
        _newest[accumulator] = batch
        return True


def _lingers(batch: RunBatch | None, linger_s: float) -> bool:
    """Return whether a batch lingers: afterwards the sender looks at everything that has come."""
    if batch is None or batch.drained is not None or batch.attempts:
        return False
    return bool(time.monotonic() - batch.last_attempt < linger_s)


def _pieces(records: ProducerRecords, limit: int) -> Iterator[tuple[ProducerRecords, int]]:
    """Split records into pieces of up to ``limit`` bytes, or of a single record."""
    n = len(records)
    size = _size(records)
    if size <= limit or n == 1:
        yield records, size
        return
    step = max(1, min(n - 1, int(n * limit / (size * _SPREAD))))
    headers = records.headers
    for lo in range(0, n, step):
        hi = lo + step
        part = None if headers is None else headers[lo:hi]
        yield from _pieces(ProducerRecords(records.keys[lo:hi], records.values[lo:hi], part), limit)


def _size(records: ProducerRecords) -> int:
    """Return about how many bytes the records take; refuse those that cannot be encoded."""
    n = len(records.values)
    if len(records.keys) != n or (records.headers is not None and len(records.headers) != n):
        raise ValueError(f"columns differ in length: {len(records.keys)} keys, {n} values")
    size = HEADER.size + _RECORD_BYTES * n + bytes_of(records.keys) + bytes_of(records.values)
    if records.headers is not None:
        size += _headers_size(records.headers)
    return size


def _headers_size(headers: Sequence[Headers]) -> int:
    if isinstance(headers, LikeHeaders) and len(headers):
        return len(headers) * _header_size(headers[0])
    if isinstance(headers, EncodedHeaders):
        return headers.encoded.nbytes + len(headers)
    return sum(map(_header_size, headers))


def _header_size(headers: Headers) -> int:
    return sum(
        8
        + len(name.encode("utf-8", "surrogateescape"))
        + len(b"" if value is None else bytes(value))
        for name, value in headers
    )


class RunRecords:
    """Replaces ``MemoryRecordsBuilder``: columns until the batch leaves its queue."""

    producer_id = producer_epoch = base_sequence = -1

    def __init__(self, limit_bytes: int, codec_number: int) -> None:
        self._limit_bytes = limit_bytes
        self._codec = codec_number
        self._parts: list[ProducerRecords] = []
        self._count = 0
        self._size = 0
        self._whole = 0
        self._transactional = False
        self._batch: bytearray | None = None

    def append(self, *_: object) -> None:
        """Refuse single records: kafka-python then opens a batch of its own."""

    def skip(self, _: int) -> None:
        """Do nothing: it exists for kafka-python's own tests."""

    def try_extend(self, records: ProducerRecords, size: int) -> bool:
        """Add records if there is room."""
        if self._batch is not None or (self._count and self._size + size > self._limit_bytes):
            return False
        self._parts.append(records)
        self._count += len(records)
        self._size += size
        return True

    def set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int, is_transactional: bool
    ) -> None:
        """Set the producer id, epoch and sequence number of the batch."""
        if self._batch is not None:
            raise kafka_errors.IllegalStateError("the batch has been encoded")
        self.producer_id, self.producer_epoch = producer_id, producer_epoch
        self.base_sequence, self._transactional = base_sequence, is_transactional

    def close(self) -> None:
        """Encode the batch, once."""
        if self._batch is None:
            self._batch = encode_batch(
                self._parts,
                timestamp_ms=time.time_ns() // 1_000_000,
                codec=self._codec,
                compress=_compress,
                producer_id=self.producer_id,
                producer_epoch=self.producer_epoch,
                base_sequence=self.base_sequence,
                transactional=self._transactional,
            )
            self._whole, self._size = self._size, len(self._batch)
            self._parts = []

    def buffer(self) -> bytearray:
        """Return the encoded batch."""
        assert self._batch is not None
        return self._batch

    def records(self) -> MemoryRecords:
        """Return the encoded batch as kafka-python's records."""
        return MemoryRecords(self.buffer())

    def next_offset(self) -> int:
        """Return how many records there are."""
        return self._count

    def size_in_bytes(self) -> int:
        """Return the size of the batch; an estimate until it is encoded."""
        return self._size

    def is_full(self) -> bool:
        """Return whether the batch is full enough to be sent now."""
        return self._batch is not None or self._size >= self._limit_bytes // 2

    def compression_rate(self) -> float:
        """Return the approximate ratio of compression."""
        return self._size / self._whole


def _compress(number: int, records: memoryview) -> bytes:
    name = ("", "gzip_encode", "snappy_encode", "lz4_encode", "zstd_encode")[number]
    return bytes(getattr(codec, name)(bytes(records)))


class RunBatch(ProducerBatch):  # type: ignore[misc]  # kafka-python has no types
    """A batch with one future for each run that was added, until it has to be split."""

    def __init__(self, tp: TopicPartition, records: RunRecords) -> None:
        self._runs: list[tuple[int, Any, list[Any]]] = []
        self._every: list[Any] | None = None
        super().__init__(tp, records)

    def try_extend(self, records: ProducerRecords, size: int, futures: list[Any]) -> bool:
        """Add records if there is room, and the future of the last one to ``futures``."""
        if not self.records.try_extend(records, size):
            return False
        self.last_append = time.monotonic()
        futures.append(self._future(self.record_count - 1))
        self._runs.append((self.record_count, futures[-1], futures))
        return True

    @property
    def _record_futures(self) -> list[Any]:
        # Called only to split the batch: then records may succeed or fail separately.
        if self._every is None:
            self._every = []
            for end, last, futures in self._runs:
                others = list(map(self._future, range(len(self._every), end - 1)))
                futures.extend(others)
                self._every += [*others, last]
        return self._every

    @_record_futures.setter
    def _record_futures(self, _: list[Any]) -> None:
        """Do nothing: kafka-python's constructor sets an empty list."""

    def _future(self, index: int) -> Any:
        now_ms = time.time_ns() // 1_000_000
        return FutureRecordMetadata(self.produce_future, index, now_ms, None, -1, -1, -1)


_READS = {
    (RecordAccumulator, "append"): (
        "_appends_in_progress", "_tp_lock", "_batches", "_closed", "_incomplete", "try_append",
    ),
    (RecordAccumulator, "ready"): ("attempts", "last_attempt", "config"),
    (RecordAccumulator, "split_and_reenqueue"): (
        "_record_futures", "rebind", "buffer", "base_sequence",
    ),
    (RecordAccumulator, "drain_batches_for_one_node"): (
        "set_producer_state", "next_offset", "close", "size_in_bytes", "drained",
    ),
    (ProducerBatch, "__init__"): ("produce_future", "records", "last_append"),
    (ProducerBatch, "record_count"): ("next_offset",),
    (FutureRecordMetadata, "rebind"): ("_produce_future",),
    (KafkaProducer, "send"): ("_accumulator", "_sender", "wakeup"),
    (Sender, "_produce_request"): ("buffer",),
}  # fmt: skip
"""The code that uses `RunBatch` and `RunRecords`, and the names it uses."""

_TAKES = {
    ProducerBatch: ("tp", "records", "now"),
    FutureRecordMetadata: (
        "produce_future", "batch_index", "timestamp_ms", "checksum", "serialized_key_size",
        "serialized_value_size", "serialized_header_size",
    ),
}  # fmt: skip


def incompatibilities(producer: KafkaProducer) -> list[str]:
    """Return one sentence for each part of kafka-python that has moved."""
    found = compatible.incompatibilities(_READS, _TAKES, {MemoryRecordsBuilder: RunRecords})
    if found:
        return found
    config = producer._accumulator.config
    missing = {"batch_size", "compression_attrs", "message_version"} - set(config)
    if missing:
        return [f"RecordAccumulator has no option {', '.join(sorted(missing))}"]
    if config["message_version"] != MAGIC:
        return [f"the broker takes message format {config['message_version']} only"]
    return []
