"""SeriesIndex: the row of each series id.

Knows ids, their UTF-8 and that they have hashes (`id_hashes`); must not know the contents of rows,
or streams.

A dictionary of a million ids takes 130 MB and, far beyond any processor's cache, a third of the
time of a flow: each lookup waits for memory several times. Here ids are columns, and a run of them
is looked up together: one wait for all. It is open addressing, at most half full, in steps of 1, 2,
3 slots and so on (which visit every slot); a slot holds the hash of an id and its row, and ids with
the same hash are compared byte by byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import SPARE, BytesColumn, TextColumn, taken, utf8_of, words_at
from ewma_ops.columns.murmur2 import murmur2_column
from ewma_ops.compiled import library
from ewma_ops.errors import START_OVER, StateError
from ewma_ops.table import id_hashes

__all__ = ["EncodedIds", "Located", "SeriesIndex"]

_FREE = np.uint64(2**64 - 1)
_ROW = np.uint64(2**32 - 1)
"""The part of a slot that holds the row; the rest is a hash."""
_HASH_AT = np.uint64(32)
_LEAST_BITS = 10
_AT_A_TIME = 1 << 16  # limits temporary memory while the index grows
_REMEMBERED = 1 << 14
"""Ids in a dictionary beside the columns: all of them while they are few, else the last found."""
_UINT64 = 2**64 - 1


class EncodedIds(NamedTuple):
    """Series ids end to end in UTF-8, and the bytes of each."""

    utf8: bytes
    sizes: NDArray[np.uint32]


class Located(NamedTuple):
    """Rows of some series ids.

    ``found`` holds the ids if they are worth remembering, ``fresh`` each new id once.
    """

    rows: NDArray[np.intp]
    found: Sequence[str] | None = None
    fresh: TextColumn | None = None

    @property
    def n_new(self) -> int:
        """Number of new ids."""
        return 0 if self.fresh is None else len(self.fresh)


class _Column:
    """An array that grows at its end."""

    __slots__ = ("_room", "size")

    def __init__(self, dtype: type[Any]) -> None:
        self._room: NDArray[Any] = np.empty(1 << _LEAST_BITS, dtype)
        self.size = 0

    @property
    def values(self) -> NDArray[Any]:
        return self._room[: self.size]

    @property
    def nbytes(self) -> int:
        return self._room.nbytes

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
        self._utf8 = bytearray(SPARE)
        self._ends = _Column(np.int64)  # of each id in the UTF-8, behind a first one of none
        self._ends.extend(np.zeros(1, np.int64))
        self._stable = _Column(np.uint32)
        self._bits = _LEAST_BITS
        self._slots = np.full(1 << _LEAST_BITS, _FREE)
        self._remembered: dict[str, int] = {}

    def __len__(self) -> int:
        return self._ends.size - 1

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all ids and of what finds them."""
        return len(self._utf8) + self._slots.nbytes + self._ends.nbytes + self._stable.nbytes

    def find(self, series_id: str) -> int | None:
        """Return the row of a series id, if it has one."""
        row = self._remembered.get(series_id)
        if row is None:
            row = self._probe_one(utf8_of(series_id))
            if row is not None:
                if len(self._remembered) == _REMEMBERED:
                    self._remembered.clear()
                self._remembered[series_id] = row
        return row

    def _probe_one(self, utf8: bytes) -> int | None:
        """Scalar twin of `_probe`."""
        hashed, last = id_hashes.hash_one(utf8), len(self._slots) - 1
        slot, tried = hashed >> (id_hashes.HASH_BITS - self._bits), 1
        while (entry := int(self._slots[slot])) != _UINT64:
            if entry >> int(_HASH_AT) == hashed:
                row = entry & int(_ROW)
                start, stop = self._ends.values[row : row + 2].tolist()
                if self._utf8[start:stop] == utf8:
                    return row
            slot, tried = slot + tried & last, tried + 1
        return None

    def locate(self, series_ids: Sequence[str]) -> NDArray[np.intp]:
        """Return the row of each series id, adding the new ones."""
        located = self.look_up(series_ids)
        self.add(located)
        return located.rows

    def look_up(self, series_ids: Sequence[str]) -> Located:
        """Return the row of each series id; `add` gives new ids the rows that are named here."""
        column = isinstance(series_ids, TextColumn)
        if not column:
            try:
                rows = np.fromiter(map(self._remembered.__getitem__, series_ids), np.intp)
                return Located(rows)
            except KeyError:  # not remembered, or new
                pass
        texts = TextColumn.of(series_ids)
        rows = self._probe(texts)
        absent = np.flatnonzero(rows < 0)
        found = None if column else series_ids
        if not len(absent):
            return Located(rows, found)
        new = list(taken(series_ids, absent))
        fresh = defaultdict[str, int](count(len(self)).__next__)
        rows[absent] = np.fromiter(map(fresh.__getitem__, new), np.intp, len(new))
        return Located(rows, found, TextColumn.of(list(fresh)))

    def add(self, located: Located) -> None:
        """Add the new ids of a look-up; no other id may have been added since."""
        rows, found, fresh = located
        if fresh is not None:
            self._append(fresh)
        if found is not None and len(self) <= _REMEMBERED:
            self._remembered.update(zip(found, rows.tolist(), strict=True))

    def extend(self, ids: bytes, sizes: NDArray[np.integer[Any]]) -> None:
        """Give ids that another index returned as :meth:`encoded` the next rows.

        Raises
        ------
        StateError
            If one of them has a row already, or the sizes do not add up; nothing is changed then.
        """
        total = int(sizes.sum(dtype=np.int64))
        if total != len(ids):
            raise StateError(f"there are {len(ids)} bytes of ids, not {total}: damaged state")
        ends = np.cumsum(sizes, dtype=np.int64)
        texts = TextColumn(BytesColumn(ids + SPARE, ends - sizes, ends))
        if len(set(texts.utf8)) < len(texts) or (self._probe(texts) >= 0).any():
            raise StateError(
                "a series is in the state twice, so the recovery files are from different points "
                "in time: restore a consistent copy, or "
                f"{START_OVER}"
            )
        self._append(texts)

    def ids(self) -> list[str]:
        """Return all ids, by row."""
        return list(self.texts())

    def encoded(self, rows: NDArray[np.intp] | None = None) -> EncodedIds:
        """Return all ids, or those of some rows."""
        texts = self.texts() if rows is None else self.texts().take(rows)
        return EncodedIds(texts.utf8.packed(), texts.utf8.sizes.astype(np.uint32))

    def texts(self, first: int = 0) -> TextColumn:
        """Return the ids from row ``first`` on; the column is valid until an id is added."""
        ends = self._ends.values[first:]
        return TextColumn(BytesColumn(self._utf8, ends[:-1], ends[1:]))

    def hashes(self) -> NDArray[np.uint32]:
        """Return the stable hash of every id, by row."""
        known = self._stable.size
        if known < len(self):
            self._stable.extend(murmur2_column(self.texts(known)))
        return self._stable.values

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Keep the ids of some rows, which move up, and remove all others."""
        kept = self.texts().take(rows)
        self._clear()
        self._append(kept)

    def _append(self, fresh: TextColumn) -> None:
        """Give missing ids the next rows."""
        known = len(self)
        self._utf8[-len(SPARE) :] = fresh.utf8.packed() + SPARE
        self._ends.extend(self._ends.values[-1] + np.cumsum(fresh.utf8.sizes))
        hashes = id_hashes.hashes_of(fresh, id_hashes.heads_of(fresh))
        entries = np.arange(known, len(self), dtype=np.uint64) | hashes << _HASH_AT
        if 2 * len(self) > len(self._slots):
            entries = np.concatenate([self._slots[self._slots != _FREE], entries])
            self._bits = (2 * len(self)).bit_length()
            self._slots = np.full(1 << self._bits, _FREE)
        for start in range(0, len(entries), _AT_A_TIME):
            self._occupy(entries[start : start + _AT_A_TIME])

    def _occupy(self, entries: NDArray[np.uint64]) -> None:
        slot, last = self._first_slots(entries >> _HASH_AT), len(self._slots) - 1
        tried = 0
        while len(entries):
            tried += 1
            free = self._slots[slot] == _FREE
            self._slots[slot[free]] = entries[free]  # if two want it, one gets it
            left = self._slots[slot] != entries
            entries, slot = entries[left], slot[left] + tried & last

    def _first_slots(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (hashes >> np.uint64(id_hashes.HASH_BITS - self._bits)).astype(np.int64)

    def _probe(self, texts: TextColumn) -> NDArray[np.intp]:
        """Return the row of each id, or -1."""
        if library.kernels is None:
            return self._probe_by_columns(texts)
        rows = np.empty(len(texts), np.int64)
        utf8 = np.frombuffer(self._utf8, np.uint8)
        library.kernels.probe(
            *texts.utf8.arrays(),
            *id_hashes.FACTORS,
            self._slots,
            self._bits,
            utf8,
            self._ends.values,
            rows,
        )
        for long in np.flatnonzero(rows < -1).tolist():
            row = self._probe_one(utf8_of(texts[long]))
            rows[long] = -1 if row is None else row
        return rows

    def _probe_by_columns(self, texts: TextColumn) -> NDArray[np.intp]:
        heads = id_hashes.heads_of(texts)
        hashes = id_hashes.hashes_of(texts, heads)
        last = len(self._slots) - 1
        slot = self._first_slots(hashes)
        found = self._slots.take(slot)
        same = found >> _HASH_AT == hashes
        rows = np.where(same, found & _ROW, _FREE).view(np.intp)
        at = np.flatnonzero(~same & (found != _FREE))
        slot, tried = slot.take(at), 1
        while len(at):
            slot = slot + tried & last
            tried += 1
            found = self._slots.take(slot)
            same = found >> _HASH_AT == hashes.take(at)
            rows[at[same]] = found[same] & _ROW
            on = np.flatnonzero(~same & (found != _FREE))
            at, slot = at.take(on), slot.take(on)
        there = np.flatnonzero(rows >= 0)
        if len(there) == len(rows):
            equal = self._equal(rows, texts, heads)
        else:
            equal = self._equal(rows[there], texts.take(there), heads[there])
        for alike in there[~equal].tolist():
            row = self._probe_one(utf8_of(texts[alike]))
            rows[alike] = -1 if row is None else row
        return rows

    def _equal(
        self, rows: NDArray[np.intp], others: TextColumn, heads: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Return which ids equal others, byte for byte, whose first words are known."""
        left, start = others.utf8.sizes, others.utf8.starts
        ends = self._ends.values
        own_start = ends[rows]
        step, at_once = id_hashes.STEP, id_hashes.AT_ONCE
        own = words_at(self._utf8, own_start, step) & id_hashes.bytes_of_id(left)
        equal: NDArray[np.bool_] = ends[rows + 1] - own_start == left
        equal &= (own[:, 0] == heads[:, 0]) & (own[:, 1] == heads[:, 1])
        on = at = np.flatnonzero(equal & (left > at_once))
        while len(at):
            left, start = left[on] - at_once, start[on] + at_once
            own_start = own_start[on] + at_once
            differ = words_at(self._utf8, own_start, step) ^ words_at(others.utf8.data, start, step)
            differ &= id_hashes.bytes_of_id(left)
            same = differ[:, 0] | differ[:, 1] == 0
            equal[at] = same
            on = np.flatnonzero(same & (left > at_once))
            at = at[on]
        return equal
