"""``ewma verify``: whether every reading has exactly one event, in order, with the right value.

And whether each transition of an alarm has exactly one record.

Knows the job's settings and reads its topics back; writes nothing, and trusts only the input: every
event is computed again.

Both topics are read side by side. A record without its counterpart is kept as a position and a
digest, 16 bytes, so memory is bounded by how far the two topics are apart, and by the number of
series.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from kafka import KafkaConsumer

from ewma_ops.columns.byte_columns import utf8_of
from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import Origins, topic_of
from ewma_ops.columns.readings import Smoothed
from ewma_ops.columns.transitions import Transitions
from ewma_ops.commands.findings import Findings
from ewma_ops.commands.topic_reader import TopicReader
from ewma_ops.commands.written import WrittenTopic, digests_of
from ewma_ops.connectors.client.connect import connect_follower, connect_input_reader
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.errors import ConfigError
from ewma_ops.job.alarms import AlarmRecords
from ewma_ops.job.builders import build_encoder, warm_table
from ewma_ops.job.decoding import build_run_decoder
from ewma_ops.job.identity import JobIdentity, alarms_name, identify
from ewma_ops.job.recovery.manifest import noted_in
from ewma_ops.settings.model import Settings

__all__ = ["Findings", "verify"]

MOST_APART = 2_000_000
"""Limit of positions without a counterpart: with more, the topics do not belong together."""

_IDLE_POLLS = 20
_FETCH_BYTES = 4 << 20
_REPORT_S = 2.0


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
        If the job does not record the origins of its events, or where it began is unknown.
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
            f'input.start is "{start}", and that position is no longer known: only a flow that '
            'began at "earliest" or at a time, or whose recovery store is here, can be verified'
        )
    identity = identify(settings, {} if noted is None else noted.job, letters=False)
    notes = {} if noted is None else noted.beginning.inputs
    if noted is not None and notes and isinstance(start, Mapping):
        unseen = {n: None for n in identity.inputs.numbers() if topic_of(n) not in notes}
        start = {**start, **unseen}
    committed = settings.output.delivery == "transactional"
    gone = [note.topic for n, note in notes.items() if n not in identity.inputs.by_number]
    topics = [settings.output.topic]
    if settings.alarms is not None:
        topics.append(settings.alarms.topic)
    with contextlib.ExitStack() as stack:
        consumer = connect_input_reader(settings.kafka)
        source = _reader(settings, identity.inputs, consumer, stack)
        targets = [
            _reader(
                settings,
                InputTopics.alone(topic, identity.written[topic]),
                connect_follower(settings.kafka, committed=committed, fetch_bytes=_FETCH_BYTES),
                stack,
            )
            for topic in topics
        ]
        comparison = _Comparison(settings, identity, source, targets, start)
        if gone:
            comparison.tell_unknowable(
                f"topic {', '.join(map(repr, gone))} was deleted: neither its events, nor the "
                "values of series with readings on it"
            )
        if noted is not None and noted.beginning.alarms != alarms_name(identity.alarms):
            comparison.tell_unknowable(
                "the rules were changed while the job went on with its store: which alarms the "
                "earlier rules raised, and when the current ones began",
                of_alarms=True,
            )
        return comparison.run(tell)


def _reader(
    settings: Settings, topics: InputTopics, consumer: KafkaConsumer, stack: contextlib.ExitStack
) -> TopicReader:
    reader = TopicReader(settings.kafka, topics, consumer)
    stack.callback(reader.close)
    return reader


class _Comparison:
    """Compares the input, computed again, with the topics that were written."""

    def __init__(
        self,
        settings: Settings,
        identity: JobIdentity,
        source: TopicReader,
        targets: Sequence[TopicReader],
        start: object,
    ) -> None:
        self._source = source
        self._decoder = build_run_decoder(settings, identity.inputs)
        self._encoder = build_encoder(settings, registers=False)
        self._table, _ = warm_table(settings, identity.history)
        self.found = Findings()
        self._reached = source.begin(start)
        job = murmur2(identity.events.encode())
        self._events = WrittenTopic(targets[0], source, job, self.found, self._reached)
        self._written = [self._events]
        if settings.alarms is not None:
            self._add_alarms(settings, identity, targets[1])
        for target in targets:
            target.begin("earliest")
        if source.removed:
            self.tell_unknowable(f"retention has removed the first {source.removed:,} offsets")

    def _add_alarms(self, settings: Settings, identity: JobIdentity, target: TopicReader) -> None:
        assert settings.alarms is not None
        source, found = self._source, Findings()
        rules, tick = settings.alarms.rules, settings.input.tick
        records = AlarmRecords(rules, identity.alarms, source.topics, tick.per_ms)
        self._alarms = WrittenTopic(
            target, source, records.job, found, self._reached, of_alarms=True
        )
        self._alarm_records = records
        self._written.append(self._alarms)
        self.found.alarms = found

    def tell_unknowable(self, why: str, *, of_alarms: bool = False) -> None:
        """Record what cannot be known about the values of events and alarms, or of alarms alone."""
        for one in self._written[1:] if of_alarms else self._written:
            one.found.unknowable = one.found.unknowable or why

    def run(self, tell: Callable[[str], None]) -> Findings:
        started = reported_at = time.monotonic()
        while not self._finished():
            apart, early = self._apart()
            if not self._source.ended and (apart < MOST_APART or early):
                self._read_input()
            for one in self._written:
                if one.early < MOST_APART:
                    one.read()
            ended = all(one.target.ended for one in self._written)
            if apart >= MOST_APART and (ended or early >= MOST_APART):
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
        for one in self._written:
            one.close()
        return self.found

    def _finished(self) -> bool:
        """Return whether all was read; a flow that is running gets a moment to catch up."""
        if not (self._source.ended and all(one.target.ended for one in self._written)):
            return False
        return all(one.apart == 0 or one.target.idle >= _IDLE_POLLS for one in self._written)

    def _apart(self) -> tuple[int, int]:
        return max(one.apart for one in self._written), max(one.early for one in self._written)

    def _read_input(self) -> None:
        polled = self._source.poll()
        if self._source.gone:
            self.tell_unknowable(
                "the input topic is compacted and some of its readings are gone: neither their "
                "events, nor the values that depend on them"
            )
        for partition, runs in polled.items():
            decoded = self._decoder.decode(runs)
            entered, happened = 0, []
            for smoothed in self._table.update_in_order(decoded.readings):
                self._expect(partition, smoothed)
                entered += len(smoothed)
                happened += [] if smoothed.transitions is None else [smoothed.transitions]
            self._expect_alarms(partition, happened)
            self._reached[partition] = int(runs[-1].offsets[-1]) + 1
            self.found.readings += entered
            self.found.rejected += len(decoded.rejected) + decoded.n_readings - entered
        for one in self._written:
            one.look_again()

    def _expect(self, partition: int, smoothed: Smoothed) -> None:
        """Record what should have been written for some readings."""
        origins = smoothed.readings.origins
        assert origins is not None
        ids = map(utf8_of, smoothed.readings.series_ids)
        self._events.expect(partition, origins, digests_of(ids, self._encoder.encode(smoothed)))

    def _expect_alarms(self, partition: int, happened: Sequence[Transitions]) -> None:
        """Do the same for alarms; all transitions of a message come in one call, in order."""
        if len(self._written) < 2 or not happened:
            return
        digests, origins = [], []
        for transitions in happened:
            made = self._alarm_records.of(transitions)
            assert made.origins is not None
            origins.append(made.origins)
            keys = map(utf8_of, transitions.series_ids)
            digests.append(digests_of(keys, [value or b"" for value in made.values]))
        every = Origins.concat(origins)
        self._alarms.found.readings += len(every.offsets)
        self._alarms.expect(partition, every, np.concatenate(digests))
