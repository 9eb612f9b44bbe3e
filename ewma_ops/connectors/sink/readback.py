"""Reads the end of an output partition back, to find what the previous run wrote.

Knows offsets, high watermarks and how long a dead client's last request may linger; must not know
Bytewax, or what is done with the records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka import errors as kafka_errors

from ewma_ops.connectors.client.connect import (
    close_consumer,
    connect_reader,
    positions,
    translating_errors,
)
from ewma_ops.connectors.client.exchange import forget_watermarks, poll_records
from ewma_ops.connectors.client.topics import listed
from ewma_ops.errors import BrokerError, TopicError
from ewma_ops.wire.records import Headers

__all__ = ["QUIET_S", "Readback", "Reading", "Stretch", "leaders_answered"]

_log = logging.getLogger(__name__)

QUIET_S = 1.0
"""A broker may append what a client sent just before it died, up to this much later."""
_SOON = 0.5
"""Share of it within which leaders must answer again: one that takes longer may have hung."""

_POLL_S = 0.1
_LAST_POLL_S = 0.01
"""When all that is missing is an answer with nothing in it, which ends no poll."""
_LOOK_UP_MS = 10_000
_PATIENCE_S = 60.0
"""How long reading may make no progress before the end, as happens while a leader moves."""
_REPORT_S = 5.0
_CLOSE_S = 5.0


def leaders_answered(client: Mapping[str, object], partitions: Mapping[str, int]) -> float:
    """Ask all leaders of some topics something; return when (monotonic) they had answered.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    partitions
        How many there are of each topic.

    Raises
    ------
    BrokerError, ConfigError
        If one does not answer, or the broker refuses the user.
    """
    tps = [TopicPartition(topic, at) for topic, count in partitions.items() for at in range(count)]
    consumer = connect_reader(client)
    try:
        with translating_errors(client, f"looking up the offsets of topic {listed(partitions)}"):
            consumer.end_offsets(tps, _LOOK_UP_MS)
        return time.monotonic()
    finally:
        close_consumer(consumer, _CLOSE_S)


class Stretch(NamedTuple):
    """Some consecutive records: key and headers of each, and the offset after the last."""

    keys: list[bytes | None]
    headers: list[Headers]
    end: int


class Reading:
    """How far one partition was read back; ``error`` is what ended it early, if anything."""

    def __init__(self, tp: TopicPartition, first: int, end: int, quiet_at: float) -> None:
        self.tp = tp
        self.first = self.reached = first
        self.end = end
        self.done = self.stuck = False
        self.error: Exception | None = None
        self._quiet_at = quiet_at
        self._quiet = False
        self._fetches = 0
        self._watermark: int | None = None
        self._moved_at = self._reported_at = time.monotonic()

    def move(
        self, records: Sequence[Any], position: int, watermark: int | None, now: float
    ) -> Stretch | None:
        """Record the result of a poll; return it if it is not empty."""
        self._watermark = watermark
        self.end = max(self.end, watermark or 0)
        if position > self.reached or records:
            self.reached, self._moved_at = position, now
            return Stretch([r.key for r in records], [r.headers for r in records], position)
        return None

    @property
    def ending(self) -> bool:
        """Whether all that is missing is a fetch from after the settle time."""
        return self._quiet and self.reached >= self.end

    def settle(self, now: float) -> float | None:
        """End the reading if the last poll shows it; return when to look up its end.

        ``None`` where the end is not reached, or was looked up after the settle time.
        """
        # A lagging watermark hides records; beyond the end none is reported.
        if self.reached < self.end or self._watermark is None or self._watermark < self.reached:
            self.stuck = now > self._moved_at + _PATIENCE_S
            return None
        if not self._quiet:
            return self._quiet_at
        # One answer may be from before: until it is taken, no other fetch is sent.
        self._fetches += 1
        self.done = self._fetches > 1
        return None

    def looked_up(self, end: int, now: float) -> None:
        """Record the end that brokers list.

        Some list too low an end, others fetch with an old watermark: both are asked.
        """
        self.end = max(self.end, end)
        self._quiet = self._quiet or now >= self._quiet_at
        if self.stuck:
            self.error = _short(self.tp, self.reached, self.end, max(end, self._watermark or 0))

    def report(self, now: float) -> None:
        """Log the progress now and then."""
        if now > self._reported_at + _REPORT_S:
            self._reported_at = now
            _log.info(
                "reading partition %d of topic %r back: %d of %d",
                self.tp.partition,
                self.tp.topic,
                self.reached - self.first,
                self.end - self.first,
            )


class Readback:
    """Reads partitions of one topic from an offset to their very end, side by side.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    topic
        The topic.
    committed
        Whether to leave out what transactions have not committed.
    """

    def __init__(self, client: Mapping[str, object], topic: str, *, committed: bool) -> None:
        self._client = client
        self._topic = topic
        self.closed = False
        self.sizes: dict[int, int] = {}
        self._readings: dict[TopicPartition, Reading] = {}
        self._idle_until = 0.0
        self._consumer = connect_reader(client, committed=committed)

    def close(self) -> None:
        """Close the consumer; never raises."""
        if not self.closed:
            self.closed = True
            close_consumer(self._consumer, _CLOSE_S)

    def quiet_at(self, partitions: int, answered_at: float | None = None) -> float:
        """Reach all leaders; return when (monotonic) late appends of dead clients are over.

        ``sizes`` then holds about how many records each partition has.

        Parameters
        ----------
        partitions
            How many the topic has.
        answered_at
            When all leaders had answered something that was asked after those clients had ended,
            as of :func:`leaders_answered`: the settle time counts from there, unless a leader may
            have hung since. ``None`` where that is not known: it counts from the answers of now.

        Raises
        ------
        BrokerError, ConfigError
            If a leader does not answer, or refuses the user.
        """
        tps = [TopicPartition(self._topic, partition) for partition in range(partitions)]
        begins, ends = self.look_up(*tps)
        now = time.monotonic()
        self.sizes = {tp.partition: ends[tp] - begins[tp] for tp in tps}
        if answered_at is None or now > answered_at + _SOON * QUIET_S:
            answered_at = now
        return answered_at + QUIET_S

    def look_up(self, *tps: TopicPartition) -> tuple[dict[TopicPartition, int], ...]:
        """Return the first and the next offset of each partition, as the brokers list them."""
        with self._looking_up():
            begins = self._consumer.beginning_offsets(tps, _LOOK_UP_MS)
        return begins, self._ends(*tps)

    def _ends(self, *tps: TopicPartition) -> dict[TopicPartition, int]:
        with self._looking_up():
            ends: dict[TopicPartition, int] = self._consumer.end_offsets(tps, _LOOK_UP_MS)
            return ends

    def _looking_up(self) -> AbstractContextManager[None]:
        return translating_errors(self._client, f"looking up the offsets of topic {self._topic!r}")

    def read(
        self, partition: int, base: int, *, until: int = 0, quiet_at: float = 0.0
    ) -> Iterator[Stretch]:
        """Yield the records from ``base`` on; ends when no more can come.

        That is neither before offset ``until``, which is known to exist, nor before the moment
        ``quiet_at``.

        Raises
        ------
        TopicError
            If the partition ends before ``base``: it was truncated or created again.
        BrokerError
            If no broker answers, or the end cannot be reached.
        """
        reading = self.begin(partition, base, until=until, quiet_at=quiet_at)
        while not reading.done:
            for _, stretch in self.poll():
                yield stretch
            if reading.error is not None:
                raise reading.error

    def begin(self, partition: int, base: int, *, until: int = 0, quiet_at: float = 0.0) -> Reading:
        """Make :meth:`poll` read a partition too, as :meth:`read` does, with the same errors."""
        tp = TopicPartition(self._topic, partition)
        begins, ends = self.look_up(tp)
        begin, end = begins[tp], ends[tp]
        if 0 < base < begin:
            _log.warning(
                "retention has removed %d offsets of partition %d of topic %r since the last "
                "snapshot: events among them may be written a second time",
                begin - base,
                partition,
                self._topic,
            )
        first = max(base, begin)
        reading = self._readings[tp] = Reading(tp, first, max(base, end, until), quiet_at)
        with translating_errors(self._client, f"reading topic {self._topic!r} back"):
            self._consumer.assign(list(self._readings))
            self._consumer.seek(tp, first)
        self._idle_until = 0.0
        return reading

    def poll(self) -> Iterator[tuple[Reading, Stretch]]:
        """Yield what has come for the partitions, and which of them are complete."""
        if self._idle_until and not self._idled():
            return
        with translating_errors(self._client, f"reading topic {self._topic!r} back"):
            ending = [tp for tp, reading in self._readings.items() if reading.ending]
            forget_watermarks(self._consumer, ending)
            polled = self._poll()
            now = time.monotonic()
            at = positions(self._consumer)
            for tp, reading in self._readings.items():
                watermark = self._consumer.highwater(tp)
                stretch = reading.move(polled.get(tp, ()), at[tp], watermark, now)
                reading.report(now)
                if stretch is not None:
                    yield reading, stretch
            self._settle(now)
            ended = [tp for tp, one in self._readings.items() if one.done or one.error is not None]
            for tp in ended:
                del self._readings[tp]
            if ended:
                self._consumer.assign(list(self._readings))

    def _idled(self) -> bool:
        """Sleep a little if there is nothing to do but wait; return whether the wait is over."""
        idle_s = self._idle_until - time.monotonic()
        if idle_s > 0:
            time.sleep(min(_POLL_S, idle_s))
            return False
        self._idle_until = 0.0
        # Now, not after another poll, which blocks at the end of a topic.
        self._note_ends([*self._readings.values()], time.monotonic())
        return True

    def _note_ends(self, readings: Sequence[Reading], now: float) -> None:
        ends = self._ends(*(reading.tp for reading in readings))
        for reading in readings:
            reading.looked_up(ends[reading.tp], now)

    def _settle(self, now: float) -> None:
        due = {reading: reading.settle(now) for reading in self._readings.values()}
        times = [at for at in due.values() if at is not None]
        stuck = [reading for reading in due if reading.stuck]
        if len(times) == len(due) and min(times, default=now) > now:
            self._idle_until = min(times)  # all wait for late appends
            return
        asked = [reading for reading, at in due.items() if at is not None and at <= now] + stuck
        if asked:
            self._note_ends(asked, now)

    def _poll(self) -> dict[TopicPartition, list[Any]]:
        try:
            last = all(reading.ending for reading in self._readings.values())
            timeout_s = _LAST_POLL_S if last else _POLL_S
            return poll_records(self._consumer, int(timeout_s * 1000), at_end=last)
        except kafka_errors.OffsetOutOfRangeError:
            # Beyond a lagging watermark, or beyond the end: waiting shows which.
            time.sleep(_POLL_S)
        except kafka_errors.RetriableError:
            time.sleep(_POLL_S)
        return {}


def _short(tp: TopicPartition, reached: int, end: int, now_ends: int) -> BrokerError:
    where = f"partition {tp.partition} of topic {tp.topic!r}"
    if now_ends >= end:
        return BrokerError(
            f"{where} cannot be read back beyond offset {reached}, and it goes on to {end}: a "
            "broker is down, or another program keeps a transaction open on it"
        )
    return TopicError(
        f"{where} ends at offset {now_ends}, but the flow had written up to {end}: the topic was "
        "truncated, or deleted and created again; its records are lost; to write them again, start "
        "with a new recovery directory and a new output topic"
    )
