"""The newest records of a topic: on each broker, of every partition, and none twice."""

from __future__ import annotations

import time

import pytest

from ewma_ops.connectors.newest import read_newest
from ewma_ops.errors import TopicError
from tests.helpers.brokers import Record, make_topic, produce


def client(bootstrap: str) -> dict[str, object]:
    return {"bootstrap_servers": bootstrap}


def test_the_newest_of_each_partition(broker: str) -> None:
    topic = make_topic(broker, 3)
    records = [Record(b"%d" % i, b"k", [("n", b"%d" % i)], 1_000 + i, i % 2) for i in range(500)]
    produce(broker, topic, records)
    runs = read_newest(client(broker), topic, 10)
    assert [(run.topic, run.partition, len(run)) for run in runs] == [(topic, 0, 5), (topic, 1, 5)]
    for run in runs:
        expected = records[490 + run.partition :: 2]
        assert run.values == [one.value for one in expected]
        assert run.timestamps_ms.tolist() == [one.timestamp_ms for one in expected]
        assert run.headers == [list(one.headers) for one in expected]
        assert run.offsets.tolist() == list(range(245, 250))


def test_a_partition_that_has_few_leaves_more_to_the_others(embedded: str) -> None:
    topic = make_topic(embedded, 2)
    produce(embedded, topic, [Record(b"x", partition=0)] * 3 + [Record(b"y", partition=1)] * 50)
    runs = read_newest(client(embedded), topic, 20)
    assert [len(run) for run in runs] == [3, 17]
    assert runs[0].headers is None


def test_all_there_are_where_there_are_few(embedded: str) -> None:
    topic = make_topic(embedded, 4)
    assert read_newest(client(embedded), topic, 100) == []
    produce(embedded, topic, [Record(b"x", b"k")])
    assert [list(run.values) for run in read_newest(client(embedded), topic, 100)] == [[b"x"]]


def test_it_takes_no_longer_than_it_may(embedded: str) -> None:
    topic = make_topic(embedded, 1)
    produce(embedded, topic, [Record(b"x" * 1_000)] * 2_000)
    began = time.monotonic()
    read_newest(client(embedded), topic, 2_000, limit_s=0.001)
    assert time.monotonic() - began < 10


def test_a_topic_that_is_not_there(embedded: str) -> None:
    with pytest.raises(TopicError, match="does not exist"):
        read_newest(client(embedded), "no-such-topic", 1)
