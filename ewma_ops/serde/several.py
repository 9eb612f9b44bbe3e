"""Several readings in one message: which parts of a document they are.

Knows the grammar of ``records`` and plain Python objects; must not know what a reading holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.serde.documents import found_at
from ewma_ops.serde.format import Reasons, Refused
from ewma_ops.serde.numbers import shown
from ewma_ops.serde.paths import Path

__all__ = ["MOST_READINGS", "Rows", "split", "too_many"]

MOST_READINGS = 10_000
"""A message that holds more is rejected as a whole: each of its readings may become a letter."""


class Rows(NamedTuple):
    """The readings of n documents, m of them, in order.

    ``levels[0]`` are the readings' own documents, ``levels[k]`` those k levels out, m of each;
    ``owners`` (intp[m]) the places of their documents, and ``ordinals`` (uint64[m]) count from 0
    within one. ``broken`` says of which rows there is no reading, and why.
    """

    levels: list[list[Any]]
    owners: NDArray[np.intp]
    ordinals: NDArray[np.uint64]
    broken: Reasons


def split(documents: Sequence[Any], records: Sequence[Path], rejected: Reasons) -> Rows:
    """Split documents into their readings; ``rejected`` is by row from here on, not by place.

    Parameters
    ----------
    documents
        Of payloads; one that is rejected already is one row.
    records
        Paths to arrays, each within the items of the one before; or, if they end with ``{}``, to
        objects, whose members are taken as ``{"name": ..., "value": ...}``.
    rejected
        Cause and detail by place.

    Examples
    --------
    >>> from ewma_ops.serde.paths import parse_records
    >>> documents = [{"unit": "C", "data": [1.5, 2.5]}, {"data": []}, {"data": 7}]
    >>> rows = split(documents, parse_records("data[]"), {})
    >>> rows.levels[0], rows.owners.tolist(), rows.ordinals.tolist()
    ([1.5, 2.5, None], [0, 0, 2], [0, 1, 0])
    >>> rows.broken
    {2: ('wrong-type', 'data[] cannot be read: 7 is not an array')}
    """
    rows: list[tuple[Any, ...]] = []
    owners: list[int] = []
    ordinals: list[int] = []
    broken: Reasons = {}
    by_row: Reasons = {}
    depth = len(records)
    for place, document in enumerate(documents):
        first = len(rows)
        if place in rejected:
            by_row[first] = rejected[place]
            rows.append((None,) * (depth + 1))
        else:
            _collect(document, (document,), records, rows, broken)
            if len(rows) - first > MOST_READINGS:
                del rows[first:]
                for row in [row for row in broken if row >= first]:
                    del broken[row]
                by_row[first] = too_many().args
                rows.append((None,) * (depth + 1))
        found = len(rows) - first
        owners += [place] * found
        ordinals += range(found)
    rejected.clear()
    rejected.update(by_row)
    levels = [list(level) for level in zip(*rows, strict=True)] if rows else [[]] * (depth + 1)
    return Rows(levels, np.array(owners, np.intp), np.array(ordinals, np.uint64), broken)


def too_many() -> Refused:
    """Say that a message holds more readings than are taken."""
    return Refused("too-many-readings", f"the message holds more than {MOST_READINGS:,} readings")


def _collect(
    document: Any,
    outer: tuple[Any, ...],
    records: Sequence[Path],
    rows: list[tuple[Any, ...]],
    broken: Reasons,
) -> None:
    """Add the rows below a document; ``outer`` begins with it, and goes outwards."""
    try:
        items = _array(document, records[0])
    except Refused as refused:
        broken[len(rows)] = refused.args
        rows.append((*(None,) * len(records), *outer))
        return
    if len(records) == 1:
        rows.extend((item, *outer) for item in items[: MOST_READINGS + 1])
        return
    first = len(rows)
    for item in items:
        _collect(item, (item, *outer), records[1:], rows, broken)
        if len(rows) - first > MOST_READINGS:
            return


def _array(document: Any, path: Path) -> Sequence[Any]:
    found = found_at(document, path)
    if found is None:
        raise _unreadable(path, "it is absent or null")
    if path.text.endswith("{}"):
        if not isinstance(found, Mapping):
            raise _unreadable(path, f"{shown(found)} is not an object")
        return [{"name": name, "value": value} for name, value in found.items()]
    if not isinstance(found, (list, tuple)):
        raise _unreadable(path, f"{shown(found)} is not an array")
    return found


def _unreadable(path: Path, why: str) -> Refused:
    return Refused("wrong-type", f"{path.text} cannot be read: {why}")
