"""One consumer and its thread, reading ahead for the parts of one worker in bounded memory.

Knows when to fetch, and the consumer's life; must not know Bytewax, nor what is in a record.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from kafka import TopicPartition
from kafka import errors as kafka_errors

from ewma_ops.connectors.client import turns
from ewma_ops.connectors.client.connect import (
    close_consumer,
    connect_consumer,
    positions,
    to_ewma_error,
)
from ewma_ops.connectors.client.exchange import answers_shortly, poll
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.source.commits import Commits
from ewma_ops.connectors.source.epochs import Epochs
from ewma_ops.connectors.source.offsets import Offsets, OnLost, Start
from ewma_ops.connectors.source.partition_queue import PartitionQueue, run_of
from ewma_ops.connectors.source.resting import Resting
from ewma_ops.connectors.source.topics_watch import TopicsWatch
from ewma_ops.connectors.source.who_polls import WhoPolls
from ewma_ops.errors import BrokerError, EwmaError, TopicError
from ewma_ops.wire.decode import Columns
from ewma_ops.wire.records import ConsumerRecords, bytes_of

__all__ = ["Poller"]

_log = logging.getLogger(__name__)

_BUFFER_BYTES = 64 << 20
_POLL_S = 0.25
_GATHER_SHARE = 0.25
_LONGEST_GATHER_S = 0.004
"""At the end of the topic records gather between fetches, because a fetch costs the same, all the
way to the output, for one record as for fifty: long enough to take about a quarter of a core, but
short enough not to dominate the latency."""
_STEADY = 0.9
_WATCH_S = 1.0
_CLOSE_S = 5.0


class Poller:
    """Polls one consumer for any number of partitions.

    Parameters
    ----------
    client, group_id
        As for the source.
    inputs
        The topics, as brokers described them when the flow started.
    start
        Where a partition without a snapshot begins.
    bounded
        Whether a partition finishes where it ended at the start.
    buffer_records
        Stop reading ahead while more records than this are buffered, all partitions together.
    on_lost
        What to do if retention removed records before they were read.
    start_offsets
        As for the source, by partition.
    only_worker
        As for the source.
    interval
        As for the source.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        inputs: InputTopics,
        group_id: str,
        *,
        start: Start,
        bounded: bool,
        buffer_records: int,
        on_lost: OnLost,
        start_offsets: Mapping[TopicPartition, int] | None = None,
        only_worker: bool = False,
        interval: timedelta | None = None,
    ) -> None:
        self._client = client
        self._epochs = Epochs(None if only_worker else interval)
        self._inputs, self._partitions = inputs, len(inputs)
        self._bounded, self._buffer_records = bounded, buffer_records
        self._lock = threading.Lock()  # guards the queues and the totals
        self._queues: dict[TopicPartition, PartitionQueue] = {}
        self._new: list[PartitionQueue] = []
        self._changed = self._assigned = False
        self._records = self._bytes = 0
        self._room = threading.Event()
        self._arrived = threading.Event()
        self._resting = Resting(only_worker=only_worker)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: EwmaError | None = None
        self._who_polls, self._gathering = WhoPolls(), _Gathering()
        self._next_fetch = self._next_watch = 0.0
        self._consumer = connect_consumer(client, group_id)
        self._topics = TopicsWatch(client, self._consumer, inputs)
        self._commits = Commits(self._consumer, group_id)
        try:
            self._offsets = Offsets(
                client,
                self._consumer,
                list(inputs),
                group_id,
                start=start,
                on_lost=on_lost,
                start_offsets=start_offsets,
            )
        except BaseException:
            close_consumer(self._consumer, _CLOSE_S)
            raise

    # Called by the worker.

    def __contains__(self, tp: TopicPartition) -> bool:
        return tp in self._queues

    @property
    def closed(self) -> bool:
        """Whether it is closed or closing."""
        return self._closing.is_set()

    def add(self, tp: TopicPartition, resume_state: int | None) -> PartitionQueue:
        """Begin to read a partition where :meth:`Offsets.first` says, with the same errors."""
        queue = PartitionQueue(tp, self._offsets.first(tp, resume_state))
        turns.tell()
        with self._lock:
            self._queues[tp] = queue
            self._new.append(queue)
            self._changed = True
        return queue

    def rest(self, queue: PartitionQueue) -> None:
        """Wait for records of any partition, if none came for several turns.

        The first partition waits for all: up to 2 ms at first, because the worker may have other
        work; then up to 10 ms, or 50 and later 200 ms if it reads everything there is. A single
        worker has other work only at the end of an epoch. New records wake it; without this, the
        engine would poll a thousand times a second.
        """
        if queue is not next(iter(self._queues.values()), None):
            return
        self._epochs.turn_begins()
        turns.end()
        self._resting.turn_begins()
        if self._resting.is_due and not self._poll_here():
            self._arrived.clear()
            if self._records == 0:
                self._arrived.wait(self._rest_s())

    def _rest_s(self) -> float:
        reads_all = len(self._queues) >= self._partitions
        return self._resting.seconds(is_awaited=turns.is_awaited(), reads_all=reads_all)

    def _poll_here(self) -> bool:
        """Poll in the worker's thread, if it is its turn; return whether it was."""
        who = self._who_polls
        if not who.is_worker or not who.lock.acquire(blocking=False):
            return False
        try:
            if not who.is_worker or self._error is not None or self._closing.is_set():
                return False
            try:
                self._turn(self._rest_s())
            except Exception as error:  # noqa: BLE001 - raised again by drain
                self._fail(error)
            return True
        finally:
            who.lock.release()

    def drain(self, queue: PartitionQueue) -> list[ConsumerRecords]:
        """Return what has been read of a partition since the last call; never waits.

        Raises
        ------
        EwmaError
            The error that ended the thread, if any.
        """
        if self._error is not None:
            raise self._error
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ewma_ops-poller", daemon=True)
            self._thread.start()
        if queue.fetched == queue.taken:  # idle, as most partitions are most of the time
            return []
        with self._lock:
            runs, queue.runs = queue.runs, []
            queue.taken = queue.fetched
            if runs:
                self._resting.records_came()
                self._records -= sum(map(len, runs))
                self._bytes -= queue.bytes
                queue.bytes = 0
                self._room.set()
        return runs

    def epoch_ends(self) -> None:
        """Note that the engine has work for some turns, whatever comes."""
        self._resting.epoch_ends()
        self._epochs.ends()

    def next_awake(self) -> datetime | None:
        """Return when to poll parts again if an epoch ends with this turn, else None."""
        return self._epochs.next_awake()

    def durable(self, queue: PartitionQueue, offset: int) -> None:
        """Commit ``offset`` to the group: everything before it is durable."""
        self._epochs.is_durable()
        if not self.has_gone(queue):
            self._commits.durable(queue.tp, offset)

    def has_gone(self, queue: PartitionQueue) -> bool:
        """Return whether the topic of a partition is gone, and the flow goes on without it."""
        return self._topics.is_gone(queue.tp.topic)

    def remove(self, queue: PartitionQueue) -> None:
        """Stop reading a partition; close with the last one."""
        with self._lock:
            self._queues.pop(queue.tp, None)
            self._records -= sum(map(len, queue.runs))
            self._bytes -= queue.bytes
            queue.runs = []
            self._changed = True
        queue.close()
        if not self._queues:
            turns.tell_no_more()
            self.close()

    def close(self) -> None:
        """End the thread and close the consumer, within seconds; never raises."""
        self._closing.set()
        self._room.set()
        self._who_polls.wake()
        if self._thread is None:
            close_consumer(self._consumer, _CLOSE_S)
            return
        self._thread.join(2 * _CLOSE_S)
        if self._thread.is_alive():
            _log.warning("the consumer of topic %s is still busy: abandoned", self._inputs)

    # Called by the thread, and by the worker where it polls.

    def _run(self) -> None:
        try:
            while not self._closing.is_set() and self._error is None:
                with self._who_polls.lock:
                    if self._who_polls.thread_may():
                        self._turn(_POLL_S)
                self._who_polls.wait()
        except Exception as error:  # noqa: BLE001 - raised again by drain
            self._fail(error)
        finally:
            if self._error is None:
                self._commits.send_last()
            close_consumer(self._consumer, _CLOSE_S)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, EwmaError):
            self._error = error
        else:
            worded = self._worded(error)
            worded.__cause__ = error
            self._error = worded
        self._who_polls.be_thread()  # the thread closes the consumer

    def _turn(self, wait_s: float) -> None:
        """Poll once, for up to ``wait_s``, and do other work that is due."""
        self._adopt()
        self._room.clear()
        if self._records > self._buffer_records or self._bytes > _BUFFER_BYTES:
            self._room.wait(wait_s)
        elif not self._assigned:
            self._closing.wait(wait_s)
        elif self._gathered(wait_s):
            self._poll(wait_s)
        self._who_polls.note_turn()
        self._commits.send()
        self._watch()

    def _adopt(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            new, self._new = self._new, []
            queues = list(self._queues.values())
        for queue in filter(self.has_gone, queues):
            queue.finished = queue.finished or self._bounded  # nothing more comes: it ends here
            queue.close()
        queues = [queue for queue in queues if not self.has_gone(queue)]
        self._assigned = bool(queues)
        if queues:
            self._consumer.assign([queue.tp for queue in queues])
            for queue in new:
                if queue in queues:
                    self._consumer.seek(queue.tp, queue.fetched)

    def _gathered(self, wait_s: float) -> bool:
        """Let records gather for up to ``wait_s``; return whether it is time to fetch them.

        The first record after a silence is fetched at once.
        """
        rest_s = self._next_fetch - time.monotonic()
        if rest_s > 0:
            time.sleep(min(rest_s, wait_s))
        return rest_s <= wait_s

    def _poll(self, wait_s: float) -> None:
        began = time.monotonic()
        self._topics.note_asked()
        try:
            polled = poll(self._consumer, int(wait_s * 1000))
        except kafka_errors.OffsetOutOfRangeError as error:
            if not self._lost_topic() and not self._offsets.skipped(error):
                raise
            return
        except kafka_errors.LogTruncationError:
            if not self._lost_topic():
                raise
            return
        except kafka_errors.RetriableError as error:
            _log.warning("reading topic %s: %s; trying again", self._inputs, error)
            self._who_polls.be_thread()
            self._closing.wait(_POLL_S)
            return
        if polled:
            self._topics.note_answered()
        if polled and self._topics.has_news:
            self._look()  # before records of another topic are taken for it
        reached = positions(self._consumer)
        for queue in list(self._queues.values()):
            still = queue.tp not in polled and reached.get(queue.tp) == queue.fetched
            if still and queue.end is not None and not self._bounded:
                continue
            if queue.tp in polled and self._topics.is_missing(queue.tp.topic):
                # It may belong to a new topic of this name, which brokers have not announced yet.
                self._consumer.seek(queue.tp, queue.fetched)
            elif queue.tp in reached and not queue.finished and not self.has_gone(queue):
                self._deliver(queue, polled.get(queue.tp, ()), reached[queue.tp])
        rest = any(reached[tp] < self._consumer.highwater(tp) for tp in polled)
        if polled and not rest:
            self._next_fetch = began + self._gathering.next_s()
        self._who_polls.polled(
            sum(len(run.values) for runs in polled.values() for run in runs),
            rest=rest,
            may_be_worker=answers_shortly(self._consumer),
        )

    def _deliver(self, queue: PartitionQueue, fetched: Sequence[Columns], reached: int) -> None:
        if queue.end is None:
            queue.end = self._offsets.end(queue.tp, queue.fetched)
        finished = self._bounded and queue.end is not None and reached >= queue.end
        runs = [run_of(queue.tp, columns, queue.end if finished else None) for columns in fetched]
        if finished:
            assert queue.end is not None
            reached = max(queue.fetched, queue.end)
            self._consumer.pause(queue.tp)
        size = sum(bytes_of(run.keys) + bytes_of(run.values) for run in runs)
        with self._lock:
            queue.runs += filter(len, runs)
            queue.bytes += size
            self._records += sum(map(len, runs))
            self._bytes += size
            queue.fetched = reached
            queue.finished = finished
        if runs:
            self._arrived.set()

    def _watch(self) -> None:
        now = time.monotonic()
        if now < self._next_watch:
            return
        self._next_watch = now + _WATCH_S
        for queue in list(self._queues.values()):
            if queue.end is not None and not self.has_gone(queue):
                queue.note_lag(self._consumer.highwater(queue.tp) - queue.taken)
        self._look()
        self._topics.warn_of_silence()

    def _look(self) -> None:
        if self._topics.look():
            self._changed = True

    def _lost_topic(self) -> bool:
        if lost := self._topics.ask():
            self._changed = True
        return lost

    def _worded(self, error: Exception) -> EwmaError:
        if isinstance(error, kafka_errors.OffsetOutOfRangeError) and error.args:
            return self._offsets.lost(error)
        if isinstance(error, kafka_errors.LogTruncationError):
            return TopicError(
                f"topic {self._inputs} was deleted and created again, or truncated below what was "
                f"read ({error}): to read what it has now, start with a new recovery directory"
            )
        if isinstance(error, (kafka_errors.KafkaError, OSError)):
            return to_ewma_error(error, self._client, f"reading topic {self._inputs}")
        return BrokerError(f"reading topic {self._inputs}: {type(error).__name__}: {error}")


class _Gathering:
    """How long records gather before the next fetch, by what fetches cost lately."""

    def __init__(self) -> None:
        self._cpu_s = time.process_time()
        self._cost_s = 0.0  # CPU of all threads

    def next_s(self) -> float:
        """Record that a fetch is done; return the time between fetches."""
        before, self._cpu_s = self._cpu_s, time.process_time()
        self._cost_s += (1 - _STEADY) * (self._cpu_s - before - self._cost_s)
        return min(self._cost_s / _GATHER_SHARE, _LONGEST_GATHER_S)
