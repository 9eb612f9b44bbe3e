"""The parts of messages besides payloads, and the fields read from messages.

Knows columns; must not know how payloads are read, nor any bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn, taken

__all__ = ["Fields", "Headers", "RecordFields", "distinct"]


Headers = Sequence[tuple[str, bytes | None]]


class RecordFields(NamedTuple):
    """The parts of n records besides payloads; ``None`` for those that are not needed.

    ``headers`` of a record are in order, and the last of a name counts.
    """

    keys: Sequence[bytes | None]
    timestamps_ms: NDArray[np.int64]
    headers: Sequence[Headers] | None = None
    partitions: Sequence[int] | NDArray[np.int32] | None = None
    topics: Sequence[str] | None = None

    def take(self, at: NDArray[np.intp]) -> RecordFields:
        """Return those of some records; one may come several times."""
        keys, timestamps_ms, headers, partitions, topics = self
        return RecordFields(
            taken(keys, at),
            timestamps_ms[at],
            None if headers is None else taken(headers, at),
            None if partitions is None else np.asarray(partitions)[at],
            None if topics is None else taken(topics, at),
        )


def distinct(owners: NDArray[np.intp]) -> int:
    """Count the values of an ascending column."""
    return int(np.count_nonzero(owners[1:] != owners[:-1])) + (len(owners) > 0)


class Fields(NamedTuple):
    """The fields of n payloads, as columns, not checked yet.

    ``ids`` is ``None`` and ``times_ms`` (int64[n] ticks of the job, or float64[n] where those are
    milliseconds, which a float holds exactly) are, where they are not asked for; ``numbers`` is
    float64[n] for each path of them. Where payloads hold several readings, n is how many those are,
    ``owners`` (intp[n], ascending) the places of their payloads, and ``ordinals`` (uint64[n]) count
    them within one. ``included`` are the fields to copy into events, n members of JSON objects, or
    ``None``. ``skipped`` is how many readings were left out of messages that hold others.
    """

    ids: Sequence[str] | None
    times_ms: NDArray[np.float64] | NDArray[np.int64] | None
    numbers: list[NDArray[np.float64]]
    owners: NDArray[np.intp] | None = None
    ordinals: NDArray[np.uint64] | None = None
    included: BytesColumn | None = None
    skipped: int = 0

    def take(self, at: NDArray[np.intp]) -> Fields:
        """Return the fields of some payloads."""
        return Fields(
            None if self.ids is None else TextColumn.of(self.ids).take(at),
            None if self.times_ms is None else self.times_ms[at],
            [column[at] for column in self.numbers],
            included=None if self.included is None else self.included.take(at),
        )

    def merged(self, at: NDArray[np.intp], others: Fields, others_at: NDArray[np.intp]) -> Fields:
        """Join with the fields of others, in the order of their places."""
        order = np.argsort(np.concatenate([at, others_at]), kind="stable")
        ids = times_ms = None
        if self.ids is not None and others.ids is not None:
            ids = TextColumn.concat([TextColumn.of(self.ids), TextColumn.of(others.ids)])
        if self.times_ms is not None and others.times_ms is not None:
            times_ms = np.concatenate([self.times_ms, others.times_ms])
        numbers = map(np.concatenate, zip(self.numbers, others.numbers, strict=True))
        included = None
        if self.included is not None and others.included is not None:
            included = BytesColumn.concat([self.included, others.included])
        return Fields(ids, times_ms, list(numbers), included=included).take(order)
