"""Which records an output partition has already: what makes a delivery exactly once.

Knows where records came from in the input and where they are in the output; must not know
sockets, Bytewax or what is in a record. Every step is a pure change of a few arrays.

Each record carries its identity in a header: the job, and the position in the input that it was
made of. After a crash the flow goes on from its last durable epoch and makes some records again,
bit for bit. Those that the topic has are recalled by reading the end of the topic back; they are
left out, and only the others are sent.

    base      where to read back from: everything before it is of epochs that are durable
    pending   identities from before ``base`` which the flow has not made again yet
    recalled  pending, and what was read back from ``base`` on

The set is exact. The highest offset of each source partition would not do: records of different
series overtake one another on their way, so that one is there and an earlier one is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.sealed import open_sealed, seal
from ewma_ops.errors import START_OVER, StateError
from ewma_ops.wire.records import Headers, LikeHeaders, Origins

__all__ = ["IDENTITY_HEADER", "Ledger", "LedgerState", "identities", "origins_of"]

IDENTITY_HEADER = "ewma"
"""Short, as it is on every event."""

_VERSION = 1
_KIND = "sink partition"
_IDENTITY = np.dtype([("job", ">u4"), ("partition", ">i4"), ("offset", ">i8")])


class LedgerState(NamedTuple):
    """A ledger between two epochs: ``pending`` holds sorted offsets by source partition."""

    version: int
    base: int
    pending: dict[int, NDArray[np.int64]]

    def sealed(self) -> bytes:
        """Return it as Bytewax keeps it."""
        pending = {str(partition): offsets for partition, offsets in self.pending.items()}
        return seal(_KIND, {"version": self.version, "base": self.base}, pending)

    @classmethod
    def opened(cls, data: object) -> LedgerState:
        """Make a state of what :meth:`sealed` returned; `StateError` if it is damaged."""
        numbers, columns = open_sealed(data, _KIND)
        pending = {int(partition): offsets for partition, offsets in columns.items()}
        return cls(numbers["version"], numbers["base"], pending)


class Ledger:
    """What one output partition has of the records that the flow is going to make.

    Parameters
    ----------
    state
        What :meth:`close_epoch` returned at the end of the epoch before the resumed one.
    start_offsets
        Where the flow began, by source partition: it makes nothing of what is before.

    Examples
    --------
    One record is recalled, two are made: the other one is to be sent.

    >>> ledger = Ledger()
    >>> ledger.recall((np.array([0], np.int32), np.array([7])))
    >>> ledger.admit((np.array([0, 0], np.int32), np.array([7, 8])))
    array([False,  True])
    >>> ledger.reached(40)
    >>> ledger.close_epoch()
    LedgerState(version=1, base=40, pending={})
    """

    def __init__(
        self,
        state: LedgerState | None = None,
        start_offsets: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        if state is not None and state[0] != _VERSION:
            raise StateError(
                f"the state of the output has version {state[0]}, this release reads {_VERSION}: "
                f"resume with the release that wrote it, or {START_OVER}"
            )
        self.base = 0 if state is None else state[1]
        self.end = self.base
        self._recalled: dict[int, NDArray[np.int64]] = {} if state is None else dict(state[2])
        self._handled: dict[int, int] = {p: offset - 1 for p, offset in start_offsets.items()}

    def __len__(self) -> int:
        return sum(map(len, self._recalled.values()))

    def recall(self, origins: Origins) -> None:
        """Note records that the topic has."""
        partitions, offsets = origins
        for partition in np.unique(partitions).tolist():
            found = [offsets[partitions == partition], *self._offsets(partition)]
            recalled = np.unique(np.concatenate(found))
            recalled = recalled[recalled > self._handled.get(partition, -1)]
            if len(recalled):
                self._recalled[partition] = recalled

    def reached(self, end: int) -> None:
        """Note that the topic was read back up to ``end``, or written up to it."""
        self.end = max(self.end, end)

    def admit(self, origins: Origins) -> NDArray[np.bool_]:
        """Note records that the flow has made; return which of them the topic does not have."""
        partitions, offsets = origins
        new = np.ones(len(offsets), np.bool_)
        for partition in np.flatnonzero(np.bincount(partitions)).tolist():
            at = np.flatnonzero(partitions == partition)
            made = offsets[at]
            highest = int(made.max())
            self._handled[partition] = max(highest, self._handled.get(partition, highest))
            for recalled in self._offsets(partition):
                place = np.minimum(np.searchsorted(recalled, made), len(recalled) - 1)
                new[at] = recalled[place] != made
        return new

    def made(self, origins: Origins) -> int:
        """Return how many of some records the flow has made, or will never make again.

        To be called when an epoch closes: it is a whole prefix of each source partition.
        """
        partitions, offsets = origins
        return sum(
            int(np.count_nonzero(offsets[partitions == partition] <= highest))
            for partition, highest in self._handled.items()
        )

    def close_epoch(self) -> LedgerState:
        """Return the state to resume from when this epoch is durable.

        To be called when every record that was admitted is acknowledged. An epoch is a whole
        prefix of each source partition: of what lies before the newest record handled, nothing
        will be made again, and it can be forgotten.
        """
        for partition, highest in self._handled.items():
            for recalled in self._offsets(partition):
                left = recalled[recalled > highest]
                if len(left):
                    self._recalled[partition] = left
                else:
                    del self._recalled[partition]
        self.base = self.end
        return LedgerState(_VERSION, self.base, dict(self._recalled))

    def _offsets(self, partition: int) -> list[NDArray[np.int64]]:
        found = self._recalled.get(partition)
        return [] if found is None else [found]


def identities(job: int, origins: Origins) -> LikeHeaders:
    """Return the header of each record: job, source partition and offset, 16 bytes.

    Examples
    --------
    >>> identities(1, (np.array([2], np.int32), np.array([3]))).contents.hex(" ", 4)
    '00000001 00000002 00000000 00000003'
    """
    partitions, offsets = origins
    rows = np.empty(len(offsets), _IDENTITY)
    rows["job"], rows["partition"], rows["offset"] = job, partitions, offsets
    return LikeHeaders(IDENTITY_HEADER, rows.tobytes(), _IDENTITY.itemsize)


def origins_of(job: int, headers: Sequence[Headers]) -> tuple[NDArray[np.intp], Origins]:
    """Return which records are of a job, by place, and where in the input each is from."""
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
    own = np.flatnonzero(rows["job"] == job)
    rows = rows[own]
    places = np.array(at, np.intp)[own]
    return places, (rows["partition"].astype(np.int32), rows["offset"].astype(np.int64))
