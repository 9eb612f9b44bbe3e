"""Batches that are very long when decompressed: read piece by piece, with long records cut.

Knows the record format; must not know codecs, nor what is in a record. A few kilobytes on the wire
may expand to gigabytes of blanks: never more is held than one piece and one cut record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ewma_ops.columns.byte_columns import SPARE
from ewma_ops.errors import CorruptBatch
from ewma_ops.wire.varint import encode_varint, read_varint

__all__ = ["KEPT_BYTES", "Stretch", "stretches"]

KEPT_BYTES = (8 << 20) + 1
"""Most bytes kept of a key, a value or headers in such a batch: one more than a reader may allow,
so that a cut one is recognized as too long."""

_STRETCH_BYTES = 1 << 20
_VARINT_BYTES = 10


class Stretch(NamedTuple):
    """Some records of a batch, and the offset delta of the last."""

    records: bytes
    n_records: int
    last_delta: int


def stretches(chunks: Iterator[bytes], n_records: int) -> Iterator[Stretch]:
    """Split the records of a batch into pieces of about 1 MiB.

    Keys and values longer than `KEPT_BYTES` are cut to that, and longer headers are left out.

    Raises
    ------
    CorruptBatch
        If a record is malformed; those before it are yielded first.
    """
    stream = _Stream(chunks)
    out, n, delta = bytearray(), 0, 0
    for _ in range(n_records):
        length = stream.varint()
        if length < 0:
            raise CorruptBatch(f"a length of {length} bytes")
        if length <= KEPT_BYTES:
            body = stream.take(length)
            if len(body) < length:
                raise CorruptBatch(f"a length of {length} bytes where {len(body)} are left")
        else:
            body = _cut(stream, length)
        delta = _delta(body)
        out += encode_varint(len(body))
        out += body
        n += 1
        if len(out) >= _STRETCH_BYTES:
            yield Stretch(bytes(out), n, delta)
            out, n = bytearray(), 0
    if stream.take(1):
        raise CorruptBatch("bytes are left after the last record")
    if n:
        yield Stretch(bytes(out), n, delta)


def _delta(body: bytes) -> int:
    data = body[: 1 + 2 * _VARINT_BYTES] + SPARE
    _, at = read_varint(data, 1)
    return read_varint(data, at)[0]


def _cut(stream: _Stream, length: int) -> bytes:
    """Read a record that is too long; return the kept part."""
    end = stream.at + length
    pieces = [stream.take(1), encode_varint(stream.varint()), encode_varint(stream.varint())]
    for _ in ("key", "value"):
        size = stream.varint()
        if size > end - stream.at:
            raise CorruptBatch(f"a field of {size} bytes where {end - stream.at} are left")
        kept = stream.take(min(max(size, 0), KEPT_BYTES))
        stream.skip(max(size, 0) - len(kept))
        pieces += [encode_varint(-1 if size < 0 else len(kept)), kept]
    left = end - stream.at
    if left <= 0:
        raise CorruptBatch("its fields end after its length")
    if left <= KEPT_BYTES:
        pieces.append(stream.take(left))
    else:
        stream.skip(left)
        pieces.append(encode_varint(0))
    return b"".join(pieces)


class _Stream:
    """A stream of bytes in chunks; ``at`` is how many were read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._place = 0
        self.at = 0

    def _more(self) -> bool:
        if self._place < len(self._chunk):
            return True
        self._chunk, self._place = next(self._chunks, b""), 0
        return bool(self._chunk)

    def take(self, size: int) -> bytes:
        """Return that many bytes, or the rest."""
        pieces: list[bytes] = []
        while size > 0 and self._more():
            piece = self._chunk[self._place : self._place + size]
            self._place += len(piece)
            self.at += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, size: int) -> None:
        """Skip bytes without keeping them."""
        while size > 0:
            if not self._more():
                raise CorruptBatch(f"its data ends {size} bytes early")
            step = min(size, len(self._chunk) - self._place)
            self._place += step
            self.at += step
            size -= step

    def varint(self) -> int:
        """Read a varint."""
        data = b""
        while len(data) < _VARINT_BYTES:
            byte = self.take(1)
            data += byte
            if not byte or byte[0] < 0x80:
                break
        if not data or data[-1] >= 0x80:
            raise CorruptBatch("its data ends within a number, or one is longer than 64 bits")
        return read_varint(data + SPARE, 0)[0]
