"""Columns of byte strings and texts: a buffer, and where each string starts and stops in it.

Knows bytes; must not know their meaning or their source.

Creating Python objects for a million messages costs more than all computing on them. So messages
stay in the buffer that they came in, and are read through windows: an array of the first w bytes at
each of n places. Opening a window takes as long for 64 bytes as for 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ewma_ops.compiled import library

__all__ = [
    "SPARE",
    "Buffer",
    "BytesColumn",
    "TextColumn",
    "copy_into",
    "joined",
    "lay_out",
    "lean_pair",
    "split",
    "taken",
    "utf8_of",
    "view_at_each_byte",
    "windows",
    "words_at",
]

Buffer = bytes | bytearray | NDArray[np.uint8]

SPARE = bytes(64)
"""Padding behind a buffer, so that a window of up to 64 bytes can start at any of its bytes.

Zeros also end any varint.
"""

_WORD = 8
_SEPARATOR = "\0"
_LEAN = 8
"""A buffer that is kept for long may have this many times the bytes of its strings."""


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Column(Sequence[T_co]):
    """A sequence that compares and prints like the list of its items."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, type(self)) else other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return repr(list(self))


class BytesColumn(_Column["bytes | None"]):
    """n byte strings or nulls in one buffer; each is cut out when it is accessed.

    Parameters
    ----------
    data
        The buffer; it ends with `SPARE`.
    starts, stops
        int64[n]; for a null, stop < start.

    Examples
    --------
    >>> spans = BytesColumn.of([b"ab", None, b"c"])
    >>> spans.take(np.array([2, 0])), spans.sizes.tolist()
    ([b'c', b'ab'], [2, -1, 1])
    """

    __slots__ = ("data", "starts", "stops")

    def __init__(self, data: Buffer, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        self.data, self.starts, self.stops = data, starts, stops

    @classmethod
    def of(cls, pieces: Sequence[bytes | None]) -> BytesColumn:
        """Return a column of byte strings; a column is returned as it is."""
        if isinstance(pieces, BytesColumn):
            return pieces
        try:
            sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))  # type: ignore[arg-type]  # None raises, as it should
            data = b"".join(pieces)  # type: ignore[arg-type]  # there is no None
        except TypeError:
            sizes = np.array([-1 if piece is None else len(piece) for piece in pieces], np.int64)
            data = b"".join([piece or b"" for piece in pieces])
        return _laid_end_to_end(data, sizes)

    @staticmethod
    def concat(parts: Sequence[BytesColumn]) -> BytesColumn:
        """Join one or more columns end to end, leaving out unused parts of their buffers."""
        if len(parts) == 1:
            return parts[0]
        sizes = np.concatenate([part.sizes for part in parts])
        return _laid_end_to_end(b"".join([part.packed() for part in parts]), sizes)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """int64[n] bytes, -1 for null."""
        sizes: NDArray[np.int64] = np.maximum(self.stops - self.starts, -1)
        return sizes

    @property
    def nbytes(self) -> int:
        """Total number of bytes of the strings."""
        if library.kernels is not None:
            starts, stops = map(np.ascontiguousarray, (self.starts, self.stops))
            return library.kernels.count_bytes(starts, stops)
        return int(np.maximum(self.stops - self.starts, 0).sum())

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
        """Return the buffer, starts and stops as compiled loops take them."""
        data = self.data
        return (
            data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8),
            np.ascontiguousarray(self.starts, np.int64),
            np.ascontiguousarray(self.stops, np.int64),
        )

    def take(self, at: NDArray[np.intp]) -> BytesColumn:
        """Return the strings at the places ``at``, in that order, in the same buffer."""
        return BytesColumn(self.data, self.starts[at], self.stops[at])

    def lean(self) -> BytesColumn:
        """Return the strings in a buffer of their own, if this one is many times as large."""
        if len(self.data) <= _LEAN * self.nbytes + len(SPARE):
            return self
        return _laid_end_to_end(self.packed(), self.sizes)

    def packed(self) -> bytes:
        """Return the strings end to end, nulls as empty."""
        sizes = self.sizes
        if len(self) and (self.starts[1:] == self.stops[:-1]).all() and sizes.min() >= 0:
            return bytes(self.data[int(self.starts[0]) : int(self.stops[-1])])
        np.maximum(sizes, 0, out=sizes)
        ends = np.cumsum(sizes)
        into = np.empty(int(sizes.sum()), np.uint8)
        copy_into(into, ends - sizes, self)
        return into.tobytes()

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...

    @overload
    def __getitem__(self, at: slice) -> BytesColumn: ...

    def __getitem__(self, at: int | slice) -> bytes | BytesColumn | None:
        if isinstance(at, slice):
            return BytesColumn(self.data, self.starts[at], self.stops[at])
        start, stop = int(self.starts[at]), int(self.stops[at])
        return None if stop < start else bytes(self.data[start:stop])

    def __iter__(self) -> Iterator[bytes | None]:
        data, low = _bytes_of(self)
        stops = np.maximum(self.stops - low, 0).tolist()
        spans = zip((self.starts - low).tolist(), stops, strict=True)
        pieces: list[bytes | None] = [data[start:stop] for start, stop in spans]
        for at in np.flatnonzero(self.stops < self.starts).tolist():
            pieces[at] = None
        return iter(pieces)

    def __reduce__(self) -> tuple[Any, ...]:
        return _laid_end_to_end, (self.packed(), self.sizes)


def _bytes_of(spans: BytesColumn) -> tuple[bytes, int]:
    """Return the part of the buffer that holds the byte strings, and where it starts."""
    if isinstance(spans.data, bytes):
        return spans.data, 0
    if not len(spans):
        return b"", 0
    low = int(spans.starts.min())
    return bytes(spans.data[low : max(int(spans.stops.max()), low)]), low


def lean_pair(
    inner: Sequence[bytes | None], outer: Sequence[bytes | None]
) -> tuple[Sequence[bytes | None], Sequence[bytes | None]]:
    """Make columns lean, as `BytesColumn.lean` does, of which one may be parts of the other."""
    if not (isinstance(inner, BytesColumn) and isinstance(outer, BytesColumn)):
        return inner, outer
    lean = outer.lean()
    if inner.data is not outer.data:
        return inner.lean(), lean
    if lean is outer:
        return inner, outer
    moved = lean.starts - outer.starts
    return BytesColumn(lean.data, inner.starts + moved, inner.stops + moved), lean


def _laid_end_to_end(packed: bytes, sizes: NDArray[np.int64]) -> BytesColumn:
    whole = np.maximum(sizes, 0)
    starts = np.cumsum(whole) - whole
    return BytesColumn(packed + SPARE, starts, starts + sizes)


class TextColumn(_Column[str]):
    r"""n texts as a column of their UTF-8; each is decoded when it is accessed.

    A lone surrogate, which UTF-8 cannot encode, is stored as its three bytes, so any text fits.

    Examples
    --------
    >>> texts = TextColumn.of(["a", "été"])
    >>> texts[1], texts.utf8, list(texts)
    ('été', [b'a', b'\xc3\xa9t\xc3\xa9'], ['a', 'été'])
    """

    __slots__ = ("utf8",)

    def __init__(self, utf8: BytesColumn) -> None:
        self.utf8 = utf8

    @classmethod
    def of(cls, texts: Sequence[str]) -> TextColumn:
        """Return a column of texts; a column is returned as it is."""
        if isinstance(texts, TextColumn):
            return texts
        utf8 = split(utf8_of(_SEPARATOR.join(texts)), ord(_SEPARATOR))
        if len(utf8) != len(texts):  # there are no texts, or one contains the separator
            utf8 = BytesColumn.of(list(map(utf8_of, texts)))
        return cls(utf8)

    @staticmethod
    def concat(parts: Sequence[TextColumn]) -> TextColumn:
        """Join one or more columns end to end."""
        return TextColumn(BytesColumn.concat([part.utf8 for part in parts]))

    def take(self, at: NDArray[np.intp]) -> TextColumn:
        """Return the texts at the places ``at``, in that order."""
        return TextColumn(self.utf8.take(at))

    def __len__(self) -> int:
        return len(self.utf8)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> TextColumn: ...

    def __getitem__(self, at: int | slice) -> str | TextColumn:
        if isinstance(at, slice):
            return TextColumn(self.utf8[at])
        start, stop = int(self.utf8.starts[at]), int(self.utf8.stops[at])
        return bytes(self.utf8.data[start:stop]).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        data, low = _bytes_of(self.utf8)
        starts, stops = self.utf8.starts - low, self.utf8.stops - low
        spans = zip(starts.tolist(), stops.tolist(), strict=True)
        return (data[start:stop].decode("utf-8", "surrogatepass") for start, stop in spans)

    def __reduce__(self) -> tuple[Any, ...]:
        return TextColumn, (self.utf8,)


def split(data: bytes, separator: int) -> BytesColumn:
    """Split bytes at every separator, as ``bytes.split`` does.

    Examples
    --------
    >>> split(b"a,bc,", ord(","))
    [b'a', b'bc', b'']
    """
    bounds = np.flatnonzero(np.frombuffer(data, np.uint8) == separator)
    return BytesColumn(data + SPARE, np.append(0, bounds + 1), np.append(bounds, len(data)))


_COLUMNS: tuple[Any, ...] = (BytesColumn, TextColumn)


def taken(items: Sequence[T], at: NDArray[np.intp]) -> Sequence[T]:
    """Return the items at some places: of a column as a column, of another sequence as a list."""
    if isinstance(items, _COLUMNS):
        column: Sequence[T] = items.take(at)
        return column
    return [items[i] for i in at.tolist()]


def joined(parts: Sequence[Sequence[T]]) -> Sequence[T]:
    """Join one or more sequences end to end: columns of one kind to a column, others to a list."""
    if len(parts) == 1:
        return parts[0]
    for kind in _COLUMNS:
        if all(isinstance(part, kind) for part in parts):
            column: Sequence[T] = kind.concat(parts)
            return column
    return list(chain.from_iterable(parts))


def view_at_each_byte(data: Buffer, dtype: str) -> NDArray[Any]:
    """View a buffer as one item of a dtype at each byte at which a whole item starts."""
    return np.ndarray((len(data) - np.dtype(dtype).itemsize + 1,), dtype, data, strides=(1,))


def windows(data: Buffer, width: int) -> NDArray[np.void]:
    """View a buffer as ``width`` bytes at each byte at which a whole window starts."""
    return view_at_each_byte(data, f"V{width}")


def words_at(data: Buffer, at: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """Return uint64[n, count]: the 8-byte little-endian words that follow each of n places."""
    opened = windows(data, _WORD * count)[at]
    return opened.view("<u8").reshape(len(at), count)


def copy_into(into: NDArray[np.uint8], at: NDArray[np.int64], spans: BytesColumn) -> None:
    """Copy byte strings to the places ``at`` of a buffer; nulls copy nothing.

    Those of 2^k to 2^(k+1) - 1 bytes are copied together, by a window of 2^k at their beginning
    and one at their end.
    """
    if library.kernels is not None:
        library.kernels.copy_strings(*spans.arrays(), np.ascontiguousarray(at, np.int64), into)
        return
    sizes = np.maximum(spans.stops - spans.starts, 0)
    exponents = np.frexp(sizes)[1]  # of 2^k to 2^(k+1) - 1: k + 1; of 0: 0
    for exponent in np.flatnonzero(np.bincount(exponents)).tolist():
        if exponent == 0:
            continue
        width = 1 << (exponent - 1)
        rows = np.flatnonzero(exponents == exponent)
        source, target = windows(spans.data, width), windows(into, width)
        begin, first = at[rows], spans.starts[rows]
        left = sizes[rows] - width
        target[begin] = source[first]
        target[begin + left] = source[first + left]


def lay_out(pieces: Sequence[bytes | BytesColumn], n: int) -> BytesColumn:
    """Put n > 0 byte strings together, each of several pieces: bytes that all have, or its own.

    None of them may be a null.

    Examples
    --------
    >>> lay_out([b"<", BytesColumn.of([b"a", b"bc"]), b">"], 2)
    [b'<a>', b'<bc>']
    """
    sizes = [len(p) if isinstance(p, bytes) else p.stops - p.starts for p in pieces]
    widths = [int(np.max(size)) for size in sizes]
    # Behind each there is room for what a window has beside the last piece.
    room = max((width for width in widths if width <= len(SPARE)), default=0)
    ends = np.cumsum(sum(sizes, np.full(n, room)))
    into = np.zeros(int(ends[-1]) + len(SPARE), np.uint8)
    starts = np.zeros(n, np.int64)
    starts[1:] = ends[:-1]
    at = starts.copy()
    for piece, size, width in zip(pieces, sizes, widths, strict=True):
        if isinstance(piece, BytesColumn) and width > len(SPARE):
            copy_into(into, at, piece)
        elif width:
            window = np.void(piece) if isinstance(piece, bytes) else _cut(piece, width)
            windows(into, width)[at] = window
        at += size
    return BytesColumn(into, starts, at)


def _cut(spans: BytesColumn, width: int) -> NDArray[np.void]:
    return windows(spans.data, width)[spans.starts]


def utf8_of(text: str) -> bytes:
    """Encode any text; a lone surrogate, which UTF-8 cannot encode, as its three bytes."""
    return text.encode("utf-8", "surrogatepass")
