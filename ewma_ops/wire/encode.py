"""Columns to Kafka record batches (magic 2).

Knows the record batch format; must not know sockets, topics, or the meaning of payloads. Many
records are written together: the positions of all fields are computed as columns, and each field of
all records is then written at once. Few are written one by one, which is faster for them and gives
the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, copy_into, windows
from ewma_ops.compiled import library
from ewma_ops.errors import ConfigError
from ewma_ops.wire.headers import NULL, EncodedHeaders, Headers, LikeHeaders, encode_headers
from ewma_ops.wire.layout import (
    CODEC_NAMES,
    CRC_AT,
    CRC_FROM,
    HEADER,
    LENGTH_END,
    MAGIC,
    TRANSACTIONAL,
)
from ewma_ops.wire.records import ProducerRecords
from ewma_ops.wire.varint import encode_varint, varint_sizes, write_varints

__all__ = ["Compress", "encode_batch"]

Compress = Callable[[int, memoryview], bytes]
"""(codec number 1 .. 4, records) -> compressed records."""

_FEW_RECORDS = 224  # below this NumPy's cost per call outweighs the loop
_FEW_COMPILED = 28
"""The same, if there is a compiled loop."""
_RECORD_BYTES = 2 + 5 * 5  # most bytes besides key, value and headers: five varints of 32 bits
_NO_HEADERS = b"\x00"
_NO_PRODUCER = -1


def encode_batch(
    records: ProducerRecords | Sequence[ProducerRecords],
    *,
    timestamp_ms: int,
    codec: int = 0,
    compress: Compress | None = None,
    producer_id: int = _NO_PRODUCER,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    transactional: bool = False,
) -> bytearray:
    r"""Encode records as one batch, ready to be sent.

    Parameters
    ----------
    records
        At least one, in one run or in several. The fast path handles no headers, `LikeHeaders` and
        `EncodedHeaders`.
    timestamp_ms
        The time of writing, milliseconds since the epoch, UTC: every record's timestamp.
    codec
        0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    compress
        Needed with a codec. A batch that does not shrink is sent uncompressed.
    producer_id, producer_epoch, base_sequence, transactional
        As the idempotent or transactional producer was given them.

    Raises
    ------
    ConfigError
        If there are no records, or a codec without `compress`.
    TypeError
        If a key or value is neither bytes nor ``None``.

    Examples
    --------
    >>> batch = encode_batch(ProducerRecords([b"k"], [b"v"]), timestamp_ms=1000)
    >>> len(batch), bytes(batch[61:])
    (70, b'\x10\x00\x00\x00\x02k\x02v\x00')
    """
    runs = [records] if isinstance(records, ProducerRecords) else records
    count = sum(map(len, runs))
    if count == 0:
        raise ConfigError("a batch of 0 records cannot be sent: encode at least 1")
    batch = _encode(runs, count)
    attributes = TRANSACTIONAL if transactional else 0
    if codec:
        if compress is None:
            raise ConfigError(f"codec {CODEC_NAMES[codec]!r} needs a compress function")
        with memoryview(batch) as whole, whole[HEADER.size :] as plain:
            compressed = compress(codec, plain)
            worth_it = len(compressed) < len(plain)
        if worth_it:
            batch[HEADER.size :] = compressed
            attributes |= codec
    length = len(batch) - LENGTH_END
    HEADER.pack_into(
        batch, 0, 0, length, 0, MAGIC, 0, attributes, count - 1, timestamp_ms, timestamp_ms,
        producer_id, producer_epoch, base_sequence, count,
    )  # fmt: skip
    with memoryview(batch) as view:
        crc = crc32c(view[CRC_FROM:])
    batch[CRC_AT:CRC_FROM] = crc.to_bytes(4, "big")
    return batch


def _encode(runs: Sequence[ProducerRecords], count: int) -> bytearray:
    """Encode records after room for the header, in the way that is fastest for them."""
    kinds = (LikeHeaders, EncodedHeaders)
    columns = all(run.headers is None or isinstance(run.headers, kinds) for run in runs)
    kernels = library.kernels
    if kernels is not None and columns and count >= _FEW_COMPILED:
        return _encode_compiled(kernels, runs)
    records = ProducerRecords.concat(runs)
    columns = records.headers is None or isinstance(records.headers, kinds)
    return _encode_many(records) if columns and count >= _FEW_RECORDS else _encode_few(records)


# --- one by one ---


def _encode_few(records: ProducerRecords) -> bytearray:
    """Encode record by record: the reference for `_encode_many`."""
    batch = bytearray(HEADER.size)
    headers = repeat(()) if records.headers is None else records.headers
    for delta, (key, value, record_headers) in enumerate(
        zip(records.keys, records.values, headers, strict=False)
    ):
        body = b"".join(
            (
                b"\x00\x00",  # attributes, timestamp delta
                encode_varint(delta),
                *_sized(key),
                *_sized(value),
                _header_bytes(record_headers),
            )
        )
        batch += encode_varint(len(body))
        batch += body
    return batch


def _sized(piece: bytes | None) -> tuple[bytes, bytes]:
    return (NULL, b"") if piece is None else (encode_varint(len(piece)), piece)


def _header_bytes(headers: Headers) -> bytes:
    """Encode the headers of one record, with their count."""
    return encode_varint(len(headers)) + encode_headers(headers) if headers else _NO_HEADERS


# --- all at once ---


def _encode_many(records: ProducerRecords) -> bytearray:
    """Compute all positions, then write each field of all records at once."""
    count = len(records)
    keys, values = BytesColumn.of(records.keys), BytesColumn.of(records.values)
    key_sizes, value_sizes = keys.sizes, values.sizes
    headers = records.headers
    tail = _NO_HEADERS
    tail_bytes: int | NDArray[np.int64] = len(tail)
    if isinstance(headers, EncodedHeaders):
        tail_bytes = varint_sizes(headers.counts) + headers.encoded.sizes
    elif headers is not None:
        tail = _header_bytes(headers[0])
        tail_bytes = len(tail)
    deltas = np.arange(count)
    delta_widths = varint_sizes(deltas)
    key_widths, value_widths = varint_sizes(key_sizes), varint_sizes(value_sizes)
    key_bytes, value_bytes = np.maximum(key_sizes, 0), np.maximum(value_sizes, 0)
    bodies = 2 + delta_widths + key_widths + key_bytes + value_widths + value_bytes + tail_bytes
    body_widths = varint_sizes(bodies)
    sizes = body_widths + bodies
    ends = HEADER.size + sizes.cumsum()

    batch = bytearray(int(ends[-1]))
    out = np.frombuffer(batch, np.uint8)
    at = ends - sizes
    write_varints(out, at, bodies)
    at += body_widths + 2
    write_varints(out, at, deltas)
    at += delta_widths
    write_varints(out, at, key_sizes)
    at += key_widths
    copy_into(out, at, keys)
    at += key_bytes
    write_varints(out, at, value_sizes)
    at += value_widths
    copy_into(out, at, values)
    at += value_bytes
    if isinstance(headers, LikeHeaders):
        _write_tails(out, at, tail, headers)
    elif isinstance(headers, EncodedHeaders):
        write_varints(out, at, headers.counts)
        copy_into(out, at + varint_sizes(headers.counts), headers.encoded)
    return batch


def _encode_compiled(kernels: library.Kernels, runs: Sequence[ProducerRecords]) -> bytearray:
    """Write run after run by a compiled loop, the same bytes as `_encode_few`."""
    nothing, none = np.empty(0, np.uint8), np.empty(0, np.int64)
    prepared = []
    room = HEADER.size
    for run in runs:
        keys, values = BytesColumn.of(run.keys), BytesColumn.of(run.values)
        head, tails, size, counts, encoded = _NO_HEADERS, nothing, 0, none, (nothing, none, none)
        room += keys.nbytes + values.nbytes + _RECORD_BYTES * len(run)
        if isinstance(run.headers, EncodedHeaders):
            head, counts = b"", np.ascontiguousarray(run.headers.counts, np.int64)
            encoded = run.headers.encoded.arrays()
            room += run.headers.encoded.nbytes
        elif isinstance(run.headers, LikeHeaders) and len(run):
            size = run.headers.size
            head = _header_bytes(run.headers[0])[:-size]
            tails = np.frombuffer(run.headers.contents, np.uint8)
            room += (len(head) + size) * len(run)
        heads = np.frombuffer(head, np.uint8)
        prepared.append((keys.arrays(), values.arrays(), heads, tails, size, counts, encoded))
    batch = bytearray(room)
    out = np.frombuffer(batch, np.uint8)
    at, done = HEADER.size, 0
    for of_keys, of_values, heads, tails, size, counts, encoded in prepared:
        at = kernels.encode_records(
            *of_keys, *of_values, heads, tails, size, counts, *encoded, out, at, done
        )
        done += len(of_values[1])
    del out
    del batch[at:]
    return batch


def _write_tails(
    out: NDArray[np.uint8], at: NDArray[np.int64], first: bytes, headers: LikeHeaders
) -> None:
    """Write headers at the positions: all like the first, except for their contents."""
    tails = np.empty((len(at), len(first)), np.uint8)
    tails[:] = np.frombuffer(first, np.uint8)
    contents = np.frombuffer(headers.contents, np.uint8)
    tails[:, -headers.size :] = contents.reshape(-1, headers.size)
    windows(out, len(first))[at] = tails.view(f"V{len(first)}").ravel()
