"""Compares a topic that a job has written with what it should contain, record by record.

Knows positions, digests and order; must not know how the expected records are computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.origins import Origins, packed, unpacked
from ewma_ops.commands.findings import Findings
from ewma_ops.commands.positions import Offsets, Order, Pending, Positions, shown
from ewma_ops.commands.topic_reader import TopicReader
from ewma_ops.connectors.sink.ledger import origins_of

__all__ = ["WrittenTopic", "digests_of"]

_MOST_EXAMPLES = 5


class WrittenTopic:
    """Records without a counterpart: those that should be there, and those that are there early.

    Parameters
    ----------
    target, source
        Readers of the topic and of the input.
    job
        Hash that identifies records of the job.
    found
        Findings are recorded here.
    reached
        Offset up to which each input partition was read; the caller keeps it up to date.
    of_alarms
        Whether the records are transitions of alarms. A reading may have several, with ordinals in
        no order; if values of readings cannot be known, neither can their transitions.
    """

    def __init__(
        self,
        target: TopicReader,
        source: TopicReader,
        job: int,
        found: Findings,
        reached: dict[int, int],
        *,
        of_alarms: bool = False,
    ) -> None:
        self.target, self._source, self._job = target, source, job
        self.found = found
        self._of_alarms = of_alarms
        self._topics = tuple(source.topics.by_number)
        self._reached, self._firsts = reached, dict(reached)
        self._pending = {number: Pending() for number in source.topics.numbers()}
        self._early: dict[int, list[tuple[list[bytes], Positions, Offsets]]] = {}
        self._order = Order()
        self._n_read = 0
        self._newest: dict[int, int] = {}

    @property
    def apart(self) -> int:
        """How many expected records are not there yet."""
        return sum(map(len, self._pending.values()))

    @property
    def early(self) -> int:
        """How many records belong to readings that were not read yet."""
        return sum(len(positions) for held in self._early.values() for _, positions, _ in held)

    def expect(self, partition: int, origins: Origins, digests: Offsets) -> None:
        """Add the records expected of an input partition, after all that were added before."""
        if self._of_alarms and self.found.unknowable:
            return
        positions = packed(origins.offsets, origins.ordinals)
        if self._of_alarms:
            order = np.argsort(positions, kind="stable")
            positions, digests = positions[order], digests[order]
        self._pending[partition].add(positions, digests)

    def look_again(self) -> None:
        """Compare early records, now that more of the input was read."""
        for partition in list(self._early):
            for held in self._early.pop(partition):
                self._match(partition, *held)

    def read(self) -> None:
        """Read on, and compare."""
        for run in chain.from_iterable(self.target.poll().values()):
            at, origins = origins_of(self._job, run.headers or (), self._topics)
            places = at.tolist()
            keys = [run.keys[i] for i in places]
            digests = digests_of(keys, [run.values[i] for i in places])
            self.found.events += len(keys)
            for partition, of in origins.by_partition():
                of_keys, own_origins = [keys[i] for i in of.tolist()], origins.take(of)
                positions = packed(own_origins.offsets, own_origins.ordinals)
                self._match(partition, of_keys, positions, digests[of])

    def _match(
        self, partition: int, keys: list[bytes], positions: Positions, digests: Offsets
    ) -> None:
        if partition not in self._pending or (self._of_alarms and self.found.unknowable):
            return
        early = unpacked(positions)[0] >= self._reached[partition]
        waiting = partition in self._early
        if self._source.ended:  # early records now belong to readings that came since
            kept = np.flatnonzero(~early)
            keys, positions, digests = [keys[i] for i in kept], positions[kept], digests[kept]
        elif waiting or early.any():
            # The rest waits too: records of a series must be compared in order.
            at = 0 if waiting else int(np.flatnonzero(early)[0])
            held = (keys[at:], positions[at:], digests[at:])
            self._early.setdefault(partition, []).append(held)
            keys, positions, digests = keys[:at], positions[:at], digests[:at]
        if not keys:
            return
        self._compare(partition, keys, positions, digests)

    def _compare(
        self, partition: int, keys: list[bytes], positions: Positions, digests: Offsets
    ) -> None:
        pending = self._pending[partition]
        places, there = pending.find(positions)
        offsets, _ = unpacked(positions)
        self._newest[partition] = max(int(offsets.max()), self._newest.get(partition, -1))
        old = offsets < self._firsts[partition]
        gone = self._source.are_gone(partition, offsets) & ~there
        self.found.orphaned += int(np.count_nonzero(gone))
        self._note("doubled", partition, keys, positions, ~there & ~old & ~gone)
        if not self.found.unknowable:
            same = np.zeros(len(offsets), np.bool_)
            same[there] = pending.digests[places[there]] == digests[there]
            self._note("wrong", partition, keys, positions, there & ~same)
        kept = np.flatnonzero(there)
        if len(kept):
            late = np.zeros(len(offsets), np.bool_)
            own = [keys[i] for i in kept.tolist()]
            late[kept] = self._order.check(partition, own, self._in_order(positions[kept]))
            self._note("disordered", partition, keys, positions, late)
            pending.remove(places[kept])

    def _in_order(self, positions: Positions) -> Positions:
        """Return positions whose ordinals give an order: for alarms, their order of arrival."""
        if not self._of_alarms:
            return positions
        offsets, _ = unpacked(positions)
        numbers = np.arange(self._n_read + 1, self._n_read + 1 + len(offsets), dtype=np.uint64)
        self._n_read += len(offsets)
        return packed(offsets, numbers)

    def _note(
        self,
        fault: str,
        partition: int,
        keys: list[bytes],
        positions: Positions,
        where: NDArray[np.bool_],
    ) -> None:
        setattr(self.found, fault, getattr(self.found, fault) + int(np.count_nonzero(where)))
        for i in np.flatnonzero(where)[:_MOST_EXAMPLES].tolist():
            name = keys[i].decode(errors="replace")
            self._example(
                f"{fault}: series {name!r}, {self._place(partition, positions[i : i + 1])}"
            )

    def _place(self, partition: int, position: Positions) -> str:
        """Describe where in the input a reading is; with its topic, if there are several."""
        topics = self._source.topics
        tp = topics.place(partition)
        topic = f"{tp.topic}/" if len(topics.names) > 1 else ""
        at = str(unpacked(position)[0][0]) if self._of_alarms else shown(position)
        return f"input {topic}{tp.partition}/{at}"

    def _example(self, text: str) -> None:
        if len(self.found.examples) < 4 * _MOST_EXAMPLES:
            self.found.examples.append(text)

    def close(self) -> None:
        """Record what is missing at the end."""
        if self.target.gone:
            self._tell_records_gone()
        for partition, pending in self._pending.items():
            if self._of_alarms and self.found.unknowable:
                break
            newest = self._newest.get(partition, -1)
            passed = unpacked(pending.positions)[0] < newest
            self.found.behind += int(np.count_nonzero(~passed))
            if self.target.gone:  # a record that was there and one that never was look the same
                continue
            missing = pending.positions[passed]
            self.found.missing += len(missing)
            for i in range(min(len(missing), _MOST_EXAMPLES)):
                self._example(f"missing: {self._place(partition, missing[i : i + 1])}")
        if not self._of_alarms:  # already reported for the events
            self.found.spread = len(self._order.spread)

    def _tell_records_gone(self) -> None:
        gap = (
            "the output topic is compacted and some of its events are gone: which readings had "
            "one; set cleanup.policy=delete on a topic of events"
        )
        if self._of_alarms:
            gap = "the alarms topic is compacted and some of its records are gone"
        self.found.unknowable += f"; {gap}" if self.found.unknowable else gap


def digests_of(keys: Iterable[bytes | None], values: Iterable[bytes | None]) -> Offsets:
    """Return a digest of each record, by key and value; comparable in this process only."""
    return np.fromiter(map(hash, zip(keys, values, strict=True)), np.int64)
