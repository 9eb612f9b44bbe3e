"""Read the end of an output partition back, to see what the run before this one left there.

Knows offsets, high watermarks and how long a dead client's last request may linger; must not know
Bytewax, or what is done with the records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka import errors as kafka_errors

from ewma_ops.connectors.client.connect import (
    close_consumer,
    connect_reader,
    positions,
    translating_errors,
)
from ewma_ops.connectors.client.exchange import poll_records
from ewma_ops.errors import BrokerError, TopicError
from ewma_ops.wire.records import Headers

__all__ = ["QUIET_S", "Readback", "Stretch"]

_log = logging.getLogger(__name__)

QUIET_S = 1.0
"""A broker may append what a client sent just before it died, up to this much later."""

_POLL_S = 0.1
_LOOK_UP_S = 10.0
_PATIENCE_S = 60.0
"""How long a partition may stand still before its end, as it can while its leader moves."""
_REPORT_S = 5.0
_CLOSE_S = 5.0


class Stretch(NamedTuple):
    """Some consecutive records: key and headers of each, and the offset after the last."""

    keys: list[bytes | None]
    headers: list[Headers]
    end: int


class Readback:
    """Reads partitions of one topic from an offset to their very end, one after the other.

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
        self._consumer = connect_reader(client, committed=committed)

    def close(self) -> None:
        """Close the consumer; never raises."""
        if not self.closed:
            self.closed = True
            close_consumer(self._consumer, _CLOSE_S)

    def quiet_at(self, partitions: int) -> float:
        """Hear from all leaders; return when (monotonic) what dead clients sent is settled.

        Raises
        ------
        BrokerError, ConfigError
            If one does not answer, or the broker refuses the user.
        """
        self.look_up(*(TopicPartition(self._topic, partition) for partition in range(partitions)))
        return time.monotonic() + QUIET_S

    def look_up(self, *tps: TopicPartition) -> tuple[dict[TopicPartition, int], ...]:
        """Return the first and the next offset of each partition, as the brokers list them."""
        wait_ms = int(_LOOK_UP_S * 1000)
        with translating_errors(self._client, f"looking up the offsets of topic {self._topic!r}"):
            begins = self._consumer.beginning_offsets(tps, wait_ms)
            return begins, self._consumer.end_offsets(tps, wait_ms)

    def read(
        self, partition: int, base: int, *, until: int = 0, quiet_at: float = 0.0
    ) -> Iterator[Stretch]:
        """Yield what there is from ``base`` on; ends when nothing more can be on its way.

        That is not before ``until``, which is known to be there, and not before the moment
        ``quiet_at``.

        Raises
        ------
        TopicError
            If the partition ends before ``base``: it was truncated or created again.
        BrokerError
            If no broker answers, or the end cannot be reached.
        """
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
        with translating_errors(self._client, f"reading topic {self._topic!r} back"):
            self._consumer.assign([tp])
            self._consumer.seek(tp, max(base, begin))
            yield from self._read_to_end(tp, max(base, end, until), quiet_at)
        self._consumer.assign([])

    def _read_to_end(self, tp: TopicPartition, end: int, quiet_at: float) -> Iterator[Stretch]:
        """Read until a look-up and a fetch, both after the settle time, show nothing new."""
        first = reached = positions(self._consumer)[tp]
        moved_at = reported_at = time.monotonic()
        quiet = False
        while True:
            began = time.monotonic()
            records = self._poll(tp)
            now = time.monotonic()
            at = positions(self._consumer)[tp]
            watermark = self._consumer.highwater(tp)
            end = max(end, watermark or 0)
            if at > reached or records:
                reached, moved_at = at, now
                yield Stretch([r.key for r in records], [r.headers for r in records], at)
            if reached >= end and watermark is not None:
                if quiet and began >= quiet_at:
                    return
                # Some brokers list too low an end, others fetch with an old watermark: ask both.
                time.sleep(max(0.0, quiet_at - now))
                end = max(end, self.look_up(tp)[1][tp])
                quiet = True
            elif now > moved_at + _PATIENCE_S:
                raise _short(tp, reached, end, max(self.look_up(tp)[1][tp], watermark or 0))
            if now > reported_at + _REPORT_S:
                reported_at = now
                _log.info(
                    "reading partition %d of topic %r back: %d of %d",
                    tp.partition,
                    tp.topic,
                    reached - first,
                    end - first,
                )

    def _poll(self, tp: TopicPartition) -> list[Any]:
        try:
            polled = poll_records(self._consumer, int(_POLL_S * 1000))
        except kafka_errors.OffsetOutOfRangeError:
            # Beyond a watermark that lags, or beyond the end: patience tells which.
            time.sleep(_POLL_S)
            return []
        except kafka_errors.RetriableError:
            time.sleep(_POLL_S)
            return []
        found: list[Any] = polled.get(tp, [])
        return found


def _short(tp: TopicPartition, reached: int, end: int, now_ends: int) -> BrokerError:
    where = f"partition {tp.partition} of topic {tp.topic!r}"
    if now_ends >= end:
        return BrokerError(
            f"{where} cannot be read back beyond offset {reached}, and it goes on to {end}: a "
            "broker is away, or another program keeps a transaction open on it"
        )
    return TopicError(
        f"{where} ends at offset {now_ends}, and the flow had written up to {end}: the topic was "
        "truncated, or deleted and created again; what it had is lost, and to write all of it "
        "again start with a new recovery directory and a new output topic"
    )
