"""A real HTTP server that takes webhooks, and can be made to refuse, to fail and to be away."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

__all__ = ["Hook", "Taken", "hook"]


class Taken(NamedTuple):
    """A request that came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Hook:
    """What came in, and how it is answered: ``answer`` gives a status, and may be replaced."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    answer: Callable[[Taken], int] = lambda _: 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def keys(self) -> list[str]:
        """Return what tells the transitions apart that were taken with 200."""
        return [one.headers["Idempotency-Key"] for one in self.taken if self.answer(one) == 200]


@contextlib.contextmanager
def hook(port: int = 0, into: Hook | None = None) -> Iterator[Hook]:
    """Run a server during the block; on ``port``, and with what ``into`` has, if they are given."""
    state = Hook() if into is None else into

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken = Taken(self.path, dict(self.headers), body)
            state.taken.append(taken)
            self.send_response(state.answer(taken))
            for name, text in state.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
