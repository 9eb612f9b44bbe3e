"""Access to the page: the host name, the origin of requests, and the token.

Knows HTTP headers; must not know what is served.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse

from ewma_ops.errors import ConfigError
from ewma_ops.settings.bind import Bind

__all__ = ["COOKIE", "HEADERS", "Guard", "refuse_open"]

COOKIE = "ewma_watch"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every response."""

_OPEN = ("/", "/token", "/favicon.ico")
_OPEN_BELOW = "/static/"

_Scope = dict[str, Any]
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


def refuse_open(bind: Bind, token: str | None) -> None:
    """Refuse to serve other machines without a token.

    Raises
    ------
    ConfigError
        Saying what to set.
    """
    if token is None and not bind.is_loopback:
        raise ConfigError(
            f"watch.bind: {bind} can be reached from other machines, and there is no token: set "
            'watch.token = "${EWMA_WATCH_TOKEN}", or bind to 127.0.0.1'
        )


class Guard:
    """An ASGI application that lets through what may pass to another, and adds `HEADERS`.

    Parameters
    ----------
    app
        What is guarded.
    bind
        What it is bound to.
    hosts
        Further names by which it may be called.
    token
        The required token; None for none.
    """

    def __init__(self, app: _App, bind: Bind, hosts: Iterable[str], token: str | None) -> None:
        self._app, self._token = app, token
        known = {"localhost", "127.0.0.1", "::1", bind.host, *hosts}
        if not bind.is_loopback:
            known.add(socket.gethostname())
        self._hosts = {name.lower() for name in known}

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            status, why = refusal
            await JSONResponse({"error": why}, status)(scope, receive, send_guarded)

    def _refusal(self, scope: _Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        name = _name_of(headers.get("host", ""))
        if name not in self._hosts:
            return 400, "called by a host name that is not allowed: add it to watch.hosts"
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is not None and origin.partition("://")[2] != headers.get("host"):
                return 403, "the request comes from another page"
        path: str = scope["path"]
        if path in _OPEN or path.startswith(_OPEN_BELOW) or self.knows(headers):
            return None
        return 401, "open the address with #token=… that `ewma watch` printed"

    def knows(self, headers: Headers) -> bool:
        """Return whether a request brings the token, or the cookie that stands for it."""
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        in_utf8 = given.encode("latin-1").decode("utf-8", "replace")  # what a header's bytes say
        if scheme.lower() == "bearer" and self.is_token(in_utf8):
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(cookie.encode(), self.cookie.encode())

    def is_token(self, given: str) -> bool:
        """Return whether a text is the token."""
        return self._token is not None and hmac.compare_digest(
            given.encode(errors="replace"), self._token.encode()
        )

    @property
    def cookie(self) -> str:
        """What the cookie holds: not the token itself."""
        return hashlib.sha256(f"ewma watch {self._token}".encode()).hexdigest()


def _name_of(host: str) -> str:
    """Return the name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
