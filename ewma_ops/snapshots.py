"""What the state of a table is copied to, and whether it may be gone on from.

Knows arrays by name; must not know tables, or what is computed of the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import StateError

__all__ = ["VERSION", "TableSnapshot", "check_fits", "check_sound", "narrowed"]

VERSION = 3


class TableSnapshot(NamedTuple):
    """The state of a table as plain arrays: independent of the table, and picklable.

    ``ids`` is the UTF-8 of all series ids end to end, ``id_sizes`` the bytes of each; ``apart``
    tells that each field has weights of its own, since a reading lacked only some of them. Whole
    numbers are `narrowed`, the sizes to as few bytes as hold them.
    """

    version: int
    fingerprint: str
    ids: bytes
    id_sizes: NDArray[np.integer[Any]]
    columns: dict[str, NDArray[Any]]
    apart: bool = False


def narrowed(column: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in four bytes where these hold each of them; other columns as they are.

    What is written to disk counts. In fewer bytes the state would grow with the readings.

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


def check_fits(snapshot: TableSnapshot, fingerprint: str) -> None:
    """Refuse a snapshot of another version or of another smoothing.

    Raises
    ------
    StateError
        Naming both.
    """
    if snapshot.version != VERSION:
        raise StateError(
            f"the snapshot has version {snapshot.version}, this release reads {VERSION}: "
            "resume with the release that wrote it, or start from an empty recovery directory"
        )
    if snapshot.fingerprint != fingerprint:
        raise StateError(
            f"the snapshot was taken with {snapshot.fingerprint}, but the flow now asks for "
            f"{fingerprint}: resume with the old options, or start from an empty recovery "
            "directory to smooth from the beginning"
        )


def check_sound(columns: Mapping[str, NDArray[Any]], n: int) -> None:
    """Refuse columns of ``n`` series that no readings could have led to.

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
