"""Shards: how the series of a step are distributed to the workers, and the state of each shard.

Bytewax calls Python once for every key of a batch, and visits every key it holds. So a series is
not a key here: a stable hash of its id routes it to one of a fixed number of shards, and the shard
is the key, the unit of snapshots and of rescaling. All shards of one worker share one table, so a
run costs the same as with a single shard: readings are queued as they arrive, and go through the
table together when the next step or a snapshot asks for them.

    run --route--> a batch for each shard --update--> queue --flush--> table --> smoothed run

`routing` is the first of these steps. Must not know the types of input items, or Kafka.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from bytewax.operators import StatefulBatchLogic
from numpy.typing import NDArray

from ewma_ops.columns.origins import Origins, partition_of
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.columns.sealed import open_sealed, seal
from ewma_ops.errors import ReadingError, StateError
from ewma_ops.metrics.families import READINGS, SNAPSHOTS, STAGES, TABLES
from ewma_ops.monitor.rules import AlarmRules
from ewma_ops.operators.routing import RoutedRun, ShardBatch, joined_runs
from ewma_ops.operators.shard_members import ShardMembers
from ewma_ops.table.alarms import Alarms
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable, TableSnapshot

__all__ = [
    "BatchShard",
    "PendingBatch",
    "Shard",
    "ShardState",
    "Tables",
    "WarmStart",
    "flush",
    "no_log",
]

_MANY_SERIES = 32_768
"""This many new series are assigned to shards at once, in 1-2 ms outside of snapshots."""

_FEW_READINGS = 16
"""Up to this many, one by one is faster than NumPy's calls."""

_KIND = "shard"
_UPDATE = STAGES["update"]


class PendingBatch:
    """The queued readings of a worker's shards and, after `flush`, the smoothed ones."""

    def __init__(self, table: _WorkerTable) -> None:
        self._table = table
        self._shards_of: dict[RoutedRun, list[int]] = {}
        self._smoothed: list[Smoothed] = []
        self.flushed = False

    def add(self, batch: ShardBatch) -> None:
        """Queue the part of a run for one shard."""
        self._shards_of.setdefault(batch.run, []).append(batch.shard)

    def flush(self) -> None:
        """Update the table by the queued readings."""
        if not self.flushed:
            began = time.perf_counter()
            self.flushed = True
            ordered = sorted(self._shards_of.items(), key=lambda item: item[0].number)
            self._smoothed = self._table.take_in(ordered)
            self._shards_of = {}
            _UPDATE.add(time.perf_counter() - began)

    def pop_smoothed(self) -> list[Smoothed]:
        """Flush, and return the smoothed readings, once."""
        self.flush()
        smoothed, self._smoothed = self._smoothed, []
        return smoothed


class ShardState(NamedTuple):
    """The series of a shard, and the newest input offset that it has processed, by partition."""

    shard: int
    series: TableSnapshot
    newest: dict[int, int]

    def sealed(self) -> bytes:
        """Return the state as the bytes that Bytewax stores."""
        numbers, columns = self.series.plain()
        newest = list(self.newest.items())
        return seal(_KIND, {"shard": self.shard, "newest": newest, **numbers}, columns)

    @classmethod
    def opened(cls, data: object) -> ShardState:
        """Return the state that :meth:`sealed` stored.

        Raises
        ------
        StateError
            If it is damaged or of another release.
        """
        numbers, columns = open_sealed(data, _KIND)
        series = TableSnapshot.of_plain(numbers, columns)
        return cls(numbers["shard"], series, dict(numbers["newest"]))


class _WorkerTable:
    """The table that all shards of a worker share."""

    def __init__(self, smoothing_set: SmoothingSet, shards: int, alarms: AlarmRules | None) -> None:
        self.table = SeriesTable(smoothing_set, alarms=alarms)
        TABLES.add(self.table)
        self.joined: set[int] = set()
        self._shards = shards
        self._members = ShardMembers(shards)
        self._newest: dict[int, NDArray[np.int64]] = {}
        self._pending = PendingBatch(self)
        self._until_freed = _MANY_SERIES

    def join(self, shard: int, state: ShardState | None) -> None:
        """Add a shard, with its stored state if there is one."""
        self.joined.add(shard)
        if state is not None:
            self._catch_up()
            self.table.absorb(state.series)
            self._members.add_to(shard, state.series.ids)
            for partition, offset in state.newest.items():
                self._newest_of(partition)[shard] = offset

    def enqueue(self, batch: ShardBatch) -> PendingBatch:
        """Queue the part of a run for one shard until the next flush."""
        if self._pending.flushed:
            self._pending = PendingBatch(self)
        self._pending.add(batch)
        return self._pending

    def flush(self) -> None:
        """Update the table by the queued readings."""
        self._pending.flush()

    def take_in(self, routed: Iterable[tuple[RoutedRun, list[int]]]) -> list[Smoothed]:
        """Update the table by the parts of runs; a run with all of its parts here is not split."""
        runs: list[Readings] = []
        for one, shards in routed:
            run = one.of(shards)
            if len(run):
                if run.origins is not None:
                    self._refuse_repeats(run.origins, shards)
                self._refuse_without_log(run)
            if len(run) or run.heartbeats is not None:
                runs.append(run)
        smoothed = [one for run in joined_runs(runs) for one in self.table.update_in_order(run)]
        self.maintain(sum(map(len, runs)))
        return smoothed

    def _refuse_without_log(self, run: Readings) -> None:
        """Raise ReadingError if a rule uses the clock of the log, and readings lack it."""
        rules = self.table.alarms
        if run.logged is None and rules is not None and rules.by_log:
            raise ReadingError(no_log(rules.by_log))

    def maintain(self, n_readings: int) -> None:
        """Count readings; by their number, free idle series and pack new ones from time to time."""
        READINGS.inc(n_readings)
        self._until_freed -= n_readings
        if self._until_freed <= 0:
            if self.table.free_idle():  # the other series have moved to new rows
                self._members = ShardMembers(self._shards)
            self._until_freed = max(len(self.table), _MANY_SERIES)
        if len(self.table) - self._members.known >= _MANY_SERIES:
            self._catch_up()

    def _catch_up(self) -> None:
        """Assign the new series of the table to shards."""
        known = self._members.known
        if known < len(self.table):
            self._members.add(self.table.ids(known), self.table.hashes[known:])

    def _refuse_repeats(self, origins: Origins, shards: list[int]) -> None:
        """Raise StateError if a reading is not newer than the state: one of them is out of date."""
        if len(origins.offsets) <= _FEW_READINGS:
            self._refuse_few(origins, shards)
            return
        partitions = origins.partitions
        if (partitions[1:] < partitions[:-1]).any():
            origins = origins.take(np.argsort(partitions, kind="stable"))
        partitions, offsets, ordinals = origins
        firsts = np.append(0, (partitions[1:] != partitions[:-1]).nonzero()[0] + 1)
        newest = [self._newest_of(partition) for partition in partitions[firsts].tolist()]
        before = np.append(0, offsets[:-1])
        before[firsts] = [of_shards[shards].max() for of_shards in newest]
        repeats = offsets <= before
        if ordinals is not None:  # consecutive readings of one message
            next_ones = (offsets[1:] == offsets[:-1]) & (ordinals[1:] > ordinals[:-1])
            next_ones[firsts[1:] - 1] = False
            repeats[1:] &= ~next_ones
        if repeats.any():
            at = int(np.flatnonzero(repeats)[0])
            raise _repeated(int(partitions[at]), int(offsets[at]), int(before[at]))
        lasts = [*(firsts[1:] - 1).tolist(), -1]
        for of_shards, last in zip(newest, offsets[lasts].tolist(), strict=True):
            of_shards[shards] = last

    def _refuse_few(self, origins: Origins, shards: list[int]) -> None:
        """Do the same for a few readings, one by one."""
        partitions, offsets, ordinals = origins
        numbers = [0] * len(offsets) if ordinals is None else ordinals.tolist()
        rows = zip(partitions.tolist(), offsets.tolist(), numbers, strict=True)
        lasts: dict[int, tuple[int, int]] = {}
        for partition, offset, ordinal in sorted(rows, key=itemgetter(0)):
            last = lasts.get(partition)
            if last is None:
                last = int(self._newest_of(partition)[shards].max()), sys.maxsize
            if offset < last[0] or (offset == last[0] and ordinal <= last[1]):
                raise _repeated(partition, offset, last[0])
            lasts[partition] = offset, ordinal
        for partition, (offset, _) in lasts.items():
            self._newest_of(partition)[shards] = offset

    def _newest_of(self, partition: int) -> NDArray[np.int64]:
        newest = self._newest.get(partition)
        if newest is None:
            newest = self._newest[partition] = np.full(self._shards, -1, np.int64)
        return newest

    def snapshot(self, shard: int) -> ShardState:
        """Return a copy of the state of a shard."""
        self.flush()
        self._catch_up()
        newest = {p: int(offsets[shard]) for p, offsets in self._newest.items()}
        return ShardState(shard, self.table.snapshot(*self._members.of(shard)), newest)


def no_log(rules: Sequence[str]) -> str:
    """Return why rules that use the clocks of input partitions cannot work here."""
    return (
        f"alarms.{rules[0]} is a stale rule, which uses the timestamps of all records of a Kafka "
        "partition, but there are only readings here: put it in [alarms] of a job (ewma run)"
    )


def _repeated(partition: int, offset: int, before: int) -> StateError:
    return StateError(
        f"offset {offset} of input partition {partition_of(partition)} came after {before}: the "
        "state already has it, so the recovery files are from different points in time; restore a "
        "consistent copy, or start with a new recovery directory"
    )


class WarmStart:
    """The state of each shard after the history, for shards without stored state.

    The history is read once in a process, when the first shard needs it. Which other shards will
    need it is not known, so the snapshots of all are kept until then: about 40 bytes a series.
    """

    def __init__(
        self,
        history: Iterable[Readings],
        smoothing_set: SmoothingSet,
        shards: int,
        alarms: AlarmRules | None = None,
    ) -> None:
        self._history, self._smoothing_set, self._shards = history, smoothing_set, shards
        self._alarms = alarms
        self._held: dict[int, TableSnapshot] = {}
        self._lock = threading.Lock()

    def pop(self, shard: int) -> ShardState:
        """Return the state of a shard, once; the history is read again for a second time."""
        with self._lock:
            if shard not in self._held:
                self._held = self._read()
            return ShardState(shard, self._held.pop(shard), {})

    def _read(self) -> dict[int, TableSnapshot]:
        table = SeriesTable(self._smoothing_set, alarms=self._alarms)
        for readings in self._history:
            if not isinstance(readings, Readings):
                raise ReadingError(
                    f"warm_start holds {readings!r:.100}: give Readings, as Readings.of makes them"
                )
            table.update(readings)
        table.end_alarms()
        members = ShardMembers(self._shards)
        members.add(table.ids(), table.hashes)
        return {shard: table.snapshot(*members.of(shard)) for shard in range(self._shards)}


class Tables:
    """The table of each worker thread of a step, for as long as a shard uses it.

    Not a ``threading.local``: Python treats a thread of Bytewax as a new one at each call.
    """

    def __init__(
        self,
        smoothing_set: SmoothingSet,
        shards: int,
        warm_start: WarmStart | None = None,
        alarms: AlarmRules | None = None,
    ) -> None:
        self.smoothing_set, self._shards, self._warm_start = smoothing_set, shards, warm_start
        bound = (
            None if alarms is None else Alarms(alarms, smoothing_set)
        )  # refuses incompatible options
        scores = () if bound is None else bound.names
        self.names = (*smoothing_set.names, *scores)
        self.alarms = None if bound is None else bound.rules
        self._worker_tables = weakref.WeakValueDictionary[int, _WorkerTable]()

    def maybe_worker_table(self) -> _WorkerTable | None:
        """Return the table of this worker, if it has one."""
        return self._worker_tables.get(threading.get_ident())

    def all_here(self) -> bool:
        """Return whether this worker has all shards, so that no reading moves elsewhere."""
        worker_table = self.maybe_worker_table()
        return worker_table is not None and len(worker_table.joined) == self._shards

    def join(self, shard: int, state: ShardState | None) -> _WorkerTable:
        """Add a shard, with its stored state or that of the history, to the table of this worker.

        A flow that runs again in the same thread may find the table of the previous run. The first
        shard that is in it already starts a new table, which the others then join.
        """
        worker_table = self.maybe_worker_table()
        if worker_table is None or shard in worker_table.joined:
            worker_table = self._worker_tables[threading.get_ident()] = _WorkerTable(
                self.smoothing_set, self._shards, self.alarms
            )
        if state is None and self._warm_start is not None:
            state = self._warm_start.pop(shard)
        worker_table.join(shard, state)
        return worker_table


V = TypeVar("V")
W = TypeVar("W")


class Shard(StatefulBatchLogic[V, W, bytes], Generic[V, W]):
    """The Bytewax logic of a shard, whose state is in the table of the worker."""

    def __init__(self, tables: Tables, resume_state: bytes | None) -> None:
        self._tables = tables
        self._joined: tuple[int, _WorkerTable] | None = None
        if resume_state is not None:
            state = ShardState.opened(resume_state)
            self._joined = state.shard, tables.join(state.shard, state)

    def worker_table(self, shard: int) -> _WorkerTable:
        """Return the worker's table; a new shard gets its number from its first readings."""
        if self._joined is None:
            self._joined = shard, self._tables.join(shard, None)
        return self._joined[1]

    def snapshot(self) -> bytes:
        """Return a copy of the state of the shard, queued readings included."""
        assert self._joined is not None  # Bytewax asks after the first readings
        shard, worker_table = self._joined
        sealed = worker_table.snapshot(shard).sealed()
        SNAPSHOTS.wrote(id(self._tables), shard, len(sealed))
        return sealed


class BatchShard(Shard[ShardBatch, PendingBatch]):
    """One shard of a stream of runs."""

    def on_batch(self, values: list[ShardBatch]) -> tuple[Iterable[PendingBatch], bool]:
        """Queue the parts of runs; return the pending batches that they are in."""
        worker_table = self.worker_table(values[0].shard)
        pending = dict.fromkeys(map(worker_table.enqueue, values))
        return list(pending), StatefulBatchLogic.RETAIN


def flush(batch: list[tuple[str, PendingBatch]]) -> Iterable[Smoothed]:
    """Flush pending batches; return the smoothed runs."""
    return [smoothed for _, pending in batch for smoothed in pending.pop_smoothed()]
