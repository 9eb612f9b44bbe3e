"""A sink's executions one after the other, each dying without a word, and what they write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ewma_ops.columns.origins import Origins
from ewma_ops.connectors import KafkaSink, part_key
from ewma_ops.connectors.client.connect import close_producer
from ewma_ops.connectors.sink.ledger import LedgerState
from ewma_ops.wire.records import ProducerRecords
from tests.helpers.brokers import read_all

KEY = part_key(0)
COMMITTED = {"isolation_level": "read_committed"}


def made(first: int, end: int, source: int = 0) -> ProducerRecords:
    """Return the records of offsets ``first`` to ``end`` of an input partition."""
    offsets = np.arange(first, end)
    values: list[bytes | None] = [b"%d/%d" % (source, offset) for offset in offsets.tolist()]
    keys: list[bytes | None] = [b"k"] * len(values)
    origins = Origins(np.full(len(values), source, np.int32), offsets)
    return ProducerRecords(keys, values, None, origins)


def got(bootstrap: str, topic: str, n: int, **options: Any) -> list[bytes]:
    return [record.value for record in read_all(bootstrap, topic, n, **options)]


def values(first: int, end: int) -> list[bytes]:
    return [b"0/%d" % offset for offset in range(first, end)]


def pending(state: LedgerState | bytes) -> dict[int, list[int]]:
    found = (LedgerState.opened(state) if isinstance(state, bytes) else state).pending
    return {partition: offsets.tolist() for partition, offsets in found.items()}


class Runs:
    """Executions of a sink one after the other, each dying without a word."""

    def __init__(self, bootstrap: str, topic: str, delivery: Any) -> None:
        self.bootstrap, self.topic, self.delivery = bootstrap, topic, delivery
        self.parts: list[Any] = []

    def begin(
        self, state: LedgerState | bytes | None, answered_at: float | None = None, **options: Any
    ) -> Any:
        client = {"bootstrap_servers": self.bootstrap, **options}
        given: dict[str, Any] = {"delivery": self.delivery, "answered_at": answered_at}
        sink = KafkaSink(client, self.topic, job="job", **given)
        assert KEY in sink.list_parts()
        self.parts.append(
            sink.build_part("out", KEY, state.sealed() if isinstance(state, LedgerState) else state)
        )
        self.parts[-1].wait()  # until the partition is read back
        return self.parts[-1]

    def kill(self, part: Any) -> None:
        """Have a part send nothing any more: what is under way is not called back."""
        close_producer(part._producer._kafka, 5.0, abandon=True)

    def end(self) -> None:
        for part in self.parts:
            part.close()


@contextmanager
def runs_of(bootstrap: str, topic: str, delivery: str) -> Iterator[Runs]:
    """Yield executions that are closed at the end."""
    started = Runs(bootstrap, topic, delivery)
    try:
        yield started
    finally:
        started.end()
