"""Runs of readings to shards: a batch for each shard, which refers to the run and copies nothing.

Knows readings, hashes and keys; must not know tables, state, or how shards are kept.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count, groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.murmur2 import murmur2_column, ordered_by_partition
from ewma_ops.columns.readings import Readings, grouped
from ewma_ops.metrics.families import STAGES
from ewma_ops.operators.placement import shard_keys

__all__ = ["RoutedRun", "ShardBatch", "joined_runs", "route"]

_MANY_PER_SHARD = 2
"""From this many readings a shard on, few shards have none: if all are on this worker, a run is
routed to all of them without a look at what it holds."""

_numbers = count()
_ROUTE = STAGES["route"]


class RoutedRun:
    """A run of readings on its way to several shards.

    With ``all_here``, this worker has all shards; then which reading belongs to which of them is
    computed only if there are few. Runs enter the table in the order of their numbers, because
    Bytewax may visit the shards in another order than that of the runs.
    """

    def __init__(self, readings: Readings, shards: int, *, all_here: bool = False) -> None:
        self.number = next(_numbers)
        self.readings = readings
        self._shards = shards
        self._by_shard: tuple[NDArray[np.intp], list[int]] | None = None
        self._sent: dict[int, bytes] = {}
        # A heartbeat is for the series that send nothing, of every shard.
        beats = readings.heartbeats is not None
        if beats or (all_here and len(readings) >= _MANY_PER_SHARD * shards):
            self.present = list(range(shards))
        else:
            self.present = [n for n, (a, b) in enumerate(pairwise(self._order()[1])) if a < b]

    def _order(self) -> tuple[NDArray[np.intp], list[int]]:
        """Return the readings' places in the order of shards, and where each shard ends."""
        if self._by_shard is None:
            hashes = self.readings.hashes
            if hashes is None:
                hashes = murmur2_column(self.readings.series_ids)
                self.readings = replace(self.readings, hashes=hashes)
            self._by_shard = ordered_by_partition(hashes, self._shards)
        return self._by_shard

    def of(self, shards: list[int]) -> Readings:
        """Return the readings of some shards, in order."""
        if len(shards) == len(self.present):
            return self.readings
        order, ends = self._order()
        if len(shards) == 1:
            at = order[ends[shards[0]] : ends[shards[0] + 1]]
        else:
            at = np.sort(np.concatenate([order[ends[n] : ends[n + 1]] for n in shards]))
        own, beats = self.readings.take(at), self.readings.heartbeats
        if beats is None:
            return own
        return replace(own, heartbeats=beats.among(at, shards, self._shards))

    def sent(self, shard: int) -> bytes:
        """Return the readings of a shard as another process gets them."""
        if shard not in self._sent:
            self._sent[shard] = pickle.dumps(self.of([shard]), pickle.HIGHEST_PROTOCOL)
        return self._sent[shard]


class ShardBatch(NamedTuple):
    """The part of a run that is routed to one shard; it refers to the run and copies nothing."""

    run: RoutedRun
    shard: int

    def __reduce__(self) -> tuple[Any, ...]:
        # Bytewax pickles twice, to measure and to send: both results must be equal.
        return _received, (self.run.sent(self.shard), self.shard)


class _ReceivedRun(RoutedRun):
    """The part of a run for one shard, received from another process."""

    def __init__(self, readings: Readings, shard: int) -> None:
        self.number = next(_numbers)
        self.readings = readings
        self.present = [shard]
        self._sent = {}


def _received(sent: bytes, shard: int) -> ShardBatch:
    return ShardBatch(_ReceivedRun(pickle.loads(sent), shard), shard)


def route(
    runs: Iterable[Readings], shards: int, *, all_here: bool = False
) -> list[tuple[str, ShardBatch]]:
    """Route runs to shards; return a batch for each shard, with its key."""
    began = time.perf_counter()
    keys = shard_keys(shards)
    routed = [RoutedRun(run, shards, all_here=all_here) for run in joined_runs(runs)]
    batches = [(keys[shard], ShardBatch(one, shard)) for one in routed for shard in one.present]
    _ROUTE.add(time.perf_counter() - began)
    return batches


def joined_runs(runs: Iterable[Readings]) -> Iterator[Readings]:
    """Join short runs that have the same columns, because a call costs the same for each.

    And heartbeats for the same shards.
    """
    for _, alike in groupby(runs, _columns_of):
        yield from map(Readings.concat, grouped(alike))


def _columns_of(run: Readings) -> tuple[bool, bool, tuple[int, ...]]:
    shards = () if run.heartbeats is None else run.heartbeats.shards
    return run.times_ms is None, run.weights is None, shards
