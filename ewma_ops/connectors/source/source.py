"""A Kafka topic as a Bytewax source: at least once, without loss, and never blocking.

Knows Bytewax's epochs and hands offsets to the poller; must not know how kafka-python works.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, Protocol

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from kafka import TopicPartition

from ewma_ops.columns.origins import partition_of, topic_of
from ewma_ops.columns.sealed import open_sealed, seal
from ewma_ops.connectors.client.connect import commit_offsets
from ewma_ops.connectors.client.topics import describe_topics
from ewma_ops.connectors.inputs import InputTopics, source_part, source_part_number
from ewma_ops.connectors.source.offsets import OnLost, Start
from ewma_ops.connectors.source.partition_queue import PartitionQueue
from ewma_ops.connectors.source.poller import Poller
from ewma_ops.errors import ConfigError, TopicError
from ewma_ops.metrics.families import SNAPSHOTS
from ewma_ops.threads import FINE_S, pin_thread_state, set_timer_slack
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["KafkaSource", "Stage", "opened_offset", "sealed_offset"]

_KIND = "source partition"
_AT_ONCE = datetime.fromtimestamp(0, timezone.utc)


class Stage(Protocol):
    """A step inside the source, on each partition's records.

    Its state for a partition is any JSON value, such as a number.
    """

    def __call__(self, batch: list[ConsumerRecords]) -> Iterable[Any]:
        """Return the output for the runs of a partition."""

    def state(self, number: int) -> Any:
        """Return the state of a partition, given by its number, to be kept with its offset."""

    def resume(self, number: int, state: Any) -> None:
        """Restore the state of a partition; ``None`` for a partition without one."""


class KafkaSource(FixedPartitionedSource[ConsumerRecords, bytes]):
    """Read one or more topics, one part per Kafka partition, as runs of records in columns.

    A snapshot is the offset after the last record returned. Offsets are also committed to the
    consumer group, once they are durable, for monitoring; nothing depends on that.
    Each worker reads with one consumer and one thread, however many partitions it has.

    Parameters
    ----------
    client
        The ``[kafka]`` table: kafka-python's connection options by their own names.
    topic
        The topic, or a list of topics; they must exist. Changing from one topic
        to a list means starting over, because the parts are then named differently.
    start
        Where a partition without a snapshot begins: ``"earliest"``, ``"latest"``,
        ``"committed"`` (the group's offset, else the earliest), or a time in milliseconds since
        the epoch, UTC (the first record not older, else the end).
    stop
        ``"never"``, or ``"end"``: each part ends where its partition ended at the start.
    group_id
        The group that offsets are committed to.
    on_lost
        What to do if retention removed records before they were read: ``"fail"``, or
        ``"earliest"`` to continue with the first remaining record, which is logged and counted.
    stopping
        When set, every part ends within about 200 ms: Bytewax then takes a last snapshot.
    buffer_records
        >= 1. A worker stops reading ahead while it holds more records than this, or 64 MiB.
    start_offsets
        Where the flow began when it first ran, from
        :func:`~ewma_ops.connectors.source.offsets.start_offsets`, by the numbers of partitions;
        replaces ``start``. A partition that it does not name was added later, and is read from
        offset 0. Without it such a partition cannot be distinguished from an original one: with
        another ``start`` than ``"earliest"``, its records from before the next run may not be read.
    inputs
        The topics as brokers describe them; None to ask them from ``list_parts``.
    gone
        Numbers of partitions of topics that were deleted: these parts end at once.
    only_worker
        Whether this is the only worker, which then need not check for data from others.
    interval
        Time between two snapshots, if known: a worker then sleeps while it waits for others at the
        end of an epoch.

    Raises
    ------
    ConfigError
        If an option is wrong; from ``list_parts`` also if the broker refuses the user.
    BrokerError
        From ``list_parts``: no broker, or no such topic. From the parts: an offset that no longer
        exists, a topic that was deleted. Brokers that are down are waited for.

    Examples
    --------
    >>> KafkaSource({"bootstrap_servers": "127.0.0.1:9092"}, "readings", group_id="smoother")
    KafkaSource('readings')
    """

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str | Sequence[str],
        *,
        start: Start = "earliest",
        stop: Literal["never", "end"] = "never",
        group_id: str,
        on_lost: OnLost = "fail",
        stopping: threading.Event | None = None,
        buffer_records: int = 50_000,
        start_offsets: Mapping[int, int] | None = None,
        inputs: InputTopics | None = None,
        gone: Sequence[int] = (),
        only_worker: bool = False,
        interval: timedelta | None = None,
    ) -> None:
        _check(start, stop, group_id, buffer_records)
        if on_lost not in ("fail", "earliest"):
            raise ConfigError(f'on_lost is {on_lost!r}: use "fail" or "earliest"')
        self._client = dict(client)
        self._names = [topic] if isinstance(topic, str) else list(topic)
        self._alone = isinstance(topic, str)
        self._start = start
        self._stop = stop
        self._group_id = group_id
        self._on_lost = on_lost
        self._stopping = threading.Event() if stopping is None else stopping
        self._buffer_records = buffer_records
        self._start_offsets = start_offsets
        self._given = inputs
        self._gone = frozenset(gone)
        self._only_worker = only_worker
        self._interval = interval
        self._stage: Stage | None = None
        self._inputs = inputs
        self._pollers: dict[int, Poller] = {}
        self._ended_at: dict[TopicPartition, int] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._names))})"

    def read_through(self, stage: Stage) -> None:
        """Make each part return a stage's output for its runs, and keep the stage's state.

        A step after the source cannot do that: the state of a partition must match the offset, on
        the worker that reads the partition.
        """
        self._stage = stage

    def list_parts(self) -> list[str]:
        """Return a part name for each partition there is now."""
        self._inputs = self._given or self._look_up()
        # Bytewax does not start if a part with a snapshot is not listed.
        return [source_part(number) for number in [*self._inputs.numbers(), *sorted(self._gone)]]

    def _look_up(self) -> InputTopics:
        views = describe_topics(self._client, self._names)
        if self._alone:
            return InputTopics.alone(self._names[0], views[self._names[0]])
        return InputTopics.of(views)

    def build_part(
        self,
        step_id: str,  # noqa: ARG002 - Bytewax's signature
        for_part: str,
        resume_state: bytes | None,
    ) -> _Part:
        """Begin to read a partition, where ``resume_state`` says or else at ``start``."""
        set_timer_slack(FINE_S)  # this is the worker's thread; the main thread may wake late
        pin_thread_state()
        inputs = self._inputs = self._inputs or self._look_up()
        number = source_part_number(for_part)
        if number in self._gone:
            return _GonePart(resume_state)
        topic, partition = inputs.by_number.get(topic_of(number)), partition_of(number)
        if topic is None or partition >= topic.view.partitions:
            name, partitions = (
                (inputs, 0) if topic is None else (repr(topic.name), topic.view.partitions)
            )
            raise TopicError(
                f"topic {name} has {partitions} partitions, and the recovery "
                f"directory knows a partition {partition}: the topic was deleted and created "
                "again; to read what it has now, start with a new recovery directory"
            )
        poller = self._poller(inputs, TopicPartition(topic.name, partition))
        resumed, kept = (None, None) if resume_state is None else _opened(resume_state)
        queue = poller.add(TopicPartition(topic.name, partition), resumed)
        if self._stage is not None:
            self._stage.resume(number, kept)
        return _Part(poller, queue, resumed, self._stopping, self._ended_at, number, self._stage)

    def commit(self) -> None:
        """Commit the offsets at which the parts of this process ended.

        To be called once the flow has ended without an error. Bytewax closes the parts before their
        last epoch is durable, and does not report when it is: only its caller knows. Without this
        call the group lags by one epoch until the next start.

        Raises
        ------
        BrokerError, ConfigError
            If it fails; nothing is lost.
        """
        commit_offsets(self._client, self._group_id, self._ended_at)

    def _poller(self, inputs: InputTopics, tp: TopicPartition) -> Poller:
        # One for each worker: the worker's thread calls. An existing part is left over from an
        # aborted execution.
        thread = threading.get_ident()
        poller = self._pollers.get(thread)
        if poller is not None and tp in poller:
            poller.close()
        if poller is None or poller.closed:
            poller = self._pollers[thread] = Poller(
                self._client,
                inputs,
                self._group_id,
                start=self._start,
                bounded=self._stop == "end",
                buffer_records=self._buffer_records,
                on_lost=self._on_lost,
                start_offsets=None
                if self._start_offsets is None
                else inputs.offsets_by_place(self._start_offsets),
                only_worker=self._only_worker,
                interval=self._interval,
            )
        return poller


def sealed_offset(offset: int, kept: Any = None) -> bytes:
    """Return the state of a part as bytes for Bytewax, with that of a `Stage`."""
    numbers = {"offset": offset} if kept is None else {"offset": offset, "kept": kept}
    return seal(_KIND, numbers)


def opened_offset(data: object) -> int:
    """Return the offset that a part resumes from; `StateError` if it is damaged."""
    return _opened(data)[0]


def _opened(data: object) -> tuple[int, Any]:
    numbers = open_sealed(data, _KIND).numbers
    return int(numbers["offset"]), numbers.get("kept")


class _Part(StatefulSourcePartition[Any, bytes]):
    def __init__(
        self,
        poller: Poller,
        queue: PartitionQueue,
        resume_state: int | None,
        stopping: threading.Event,
        ended_at: dict[TopicPartition, int],
        number: int,
        stage: Stage | None,
    ) -> None:
        self._poller = poller
        self._number, self._stage = number, stage
        self._queue = queue
        self._stopping = stopping
        self._ended_at = ended_at
        self._offset = queue.taken
        self._snapshot = resume_state
        self._idle = False

    def next_batch(self) -> Iterable[Any]:
        if self._snapshot is not None:
            # Bytewax polls again only when the epoch of the snapshot is durable everywhere.
            SNAPSHOTS.durable()
            self._poller.durable(self._queue, self._snapshot)
            self._snapshot = None
        if self._stopping.is_set():
            raise StopIteration
        self._poller.rest(self._queue)
        finished = self._queue.finished  # before taking: nothing comes after it
        runs = self._poller.drain(self._queue)
        self._offset = self._queue.taken
        if finished and not runs:
            raise StopIteration
        self._idle = not runs
        return runs if self._stage is None else list(self._stage(runs))

    def next_awake(self) -> datetime | None:
        if (awake := self._poller.next_awake()) is not None:
            return awake
        if not self._idle:
            return None
        # Bytewax compares this with the wall clock, as it does for the millisecond that it waits
        # after None: if that clock is set back, parts wait until it has caught up. Idle parts pause
        # in `Poller.rest`.
        return _AT_ONCE

    def snapshot(self) -> bytes:
        SNAPSHOTS.began()
        self._snapshot = self._offset
        self._poller.epoch_ends()
        kept = None if self._stage is None else self._stage.state(self._number)
        return sealed_offset(self._offset, kept)

    def close(self) -> None:
        if not self._poller.has_gone(self._queue):
            self._ended_at[self._queue.tp] = self._offset
        self._poller.remove(self._queue)


class _GonePart(_Part):
    """The part of a partition whose topic was deleted: it ends at once."""

    def __init__(self, resume_state: bytes | None) -> None:
        self._resume_state = resume_state

    def next_batch(self) -> list[ConsumerRecords]:
        raise StopIteration

    def next_awake(self) -> datetime | None:
        return None

    def snapshot(self) -> bytes:
        return sealed_offset(0) if self._resume_state is None else self._resume_state

    def close(self) -> None:
        pass


def _check(start: object, stop: object, group_id: object, buffer_records: object) -> None:
    if isinstance(start, bool) or not (
        start in ("earliest", "latest", "committed") or (isinstance(start, int) and start >= 0)
    ):
        raise ConfigError(
            f'start is {start!r}: use "earliest", "latest", "committed", or a time in '
            "milliseconds since the epoch, >= 0"
        )
    if stop not in ("never", "end"):
        raise ConfigError(f'stop is {stop!r}: use "never" or "end"')
    if not isinstance(group_id, str) or not group_id:
        raise ConfigError(f"group_id is {group_id!r}: name the group that offsets are committed to")
    if not isinstance(buffer_records, int) or buffer_records < 1:
        raise ConfigError(f"buffer_records is {buffer_records!r}: use a number >= 1")
