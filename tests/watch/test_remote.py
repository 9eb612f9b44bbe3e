"""`ewma top --connect`: the terminal on a page that runs elsewhere, over real HTTP."""

from __future__ import annotations

import gc
import re
import socket
import threading
import time
import weakref
from types import SimpleNamespace

import pytest

from ewma_ops.commands.cli import main
from ewma_ops.errors import ConfigError, EwmaError
from ewma_ops.watch import pages
from ewma_ops.watch.remote import RemoteLooker, page_address, watching_page
from ewma_ops.watch.status import Status
from ewma_ops.watch.view import View
from tests.helpers.patience import PATIENCE_S
from tests.helpers.watched import served
from tests.watch.test_terminal import a_looker

TOKEN = "a token of some length"


def wait_for_state(looker: RemoteLooker, state: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while looker.head()["state"] != state:
        assert time.monotonic() < deadline, looker.head()
        time.sleep(0.02)


def test_it_shows_what_the_page_shows() -> None:
    book, here = a_looker([f"room-{i:02}" for i in range(30)])
    status = Status(is_caught_up=True)
    with served(book=book, status=status) as at:
        address = page_address(f"http://{at[0]}:{at[1]}/")
        with watching_page(address, View(rows=5)) as looker:
            first = looker.table(View(rows=5))
            right = here.table(View(rows=5))
            assert first["ids"] == right["ids"] == [f"room-{i:02}" for i in range(5)]
            for name in ("value", "average", "z", "readings", "spark", "state"):
                assert first[name] == right[name], name
            assert first["seen"] == pytest.approx(right["seen"], abs=5)
            found = looker.table(View(q="*-07", sort="z", desc=True))
            assert (found["ids"], found["series"]) == (["room-07"], 30)
            assert looker.head()["series"] == 30
            status.trouble = "the broker kafka-7.internal is away"
            wait_for_state(looker, "no broker")
            assert "kafka-7" not in looker.head()["why"]


@pytest.mark.slow
def test_a_page_that_goes_away_is_told_and_comes_back() -> None:
    book, _ = a_looker(["a"])
    with served(book=book, status=Status(is_caught_up=True)) as at:
        address = page_address(f"http://{at[0]}:{at[1]}")
        with watching_page(address, View()) as looker:
            looker._address = address._replace(port=1)  # nobody is there
            looker._close()
            wait_for_state(looker, "disconnected")
            assert looker.table(View())["ids"] == ["a"], "what was seen last stays"
            looker._address = address
            wait_for_state(looker, "quiet")


def test_a_token_is_needed_and_never_shown() -> None:
    with served(TOKEN) as at:
        url = f"http://{at[0]}:{at[1]}/"
        with pytest.raises(ConfigError, match="needs its token: set EWMA_WATCH_TOKEN"):
            RemoteLooker(page_address(url)).ask(View())
        with pytest.raises(ConfigError, match="has another token") as wrong:
            RemoteLooker(page_address(f"{url}#token=nope-nope-nope-nope")).ask(View())
        assert "nope" not in str(wrong.value)
        RemoteLooker(page_address(f"{url}#token={TOKEN.replace(' ', '%20')}")).ask(View())
        RemoteLooker(page_address(f"{url}#token=<the token>", TOKEN)).ask(View())


@pytest.mark.parametrize(
    "token", ["of+base64/as/it+is==", "grün und über 16 €", "100%25-and-more-of-it"]
)
def test_any_token_is_sent_as_it_is(token: str) -> None:
    with served(token) as at:
        RemoteLooker(page_address(f"http://{at[0]}:{at[1]}/", token)).ask(View())
        in_address = token.replace("%", "%25")
        RemoteLooker(page_address(f"http://{at[0]}:{at[1]}/#token={in_address}")).ask(View())


def test_a_token_that_no_header_can_hold_is_told_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="has a line break") as refused:
        page_address("http://h:1/", "secret-secret-secret\n")
    assert "secret" not in str(refused.value)


def test_once_prints_what_the_page_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    book, _ = a_looker(["kitchen", "cellar"])
    monkeypatch.setenv("EWMA_WATCH_TOKEN", TOKEN)
    with served(TOKEN, Status(is_caught_up=True), book) as at:
        url = f"http://{at[0]}:{at[1]}"
        assert main(["top", "--connect", url, "--once", "--filter", "kit*"]) == 0
    head, names, line = capsys.readouterr().out.splitlines()
    assert "2 series" in head
    assert names.startswith("series")
    assert line.startswith("kitchen")
    assert main(["top", "--connect", url, "--once"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"ewma: no ewma watch answers at {url}/: ")


def test_what_was_searched_is_kept_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr(pages, "time", SimpleNamespace(monotonic=lambda: now[0]))
    kept = pages.Pages({}, lambda: a_looker(["a"])[1], lambda: 0, lambda: False)
    stays, once = kept._looker("stays"), weakref.ref(kept._looker("once"))
    for _ in range(2):
        assert once() is not None
        now[0] += 0.6 * pages._IDLE_S
        assert kept._looker("stays") is stays
    gc.collect()
    assert once() is None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "needs either CONFIG.toml or --connect URL"),
        (["job.toml", "--connect", "http://h:1"], "needs either CONFIG.toml or --connect URL"),
        (["--connect", "h:8765"], "--connect .h:8765.: give the address that"),
        (["--connect", "http://h:999999"], "give the address that"),
        (["--connect", "http://h/page"], "give the address that"),
        (["--connect", "http://me:secret@h/"], "--connect .h/.: give the address that"),
        (["--connect", "http://h/?token=secret"], "--connect .http://h/.: give the address that"),
        (["--connect", "http://..:80/"], "give the address that"),
        (["--connect", "http://h:1", "--history", "1h"], "--history goes with a file"),
    ],
)
def test_what_cannot_be_connected_to_is_told(
    given: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", "--once", *given]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(why, said), said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"no"),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"now": 1}'),
        (500, b'{"error": 5}'),
        (200, b'{"now": 1, "more": ' + b"[" * 60_000),
        (400, b"[" * 60_000),
        (200, b'{"now": 1, "head": {"rate": "much"}, "table": {}}'),
        (200, b'{"now": 1, "head": {}, "table": {"seen": ["x"]}}'),
        (200, b'{"now": 1, "head": {}, "table": {"ids": ["a"], "seen": [1]}}'),
    ],
)
def test_what_is_no_page_is_told(status: int, body: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            connection.recv(65536)
            head = f"HTTP/1.1 {status} so\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(EwmaError, match=f"is no ewma watch of this version .HTTP {status}"):
            RemoteLooker(page_address(url)).ask(View())
        thread.join(PATIENCE_S)
