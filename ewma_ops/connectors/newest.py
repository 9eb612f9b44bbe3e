"""The newest records of topics, to look at: read once, by whoever asks, and nothing is committed.

Knows Kafka; must not know what is in a record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from kafka import TopicPartition

from ewma_ops.connectors.client.connect import (
    close_consumer,
    connect_input_reader,
    positions,
    translating_errors,
)
from ewma_ops.connectors.client.exchange import poll_records
from ewma_ops.connectors.client.topics import listed, partition_count
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
    """Return up to ``most`` of the newest records of a topic, a run for each partition.

    Each partition gives about as many as the others, if it has them; within a partition they are
    in order.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    topic
        The topic, which must exist; or partitions, of one topic or of several.
    most
        At least 1.
    limit_s
        Seconds that reading may take, > 0; what was read until then is returned.

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
    found: dict[TopicPartition, list[object]] = {tp: [] for tp in tps}
    try:
        with translating_errors(client, f"reading topic {topics}"):
            consumer.assign(tps)
            begins = consumer.beginning_offsets(tps, _LOOK_UP_MS)
            ends = consumer.end_offsets(tps, _LOOK_UP_MS)
            for tp in tps:  # gaps of compaction and transactions leave fewer; so twice as many
                consumer.seek(tp, max(begins[tp], ends[tp] - 2 * most))
            deadline, idle = time.monotonic() + limit_s, 0
            while time.monotonic() < deadline and idle < _IDLE_POLLS:
                polled = poll_records(consumer, _POLL_MS)
                for tp, records in polled.items():
                    found[tp] = [*found[tp], *records][-most:]
                reached = positions(consumer)
                done = all(reached[tp] >= ends[tp] for tp in tps)
                idle = 0 if polled else idle + done
    finally:
        close_consumer(consumer, _CLOSE_S)
    share = _shares([len(records) for records in found.values()], most)
    parts = zip(found.items(), share, strict=True)
    return [_run(tp, records[-n:]) for (tp, records), n in parts if n]


def _shares(sizes: list[int], most: int) -> list[int]:
    """Return how many to take of each, as evenly as there are any, ``most`` in all.

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


def _run(tp: TopicPartition, records: list[object]) -> ConsumerRecords:
    rows: list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = [
        (r.offset, -1 if r.timestamp is None else r.timestamp, r.key, r.value, list(r.headers))  # type: ignore[attr-defined]  # kafka-python's
        for r in records
    ]
    offsets, times, keys, values, headers = zip(*rows, strict=True)
    return ConsumerRecords(
        tp.topic,
        tp.partition,
        np.array(offsets, np.int64),
        np.array(times, np.int64),
        list(keys),
        list(values),
        list(headers) if any(headers) else None,
    )
