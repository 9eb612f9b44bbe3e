"""Reads the alarms topic for a notifier: all partitions, from the beginning, with a group.

Knows Kafka; must not know what is in a record. The group is for commits only; no member joins it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from kafka import TopicPartition
from kafka import errors as kafka_errors

from ewma_ops.connectors.client.connect import (
    close_consumer,
    connect_consumer,
    positions,
    translating_errors,
    view_of,
)
from ewma_ops.connectors.client.exchange import poll
from ewma_ops.connectors.client.topics import describe_topic
from ewma_ops.connectors.source.commits import Commits

__all__ = ["AlarmsTopic", "TopicRecord"]

_POLL_MS = 200
_LOOK_UP_MS = 10_000
_LOOK_AGAIN_S = 10.0
_CLOSE_S = 5.0


class TopicRecord(NamedTuple):
    """A record: its position and value."""

    partition: int
    offset: int
    value: bytes | None


class AlarmsTopic:
    """Read a topic from its beginning on, and commit how far its records are done.

    ``targets`` is the position of each partition at the start: records before it were handled
    earlier, or, with ``first_start``, are older than the notifier, which sends none of them.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    topic
        The topic; it must exist.
    group_id
        The group that offsets are committed to.
    tell
        Called with a line where retention has removed records before they were read.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers, there is no such topic, or the user may not read it.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str,
        group_id: str,
        tell: Callable[[str], None],
    ) -> None:
        self._client, self._topic, self._tell = client, topic, tell
        describe_topic(client, topic)
        self._consumer = connect_consumer(client, group_id)
        self._commits = Commits(self._consumer, group_id)
        self._looked_at = time.monotonic()
        try:
            with translating_errors(client, f"reading topic {topic!r}"):
                partitions = sorted(self._consumer.partitions_for_topic(topic) or ())
                self._assign(partitions)
                tps = [TopicPartition(topic, partition) for partition in partitions]
                begins = self._consumer.beginning_offsets(tps, _LOOK_UP_MS)
                ends = self._consumer.end_offsets(tps, _LOOK_UP_MS)
                committed = {tp: self._consumer.committed(tp, timeout_ms=_LOOK_UP_MS) for tp in tps}
        except BaseException:
            close_consumer(self._consumer, _CLOSE_S)
            raise
        self.first_start = all(at is None for at in committed.values())
        self.targets: dict[int, int] = {}
        self._unfetched = set(tps) if self.first_start else set()
        for tp in tps:
            at = ends[tp] if self.first_start else committed[tp] or begins[tp]
            self.targets[tp.partition] = min(int(at), int(ends[tp]))
            self._consumer.seek(tp, begins[tp])

    @property
    def partitions(self) -> int:
        """How many partitions are read."""
        return len(self._consumer.assignment())

    def poll(self) -> Iterator[TopicRecord]:
        """Yield the records that come within a moment, of each partition in order."""
        self._look_for_partitions()
        try:
            with translating_errors(self._client, f"reading topic {self._topic!r}"):
                try:
                    polled = poll(self._consumer, _POLL_MS)
                except kafka_errors.OffsetOutOfRangeError as error:
                    self._go_on_where_it_begins(error)
                    return
        finally:
            self._commits.send()
        for tp in list(self._unfetched):  # some brokers list too low an end
            if (mark := self._consumer.highwater(tp)) is not None:
                self._unfetched.remove(tp)
                self.targets[tp.partition] = max(self.targets[tp.partition], int(mark))
        for tp, runs in polled.items():
            for run in runs:
                for offset, value in zip(run.offsets.tolist(), run.values, strict=True):
                    yield TopicRecord(tp.partition, offset, value)

    def passed_targets(self) -> bool:
        """Return whether everything before the targets was read."""
        reached = positions(self._consumer)
        return not self._unfetched and all(
            reached.get(TopicPartition(self._topic, partition), 0) >= target
            for partition, target in self.targets.items()
        )

    def commit(self, reached: Mapping[int, int]) -> None:
        """Commit offsets, by partition, with the next :meth:`poll`."""
        for partition, offset in reached.items():
            self._commits.durable(TopicPartition(self._topic, partition), offset)

    def close(self) -> None:
        """Commit what is left, and close; never raises."""
        self._commits.send_last()
        close_consumer(self._consumer, _CLOSE_S)

    def _assign(self, partitions: list[int]) -> None:
        self._consumer.assign([TopicPartition(self._topic, one) for one in partitions])

    def _look_for_partitions(self) -> None:
        """Add partitions that are new on the topic: they are read from their first record."""
        if time.monotonic() < self._looked_at + _LOOK_AGAIN_S:
            return
        self._looked_at = time.monotonic()
        there = view_of(self._consumer, self._topic).partitions
        known = {tp.partition for tp in self._consumer.assignment()}
        if new := sorted(set(range(there)) - known):
            at = positions(self._consumer)
            self._assign(sorted({*known, *new}))
            for tp, offset in at.items():
                self._consumer.seek(tp, offset)
            for partition in new:
                self._consumer.seek(TopicPartition(self._topic, partition), 0)

    def _go_on_where_it_begins(self, error: kafka_errors.OffsetOutOfRangeError) -> None:
        lost = [tp for tp in (error.args[0] if error.args else ()) if tp.topic == self._topic]
        begins = self._consumer.beginning_offsets(lost, _LOOK_UP_MS)
        for tp, begin in begins.items():
            self._consumer.seek(tp, begin)
            self._tell(
                f"topic {self._topic!r} no longer has the next record of partition {tp.partition}: "
                f"going on at offset {begin:,}; keep alarms longer than a notifier may be away"
            )
