from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.net.connection import KafkaConnection
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from ewma_ops.connectors.client.connect import connect_consumer, connect_producer
from ewma_ops.connectors.client.exchange import poll, send
from ewma_ops.connectors.client.network import Received, Selector, receiver
from ewma_ops.errors import ConfigError
from ewma_ops.wire.records import ProducerRecords
from tests.helpers.patience import slowness
from tests.helpers.shared_kafka import Listeners

MakeTopic = Callable[..., str]


def received(receive: Callable[[], Received]) -> tuple[bytes, Exception | None]:
    data, error = receive()
    return bytes(data), error


def test_the_inside_of_kafka_python_is_where_it_was(embedded: str) -> None:
    """When this fails, an upgrade of kafka-python moved what network.py relies on."""
    client = {"bootstrap_servers": embedded}
    consumer, producer = connect_consumer(client, "group"), connect_producer(client)
    used: dict[Any, tuple[str, ...]] = {
        consumer._manager: ("_auth_failures", "_build_transport", "_connect", "cluster", "run"),
        KafkaTCPTransport: ("_sock_recv", "_read_from_sock"),
        KafkaSSLTransport: ("_sock_recv", "_read_from_sock"),
        KafkaConnection: ("init_future", "close_future", "data_received", "_sasl_authenticate"),
        consumer._manager.cluster: ("brokers", "is_bootstrap"),
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


def test_what_tls_has_opened_is_received_where_there_is_no_more_room() -> None:
    """The kernel does not tell of it: whoever waits for that would wait until the time-out."""
    (ours, theirs), sent = socket.socketpair(), bytes(range(256)) * 64
    with _secured(theirs, server=True) as server, _secured(ours, server=False) as client:
        shaking = threading.Thread(target=server.do_handshake)
        shaking.start()
        client.do_handshake()
        shaking.join()
        server.sendall(sent)  # one record
        client.setblocking(False)
        receive = receiver(SimpleNamespace(_sock=client), memoryview(bytearray(len(sent) - 50)))
        assert received(receive) == (sent, None)
        assert client.pending() == 0
        assert received(receive) == (b"", None)


def _secured(plain: socket.socket, *, server: bool) -> ssl.SSLSocket:
    """Return a socket of TLS that needs no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    return context.wrap_socket(plain, server_side=server, do_handshake_on_connect=False)


def test_over_tls(own_kafka: Listeners, topic: MakeTopic) -> None:
    name = topic(own_kafka.bootstrap_servers)
    client = {
        "bootstrap_servers": own_kafka.tls_bootstrap_servers,
        "security_protocol": "SSL",
        "ssl_cafile": own_kafka.certificate,
    }
    sent = [b"%d" % i * 50 for i in range(20_000)]  # some MB: many times what TLS gives at once
    producer, consumer = connect_producer(client), connect_consumer(client, "group")
    producer.partitions_for(name)
    futures, _ = send(producer, name, 0, ProducerRecords([None] * len(sent), sent))
    for future in futures:
        future.get(30)
    producer.close(5)
    consumer.assign([TopicPartition(name, 0)])
    consumer.seek_to_beginning()
    came: list[bytes | None] = []
    while len(came) < len(sent):
        runs = [run for each in poll(consumer, 10_000).values() for run in each]
        assert runs, f"{len(came)} of {len(sent)}"
        came += [value for run in runs for value in run.values]
    consumer.close()
    assert came == sent


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_that_is_not_trusted_is_told_at_once(own_kafka: Listeners, host: str) -> None:
    address = own_kafka.tls_bootstrap_servers.replace("127.0.0.1", host)
    client = {"bootstrap_servers": address, "security_protocol": "SSL"}
    if host == "localhost":  # trusted, but made out to the number
        client["ssl_cafile"] = own_kafka.certificate
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"certificate .* at {address} .*kafka.ssl_cafile"):
        connect_consumer(client, "group")
    assert time.monotonic() - began < 5 * slowness()
