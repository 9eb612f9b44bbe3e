from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import KafkaError, MessageSizeTooLargeError
from kafka.record.memory_records import MemoryRecordsBuilder

from ewma_ops.connectors.client import runs_in, runs_out
from ewma_ops.connectors.client.connect import connect_consumer, connect_producer, connect_reader
from ewma_ops.connectors.client.exchange import poll, poll_records, send
from ewma_ops.wire.batch import Columns
from ewma_ops.wire.records import Headers, ProducerRecords
from tests.helpers.brokers import Record, produce, read_all
from tests.helpers.patience import PATIENCE_S, slowness

MakeTopic = Callable[..., str]


def reading(bootstrap: str, topic: str, at: int = 0, **client: Any) -> Any:
    consumer = connect_consumer({"bootstrap_servers": bootstrap, **client}, "group")
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), at)
    return consumer


def take(consumer: Any, n: int) -> list[Columns]:
    runs: list[Columns] = []
    for _ in range(100):
        runs += [run for each in poll(consumer, 100).values() for run in each]
        if sum(len(run.values) for run in runs) >= n:
            break
    return runs


def values(runs: list[Columns]) -> list[bytes | None]:
    return [value for run in runs for value in run.values]


def test_the_inside_of_kafka_python_is_where_runs_expect_it(embedded: str) -> None:
    """When this fails, an upgrade of kafka-python moved what each sentence names.

    Records then go one by one, many times slower, until `runs_in` or `runs_out` is mended.
    """
    producer = connect_producer({"bootstrap_servers": embedded})
    producer.close(5)
    assert runs_in.incompatibilities() + runs_out.incompatibilities(producer) == []


def test_what_has_moved_is_said_and_records_go_one_by_one(
    embedded: str,
    topic: MakeTopic,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = topic(embedded)
    monkeypatch.setattr(Fetcher.PartitionRecords, "peek", lambda _: None, raising=False)
    monkeypatch.setattr(MemoryRecordsBuilder, "rewind", lambda _: None, raising=False)
    producer = connect_producer({"bootstrap_servers": embedded})
    producer.partitions_for(name)
    futures, _ = send(producer, name, 0, ProducerRecords([b"k"] * 9, [b"%d" % i for i in range(9)]))
    assert len(futures) == 9
    producer.close(5)
    consumer = reading(embedded, name)
    assert values(take(consumer, 9)) == [b"%d" % i for i in range(9)]
    consumer.close()
    slower = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert "one by one, which is many times slower" in slower[0]
    assert "MemoryRecordsBuilder has rewind, RunRecords has not" in slower[0]
    assert "PartitionRecords has peek, PartitionRuns has not" in slower[1]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression_is_the_clients_option(kafka: str, topic: MakeTopic, codec: str) -> None:
    name = topic(kafka)
    producer = connect_producer({"bootstrap_servers": kafka, "compression_type": codec})
    producer.partitions_for(name)
    sent = [b'{"value": %d}' % (i % 7) for i in range(5_000)]
    futures, _ = send(producer, name, 0, ProducerRecords([b"k"] * 5_000, list(sent)))
    assert futures[-1].get(10).offset == 4_999
    sizes = [size for _, size in _batch_sizes(kafka, name)]
    assert 0 < sum(sizes) < 5_000 * 24 / 2
    producer.close(5)
    consumer = reading(kafka, name, 1_234)
    assert values(take(consumer, 3_766)) == sent[1_234:]
    consumer.close()


def _batch_sizes(bootstrap: str, topic: str) -> list[tuple[int, int]]:
    """Offset and size of the batches as the broker keeps them."""
    consumer = reading(bootstrap, topic)
    found: list[tuple[int, int]] = []
    own = consumer._fetcher.PartitionRecords

    def look(fetch_offset: int, tp: Any, records: Any, **named: Any) -> Any:
        found.append((fetch_offset, records.size_in_bytes()))
        return own(fetch_offset, tp, records, **named)

    consumer._fetcher.PartitionRecords = look
    take(consumer, 5_000)
    consumer.close()
    return found


@pytest.mark.usefixtures("way")
def test_aborted_transactions_are_hidden_from_a_reader_of_committed_records(
    kafka: str, topic: MakeTopic
) -> None:
    name = topic(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka, transactional_id=name)
    producer.init_transactions()
    for i in range(6):
        producer.begin_transaction()
        for j in range(3):
            producer.send(name, b"%d.%d" % (i, j))
        producer.flush(10)
        (producer.commit_transaction if i % 2 else producer.abort_transaction)()
    producer.close(5)
    committed = [b"%d.%d" % (i, j) for i in (1, 3, 5) for j in range(3)]
    for level, wanted in {
        "read_committed": committed,
        "read_uncommitted": [b"%d.%d" % (i, j) for i in range(6) for j in range(3)],
    }.items():
        consumer = reading(kafka, name, isolation_level=level)
        got = take(consumer, len(wanted))
        assert values(got) == wanted
        poll(consumer, 500)  # the last marker
        assert consumer.position(TopicPartition(name, 0)) == 24
        consumer.close()


@pytest.mark.usefixtures("way")
def test_no_more_is_returned_at_once_than_asked_for(embedded: str, topic: MakeTopic) -> None:
    name = topic(embedded)
    produce(embedded, name, [Record(b"%d" % i, headers=(("h", b"x"),)) for i in range(1_000)])
    consumer = reading(embedded, name, max_poll_records=300)
    runs: list[Columns] = []
    while sum(len(run.values) for run in runs) < 1_000:
        polled = [run for each in poll(consumer, 100).values() for run in each]
        assert sum(len(run.values) for run in polled) <= 300
        runs += polled
        assert consumer.position(TopicPartition(name, 0)) == runs[-1].next_offset
    consumer.close()
    assert values(runs) == [b"%d" % i for i in range(1_000)]
    assert [offset for run in runs for offset in run.offsets.tolist()] == list(range(1_000))
    assert all(list(h) == [("h", b"x")] for run in runs for h in run.headers or [])


@pytest.mark.usefixtures("way")
def test_positions_carry_the_leader_epoch(kafka: str, topic: MakeTopic) -> None:
    """With it a broker tells a reader that the log was cut behind its back."""
    name = topic(kafka)
    produce(kafka, name, [Record(b"v")] * 10)
    consumer = reading(kafka, name)
    take(consumer, 10)
    position = consumer._subscription.assignment[TopicPartition(name, 0)].position
    assert (position.offset, position.leader_epoch) == (10, 0)
    consumer.close()


def test_a_broker_that_finds_nothing_in_time_is_given_longer(
    embedded: str, topic: MakeTopic
) -> None:
    name = topic(embedded)
    reader = connect_reader({"bootstrap_servers": embedded})
    reader.assign([TopicPartition(name, 0)])
    reader.seek_to_beginning()
    waits = []
    for _ in range(7):
        assert poll_records(reader, 20) == {}
        waits.append(reader._fetcher.config["fetch_max_wait_ms"])
    assert waits == [40, 80, 160, 320, 500, 500, 500]
    produce(embedded, name, [Record(b"1")])
    while not (polled := poll_records(reader, 200)):
        pass
    assert [record.value for run in polled.values() for record in run] == [b"1"]
    assert reader._fetcher.config["fetch_max_wait_ms"] == 20
    reader.close()


def test_small_and_large_runs_keep_their_order(embedded: str, topic: MakeTopic) -> None:
    name = topic(embedded)
    producer = connect_producer({"bootstrap_servers": embedded, "batch_size": 20_000})
    producer.partitions_for(name)
    sizes = [1, 3, 700, 1, 1, 5_000, 2, 90, 1]
    sent, futures = [], []
    for i, n in enumerate(sizes):
        run: list[bytes | None] = [b"%d.%d" % (i, j) for j in range(n)]
        headers: list[Headers] | None = [[("n", b"%d" % j)] for j in range(n)] if i % 2 else None
        futures += send(producer, name, 0, ProducerRecords([None] * n, run, headers))[0]
        sent += run
    producer.flush(10)
    assert all(future.succeeded() for future in futures)
    producer.close(5)
    got = read_all(embedded, name, len(sent))
    assert [record.value for record in got] == sent
    assert [r.headers for r in got[1:4]] == [[("n", b"%d" % j)] for j in range(3)]


def test_partitions_that_are_written_together_are_sent_together(
    embedded: str, topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic(embedded, partitions=3)
    producer = connect_producer({"bootstrap_servers": embedded, "linger_ms": 200})
    producer.partitions_for(name)
    woken: list[float] = []
    wake_up = producer._sender.wakeup

    def wake_up_noted() -> None:
        woken.append(time.monotonic())
        wake_up()

    monkeypatch.setattr(producer._sender, "wakeup", wake_up_noted)
    for _ in range(2):
        woken.clear()
        began = time.monotonic()
        futures = [
            send(producer, name, partition, ProducerRecords([None], [b"v"]))[0][0]
            for partition in (0, 1, 2)
        ]
        for future in futures:
            future.get(timeout=PATIENCE_S)
        assert 0.15 < time.monotonic() - began < 5 * slowness()
        assert len(woken) == 1
    producer.close(5)


@pytest.mark.usefixtures("way")
def test_when_a_batch_is_split_each_record_has_its_own_fate(kafka: str, topic: MakeTopic) -> None:
    name = topic(kafka, configs={"max.message.bytes": "50000"})
    producer = connect_producer({"bootstrap_servers": kafka, "linger_ms": 200})
    producer.partitions_for(name)
    fits: list[bytes | None] = [bytes(1_000)] * 99
    first, _ = send(producer, name, 0, ProducerRecords([None] * 99, list(fits)))
    second, _ = send(
        producer, name, 0, ProducerRecords([None] * 100, [*fits[:50], bytes(60_000), *fits[:49]])
    )
    for future in chain(first, second):  # lists that grow meanwhile
        with suppress(KafkaError):
            future.get(20)
    producer.close(5)
    assert (len(first), len(second)) == (99, 100)
    assert all(future.succeeded() for future in first)
    failed = {type(future.exception) for future in second if future.failed()}
    assert MessageSizeTooLargeError in failed
    # What follows the failure fails too, out of sequence; no record's fate is told wrongly.
    offsets = [future.value.offset for future in [*first, *second] if future.succeeded()]
    assert sorted(offsets) == [r.offset for r in read_all(kafka, name, len(offsets))]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "columns",
    [
        ProducerRecords([None], ["text"]),  # type: ignore[list-item]
        ProducerRecords(["text"], [b"v"]),  # type: ignore[list-item]
        ProducerRecords([None], [b"v"], [[("name", "text")]]),  # type: ignore[list-item]
        ProducerRecords([None, None], [b"v"]),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(
    embedded: str, topic: MakeTopic, columns: ProducerRecords
) -> None:
    name = topic(embedded)
    producer = connect_producer({"bootstrap_servers": embedded})
    producer.partitions_for(name)
    with pytest.raises((TypeError, ValueError, AssertionError)):
        send(producer, name, 0, columns)
    producer.close(5)
