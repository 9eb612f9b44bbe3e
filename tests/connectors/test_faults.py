"""The sink against what brokers and networks do at their worst, at the wire, in front of Kafka."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from ewma_ops.connectors import KafkaSink, KafkaSource
from ewma_ops.connectors.sink import readback, sink
from ewma_ops.connectors.source.source import sealed_offset
from ewma_ops.errors import DeliveryError
from tests.chaos.proxy import Proxy
from tests.helpers.brokers import Record, produce
from tests.helpers.jobs import wait_until
from tests.helpers.once import COMMITTED, KEY, Runs, got, made, pending, runs_of, values

MakeTopic = Callable[..., str]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ewma_ops.connectors.sink.readback.QUIET_S", 0.0)
    monkeypatch.setattr(readback, "_PATIENCE_S", 2.0)


@pytest.fixture
def proxy(kafka: str) -> Iterator[Proxy]:
    with Proxy(kafka) as made:
        yield made


@pytest.fixture(params=["exactly-once", "transactional"])
def runs(request: pytest.FixtureRequest, proxy: Proxy, topic: MakeTopic) -> Iterator[Runs]:
    with runs_of(proxy.address, topic(proxy.address), request.param) as started:
        yield started


def written(runs: Runs, n: int) -> list[bytes]:
    return got(runs.bootstrap, runs.topic, n, **COMMITTED)


def hold_back(part: Any, proxy: Proxy) -> None:
    """Have ten records of a part under way between its producer and the broker."""
    proxy.hold()
    part.write_batch([made(0, 10)])
    assert proxy.waiting.wait(10)


def test_the_proxy_shows_what_it_is_told_to(kafka: str, proxy: Proxy, topic: MakeTopic) -> None:
    """A fault that does nothing would prove nothing."""
    with runs_of(proxy.address, topic(proxy.address), "exactly-once") as runs:
        part = runs.begin(None)
        for first in (0, 5):
            part.write_batch([made(first, first + 5)])
            part.snapshot()
        proxy.marks[TopicPartition(runs.topic, 0)] = 5
        assert got(proxy.address, runs.topic, 5) == values(0, 5)
        assert got(kafka, runs.topic, 10) == values(0, 10)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_lost_acknowledgement(runs: Runs, proxy: Proxy, epochs: int) -> None:
    """What was appended is asked for again, and the broker knows it."""
    part = runs.begin(None)
    state = None
    for first in range(0, 10 * epochs, 10):
        proxy.lose_acks(1)
        part.write_batch([made(first, first + 10)])
        state = part.snapshot()
    assert proxy.acks_lost == epochs
    heir = runs.begin(state)
    heir.write_batch([made(10 * epochs, 50)])
    heir.snapshot()
    assert written(runs, 50) == values(0, 50)


def test_an_acknowledgement_lost_with_its_client(runs: Runs, proxy: Proxy) -> None:
    dead = runs.begin(None)
    proxy.lose_acks(1)
    dead.write_batch([made(0, 10)])
    wait_until(lambda: proxy.acks_lost > 0)
    runs.kill(dead)
    proxy.lose_acks(0)
    heir = runs.begin(None)
    heir.write_batch([made(0, 20)])
    heir.snapshot()
    assert written(runs, 20) == values(0, 20)


@pytest.mark.parametrize("by_launcher", [False, True], ids=["by sinks", "by their launcher"])
def test_an_append_of_the_dead_within_the_settle_time(
    runs: Runs, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, *, by_launcher: bool
) -> None:
    """That counts from an answer to whoever asked when they were dead."""
    monkeypatch.setattr("ewma_ops.connectors.sink.readback.QUIET_S", 1.0)
    dead = runs.begin(None)
    hold_back(dead, proxy)
    runs.kill(dead)
    threading.Timer(0.5, proxy.release).start()
    client = {"bootstrap_servers": proxy.address}
    answered_at = readback.leaders_answered(client, {runs.topic: 1}) if by_launcher else None
    heir = runs.begin(None, answered_at)
    heir.write_batch([made(0, 12)])
    heir.snapshot()
    assert written(runs, 12) == values(0, 12)


def test_an_append_of_the_dead_beyond_the_settle_time(
    runs: Runs, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the read-back ends without a fence: half can be mended, and the rest is told."""
    dead = runs.begin(None)
    hold_back(dead, proxy)
    runs.kill(dead)
    heir = runs.begin(None)
    proxy.release()
    time.sleep(0.5)
    heir.write_batch([made(0, 5)])
    state = heir.snapshot()
    heir.write_batch([made(5, 20)])
    heir.snapshot()
    if runs.delivery == "transactional":
        assert written(runs, 20) == values(0, 20)
        assert "another run" not in caplog.text
    else:
        assert sorted(written(runs, 25)) == sorted(values(0, 20) + values(0, 5))
        assert "5 records are there twice, 5 will be left out" in caplog.text
        assert pending(state) == {0: list(range(5, 10))}


def test_a_zombie_that_wakes_beside_its_successor(
    runs: Runs, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    zombie, heir = runs.begin(None), runs.begin(None)
    heir.write_batch([made(0, 5)])
    heir.snapshot()
    zombie.write_batch([made(0, 10)])
    if runs.delivery == "transactional":
        with pytest.raises(DeliveryError, match="another run of this job has taken over"):
            zombie.snapshot()
    else:
        zombie.snapshot()
        assert "5 records are there twice, 0 will be left out" in caplog.text
    heir.write_batch([made(5, 20)])
    heir.snapshot()
    if runs.delivery == "transactional":
        assert written(runs, 20) == values(0, 20)
    else:
        assert len(written(runs, 30)) == 30
        assert "10 records are there twice, 0 will be left out" in caplog.text


def hide_what_the_dead_wrote(runs: Runs, proxy: Proxy) -> None:
    """Acknowledged, and not durable here; the successor cannot see it until the mark is gone."""
    dead = runs.begin(None)
    dead.write_batch([made(0, 10)])
    dead.snapshot()
    runs.kill(dead)
    proxy.marks[TopicPartition(runs.topic, 0)] = 0


def test_a_high_watermark_that_lags_for_less_than_the_settle_time(
    runs: Runs, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer, where there is a fence: the true end is known, and waited for."""
    monkeypatch.setattr("ewma_ops.connectors.sink.readback.QUIET_S", 1.0)
    hide_what_the_dead_wrote(runs, proxy)
    lag_s = 1.5 if runs.delivery == "transactional" else 0.5
    threading.Timer(lag_s, proxy.marks.clear).start()
    heir = runs.begin(None)
    heir.write_batch([made(0, 20)])
    heir.snapshot()
    assert written(runs, 20) == values(0, 20)


def test_a_high_watermark_that_lags_for_longer_is_told(
    proxy: Proxy, topic: MakeTopic, caplog: pytest.LogCaptureFixture
) -> None:
    with runs_of(proxy.address, topic(proxy.address), "exactly-once") as runs:
        hide_what_the_dead_wrote(runs, proxy)
        heir = runs.begin(None)
        proxy.marks.clear()
        heir.write_batch([made(0, 5)])
        heir.snapshot()
        heir.write_batch([made(5, 20)])
        heir.snapshot()
        assert sorted(written(runs, 25)) == sorted(values(0, 20) + values(0, 5))
    assert "5 records are there twice, 5 will be left out" in caplog.text


def test_all_partitions_are_read_back_over_one_connection(proxy: Proxy, topic: MakeTopic) -> None:
    """Each of its own made a start, and a stop that falls into it, long on a slow network."""
    into = KafkaSink({"bootstrap_servers": proxy.address}, topic(proxy.address, 8), job="job")
    first, *others = into.list_parts()
    parts = [into.build_part("out", first, None)]
    connections = proxy.connections
    parts += [into.build_part("out", other, None) for other in others]
    assert proxy.connections == connections
    for part in parts:
        part.close()


def test_others_on_the_topic_are_no_strangers(
    proxy: Proxy, topic: MakeTopic, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sink, "_ON_GUARD_S", 0.0)
    with runs_of(proxy.address, topic(proxy.address), "exactly-once") as runs:
        part = runs.begin(None)
        for first in range(0, 30, 10):
            produce(runs.bootstrap, runs.topic, [Record(b"nobody's")])
            part.write_batch([made(first, first + 10)])
            part.snapshot()
        assert len(written(runs, 33)) == 33
    assert "another run" not in caplog.text


def test_a_coordinator_that_is_starting_is_asked_again_without_a_word(
    kafka: str, proxy: Proxy, topic: MakeTopic, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic(kafka)
    produce(kafka, name, [Record(b"v")] * 5)
    client = {"bootstrap_servers": proxy.address}
    source = KafkaSource(client, name, group_id=f"group-{name}")
    assert source.list_parts() == [KEY]
    part = source.build_part("in", KEY, sealed_offset(5))
    proxy.commits_to_refuse = 2
    part.next_batch()
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=f"group-{name}")
    wait_until(lambda: consumer.committed(TopicPartition(name, 0)) == 5 and part.next_batch() == [])
    wait_until(lambda: proxy.commits_to_refuse == 0)
    consumer.close(autocommit=False)
    part.close()
    assert not [record for record in caplog.records if record.name.startswith("ewma_ops")]
