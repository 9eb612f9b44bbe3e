"""Where the partitions of topics begin and end, and where reading of each begins.

Knows how a consumer looks up offsets; must not know threads, or what is read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from prometheus_client import Counter

from ewma_ops.connectors.client.connect import close_consumer, connect_consumer, translating_errors
from ewma_ops.connectors.client.topics import listed
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.errors import TopicError

__all__ = ["Offsets", "OnLost", "Start", "start_offsets"]

_log = logging.getLogger(__name__)

Start = Literal["earliest", "latest", "committed"] | int
"""Where to begin without a snapshot; a number is a time in milliseconds since the epoch, UTC."""

OnLost = Literal["fail", "earliest"]
"""What to do if retention removed records before they were read."""

_LOST = Counter(
    "ewma_ops_lost_offsets",
    "Offsets of the input that retention removed before they were read",
    ("topic", "partition"),
)
_ANSWER_MS = 10_000
_CLOSE_S = 5.0


def start_offsets(
    client: Mapping[str, object], inputs: InputTopics, group_id: str, start: Start
) -> dict[int, int]:
    """Return the offset of each partition, by its number, at which a new flow begins.

    Parameters
    ----------
    client, group_id, start
        As for the source.
    inputs
        The topics.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers in time, or the user may not ask.
    """
    consumer = connect_consumer(client, group_id)
    try:
        offsets = Offsets(client, consumer, list(inputs), group_id, start=start, on_lost="fail")
        return {inputs.number(*tp): offsets.start(tp) for tp in inputs}
    finally:
        close_consumer(consumer, _CLOSE_S)


class Offsets:
    """The bounds of partitions when the flow started, asked for when this is made.

    Parameters
    ----------
    client
        The options that the consumer was connected with.
    consumer
        Of the group that offsets are committed to.
    tps
        The partitions.
    group_id, start, on_lost
        As for the source.
    start_offsets
        As for the source, by partition.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers in time, or none that lets the user ask.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        consumer: KafkaConsumer,
        tps: Sequence[TopicPartition],
        group_id: str,
        *,
        start: Start,
        on_lost: OnLost,
        start_offsets: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        self._client = client
        self._consumer = consumer
        self._group_id = group_id
        self._start = start
        self._on_lost = on_lost
        self._start_offsets = start_offsets
        topics = listed(dict.fromkeys(tp.topic for tp in tps))
        with translating_errors(client, f"looking up the offsets of topic {topics}"):
            self._begins = consumer.beginning_offsets(tps, _ANSWER_MS)
            self._ends = consumer.end_offsets(tps, _ANSWER_MS)
            if isinstance(start, int):
                at = consumer.offsets_for_times(dict.fromkeys(tps, start), _ANSWER_MS)
                # If no record is that late, there is no offset, or one without a time.
                self._timed = {tp: o.offset for tp, o in at.items() if o and o.timestamp >= 0}

    def first(self, tp: TopicPartition, resume_state: int | None) -> int:
        """Return where to begin: at ``resume_state``, or at :meth:`start` where it is ``None``.

        Raises
        ------
        TopicError
            If the partition no longer has that offset, unless ``on_lost`` allows for it.
            :meth:`end` finds out if it does not have it yet.
        """
        _LOST.labels(tp.topic, str(tp.partition))  # starts at 0: the first count is then a change
        begin = self._begins[tp]
        first = self.start(tp) if resume_state is None else resume_state
        if first >= begin:
            return first
        if self._on_lost == "fail":
            raise _lost(tp, first, begin, self._ends[tp])
        return _skip(tp, first, begin)

    def start(self, tp: TopicPartition) -> int:
        """Return where an unread partition begins, by the options of the source."""
        if self._start_offsets is not None:
            # A partition that was added later is newer than the job: it is read as a whole.
            return self._start_offsets.get(tp, 0)
        if isinstance(self._start, int):
            return int(self._timed.get(tp, self._ends[tp]))
        if self._start == "latest":
            return int(self._ends[tp])
        if self._start == "committed":
            with translating_errors(
                self._client, f"looking up what group {self._group_id!r} committed"
            ):
                committed = self._consumer.committed(tp, timeout_ms=_ANSWER_MS)
            if committed is not None:
                return int(committed)
            _log.info(
                "group %r has committed nothing for partition %d of topic %r: read from the start",
                self._group_id,
                tp.partition,
                tp.topic,
            )
        return int(self._begins[tp])

    def end(self, tp: TopicPartition, first: int) -> int | None:
        """Return the end of a partition that is read from ``first``; ``None`` before a fetch.

        Not every broker lists the true end: a fetch reveals it.

        Raises
        ------
        TopicError
            If the partition has no such offset yet.
        """
        high_watermark = self._consumer.highwater(tp)
        if high_watermark is None:
            return None
        end = max(int(self._ends[tp]), int(high_watermark))
        if first > end:
            raise _lost(tp, first, self._begins[tp], end)
        return end

    def skipped(self, error: kafka_errors.OffsetOutOfRangeError) -> bool:
        """Continue at the beginning of a partition, if ``on_lost`` allows it."""
        if self._on_lost == "fail" or not error.args:
            return False
        ((tp, offset),) = error.args[0].items()
        begin = self._consumer.beginning_offsets([tp], _ANSWER_MS)[tp]
        if offset >= begin:
            return False
        self._consumer.seek(tp, _skip(tp, offset, begin))
        return True

    def lost(self, error: kafka_errors.OffsetOutOfRangeError) -> TopicError:
        """Return the error to raise if reading ended with a range error."""
        ((tp, offset),) = error.args[0].items()
        try:
            begin = self._consumer.beginning_offsets([tp])[tp]
            end = self._consumer.end_offsets([tp])[tp]
        except kafka_errors.KafkaError:
            begin, end = self._begins[tp], self._ends[tp]
        return _lost(tp, offset, begin, end)


def _skip(tp: TopicPartition, offset: int, begin: int) -> int:
    _LOST.labels(tp.topic, str(tp.partition)).inc(begin - offset)
    _log.warning(
        "retention removed %d offsets (%d to %d) of partition %d of topic %r before they were "
        "read: continuing without them, as input.on_lost says",
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
            'topic\'s retention; to continue without them set input.on_lost = "earliest"'
        )
    else:
        happened = (
            "the topic was truncated, or deleted and created again: to read what it has now, start "
            "with a new recovery directory"
        )
    return TopicError(
        f"partition {tp.partition} of topic {tp.topic!r} cannot be read from offset {offset}, "
        f"it has {begin} to {end}: {happened}"
    )
