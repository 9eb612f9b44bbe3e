"""Notices reach a real server in order and once, whatever it answers, and failures are said."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager

import pytest

from ewma_ops.notify.delivery import Delivery
from ewma_ops.notify.ongoing import Notice
from ewma_ops.notify.webhook import Webhook
from ewma_ops.secrets.masking import Secret
from tests.helpers.hooks import Hook, hook
from tests.helpers.jobs import wait_until
from tests.notify.alarms import transition

SECRET = "a-key-of-nobody"


@pytest.fixture
def server() -> Iterator[Hook]:
    with hook() as running:
        yield running


class Told:
    """What a delivery has said and done."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done: list[Hashable] = []
        self._lock = threading.Lock()

    def note(self, records: Iterable[Hashable]) -> None:
        with self._lock:
            self.done += records


@contextmanager
def delivering(url: str, told: Told, secret: str | None = None) -> Iterator[Delivery]:
    delivery = Delivery(Webhook(url, secret, 5), 60, told.note, told.lines.append)
    delivery.start()
    try:
        yield delivery
    finally:
        delivery.stop()
        delivery.join(10)
        assert not delivery.is_alive()


def notices(n: int) -> list[Notice]:
    return [Notice(transition(offset=i), ((0, i),)) for i in range(n)]


def keys(n: int) -> list[str]:
    return [f"level-0-{i}-9f3a51c2/raised" for i in range(n)]


def test_a_signed_record_arrives_as_it_stands_on_the_topic(server: Hook) -> None:
    told = Told()
    made = transition("küche/°C")
    with delivering(server.url, told, SECRET):
        pass
    with delivering(server.url, told, SECRET) as delivery:
        delivery.put([Notice(made, ((0, 5), (0, 6)))])
        wait_until(lambda: told.done == [(0, 5), (0, 6)])
    (taken,) = server.taken
    assert taken.body == made.document
    assert taken.document["series_id"] == "küche/°C"
    digest = hmac.new(SECRET.encode(), taken.body, hashlib.sha256).hexdigest()
    assert taken.headers["X-Ewma-Signature"] == f"sha256={digest}"
    assert taken.headers["Idempotency-Key"] == made.key
    assert taken.headers["Content-Type"] == "application/json"


def test_a_server_that_fails_is_tried_again_in_order(server: Hook) -> None:
    told, calls = Told(), iter([503, 200, 429, 500, 200])
    server.answer = lambda _: next(calls, 200)
    with delivering(server.url, told) as delivery:
        delivery.put(notices(4))
        wait_until(lambda: len(told.done) == 4)
        assert (delivery.failed, delivery.refused, delivery.sent["raised"]) == (3, 0, 4)
    tried = [int(one.headers["Idempotency-Key"].split("-")[2]) for one in server.taken]
    assert tried == [0, 0, 1, 1, 1, 2, 3]
    assert told.lines[0] == "webhook answered 503; trying again; 4 wait"
    assert told.lines[1].startswith("webhook takes alarms again, after ")


def test_a_record_that_is_refused_holds_nothing_back(server: Hook) -> None:
    told = Told()
    server.answer = lambda taken: 422 if b'"offset": 1' in taken.body else 200
    with delivering(server.url, told) as delivery:
        delivery.put(notices(3))
        wait_until(lambda: len(told.done) == 3)
        assert (delivery.refused, delivery.sent["raised"]) == (1, 2)
    assert [one.headers["Idempotency-Key"] for one in server.taken] == keys(3)
    assert told.lines == [
        "webhook refuses level-0-1-9f3a51c2/raised: answered 422; it is not sent again"
    ]


def test_a_server_that_is_away_gets_all_of_it_later() -> None:
    told = Told()
    with hook() as state:
        port = state.port
    with delivering(f"http://127.0.0.1:{port}/hook", told) as delivery:
        delivery.put(notices(3))
        wait_until(lambda: delivery.failed >= 2)
        assert told.done == []
        with hook(port) as server:
            wait_until(lambda: len(told.done) == 3)
            assert server.keys() == keys(3)
    assert "cannot be reached (" in told.lines[0]
    assert len(told.lines) == 2, "one line a minute while it is away"


@pytest.mark.parametrize("answer", [301, 401, 403, 404])
def test_answers_that_mean_another_address_or_user_lose_nothing(server: Hook, answer: int) -> None:
    told = Told()
    server.answer = lambda _: answer
    with delivering(server.url, told) as delivery:
        delivery.put(notices(1))
        wait_until(lambda: delivery.failed >= 1)
        assert told.done == []
        server.answer = lambda _: 200
        wait_until(lambda: told.done == [(0, 0)])
    assert f"answered {answer}" in told.lines[0]


def test_a_server_may_say_when_to_come_again(server: Hook) -> None:
    told = Told()
    server.headers["Retry-After"] = "3600"
    server.answer = lambda _: 429
    with delivering(server.url, told) as delivery:
        delivery.put(notices(1))
        wait_until(lambda: delivery.failed == 1)
    assert len(server.taken) == 1


def test_neither_a_secret_nor_an_address_is_said(server: Hook) -> None:
    from ewma_ops.secrets.masking import masked

    told = Told()
    url = Secret(f"{server.url}/T0K3N-in-the-path", "${WEBHOOK_URL}")
    server.answer = lambda taken: 500 if SECRET in str(taken.headers) or taken.path else 200
    with delivering(url, told, Secret(SECRET, "${WEBHOOK_SECRET}")) as delivery:
        delivery.put(notices(1))
        wait_until(lambda: bool(told.lines))
    said = masked(" ".join(told.lines))
    assert "T0K3N" not in said
    assert SECRET not in said
    assert server.taken[0].path == "/hook/T0K3N-in-the-path"


def test_a_fault_of_ones_own_is_said_and_loses_nothing(server: Hook) -> None:
    class Faulty(Webhook):
        faults = 1

        def send(self, transitions: object) -> dict[str, str]:
            if self.faults:
                self.faults -= 1
                raise ZeroDivisionError("a fault")
            return super().send(transitions)  # type: ignore[arg-type]

    told = Told()
    delivery = Delivery(Faulty(server.url, None, 5), 60, told.note, told.lines.append)
    delivery.start()
    delivery.put(notices(1))
    wait_until(lambda: told.done == [(0, 0)])
    delivery.stop()
    delivery.join(10)
    assert "a fault in the program" in told.lines[0]
