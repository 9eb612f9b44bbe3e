"""Records of one partition that were fetched and not taken yet.

Knows columns and offsets; must not know who fetches, or who takes.
"""

from __future__ import annotations

import contextlib

import numpy as np
from kafka import TopicPartition
from prometheus_client import Gauge

from ewma_ops.wire.decode import Columns
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["PartitionQueue", "run_of"]

_LAG = Gauge(
    "ewma_ops_consumer_lag",
    "Records of an input partition that the flow has not taken yet",
    ("topic", "partition"),
)


class PartitionQueue:
    """The queue of one partition, between the poller's thread and the part.

    ``fetched`` is the offset up to which everything is in ``runs`` or was taken, ``end`` is where
    the partition ended when the flow started, ``None`` until a fetch has reported it.
    """

    __slots__ = ("bytes", "end", "fetched", "finished", "runs", "taken", "tp")

    def __init__(self, tp: TopicPartition, first: int) -> None:
        self.tp = tp
        self.fetched = self.taken = first
        self.end: int | None = None
        self.finished = False
        self.runs: list[ConsumerRecords] = []
        self.bytes = 0

    def note_lag(self, records: int) -> None:
        """Export how many records are left to take; before the first call the lag is unknown."""
        _LAG.labels(self.tp.topic, str(self.tp.partition)).set(max(0, records))

    def close(self) -> None:
        """Stop exporting the lag metric."""
        with contextlib.suppress(KeyError):  # older releases raise if there is none
            _LAG.remove(self.tp.topic, str(self.tp.partition))


def run_of(tp: TopicPartition, columns: Columns, end: int | None) -> ConsumerRecords:
    """Return the records before the offset ``end``."""
    if end is not None:
        columns = columns.cut(slice(int(np.searchsorted(columns.offsets, end))), end)
    return ConsumerRecords(tp.topic, tp.partition, *columns[:-1])
