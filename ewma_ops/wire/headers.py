"""The headers of records: of one, of many that are alike, and of many as encoded on the wire.

Knows how headers are laid out inside a record; must not know the rest of it, nor their meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import SPARE, BytesColumn, lay_out
from ewma_ops.errors import CorruptBatch
from ewma_ops.wire.varint import (
    ONE_BYTE,
    encode_varint,
    read_varint,
    varint_sizes,
    write_varints,
)

__all__ = [
    "NULL",
    "EncodedHeaders",
    "Headers",
    "LikeHeaders",
    "encode_header",
    "encode_headers",
    "read_bytes",
    "read_headers",
    "sized",
]

Headers = Sequence[tuple[str, bytes | None]]
"""The headers of one record, in order; a name may repeat."""

NULL = b"\x01"
"""The size of a null, as a varint: -1."""


class LikeHeaders(Sequence[Headers]):
    """One header on each record: all of one name, with contents of one size > 0, end to end.

    Examples
    --------
    >>> LikeHeaders("id", b"aabb", 2)[1]
    (('id', b'bb'),)
    """

    __slots__ = ("contents", "name", "size")

    def __init__(self, name: str, contents: bytes, size: int) -> None:
        self.name, self.contents, self.size = name, contents, size

    def __len__(self) -> int:
        return len(self.contents) // self.size

    @overload
    def __getitem__(self, at: int) -> Headers: ...

    @overload
    def __getitem__(self, at: slice) -> LikeHeaders: ...

    def __getitem__(self, at: int | slice) -> Headers | LikeHeaders:
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            contents = self.contents[start * self.size : max(start, stop) * self.size]
            return LikeHeaders(self.name, contents, self.size)
        start = range(len(self))[at] * self.size
        return ((self.name, self.contents[start : start + self.size]),)

    def like(self, other: LikeHeaders) -> bool:
        """Return whether another's headers are of the same name and size."""
        return (other.name, other.size) == (self.name, self.size)


class EncodedHeaders(Sequence[Headers]):
    """The headers of n records as encoded on the wire; decoded on access.

    Parameters
    ----------
    counts
        int64[n], how many headers each record has.
    encoded
        n byte strings: sizes, names and contents, as `encode_headers` writes them.

    Examples
    --------
    >>> EncodedHeaders.of([[("a", b"1"), ("b", None)], []])[0]
    [('a', b'1'), ('b', None)]
    """

    __slots__ = ("counts", "encoded")

    def __init__(self, counts: NDArray[np.int64], encoded: BytesColumn) -> None:
        self.counts, self.encoded = counts, encoded

    @classmethod
    def of(cls, headers: Sequence[Headers]) -> EncodedHeaders:
        """Encode headers, unless they are encoded."""
        if isinstance(headers, EncodedHeaders):
            return headers
        counts = np.fromiter(map(len, headers), np.int64, len(headers))
        return cls(counts, BytesColumn.of(list(map(encode_headers, headers))))

    @staticmethod
    def concat(parts: Sequence[EncodedHeaders]) -> EncodedHeaders:
        """Join one or more runs end to end."""
        counts = np.concatenate([part.counts for part in parts])
        return EncodedHeaders(counts, BytesColumn.concat([part.encoded for part in parts]))

    def take(self, at: NDArray[np.intp]) -> EncodedHeaders:
        """Return those of the records at ``at``, in that order."""
        return EncodedHeaders(self.counts[at], self.encoded.take(at))

    def followed_by(self, last: LikeHeaders) -> EncodedHeaders:
        """Return them with one more header each, after the others."""
        if not len(self):
            return self
        size = last.size
        ends = np.arange(1, len(self) + 1) * size
        contents = BytesColumn(last.contents + SPARE, ends - size, ends)
        ahead = encode_header(last.name, last.contents[:size])[:-size]
        return EncodedHeaders(self.counts + 1, lay_out([self.encoded, ahead, contents], len(self)))

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, at: int) -> Headers: ...

    @overload
    def __getitem__(self, at: slice) -> EncodedHeaders: ...

    def __getitem__(self, at: int | slice) -> Headers | EncodedHeaders:
        if isinstance(at, slice):
            return EncodedHeaders(self.counts[at], self.encoded[at])
        encoded = self.encoded[at] or b""
        return read_headers(encoded + SPARE, 0, len(encoded), int(self.counts[at]))[0]

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, EncodedHeaders) else other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return repr(list(self))


def encode_header(name: str, content: bytes | None) -> bytes:
    """Encode one header."""
    encoded = name.encode("utf-8", "surrogateescape")  # any bytes, reversibly
    size, piece = (NULL, b"") if content is None else (encode_varint(len(content)), content)
    return b"".join((encode_varint(len(encoded)), encoded, size, piece))


def encode_headers(headers: Headers) -> bytes:
    """Encode the headers of one record, without their number."""
    return b"".join([encode_header(name, content) for name, content in headers])


def sized(pieces: BytesColumn) -> list[bytes | BytesColumn]:
    """Return the pieces of non-null byte strings, each after its size."""
    sizes = pieces.sizes
    widths = varint_sizes(sizes)
    ends = widths.cumsum()
    out = np.zeros(int(ends[-1]) + len(SPARE), np.uint8)
    write_varints(out, ends - widths, sizes)
    return [BytesColumn(out, ends - widths, ends), pieces]


def read_headers(data: bytes, at: int, end: int, count: int) -> tuple[Headers, int]:
    """Return the headers of a record, from a place up to ``end`` at most, and where they end.

    Raises
    ------
    CorruptBatch
        If there are not so many.
    """
    if not 0 <= count <= end - at:
        raise CorruptBatch(f"{count} headers where {end - at} bytes are left")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = read_bytes(data, at, end)
        if name is None:
            raise CorruptBatch("a header without a name")
        content, at = read_bytes(data, at, end)
        headers.append((name.decode("utf-8", "surrogateescape"), content))
    return headers, at


def read_bytes(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    """Return the byte string at a place, which ends at ``end`` at most, and where it ends."""
    byte = data[at]
    size, at = (ONE_BYTE[byte], at + 1) if byte < 0x80 else read_varint(data, at)
    if size < 0:
        return None, at
    if size > end - at:
        raise CorruptBatch(f"a field of {size} bytes where {end - at} are left")
    return data[at : at + size], at + size
