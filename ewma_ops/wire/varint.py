"""Zigzag varints, one at a time and a column at a time.

Knows the number format of record batches (protocol buffers' sint64); must not know the meaning of
the numbers. A column is read through a view of 8 bytes at every position, so a varint of any length
takes one gather and a few shifts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import view_at_each_byte
from ewma_ops.errors import CorruptBatch

__all__ = [
    "ONE_BYTE",
    "LongVarintError",
    "encode_varint",
    "read_varint",
    "read_varints",
    "varint_sizes",
    "words_of",
    "write_varints",
]

ONE_BYTE = [(byte >> 1) ^ -(byte & 1) for byte in range(128)]
"""The varints of one byte, for lookup without a call."""

_MAX_BYTES = 10
_STOPS = np.uint64(0x8080808080808080)
_ONES = np.uint64(0x0101010101010101)
_ONE = np.uint64(1)
_GAPS = tuple(  # between groups of 7 bits, then of 14, then of 28: bits below and above, and gap
    (np.uint64(below), np.uint64(above), np.uint64(gap))
    for below, above, gap in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)


class LongVarintError(Exception):
    """The column has a varint of more than 8 bytes: read it one at a time."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the zigzag varint at `at` and the position after it.

    Raises
    ------
    CorruptBatch
        If it does not end within 10 bytes or does not fit 64 bits.
    """
    raw = shift = 0
    for position in range(at, at + _MAX_BYTES):
        byte = data[position]
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            if raw >> 64:
                break
            return (raw >> 1) ^ -(raw & 1), position + 1
        shift += 7
    raise CorruptBatch(f"the varint at byte {at} is longer than 64 bits")


def encode_varint(value: int) -> bytes:
    """Return the zigzag varint of an int64."""
    return _CODES[value] if 0 <= value < len(_CODES) else _encode(value)


def _encode(value: int) -> bytes:
    raw = (value << 1) ^ (value >> 63)
    out = bytearray()
    while raw > 0x7F:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


_CODES = [_encode(value) for value in range(1024)]  # the usual case


def words_of(data: bytes) -> NDArray[np.uint64]:
    """View `data` as the 8-byte little-endian word that begins at each position but the last 7."""
    return view_at_each_byte(data, "<u8")


def read_varints(
    words: NDArray[np.uint64], at: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the zigzag varints at the positions `at` and the positions after them.

    Every position must have 8 bytes of buffer.

    Raises
    ------
    LongVarintError
        If one of them is longer than 8 bytes.
    """
    word = words[at]
    if not (word & np.uint64(0x80)).any():
        raw = (word & np.uint64(0x7F)).astype(np.int64)
        return (raw >> 1) ^ -(raw & 1), at + 1
    stops = ~word & _STOPS
    if not stops.all():
        raise LongVarintError
    within = stops ^ (stops - _ONE)  # all bits up to the first byte without a continuation bit
    size = ((within & _ONES) * _ONES) >> np.uint64(56)
    word &= within & ~_STOPS
    for below, above, gap in _GAPS:
        word = word & below | (word & above) >> gap
    raw = word.astype(np.int64)
    return (raw >> 1) ^ -(raw & 1), at + size.astype(np.int64)


def varint_sizes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many bytes the zigzag varint of each int32 value takes."""
    raw = _zigzag(values)
    highest = int(raw.max(initial=0))
    sizes = np.ones(len(values), np.int64)
    for bits in (7, 14, 21, 28):
        if highest >> bits == 0:
            break
        sizes += raw >= 1 << bits
    return sizes


def write_varints(out: NDArray[np.uint8], at: NDArray[np.int64], values: NDArray[np.int64]) -> None:
    """Write the zigzag varint of each int32 value at its position."""
    raw = _zigzag(values)
    while True:
        more = raw > 0x7F
        out[at] = raw & 0x7F | more * np.int64(0x80)
        if not more.any():
            return
        at, raw = at[more] + 1, raw[more] >> 7


def _zigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return values << 1 ^ values >> 63
