"""The port of place 0: each connection is served by a thread of its own.

Knows sockets and threads; must not know what is said on a connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import final

from ewma_ops.job.cluster.addresses import bound
from ewma_ops.job.cluster.errors import ClusterError

__all__ = ["Listener"]

_BACKLOG = 16
_ACCEPT_AGAIN_S = 0.1
_MOST_CONNECTIONS = 1_024


@final
class Listener:
    """Accepts connections while the ``with`` block runs; at its end all are shut down.

    Parameters
    ----------
    address
        ``host:port`` to listen on.
    serve
        Called with each connection and the address of its peer, in a thread of its own.

    Raises
    ------
    ClusterError
        On entering: the address is not this machine's, or its port is not free.
    """

    def __init__(self, address: str, serve: Callable[[socket.socket, str], None]) -> None:
        self._address, self._serve = address, serve
        self._socket: socket.socket | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()

    def __enter__(self) -> Listener:
        listener = self._socket = _listening(self._address)
        threading.Thread(
            target=self._accept, args=(listener,), name="ewma_ops-cluster", daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._socket is not None
        self._closed.set()
        with contextlib.suppress(OSError):  # ends the thread that accepts
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                if self._closed.wait(_ACCEPT_AGAIN_S):
                    return
                continue  # for example, too many files are open at the moment
            with self._lock:
                if len(self._connections) >= _MOST_CONNECTIONS:
                    connection.close()
                    continue
                self._connections.add(connection)
            thread = threading.Thread(
                target=self._run, args=(connection, address[0]), name="ewma_ops-place", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # as where no more threads may be started at the moment
                self._close(connection)

    def _run(self, connection: socket.socket, peer: str) -> None:
        try:
            self._serve(connection, peer)
        finally:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)
        connection.close()


def _listening(address: str) -> socket.socket:
    with contextlib.ExitStack() as undo:
        try:
            listener = undo.enter_context(bound(address))
            listener.listen(_BACKLOG)
        except OSError as error:
            raise ClusterError(
                f"the address {address} of place 0, which this host is, cannot be listened on "
                f"({error.strerror or error}): give an address of this host, and a port that is "
                "free"
            ) from None
        undo.pop_all()
    return listener
