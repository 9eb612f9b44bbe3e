from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import errors as kafka_errors
from kafka.net.connection import KafkaConnection
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from ewma_ops.connectors.client import connect_consumer, connect_producer
from ewma_ops.connectors.network import Received, Selector, receiver


def received(receive: Callable[[], Received]) -> tuple[bytes, Exception | None]:
    data, error = receive()
    return bytes(data), error


def test_the_inside_of_kafka_python_is_where_it_was(embedded: str) -> None:
    """When this fails, an upgrade of kafka-python moved what network.py relies on."""
    client = {"bootstrap_servers": embedded}
    consumer, producer = connect_consumer(client, "group"), connect_producer(client)
    used: dict[Any, tuple[str, ...]] = {
        consumer._manager: ("_auth_failures", "_build_transport", "_connect", "cluster"),
        KafkaTCPTransport: ("_sock_recv", "_read_from_sock"),
        KafkaSSLTransport: ("_sock_recv", "_read_from_sock"),
        KafkaConnection: ("init_future", "data_received"),
    }
    missing = [(of, part) for of, parts in used.items() for part in parts if not hasattr(of, part)]
    assert missing == []
    assert (
        type(consumer._net._selector) is type(producer._sender._client._net._selector) is Selector
    )
    consumer.close()
    producer.close(5)


def test_a_socket_that_is_not_registered_is_told_quickly() -> None:
    with Selector() as selector, socket.socket() as one, socket.socket() as other:
        key = selector.register(one, selectors.EVENT_READ)
        assert selector.get_key(one) == key
        with pytest.raises(KeyError, match=str(other.fileno())):
            selector.get_key(other)


def test_all_that_has_come_is_received_at_once_and_the_end_after_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        receive = receiver(SimpleNamespace(_sock=ours), memoryview(bytearray(50_000)))
        sent = bytes(range(256)) * 200
        assert received(receive) == (b"", None)
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        assert received(receive) == (sent[:50_000], None)
        assert received(receive) == (sent[50_000:], None)
        nothing, error = received(receive)
        assert nothing == b""
        assert isinstance(error, kafka_errors.KafkaConnectionError)
        assert "disconnected" in str(error)
        ours.close()
        assert "Bad file descriptor" in str(receive()[1])
