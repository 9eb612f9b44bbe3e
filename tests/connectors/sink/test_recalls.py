"""Partitions are read back side by side, from the start of a flow on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from ewma_ops.connectors import KafkaSink, part_key
from ewma_ops.connectors.sink import readback, recalls
from ewma_ops.connectors.sink.ledger import Ledger
from ewma_ops.connectors.sink.readback import QUIET_S, Readback, Reading, Stretch
from ewma_ops.connectors.sink.recalls import Recalls
from tests.helpers.brokers import Record, produce, read_all
from tests.helpers.jobs import wait_until
from tests.helpers.once import made, pending
from tests.helpers.patience import PATIENCE_S, slowness

PARTITIONS = 6


def sink(bootstrap: str, topic: str, partitions: int | None = None) -> KafkaSink:
    return KafkaSink({"bootstrap_servers": bootstrap}, topic, job="job", partitions=partitions)


@pytest.mark.parametrize("partitions", [None, PARTITIONS], ids=["looked up", "as a job gives it"])
def test_all_partitions_are_read_back_at_once(
    kafka: str,
    topic: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    partitions: int | None,
) -> None:
    """As many records again as were lost are left out, and nobody waits for one after the other."""
    name = topic(kafka, PARTITIONS)
    first = sink(kafka, name)
    keys = first.list_parts()
    parts = [first.build_part("out", key, None) for key in keys]
    states = []
    for number, part in enumerate(parts):
        part.write_batch([made(0, 10, number)])
        states.append(part.snapshot())
        part.write_batch([made(10, 20, number)])
        part.snapshot()  # lost
    for part in parts:
        part.close()

    begun: list[int] = []
    begin = Readback.begin
    monkeypatch.setattr(
        Readback,
        "begin",
        lambda self, partition, *at, **named: (
            begun.append(partition) or begin(self, partition, *at, **named)  # type: ignore[func-returns-value]
        ),
    )
    began = time.monotonic()
    second = sink(kafka, name, partitions)
    second.list_parts()
    # Half of them with a snapshot, which Bytewax builds before anything comes.
    resumed = [second.build_part("out", part_key(n), states[n]) for n in range(3)]
    for number, part in enumerate(resumed):
        part.write_batch([made(10, 25, number)])
    waited = time.monotonic() - began
    for number in range(3, PARTITIONS):
        resumed.append(second.build_part("out", part_key(number), None))
        resumed[-1].write_batch([made(0, 25, number)])
    assert time.monotonic() - began - waited < 0.5 * QUIET_S * slowness()
    assert sorted(set(begun)) == list(range(PARTITIONS))
    for part in resumed:
        state = part.snapshot()
        assert state is not None
        assert pending(state) == {}
    for part in resumed:
        part.close()
    got = sorted(record.value for record in read_all(kafka, name, 25 * PARTITIONS))
    assert got == sorted(v for n in range(PARTITIONS) for v in made(0, 25, n).values if v)
    assert not [one for one in threading.enumerate() if one.name == "ewma_ops-readback"]


@pytest.mark.parametrize(
    ("answered_ago_s", "look_up_s", "waits_s"),
    [
        (None, 0.0, QUIET_S),
        (0.3, 0.0, QUIET_S - 0.3),
        (0.3, 0.1, QUIET_S - 0.4),
        (0.3, 0.3, QUIET_S),  # a leader has hung
        (0.6, 0.0, QUIET_S),  # one may have
    ],
)
def test_the_settle_time_counts_from_when_leaders_had_answered(
    kafka: str,
    topic: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    answered_ago_s: float | None,
    look_up_s: float,
    waits_s: float,
) -> None:
    name = topic(kafka, PARTITIONS)
    answered_at = readback.leaders_answered({"bootstrap_servers": kafka}, {name: PARTITIONS})
    assert answered_at <= time.monotonic()
    reader = Readback({"bootstrap_servers": kafka}, name, committed=False)
    look_up, clock = reader.look_up, [answered_at + (answered_ago_s or 0.0)]

    def look_up_slowly(*tps: TopicPartition) -> object:
        clock[0] += look_up_s
        return look_up(*tps)

    monkeypatch.setattr(reader, "look_up", look_up_slowly)
    with monkeypatch.context() as patch:
        patch.setattr(f"{readback.__name__}.time", SimpleNamespace(monotonic=lambda: clock[0]))
        at = reader.quiet_at(PARTITIONS, None if answered_ago_s is None else answered_at)
    reader.close()
    assert at - clock[0] == pytest.approx(waits_s)
    assert reader.sizes == dict.fromkeys(range(PARTITIONS), 0)


def test_a_sink_counts_the_settle_time_from_when_it_is_told(
    kafka: str, topic: Callable[..., str]
) -> None:
    answered_at = time.monotonic() + 60.0  # so that no slowness matters
    client = {"bootstrap_servers": kafka}
    to = KafkaSink(client, topic(kafka), job="job", answered_at=answered_at)
    to.list_parts()
    assert to._recalls.pop(0).quiet_at == answered_at + QUIET_S  # type: ignore[union-attr]
    to._recalls.close()


def test_what_may_come_late_is_waited_for_without_asking(
    kafka: str, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    poll = Readback._poll

    def noting(self: Readback) -> dict[TopicPartition, list[Any]]:
        asked.append(time.monotonic())
        return poll(self)

    monkeypatch.setattr(Readback, "_poll", noting)
    to = sink(kafka, topic(kafka, PARTITIONS))
    to.list_parts()
    part = to.build_part("out", part_key(0), None)
    part.write_batch([made(0, 1, 0)])
    assert asked[-1] - asked[0] > 0.5 * QUIET_S  # the last one is after the settle time
    assert sum(at < asked[0] + 0.5 * QUIET_S for at in asked) < 5 * slowness()
    part.close()


def test_a_reading_ends_with_a_fetch_from_after_the_settle_time() -> None:
    """A broker that is slow to answer shows what it had before, or nothing."""
    reading = Reading(TopicPartition("t", 0), 3, 3, quiet_at=10.0)
    reading.move([], 3, 3, 9.0)
    assert reading.settle(9.0) == 10.0
    reading.looked_up(3, 9.5)
    assert not reading.ending, "the end was looked up too early"
    reading.looked_up(3, 10.5)
    for watermark, done in [(None, False), (3, False), (None, False), (3, True)]:
        assert reading.ending
        reading.move([], 3, watermark, 11.0)
        assert reading.settle(11.0) is None
        assert reading.done is done
    reading = Reading(TopicPartition("t", 0), 3, 3, quiet_at=0.0)
    reading.looked_up(3, 1.0)
    reading.move([], 3, 5, 1.0)
    reading.settle(1.0)
    assert not reading.ending, "there is more to read"


def test_a_partition_that_is_begun_again_is_complete_again(
    kafka: str, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a part with a snapshot is built after what was begun without one is complete."""
    monkeypatch.setattr(readback, "_PATIENCE_S", 5.0)
    name = topic(kafka)
    produce(kafka, name, [Record(b"one"), Record(b"two")])
    reader = Readback({"bootstrap_servers": kafka}, name, committed=False)
    assert [one.end for one in reader.read(0, 0)][-1] == 2
    assert not list(reader.read(0, 2))  # at the end at once, of which the broker says nothing new
    reader.close()


class _Failing:
    closed = False

    def begin(self, *_: object, **__: object) -> None:
        raise OSError("the broker is away")

    def close(self) -> None:
        self.closed = True


def test_whoever_waits_is_told_what_failed() -> None:
    reader = _Failing()
    reading = Recalls(lambda: reader, lambda _: made(0, 0).origins)  # type: ignore[arg-type,return-value]
    begun = [reading.begin(partition, Ledger()) for partition in range(3)]
    for recall in begun:
        with pytest.raises((OSError, RuntimeError)):
            recall.wait()
    assert reader.closed
    assert reading.pop(0) is None


def test_an_old_read_back_is_not_relied_upon(monkeypatch: pytest.MonkeyPatch) -> None:
    recall = recalls.Recall(0, Ledger(), 0, 0.0)
    recall.end()
    assert recall.fresh
    monkeypatch.setattr(recalls, "_FRESH_S", 0.0)
    assert not recall.fresh


class _Empty:
    """Reads back partitions that are empty, each in one poll."""

    def __init__(self, goes_on: threading.Event) -> None:
        self.goes_on = goes_on
        self.closed = False
        self.readings: dict[int, Reading] = {}

    def begin(self, partition: int, base: int, **_: object) -> Reading:
        reading = Reading(TopicPartition("t", partition), base, base, 0.0)
        self.readings[partition] = reading
        return reading

    def poll(self) -> Iterator[tuple[Reading, Stretch]]:
        for reading in self.readings.values():
            reading.done = True
        self.readings = {}
        yield from ()

    def close(self) -> None:
        self.closed = True


def _of_empty_partitions() -> tuple[Recalls, _Empty]:
    reader = _Empty(threading.Event())

    def connect() -> _Empty:
        assert reader.goes_on.wait(PATIENCE_S)
        return reader

    return Recalls(connect, lambda _: made(0, 0).origins), reader  # type: ignore[arg-type,return-value]


def test_a_partition_begun_twice_before_the_reader_connects_is_read_once() -> None:
    """As when a part resumes from a snapshot right after the parts were listed."""
    reading, reader = _of_empty_partitions()
    reading.begin(0, Ledger())
    wait_until(lambda: not reading._new)
    listed = reading.begin(1, Ledger())
    resumed = reading.begin(1, Ledger())
    thread = reading._thread
    assert thread is not None
    reader.goes_on.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert reader.closed
    resumed.wait()
    with pytest.raises(RuntimeError, match="from elsewhere"):
        listed.wait()


def test_what_is_begun_while_the_thread_ends_is_read_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, reader = _of_empty_partitions()
    reader.goes_on.set()
    adopt = Recalls._adopt
    late: list[recalls.Recall] = []
    begins = threading.Thread.start

    def adopt_slowly(self: Recalls, under_way: dict[Reading, recalls.Recall]) -> object:
        new = adopt(self, under_way)
        if new is None and not late:
            with monkeypatch.context() as patch:  # the next thread is slow to start
                patch.setattr(threading.Thread, "start", lambda _: None)
                late.append(self.begin(1, Ledger()))
        return new

    monkeypatch.setattr(Recalls, "_adopt", adopt_slowly)
    reading.begin(0, Ledger()).wait()
    wait_until(lambda: reader.closed)
    assert reading._thread is not None
    begins(reading._thread)
    late[0].wait()
