"""Runs of readings to shards: a batch for each shard, which refers to the run and copies nothing.

Knows readings and hashes; must not know tables, state, or how shards are kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import count, groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.murmur2 import murmur2_column
from ewma_ops.columns.readings import Readings, grouped
from ewma_ops.metrics.families import STAGES
from ewma_ops.operators.shard_members import shard_of

__all__ = ["RoutedRun", "ShardBatch", "joined_runs", "route"]

_MANY_PER_SHARD = 2
"""From this many readings a shard on, few shards have none: a run is routed to all of them."""

_numbers = count()
_ROUTE = STAGES["route"]


class RoutedRun:
    """A run of readings on its way to several shards.

    Which reading belongs to which shard is computed only if the shards of the run end up in
    different tables. Runs enter the table in the order of their numbers, because Bytewax may visit
    the shards in another order than that of the runs.
    """

    def __init__(self, readings: Readings, shards: int) -> None:
        self.number = next(_numbers)
        self.readings = readings
        self._shards = shards
        self._shard_of: NDArray[np.uint16] | None = None
        if len(readings) >= _MANY_PER_SHARD * shards:
            self.present = list(range(shards))
        else:
            self.present = sorted(set(self._shard_of_each().tolist()))

    def _shard_of_each(self) -> NDArray[np.uint16]:
        if self._shard_of is None:
            hashes = self.readings.hashes
            if hashes is None:
                hashes = murmur2_column(self.readings.series_ids)
            self._shard_of = shard_of(hashes, self._shards)
        return self._shard_of

    def of(self, shards: list[int]) -> Readings:
        """Return the readings of some shards, in order."""
        if len(shards) == len(self.present):
            return self.readings
        return self.readings.take(np.flatnonzero(np.isin(self._shard_of_each(), shards)))


class ShardBatch(NamedTuple):
    """The part of a run that is routed to one shard; it refers to the run and copies nothing."""

    run: RoutedRun
    shard: int

    def __reduce__(self) -> tuple[Any, ...]:
        # Bytewax pickles twice, to measure and to send: both results must be equal.
        return _received, (self.run.of([self.shard]), self.shard)


class _ReceivedRun(RoutedRun):
    """The part of a run for one shard, received from another process."""

    def __init__(self, readings: Readings, shard: int) -> None:
        self.number = next(_numbers)
        self.readings = readings
        self.present = [shard]


def _received(readings: Readings, shard: int) -> ShardBatch:
    return ShardBatch(_ReceivedRun(readings, shard), shard)


def route(runs: Iterable[Readings], shards: int) -> list[tuple[str, ShardBatch]]:
    """Route runs to shards; return a batch for each shard, with its key."""
    began = time.perf_counter()
    routed = [RoutedRun(run, shards) for run in joined_runs(runs)]
    batches = [(str(shard), ShardBatch(one, shard)) for one in routed for shard in one.present]
    _ROUTE.add(time.perf_counter() - began)
    return batches


def joined_runs(runs: Iterable[Readings]) -> Iterator[Readings]:
    """Join short runs that have the same columns, because a call costs the same for each."""
    for _, alike in groupby(runs, lambda run: (run.times_ms is None, run.weights is None)):
        yield from map(Readings.concat, grouped(alike))
