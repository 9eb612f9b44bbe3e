"""`TableSnapshot`: a copy of the state of a table, and the checks before it is resumed.

Knows arrays by name; must not know tables, or the meaning of the state.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import START_OVER, StateError

__all__ = [
    "VERSION",
    "PackedIds",
    "TableSnapshot",
    "check_sound",
    "narrowed",
    "packed",
]

VERSION = 5


class PackedIds(NamedTuple):
    """The UTF-8 of n ids end to end, in blocks that were `packed`; and uint[n] bytes of each."""

    blocks: tuple[bytes, ...]
    sizes: NDArray[np.unsignedinteger[Any]]

    @classmethod
    def plain(cls, utf8: bytes, sizes: NDArray[np.uint32]) -> PackedIds:
        """Wrap ids without compressing them."""
        return cls((packed(utf8, small=False),), cls.narrow(sizes))

    @staticmethod
    def narrow(sizes: NDArray[np.integer[Any]]) -> NDArray[np.unsignedinteger[Any]]:
        """Return sizes in as few bytes as hold them."""
        return sizes.astype(np.min_scalar_type(sizes.max(initial=0)))

    def utf8(self) -> bytes:
        """Return the ids end to end, uncompressed.

        Raises
        ------
        StateError
            If the blocks are damaged.
        """
        try:
            return b"".join(map(zlib.decompress, self.blocks))
        except zlib.error as error:
            raise StateError(f"series ids cannot be unpacked ({error}): damaged state") from None


class TableSnapshot(NamedTuple):
    """The state of a table as plain arrays: independent of the table.

    ``separate_weights``: each field has weights of its own, because a reading lacked only some of
    them. Whole numbers are `narrowed`. ``alarms`` are the columns of alarms, of the rules that
    ``rules`` tells; none without rules.
    """

    version: int
    fingerprint: str
    ids: PackedIds
    columns: dict[str, NDArray[Any]]
    separate_weights: bool = False
    rules: str = ""
    alarms: dict[str, NDArray[Any]] | None = None

    @classmethod
    def of(
        cls,
        fingerprint: str,
        ids: PackedIds,
        columns: Mapping[str, NDArray[Any]],
        *,
        separate_weights: bool,
    ) -> TableSnapshot:
        """Return a snapshot of the current version."""
        narrow = {name: narrowed(column) for name, column in columns.items()}
        return cls(VERSION, fingerprint, ids, narrow, separate_weights)

    def plain(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the snapshot as numbers and text, and as arrays and bytes, both by name."""
        numbers = {
            "table": [self.version, self.fingerprint, self.separate_weights, len(self.ids.blocks)]
        }
        blocks = {f"ids/{i}": block for i, block in enumerate(self.ids.blocks)}
        columns = {f"state/{name}": column for name, column in self.columns.items()}
        if self.alarms is not None:
            numbers["rules"] = [self.rules]
            columns |= {f"alarms/{name}": column for name, column in self.alarms.items()}
        return numbers, {**blocks, "sizes": self.ids.sizes, **columns}

    @classmethod
    def of_plain(
        cls, numbers: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]
    ) -> TableSnapshot:
        """Return the snapshot that :meth:`plain` gave; whether it fits is not checked here."""
        version, fingerprint, separate_weights, blocks = numbers["table"]
        ids = PackedIds(
            tuple(columns[f"ids/{i}"].tobytes() for i in range(blocks)), columns["sizes"]
        )
        (rules,) = numbers.get("rules", [""])
        state, alarms = (
            {
                name.removeprefix(prefix): column
                for name, column in columns.items()
                if name.startswith(prefix)
            }
            for prefix in ("state/", "alarms/")
        )
        kept = alarms if "rules" in numbers else None
        return cls(version, fingerprint, ids, state, separate_weights, rules, kept)

    def check_fits(self, fingerprint: str) -> None:
        """Refuse a snapshot of another version or of another smoothing.

        Raises
        ------
        StateError
            Naming both versions or smoothings.
        """
        if self.version != VERSION:
            raise StateError(
                f"the snapshot has version {self.version}, this release reads {VERSION}: "
                f"resume with the release that wrote it, or {START_OVER}"
            )
        if self.fingerprint != fingerprint:
            raise StateError(
                f"the snapshot was taken with {self.fingerprint}, but the flow now asks for "
                f"{fingerprint}: resume with the old options, or start from an empty recovery "
                "directory to smooth from the beginning"
            )


def packed(utf8: bytes, *, small: bool = True) -> bytes:
    """Return text as a block of `PackedIds`: a third of the size in 200 ns an id, or as is."""
    return zlib.compress(utf8, zlib.Z_BEST_SPEED if small else zlib.Z_NO_COMPRESSION)


def narrowed(column: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in four bytes if each of them fits; other columns as they are.

    Smaller snapshots are faster to write. Not fewer bytes: their size would grow with the counts.

    Examples
    --------
    >>> narrowed(np.array([1, 300])).dtype, narrowed(np.array([-1])).dtype
    (dtype('uint32'), dtype('int64'))
    """
    if column.dtype.kind == "f" or not column.size:
        return column
    if column.min() < 0 or column.max() > np.iinfo(np.uint32).max:
        return column
    return column.astype(np.uint32)


def check_sound(columns: Mapping[str, NDArray[Any]], n: int) -> None:
    """Refuse columns that cannot be the state of ``n`` series.

    Raises
    ------
    StateError
        Naming the column.
    """
    for name, column in columns.items():
        if column.shape[-1] < n:
            raise StateError(f"column {name!r} has {column.shape[-1]} rows for {n} series")
        own = column[..., :n]
        if own.dtype == np.float64 and not np.isfinite(own).all():
            raise StateError(f"a number of column {name!r} is not finite: damaged state")
        if name.rpartition("/")[2] in ("weight", "count") and not (own >= 0).all():
            raise StateError(f"a number of column {name!r} is negative: damaged state")
