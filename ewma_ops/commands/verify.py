"""``ewma verify``: whether every reading has exactly one event, in order, with the right value.

Knows the job's settings and reads its topics back; writes nothing, and trusts nothing but the
input: every event is computed again.

Both topics are read side by side. What is still without its counterpart is kept as a position and
a digest, 16 bytes, so that the memory is bounded by how far the two are apart, and by the series.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import utf8_of
from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins, packed, unpacked
from ewma_ops.commands.positions import Offsets, Order, Pending, Positions, shown
from ewma_ops.connectors.client.connect import (
    close_consumer,
    connect_input_reader,
    connect_reader,
    positions,
    translating_errors,
)
from ewma_ops.connectors.client.exchange import poll_records
from ewma_ops.connectors.client.topics import partition_count, topic_configs
from ewma_ops.connectors.sink.ledger import origins_of
from ewma_ops.errors import ConfigError
from ewma_ops.job.builders import build_decoder, build_encoder, warm_table
from ewma_ops.job.identity import job_identity
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.settings.model import Settings

__all__ = ["Findings", "verify"]

MOST_APART = 2_000_000
"""Positions without a counterpart that are kept: with more, the topics do not belong together."""

_POLL_S = 0.1
_IDLE_POLLS = 20
_LOOK_UP_MS = 10_000
_TELL_S = 2.0
_MOST_EXAMPLES = 5
_CLOSE_S = 5.0


@dataclass
class Findings:
    """What was found; ``examples`` names the first few faults.

    ``missing`` are readings without an event although a later one of their input partition has
    one, ``behind`` those after the last one that has. ``orphaned`` are events whose readings
    compaction has removed. ``unknowable`` says what cannot be known, where that is so.
    """

    readings: int = 0
    rejected: int = 0
    events: int = 0
    missing: int = 0
    behind: int = 0
    doubled: int = 0
    wrong: int = 0
    disordered: int = 0
    spread: int = 0
    orphaned: int = 0
    unknowable: str = ""
    examples: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether every reading has exactly one event, in order and as recomputed."""
        return not self.faults and not self.unknowable

    @property
    def faults(self) -> int:
        """How many faults were found, of all kinds."""
        return self.missing + self.behind + self.doubled + self.wrong + self.disordered

    def __str__(self) -> str:
        read = f"{self.readings:,} readings, {self.rejected:,} dead letters"
        faults = f"missing {self.missing:,}, doubled {self.doubled:,}, wrong value {self.wrong:,}"
        lines = [
            f"{read}, {self.events:,} events",
            f"{faults}, out of order {self.disordered:,}",
        ]
        if self.behind:
            lines.append(
                f"not written yet: {self.behind:,}, the newest; run the flow and try again"
            )
        if self.spread:
            lines.append(
                f"{self.spread:,} series are spread over several input partitions: their order, "
                "and so their values, is undefined; write each series to one partition"
            )
        if self.unknowable:
            lines.append(f"cannot be known: {self.unknowable}")
        if self.orphaned:
            lines.append(f"events of readings that are gone, not checked: {self.orphaned:,}")
        return "\n".join([*lines, *self.examples])


def verify(settings: Settings, tell: Callable[[str], None] = print) -> Findings:
    """Read the input and the output of a job back and compare them.

    Parameters
    ----------
    settings
        Of a job that has run, and may be running.
    tell
        Called with a line of progress every two seconds.

    Raises
    ------
    ConfigError
        If the job does not write down where its events are from, or where it began is not known.
    BrokerError
        If the topics cannot be read.
    """
    if settings.output.delivery == "at-least-once":
        raise ConfigError(
            'output.delivery is "at-least-once": its events do not say which reading they are '
            'of; only "exactly-once" and "transactional" can be verified'
        )
    start: object = settings.input.start
    if settings.recovery is not None:
        start = RecoveryStore(settings.recovery.directory).start_offsets or start
    if start in ("latest", "committed"):
        raise ConfigError(
            f'input.start is "{start}", and where that was is not known any more: only a flow that '
            'began at "earliest" or at a time, or whose recovery store is here, can be verified'
        )
    committed = settings.output.delivery == "transactional"
    source = _Topic(settings, settings.input.topic, connect_input_reader(settings.kafka))
    target = _Topic(
        settings, settings.output.topic, connect_reader(settings.kafka, committed=committed)
    )
    try:
        return _Comparison(settings, source, target, start).run(tell)
    finally:
        source.close()
        target.close()


class _Topic:
    """A topic read from its first record of interest to where it ends now."""

    def __init__(self, settings: Settings, topic: str, consumer: KafkaConsumer) -> None:
        client = settings.kafka
        self.tps = [TopicPartition(topic, p) for p in range(partition_count(client, topic))]
        self._consumer = consumer
        self._client, self._reading = client, f"reading topic {topic!r}"
        with translating_errors(self._client, self._reading):
            self._consumer.assign(self.tps)
            self.begins = self._consumer.beginning_offsets(self.tps, _LOOK_UP_MS)
            self._ends = dict(self._consumer.end_offsets(self.tps, _LOOK_UP_MS))
        self._fetched: set[TopicPartition] = set()
        self.removed = 0
        self.idle = 0
        policy = topic_configs(client, topic, "cleanup.policy").get("cleanup.policy", "")
        self._compacted = "compact" in policy.split(",")
        self._next: dict[int, int] = {}
        self._gaps: dict[int, list[tuple[int, int]]] = {}
        self.gone = 0

    def begin(self, start: object) -> dict[int, int]:
        """Go to ``start``, or to what retention has left; return where that is by partition.

        A partition that a noted ``start`` does not name was added later, and begins at 0.
        """
        firsts = dict(self.begins)
        with translating_errors(self._client, self._reading):
            if isinstance(start, int):
                at = self._consumer.offsets_for_times(dict.fromkeys(self.tps, start), _LOOK_UP_MS)
                found = {tp: o.offset for tp, o in at.items() if o and o.timestamp >= 0}
                firsts = {tp: found.get(tp, self._ends[tp]) for tp in self.tps}
            if isinstance(start, dict):
                firsts = {tp: start.get(tp.partition, 0) for tp in self.tps}
            if start == "earliest":
                firsts = dict.fromkeys(self.tps, 0)
            self.removed = sum(max(0, self.begins[tp] - first) for tp, first in firsts.items())
            for tp, first in firsts.items():
                self._consumer.seek(tp, max(first, self.begins[tp]))
        self._next = {tp.partition: max(int(at), self.begins[tp]) for tp, at in firsts.items()}
        return dict(self._next)

    def poll(self) -> dict[int, list[Any]]:
        with translating_errors(self._client, self._reading):
            polled = poll_records(self._consumer, int(_POLL_S * 1000))
        self.idle = 0 if polled else self.idle + 1
        for tp in self.tps:  # some brokers list too low an end: look at that of the first fetch
            mark = self._consumer.highwater(tp)
            if mark is not None and tp not in self._fetched:
                self._fetched.add(tp)
                self._ends[tp] = max(self._ends[tp], mark)
        found = {tp.partition: records for tp, records in polled.items()}
        if self._compacted:
            for partition, records in found.items():
                self._note_gaps(partition, np.array([record.offset for record in records]))
        return found

    def _note_gaps(self, partition: int, offsets: Offsets) -> None:
        """Note offsets without a record: compaction has removed them, or they are a marker's."""
        before = np.concatenate([[self._next[partition]], offsets[:-1] + 1])
        for at in np.flatnonzero(offsets > before).tolist():
            self._gaps.setdefault(partition, []).append((int(before[at]), int(offsets[at])))
            self.gone += int(offsets[at] - before[at])
        self._next[partition] = int(offsets[-1]) + 1

    def are_gone(self, partition: int, offsets: Offsets) -> NDArray[np.bool_]:
        """Return which offsets, of those read so far, compaction may have removed."""
        gaps = np.array(self._gaps.get(partition, []), np.int64).reshape(-1, 2)
        if not len(gaps):
            return np.zeros(len(offsets), np.bool_)
        at = np.searchsorted(gaps[:, 0], offsets, side="right") - 1
        inside: NDArray[np.bool_] = (at >= 0) & (offsets < gaps[at, 1])
        return inside

    @property
    def ended(self) -> bool:
        """Whether everything was read that was there at the start."""
        reached = positions(self._consumer)
        return len(self._fetched) == len(self.tps) and all(
            reached[tp] >= self._ends[tp] for tp in self.tps
        )

    def close(self) -> None:
        close_consumer(self._consumer, _CLOSE_S)


class _Comparison:
    def __init__(self, settings: Settings, source: _Topic, target: _Topic, start: object) -> None:
        self._source, self._target = source, target
        self._job = murmur2(job_identity(settings).encode())
        self._decoder = build_decoder(settings)
        self._encoder = build_encoder(settings)
        self._table, _ = warm_table(settings)
        self._pending = {tp.partition: Pending() for tp in source.tps}
        self._early: dict[int, list[tuple[list[bytes], Positions, Offsets]]] = {}
        self._order = Order()
        self._newest: dict[int, int] = {}
        self.found = Findings()
        self._firsts = source.begin(start)
        target.begin("earliest")
        self._reached = dict(self._firsts)
        if source.removed:
            self.found.unknowable = f"retention has removed the first {source.removed:,} offsets"

    def run(self, tell: Callable[[str], None]) -> Findings:
        began = told_at = time.monotonic()
        while not self._finished():
            apart, early = self._apart()
            if not self._source.ended and (apart < MOST_APART or early):
                self._read_input()
            if early < MOST_APART:
                self._read_output()
            if apart >= MOST_APART and (self._target.ended or early >= MOST_APART):
                self.found.examples.append(
                    f"stopped: more than {MOST_APART:,} readings have no event"
                )
                break
            now = time.monotonic()
            if now > told_at + _TELL_S:
                told_at = now
                per_s = self.found.events / (now - began)
                told = f"{self.found.readings:,} readings, {self.found.events:,} events"
                tell(f"{told}, {per_s:,.0f}/s")
        return self._close()

    def _finished(self) -> bool:
        """Return whether all was read; a flow that is running gets a moment to catch up."""
        if not (self._source.ended and self._target.ended):
            return False
        return self._apart()[0] == 0 or self._target.idle >= _IDLE_POLLS

    def _apart(self) -> tuple[int, int]:
        pending = sum(map(len, self._pending.values()))
        early = sum(len(positions) for held in self._early.values() for _, positions, _ in held)
        return pending, early

    def _read_input(self) -> None:
        polled = self._source.poll()
        if self._source.gone and not self.found.unknowable:
            self.found.unknowable = (
                "the input topic is compacted and some of its readings are gone: neither what "
                "their events said, nor values that depend on them"
            )
        for partition, records in polled.items():
            offsets = np.array([record.offset for record in records], np.int64)
            times = np.array([-1 if r.timestamp is None else r.timestamp for r in records])
            keys = [record.key for record in records]
            decoded = self._decoder.decode(
                keys,
                [record.value for record in records],
                times,
                [record.headers for record in records],
                [partition] * len(records),
                [record.topic for record in records],
            )
            kept = offsets[decoded.kept]
            origins = Origins(np.full(len(kept), partition, np.int32), kept, decoded.ordinals)
            smoothed = self._table.update(
                replace(decoded.readings, origins=origins), collect_rejected=True
            )
            readings, own = smoothed.readings, smoothed.readings.origins
            assert own is not None
            ids = map(utf8_of, readings.series_ids)
            digests = _digests(ids, self._encoder.encode(smoothed))
            self._pending[partition].add(packed(own.offsets, own.ordinals), digests)
            self._reached[partition] = int(offsets[-1]) + 1
            self.found.readings += len(readings)
            self.found.rejected += len(decoded.rejected) + len(kept) - len(readings)
        for partition in list(self._early):
            for held in self._early.pop(partition):
                self._match(partition, *held)

    def _read_output(self) -> None:
        for records in self._target.poll().values():
            at, origins = origins_of(self._job, [r.headers for r in records])
            own = [records[i] for i in at.tolist()]
            keys = [record.key for record in own]
            digests = _digests(keys, [record.value for record in own])
            self.found.events += len(own)
            for partition, of in origins.by_partition():
                of_keys, own_origins = [keys[i] for i in of.tolist()], origins.take(of)
                positions = packed(own_origins.offsets, own_origins.ordinals)
                self._match(partition, of_keys, positions, digests[of])

    def _match(
        self, partition: int, keys: list[bytes], positions: Positions, digests: Offsets
    ) -> None:
        if partition not in self._pending:
            return
        early = unpacked(positions)[0] >= self._reached[partition]
        waiting = partition in self._early
        if self._source.ended:  # what is early now is of readings that came while this ran
            kept = np.flatnonzero(~early)
            keys, positions, digests = [keys[i] for i in kept], positions[kept], digests[kept]
        elif waiting or early.any():
            # The rest waits too: what is of one series must be looked at in its order.
            at = 0 if waiting else int(np.flatnonzero(early)[0])
            held = (keys[at:], positions[at:], digests[at:])
            self._early.setdefault(partition, []).append(held)
            keys, positions, digests = keys[:at], positions[:at], digests[:at]
        if not keys:
            return
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
            late[kept] = self._order.check(partition, own, positions[kept])
            self._note("disordered", partition, keys, positions, late)
            pending.remove(places[kept])

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
                f"{fault}: series {name!r}, input {partition}/{shown(positions[i : i + 1])}"
            )

    def _example(self, text: str) -> None:
        if len(self.found.examples) < 4 * _MOST_EXAMPLES:
            self.found.examples.append(text)

    def _close(self) -> Findings:
        if self._target.gone:
            self._tell_events_gone()
        for partition, pending in self._pending.items():
            newest = self._newest.get(partition, -1)
            passed = unpacked(pending.positions)[0] < newest
            self.found.behind += int(np.count_nonzero(~passed))
            if self._target.gone:  # an event that was there and one that never was look the same
                continue
            missing = pending.positions[passed]
            self.found.missing += len(missing)
            for i in range(min(len(missing), _MOST_EXAMPLES)):
                self._example(f"missing: input {partition}/{shown(missing[i : i + 1])}")
        self.found.spread = len(self._order.spread)
        return self.found

    def _tell_events_gone(self) -> None:
        told = (
            "the output topic is compacted and some of its events are gone: which readings had "
            "one; set cleanup.policy=delete for a topic of events"
        )
        self.found.unknowable += f"; {told}" if self.found.unknowable else told


def _digests(keys: Iterable[bytes], values: Iterable[bytes]) -> Offsets:
    pairs: Iterator[tuple[bytes, bytes]] = zip(keys, values, strict=True)
    return np.fromiter(map(hash, pairs), np.int64)
