"""SeriesIndex: the row of each series id.

Knows ids, their UTF-8 and their hashes; must not know what is kept in a row, or streams.

A dictionary of a million ids takes 130 MB and, far beyond any processor's cache, a third of the
time of a flow: each look-up waits for memory several times. Here ids and hashes are columns, and a
run of ids is looked up together: one wait for all. It is open addressing with linear probing, at
most half full, by Python's own hash of text: nobody can choose ids that collide, as it differs from
process to process. What has the same hash is compared byte by byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import StateError
from ewma_ops.murmur2 import murmur2_runs

__all__ = ["EncodedIds", "SeriesIndex"]

_FREE = -1
_LEAST_SLOTS = 1 << 10
_REMEMBERED = 1 << 14
"""Ids in a dictionary beside the columns: all of them while they are few, else the last found."""
_WORD = 8
_FIRST_BYTES = np.array([(1 << 8 * n) - 1 for n in range(_WORD + 1)], np.uint64)
"""What to look at of a word of which n bytes are of the id."""
_SPARE = bytes(_WORD)
"""Behind the UTF-8, so that a word can be read at any byte of it."""


class EncodedIds(NamedTuple):
    """Series ids end to end in UTF-8, and the bytes of each."""

    utf8: bytes
    sizes: NDArray[np.uint32]


class _Column:
    """An array that grows at its end."""

    __slots__ = ("_room", "size")

    def __init__(self, dtype: type[Any]) -> None:
        self._room: NDArray[Any] = np.empty(_LEAST_SLOTS, dtype)
        self.size = 0

    @property
    def values(self) -> NDArray[Any]:
        return self._room[: self.size]

    def extend(self, more: NDArray[Any]) -> None:
        size = self.size + len(more)
        if size > len(self._room):
            room = np.empty(max(size, size + size // 4), self._room.dtype)
            room[: self.size] = self.values
            self._room = room
        self._room[self.size : size] = more
        self.size = size


class SeriesIndex:
    """Give each series id a row: the next one, when it is first seen.

    Costs about 50 bytes a series, for ids of 12 characters.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._utf8 = bytearray(_SPARE)
        self._ends = _Column(np.int64)  # of each id in the UTF-8, behind a first one of none
        self._ends.extend(np.zeros(1, np.int64))
        self._hashes = _Column(np.int64)
        self._stable = _Column(np.uint32)
        self._slots = np.full(_LEAST_SLOTS, _FREE, np.int32)
        self._remembered: dict[str, int] = {}

    def __len__(self) -> int:
        return self._hashes.size

    def find(self, series_id: str) -> int | None:
        """Return the row of a series id, if it has one."""
        row = self._remembered.get(series_id)
        if row is None:
            row = self._probe_one(series_id)
            if row is not None:
                if len(self._remembered) == _REMEMBERED:
                    self._remembered.clear()
                self._remembered[series_id] = row
        return row

    def _probe_one(self, series_id: str) -> int | None:
        """Do as `_probe`, for one id in plain Python."""
        code, last = hash(series_id), len(self._slots) - 1
        hashes, ends = self._hashes.values, self._ends.values
        slot = code & last
        while (row := int(self._slots[slot])) != _FREE:
            if hashes[row] == code:
                start, stop = ends[row : row + 2].tolist()
                if self._utf8[start:stop] == _utf8(series_id):
                    return row
            slot = (slot + 1) & last
        return None

    def locate(self, series_ids: Sequence[str]) -> NDArray[np.intp]:
        """Return the row of each series id, adding the new ones."""
        try:
            return np.fromiter(map(self._remembered.__getitem__, series_ids), np.intp)
        except KeyError:  # not remembered, or new
            pass
        rows = self._probe(series_ids)
        absent = np.flatnonzero(rows == _FREE)
        if len(absent):
            new = list(map(series_ids.__getitem__, absent.tolist()))
            fresh = dict(zip(dict.fromkeys(new), count(len(self))))
            rows[absent] = np.fromiter(map(fresh.__getitem__, new), np.intp, len(new))
            self._append(list(fresh))
        if len(self) <= _REMEMBERED:
            self._remembered.update(zip(series_ids, rows.tolist(), strict=True))
        return rows

    def extend(self, ids: bytes, sizes: NDArray[np.uint32]) -> None:
        """Give ids that another index returned as :meth:`encoded` the next rows.

        Raises
        ------
        StateError
            If one of them is there already; nothing is changed then.
        """
        texts = _texts(ids, sizes)
        if len(set(texts)) < len(texts) or (self._probe(texts) != _FREE).any():
            raise StateError(
                "a series is in the state twice, so its parts are not of one moment: put back a "
                "copy of the recovery directory that is, or start with a new one"
            )
        self._append(texts)

    def ids(self) -> list[str]:
        """Return all ids, by row."""
        return _texts(*self.encoded())

    def encoded(self, rows: NDArray[np.intp] | None = None) -> EncodedIds:
        """Return all ids, or those of some rows."""
        if rows is None:
            utf8 = bytes(self._utf8[: -len(_SPARE)])
            return EncodedIds(utf8, np.diff(self._ends.values).astype(np.uint32))
        starts = self._ends.values[rows]
        sizes = self._ends.values[rows + 1] - starts
        ends = np.cumsum(sizes)
        at = np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
        utf8 = np.frombuffer(self._utf8, np.uint8)[at].tobytes()
        return EncodedIds(utf8, sizes.astype(np.uint32))

    def hashes(self) -> NDArray[np.uint32]:
        """Return the stable hash of every id, by row."""
        known = self._stable.size
        if known < len(self):
            ends = self._ends.values[known:]
            fresh = bytes(memoryview(self._utf8)[int(ends[0]) : -len(_SPARE)])
            self._stable.extend(murmur2_runs(fresh, np.diff(ends)))
        return self._stable.values

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Forget every id but those of some rows, which move up."""
        kept = _texts(*self.encoded(rows))
        self._clear()
        self._append(kept)

    def _append(self, fresh: list[str]) -> None:
        """Give ids that are not there the next rows."""
        known = len(self)
        hashes, (utf8, sizes) = _columns(fresh)
        self._utf8[-len(_SPARE) :] = utf8 + _SPARE
        self._ends.extend(self._ends.values[-1] + np.cumsum(sizes, dtype=np.int64))
        self._hashes.extend(hashes)
        if 2 * len(self) > len(self._slots):
            self._slots = np.full(1 << (4 * len(self) - 1).bit_length(), _FREE, np.int32)
            known = 0
        self._occupy(np.arange(known, len(self), dtype=np.int32))

    def _occupy(self, rows: NDArray[np.int32]) -> None:
        last = len(self._slots) - 1
        slot = self._hashes.values[rows] & last
        while len(rows):
            free = self._slots[slot] == _FREE
            self._slots[slot[free]] = rows[free]  # of two that want it one gets it
            left = self._slots[slot] != rows
            rows, slot = rows[left], (slot[left] + 1) & last

    def _probe(self, series_ids: Sequence[str]) -> NDArray[np.intp]:
        """Return the row of each id, or `_FREE`."""
        hashes, encoded = _columns(series_ids)
        rows = np.full(len(hashes), _FREE, np.intp)
        last, known = len(self._slots) - 1, self._hashes.values
        at, slot = np.arange(len(hashes)), hashes & last
        while len(at) and len(known):
            found = self._slots[slot]
            taken = found != _FREE
            same = taken & (known[found] == hashes[at])
            rows[at] = np.where(same, found, _FREE)
            on = np.flatnonzero(taken & ~same)
            at, slot = at[on], (slot[on] + 1) & last
        there = np.flatnonzero(rows != _FREE)
        for alike in there[~self._equal(rows[there], encoded, there)].tolist():
            row = self._probe_one(series_ids[alike])
            rows[alike] = _FREE if row is None else row
        return rows

    def _equal(
        self, rows: NDArray[np.intp], others: EncodedIds, at: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        """Tell which ids of some rows are the same bytes as some of others."""
        own, words = _words(self._utf8), _words(others.utf8 + _SPARE)
        ends, left = self._ends.values, others.sizes.astype(np.int64)
        start, left = (np.cumsum(left) - left)[at], left[at]
        own_start = ends[rows]
        equal: NDArray[np.bool_] = ends[rows + 1] - own_start == left
        at = np.arange(len(rows))
        while len(at):
            differ = (own[own_start] ^ words[start]) & _FIRST_BYTES[np.minimum(left, _WORD)]
            equal[at] &= differ == 0
            on = np.flatnonzero(equal[at] & (left > _WORD))
            at, left = at[on], left[on] - _WORD
            own_start, start = own_start[on] + _WORD, start[on] + _WORD
        return equal


def _columns(series_ids: Sequence[str]) -> tuple[NDArray[np.int64], EncodedIds]:
    n = len(series_ids)
    hashes = np.fromiter(map(hash, series_ids), np.int64, n)
    text = "".join(series_ids)
    utf8 = _utf8(text)
    pieces = series_ids if len(utf8) == len(text) else map(_utf8, series_ids)
    return hashes, EncodedIds(utf8, np.fromiter(map(len, pieces), np.uint32, n))


def _texts(utf8: bytes, sizes: NDArray[np.uint32]) -> list[str]:
    ends = np.cumsum(sizes, dtype=np.int64).tolist()
    spans = zip(ends, sizes.tolist(), strict=True)
    return [utf8[end - size : end].decode("utf-8", "surrogatepass") for end, size in spans]


def _words(data: bytes | bytearray) -> NDArray[np.uint64]:
    """View bytes as the 8-byte little-endian word that begins at each of them but the last 7."""
    words: NDArray[np.uint64] = np.ndarray((len(data) - _WORD + 1,), "<u8", data, strides=(1,))
    return words


def _utf8(series_id: str) -> bytes:
    return series_id.encode("utf-8", "surrogatepass")
