"""The sink, exactly once, part by part on real brokers: each test is a crash at one moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient

from ewma_ops.connectors import KafkaSink
from ewma_ops.connectors.sink import readback
from ewma_ops.connectors.sink.ledger import IDENTITY_HEADER, LedgerState
from ewma_ops.errors import ConfigError, DeliveryError, TopicError
from ewma_ops.wire.records import ProducerRecords
from tests.helpers.brokers import Record, produce, read_all
from tests.helpers.once import COMMITTED, KEY, Runs, got, made, pending, runs_of, values
from tests.helpers.patience import slowness

MakeTopic = Callable[..., str]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ewma_ops.connectors.sink.readback.QUIET_S", 0.0)
    monkeypatch.setattr(readback, "_PATIENCE_S", 2.0)


@pytest.fixture(params=["exactly-once", "transactional"])
def runs(request: pytest.FixtureRequest, kafka: str, topic: MakeTopic) -> Iterator[Runs]:
    with runs_of(kafka, topic(kafka), request.param) as started:
        yield started


@pytest.fixture
def plain(broker: str, topic: MakeTopic) -> Iterator[Runs]:
    with runs_of(broker, topic(broker), "exactly-once") as started:
        yield started


def test_an_epoch_that_was_durable_is_left_alone(runs: Runs) -> None:
    first = runs.begin(None)
    first.write_batch([made(0, 10)])
    state = first.snapshot()
    assert LedgerState.opened(state).base >= 10
    second = runs.begin(state)
    second.write_batch([made(10, 20)])
    second.snapshot()
    assert got(runs.bootstrap, runs.topic, 20, **COMMITTED) == values(0, 20)


def test_an_epoch_that_was_written_and_not_durable_is_not_written_again(runs: Runs) -> None:
    first = runs.begin(None)
    first.write_batch([made(0, 10)])
    state = first.snapshot()
    first.write_batch([made(10, 20)])
    first.snapshot()  # lost
    second = runs.begin(state)
    second.write_batch([made(10, 25)])
    second.snapshot()
    assert got(runs.bootstrap, runs.topic, 25, **COMMITTED) == values(0, 25)


def test_a_crash_in_the_replay_of_a_crash(runs: Runs) -> None:
    first = runs.begin(None)
    first.write_batch([made(0, 30)])
    first.snapshot()  # lost
    second = runs.begin(None)
    second.write_batch([made(0, 10)])
    state = second.snapshot()
    assert pending(state) == {0: list(range(10, 30))}
    third = runs.begin(state)
    third.write_batch([made(10, 20), made(20, 40)])
    assert pending(third.snapshot()) == {}
    assert got(runs.bootstrap, runs.topic, 40, **COMMITTED) == values(0, 40)


def test_what_one_run_sent_and_did_not_see_acknowledged(plain: Runs) -> None:
    first = plain.begin(None)
    first.write_batch([made(0, 500)])
    first._producer._kafka.flush(10)  # in the log, and the ledger never heard of it
    second = plain.begin(None)
    second.write_batch([made(0, 600)])
    second.snapshot()
    assert got(plain.bootstrap, plain.topic, 600) == values(0, 600)


def test_records_carry_their_origin_and_keep_their_headers(plain: Runs) -> None:
    part = plain.begin(None)
    records = made(7, 8, source=3)
    headed = ProducerRecords(records.keys, records.values, [[("h", b"x")]], records.origins)
    part.write_batch([headed])
    part.snapshot()
    (record,) = read_all(plain.bootstrap, plain.topic, 1)
    assert [name for name, _ in record.headers] == ["h", IDENTITY_HEADER]
    assert record.headers[1][1][4:] == bytes([0, 0, 0, 3, *bytes(7), 7, *bytes(8)])


def test_other_jobs_on_the_topic_do_not_count(plain: Runs) -> None:
    client = {"bootstrap_servers": plain.bootstrap}
    other = KafkaSink(client, plain.topic, job="other")
    other.list_parts()
    part = other.build_part("out", KEY, None)
    part.write_batch([made(0, 5)])
    part.snapshot()
    part.close()
    produce(plain.bootstrap, plain.topic, [Record(b"nobody's")])
    own = plain.begin(None)
    own.write_batch([made(0, 5)])
    own.snapshot()
    assert got(plain.bootstrap, plain.topic, 11) == [*values(0, 5), b"nobody's", *values(0, 5)]


def test_another_jobs_open_transaction_is_waited_for(kafka: str, topic: MakeTopic) -> None:
    """What is above it cannot be seen before it has ended."""
    runs = Runs(kafka, topic(kafka), "transactional")
    client = {"bootstrap_servers": kafka}
    other = KafkaSink(client, runs.topic, delivery="transactional", job="other")
    other.list_parts()
    open_one = other.build_part("out", KEY, None)
    open_one.write_batch([made(0, 3)])
    open_one._producer._kafka.flush(10)
    closing = threading.Timer(0.7, open_one.snapshot)
    closing.start()
    began = time.monotonic()
    runs.begin(None)
    assert time.monotonic() - began > 0.5
    closing.join()
    open_one.close()
    runs.end()


def test_a_topic_that_was_created_anew_is_told(kafka: str, topic: MakeTopic) -> None:
    runs = Runs(kafka, topic(kafka), "exactly-once")
    with pytest.raises(TopicError, match="had written up to 50: the topic was truncated, or"):
        runs.begin(LedgerState(2, 50, {}))


def test_an_output_that_retention_has_cut_is_told(
    kafka: str, topic: MakeTopic, caplog: pytest.LogCaptureFixture
) -> None:
    from kafka import TopicPartition

    runs = Runs(kafka, topic(kafka), "exactly-once")
    produce(kafka, runs.topic, [Record(b"v") for _ in range(10)])
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(runs.topic, 0): 8})
    admin.close()
    runs.begin(LedgerState(2, 3, {}))
    runs.end()
    assert "removed 5 offsets of partition 0" in caplog.text


def test_what_cannot_be_delivered_once_is_refused(plain: Runs) -> None:
    with pytest.raises(ConfigError, match="job is empty"):
        KafkaSink({}, "topic")
    with pytest.raises(ConfigError, match="delivery is 'twice': use one of exactly-once, trans"):
        KafkaSink({}, "topic", delivery="twice")  # type: ignore[arg-type]
    with pytest.raises(DeliveryError, match="without its origin"):
        plain.begin(None).write_batch([ProducerRecords([b"k"], [b"v"])])


def test_a_long_end_is_read_back_quickly(embedded: str, topic: MakeTopic) -> None:
    runs = Runs(embedded, topic(embedded), "exactly-once")
    first = runs.begin(None)
    for at in range(0, 50_000, 5_000):
        first.write_batch([made(at, at + 5_000)])
    first.snapshot()
    began = time.monotonic()
    heir = runs.begin(None)
    assert len(heir._ledger) == 50_000
    assert time.monotonic() - began < 20 * slowness()
    runs.end()
