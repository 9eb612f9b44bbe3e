"""Follows a job's topics, from some time ago on, into a book.

Knows topics and what their records are; must not know what is done with a book.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from ewma_ops.connectors.client.connect import close_consumer, connect_consumer, translating_errors
from ewma_ops.connectors.client.topics import describe_topics, matching_topics
from ewma_ops.connectors.sink.ledger import origin_of
from ewma_ops.errors import EwmaError
from ewma_ops.job.letters import Origin, parse_letter
from ewma_ops.job.showing import shown_text
from ewma_ops.settings.model import Settings
from ewma_ops.watch.alarms import parse_alarm
from ewma_ops.watch.book import Book, Example
from ewma_ops.watch.events import EventReader
from ewma_ops.watch.status import Status
from ewma_ops.watch.tail import Tail, tailing
from ewma_ops.wire.batch import Columns

__all__ = ["Follower", "InputEnds"]

_log = logging.getLogger(__name__)

_LOOK_UP_MS = 10_000
_GATHER_S = 0.04
"""Events within this time are added together: at 10,000 events a second, a third less CPU."""
_AGAIN_S = 1.0
_LOOK_AGAIN_S = 10.0
_CLOSE_S = 2.0
_ENDS_S = 1.0
_MOST_RECORDS = 2_000_000
"""Most records from before the start that are read; if there are more, the newest."""


class Follower:
    """Read output and dead letters of a job into a book, until stopped.

    Parameters
    ----------
    settings
        Of the job.
    book
        Where it goes.
    status
        Where the progress is stored.
    history_s
        How many seconds before now it begins, by the records' timestamps.
    logs
        Whether to log errors too, unless they are reported elsewhere.
    """

    def __init__(
        self,
        settings: Settings,
        book: Book,
        status: Status,
        history_s: float,
        *,
        logs: bool = True,
    ) -> None:
        self._settings, self._book, self._status = settings, book, status
        self._history_s, self._logs = history_s, logs
        self._events = EventReader(settings)
        self._output, self._letters = settings.output.topic, settings.dead_letters.topic
        alarms = settings.alarms
        self._alarms = "" if alarms is None else alarms.topic
        self._single = settings.input.names[0] if len(settings.input.names) == 1 else None
        self.positions: dict[TopicPartition, int] = {}
        self.parts: list[TopicPartition] = []
        """Partitions of the output topic; events are noted with their place here."""

    def run(self) -> None:
        """Follow; errors are recorded, and retried."""
        stopping = self._status.stopping
        while not stopping.is_set():
            try:
                self._follow()
            except EwmaError as error:
                if self._logs and self._status.trouble != str(error):
                    _log.warning("%s", error)
                self._status.trouble = str(error)
                self._book.changed.set()
                stopping.wait(_AGAIN_S)
            except Exception as error:  # noqa: BLE001 - the page says so, and goes on
                _log.exception("reading the topics failed")
                self._status.trouble = f"reading the topics failed: {error!r}"
                stopping.wait(_AGAIN_S)

    def _follow(self) -> None:
        status = self._status
        tps = self._partitions()
        if not any(tp.topic == self._output for tp in tps):
            status.is_missing, status.trouble = True, ""
            self._book.changed.set()
            status.stopping.wait(_AGAIN_S)
            return
        status.is_missing = False
        with tailing(self._settings, tps, "reading the output topic") as tail:
            self._begin(tail, tps)
            status.trouble = ""
            look_again = time.monotonic() + _LOOK_AGAIN_S
            while not status.stopping.is_set():
                self._step(tail)
                if status.is_caught_up:
                    status.stopping.wait(_GATHER_S)
                if time.monotonic() > look_again:
                    look_again = time.monotonic() + _LOOK_AGAIN_S
                    if self._partitions() != tps:
                        return  # and begin again with those that are new

    def _partitions(self) -> list[TopicPartition]:
        topics = [self._output, self._letters, *([self._alarms] if self._alarms else [])]
        views = describe_topics(self._settings.kafka, topics, optional=True)
        return [
            TopicPartition(topic, partition)
            for topic in topics
            if topic in views
            for partition in range(views[topic].partitions)
        ]

    def _begin(self, tail: Tail, tps: list[TopicPartition]) -> None:
        """Seek to the last position, or to some time ago."""
        self.parts += [tp for tp in tps if tp.topic == self._output and tp not in self.parts]
        for tp, first in tail.since(self._history_s, _MOST_RECORDS // len(tps)).items():
            at = self.positions.get(tp)
            if at is None or at < tail.begins[tp] or at > tail.ends[tp] + 1_000_000:
                self.positions[tp] = first
        tail.go({tp: self.positions[tp] for tp in tps})
        self._status.total = sum(tail.ends[tp] - self.positions[tp] for tp in tps)

    def _step(self, tail: Tail) -> None:
        """Add what comes within a moment."""
        try:
            for tp, run in tail.runs():
                if tp.topic == self._output:
                    self._take_events(tp, run)
                elif tp.topic == self._alarms:
                    found = map(parse_alarm, run.values)
                    self._book.take_alarms([one for one in found if one is not None])
                else:
                    self._take_letters(tp, run)
                self.positions[tp] = run.next_offset
        except kafka_errors.OffsetOutOfRangeError as error:  # the topic was created again
            for tp in error.args[0] if error.args and isinstance(error.args[0], dict) else {}:
                self.positions.pop(tp, None)
            raise
        reached = tail.reached()
        status = self._status
        behind = sum(max(end - reached.get(tp, end), 0) for tp, end in tail.ends.items())
        if behind != status.behind or not status.is_caught_up:
            status.behind = behind
            status.is_caught_up = status.is_caught_up or behind == 0
            self._book.changed.set()

    def _take_events(self, tp: TopicPartition, run: Columns) -> None:
        if not len(run.values):
            return
        unreadable = self._events.unreadable
        kept, readings = self._events.read(run.keys, run.values, run.timestamps_ms)
        if self._logs and not unreadable and self._events.unreadable:
            _log.warning(
                "topic %r has records that are no events of this configuration, which are left "
                "out: %s",
                tp.topic,
                shown_text(self._events.example, 200),
            )
        part = self.parts.index(tp)
        self._book.take(
            readings.series_ids,
            self._events.seconds(readings),
            run.timestamps_ms[kept] / 1000.0,
            np.asarray(readings.values).reshape(len(kept), -1),
            run.offsets[kept],
            part,
            is_live=self._status.is_caught_up,
        )
        if self._single is not None and run.headers is not None:
            self._note_reached(run)

    def _note_reached(self, run: Columns) -> None:
        """Note how far the job was in its input, as the last event of a run tells."""
        assert run.headers is not None
        found = origin_of(run.headers[len(run.values) - 1])
        if found is not None:
            place = (str(self._single), found[0])
            before = self._status.reached.get(place, 0)
            self._status.reached[place] = max(before, found[1] + 1)

    def _take_letters(self, tp: TopicPartition, run: Columns) -> None:
        found = []
        for i, value in enumerate(run.values):
            written_ms = int(run.timestamps_ms[i])
            headers = () if run.headers is None else run.headers[i]
            place = Origin(tp.topic, tp.partition, int(run.offsets[i]))
            letter = parse_letter(place, written_ms, run.keys[i], value, headers)
            if letter is not None:
                origin = f"{letter.origin.topic}/{letter.origin.partition}@{letter.origin.offset}"
                shown = None if value is None else bytes(value[:400])
                found.append((letter.cause, Example(letter.detail, origin, written_ms, shown)))
        if found:
            self._book.take_letters(found)


class InputEnds:
    """Ask every second where the input ends, and what the job has committed, until stopped.

    Parameters
    ----------
    settings
        Of the job.
    status
        Where the answers are noted.
    logs
        Whether a failure is logged, unless the `Follower` has one to report.
    """

    def __init__(self, settings: Settings, status: Status, *, logs: bool = True) -> None:
        self._settings, self._status, self._logs = settings, status, logs
        self._failure = ""

    def run(self) -> None:
        """Ask; where that is not allowed or not answered, the lag is not known."""
        status = self._status
        while not status.stopping.is_set():
            try:
                doing = "looking up the end of the input"
                with self._connected() as consumer, translating_errors(self._settings.kafka, doing):
                    tps = self._partitions()
                    while not status.stopping.wait(_ENDS_S):
                        self._ask(consumer, tps)
            except Exception as error:  # noqa: BLE001 - logged: the lag is then unknown
                if self._logs and not status.trouble and self._failure != str(error):
                    self._failure = str(error)
                    _log.warning("the lag is unknown: %s", error)
                status.ends = {}
                status.stopping.wait(_AGAIN_S)

    @contextmanager
    def _connected(self) -> Iterator[KafkaConsumer]:
        consumer = connect_consumer(self._settings.kafka, self._settings.input.group_id)
        try:
            yield consumer
        finally:
            close_consumer(consumer, _CLOSE_S)

    def _partitions(self) -> list[TopicPartition]:
        reads, client = self._settings.input, self._settings.kafka
        names = reads.names or tuple(matching_topics(client, reads.topic_pattern))
        views = describe_topics(client, list(names), optional=True)
        return [TopicPartition(n, p) for n, view in views.items() for p in range(view.partitions)]

    def _ask(self, consumer: KafkaConsumer, tps: list[TopicPartition]) -> None:
        status = self._status
        ends = consumer.end_offsets(tps, _LOOK_UP_MS)
        committed = {tp: consumer.committed(tp, timeout_ms=_LOOK_UP_MS) for tp in tps}
        found = {(tp.topic, tp.partition): int(end) for tp, end in ends.items()}
        if status.ends and found != status.ends:
            status.input_moved_s = time.time()
        status.committed = {
            (tp.topic, tp.partition): at for tp, at in committed.items() if at is not None
        }
        status.ends = found
