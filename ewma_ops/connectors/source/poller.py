"""One consumer and its thread, read ahead for the parts of one worker, in bounded memory.

Knows when to fetch, and the consumer's life; must not know Bytewax, nor what is in a record.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence

from kafka import TopicPartition
from kafka import errors as kafka_errors

from ewma_ops.connectors.client.connect import (
    TopicView,
    close_consumer,
    connect_consumer,
    in_words,
    positions,
    view_of,
)
from ewma_ops.connectors.client.exchange import poll
from ewma_ops.connectors.client.topics import TopicWatch
from ewma_ops.connectors.source.commits import Commits
from ewma_ops.connectors.source.offsets import Offsets, OnLost, Start
from ewma_ops.connectors.source.partition_queue import Feed, run_of
from ewma_ops.errors import BrokerError, EwmaError, TopicError
from ewma_ops.wire.decode import Columns
from ewma_ops.wire.records import ConsumerRecords, bytes_of

__all__ = ["Poller"]

_log = logging.getLogger(__name__)

_BUFFER_BYTES = 64 << 20
_POLL_S = 0.25
_GATHER_S = 0.006
"""From one fetch at the end of the topic to the next: each costs 3 ms of CPU, all the way to the
output, for one record as for a hundred."""
_WATCH_S = 1.0
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
    view
        What brokers said of the topic when the flow started.
    start
        Where a partition without a snapshot begins.
    bounded
        Whether a partition finishes where it ended at the start.
    buffer_records
        Stop reading ahead while more records than this are buffered, all partitions together.
    on_lost
        What is done where retention has removed records before they were read.
    began
        As of the source.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str,
        group_id: str,
        *,
        view: TopicView,
        start: Start,
        bounded: bool,
        buffer_records: int,
        on_lost: OnLost,
        began: Mapping[int, int] | None = None,
    ) -> None:
        self._client = client
        self._topic = topic
        self._partitions = view.partitions
        self._bounded = bounded
        self._buffer_records = buffer_records
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
        self._topic_watch = TopicWatch(topic, view)
        self._consumer = connect_consumer(client, group_id)
        self._commits = Commits(self._consumer, topic, group_id)
        try:
            self._offsets = Offsets(
                client,
                self._consumer,
                topic,
                group_id,
                partitions=view.partitions,
                start=start,
                on_lost=on_lost,
                began=began,
            )
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
        """Begin to read a partition where :meth:`Offsets.first` says; errors as of that."""
        tp = TopicPartition(self._topic, partition)
        feed = Feed(tp, self._offsets.first(tp, resume_state))
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
            if not self._offsets.skipped(error):
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

    def _deliver(self, feed: Feed, fetched: Sequence[Columns], reached: int) -> None:
        if feed.end is None:
            feed.end = self._offsets.end(feed.tp, feed.fetched)
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

    def _watch(self) -> None:
        now = time.monotonic()
        if now < self._next_watch:
            return
        self._next_watch = now + _WATCH_S
        for feed in list(self._feeds.values()):
            if feed.end is not None:
                feed.lag.set(max(0, self._consumer.highwater(feed.tp) - feed.taken))
        self._topic_watch.look(view_of(self._consumer, self._topic), now)

    def _worded(self, error: Exception) -> EwmaError:
        if isinstance(error, kafka_errors.OffsetOutOfRangeError) and error.args:
            return self._offsets.lost(error)
        if isinstance(error, kafka_errors.LogTruncationError):
            return TopicError(
                f"topic {self._topic!r} was deleted and created again, or truncated below what was "
                f"read ({error}): to read what it has now, start with a new recovery directory"
            )
        if isinstance(error, (kafka_errors.KafkaError, OSError)):
            return in_words(error, self._client, f"reading topic {self._topic!r}")
        return BrokerError(f"reading topic {self._topic!r}: {type(error).__name__}: {error}")
