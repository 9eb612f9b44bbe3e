"""`Heartbeats`: where in a run of readings the clock of a partition's log moves on.

Knows places, positions and times as columns; must not know rules, series or how a clock is read.

No reading of a silent series can reveal its silence. The log shows that time has passed, by the
timestamps of all records of its partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Heartbeat", "Heartbeats"]


class Heartbeat(NamedTuple):
    """One heartbeat, as `Heartbeats` describes it; ``place`` is that of the reading behind it."""

    place: int
    partition: int
    offset: int
    time: int


@dataclass(frozen=True, slots=True, eq=False)
class Heartbeats:
    """Heartbeats of partitions as columns, m of them, in the order in which they came.

    Parameters
    ----------
    places
        int64[m], the reading of the run before which each heartbeat comes, 0 to n.
    partitions, offsets
        int64[m], the number of the input partition, and the offset of the record that moved its
        clock to another second.
    times
        int64[m], that second, in the ticks of the readings.
    shards
        Which of ``of`` groups of series they are for, by `partition_for` of the series' hash.
        Empty for all.

    Examples
    --------
    >>> one = Heartbeats(np.array([2]), np.array([0]), np.array([17]), np.array([5000]))
    >>> list(Heartbeats.concat([one, one], [10, 4]))[1]
    Heartbeat(place=12, partition=0, offset=17, time=5000)
    """

    places: NDArray[np.int64]
    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64]
    shards: tuple[int, ...] = ()
    of: int = 1

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Heartbeat]:
        columns = self.places, self.partitions, self.offsets, self.times
        return map(Heartbeat, *(column.tolist() for column in columns))

    def among(self, at: NDArray[np.intp], shards: Sequence[int], of: int) -> Heartbeats:
        """Return them for some shards, placed among the readings at ``at``, in order."""
        places = np.searchsorted(at, self.places)
        return Heartbeats(
            places, self.partitions, self.offsets, self.times, tuple(sorted(shards)), of
        )

    @staticmethod
    def concat(parts: Sequence[Heartbeats | None], lengths: Sequence[int]) -> Heartbeats | None:
        """Join those of runs of the given lengths; all must be for the same shards."""
        starts = np.append(0, np.cumsum(lengths)[:-1])
        found = [(part, start) for part, start in zip(parts, starts, strict=True) if part]
        if not found:
            return None
        first = found[0][0]
        return Heartbeats(
            np.concatenate([part.places + start for part, start in found]),
            np.concatenate([part.partitions for part, _ in found]),
            np.concatenate([part.offsets for part, _ in found]),
            np.concatenate([part.times for part, _ in found]),
            first.shards,
            first.of,
        )
