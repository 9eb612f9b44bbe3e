"""What real brokers put into a fetch response, read by us and by kafka-python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import Fetcher

from tests.helpers.batches import Record, outcome
from tests.helpers.brokers import Record as ToProduce
from tests.helpers.brokers import produce
from tests.helpers.patience import PATIENCE_S

CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
SENT = [
    ToProduce(b"the same again " * 4 + b"%d" % n, b"s%d" % (n % 9), (("ewma-id", bytes(16)),))
    for n in range(300)
]


class Response(NamedTuple):
    """The bytes of one partition in a fetch response."""

    buffer: bytes
    fetch_offset: int
    aborted: list[tuple[int, int]]


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Response]]:
    responses: list[Response] = []

    class Recording(Fetcher.PartitionRecords):  # type: ignore[misc]
        def __init__(self, fetch_offset: int, tp: Any, records: Any, *args: Any, **kwargs: Any):
            listed = kwargs.get("aborted_transactions") or []
            aborted = [(one.producer_id, one.first_offset) for one in listed]
            responses.append(Response(bytes(records._buffer), fetch_offset, aborted))
            super().__init__(fetch_offset, tp, records, *args, **kwargs)

    monkeypatch.setattr(Fetcher, "PartitionRecords", Recording)
    yield responses
    monkeypatch.undo()


def read(
    bootstrap: str, topic: str, until: int, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[list[Record], list[Record]]:
    """Read a topic from its start up to an offset: what kafka-python made of it, and we."""
    theirs: list[Record] = []
    partition = TopicPartition(topic, 0)
    with recorded(monkeypatch) as responses:
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None, **options
        )
        consumer.assign([partition])
        deadline = time.monotonic() + PATIENCE_S
        while consumer.position(partition) < until and time.monotonic() < deadline:
            for batch in consumer.poll(100).values():
                theirs += [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in batch]
        assert consumer.position(partition) >= until
        consumer.close()
    ours: list[Record] = []
    next_offset = 0
    for response in responses:
        if response.fetch_offset == next_offset:  # not one that was fetched again
            found, next_offset, error = outcome(
                response.buffer, next_offset, aborted=response.aborted
            )
            assert error is None
            ours += found
    assert next_offset >= until
    return theirs, ours


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec(
    broker: str, topic: Callable[..., str], codec: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic(broker)
    produce(broker, name, SENT, compression_type=codec)
    theirs, ours = read(broker, name, len(SENT), monkeypatch)
    assert ours == theirs
    assert [(record[2], record[3]) for record in ours] == [(r.key, r.value) for r in SENT]


def test_log_append_time(
    kafka: str, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic(kafka, configs={"message.timestamp.type": "LogAppendTime"})
    before_ms = int(time.time() * 1000) - 1000
    produce(kafka, name, [ToProduce(b"x", timestamp_ms=1_600_000_000_000) for _ in range(3)])
    theirs, ours = read(kafka, name, 3, monkeypatch)
    assert ours == theirs
    assert all(record[1] > before_ms for record in ours)


@pytest.mark.parametrize("isolation_level", ["read_committed", "read_uncommitted"])
def test_transactions(
    kafka: str, topic: Callable[..., str], isolation_level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka, transactional_id=f"wire-{name}")
    producer.init_transactions()
    for number, commit in enumerate((True, False, True, False, True)):
        producer.begin_transaction()
        for _ in range(3):
            producer.send(name, value=b"%d" % number)
        producer.flush(timeout=PATIENCE_S)
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close(timeout=10)
    # 3 records and a marker for each transaction.
    theirs, ours = read(kafka, name, 20, monkeypatch, isolation_level=isolation_level)
    assert ours == theirs
    seen = b"000222444" if isolation_level == "read_committed" else b"000111222333444"
    assert b"".join(record[3] or b"" for record in ours) == seen
