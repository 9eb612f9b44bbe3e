"""Which thread sends what little is written, and that nothing is lost between the two."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from ewma_ops.connectors.client import exchange, sockets
from ewma_ops.connectors.client.connect import close_producer, connect_producer
from ewma_ops.wire.records import ProducerRecords
from tests.helpers.brokers import read_all
from tests.helpers.patience import PATIENCE_S
from tests.helpers.shared_kafka import Listeners

MakeTopic = Callable[..., str]


@pytest.fixture
def producer(embedded: str, name: str) -> Iterator[KafkaProducer]:
    made = connect_producer({"bootstrap_servers": embedded})
    made.partitions_for(name)
    yield made
    close_producer(made, PATIENCE_S)


@pytest.fixture
def name(embedded: str, topic: MakeTopic) -> str:
    return topic(embedded)


def write(producer: KafkaProducer, name: str, number: int) -> Any:
    records = ProducerRecords([b"k"], [b"%d" % number])
    futures, _ = exchange.send(producer, name, 0, records, wait_for_wake=True)
    return futures[-1]


def lend(producer: KafkaProducer, name: str) -> int:
    """Write until the thread that writes serves; return how many records that took."""
    sending, number = exchange._sendings[producer], 0
    until = time.monotonic() + PATIENCE_S
    while not sending._lent:
        assert time.monotonic() < until
        write(producer, name, number)
        exchange.serve(producer)
        number += 1
        time.sleep(0.02)
    return number


def numbers_in(embedded: str, name: str, n: int) -> list[int]:
    return [int(record.value) for record in read_all(embedded, name, n)]


def test_who_writes_little_sends_it_and_takes_the_answer(
    producer: KafkaProducer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend(producer, name)
    threads: list[int] = []
    send = sockets.send

    def noted(*given: Any) -> Any:
        threads.append(threading.get_ident())
        return send(*given)

    monkeypatch.setattr(sockets, "send", noted)
    monkeypatch.setattr(exchange._sendings[producer], "_called_back", _Never())
    future = write(producer, name, -1)
    until = time.monotonic() + PATIENCE_S
    while exchange.serve(producer):
        assert time.monotonic() < until
    assert future.succeeded()
    assert threads == [threading.get_ident()]


def test_what_is_as_usual_takes_no_round_of_the_sender(
    producer: KafkaProducer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = lend(producer, name)
    sending = exchange._sendings[producer]
    monkeypatch.setattr(sending, "_called_back", _Never())  # nor does its own thread make one
    rounds: list[None] = []
    run_once = sending._run_once

    def noted() -> None:
        rounds.append(None)
        run_once()

    monkeypatch.setattr(sending, "_run_once", noted)
    futures = [write(producer, name, number), write(producer, name, number + 1)]
    until = time.monotonic() + PATIENCE_S
    while exchange.serve(producer):
        assert time.monotonic() < until
    assert [future.value.offset for future in futures] == [number, number + 1]
    assert not rounds
    assert not any(producer._sender._in_flight_batches.values())
    assert not producer._accumulator.has_incomplete


@pytest.mark.parametrize("unusual", ["tried-again", "two-batches", "muted", "new-id", "new-topic"])
def test_what_is_not_as_usual_is_the_senders(
    producer: KafkaProducer, name: str, monkeypatch: pytest.MonkeyPatch, unusual: str
) -> None:
    number = lend(producer, name)
    sending, accumulator = exchange._sendings[producer], producer._accumulator
    future = write(producer, name, number)
    with sending._serving:
        assert sending._due() is not None
        (queue,) = [queue for queue in accumulator._batches.values() if queue]
        with monkeypatch.context() as changed:
            match unusual:
                case "tried-again":
                    changed.setattr(queue[0], "attempts", 1)
                case "two-batches":
                    queue.append(queue[0])
                case "muted":
                    changed.setattr(accumulator, "muted", {queue[0].topic_partition})
                case "new-id":
                    changed.setattr(producer._transaction_manager, "_pending_requests", [()])
                case "new-topic":
                    changed.setattr(producer._sender, "_topics_to_add", {name})
            assert sending._due() is None
            if unusual == "two-batches":
                queue.pop()
    exchange.serve(producer)
    assert future.get(PATIENCE_S).offset == number


def test_what_is_not_acknowledged_in_time_fails(
    embedded: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = connect_producer({"bootstrap_servers": embedded})
    producer.partitions_for(name)
    lend(producer, name)
    monkeypatch.setattr(sockets, "_receive", lambda _: None)
    future = write(producer, name, -1)
    exchange.serve(producer)
    assert producer._sender._in_flight_batches
    monkeypatch.setitem(producer._accumulator.config, "delivery_timeout_ms", 10)
    with pytest.raises(KafkaTimeoutError, match="passed since batch creation"):
        future.get(PATIENCE_S)
    close_producer(producer, PATIENCE_S, abandon=True)


class _Never:
    """In place of an event: nobody calls the sender's thread back."""

    def wait(self, timeout: float) -> bool:
        time.sleep(timeout)
        return True

    def clear(self) -> None:
        time.sleep(0.1)


def test_who_waits_for_an_answer_calls_the_thread_back(producer: KafkaProducer, name: str) -> None:
    lend(producer, name)
    future = write(producer, name, -1)
    exchange.wake(producer)
    assert future.get(PATIENCE_S).offset > 0
    assert not exchange._sendings[producer]._lent


def test_answers_that_nobody_takes_are_taken_within_a_second(
    producer: KafkaProducer, name: str
) -> None:
    lend(producer, name)
    future = write(producer, name, -1)
    exchange.serve(producer)
    assert future.get(PATIENCE_S).offset > 0


def test_closing_waits_for_what_was_written(embedded: str, name: str) -> None:
    producer = connect_producer({"bootstrap_servers": embedded})
    producer.partitions_for(name)
    written = lend(producer, name)
    write(producer, name, -1)
    began = time.monotonic()
    close_producer(producer, PATIENCE_S)
    assert numbers_in(embedded, name, written + 1) == [*range(written), -1]
    assert time.monotonic() - began < PATIENCE_S


def test_nothing_is_lost_or_doubled_between_the_threads(
    embedded: str, producer: KafkaProducer, name: str
) -> None:
    chance, futures = random.Random(5), []
    for number in range(600):
        futures.append(write(producer, name, number))
        match chance.randrange(6):
            case 0:
                exchange.wake(producer)
            case 1:
                exchange.wake(producer)
                futures[-1].get(PATIENCE_S)
            case 2:
                time.sleep(chance.random() / 200)
                exchange.serve(producer)
            case _:
                exchange.serve(producer)
    exchange.wake(producer)
    assert [future.get(PATIENCE_S).offset for future in futures] == list(range(600))
    assert numbers_in(embedded, name, 600) == list(range(600))


def test_what_goes_by_tls_is_written_at_once(own_kafka: Listeners, topic: MakeTopic) -> None:
    """TLS writes in a second step of the loop: its own thread would take that a second later."""
    name = topic(own_kafka.bootstrap_servers)
    producer = connect_producer(
        {
            "bootstrap_servers": own_kafka.tls_bootstrap_servers,
            "security_protocol": "SSL",
            "ssl_cafile": own_kafka.certificate,
        }
    )
    producer.partitions_for(name)
    lend(producer, name)
    future = write(producer, name, -1)
    exchange.serve(producer)
    assert not any(each.transport._write_buffer for each in connections(producer))
    assert future.get(PATIENCE_S).offset > 0
    close_producer(producer, PATIENCE_S)


def test_its_own_thread_authenticates_again_and_sends_what_waits_for_that(
    kafka_sasl: tuple[str, str, str], kafka: str, topic: MakeTopic
) -> None:
    """Each of the steps would take a second otherwise, and so would what is written meanwhile."""
    servers, user, password = kafka_sasl
    name = topic(kafka)
    producer = connect_producer(
        {
            "bootstrap_servers": servers,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": user,
            "sasl_plain_password": password,
        }
    )
    producer.partitions_for(name)
    lend(producer, name)
    sending, (leader,) = exchange._sendings[producer], connections(producer)
    time.sleep(1.1)  # a broker takes none that comes sooner
    with sending._serving:
        leader.net.call_soon(leader._reauth._run)
        sockets.serve(leader.net, 0.0)
    assert leader._reauth.is_reauthenticating
    future = write(producer, name, -1)
    while exchange.serve(producer):
        assert not future.is_done
    assert future.is_done or not sending._lent
    assert future.get(PATIENCE_S).offset > 0
    assert not leader._reauth.is_reauthenticating
    close_producer(producer, PATIENCE_S)


def connections(producer: KafkaProducer) -> list[Any]:
    every = producer._sender._client._manager._conns.values()
    return [each for each in every if each.connected]
