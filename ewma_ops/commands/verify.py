"""``ewma verify``: whether every reading has exactly one event, in order, with the right value.

Knows the job's settings and reads its topics back; writes nothing, and trusts nothing but the
input: every event is computed again.

Both topics are read side by side. What is still without its counterpart is kept as a position and
a digest, 16 bytes, so that the memory is bounded by how far the two are apart, and by the series.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import utf8_of
from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins, packed, topic_of, unpacked
from ewma_ops.commands.findings import Findings
from ewma_ops.commands.positions import Offsets, Order, Pending, Positions, shown
from ewma_ops.commands.topic_reader import TopicReader
from ewma_ops.connectors.client.connect import connect_input_reader, connect_reader
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.sink.ledger import origins_of
from ewma_ops.errors import ConfigError
from ewma_ops.job.builders import build_decoder, build_encoder, warm_table
from ewma_ops.job.clocks import Clocks
from ewma_ops.job.identity import JobIdentity, identify
from ewma_ops.job.recovery.manifest import noted_in
from ewma_ops.settings.model import Settings

__all__ = ["Findings", "verify"]

MOST_APART = 2_000_000
"""Positions without a counterpart that are kept: with more, the topics do not belong together."""

_IDLE_POLLS = 20
_REPORT_S = 2.0
_MOST_EXAMPLES = 5


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
    noted = None if settings.recovery is None else noted_in(settings.recovery.directory)
    start: object = settings.input.start
    if noted is not None and noted.beginning.offsets:
        start = noted.beginning.offsets
    if start in ("latest", "committed"):
        raise ConfigError(
            f'input.start is "{start}", and where that was is not known any more: only a flow that '
            'began at "earliest" or at a time, or whose recovery store is here, can be verified'
        )
    identity = identify(settings, {} if noted is None else noted.job, letters=False)
    notes = {} if noted is None else noted.beginning.inputs
    if noted is not None and notes and isinstance(start, Mapping):
        unseen = {n: None for n in identity.inputs.numbers() if topic_of(n) not in notes}
        start = {**start, **unseen}
    committed = settings.output.delivery == "transactional"
    source = TopicReader(settings.kafka, identity.inputs, connect_input_reader(settings.kafka))
    written = InputTopics.alone(settings.output.topic, identity.written[settings.output.topic])
    target = TopicReader(
        settings.kafka, written, connect_reader(settings.kafka, committed=committed)
    )
    gone = [note.topic for n, note in notes.items() if n not in identity.inputs.by_number]
    try:
        return _Comparison(settings, identity, source, target, start, gone).run(tell)
    finally:
        source.close()
        target.close()


class _Comparison:
    def __init__(
        self,
        settings: Settings,
        identity: JobIdentity,
        source: TopicReader,
        target: TopicReader,
        start: object,
        gone: Sequence[str],
    ) -> None:
        self._source, self._target = source, target
        self._topics = tuple(identity.inputs.by_number)
        self._job = murmur2(identity.events.encode())
        self._decoder = build_decoder(settings)
        self._encoder = build_encoder(settings, registers=False)
        forgets = settings.smoothing_set.forget_after is not None
        self._clocks = Clocks() if forgets else None
        self._table, _ = warm_table(settings, identity.history)
        self._pending = {number: Pending() for number in source.topics.numbers()}
        self._early: dict[int, list[tuple[list[bytes], Positions, Offsets]]] = {}
        self._order = Order()
        self._newest: dict[int, int] = {}
        self.found = Findings()
        self._firsts = source.begin(start)
        target.begin("earliest")
        self._reached = dict(self._firsts)
        if source.removed:
            self.found.unknowable = f"retention has removed the first {source.removed:,} offsets"
        if gone:
            self.found.unknowable = (
                f"topic {', '.join(map(repr, gone))} was deleted: neither what its events said, "
                "nor values of series that had readings of it"
            )

    def run(self, tell: Callable[[str], None]) -> Findings:
        started = reported_at = time.monotonic()
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
            if now > reported_at + _REPORT_S:
                reported_at = now
                per_s = self.found.events / (now - started)
                counts = f"{self.found.readings:,} readings, {self.found.events:,} events"
                tell(f"{counts}, {per_s:,.0f}/s")
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
                [record.partition for record in records],
                [record.topic for record in records],
            )
            kept = offsets[decoded.kept]
            origins = Origins(np.full(len(kept), partition), kept, decoded.ordinals)
            came = replace(decoded.readings, origins=origins)
            if self._clocks is not None:
                came = self._clocks.stamp(came)
            entered = 0
            for smoothed in self._table.update_in_order(came):
                readings, own = smoothed.readings, smoothed.readings.origins
                assert own is not None
                ids = map(utf8_of, readings.series_ids)
                digests = _digests(ids, self._encoder.encode(smoothed))
                self._pending[partition].add(packed(own.offsets, own.ordinals), digests)
                entered += len(readings)
            self._reached[partition] = int(offsets[-1]) + 1
            self.found.readings += entered
            self.found.rejected += len(decoded.rejected) + decoded.taken - entered
        for partition in list(self._early):
            for held in self._early.pop(partition):
                self._match(partition, *held)

    def _read_output(self) -> None:
        for records in self._target.poll().values():
            at, origins = origins_of(self._job, [r.headers for r in records], self._topics)
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
                f"{fault}: series {name!r}, {self._place(partition, positions[i : i + 1])}"
            )

    def _place(self, partition: int, position: Positions) -> str:
        """Say where in the input a reading is; by its topic too, if there are several."""
        topics = self._source.topics
        tp = topics.place(partition)
        topic = f"{tp.topic}/" if len(topics.names) > 1 else ""
        return f"input {topic}{tp.partition}/{shown(position)}"

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
                self._example(f"missing: {self._place(partition, missing[i : i + 1])}")
        self.found.spread = len(self._order.spread)
        return self.found

    def _tell_events_gone(self) -> None:
        gap = (
            "the output topic is compacted and some of its events are gone: which readings had "
            "one; set cleanup.policy=delete for a topic of events"
        )
        self.found.unknowable += f"; {gap}" if self.found.unknowable else gap


def _digests(keys: Iterable[bytes], values: Iterable[bytes]) -> Offsets:
    pairs: Iterator[tuple[bytes, bytes]] = zip(keys, values, strict=True)
    return np.fromiter(map(hash, pairs), np.int64)
