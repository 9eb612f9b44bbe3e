"""Topics read back, and what retention and compaction have removed from them.

Knows consumers, offsets and ends; must not know jobs, nor what is in a record.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from numpy.typing import NDArray

from ewma_ops.commands.positions import Offsets
from ewma_ops.connectors.client.connect import close_consumer, positions, translating_errors
from ewma_ops.connectors.client.exchange import poll
from ewma_ops.connectors.client.topics import topic_configs
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["TopicReader"]

_POLL_S = 0.1
_LOOK_UP_MS = 10_000
_CLOSE_S = 5.0
_NO_GAPS = np.empty((0, 2), np.int64)


class TopicReader:
    """Topics read from their first record of interest to where they end now.

    Partitions are known by their numbers, as of `InputTopics`.

    ``removed`` are offsets that retention has removed before that, ``gone`` those of records that
    compaction has; ``idle`` how many times in a row nothing came.

    Parameters
    ----------
    client
        The ``[kafka]`` table.
    topics
        The topics.
    consumer
        The consumer that reads them; :meth:`close` closes it.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers, or the user may not read.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        topics: InputTopics,
        consumer: KafkaConsumer,
    ) -> None:
        self.topics = topics
        self.tps = list(topics)
        self._consumer = consumer
        self._client, self._reading = client, f"reading topic {topics}"
        with translating_errors(self._client, self._reading):
            self._consumer.assign(self.tps)
            self.begins = self._consumer.beginning_offsets(self.tps, _LOOK_UP_MS)
            self._ends = dict(self._consumer.end_offsets(self.tps, _LOOK_UP_MS))
        self._fetched: set[TopicPartition] = set()
        self.removed = 0
        self.idle = 0
        self._compacted = any(_is_compacted(client, topic) for topic in topics.names)
        self._next: dict[int, int] = {}
        self._firsts: dict[int, int] = {}
        self._gaps: dict[int, list[NDArray[np.int64]]] = {}
        """By partition: int64[n, 2], from where to before where nothing is."""
        self.gone = 0

    def begin(self, start: object) -> dict[int, int]:
        """Go to ``start``, or to what retention has left; return the offset of each partition.

        A partition that a noted ``start`` does not name was added later, and begins at 0; one noted
        as None begins where its topic begins.
        """
        firsts = dict(self.begins)
        with translating_errors(self._client, self._reading):
            if isinstance(start, int):
                at = self._consumer.offsets_for_times(dict.fromkeys(self.tps, start), _LOOK_UP_MS)
                found = {tp: o.offset for tp, o in at.items() if o and o.timestamp >= 0}
                firsts = {tp: found.get(tp, self._ends[tp]) for tp in self.tps}
            if isinstance(start, dict):
                noted = {tp: start.get(self._number(tp), 0) for tp in self.tps}
                firsts = {tp: self.begins[tp] if at is None else at for tp, at in noted.items()}
            if start == "earliest":
                firsts = dict.fromkeys(self.tps, 0)
            self.removed = sum(max(0, self.begins[tp] - first) for tp, first in firsts.items())
            for tp, first in firsts.items():
                self._consumer.seek(tp, max(first, self.begins[tp]))
        self._next = {self._number(tp): max(int(at), self.begins[tp]) for tp, at in firsts.items()}
        self._firsts = dict(self._next)
        return dict(self._next)

    def _number(self, tp: TopicPartition) -> int:
        return self.topics.number(tp.topic, tp.partition)

    def poll(self) -> dict[int, list[ConsumerRecords]]:
        """Return the records that come within a moment, by partition: runs of one or more."""
        with translating_errors(self._client, self._reading):
            polled = poll(self._consumer, int(_POLL_S * 1000))
        self.idle = 0 if polled else self.idle + 1
        for tp in self.tps:  # some brokers list too low an end: look at that of the first fetch
            mark = self._consumer.highwater(tp)
            if mark is not None and tp not in self._fetched:
                self._fetched.add(tp)
                self._ends[tp] = max(self._ends[tp], mark)
        found = {
            self._number(tp): [
                ConsumerRecords(tp.topic, tp.partition, *run[:5]) for run in runs if len(run.values)
            ]
            for tp, runs in polled.items()
        }
        if self._compacted:
            for partition, runs in found.items():
                for run in runs:
                    self._note_gaps(partition, run.offsets)
        return {partition: runs for partition, runs in found.items() if runs}

    def _note_gaps(self, partition: int, offsets: Offsets) -> None:
        """Note offsets without a record: removed by compaction, or transaction markers."""
        before = np.concatenate([[self._next[partition]], offsets[:-1] + 1])
        at = np.flatnonzero(offsets > before)
        self._gaps.setdefault(partition, []).append(np.stack([before[at], offsets[at]], axis=1))
        self.gone += int((offsets[at] - before[at]).sum())
        self._next[partition] = int(offsets[-1]) + 1

    def are_gone(self, partition: int, offsets: Offsets) -> NDArray[np.bool_]:
        """Return which offsets, of those read so far, compaction may have removed."""
        gaps = np.concatenate([_NO_GAPS, *self._gaps.get(partition, ())])
        if not len(gaps):
            return np.zeros(len(offsets), np.bool_)
        at = np.searchsorted(gaps[:, 0], offsets, side="right") - 1
        inside: NDArray[np.bool_] = (at >= 0) & (offsets < gaps[at, 1])
        return inside

    @property
    def ended(self) -> bool:
        """Whether everything was read that was there at the start."""
        reached = positions(self._consumer)
        return len(self._fetched) == len(self.tps) and all(
            reached[tp] >= self._ends[tp] for tp in self.tps
        )

    @property
    def share(self) -> float:
        """The share read of what was there at the start, 0 to 1."""
        reached = positions(self._consumer)
        firsts = {tp: self._firsts.get(self._number(tp), 0) for tp in self.tps}
        every = sum(max(0, self._ends[tp] - firsts[tp]) for tp in self.tps)
        done = sum(min(reached[tp], self._ends[tp]) - firsts[tp] for tp in reached)
        return max(0.0, done / every) if every else 1.0

    def close(self) -> None:
        """Close the consumer; never raises."""
        close_consumer(self._consumer, _CLOSE_S)


def _is_compacted(client: Mapping[str, object], topic: str) -> bool:
    policy = topic_configs(client, topic, "cleanup.policy").get("cleanup.policy", "")
    return "compact" in policy.split(",")
