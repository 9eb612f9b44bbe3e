"""The one stable hash of the project: Kafka's murmur2, for single keys and for columns.

Knows bytes and text; must not know the purpose of a hash.
Two machines, two releases and the Java client agree on it: state on disk depends on that.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import Buffer, TextColumn, utf8_of, view_at_each_byte
from ewma_ops.compiled import library

__all__ = [
    "murmur2",
    "murmur2_column",
    "ordered_by_partition",
    "partition_for",
    "partition_of_key",
]

_SEED = 0x9747B28C
_M = 0x5BD1E995
_UINT32 = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF
_FEW = 20
"""Below this many ids a call of NumPy costs more than the scalar loop."""
_REMEMBERED = 1 << 13
"""How many ids keep their hashes when readings trickle in: a hash takes 3 us."""
_TAIL_MASKS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], np.uint32)


def murmur2(data: bytes) -> int:
    """Hash bytes as Kafka's Java client does, as an unsigned 32-bit number.

    Source: ``org.apache.kafka.common.utils.Utils.murmur2``, after Austin Appleby's MurmurHash2.

    Examples
    --------
    >>> murmur2(b"21") - 2**32
    -973932308
    """
    size = len(data)
    whole = size & ~3
    hashed = _SEED ^ (size & _UINT32)
    for raw in struct.unpack(f"<{whole >> 2}I", data[:whole]):
        word = raw * _M & _UINT32
        hashed = (hashed * _M & _UINT32) ^ ((word ^ word >> 24) * _M & _UINT32)
    if whole != size:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * _M & _UINT32
    hashed = (hashed ^ hashed >> 13) * _M & _UINT32
    return hashed ^ hashed >> 15


def partition_of_key(key: bytes, n: int) -> int:
    """Choose one of ``n >= 1`` partitions for a key: `partition_for` of one.

    Examples
    --------
    >>> partition_of_key(b"21", 7)
    3
    """
    return (murmur2(key) & _POSITIVE) % n


@lru_cache(_REMEMBERED)
def _hash_of(series_id: str) -> int:
    return murmur2(utf8_of(series_id))


def murmur2_column(ids: Sequence[str]) -> NDArray[np.uint32]:
    """Hash the UTF-8 of each id: ``murmur2`` of all of them, a word of every id at a time.

    Parameters
    ----------
    ids
        n texts of any length. A lone surrogate, which UTF-8 cannot encode, counts as its
        three bytes, so that every ``str`` has a hash.

    Returns
    -------
    uint32[n]

    Examples
    --------
    >>> murmur2_column(["21", "foobar"]).view("i4").tolist()
    [-973932308, -790332482]
    """
    if len(ids) < _FEW:
        return np.array(list(map(_hash_of, ids)), np.uint32)
    utf8 = TextColumn.of(ids).utf8
    if library.kernels is not None:
        hashes = np.empty(len(utf8), np.uint32)
        library.kernels.murmur2(*utf8.arrays(), hashes)
        return hashes
    return _hash_runs(utf8.data, view_at_each_byte(utf8.data, "<u4"), utf8.starts, utf8.sizes)


def partition_for(hashes: NDArray[np.uint32], n: int) -> NDArray[np.int32]:
    """Choose one of ``n >= 1`` partitions for each hash, as Kafka's default partitioner does.

    Examples
    --------
    >>> partition_for(murmur2_column(["21", "foobar"]), 7).tolist()
    [3, 0]
    """
    return ((hashes & np.uint32(_POSITIVE)) % np.uint32(n)).astype(np.int32)


def ordered_by_partition(hashes: NDArray[np.uint32], n: int) -> tuple[NDArray[np.intp], list[int]]:
    """Order hashes by the partition that `partition_for` chooses; return where each one ends.

    The list begins with 0. Hashes of one partition keep their order.

    Examples
    --------
    >>> order, ends = ordered_by_partition(np.array([5, 4, 7], np.uint32), 2)
    >>> order.tolist(), ends
    ([1, 0, 2], [0, 1, 3])
    """
    if library.kernels is not None:
        order, ends = np.empty(len(hashes), np.int64), np.empty(n + 1, np.int64)
        library.kernels.order_by_partition(np.ascontiguousarray(hashes), order, ends)
        return order, ends.tolist()
    partitions = partition_for(hashes, n)
    counts = np.bincount(partitions, minlength=n)
    if n == 1:
        return np.arange(len(hashes)), [0, len(hashes)]
    # NumPy sorts 16-bit integers by radix, several times faster than longer ones.
    short = partitions.astype(np.uint16) if n <= 1 << 16 else partitions
    return np.argsort(short, kind="stable"), [0, *np.cumsum(counts).tolist()]


def _hash_runs(
    data: Buffer,
    words: NDArray[np.uint32],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> NDArray[np.uint32]:
    m = np.uint32(_M)
    hashed = sizes.astype(np.uint32) ^ np.uint32(_SEED)
    ends = starts + (sizes & ~3)
    live, at = np.arange(len(sizes)), starts
    while True:
        longer = at < ends[live] if len(live) < len(ends) else at < ends
        if not longer.all():
            live, at = live[longer], at[longer]
        if len(live) < _FEW:
            break
        word = words[at]
        word *= m
        word ^= word >> np.uint32(24)
        word *= m
        if len(live) == len(hashed):
            hashed *= m
            hashed ^= word
        else:
            hashed[live] = hashed[live] * m ^ word
        at = at + 4
    tail = sizes & 3
    has_tail = np.flatnonzero(tail)
    mask = _TAIL_MASKS[tail[has_tail]]
    hashed[has_tail] = (hashed[has_tail] ^ (words[ends[has_tail]] & mask)) * m
    hashed ^= hashed >> np.uint32(13)
    hashed *= m
    hashed ^= hashed >> np.uint32(15)
    for i in live.tolist():  # the few that are much longer than the rest
        hashed[i] = murmur2(bytes(data[starts[i] : starts[i] + sizes[i]]))
    return hashed
