"""Which records an output partition already has: what makes delivery exactly once.

Knows where records came from in the input and where they are in the output; must not know
sockets, Bytewax or what is in a record. Every step changes a few arrays and has no other effect.

Each record carries its identity in a header: the job, and its origin in the input, a message and
which of its readings. After a crash the flow resumes from its last durable epoch and makes some
records again, bit for bit. Those that the topic has are recalled by reading the end of the topic
back; only the others are sent.

    base      where to read back from: everything before it is of epochs that are durable
    pending   identities from before ``base`` which the flow has not made again yet
    recalled  pending, and what was read back from ``base`` on

The set is exact. The highest offset of each source partition would not suffice: records of
different series overtake one another, so one can be there while an earlier one is missing.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.origins import (
    Origins,
    alike,
    numbered,
    packed,
    partition_of,
    topic_of,
    unpacked,
)
from ewma_ops.columns.sealed import open_sealed, seal
from ewma_ops.errors import START_OVER, StateError
from ewma_ops.wire.records import Headers, LikeHeaders

__all__ = ["IDENTITY_HEADER", "Ledger", "LedgerState", "identities", "origin_of", "origins_of"]

IDENTITY_HEADER = "ewma"
"""Short, because every event has it."""

_VERSION = 2
_KIND = "sink partition"
_ORDINALS = " ordinals"
"""Suffix of the names of columns of ordinals in a sealed state."""
_FEW = 16
"""Up to this many, one by one is faster than NumPy's calls."""
_PACKED = struct.Struct(">IiqQ")
_IDENTITY = np.dtype([("job", ">u4"), ("partition", ">i4"), ("offset", ">i8"), ("ordinal", ">u8")])


class LedgerState(NamedTuple):
    """A ledger between two epochs.

    ``pending`` holds a sorted column for each source partition, as `packed` makes it.
    ``fenced`` is whether a transaction kept others from writing after the read-back.
    """

    version: int
    base: int
    pending: dict[int, NDArray[Any]]
    fenced: bool = False

    def sealed(self) -> bytes:
        """Return it as bytes for Bytewax."""
        columns: dict[str, NDArray[Any]] = {}
        for partition, column in self.pending.items():
            columns[str(partition)], ordinals = unpacked(column)
            if ordinals is not None:
                columns[f"{partition}{_ORDINALS}"] = ordinals
        return seal(
            _KIND, {"version": self.version, "base": self.base, "fenced": self.fenced}, columns
        )

    @classmethod
    def opened(cls, data: object) -> LedgerState:
        """Restore a state from :meth:`sealed`; `StateError` if it is damaged."""
        numbers, columns = open_sealed(data, _KIND)
        pending = {
            int(name): packed(offsets, columns.get(name + _ORDINALS))
            for name, offsets in columns.items()
            if not name.endswith(_ORDINALS)
        }
        return cls(numbers["version"], numbers["base"], pending, numbers.get("fenced", False))


class Ledger:
    """Which of the records that the flow will make one output partition already has.

    Parameters
    ----------
    state
        What :meth:`close_epoch` returned at the end of the epoch before the resumed one.
    start_offsets
        Where the flow began, by source partition: it makes no records of earlier input.
    fenced
        As for :class:`LedgerState`.

    Examples
    --------
    One record is recalled, two are made: the other one is to be sent.

    >>> ledger = Ledger()
    >>> ledger.recall(Origins(np.array([0], np.int32), np.array([7])))
    >>> ledger.admit(Origins(np.array([0, 0], np.int32), np.array([7, 8])))
    array([False,  True])
    >>> ledger.reached(40)
    >>> ledger.close_epoch()
    LedgerState(version=2, base=40, pending={}, fenced=False)
    """

    def __init__(
        self,
        state: LedgerState | None = None,
        start_offsets: Mapping[int, int] = MappingProxyType({}),
        *,
        fenced: bool = False,
    ) -> None:
        if state is not None and state[0] != _VERSION:
            raise StateError(
                f"the state of the output has version {state[0]}, this release reads {_VERSION}: "
                f"resume with the release that wrote it, or {START_OVER}"
            )
        self.base = 0 if state is None else state[1]
        self.end = self.base
        self._fenced = fenced
        self._recalled: dict[int, NDArray[Any]] = {} if state is None else dict(state[2])
        self._unsorted: dict[int, list[NDArray[Any]]] = {}
        self._handled: dict[int, int] = {p: offset - 1 for p, offset in start_offsets.items()}

    def __len__(self) -> int:
        self._sort()
        return sum(map(len, self._recalled.values()))

    def recall(self, origins: Origins) -> None:
        """Record what the topic has; sorted when first asked for."""
        ordinals = origins.ordinals
        for partition, places in origins.by_partition():
            offsets = origins.offsets[places]
            ahead = offsets > self._handled.get(partition, -1)
            if ahead.any():
                own = None if ordinals is None else ordinals[places][ahead]
                self._unsorted.setdefault(partition, []).append(packed(offsets[ahead], own))

    def reached(self, end: int) -> None:
        """Record that the topic was read back, or written, up to ``end``."""
        self.end = max(self.end, end)

    def admit(self, origins: Origins) -> NDArray[np.bool_]:
        """Record what the flow has made; return which of these records the topic lacks."""
        if self._unsorted:
            self._sort()
        offsets, ordinals = origins.offsets, origins.ordinals
        new = np.ones(len(offsets), np.bool_)
        if not self._recalled and len(offsets) <= _FEW:
            handled = self._handled
            for partition, offset in zip(
                origins.partitions.tolist(), offsets.tolist(), strict=True
            ):
                if offset > handled.get(partition, -1):
                    handled[partition] = offset
            return new
        for partition, places in origins.by_partition():
            made = offsets[places]
            highest = int(made.max())
            self._handled[partition] = max(highest, self._handled.get(partition, highest))
            recalled = self._recalled.get(partition)
            if recalled is not None:
                own = None if ordinals is None else ordinals[places]
                new[places] = ~_within(recalled, made, own)
        return new

    def made(self, origins: Origins) -> int:
        """Return how many of some records the flow has made, or will never make again.

        To be called when an epoch closes: it is a whole prefix of each source partition, and of a
        message it has all or nothing.
        """
        return sum(
            int(np.count_nonzero(origins.offsets[places] <= self._handled.get(partition, -1)))
            for partition, places in origins.by_partition()
        )

    def close_epoch(self) -> LedgerState:
        """Return the state to resume from when this epoch is durable.

        To be called when every record that was admitted is acknowledged. An epoch is a whole
        prefix of each source partition, of whole messages: of what lies before the newest record
        handled, nothing will be made again, and it can be forgotten.
        """
        self._sort()
        for partition, recalled in list(self._recalled.items()):
            left = recalled[unpacked(recalled)[0] > self._handled.get(partition, -1)]
            if len(left):
                self._recalled[partition] = left
            else:
                del self._recalled[partition]
        self.base = self.end
        return LedgerState(_VERSION, self.base, dict(self._recalled), self._fenced)

    def _sort(self) -> None:
        """Merge what was recalled since the last call, all at once."""
        for partition, found in self._unsorted.items():
            if partition in self._recalled:
                found.append(self._recalled[partition])
            self._recalled[partition] = np.unique(_joined(found))
        self._unsorted = {}


def _within(
    recalled: NDArray[Any], offsets: NDArray[np.int64], ordinals: NDArray[np.uint64] | None
) -> NDArray[np.bool_]:
    """Return which records are among those recalled, a sorted column of one partition."""
    recalled, made = alike(recalled, packed(offsets, ordinals))
    places = np.minimum(np.searchsorted(recalled, made), len(recalled) - 1)
    found: NDArray[np.bool_] = recalled[places] == made
    return found


def _joined(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(alike(*columns))


def identities(job: int, origins: Origins) -> LikeHeaders:
    """Return the header of each record: job, source partition, offset and ordinal, 24 bytes.

    With several input topics, the number of the topic is mixed into that of the job.

    Examples
    --------
    >>> origins = Origins(np.array([2], np.int32), np.array([3]), np.array([1], np.uint64))
    >>> identities(1, origins).contents.hex(" ", 4)
    '00000001 00000002 00000000 00000003 00000000 00000001'
    """
    if len(origins.offsets) <= _FEW:
        return LikeHeaders(IDENTITY_HEADER, _few_identities(job, origins), _IDENTITY.itemsize)
    rows = np.empty(len(origins.offsets), _IDENTITY)
    numbers = origins.partitions.astype(np.int64)
    rows["job"] = job ^ topic_of(numbers)
    rows["partition"], rows["offset"] = partition_of(numbers), origins.offsets
    rows["ordinal"] = 0 if origins.ordinals is None else origins.ordinals
    return LikeHeaders(IDENTITY_HEADER, rows.tobytes(), _IDENTITY.itemsize)


def _few_identities(job: int, origins: Origins) -> bytes:
    offsets, ordinals = origins.offsets.tolist(), origins.ordinals
    parts = [0] * len(offsets) if ordinals is None else ordinals.tolist()
    return b"".join(
        [
            _PACKED.pack(job ^ topic_of(number), partition_of(number), offset, ordinal)
            for number, offset, ordinal in zip(
                origins.partitions.tolist(), offsets, parts, strict=True
            )
        ]
    )


def origins_of(
    job: int, headers: Sequence[Headers], topics: Collection[int] = (0,)
) -> tuple[NDArray[np.intp], Origins]:
    """Return the places of the records that belong to a job, and the origin of each.

    Parameters
    ----------
    job
        Hash of the job's name.
    headers
        Those of each record.
    topics
        Numbers of the input topics: records of other topics are not the job's.
    """
    at, found = [], []
    for i, named in enumerate(headers):
        # The last one counts: a dead letter has the headers of its original before ours.
        for name, content in reversed(named):
            if name == IDENTITY_HEADER:
                if content is not None and len(content) == _IDENTITY.itemsize:
                    at.append(i)
                    found.append(bytes(content))
                break
    rows = np.frombuffer(b"".join(found), _IDENTITY)
    of_topics = rows["job"].astype(np.int64) ^ job
    own = np.flatnonzero(np.isin(of_topics, list(topics)))
    rows = rows[own]
    ordinals = rows["ordinal"].astype(np.uint64)
    return np.array(at, np.intp)[own], Origins(
        numbered(of_topics[own], rows["partition"].astype(np.int64)),
        rows["offset"].astype(np.int64),
        ordinals if ordinals.any() else None,
    )


def origin_of(headers: Headers) -> tuple[int, int] | None:
    """Return the input partition and offset that an identity in some headers names.

    None without one. The topic is not among it: it is in the job's hash.
    """
    for name, content in reversed(headers):
        if name == IDENTITY_HEADER:
            if content is None or len(content) != _IDENTITY.itemsize:
                return None
            (found,) = np.frombuffer(content, _IDENTITY)
            return int(found["partition"]), int(found["offset"])
    return None
