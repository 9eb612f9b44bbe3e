"""One consumer and its thread, read ahead for the parts of one worker, in bounded memory.

Knows offsets and the consumer's life; must not know Bytewax, nor what is in a record.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from kafka import TopicPartition
from kafka import errors as kafka_errors
from prometheus_client import Counter

from ewma_ops.connectors.client import (
    close_consumer,
    connect_consumer,
    in_words,
    positions,
    speaking_to,
    view_of,
)
from ewma_ops.connectors.commits import Commits
from ewma_ops.connectors.exchange import poll
from ewma_ops.connectors.feed import Feed, run_of
from ewma_ops.errors import BrokerError, EwmaError, TopicError
from ewma_ops.wire.columns import Columns
from ewma_ops.wire.records import ConsumerRecords, bytes_of

__all__ = ["OnLost", "Poller", "Start"]

_log = logging.getLogger(__name__)

Start = Literal["earliest", "latest", "committed"] | int
"""Where to begin without a snapshot; a number is a time in milliseconds since the epoch, UTC."""

OnLost = Literal["fail", "earliest"]
"""What is done where retention has removed records before they were read."""

_LOST = Counter(
    "ewma_ops_lost_offsets",
    "Offsets of the input that retention removed before they were read",
    ("topic", "partition"),
)
_BUFFER_BYTES = 64 << 20
_POLL_S = 0.25
_GATHER_S = 0.006
"""From one fetch at the end of the topic to the next: each costs 3 ms of CPU, all the way to the
output, for one record as for a hundred."""
_WATCH_S = 1.0
_VANISHED_S = 10.0
"""How long a topic may be missing, as it can be while brokers start, before it has vanished."""
_LOOK_UP_S = 10.0
_CLOSE_S = 5.0
_TURNS_BEFORE_REST = 3
_SHORT_REST_S = 0.002
_TURNS_BEFORE_LONG_REST = 32
"""More than a flow has steps: with each turn, whatever is under way in it gets a step further."""
_REST_S = 0.01
_LONG_REST_S = 0.05


class Poller:
    """Poll one consumer for any number of partitions of a topic.

    Parameters
    ----------
    client, topic, group_id
        As of the source.
    partitions
        How many the topic has.
    start
        Where a partition without a snapshot begins.
    bounded
        Whether a partition finishes where it ended at the start.
    buffer_records
        Stop reading ahead while more records than this are buffered, all partitions together.
    on_lost
        What is done where retention has removed records before they were read.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str,
        group_id: str,
        *,
        partitions: int,
        start: Start,
        bounded: bool,
        buffer_records: int,
        on_lost: OnLost,
    ) -> None:
        self._client = client
        self._topic = topic
        self._group_id = group_id
        self._partitions = partitions
        self._start = start
        self._bounded = bounded
        self._buffer_records = buffer_records
        self._on_lost = on_lost
        self._lock = threading.Lock()  # guards the feeds and the totals
        self._feeds: dict[int, Feed] = {}
        self._new: list[Feed] = []
        self._changed = False
        self._records = self._bytes = 0
        self._room = threading.Event()
        self._arrived = threading.Event()
        self._turns = 0  # of the worker, since something was taken
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: EwmaError | None = None
        self._next_fetch = self._next_watch = 0.0
        self._topic_id: object = None
        self._missing_since: float | None = None
        self._consumer = connect_consumer(client, group_id)
        self._commits = Commits(self._consumer, topic, group_id)
        try:
            self._look_up()
        except BaseException:
            close_consumer(self._consumer, _CLOSE_S)
            raise

    # Called by the worker.

    def __contains__(self, partition: int) -> bool:
        return partition in self._feeds

    @property
    def closed(self) -> bool:
        """Whether it was closed, or is about to be."""
        return self._closing.is_set()

    def add(self, partition: int, resume_state: int | None) -> Feed:
        """Begin to read a partition: at ``resume_state``, or at ``start`` where it is ``None``.

        Raises
        ------
        TopicError
            If the partition no longer has that offset, unless ``on_lost`` allows for it. That it
            does not have it yet is told by :meth:`take`, after the first fetch: not every broker
            lists its true end.
        """
        tp = TopicPartition(self._topic, partition)
        begin, end = self._begins[tp], self._ends[tp]
        first = self._first_offset(tp) if resume_state is None else resume_state
        if first < begin:
            if self._on_lost == "fail":
                raise _lost(tp, first, begin, end)
            first = _skip(tp, first, begin)
        feed = Feed(tp, first, end)
        with self._lock:
            self._feeds[partition] = feed
            self._new.append(feed)
            self._changed = True
        return feed

    @property
    def rests(self) -> bool:
        """Whether nothing has come for some turns, so that the worker waits in :meth:`rest`."""
        return self._turns > _TURNS_BEFORE_REST

    def rest(self, feed: Feed) -> None:
        """Wait for records of any partition, if none came for some turns.

        The first partition waits for all: up to 2 ms at first, as the worker may have more to do
        than this; then up to 10 ms, or 50 ms if it reads the whole topic. This wakes it when
        something comes, and seldom else; the engine by itself looks a thousand times a second.
        """
        if feed is not next(iter(self._feeds.values()), None):
            return
        self._turns += 1
        if self.rests:
            self._arrived.clear()
            if self._records == 0:
                self._arrived.wait(self._rest_s())

    def _rest_s(self) -> float:
        if self._turns <= _TURNS_BEFORE_LONG_REST:
            return _SHORT_REST_S
        return _LONG_REST_S if len(self._feeds) == self._partitions else _REST_S

    def take(self, feed: Feed) -> list[ConsumerRecords]:
        """Return what has been read of a partition since the last call; never waits.

        Raises
        ------
        EwmaError
            What ended the thread, if anything did.
        """
        if self._error is not None:
            raise self._error
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ewma_ops-poller", daemon=True)
            self._thread.start()
        if feed.fetched == feed.taken:  # idle, as most are most of the time
            return []
        with self._lock:
            runs, feed.runs = feed.runs, []
            feed.taken = feed.fetched
            if runs:
                self._turns = 0
                self._records -= sum(map(len, runs))
                self._bytes -= feed.bytes
                feed.bytes = 0
                self._room.set()
        return runs

    def durable(self, feed: Feed, offset: int) -> None:
        """Have ``offset`` committed to the group: everything before it is durable."""
        self._commits.durable(feed.tp.partition, offset)

    def remove(self, feed: Feed) -> None:
        """Stop reading a partition; close with the last one."""
        with self._lock:
            self._feeds.pop(feed.tp.partition, None)
            self._records -= sum(map(len, feed.runs))
            self._bytes -= feed.bytes
            feed.runs = []
            self._changed = True
        feed.close()
        if not self._feeds:
            self.close()

    def close(self) -> None:
        """End the thread and close the consumer, within seconds; never raises."""
        self._closing.set()
        self._room.set()
        if self._thread is None:
            close_consumer(self._consumer, _CLOSE_S)
            return
        self._thread.join(2 * _CLOSE_S)
        if self._thread.is_alive():
            _log.warning("the consumer of topic %r is still busy: left behind", self._topic)

    def _look_up(self) -> None:
        tps = [TopicPartition(self._topic, partition) for partition in range(self._partitions)]
        wait_ms = int(_LOOK_UP_S * 1000)
        with speaking_to(self._client, f"looking up the offsets of topic {self._topic!r}"):
            self._begins = self._consumer.beginning_offsets(tps, wait_ms)
            self._ends = self._consumer.end_offsets(tps, wait_ms)
            if isinstance(self._start, int):
                at = self._consumer.offsets_for_times(dict.fromkeys(tps, self._start), wait_ms)
                # Without a record that late there is no offset, or one without a time.
                self._timed = {tp: o.offset for tp, o in at.items() if o and o.timestamp >= 0}

    def _first_offset(self, tp: TopicPartition) -> int:
        if isinstance(self._start, int):
            return int(self._timed.get(tp, self._ends[tp]))
        if self._start == "latest":
            return int(self._ends[tp])
        if self._start == "committed":
            with speaking_to(self._client, f"looking up what group {self._group_id!r} committed"):
                committed = self._consumer.committed(tp, timeout_ms=int(_LOOK_UP_S * 1000))
            if committed is not None:
                return int(committed)
            _log.info(
                "group %r has committed nothing for partition %d of topic %r: read from the start",
                self._group_id,
                tp.partition,
                self._topic,
            )
        return int(self._begins[tp])

    # Called by the thread.

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._adopt()
                self._room.clear()
                if self._records > self._buffer_records or self._bytes > _BUFFER_BYTES:
                    self._room.wait(_POLL_S)
                else:
                    self._gather()
                    self._poll()
                self._commits.send()
                self._watch()
        except EwmaError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - raised again by take
            self._error = self._worded(error)
            self._error.__cause__ = error
        finally:
            if self._error is None:
                self._commits.send_last()
            close_consumer(self._consumer, _CLOSE_S)

    def _adopt(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            new, self._new = self._new, []
            feeds = list(self._feeds.values())
        if feeds:
            self._consumer.assign([feed.tp for feed in feeds])
            for feed in new:
                if feed in feeds:
                    self._consumer.seek(feed.tp, feed.fetched)

    def _gather(self) -> None:
        """Let records gather; the first one after a silence was waited for, and comes at once."""
        rest_s = self._next_fetch - time.monotonic()
        if rest_s > 0:
            self._closing.wait(rest_s)

    def _poll(self) -> None:
        began = time.monotonic()
        try:
            polled = poll(self._consumer, int(_POLL_S * 1000))
        except kafka_errors.OffsetOutOfRangeError as error:
            if not self._skipped(error):
                raise
            return
        except kafka_errors.RetriableError as error:
            _log.warning("reading topic %r: %s; trying again", self._topic, error)
            self._closing.wait(_POLL_S)
            return
        reached = positions(self._consumer)
        for feed in list(self._feeds.values()):
            if feed.tp in reached and not feed.finished:
                self._deliver(feed, polled.get(feed.tp, ()), reached[feed.tp])
        if polled and all(reached[tp] >= self._consumer.highwater(tp) for tp in polled):
            self._next_fetch = began + _GATHER_S

    def _skipped(self, error: kafka_errors.OffsetOutOfRangeError) -> bool:
        """Go on at the beginning of a partition, where that is what happened and is wanted."""
        if self._on_lost == "fail" or not error.args:
            return False
        ((tp, offset),) = error.args[0].items()
        begin = self._consumer.beginning_offsets([tp], int(_LOOK_UP_S * 1000))[tp]
        if offset >= begin:
            return False
        self._consumer.seek(tp, _skip(tp, offset, begin))
        return True

    def _deliver(self, feed: Feed, fetched: Sequence[Columns], reached: int) -> None:
        if feed.end is None:
            feed.end = self._true_end(feed)
        finished = self._bounded and feed.end is not None and reached >= feed.end
        runs = [run_of(feed.tp, columns, feed.end if finished else None) for columns in fetched]
        if finished:
            assert feed.end is not None
            reached = max(feed.fetched, feed.end)
            self._consumer.pause(feed.tp)
        size = sum(bytes_of(run.keys) + bytes_of(run.values) for run in runs)
        with self._lock:
            feed.runs += filter(len, runs)
            feed.bytes += size
            self._records += sum(map(len, runs))
            self._bytes += size
            feed.fetched = reached
            feed.finished = finished
        if runs:
            self._arrived.set()

    def _true_end(self, feed: Feed) -> int | None:
        high_watermark = self._consumer.highwater(feed.tp)
        if high_watermark is None:
            return None
        end = max(feed.listed_end, int(high_watermark))
        if feed.fetched > end:
            raise _lost(feed.tp, feed.fetched, self._begins[feed.tp], end)
        return end

    def _watch(self) -> None:
        now = time.monotonic()
        if now < self._next_watch:
            return
        self._next_watch = now + _WATCH_S
        for feed in list(self._feeds.values()):
            if feed.end is not None:
                feed.lag.set(max(0, self._consumer.highwater(feed.tp) - feed.taken))
        self._watch_topic(now)

    def _watch_topic(self, now: float) -> None:
        view = view_of(self._consumer, self._topic)
        if view.partitions == 0:
            if self._missing_since is None:
                self._missing_since = now
            if now - self._missing_since > _VANISHED_S:
                raise TopicError(
                    f"topic {self._topic!r} has vanished while it was read: create it again and "
                    "start the flow with a new recovery directory"
                )
            return
        self._missing_since = None
        if self._topic_id is None:
            self._topic_id = view.topic_id
        if view.topic_id not in (None, self._topic_id):
            raise TopicError(
                f"topic {self._topic!r} was deleted and created anew while it was read: its "
                "offsets mean other records now; start the flow with a new recovery directory"
            )
        if view.partitions > self._partitions:
            _log.warning(
                "topic %r has grown from %d to %d partitions: restart the flow to read the new "
                "ones; a series that moves to another partition may arrive out of order",
                self._topic,
                self._partitions,
                view.partitions,
            )
            self._partitions = view.partitions

    def _worded(self, error: Exception) -> EwmaError:
        if isinstance(error, kafka_errors.OffsetOutOfRangeError) and error.args:
            ((tp, offset),) = error.args[0].items()
            try:
                begin = self._consumer.beginning_offsets([tp])[tp]
                end = self._consumer.end_offsets([tp])[tp]
            except kafka_errors.KafkaError:
                begin, end = self._begins[tp], self._ends[tp]
            return _lost(tp, offset, begin, end)
        if isinstance(error, kafka_errors.LogTruncationError):
            return TopicError(
                f"topic {self._topic!r} was truncated below what was read already, or deleted and "
                f"created anew ({error}): start the flow with a new recovery directory"
            )
        if isinstance(error, (kafka_errors.KafkaError, OSError)):
            return in_words(error, self._client, f"reading topic {self._topic!r}")
        return BrokerError(f"reading topic {self._topic!r}: {type(error).__name__}: {error}")


def _skip(tp: TopicPartition, offset: int, begin: int) -> int:
    _LOST.labels(tp.topic, str(tp.partition)).inc(begin - offset)
    _log.warning(
        "retention removed %d offsets (%d to %d) of partition %d of topic %r before they were "
        "read: going on without them, as input.on_lost says",
        begin - offset,
        offset,
        begin,
        tp.partition,
        tp.topic,
    )
    return begin


def _lost(tp: TopicPartition, offset: int, begin: int, end: int) -> TopicError:
    if offset < begin:
        happened = (
            f"retention removed {begin - offset} offsets before they were read: lengthen the "
            'topic\'s retention; to go on without them set input.on_lost = "earliest"'
        )
    else:
        happened = (
            "the topic was truncated, or deleted and created anew: to read what it has now, start "
            "the flow with a new recovery directory"
        )
    return TopicError(
        f"partition {tp.partition} of topic {tp.topic!r} cannot be read from offset {offset}, "
        f"it has {begin} to {end}: {happened}"
    )
