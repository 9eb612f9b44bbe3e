"""Kafka record batches (magic 2) to columns.

Knows a batch's header, CRC, codec and transactions; must not know sockets or topics, nor the
meaning of payloads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from crc32c import crc32c

from ewma_ops.columns.byte_columns import SPARE
from ewma_ops.errors import ConfigError, CorruptBatch
from ewma_ops.wire import codecs
from ewma_ops.wire.decode import Batch, Columns, decode_records, read_record
from ewma_ops.wire.headers import EncodedHeaders
from ewma_ops.wire.layout import (
    CODEC_MASK,
    CODEC_NAMES,
    CONTROL,
    CRC_FROM,
    HEADER,
    LENGTH_END,
    LOG_APPEND_TIME,
    MAGIC,
    MAGIC_AT,
    MIN_RECORD_BYTES,
    PREFIX,
    TRANSACTIONAL,
)
from ewma_ops.wire.long import stretches

__all__ = ["Columns", "decode_batches"]

_SEGMENT_BYTES = 1 << 20  # batches are decoded together up to this size
_MAX_INT64 = 2**63 - 1


def decode_batches(
    buffer: bytes | memoryview,
    from_offset: int,
    *,
    aborted: Sequence[tuple[int, int]] = (),
    check_crc: bool = True,
) -> Iterator[Columns]:
    """Decode the record batches of one partition's fetch response.

    Batches are decoded together up to about 1 MiB of records a run, so that many small ones cost
    little more than a large one. A batch that is cut off at the end, which is normal, is left
    for the next fetch.

    Parameters
    ----------
    buffer
        Consecutive record batches, in offset order.
    from_offset
        Earlier records are left out: the first batch usually begins earlier.
    aborted
        (producer id, first offset) of the aborted transactions of the response, which a reader
        of committed records leaves out. Empty for a reader of everything.
    check_crc
        Compare each batch with its CRC-32C.

    Yields
    ------
    Columns
        With strictly increasing offsets; continue at the last one's ``next_offset``.
        Nothing when the buffer does not hold one whole batch.

    Raises
    ------
    CorruptBatch
        When the iteration reaches bytes that are not a record batch of magic 2. All valid batches
        before them are yielded first.
    ConfigError
        If the library of a codec is not installed.

    Examples
    --------
    >>> from ewma_ops.wire.encode import encode_batch
    >>> from ewma_ops.wire.records import ProducerRecords
    >>> batch = encode_batch(ProducerRecords([b"k", None], [b"1", b"2"]), timestamp_ms=1000)
    >>> [run] = decode_batches(bytes(batch), 0)
    >>> run.keys, run.values, run.offsets.tolist(), run.next_offset
    ([b'k', None], [b'1', b'2'], [0, 1], 2)
    """
    for segment in _segments(_batches(memoryview(buffer), aborted, check_crc)):
        columns, failure = decode_records(segment)
        if columns is not None:
            yield _from(columns, from_offset)
        if failure is not None:
            raise failure


def _segments(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    """Put batches together up to the size that is decoded at once."""
    segment: list[Batch] = []
    size = 0
    try:
        for batch in batches:
            segment.append(batch)
            size += len(batch.records)
            if size >= _SEGMENT_BYTES:
                yield segment
                segment, size = [], 0
    except CorruptBatch:
        if segment:
            yield segment
        raise
    if segment:
        yield segment


def _from(columns: Columns, from_offset: int) -> Columns:
    """Leave out the records before the offset."""
    next_offset = columns.next_offset
    if next_offset >= from_offset and (not columns.keys or columns.offsets[0] >= from_offset):
        return columns
    cut = int(np.searchsorted(columns.offsets, from_offset))
    left = columns.cut(slice(cut, None), max(next_offset, from_offset))
    headers = left.headers
    if isinstance(headers, EncodedHeaders):
        some = bool(headers.counts.any())
    else:
        some = headers is not None and any(headers)
    if not some:
        left = left._replace(headers=None)
    return left


# --- batches ---


def _batches(
    view: memoryview, aborted: Sequence[tuple[int, int]], check_crc: bool
) -> Iterator[Batch]:
    """Walk the batches of a buffer; skipped ones have no records."""
    transactions = _AbortedTransactions(aborted)
    at = 0
    next_offset = 0
    while len(view) - at >= LENGTH_END:
        base_offset, length = PREFIX.unpack_from(view, at)
        stop = at + LENGTH_END + length
        if stop > len(view):
            return
        _check_frame(view, at, base_offset, length, next_offset)
        header = HEADER.unpack_from(view, at)
        _, _, _, _, crc, attributes, last_delta, base_ms, max_ms, producer_id, _, _, count = header
        if check_crc and crc32c(view[at + CRC_FROM : stop]) != crc:
            raise CorruptBatch(f"the batch at offset {base_offset} does not match its CRC-32C")
        last_offset = base_offset + last_delta
        if not base_offset <= last_offset < _MAX_INT64 or not 0 <= count <= last_delta + 1:
            raise CorruptBatch(
                f"the batch at offset {base_offset} claims {count} records up to offset "
                f"{last_offset}"
            )
        stored = view[at + HEADER.size : stop]
        records: memoryview | bytes = stored
        if transactions.hide(attributes, producer_id, last_offset, stored):
            count, records = 0, b""
        append_time = bool(attributes & LOG_APPEND_TIME)
        first_ms = max_ms if append_time else base_ms
        if records is stored and attributes & CODEC_MASK and count:
            codec = attributes & CODEC_MASK
            plain = _decompress(codec, stored, base_offset)
            if plain is None:
                whole = Batch(base_offset, last_offset, first_ms, append_time, count, stored)
                yield from _long_batch(whole, codec)
                at, next_offset = stop, last_offset + 1
                continue
            records = plain
        if count * MIN_RECORD_BYTES > len(records) or (count == 0 and len(records)):
            raise CorruptBatch(
                f"the batch at offset {base_offset} claims {count} records in "
                f"{len(records)} bytes; a record takes at least {MIN_RECORD_BYTES}"
            )
        yield Batch(base_offset, last_offset, first_ms, append_time, count, records)
        at, next_offset = stop, last_offset + 1


def _long_batch(batch: Batch, codec: int) -> Iterator[Batch]:
    """Yield a batch that is very long uncompressed as several batches."""
    left = batch.n_records
    with _corrupt_if_failing(batch.base_offset, "cannot be read"):
        for stretch in stretches(codecs.chunks(codec, memoryview(batch.records)), left):
            left -= stretch.n_records
            last_offset = batch.base_offset + stretch.last_delta if left else batch.last_offset
            if last_offset > batch.last_offset:
                raise CorruptBatch(f"offset {last_offset} is beyond {batch.last_offset}")
            records, n = stretch.records, stretch.n_records
            yield batch._replace(last_offset=last_offset, n_records=n, records=records)


def _check_frame(
    view: memoryview, at: int, base_offset: int, length: int, next_offset: int
) -> None:
    """Refuse what the CRC does not cover: a wrong length, an old magic, offsets going back."""
    magic = view[at + MAGIC_AT] if length > MAGIC_AT - LENGTH_END else MAGIC
    least = HEADER.size - LENGTH_END
    if magic == MAGIC and length >= least and base_offset >= next_offset:
        return
    where = f"the batch at byte {at} of the buffer, offset {base_offset},"
    if magic != MAGIC:
        raise CorruptBatch(
            f"{where} has message format {magic}; only format {MAGIC} is read, which Kafka "
            "writes since 0.11: copy the topic to a new one with a current client"
        )
    if length < least:
        raise CorruptBatch(f"{where} claims {length} bytes; its header alone takes {least}")
    raise CorruptBatch(f"{where} stands where offset {next_offset} or a later one is expected")


def _decompress(codec: int, records: memoryview, base_offset: int) -> bytes | None:
    """Return the records of a batch; ``None`` if they are very long."""
    if codec >= len(CODEC_NAMES):
        raise CorruptBatch(
            f"the batch at offset {base_offset} has codec {codec}; known are 0 to "
            f"{len(CODEC_NAMES) - 1}"
        )
    with _corrupt_if_failing(base_offset, "cannot be decompressed"):
        return codecs.decompress(codec, records)


@contextmanager
def _corrupt_if_failing(base_offset: int, what: str) -> Iterator[None]:
    """Say of which batch an error is, whatever a codec's library raises on bytes not its own."""
    try:
        yield
    except ConfigError:  # it is missing
        raise
    except Exception as error:
        raise CorruptBatch(f"the batch at offset {base_offset} {what}: {error}") from error


class _AbortedTransactions:
    """Decides which batches a reader does not see; fed in offset order."""

    def __init__(self, aborted: Sequence[tuple[int, int]]) -> None:
        self._later = sorted(aborted, key=lambda one: one[1], reverse=True)
        self._open: set[int] = set()

    def hide(
        self, attributes: int, producer_id: int, last_offset: int, records: memoryview
    ) -> bool:
        """Return whether to skip the next batch: a control batch, or an aborted one."""
        while self._later and self._later[-1][1] <= last_offset:
            self._open.add(self._later.pop()[0])
        if attributes & CONTROL:
            if producer_id in self._open and _is_abort_marker(records):
                self._open.remove(producer_id)
            return True
        return bool(attributes & TRANSACTIONAL) and producer_id in self._open


def _is_abort_marker(records: memoryview) -> bool:
    key = read_record(bytes(records) + SPARE, 0, len(records))[2]
    if key is None or len(key) < 4:
        raise CorruptBatch(f"a control batch has the key {key!r}; at least 4 bytes are expected")
    return key[2:4] == b"\0\0"
