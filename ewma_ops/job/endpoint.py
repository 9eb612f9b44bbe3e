"""The HTTP endpoint of a job, in its launcher: ``/metrics``, ``/healthz`` and ``/readyz``.

Knows HTTP and the text format of Prometheus; must not know what is measured. It is read-only, and
knows no series and no secret; the address that it listens on decides who may connect.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Protocol

from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ewma_ops.errors import ConfigError
from ewma_ops.job.measurements import Family, Taken
from ewma_ops.settings.bind import Bind

__all__ = ["Measured", "exposed", "serving"]

_log = logging.getLogger(__name__)

_CLIENT_S = 10.0
"""How long a client may take to send a request."""


class _Reply(NamedTuple):
    status: int
    kind: str
    body: bytes


class Measured(Protocol):
    """A source of metrics: the `Measurements` of a job, or those of another process."""

    def take(self) -> Taken:
        """Return the current measurements."""


def exposed(families: list[Family]) -> bytes:
    """Return families in the text format of Prometheus.

    Examples
    --------
    >>> from ewma_ops.job.measurements import Sample
    >>> up = Family("up", "gauge", "Up.", [Sample("up", {"worker": "0"}, 1.0)])
    >>> print(exposed([up]).decode(), end="")
    # HELP up Up.
    # TYPE up gauge
    up{worker="0"} 1.0
    """
    return generate_latest(_Collected(families))


class _Collected:
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.documentation, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric


@contextlib.contextmanager
def serving(bind: Bind, measurements: Measured, key: str = "metrics.bind") -> Iterator[str]:
    """Serve for the length of a ``with`` block; yields the address, as ``http://host:port``.

    Parameters
    ----------
    bind
        Where to listen.
    measurements
        Of the process.
    key
        What the configuration calls ``bind``.

    Raises
    ------
    ConfigError
        If nobody can listen there.
    """

    def reply(path: str) -> _Reply:
        if path == "/metrics":
            return _Reply(200, CONTENT_TYPE_LATEST, exposed(measurements.take().families))
        if path == "/healthz":
            return _as_json(200, {"alive": True})
        if path == "/readyz":
            why = measurements.take().why_not_ready
            return _as_json(503 if why else 200, {"ready": not why, "why": why})
        return _as_json(404, {"error": "there are /metrics, /healthz and /readyz"})

    try:
        server = _Server(bind, reply)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{key} = {str(bind)!r}: nobody can listen there ({why}); name another address "
            "of this machine, or a port that is free"
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="ewma_ops-http", daemon=True)
    thread.start()
    try:
        yield f"http://{Bind(bind.host, server.server_address[1])}"
    finally:
        server.shutdown()
        server.server_close()


def _as_json(status: int, content: object) -> _Reply:
    return _Reply(status, "application/json", json.dumps(content).encode() + b"\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, bind: Bind, reply: Callable[[str], _Reply]) -> None:
        self.reply = reply
        self.address_family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
        super().__init__((bind.host, bind.port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own method would look up the name of this machine, which may take seconds.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log the error, unless the client has disconnected."""
        if not isinstance(sys.exc_info()[1], OSError):
            _log.exception("a request of %s was not answered", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_S
    server_version, sys_version = "ewma_ops", ""

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _reply(self, *, with_body: bool) -> None:
        status, kind, body = self.server.reply(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its signature
        """Do not log requests."""
