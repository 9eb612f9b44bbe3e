"""Reads the newest records of topics, for inspection: once, without committing anything.

Knows Kafka; must not know what is in a record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from kafka import TopicPartition

from ewma_ops.connectors.client.connect import (
    close_consumer,
    connect_input_reader,
    positions,
    translating_errors,
)
from ewma_ops.connectors.client.exchange import poll
from ewma_ops.connectors.client.topics import listed, partition_count
from ewma_ops.wire.batch import Columns
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["read_newest"]

_POLL_MS = 100
_LOOK_UP_MS = 10_000
_IDLE_POLLS = 3
_CLOSE_S = 2.0


def read_newest(
    client: Mapping[str, object],
    topic: str | Sequence[TopicPartition],
    most: int,
    limit_s: float = 10.0,
) -> list[ConsumerRecords]:
    """Return up to ``most`` of the newest records of a topic, in runs of one partition each.

    Each partition gives about the same number, if it has them; within a partition they are in
    order.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    topic
        The topic, which must exist; or partitions, of one topic or of several.
    most
        At least 1.
    limit_s
        Seconds that reading may take, > 0; the result is what was read by then.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers, or there is no such topic.
    """
    if isinstance(topic, str):
        tps = [TopicPartition(topic, p) for p in range(partition_count(client, topic))]
    else:
        tps = list(topic)
    topics = listed(dict.fromkeys(tp.topic for tp in tps))
    consumer = connect_input_reader(client)
    found: dict[TopicPartition, list[Columns]] = {tp: [] for tp in tps}
    try:
        with translating_errors(client, f"reading topic {topics}"):
            consumer.assign(tps)
            begins = consumer.beginning_offsets(tps, _LOOK_UP_MS)
            ends = consumer.end_offsets(tps, _LOOK_UP_MS)
            for tp in tps:  # compaction and transactions leave gaps, so ask for twice as many
                consumer.seek(tp, max(begins[tp], ends[tp] - 2 * most))
            deadline, idle = time.monotonic() + limit_s, 0
            while time.monotonic() < deadline and idle < _IDLE_POLLS:
                polled = poll(consumer, _POLL_MS)
                for tp, runs in polled.items():
                    found[tp] = _last([*found[tp], *runs], most)
                reached = positions(consumer)
                done = all(reached[tp] >= ends[tp] for tp in tps)
                idle = 0 if polled else idle + done
    finally:
        close_consumer(consumer, _CLOSE_S)
    shares = _shares([sum(len(run.values) for run in runs) for runs in found.values()], most)
    return [
        ConsumerRecords(tp.topic, tp.partition, *run[:5])
        for (tp, runs), n in zip(found.items(), shares, strict=True)
        for run in _last(runs, n)
    ]


def _shares(sizes: list[int], most: int) -> list[int]:
    """Return how many to take of each, as evenly as possible, ``most`` in all.

    Examples
    --------
    >>> _shares([10, 1, 10], 9), _shares([1, 0], 5)
    ([4, 1, 4], [1, 0])
    """
    shares = [0] * len(sizes)
    left = min(most, sum(sizes))
    while left:
        for place, size in enumerate(sizes):
            if left and shares[place] < size:
                shares[place] += 1
                left -= 1
    return shares


def _last(runs: Sequence[Columns], n: int) -> list[Columns]:
    """Return the runs of the last ``n`` records."""
    kept: list[Columns] = []
    for run in reversed(runs):
        size = len(run.values)
        if n > 0 and size:
            kept.append(run.cut(slice(max(0, size - n), size), run.next_offset))
        n -= size
    return kept[::-1]
