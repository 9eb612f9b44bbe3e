"""A job as the page of an `ewma watch` elsewhere knows it: what `looker.Looker` answers, by HTTP.

Knows HTTP; must not know terminals, nor how the page knows.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec.structs import asdict, astuple

from ewma_ops.errors import ConfigError, EwmaError
from ewma_ops.job.showing import shown_text
from ewma_ops.watch.view import View

__all__ = ["PageAddress", "PageError", "RemoteLooker", "page_address", "watching_page"]

_BEAT_S = 0.25
_ANSWER_S = 5.0
_NEW_VIEW_S = 0.5
"""How long a table that was never asked for is waited for before what there was is shown."""
_MOST_BYTES = 8 << 20
_JOIN_S = 0.5
_UNAUTHORIZED, _REFUSED = 401, 400
_TOKEN = re.compile(r"(?:^|&)token=([^&]*)")


class _Head(msgspec.Struct):
    """How a job is, as `looker.Looker.head` has it."""

    state: str = ""
    why: str = ""
    rate: float = 0.0
    lag: int | None = None
    exact: bool = False
    event_lag: float | None = None
    letters: int = 0
    events: int = 0
    series: int = 0
    snapshot: float | None = None
    restarts: int | None = None
    workers: int | None = None


_Numbers = list[float | None]
_State = Annotated[list[str], msgspec.Meta(min_length=2, max_length=2)]


class _Table(msgspec.Struct):
    """What a table shows, as `looker.Looker.table` has it: lists of one length."""

    series: int = 0
    matched: int = 0
    first: int = 0
    ids: list[str] = []
    value: _Numbers = []
    average: _Numbers = []
    z: _Numbers = []
    change: _Numbers = []
    trend: _Numbers | None = None
    trend_unit: str = ""
    forecast: _Numbers | None = None
    horizon: str = ""
    time: _Numbers = []
    seen: list[float] = []
    readings: list[int] = []
    spark: list[list[int]] = []
    state: list[_State] = []

    def __post_init__(self) -> None:
        rows = {len(one) for one in astuple(self) if isinstance(one, list)}
        if len(rows) > 1:
            raise ValueError("columns of different lengths")


class _Told(msgspec.Struct):
    """What a page answers: when, by its own clock, how the job is, and what the table shows."""

    now: float
    head: _Head
    table: _Table


class PageError(EwmaError):
    """The page of an `ewma watch` cannot be reached, or does not answer as one does."""

    retry = True


class PageAddress(NamedTuple):
    """Where a page is served, and the token that it asks for."""

    is_https: bool
    host: str
    port: int
    token: str | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_https else 'http'}://{host}:{self.port}/"


def page_address(url: str, token: str | None = None) -> PageAddress:
    """Return the address that a URL names, as `ewma watch` prints it, with or without its token.

    Raises
    ------
    ConfigError
        If it is no address of a page.

    Examples
    --------
    >>> str(page_address("http://plant-7:8765")), page_address("https://w.example/#token=x").port
    ('http://plant-7:8765/', 443)
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:
        parts, port = urlsplit(""), None
    is_page = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
    if not is_page or parts.path not in ("", "/") or parts.query:
        raise ConfigError(
            f"--connect {_shown(url)}: give the address that `ewma watch` prints, such as "
            "http://plant-7:8765/"
        )
    is_https = parts.scheme == "https"
    given = _TOKEN.search(parts.fragment)  # as the page itself reads it: a plus is a plus
    if given is not None and not given[1].startswith("<"):  # as it is printed, it stands for one
        token = unquote(given[1])
    if token is not None and not token.isprintable():
        raise ConfigError(
            "the token of --connect has a line break or another control character: correct "
            "EWMA_WATCH_TOKEN, or what follows #token="
        )
    port = (443 if is_https else 80) if port is None else port
    return PageAddress(is_https, str(parts.hostname), port, token)


def _shown(url: str) -> str:
    """Return a URL without what may be a token or a password in it."""
    return repr(re.split("[?#]", url, maxsplit=1)[0].rpartition("@")[2])


class RemoteLooker:
    """Ask a page what is seen, four times a second, in a thread.

    Parameters
    ----------
    address
        Of the page.
    """

    def __init__(self, address: PageAddress) -> None:
        self._address = address
        self._tab = secrets.token_hex(8)
        self._connection: http.client.HTTPConnection | None = None
        self._asked = View()
        self._answered: View | None = None
        self._head, self._table = asdict(_Head()), asdict(_Table())
        self._why_lost = ""
        self._changed = threading.Condition()
        self._is_stopping = False

    def head(self) -> dict[str, Any]:
        """Return how the job is, or that the page does not answer."""
        with self._changed:
            if self._why_lost:
                return {**self._head, "state": "disconnected", "why": self._why_lost}
            return self._head

    def table(self, view: View) -> dict[str, Any]:
        """Return what the table shows; of a page that does not answer what it showed last."""
        with self._changed:
            if view != self._asked:
                self._asked = view
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._answered == view, _NEW_VIEW_S)
            return self._table

    def ask(self, view: View) -> None:
        """Ask for a view now.

        Raises
        ------
        PageError, ConfigError
            If nobody answers, or it is no page of `ewma watch`, or it asks for a token.
        """
        answer = self._answer(view)
        ahead_s = time.time() - answer.now
        head, table = asdict(answer.head), asdict(answer.table)
        table["seen"] = [seen + ahead_s for seen in table["seen"]]
        with self._changed:
            self._head, self._table, self._answered = head, table, view
            self._why_lost = ""
            self._changed.notify_all()

    def run(self) -> None:
        """Ask until stopped, whatever goes wrong."""
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due, _BEAT_S)
                if self._is_stopping:
                    break
                asked = self._asked
            try:
                self.ask(asked)
            except EwmaError as error:
                with self._changed:
                    self._why_lost, self._answered = str(error), asked
                    self._changed.notify_all()
        self._close()

    def _is_due(self) -> bool:
        return self._is_stopping or self._asked != self._answered

    def stop(self) -> None:
        """Have `run` return."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def _answer(self, view: View) -> _Told:
        headers = {"content-type": b"application/json"}
        if self._address.token is not None:
            headers["authorization"] = f"Bearer {self._address.token}".encode()
        try:
            connection = self._connected()
            body = msgspec.json.encode(view)
            connection.request("POST", f"/look?tab={self._tab}", body, headers)
            answer = connection.getresponse()
            content = answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self._close()
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise PageError(f"no ewma watch answers at {self._address}: {why}") from None
        if answer.status == 200:
            with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
                return msgspec.json.decode(content, type=_Told)
        self._close()
        raise self._refused(answer.status, content)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            of = self._address
            kind = http.client.HTTPSConnection if of.is_https else http.client.HTTPConnection
            self._connection = kind(of.host, of.port, timeout=_ANSWER_S)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _refused(self, status: int, content: bytes) -> EwmaError:
        at = self._address
        if status == _UNAUTHORIZED:
            given = "needs its token" if at.token is None else "has another token"
            return ConfigError(
                f"{at} {given}: set EWMA_WATCH_TOKEN, or give the address with #token=..."
            )
        why = ""
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            why = str(json.loads(content).get("error") or "")
        if status == _REFUSED and why:
            return ConfigError(f"{at} refuses: {shown_text(why, 200)}")
        return PageError(f"what answers at {at} is no ewma watch of this version (HTTP {status})")


@contextlib.contextmanager
def watching_page(address: PageAddress, view: View) -> Iterator[RemoteLooker]:
    """Look at a page for the length of a ``with`` block; errors of the first answer are raised."""
    looker = RemoteLooker(address)
    looker.ask(view)
    thread = threading.Thread(target=looker.run, daemon=True)
    thread.start()
    try:
        yield looker
    finally:
        looker.stop()
        thread.join(_JOIN_S)
