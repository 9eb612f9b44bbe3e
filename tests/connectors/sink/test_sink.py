from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import TestingSource
from kafka import KafkaAdminClient

from ewma_ops.connectors import KafkaSink, KafkaSource, part_key
from ewma_ops.connectors.sink import producer
from ewma_ops.demo.broker import EmbeddedBroker
from ewma_ops.errors import BrokerError, DeliveryError, RefusedError
from ewma_ops.wire.records import ProducerRecords
from tests.helpers.brokers import ApacheKafka, Record, produce, read_all, set_configs
from tests.helpers.dataflows import both_ways, copied, failure_of, run
from tests.helpers.patience import slowness

MakeTopic = Callable[..., str]

QUICKLY = {"request_timeout_ms": 1_000, "delivery_timeout_ms": 2_000, "bootstrap_timeout_ms": 2_000}


def sending(bootstrap: str, topic: str, **client: Any) -> KafkaSink:
    client = {"bootstrap_servers": bootstrap, **client}
    return KafkaSink(client, topic, delivery="at-least-once")


def records(*values: bytes | None) -> ProducerRecords:
    return ProducerRecords([b"k"] * len(values), list(values))


def in_partitions(got: list[Any], partitions: int) -> list[list[bytes]]:
    return [[r.value for r in got if r.partition == p] for p in range(partitions)]


@pytest.fixture
def part() -> Iterator[Callable[..., Any]]:
    """Return what builds parts without Bytewax, closed at the end."""
    parts = []

    def build(of: KafkaSink, partition: int = 0) -> Any:
        assert part_key(partition) in of.list_parts()
        parts.append(of.build_part("out", part_key(partition), None))
        return parts[-1]

    yield build
    for built in parts:
        built.close()


@both_ways
def test_every_record_goes_to_the_partition_it_is_for(broker: str, topic: MakeTopic) -> None:
    """With 12 partitions: as text, "10" comes before "2"."""
    name = topic(broker, 12)
    items = [(part_key(i % 12), records(b"%d" % i)) for i in range(600)]
    run(TestingSource(items, batch_size=50), sending(broker, name))
    got = in_partitions(read_all(broker, name, 600), 12)
    assert got == [[b"%d" % i for i in range(p, 600, 12)] for p in range(12)]


@both_ways
def test_all_that_kafka_takes_is_sent(broker: str, topic: MakeTopic, part: Any) -> None:
    """kafka-python's own send refuses a null beside a null, and a header without a value."""
    name = topic(broker)
    columns = ProducerRecords(
        [b"k", None, None, b"k"],
        [b"v", b"", None, None],
        [
            [("a", b"1"), ("a", b"\xff"), ("ü", b"")],
            [],
            [("null", None)],
            [("b", None), ("c", b"")],
        ],
    )
    writing = part(sending(broker, name))
    writing.write_batch([columns, records(b"plain")])
    writing.snapshot()
    got = read_all(broker, name, 5)
    assert [r.key for r in got] == [*columns.keys, b"k"]
    assert [r.value for r in got] == [*columns.values, b"plain"]
    assert columns.headers is not None
    assert [list(r.headers) for r in got] == [*map(list, columns.headers), []]
    assert all(abs(r.timestamp / 1000 - time.time()) < 60 for r in got)


@both_ways
def test_a_topic_is_copied(broker: str, topic: MakeTopic, tmp_path: Path) -> None:
    source, target = topic(broker, 3), topic(broker, 3)
    client = {"bootstrap_servers": broker}
    sent = [Record(b"%d" % i, b"k%d" % (i % 7), (("h", b"x"),), None, i % 3) for i in range(3_000)]
    produce(broker, source, sent)
    reading = KafkaSource(client, source, stop="end", group_id=f"copy-{source}")
    run(reading, KafkaSink(client, target, delivery="at-least-once"), copied, recovery=tmp_path)
    got = read_all(broker, target, 3_000)
    assert in_partitions(got, 3) == [[b"%d" % i for i in range(p, 3_000, 3)] for p in range(3)]
    assert all(list(r.headers) == [("h", b"x")] for r in got)


def test_copying_through_crashes_loses_nothing(
    embedded: str, topic: MakeTopic, tmp_path: Path
) -> None:
    source, target = topic(embedded, 2), topic(embedded, 2)
    client = {"bootstrap_servers": embedded, "max_poll_records": 50}
    produce(embedded, source, [Record(b"%d" % i, partition=i % 2) for i in range(3_000)])
    left = 0

    def step(item: Any) -> Any:
        nonlocal left
        left -= len(item)
        if left < 0:
            raise RuntimeError("crash")
        time.sleep(0.003)
        return copied(item)

    def go() -> None:
        group = f"copy-{source}"
        reading = KafkaSource(client, source, stop="end", group_id=group, buffer_records=100)
        epoch = timedelta(milliseconds=20)
        run(
            reading,
            KafkaSink(client, target, delivery="at-least-once"),
            step,
            recovery=tmp_path,
            epoch=epoch,
        )

    for _ in range(3):
        left = 800
        assert str(failure_of(go)) == "crash"
    left = 10_000
    go()
    got = in_partitions(read_all(embedded, target, 3_000), 2)
    for partition in range(2):
        assert set(got[partition]) == {b"%d" % i for i in range(partition, 3_000, 2)}


@both_ways
def test_a_snapshot_waits_for_every_acknowledgement(
    broker: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(broker, 2)
    to = sending(broker, name, linger_ms=300)
    one, other = part(to, 0), part(to, 1)
    for i in range(500):
        one.write_batch([records(b"a%d" % i)])
        other.write_batch([records(b"b%d" % i)])
    one.snapshot()
    other.snapshot()
    used = one._producer
    assert used is other._producer
    assert (used._futures, used._bytes, list(used._sent)) == (0, 0, [])
    assert len(read_all(broker, name, 1_000)) == 1_000


@both_ways
def test_no_more_than_a_bound_is_under_way(
    embedded: str, topic: MakeTopic, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "_IN_FLIGHT_FUTURES", 20)
    writing = part(sending(embedded, topic(embedded)))
    for i in range(100):
        writing.write_batch([records(*[b"%d" % i] * 15)])
        assert writing._producer._futures <= 20
    monkeypatch.setattr(producer, "_IN_FLIGHT_FUTURES", 10_000)
    monkeypatch.setattr(producer, "_IN_FLIGHT_BYTES", 50_000)
    for _ in range(20):
        writing.write_batch([records(bytes(20_000))])
        assert writing._producer._bytes <= 50_000


@both_ways
def test_a_record_larger_than_the_request_names_the_option(
    embedded: str, topic: MakeTopic, part: Any
) -> None:
    writing = part(sending(embedded, topic(embedded), max_request_size=100_000))
    writing.write_batch([records(bytes(99_000))])
    with pytest.raises(RefusedError, match=r"raise kafka\.max_request_size \(now 100000 bytes"):
        writing.write_batch([records(bytes(100_001))])


@both_ways
def test_a_record_larger_than_the_topic_takes_names_the_topics_option(
    kafka: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(kafka, configs={"max.message.bytes": "50000"})
    writing = part(sending(kafka, name))
    writing.write_batch([records(b"fits")])
    writing.snapshot()
    writing.write_batch([records(bytes(60_000))])
    with pytest.raises(RefusedError, match=f"raise max.message.bytes of topic '{name}'") as found:
        writing.snapshot()
    assert (found.value.fault, found.value.retry) == ("user", False)
    with pytest.raises(DeliveryError, match="partition 0"):  # and it stays so
        writing.write_batch([records(b"later")])


@both_ways
def test_a_record_without_a_key_on_a_compacted_topic_names_the_option(
    kafka: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(kafka, configs={"cleanup.policy": "compact"})
    writing = part(sending(kafka, name))
    writing.write_batch([ProducerRecords([None], [b"v"])])
    with pytest.raises(RefusedError, match=f"set cleanup.policy=delete for topic '{name}'"):
        writing.snapshot()
    set_configs(kafka, name, {"cleanup.policy": "delete"})
    again = part(sending(kafka, name))
    again.write_batch([ProducerRecords([None], [b"v"])])
    again.snapshot()


def test_what_could_be_read_can_be_written(kafka: str, topic: MakeTopic, part: Any) -> None:
    """A dead letter is its record and some headers; the topic must take that much more."""
    name = topic(kafka, configs={"max.message.bytes": str((1 << 20) + 2_000)})
    writing = part(sending(kafka, name))
    letter = ProducerRecords([b"k"], [bytes((1 << 20) - 100)], [[("why", b"x" * 1_000)]])
    writing.write_batch([letter])
    writing.snapshot()
    assert len(read_all(kafka, name, 1)) == 1


@both_ways
def test_a_batch_that_is_too_large_for_the_topic_is_cut(
    kafka: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(kafka, configs={"max.message.bytes": "50000"})
    writing = part(sending(kafka, name))
    sent = [b"%04d" % i + bytes(1_000) for i in range(300)]
    writing.write_batch([records(*sent)])
    writing.snapshot()
    assert [r.value for r in read_all(kafka, name, 300)] == sent


@both_ways
def test_one_failure_stops_every_part(kafka: str, topic: MakeTopic, part: Any) -> None:
    to = sending(kafka, topic(kafka, 2, configs={"max.message.bytes": "50000"}))
    one, other = part(to, 0), part(to, 1)
    one.write_batch([records(bytes(60_000))])
    time.sleep(1)
    with pytest.raises(DeliveryError, match="partition 0"):
        other.write_batch([records(b"fine")])


def test_an_output_topic_that_is_deleted_stops_the_flow(kafka: str, topic: MakeTopic) -> None:
    name = topic(kafka)
    written = 0

    def step(item: Any) -> Any:
        nonlocal written
        written += 1
        if written == 20:
            admin = KafkaAdminClient(bootstrap_servers=kafka)
            admin.delete_topics([name])
            admin.close()
        time.sleep(0.02)
        return item

    items = [(part_key(0), records(b"%d" % i)) for i in range(1_000)]
    failure = failure_of(lambda: run(TestingSource(items), sending(kafka, name, **QUICKLY), step))
    assert isinstance(failure, DeliveryError)
    assert f"topic '{name}'" in str(failure)
    assert written < 1_000


@pytest.mark.slow
@both_ways
def test_a_dead_broker_stops_the_flow_and_closing_does_not_raise(topic: MakeTopic) -> None:
    with EmbeddedBroker() as broker:
        name = topic(broker.bootstrap_servers)
        to = sending(broker.bootstrap_servers, name, **QUICKLY)
        to.list_parts()
        writing = to.build_part("out", part_key(0), None)
        writing.write_batch([records(b"fine")])
        writing.snapshot()
    writing.write_batch([records(b"lost?")])
    started = time.monotonic()
    says = r"partition 0 of topic .* bring the brokers back"
    with pytest.raises(DeliveryError, match=says):
        writing.snapshot()
    with pytest.raises(DeliveryError):
        writing.write_batch([records(b"later")])
    writing.close()
    assert time.monotonic() - started < 15 * slowness()
    assert not writing._producer._kafka._sender.is_alive()  # nothing is written later


@both_ways
def test_a_broker_restart_is_ridden_out(
    restartable_kafka: ApacheKafka, topic: MakeTopic, part: Any
) -> None:
    address = restartable_kafka.bootstrap_servers
    name = topic(address)
    writing = part(sending(address, name))
    writing.write_batch([records(b"before")])
    writing.snapshot()
    restartable_kafka.stop()
    writing.write_batch([records(*[b"%d" % i for i in range(500)])])
    restartable_kafka.start()
    writing.snapshot()
    got = [r.value for r in read_all(address, name, 501)]
    assert got == [b"before", *[b"%d" % i for i in range(500)]]


def test_closing_delivers_what_is_under_way(embedded: str, topic: MakeTopic) -> None:
    name = topic(embedded, 2)
    to = sending(embedded, name, linger_ms=200)
    to.list_parts()
    parts = [to.build_part("out", part_key(p), None) for p in range(2)]
    for one in parts:
        one.write_batch([records(b"v")])
    for one in parts:
        one.close()
        one.close()
    assert len(read_all(embedded, name, 2)) == 2


def test_a_producer_closed_by_its_last_part_is_opened_again(
    embedded: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(embedded)
    to = sending(embedded, name)
    for value in (b"1", b"2"):
        to.list_parts()
        one = to.build_part("out", part_key(0), None)
        one.write_batch([records(value)])
        one.snapshot()
        one.close()
    assert [r.value for r in read_all(embedded, name, 2)] == [b"1", b"2"]


def test_an_empty_run_is_nothing(embedded: str, topic: MakeTopic, part: Any) -> None:
    writing = part(sending(embedded, topic(embedded)))
    writing.write_batch([ProducerRecords([], [])])
    writing.snapshot()


@both_ways
def test_columns_that_differ_in_length_are_an_error(
    embedded: str, topic: MakeTopic, part: Any
) -> None:
    writing = part(sending(embedded, topic(embedded)))
    with pytest.raises(DeliveryError, match="ValueError"):
        writing.write_batch([ProducerRecords([b"k"], [b"1", b"2"])])


def test_the_partition_count_stays_that_of_the_start(
    kafka: str, topic: MakeTopic, part: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys are routed with it: a topic that grows must not change half of the routing."""
    name = topic(kafka, 2)
    caplog.set_level(logging.WARNING, "ewma_ops")
    to = sending(kafka, name, metadata_max_age_ms=200)
    assert to.partitions == 2
    writing = part(to)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_partitions({name: 3})
    admin.close()
    assert to.partitions == len(to.list_parts()) == 2
    for _ in range(20):
        writing.snapshot()
        time.sleep(0.1)
    assert caplog.text.count("has grown from 2 to 3 partitions") == 1


def test_a_missing_topic(embedded: str) -> None:
    items = [(part_key(0), records(b"v"))]
    missing = failure_of(lambda: run(TestingSource(items), sending(embedded, "nothing-here")))
    assert isinstance(missing, BrokerError)
    assert "topic 'nothing-here' does not exist" in str(missing)
