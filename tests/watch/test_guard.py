"""Who may see the page: hosts, origins and tokens, asked as a browser or an attacker would."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.settings.bind import Bind
from ewma_ops.watch.guard import refuse_open
from ewma_ops.watch.server import serve
from ewma_ops.watch.status import Status, health
from tests.helpers.patience import PATIENCE_S
from tests.helpers.watched import served, settings

TOKEN = "a token of some length"


def ask(
    at: tuple[str, int], path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*at, timeout=PATIENCE_S)
    try:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, path, body, {"Host": f"{at[0]}:{at[1]}", **named})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_names_origins_and_headers() -> None:
    with served() as at:
        status, headers, page = ask(at, "/")
        assert status == 200
        assert b"<title>ewma watch</title>" in page
        policy = headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
            assert ask(at, "/about", Host=host)[0] == 400
        assert ask(at, "/about", Host=f"watch.example:{at[1]}")[0] == 200
        assert ask(at, "/view?tab=x", "POST", b"{}", Origin="http://evil.example")[0] == 403
        own = f"http://{at[0]}:{at[1]}"
        assert ask(at, "/view?tab=x", "POST", b"{}", Origin=own)[0] == 404  # no such tab
        assert ask(at, "/view?tab=x", "POST", b"[]")[0] == 400
        assert ask(at, "/view?tab=x", "POST", b'{"rows": 1e9}')[0] == 400
        assert ask(at, "/view?tab=x", "POST", b" " * (2 << 20))[0] == 413
        assert ask(at, "/static/../guard.py")[0] == 404
        assert ask(at, "/static/%2e%2e/guard.py")[0] == 404
        assert ask(at, "/about", "POST", b"")[0] == 405


def test_nothing_of_the_connection_reaches_the_page() -> None:
    status = Status(trouble="no broker at kafka-7.internal:9092")
    assert health(status, 0.0, show_brokers=True).sentence == status.trouble
    with served(status=status) as at:
        asked = http.client.HTTPConnection(*at, timeout=PATIENCE_S)
        asked.request("GET", "/stream?tab=a")
        answer = asked.getresponse()
        frame = next(line for line in iter(answer.readline, b"") if line.startswith(b"data"))
        asked.close()
        told = frame + ask(at, "/about")[2]
        assert b"no broker" in told
        assert b"kafka-7" not in told
        assert b"127.0.0.1" not in told


def test_a_measure_is_a_number_of_few_digits() -> None:
    with served() as at:
        for wrong in ("x", "-1", "9" * 5_000):
            status, _, body = ask(at, f"/readings.csv?id=a&measure={wrong}")
            assert (status, b"measure is not a number" in body) == (400, True)


def test_a_token_is_asked_for_and_turned_into_a_cookie() -> None:
    with served(TOKEN) as at:
        assert ask(at, "/")[0] == 200  # it holds nothing
        for path in ("/about", "/stream", "/series.csv", "/readings.csv?id=a"):
            assert ask(at, path)[0] == 401
            assert ask(at, path, Authorization="Bearer wrong")[0] == 401
            assert ask(at, path, Cookie="ewma_watch=wrong")[0] == 401
        assert ask(at, "/about", Authorization=f"Bearer {TOKEN}")[0] == 200
        for wrong in (b"", b"[]", b'{"token": 5}', b'{"token": "wrong"}'):
            assert ask(at, "/token", "POST", wrong)[0] == 403
        body = json.dumps({"token": TOKEN}).encode()
        status, headers, _ = ask(at, "/token", "POST", body)
        cookie = headers["set-cookie"]
        assert status == 200
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert ask(at, "/about", Cookie=cookie.split(";")[0])[0] == 200


def test_other_machines_need_a_token() -> None:
    refuse_open(Bind("127.0.0.1", 1), None)
    refuse_open(Bind("::1", 1), None)
    refuse_open(Bind("0.0.0.0", 1), TOKEN)
    with pytest.raises(ConfigError, match="there is no token"):
        refuse_open(Bind("0.0.0.0", 1), None)
    with pytest.raises(ConfigError, match="there is no token"):
        serve(settings(), Path("job.toml"), print, bind=Bind("0.0.0.0", 0))


def test_an_address_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="give another address with --bind"):
            serve(settings(), Path("job.toml"), print, bind=Bind("127.0.0.1", port))


@pytest.mark.parametrize(
    ("watch", "why"),
    [
        (
            {"bind": "8765"},
            'watch.bind = .8765. must be a host and a port, such as "127.0.0.1:8765"',
        ),
        ({"token": "short"}, "watch.token must be at least 16 characters"),
        ({"hosts": "x"}, "watch.hosts = 'x' must be a list of host names"),
        ({"history": "long"}, "watch.history = 'long' must be a duration"),
        ({"historyy": "1h"}, "watch.historyy is not known; did you mean history"),
    ],
)
def test_wrong_settings_are_told(watch: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        settings(**watch)


def test_the_token_is_never_shown() -> None:
    made = settings(token=TOKEN)
    assert TOKEN not in repr(made)
    assert made.watch.token == TOKEN


def test_a_stalled_browser_holds_nobody_up() -> None:
    with served() as at, socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(at)
        stalled.sendall(b"GET /stream?tab=slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        reader = http.client.HTTPConnection(*at, timeout=PATIENCE_S)
        reader.request("GET", "/stream?tab=quick")
        answer = reader.getresponse()
        frame = next(line for line in iter(answer.readline, b"") if line.startswith(b"data"))
        reader.close()
        assert b'"head"' in frame
