"""What a consumer that is polled often asks of whom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.future import Future

from ewma_ops.connectors.client import exchange, sockets
from ewma_ops.connectors.client.connect import connect_consumer
from tests.helpers.brokers import Record, produce
from tests.helpers.patience import PATIENCE_S


@pytest.mark.parametrize("nearby", [True, False])
def test_a_replica_that_the_leader_names_is_asked_at_once(
    kafka: str, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch, nearby: bool
) -> None:
    """The leader would answer with nothing but the name of that replica, again and again."""
    name = topic(kafka)
    tp = TopicPartition(name, 0)
    produce(kafka, name, [Record(b"1")])
    consumer = connect_consumer({"bootstrap_servers": kafka, "client_rack": "a"}, "group")
    consumer.assign([tp])
    consumer.seek(tp, 0)
    fetcher = consumer._fetcher
    polling = exchange._often[consumer]
    until = time.monotonic() + PATIENCE_S
    while not exchange.poll(consumer, 100) or polling._anew:
        assert time.monotonic() < until
        produce(kafka, name, [Record(b"2")])
    while fetcher._nodes_with_pending_fetch_requests:
        consumer._net._poll_once(0.01)
    leader = consumer._cluster.leader_for_partition(tp)
    fetcher.fetched_records()
    polling._drain()

    asked: list[int] = []

    def send(_: Any, node_id: int) -> Any:
        asked.append(node_id)
        return Future()

    monkeypatch.setattr(fetcher._manager, "send", send)
    monkeypatch.setattr(sockets, "send", lambda connection, _: send(None, connection.node_id))
    if nearby:
        monkeypatch.setattr(consumer._cluster, "is_replica_node", lambda *_: True)
        state = consumer._subscription.assignment[tp]
        state.update_preferred_read_replica(leader + 1, time.monotonic() + 60)
    polling._fetch()
    assert asked == [leader + nearby]
    monkeypatch.undo()
    consumer.close()


def test_a_poll_is_short_only_where_nothing_has_to_be_connected_first(
    embedded: str, topic: Callable[..., str]
) -> None:
    tp = TopicPartition(topic(embedded), 0)
    consumer = connect_consumer({"bootstrap_servers": embedded}, "group")
    consumer.assign([tp])
    consumer.seek(tp, 0)
    _poll_until_short(consumer)
    leader = consumer._cluster.leader_for_partition(tp)
    consumer._fetcher._manager._conns[leader].close()
    assert not exchange.answers_shortly(consumer)
    _poll_until_short(consumer)
    consumer.close()


def _poll_until_short(consumer: KafkaConsumer) -> None:
    until = time.monotonic() + PATIENCE_S
    while not exchange.answers_shortly(consumer):
        assert time.monotonic() < until
        exchange.poll(consumer, 10)
