"""`Origins`: the input position of each reading, which identifies it.

Knows partitions, offsets and ordinals as columns; must not know topics, or how they are encoded.

A partition is known by a number: that of its topic, 31 bits, before its own, 32. A topic that is
read alone may have the number 0, so that its partitions have their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Origins", "alike", "numbered", "packed", "partition_of", "topic_of", "unpacked"]

_PARTITION_BITS = 32
_PARTITION_MASK = (1 << _PARTITION_BITS) - 1
_PAIR = np.dtype([("offset", ">i8"), ("ordinal", ">u8")])


class Origins(NamedTuple):
    """The input position of each reading: partition and offset of its message, ordinal in it.

    Parameters
    ----------
    partitions
        int64[n] or int32[n], numbers of the messages' input partitions, 0 or more.
    offsets
        int64[n], offsets of the messages.
    ordinals
        uint64[n], 0, 1, 2 ... for the readings of one message; ``None`` if all are 0.

    Examples
    --------
    >>> ordinals = np.array([0, 1, 0], np.uint64)
    >>> origins = Origins(np.zeros(3, np.int32), np.array([7, 7, 8]), ordinals)
    >>> origins.take(slice(1, 3)).offsets.tolist()
    [7, 8]
    """

    partitions: NDArray[np.int64] | NDArray[np.int32]
    offsets: NDArray[np.int64]
    ordinals: NDArray[np.uint64] | None = None

    def take(self, at: NDArray[np.intp] | slice) -> Origins:
        """Return the origins of the readings at ``at``, in that order."""
        ordinals = None if self.ordinals is None else self.ordinals[at]
        return Origins(self.partitions[at], self.offsets[at], ordinals)

    @staticmethod
    def concat(parts: Sequence[Origins]) -> Origins:
        """Join one or more columns of origins end to end."""
        ordinals = None
        if any(part.ordinals is not None for part in parts):
            ordinals = np.concatenate([part.ordinals_or_zeros() for part in parts])
        return Origins(
            np.concatenate([part.partitions for part in parts]),
            np.concatenate([part.offsets for part in parts]),
            ordinals,
        )

    def ordinals_or_zeros(self) -> NDArray[np.uint64]:
        """Return the ordinals, zeros if there are none."""
        return np.zeros(len(self.offsets), np.uint64) if self.ordinals is None else self.ordinals

    def by_partition(self) -> Iterator[tuple[int, NDArray[np.intp]]]:
        """Yield each partition, and the places of its readings, in order."""
        partitions = self.partitions
        if not len(partitions):
            return
        first = partitions[0]
        if (partitions == first).all():
            yield int(first), np.arange(len(partitions))
            return
        order = np.argsort(partitions, kind="stable")
        ordered = partitions[order]
        cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        for places in np.split(order, cuts):
            yield int(partitions[places[0]]), places


_Numbers = TypeVar("_Numbers", int, NDArray[np.int64])


def numbered(topic: _Numbers, partition: _Numbers) -> _Numbers:
    """Return the number of a partition, or of each.

    Examples
    --------
    >>> number = numbered(3, 7)
    >>> topic_of(number), partition_of(number)
    (3, 7)
    """
    return topic << _PARTITION_BITS | partition


def topic_of(number: _Numbers) -> _Numbers:
    """Return the topic's part of a partition's number."""
    return number >> _PARTITION_BITS


def partition_of(number: _Numbers) -> _Numbers:
    """Return the partition's own part of its number, as Kafka has it."""
    return number & _PARTITION_MASK


def packed(offsets: NDArray[np.int64], ordinals: NDArray[np.uint64] | None) -> NDArray[Any]:
    """Return (offset, ordinal) pairs as one column that sorts and compares as the pairs do.

    Just the offsets if all ordinals are 0; else strings of 16 bytes, the most significant first.
    Offsets are >= 0.

    Examples
    --------
    >>> column = packed(np.array([1, 1]), np.array([2, 300], np.uint64))
    >>> bool(column[0] < column[1]), [part.tolist() for part in unpacked(column)]
    (True, [[1, 1], [2, 300]])
    """
    if ordinals is None or not ordinals.any():
        return offsets
    return _as_pairs(offsets, ordinals)


def alike(*columns: NDArray[Any]) -> list[NDArray[Any]]:
    """Return packed columns in one form, so that they compare: all as pairs if one has ordinals.

    Examples
    --------
    >>> pairs = packed(np.array([5]), np.array([1], np.uint64))
    >>> [column.dtype.itemsize for column in alike(np.array([5]), pairs)]
    [16, 16]
    """
    if len({column.dtype.kind for column in columns}) == 1:
        return list(columns)
    return [column if column.dtype.kind == "S" else _as_pairs(column) for column in columns]


def _as_pairs(
    offsets: NDArray[np.int64], ordinals: NDArray[np.uint64] | int = 0
) -> NDArray[np.bytes_]:
    pairs = np.empty(len(offsets), _PAIR)
    pairs["offset"], pairs["ordinal"] = offsets, ordinals
    return pairs.view(f"S{_PAIR.itemsize}")


def unpacked(column: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.uint64] | None]:
    """Return the offsets and the ordinals of a :func:`packed` column."""
    if column.dtype.kind != "S":
        return column, None
    pairs = column.view(_PAIR)
    return pairs["offset"].astype(np.int64), pairs["ordinal"].astype(np.uint64)
