from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import TestingSink
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from prometheus_client import REGISTRY

from ewma_ops.columns.origins import numbered
from ewma_ops.connectors import KafkaSource, part_key
from ewma_ops.connectors.client import exchange, topics
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics, source_part
from ewma_ops.connectors.source import poller, topics_watch
from ewma_ops.connectors.source.source import opened_offset, sealed_offset
from ewma_ops.errors import BrokerError, ConfigError
from ewma_ops.wire.records import ConsumerRecords
from tests.helpers.brokers import ApacheKafka, Record, produce
from tests.helpers.dataflows import both_ways, failure_of, read, run, values
from tests.helpers.patience import PATIENCE_S, slowness

MakeTopic = Callable[..., str]


def numbers(n: int, partitions: int) -> list[Record]:
    return [Record(b"%d" % i, partition=i % partitions) for i in range(n)]


def in_partition(n: int, partitions: int, partition: int) -> list[bytes | None]:
    return [b"%d" % i for i in range(partition, n, partitions)]


def source(bootstrap: str, topic: str | list[str], **options: Any) -> KafkaSource:
    client = {"bootstrap_servers": bootstrap} | options.pop("client", {})
    return KafkaSource(client, topic, **{"group_id": f"group-of-{topic}", **options})


def committed(bootstrap: str, topic: str) -> dict[int, int]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        offsets = admin.list_group_offsets(f"group-of-{topic}")[f"group-of-{topic}"]
    finally:
        admin.close()
    return {tp.partition: at.offset for tp, at in offsets.items() if at.offset >= 0}


def eventually(what: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def part() -> Iterator[Callable[..., Any]]:
    """Return what builds parts without Bytewax, closed at the end."""
    parts = []

    def build(of: KafkaSource, partition: int = 0, state: int | bytes | None = None) -> Any:
        of.list_parts()
        resume_state = sealed_offset(state) if isinstance(state, int) else state
        parts.append(of.build_part("in", part_key(partition), resume_state))
        return parts[-1]

    yield build
    for built in parts:
        built.close()


def take(part: Any, n: int, timeout_s: float = PATIENCE_S) -> list[ConsumerRecords]:
    """Call ``next_batch`` until it gave ``n`` records."""
    runs: list[ConsumerRecords] = []
    deadline = time.monotonic() + timeout_s
    while sum(map(len, runs)) < n:
        assert time.monotonic() < deadline, f"{sum(map(len, runs))} of {n} records"
        runs += part.next_batch()
        time.sleep(0.001)
    return runs


@both_ways
def test_everything_in_order_to_the_end(broker: str, topic: MakeTopic) -> None:
    name = topic(broker, 3)
    produce(broker, name, numbers(5_000, 3))
    runs = read(source(broker, name, stop="end"))
    for partition in range(3):
        assert values(runs, partition) == in_partition(5_000, 3, partition)
        offsets = [int(o) for r in runs if r.partition == partition for o in r.offsets]
        assert offsets == list(range(len(offsets)))


@both_ways
def test_nulls_headers_and_times_survive(broker: str, topic: MakeTopic) -> None:
    name = topic(broker)
    headers = (("a", b"1"), ("a", b""), ("b", b"\xff"))
    sent = [
        Record(b"v", b"k", headers, 1_700_000_000_000),
        Record(None, b"tombstone", (), 1_700_000_000_001),
        Record(b"", None, (), 5),
    ]
    produce(broker, name, sent)
    runs = read(source(broker, name, stop="end"))
    assert [k for r in runs for k in r.keys] == [b"k", b"tombstone", None]
    assert [v for r in runs for v in r.values] == [b"v", None, b""]
    assert [t for r in runs for t in r.timestamps_ms.tolist()] == [s.timestamp_ms for s in sent]
    assert next(list(h) for r in runs for h in r.headers or []) == list(headers)
    assert {(r.topic, r.partition) for r in runs} == {(name, 0)}


@both_ways
def test_no_headers_are_no_list(embedded: str, topic: MakeTopic) -> None:
    name = topic(embedded)
    produce(embedded, name, [Record(b"v")])
    (only,) = read(source(embedded, name, stop="end"))
    assert only.headers is None


@both_ways
def test_several_topics_are_read_each_in_its_order(broker: str, topic: MakeTopic) -> None:
    names = [topic(broker, 2), topic(broker, 3)]
    for name in names:
        produce(broker, name, numbers(600, 2))
    client = {"bootstrap_servers": broker}
    of = KafkaSource(client, names, stop="end", group_id=f"group-of-{names[0]}")
    assert repr(of) == f"KafkaSource({names[0]!r}, {names[1]!r})"
    runs = read(of)
    assert len({part.rpartition("-")[0] for part in of.list_parts()}) == 2
    for name in names:
        own = [run for run in runs if run.topic == name]
        for partition in range(2):
            assert values(own, partition) == in_partition(600, 2, partition)
    of.commit()
    admin = KafkaAdminClient(bootstrap_servers=broker)
    offsets = admin.list_group_offsets(f"group-of-{names[0]}")[f"group-of-{names[0]}"]
    admin.close()
    assert {
        tp.topic: at.offset for tp, at in offsets.items() if tp.partition == 1
    } == dict.fromkeys(names, 300)


def test_parts_of_topics_that_are_gone_have_ended(embedded: str, topic: MakeTopic) -> None:
    name = topic(embedded)
    gone = numbered(7, 1)
    of = source(embedded, name, gone=[gone])
    assert of.list_parts() == ["000000", "00000007-000001"]
    part = of.build_part("in", "00000007-000001", sealed_offset(5))
    with pytest.raises(StopIteration):
        part.next_batch()
    assert opened_offset(part.snapshot()) == 5
    part.close()


def test_an_empty_topic_ends(broker: str, topic: MakeTopic) -> None:
    assert read(source(broker, topic(broker, 4), stop="end")) == []


@both_ways
def test_the_end_is_that_of_the_start(broker: str, topic: MakeTopic, part: Any) -> None:
    name = topic(broker)
    produce(broker, name, numbers(100, 1))
    reading = part(source(broker, name, stop="end"))
    runs = take(reading, 100)
    produce(broker, name, numbers(50, 1))
    time.sleep(0.5)
    with pytest.raises(StopIteration):
        runs += take(reading, 1)
    assert values(runs, 0) == in_partition(100, 1, 0)
    assert opened_offset(reading.snapshot()) == 100


def test_latest_reads_only_what_comes(kafka: str, topic: MakeTopic, part: Any) -> None:
    name = topic(kafka)
    produce(kafka, name, numbers(100, 1))
    reading = part(source(kafka, name, start="latest"))
    assert opened_offset(reading.snapshot()) == 100
    assert reading.next_batch() == []
    produce(kafka, name, [Record(b"new")])
    assert values(take(reading, 1), 0) == [b"new"]


def test_latest_is_settled_before_the_first_record(kafka: str, topic: MakeTopic, part: Any) -> None:
    """A crash before anything was read must not move "latest"."""
    name = topic(kafka)
    produce(kafka, name, [Record(b"old")])
    state = part(source(kafka, name, start="latest")).snapshot()
    produce(kafka, name, [Record(b"while down")])
    assert values(take(part(source(kafka, name, start="latest"), 0, state), 1), 0) == [
        b"while down"
    ]


@both_ways
def test_start_at_a_time(kafka: str, topic: MakeTopic) -> None:
    name = topic(kafka, 3)
    sent = [Record(b"%d" % i, partition=i % 2, timestamp_ms=1_000 + i) for i in range(100)]
    produce(kafka, name, sent)  # nothing in partition 2
    runs = read(source(kafka, name, start=1_050, stop="end"))
    assert [values(runs, p)[0] for p in range(2)] == [b"50", b"51"]
    assert sum(map(len, runs)) == 50


def test_start_at_a_time_past_the_last_record_is_the_end(
    broker: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(broker)
    reading = part(source(broker, name, start=4_000_000_000_000))
    assert reading.next_batch() == []
    produce(broker, name, [Record(b"new", timestamp_ms=1)])
    assert values(take(reading, 1), 0) == [b"new"]


def test_start_where_the_group_was(
    broker: str, topic: MakeTopic, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic(broker)
    produce(broker, name, numbers(20, 1))
    caplog.set_level(logging.INFO, "ewma_ops")
    first = source(broker, name, start="committed", stop="end")
    assert len(values(read(first), 0)) == 20
    assert "has committed nothing for partition 0" in caplog.text
    first.commit()
    produce(broker, name, [Record(b"new")])
    assert values(read(source(broker, name, start="committed", stop="end")), 0) == [b"new"]


@both_ways
def test_resuming_after_a_crash_loses_nothing(
    broker: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic(broker, 2)
    produce(broker, name, numbers(4_000, 2))
    client = {"max_poll_records": 50}
    seen: list[ConsumerRecords] = []
    left = 0

    def step(item: ConsumerRecords) -> ConsumerRecords:
        nonlocal left
        left -= len(item)
        time.sleep(0.005)
        if left < 0:
            raise RuntimeError("crash")
        return item

    def go() -> None:
        reading = source(broker, name, client=client, stop="end", buffer_records=100)
        options: Any = {"recovery": tmp_path, "epoch": timedelta(milliseconds=20)}
        run(reading, TestingSink(seen), step, **options)

    for _ in range(3):
        left = 1_000
        assert str(failure_of(go)) == "crash"
    left = 2_500  # not enough to begin again
    go()
    for partition in range(2):
        got = values(seen, partition)
        expected = in_partition(4_000, 2, partition)
        assert set(got) == set(expected)  # at least once
        assert got[-1] == expected[-1]


def test_a_finished_flow_resumes_at_its_end(
    embedded: str, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic(embedded, 2)
    produce(embedded, name, numbers(100, 2))
    assert sum(map(len, read(source(embedded, name, stop="end"), recovery=tmp_path))) == 100
    produce(embedded, name, numbers(10, 2))
    assert sum(map(len, read(source(embedded, name, stop="end"), recovery=tmp_path))) == 10


def test_offsets_are_committed_when_durable(broker: str, topic: MakeTopic, part: Any) -> None:
    name = topic(broker)
    produce(broker, name, numbers(50, 1))
    reading = part(source(broker, name))
    take(reading, 50)
    assert opened_offset(reading.snapshot()) == 50
    time.sleep(0.5)
    assert committed(broker, name) == {}  # the epoch is not durable yet
    reading.next_batch()
    assert eventually(lambda: committed(broker, name) == {0: 50})


def test_a_resumed_offset_is_committed_at_once(broker: str, topic: MakeTopic, part: Any) -> None:
    name = topic(broker)
    produce(broker, name, numbers(50, 1))
    part(source(broker, name), 0, 30).next_batch()
    assert eventually(lambda: committed(broker, name) == {0: 30})


def test_a_flow_commits_while_it_runs_and_at_its_end(broker: str, topic: MakeTopic) -> None:
    name = topic(broker, 2)
    produce(broker, name, numbers(100, 2))
    stopping = threading.Event()
    reading = source(broker, name, stopping=stopping)
    flow = threading.Thread(target=read, args=(reading,))
    flow.start()
    assert eventually(lambda: committed(broker, name) == {0: 50, 1: 50})
    produce(broker, name, numbers(10, 2))
    stopping.set()
    flow.join(PATIENCE_S)
    assert not flow.is_alive()
    reading.commit()
    assert all(50 <= offset <= 55 for offset in committed(broker, name).values())


def test_stopping_ends_an_idle_flow_at_once(embedded: str, topic: MakeTopic) -> None:
    stopping = threading.Event()
    reading = source(embedded, topic(embedded, 8), stopping=stopping)
    flow = threading.Thread(target=read, args=(reading,))
    flow.start()
    time.sleep(1)
    started = time.monotonic()
    stopping.set()
    flow.join(PATIENCE_S)
    assert time.monotonic() - started < 1.0 * slowness()


@both_ways
def test_stopping_leaves_what_was_not_taken(embedded: str, topic: MakeTopic, part: Any) -> None:
    name, stopping = topic(embedded), threading.Event()
    produce(embedded, name, numbers(10, 1))
    reading, taken = part(source(embedded, name, stopping=stopping)), 0
    while taken < 10:
        taken += sum(map(len, reading.next_batch()))
    produce(embedded, name, numbers(10, 1))
    time.sleep(1)
    stopping.set()
    with pytest.raises(StopIteration):
        reading.next_batch()
    assert opened_offset(reading.snapshot()) == 10


@both_ways
def test_64_partitions_share_a_consumer(broker: str, topic: MakeTopic) -> None:
    name = topic(broker, 64)
    produce(broker, name, numbers(6_400, 64))
    before = threading.active_count()
    threads = []

    def step(item: ConsumerRecords) -> ConsumerRecords:
        threads.append(threading.active_count())
        return item

    runs: list[ConsumerRecords] = []
    run(source(broker, name, stop="end"), TestingSink(runs), step)
    for partition in range(64):
        assert values(runs, partition) == in_partition(6_400, 64, partition)
    assert max(threads) <= before + 4  # the poller's, kafka-python's, and Bytewax's


def test_workers_have_a_consumer_each(embedded: str, topic: MakeTopic) -> None:
    name = topic(embedded, 4)
    produce(embedded, name, numbers(1_000, 4))
    reading = source(embedded, name, stop="end")
    runs = read(reading, workers=2)
    for partition in range(4):
        assert values(runs, partition) == in_partition(1_000, 4, partition)
    assert len(reading._pollers) == 2
    assert all(one.closed for one in reading._pollers.values())


def test_no_part_waits_for_the_wall_clock(embedded: str, topic: MakeTopic, part: Any) -> None:
    """That clock may be set back: a part is due at once, whatever it shows."""
    reading = part(source(embedded, topic(embedded)))
    assert reading.next_awake() is None
    for _ in range(40):
        assert reading.next_batch() == []
        assert reading.next_awake() == datetime.fromtimestamp(0, timezone.utc)


@pytest.mark.parametrize("only_worker", [False, True])
def test_a_part_asks_for_no_turn_while_other_workers_close_an_epoch(
    embedded: str, topic: MakeTopic, part: Any, *, only_worker: bool
) -> None:
    reading = source(embedded, topic(embedded), interval=timedelta(0), only_worker=only_worker)
    one = part(reading)
    one.next_batch()
    one.snapshot()
    time.sleep(0.1)  # while others close the epoch
    one.next_batch()
    began = datetime.now(timezone.utc)
    one.next_batch()
    asks_for = one.next_awake()
    assert asks_for < began if only_worker else asks_for >= began + timedelta(seconds=0.07)


def test_a_worker_with_nothing_to_do_waits_for_the_first_record(
    embedded: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(embedded, 2)
    reading = source(embedded, name)
    one, other = part(reading, 0), part(reading, 1)
    for _ in range(40):
        assert one.next_batch() == other.next_batch() == []
    assert other.next_awake() < datetime.now(timezone.utc)  # at once: the wait is in next_batch
    began = time.monotonic()
    assert one.next_batch() == other.next_batch() == []
    assert 0.03 < time.monotonic() - began < 0.5 * slowness()
    sending = threading.Thread(target=produce, args=(embedded, name, numbers(2, 2)))
    sending.start()
    turns = 0
    runs: list[ConsumerRecords] = []
    while not runs and turns < 200:
        one.next_batch()
        runs = other.next_batch()
        turns += 1
    sending.join()
    assert values(runs, 1) == [b"1"]
    waits_s = []
    for _ in range(3):  # of a busy machine's own waits, not all three can be long
        began = time.monotonic()
        one.next_batch()  # what was taken may be under way in the flow: no wait
        waits_s.append(time.monotonic() - began)
    assert min(waits_s) < 0.03 * slowness()


def test_the_worker_polls_what_trickles_in_and_a_thread_what_is_much(
    embedded: str, topic: MakeTopic, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    poll = exchange.poll

    def noted(*given: Any) -> Any:
        threads.append(threading.get_ident())
        return poll(*given)

    monkeypatch.setattr(poller, "poll", noted)
    name = topic(embedded)
    reading = part(source(embedded, name))
    until = time.monotonic() + PATIENCE_S
    while threading.get_ident() not in threads:
        assert reading.next_batch() == []
        assert time.monotonic() < until
    for number in range(5):
        produce(embedded, name, [Record(b"%d" % number)])
        assert values(take(reading, 1), 0) == [b"%d" % number]
    assert threads[-1] == threading.get_ident()
    produce(embedded, name, numbers(10_000, 1))
    before = len(threads)
    assert values(take(reading, 10_000), 0) == in_partition(10_000, 1, 0)
    while {threading.get_ident()} == set(threads[before:]):
        reading.next_batch()
        assert time.monotonic() < until
    time.sleep(1.5)  # a worker that is busy with something else: the thread looks in
    before = len(threads)
    produce(embedded, name, [Record(b"meanwhile")])
    while not reading._poller._records:
        time.sleep(0.01)
        assert time.monotonic() < until
    assert threading.get_ident() not in threads[before:]
    assert values(take(reading, 1), 0) == [b"meanwhile"]


@both_ways
def test_records_gather_at_the_end_of_the_topic_only(
    embedded: str, topic: MakeTopic, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather_s = 3.0 * slowness()
    monkeypatch.setattr(poller._Gathering, "next_s", lambda _: gather_s)
    name = topic(embedded)
    produce(embedded, name, numbers(500, 1))
    reading = part(source(embedded, name, client={"max_poll_records": 10}))
    began = time.monotonic()
    take(reading, 500)
    assert time.monotonic() - began < 2.0 * slowness()  # fifty polls, none of which waited
    time.sleep(gather_s + 0.5)
    with closing(KafkaProducer(bootstrap_servers=embedded)) as producer:  # its start takes long
        began = time.monotonic()
        producer.send(name, b"after a silence").get(timeout=PATIENCE_S)
        take(reading, 1)
        assert time.monotonic() - began < 1.5 * slowness()
        for each in (b"one", b"another"):
            producer.send(name, each).get(timeout=PATIENCE_S)
        assert values(take(reading, 1), 0) == [b"one", b"another"]
    assert time.monotonic() - began > 0.75 * gather_s


@both_ways
def test_memory_is_bounded_when_nothing_is_taken(
    embedded: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(embedded, 2)
    produce(embedded, name, numbers(20_000, 2))
    limits = {"client": {"max_poll_records": 500}, "buffer_records": 1_000}
    reading = source(embedded, name, **limits)
    one, other = part(reading, 0), part(reading, 1)
    first = one.next_batch()
    time.sleep(2)
    assert 1_000 < one._poller._records <= 1_500
    runs: list[ConsumerRecords] = first
    while sum(map(len, runs)) < 20_000:
        runs += one.next_batch() + other.next_batch()
    for partition in range(2):
        assert values(runs, partition) == in_partition(20_000, 2, partition)


@both_ways
def test_bytes_are_bounded_too(
    embedded: str, topic: MakeTopic, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "_BUFFER_BYTES", 100_000)
    name = topic(embedded)
    produce(embedded, name, [Record(bytes(10_000)) for _ in range(200)])
    reading = part(source(embedded, name, client={"max_poll_records": 5}))
    reading.next_batch()
    time.sleep(1)
    assert 100_000 < reading._poller._bytes <= 150_000
    assert sum(map(len, take(reading, 200))) == 200


@both_ways
def test_an_offset_that_retention_removed(kafka: str, topic: MakeTopic, part: Any) -> None:
    name = topic(kafka)
    produce(kafka, name, numbers(100, 1))
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(name, 0): 60})
    admin.close()
    says = "partition 0 .* from offset 20, it has 60 to 100: retention removed 40 offsets"
    with pytest.raises(BrokerError, match=says):
        part(source(kafka, name), 0, 20)
    assert values(read(source(kafka, name, stop="end")), 0) == in_partition(100, 1, 0)[60:]


@both_ways
def test_retention_that_overtakes_a_running_flow(kafka: str, topic: MakeTopic, part: Any) -> None:
    name = topic(kafka)
    produce(kafka, name, numbers(400, 1))
    client = {"max_poll_records": 10, "max_partition_fetch_bytes": 1, "fetch_max_bytes": 1}
    reading = part(source(kafka, name, client=client, buffer_records=10))
    for i in range(10):  # small batches, so that little is read ahead
        produce(kafka, name, [Record(b"late %d" % i)])
    take(reading, 10)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(name, 0): 409})
    admin.close()
    with pytest.raises(BrokerError, match="it has 409 to 410: retention removed"):
        take(reading, 10_000)


@both_ways
def test_an_offset_that_is_not_there_yet(broker: str, topic: MakeTopic, part: Any) -> None:
    name = topic(broker)
    produce(broker, name, numbers(10, 1))
    reading = part(source(broker, name), 0, 500)
    with pytest.raises(BrokerError, match=r"from offset 500, it has 0 to 10: .*created again"):
        take(reading, 1)


@both_ways
def test_the_offset_after_the_last_record_is_there(
    broker: str, topic: MakeTopic, part: Any
) -> None:
    name = topic(broker)
    produce(broker, name, numbers(100, 1))
    reading = part(source(broker, name), 0, 100)
    assert reading.next_batch() == []
    produce(broker, name, [Record(b"new")])
    assert values(take(reading, 1), 0) == [b"new"]


def test_a_topic_with_fewer_partitions_than_before(
    embedded: str, topic: MakeTopic, part: Any
) -> None:
    with pytest.raises(BrokerError, match=r"has 2 partitions, and .* knows a partition 5"):
        part(source(embedded, topic(embedded, 2)), 5, 0)


def test_a_missing_topic(embedded: str) -> None:
    with pytest.raises(BrokerError, match="topic 'nothing-here' does not exist"):
        source(embedded, "nothing-here").list_parts()
    missing = failure_of(lambda: run(source(embedded, "nothing-here"), TestingSink([])))
    assert isinstance(missing, BrokerError)


def test_a_topic_that_vanishes(
    broker: str, topic: MakeTopic, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "_VANISHED_S", 1.0)
    name = topic(broker)
    produce(broker, name, numbers(10, 1))
    reading = part(source(broker, name, client={"metadata_max_age_ms": 200}))
    take(reading, 10)
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.delete_topics([name])
    with pytest.raises(BrokerError, match=f"topic '{name}' was deleted while"):
        take(reading, 1)
    assert name not in admin.list_topics()
    admin.close()


def test_a_topic_of_a_pattern_that_vanishes_before_its_end_has_ended(
    broker: str,
    topic: MakeTopic,
    part: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(topics, "_VANISHED_S", 1.0)
    stays, goes = topic(broker), topic(broker)
    for name in (stays, goes):
        produce(broker, name, [Record(bytes(2_000)) for _ in range(500)])
    client = {"bootstrap_servers": broker}
    inputs = InputTopics.of(topics.describe_topics(client, [stays, goes]), optional=True)
    options = {"metadata_max_age_ms": 200, "max_partition_fetch_bytes": 20_000}
    reading = source(
        broker, [stays, goes], client=options, inputs=inputs, stop="end", buffer_records=1
    )
    reading.list_parts()
    parts = [
        reading.build_part("in", source_part(inputs.number(name, 0)), None)
        for name in (stays, goes)
    ]
    take(parts[1], 1)  # of the rest no more is read ahead than a fetch or two
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.delete_topics([goes])
    admin.close()
    found, left = [0, 0], {0, 1}
    deadline = time.monotonic() + PATIENCE_S
    while left:
        assert time.monotonic() < deadline, f"{left} do not end"
        for place in sorted(left):
            try:
                found[place] += sum(map(len, parts[place].next_batch()))
            except StopIteration:
                left.remove(place)
                parts[place].close()
    assert "continues without it" in caplog.text
    assert found[0] == 500
    assert found[1] < 490
    reading.commit()
    assert committed(broker, str([stays, goes])) == {0: 500}


def test_the_others_of_a_pattern_are_read_on_when_one_vanishes(
    embedded: str, topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "_VANISHED_S", 0.5)
    monkeypatch.setattr(poller, "_WATCH_S", 0.1)
    stays, goes = topic(embedded), topic(embedded)
    for name in (stays, goes):
        produce(embedded, name, numbers(10, 1))
    views = topics.describe_topics({"bootstrap_servers": embedded}, [stays, goes])
    inputs = InputTopics.of(views, optional=True)
    options = {"metadata_max_age_ms": 200}
    reading = source(embedded, [stays, goes], client=options, inputs=inputs)
    reading.list_parts()
    staying, going = parts = [
        reading.build_part("in", source_part(inputs.number(name, 0)), None)
        for name in (stays, goes)
    ]
    take(staying, 10)
    take(going, 10)
    admin = KafkaAdminClient(bootstrap_servers=embedded)
    admin.delete_topics([goes])
    admin.close()
    own = going._poller
    assert eventually(lambda: own.has_gone(going._queue))
    assert eventually(lambda: going._queue.tp not in own._consumer.assignment())
    time.sleep(5 * poller._WATCH_S)
    produce(embedded, stays, numbers(10, 1))
    take(staying, 10)
    assert list(going.next_batch()) == []
    lag = "ewma_ops_consumer_lag", {"topic": goes, "partition": "0"}
    assert REGISTRY.get_sample_value(*lag) is None
    for each in parts:
        each.close()


def test_a_partition_that_a_topic_has_not_is_told_with_those_that_it_has(
    embedded: str, topic: MakeTopic
) -> None:
    names = [topic(embedded, 2), topic(embedded, 3)]
    inputs = InputTopics.of(topics.describe_topics({"bootstrap_servers": embedded}, names))
    reading = source(embedded, names, inputs=inputs)
    with pytest.raises(BrokerError, match=rf"topic '{names[0]}' has 2 partitions, .* partition 4"):
        reading.build_part("in", source_part(inputs.number(names[0], 4)), None)


def test_what_comes_of_a_topic_that_is_missing_waits_until_it_is_known_which_one_it_is(
    kafka: str, topic: MakeTopic, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers tell of a topic that was created again a moment after they give its records."""
    name = topic(kafka)
    produce(kafka, name, numbers(20, 1))
    reading = part(source(kafka, name))
    take(reading, 20)
    consumer, sought = reading._poller._consumer, []
    seek = consumer.seek

    def noted(tp: TopicPartition, offset: int) -> None:
        sought.append(offset)
        seek(tp, offset)

    with monkeypatch.context() as changed:
        changed.setattr(consumer, "seek", noted)
        changed.setattr(topics_watch, "refreshed_at", lambda _: time.monotonic())
        changed.setattr(topics_watch, "view_of", lambda *_: TopicView(None, 0))
        produce(kafka, name, numbers(30, 1)[20:])
        taken: list[Any] = []

        def sought_twice() -> bool:
            taken.extend(reading.next_batch())
            return len(sought) > 1

        assert eventually(sought_twice)
        assert not taken
        assert set(sought) == {20}
    assert [value for run in take(reading, 10) for value in run.values] == in_partition(30, 1, 0)[
        20:
    ]


@both_ways
def test_a_topic_that_is_created_anew(broker: str, topic: MakeTopic, part: Any) -> None:
    name = topic(broker)
    produce(broker, name, numbers(10, 1))
    reading = part(source(broker, name, client={"metadata_max_age_ms": 200}))
    take(reading, 10)
    time.sleep(1.5)
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.delete_topics([name])
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    with pytest.raises(BrokerError, match="created again"):
        take(reading, 1)


def test_a_topic_that_grows_is_said_once(
    kafka: str, topic: MakeTopic, part: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic(kafka, 2)
    reading = part(source(kafka, name, client={"metadata_max_age_ms": 200}))
    reading.next_batch()
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_partitions({name: 3})
    admin.close()
    assert eventually(lambda: "has grown from 2 to 3 partitions" in caplog.text)
    time.sleep(2.5)
    assert caplog.text.count("has grown") == 1


@both_ways
def test_transaction_markers_are_passed(kafka: str, topic: MakeTopic, part: Any) -> None:
    name = topic(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka, transactional_id=name)
    producer.init_transactions()
    for i in range(3):
        producer.begin_transaction()
        producer.send(name, b"%d" % i)
        producer.commit_transaction()
    producer.close(5)  # offsets 0, 2 and 4 are records; 1, 3 and 5 are markers
    reading = part(source(kafka, name))
    assert values(take(reading, 3), 0) == [b"0", b"1", b"2"]
    reading.next_batch()
    assert eventually(lambda: reading.next_batch() == [] and opened_offset(reading.snapshot()) == 6)
    assert values(read(source(kafka, name, stop="end")), 0) == [b"0", b"1", b"2"]


def test_lag_is_a_metric(broker: str, topic: MakeTopic, part: Any) -> None:
    name = topic(broker)
    produce(broker, name, numbers(100, 1))
    reading = part(source(broker, name), 0, 40)

    def lag() -> float | None:
        labels = {"topic": name, "partition": "0"}
        return REGISTRY.get_sample_value("ewma_ops_consumer_lag", labels)

    taken = sum(map(len, reading.next_batch()))  # none, unless the poller was quicker
    assert eventually(lambda: lag() == 60 - taken)
    take(reading, 60 - taken)
    assert eventually(lambda: lag() == 0)


@both_ways
def test_a_broker_restart_is_ridden_out(
    restartable_kafka: ApacheKafka,
    topic: MakeTopic,
    part: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(topics_watch, "_SILENCE_S", 1.0)
    address = restartable_kafka.bootstrap_servers
    name = topic(address, 2)
    produce(address, name, numbers(100, 2))
    reading = source(address, name, client={"metadata_max_age_ms": 500})
    parts = [part(reading, 0), part(reading, 1)]
    before = [values(take(one, 50), p) for p, one in enumerate(parts)]
    for one in parts:
        one.snapshot()
    restartable_kafka.stop()
    ends, silent = time.monotonic() + 3, "no broker has answered for"
    while time.monotonic() < ends or silent not in caplog.text:  # the commit fails, not the part
        assert all(one.next_batch() == [] for one in parts)
        assert time.monotonic() < ends + PATIENCE_S
        time.sleep(0.01)
    restartable_kafka.start()
    produce(address, name, numbers(100, 2))
    after = [values(take(one, 50, timeout_s=PATIENCE_S), p) for p, one in enumerate(parts)]
    assert before == after == [in_partition(100, 2, p) for p in range(2)]
    for one in parts:
        one.snapshot()
        one.next_batch()
    assert eventually(lambda: committed(address, name) == {0: 100, 1: 100})


def test_closing_never_raises_and_ends_the_threads(embedded: str, topic: MakeTopic) -> None:
    reading = source(embedded, topic(embedded))
    before = set(threading.enumerate())
    reading.list_parts()
    started = reading.build_part("in", part_key(0), None)
    started.next_batch()
    unstarted = source(embedded, topic(embedded))
    unstarted.list_parts()
    for one in (started, unstarted.build_part("in", part_key(0), None)):
        one.close()
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_an_aborted_execution_leaves_no_reader_behind(embedded: str, topic: MakeTopic) -> None:
    name = topic(embedded)
    produce(embedded, name, numbers(10, 1))
    reading = source(embedded, name)
    reading.list_parts()
    left = reading.build_part("in", part_key(0), None)
    take(left, 10)
    anew = reading.build_part("in", part_key(0), None)  # same worker, nothing was closed
    assert left._poller.closed
    assert values(take(anew, 10), 0) == in_partition(10, 1, 0)
    anew.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": "newest"}, "start is 'newest'"),
        ({"start": True}, "start is True"),
        ({"start": -1}, "start is -1"),
        ({"start": 1.5}, "start is 1.5"),
        ({"stop": "soon"}, "stop is 'soon'"),
        ({"group_id": ""}, "group_id is ''"),
        ({"buffer_records": 0}, "buffer_records is 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        source("127.0.0.1:1", "topic", **options)
