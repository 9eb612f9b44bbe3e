"""Partitions of a job's topics, read from some time ago on as they grow.

Knows consumers, offsets and times; must not know what is in a record, nor who reads. Joins no group
and commits nothing: the job does not notice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from kafka import KafkaConsumer, TopicPartition

from ewma_ops.connectors.client.connect import (
    close_consumer,
    connect_follower,
    positions,
    translating_errors,
)
from ewma_ops.connectors.client.exchange import poll
from ewma_ops.settings.model import Settings
from ewma_ops.wire.batch import Columns

__all__ = ["Tail", "tailing"]

_LOOK_UP_MS = 10_000
_POLL_MS = 100
_CLOSE_S = 2.0


@contextmanager
def tailing(
    settings: Settings, tps: Sequence[TopicPartition], doing: str, fetch_bytes: int = 512 << 10
) -> Iterator[Tail]:
    """Read partitions for the length of a ``with`` block, from where `Tail.go` says.

    Parameters
    ----------
    settings
        Of the job that writes them.
    tps
        The partitions.
    doing
        What is being done, for messages.
    fetch_bytes
        About how much is fetched at a time: little takes little memory, much is quicker.

    Raises
    ------
    EwmaError
        If no broker answers, or the user may not read.
    """
    committed = settings.output.delivery == "transactional"
    consumer = connect_follower(settings.kafka, committed=committed, fetch_bytes=fetch_bytes)
    try:
        with translating_errors(settings.kafka, doing):
            consumer.assign(list(tps))
            yield Tail(consumer, list(tps))
    finally:
        close_consumer(consumer, _CLOSE_S)


class Tail:
    """Partitions of one consumer: where they began and ended at first, and what comes."""

    def __init__(self, consumer: KafkaConsumer, tps: list[TopicPartition]) -> None:
        self._consumer, self._tps = consumer, tps
        self.begins: dict[TopicPartition, int] = dict(consumer.beginning_offsets(tps, _LOOK_UP_MS))
        self.ends: dict[TopicPartition, int] = dict(consumer.end_offsets(tps, _LOOK_UP_MS))

    def since(
        self, history_s: float, most: int, stops: Mapping[TopicPartition, int] | None = None
    ) -> dict[TopicPartition, int]:
        """Return the offsets of some time ago, by the records' timestamps.

        Parameters
        ----------
        history_s
            How many seconds ago; 0 for the ends.
        most
            Records of a partition before its end, at most.
        stops
            Where partitions are taken to end; the ends if not given.
        """
        stops = self.ends if stops is None else stops
        if history_s == 0:
            return {tp: stops[tp] for tp in self._tps}
        at_ms = int(1000 * (time.time() - history_s))
        found = self._consumer.offsets_for_times(dict.fromkeys(self._tps, at_ms), _LOOK_UP_MS)
        firsts = {}
        for tp in self._tps:
            one = found.get(tp)
            first = one.offset if one and one.timestamp >= 0 else stops[tp]
            firsts[tp] = max(first, self.begins[tp], stops[tp] - most)
        return firsts

    def go(self, places: Mapping[TopicPartition, int]) -> None:
        """Go to an offset of each partition."""
        for tp, at in places.items():
            self._consumer.seek(tp, at)

    def runs(self) -> Iterator[tuple[TopicPartition, Columns]]:
        """Yield what comes within a moment, in the order of each partition."""
        for tp, runs in poll(self._consumer, _POLL_MS).items():
            for run in runs:
                yield tp, run

    def reached(self) -> dict[TopicPartition, int]:
        """Return the offset that is read next of each partition."""
        return positions(self._consumer)
