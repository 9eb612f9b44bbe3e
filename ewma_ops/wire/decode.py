"""The records of checked batches to columns.

Knows the record format inside a batch; must not know the batch's header, codecs or transactions.
Many records are decoded together: the starts of records are guessed from the bytes that end the
first one, and checked by the lengths, or else found by a loop; then each field of all records is
read at once. Few records are read one by one, which is faster for them, gives the same columns, and
explains what is wrong with a corrupt one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import SPARE, BytesColumn
from ewma_ops.compiled import library
from ewma_ops.errors import CorruptBatch
from ewma_ops.wire.headers import EncodedHeaders, Headers, read_bytes, read_headers
from ewma_ops.wire.varint import (
    ONE_BYTE,
    LongVarintError,
    read_varint,
    read_varints,
    words_of,
)

__all__ = ["Batch", "Columns", "decode_records", "read_record"]

_FEW_RECORDS = 80  # below this NumPy's cost per call outweighs the loop
_FEW_COMPILED = 28
"""The same, if there is a compiled loop."""
_HEADER_ROUNDS = 8  # records with more headers than this are read one by one
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1
_SAFE_MS = 2**62  # a base this small and a delta of 8 varint bytes stay within 64 bits


class Columns(NamedTuple):
    """A run of records as the columns of ``ConsumerRecords``, and where to go on.

    ``next_offset`` follows everything that was read, including control batches, aborted
    transactions and records that compaction removed. A run may be empty and still advance it.
    """

    offsets: NDArray[np.int64]
    timestamps_ms: NDArray[np.int64]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers] | None
    next_offset: int

    def cut(self, where: slice, next_offset: int) -> Columns:
        """Return some of the records, with another ``next_offset``."""
        headers = None if self.headers is None else self.headers[where]
        return Columns(
            self.offsets[where],
            self.timestamps_ms[where],
            self.keys[where],
            self.values[where],
            headers,
            next_offset,
        )


_Row = tuple[int, int, "bytes | None", "bytes | None", Headers]


class Batch(NamedTuple):
    """One record batch whose header is checked.

    `records` is decompressed, holds at least 7 bytes for each of `n_records`, and is empty when
    there are none. `base_ms` is the time of every record if it is an `append_time`, else what
    their deltas count from. The offsets of several batches ascend.
    """

    base_offset: int
    last_offset: int
    base_ms: int
    append_time: bool
    n_records: int
    records: memoryview | bytes


def decode_records(batches: list[Batch]) -> tuple[Columns | None, CorruptBatch | None]:
    """Decode the records of batches up to the first corrupt one.

    Returns
    -------
    columns
        Of the batches before the corrupt one, or ``None`` when it is the first.
    failure
        What is wrong with the corrupt one, or ``None`` when there is none.
    """
    data = b"".join([*(batch.records for batch in batches), SPARE])
    kernels = library.kernels
    fewest = _FEW_RECORDS if kernels is None else min(_FEW_COMPILED, _FEW_RECORDS)
    if sum(batch.n_records for batch in batches) >= fewest:
        try:
            decode = _decode_many if kernels is None else partial(_decode_compiled, kernels)
            return decode(data, batches), None
        except (_DoubtError, LongVarintError):
            pass  # the loop gives the columns after all, or says what is wrong
    return _decode_few(data, batches)


# --- one by one ---


def read_record(
    data: bytes, at: int, stop: int
) -> tuple[int, int, bytes | None, bytes | None, Headers, int]:
    """Return timestamp delta, offset delta, key, value, headers and where the record ends.

    `data` must have at least 64 bytes after `stop`, the end of the batch's records.

    Raises
    ------
    CorruptBatch
        If the record is not one, or reaches beyond `stop`.
    """
    length, at = read_varint(data, at)
    end = at + length
    if not 0 <= length <= stop - at:
        raise CorruptBatch(f"a length of {length} bytes where {stop - at} are left")
    at += 1  # a byte of attributes, none of them in use
    # Nearly all numbers take one byte: without a call a record takes two thirds of the time.
    byte = data[at]
    delta_ms, at = (ONE_BYTE[byte], at + 1) if byte < 0x80 else read_varint(data, at)
    byte = data[at]
    delta, at = (ONE_BYTE[byte], at + 1) if byte < 0x80 else read_varint(data, at)
    key, at = read_bytes(data, at, end)
    value, at = read_bytes(data, at, end)
    byte = data[at]
    count, at = (ONE_BYTE[byte], at + 1) if byte < 0x80 else read_varint(data, at)
    headers: Headers = []
    if count:
        headers, at = read_headers(data, at, end, count)
    if at != end:
        raise CorruptBatch(f"its fields end at byte {at}, its length says {end}")
    return delta_ms, delta, key, value, headers, at


def _decode_few(data: bytes, batches: list[Batch]) -> tuple[Columns | None, CorruptBatch | None]:
    """Decode record by record: the reference for `_decode_many`."""
    rows: list[_Row] = []
    failure = None
    next_offset = None
    stop = 0
    for batch in batches:
        start, stop = stop, stop + len(batch.records)
        done = len(rows)
        try:
            _read_batch(data, start, stop, batch, rows)
        except CorruptBatch as error:
            failure = CorruptBatch(
                f"the batch of offsets {batch.base_offset} to {batch.last_offset}, record "
                f"{len(rows) - done} of {batch.n_records}: {error}"
            )
            del rows[done:]
            break
        next_offset = batch.last_offset + 1
    columns = None if next_offset is None else _transpose(rows, next_offset)
    return columns, failure


def _read_batch(data: bytes, at: int, stop: int, batch: Batch, rows: list[_Row]) -> None:
    """Add the records of one batch to the rows."""
    last_offset = batch.base_offset - 1
    for _ in range(batch.n_records):
        delta_ms, delta, key, value, headers, at = read_record(data, at, stop)
        offset = batch.base_offset + delta
        if not last_offset < offset <= batch.last_offset:
            raise CorruptBatch(f"offset {offset} follows {last_offset}")
        last_offset = offset
        timestamp_ms = batch.base_ms if batch.append_time else batch.base_ms + delta_ms
        if not _MIN_INT64 <= timestamp_ms <= _MAX_INT64:
            raise CorruptBatch(f"a timestamp of {timestamp_ms} ms is beyond 64 bits")
        rows.append((offset, timestamp_ms, key, value, headers))
    if at != stop:
        raise CorruptBatch(f"{stop - at} bytes are left after the last one")


def _transpose(rows: list[_Row], next_offset: int) -> Columns:
    if not rows:
        nothing = np.empty(0, np.int64)
        return Columns(nothing, nothing, [], [], None, next_offset)
    offsets, timestamps_ms, keys, values, headers = zip(*rows, strict=True)
    return Columns(
        np.array(offsets, np.int64),
        np.array(timestamps_ms, np.int64),
        list(keys),
        list(values),
        list(headers) if any(headers) else None,
        next_offset,
    )


# --- all at once ---


def _decode_compiled(kernels: library.Kernels, data: bytes, batches: list[Batch]) -> Columns:
    """Decode by a compiled loop, which gives up in the same cases as `_decode_many`."""
    counts = np.array([batch.n_records for batch in batches], np.int64)
    out = np.empty((9, int(counts.sum())), np.int64)
    offsets, timestamps_ms, key_starts, key_stops, starts, stops, header_counts, *spans = out
    every_header = kernels.decode_records(
        np.frombuffer(data, np.uint8),
        np.array([len(batch.records) for batch in batches], np.int64),
        counts,
        np.array([batch.base_offset for batch in batches], np.int64),
        np.array([batch.last_offset for batch in batches], np.int64),
        np.array([batch.base_ms for batch in batches], np.int64),
        np.array([batch.append_time for batch in batches], np.uint8),
        *out,
    )
    _expect(every_header != library.DOUBT)
    headers = EncodedHeaders(header_counts, BytesColumn(data, *spans)) if every_header else None
    keys, values = BytesColumn(data, key_starts, key_stops), BytesColumn(data, starts, stops)
    return Columns(offsets, timestamps_ms, keys, values, headers, batches[-1].last_offset + 1)


class _DoubtError(Exception):
    """Something is unusual: read the records one by one."""


def _expect(good: np.bool[bool] | bool) -> None:
    if not good:
        raise _DoubtError


def _decode_many(data: bytes, batches: list[Batch]) -> Columns:
    """Decode a column at a time; every check that fails is a `_DoubtError`."""
    counts = np.array([batch.n_records for batch in batches])
    words = words_of(data)
    starts, at, ends = _record_bounds(data, words, int(counts.sum()))
    _expect_at_batches(starts, batches, counts)
    deltas_ms, at = read_varints(words, at + 1)  # one byte of attributes, none of them in use
    deltas, at = read_varints(words, at)
    key_starts, key_stops, at = _spans(words, at, ends)
    starts, stops, at = _spans(words, at, ends)
    header_counts, at = read_varints(words, at)
    headers = None
    if header_counts.any():
        begin = at
        at = _skip_headers(words, header_counts, at, ends)
        headers = EncodedHeaders(header_counts, BytesColumn(data, begin, at))
    _expect((at == ends).all())
    offsets = np.repeat([batch.base_offset for batch in batches], counts) + deltas
    last_offsets = np.repeat([batch.last_offset for batch in batches], counts)
    _expect((deltas >= 0).all() and (offsets <= last_offsets).all())
    _expect((offsets[1:] > offsets[:-1]).all())
    timestamps_ms = _timestamps(batches, counts, deltas_ms)
    keys, values = BytesColumn(data, key_starts, key_stops), BytesColumn(data, starts, stops)
    return Columns(offsets, timestamps_ms, keys, values, headers, batches[-1].last_offset + 1)


_Places = NDArray[np.int64]


def _record_bounds(
    data: bytes, words: NDArray[np.uint64], total: int
) -> tuple[_Places, _Places, _Places]:
    """Return where records start, go on behind their lengths, and end."""
    starts = _guessed_starts(data, total)
    bodies = None if starts is None else _bodies(data, words, starts)
    if starts is None or bodies is None:
        starts = _followed_starts(data, total)
        bodies = _bodies(data, words, starts)
    if bodies is None:
        raise _DoubtError
    return starts, *bodies


def _guessed_starts(data: bytes, total: int) -> _Places | None:
    """Return where records start if all end like the first one, and nothing else looks like that.

    That is the last byte of its value, such as a brace, and no headers.
    """
    try:
        end = read_record(data, 0, len(data) - len(SPARE))[-1]
    except CorruptBatch:
        return None
    last, before = data[end - 1], data[end - 2]
    column = np.frombuffer(data, np.uint8)[: -len(SPARE)]
    ends = np.flatnonzero(column == last)
    ends = ends[column[ends - 1] == before]
    if len(ends) != total or ends[-1] != len(column) - 1:
        return None
    starts = np.zeros(total, np.int64)
    starts[1:] = ends[:-1] + 1
    return starts


def _followed_starts(data: bytes, total: int) -> _Places:
    """Return where records start, from length to length."""
    try:
        return np.array(_starts(data, total), np.int64)
    except (IndexError, OverflowError, CorruptBatch):
        raise _DoubtError from None


def _bodies(
    data: bytes, words: NDArray[np.uint64], starts: _Places
) -> tuple[_Places, _Places] | None:
    """Return where records continue after their lengths, and end; ``None`` if a length differs."""
    ends = np.empty_like(starts)
    ends[:-1] = starts[1:]
    ends[-1] = len(data) - len(SPARE)
    if not (starts < ends).all():
        return None
    try:
        lengths, at = read_varints(words, starts)
    except LongVarintError:
        return None
    return (at, ends) if (lengths == ends - at).all() else None


def _expect_at_batches(starts: _Places, batches: list[Batch], counts: NDArray[np.int64]) -> None:
    """Make the first record of each batch start where the batch does."""
    sizes = np.array([len(batch.records) for batch in batches])
    filled = counts > 0
    _expect((starts[(counts.cumsum() - counts)[filled]] == (sizes.cumsum() - sizes)[filled]).all())


def _starts(data: bytes, total: int) -> list[int]:
    """Follow the lengths from record to record."""
    starts: list[int] = []
    at = 0
    for _ in range(total):
        starts.append(at)
        low = data[at]
        if low < 0x80:
            at += (low >> 1) + 1
        elif (high := data[at + 1]) < 0x80:
            at += ((low & 0x7F | high << 7) >> 1) + 2
        else:
            length, at = read_varint(data, at)
            at += length
    return starts


def _spans(
    words: NDArray[np.uint64], at: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return where the byte strings with sizes at the positions begin and end.

    A null ends before it begins. The last column holds the positions after them.
    """
    sizes, at = read_varints(words, at)
    _expect((sizes <= ends - at).all())
    return at, at + np.maximum(sizes, -1), at + np.maximum(sizes, 0)


def _skip_headers(
    words: NDArray[np.uint64],
    counts: NDArray[np.int64],
    at: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return where headers end: the first of all records that have one, then the second ..."""
    rounds = int(counts.max())
    _expect(counts.min() >= 0 and rounds <= _HEADER_ROUNDS)
    at = at.copy()
    for done in range(rounds):
        rows = np.flatnonzero(counts > done)
        names, name_ends, behind = _spans(words, at[rows], ends[rows])
        _expect((name_ends >= names).all())
        _, _, at[rows] = _spans(words, behind, ends[rows])
    return at


def _timestamps(
    batches: list[Batch], counts: NDArray[np.int64], deltas_ms: NDArray[np.int64]
) -> NDArray[np.int64]:
    bases_ms = [batch.base_ms for batch in batches]
    if any(batch.append_time for batch in batches):
        deltas_ms = np.where(np.repeat([b.append_time for b in batches], counts), 0, deltas_ms)
    _expect(max(map(abs, bases_ms)) <= _SAFE_MS)
    return np.repeat(np.array(bases_ms), counts) + deltas_ms
