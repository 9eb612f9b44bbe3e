"""The metrics endpoint of a worker, on the loopback interface.

Knows Prometheus and Bytewax's variables for it; must not know what is measured.

Bytewax's own endpoint listens on all interfaces, without authentication, and writes the dataflow to
``dataflow.json`` in the working directory. Whoever asks for it gets this one in its place.
"""

from __future__ import annotations

import os

from prometheus_client import start_http_server

from ewma_ops.errors import ConfigError

__all__ = ["serve_metrics"]

_ENABLED = "BYTEWAX_DATAFLOW_API_ENABLED"
_PORT = "BYTEWAX_DATAFLOW_API_PORT"
_FIRST_PORT = "3030"
_HIGHEST_PORT = 65_535
_LOOPBACK = "127.0.0.1"


def serve_metrics(process_id: int) -> None:
    """Serve ``/metrics`` on 127.0.0.1 where the environment asks for Bytewax's endpoint.

    Every process of a machine has a port of its own: the one that is asked for, or 3030, and
    ``process_id`` more. The variable is taken out of the environment, so that Bytewax's endpoint
    stays off.

    Raises
    ------
    ConfigError
        If the port is taken, or is none.
    """
    if os.environ.pop(_ENABLED, None) is None:
        return
    text = os.environ.get(_PORT, _FIRST_PORT)
    port = int(text) + process_id if text.isdecimal() else 0
    if not 0 < port <= _HIGHEST_PORT:
        raise ConfigError(f"{_PORT} is {text!r}: set it to a port from 1 to {_HIGHEST_PORT}")
    try:
        start_http_server(port, _LOOPBACK)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be served on {_LOOPBACK}:{port} ({error.strerror}): set {_PORT} to "
            f"the first of as many free ports as there are workers, or unset {_ENABLED}"
        ) from None
