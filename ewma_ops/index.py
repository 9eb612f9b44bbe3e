"""SeriesIndex: the row of each series id.

Knows ids, their UTF-8 and their hashes; must not know what is kept in a row, or streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import StateError
from ewma_ops.murmur2 import murmur2_runs

__all__ = ["EncodedIds", "SeriesIndex"]


class EncodedIds(NamedTuple):
    """Series ids end to end in UTF-8, and the bytes of each."""

    utf8: bytes
    sizes: NDArray[np.uint32]


class _Rows(dict[str, int]):
    """A row for every id that is asked for: the next one, where it is new."""

    __slots__ = ("fresh",)

    def __init__(self, *known: Iterable[tuple[str, int]]) -> None:
        super().__init__(*known)
        self.fresh: list[str] = []

    def __missing__(self, series_id: str) -> int:
        self[series_id] = row = len(self)
        self.fresh.append(series_id)
        return row


class SeriesIndex:
    """Give each series id a row: the next one, when it is first seen.

    The UTF-8 of the ids is kept end to end, so that a snapshot need not encode millions of them.
    Costs about 130 bytes a series, for ids of 12 characters.
    """

    __slots__ = ("_ends", "_hashes", "_utf8", "rows")

    def __init__(self) -> None:
        self.rows = _Rows()
        self._utf8 = bytearray()
        self._ends = np.zeros(1, np.int64)  # of each id in the UTF-8, behind a first one of none
        self._hashes = np.empty(0, np.uint32)

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, series_ids: Sequence[str]) -> NDArray[np.intp]:
        """Return the row of each series id, adding the new ones."""
        return np.fromiter(map(self.rows.__getitem__, series_ids), np.intp, len(series_ids))

    def extend(self, ids: bytes, sizes: NDArray[np.uint32]) -> None:
        """Give ids that another index returned as :meth:`encoded` the next rows.

        Raises
        ------
        StateError
            If one of them is there already; nothing is changed then.
        """
        ends = np.cumsum(sizes, dtype=np.int64).tolist()
        spans = zip(ends, sizes.tolist(), strict=True)
        texts = [ids[end - size : end].decode("utf-8", "surrogatepass") for end, size in spans]
        fresh = dict(zip(texts, count(len(self))))
        if len(fresh) < len(texts) or not self.rows.keys().isdisjoint(fresh):
            raise StateError(
                "a series is in the state twice, so its parts are not of one moment: put back a "
                "copy of the recovery directory that is, or start with a new one"
            )
        self._encode()
        self.rows |= fresh
        self._append(ids, sizes)

    def encoded(self, rows: NDArray[np.intp] | None = None) -> EncodedIds:
        """Return all ids, or those of some rows."""
        self._encode()
        if rows is None:
            return EncodedIds(bytes(self._utf8), np.diff(self._ends).astype(np.uint32))
        starts = self._ends[rows]
        sizes = self._ends[rows + 1] - starts
        ends = np.cumsum(sizes)
        at = np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
        utf8 = np.frombuffer(self._utf8, np.uint8)[at].tobytes()
        return EncodedIds(utf8, sizes.astype(np.uint32))

    def hashes(self) -> NDArray[np.uint32]:
        """Return the stable hash of every id, by row."""
        known = len(self._hashes)
        if known < len(self):
            self._encode()
            fresh = bytes(memoryview(self._utf8)[int(self._ends[known]) :])
            hashes = murmur2_runs(fresh, np.diff(self._ends[known:]))
            self._hashes = np.concatenate([self._hashes, hashes])
        return self._hashes

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Forget every id but those of some rows, which move up."""
        utf8, sizes = self.encoded(rows)
        ids = list(self.rows)
        self.rows = _Rows(zip(map(ids.__getitem__, rows.tolist()), count()))
        self._utf8, self._ends = bytearray(), np.zeros(1, np.int64)
        self._append(utf8, sizes)
        self._hashes = np.empty(0, np.uint32)

    def _encode(self) -> None:
        fresh, self.rows.fresh = self.rows.fresh, []
        text = "".join(fresh)
        encoded = _utf8(text)
        pieces = fresh if len(encoded) == len(text) else map(_utf8, fresh)
        self._append(encoded, np.fromiter(map(len, pieces), np.uint32, len(fresh)))

    def _append(self, encoded: bytes, sizes: NDArray[np.uint32]) -> None:
        ends = self._ends[-1] + np.cumsum(sizes, dtype=np.int64)
        self._ends = np.concatenate([self._ends, ends])
        self._utf8 += encoded


def _utf8(series_id: str) -> bytes:
    return series_id.encode("utf-8", "surrogatepass")
