"""The sockets of kafka-python's clients: workarounds for bugs in its release 3.0.12.

May touch kafka-python's inside; must not know what is sent, or to whom. Connections, requests and
their time-outs stay kafka-python's own.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import contextlib
import logging
import mmap
import select
import selectors
import ssl
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from kafka import KafkaConsumer
from kafka import errors as kafka_errors
from kafka.net import selector
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.net.transport import KafkaTCPTransport

from ewma_ops.connectors.client import trouble
from ewma_ops.errors import ConfigError
from ewma_ops.secrets.masking import Secret

__all__ = [
    "CREDENTIALS",
    "BadCertificateError",
    "Received",
    "Selector",
    "net_client",
    "receiver",
    "refreshed_at",
    "token_provider",
    "write_at_once",
]

CREDENTIALS = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)
"""Errors that mean that a broker identified the user, and refuses it."""


_TRACE = 5  # kafka-python's level for tracing


class BadCertificateError(kafka_errors.KafkaError):  # type: ignore[misc]  # it has no types
    """The certificate of a broker is not trusted, or belongs to another host."""


if not logging.getLogger(selector.__name__).isEnabledFor(_TRACE):
    # Thirty calls a record, for lines below the level DEBUG.
    selector.log_trace = lambda *_, **__: None
_RECEIVED_BYTES = 1 << 20  # how much a broker sends of one partition at a time
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_EPOLL = {
    selectors.EVENT_READ: getattr(select, "EPOLLIN", 0),
    selectors.EVENT_WRITE: getattr(select, "EPOLLOUT", 0),
    selectors.EVENT_READ | selectors.EVENT_WRITE: getattr(select, "EPOLLIN", 0)
    | getattr(select, "EPOLLOUT", 0),
}

Received = tuple[memoryview, Exception | None]


def net_client(settings: Mapping[str, Any]) -> Any:
    """Return kafka-python's network client with workarounds for its bugs."""
    client = KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**{**settings, "selector": Selector})
    manager = client._manager
    build_transport, connect = type(manager)._build_transport, manager._connect
    # Shared, as each connection uses it only briefly; mapped, so that unused pages cost nothing.
    received = memoryview(mmap.mmap(-1, _RECEIVED_BYTES))

    async def receive_at_once(node: Any, timeout_at: float | None = None) -> Any:
        _read_secrets_again(manager.config)
        bounded = SimpleNamespace(
            _net=_Bounded(manager._net, timeout_at),
            config=manager.config,
            ssl_enabled=manager.ssl_enabled,
        )
        try:
            transport = await build_transport(bounded, node, timeout_at=timeout_at)
        except kafka_errors.KafkaConnectionError as error:
            if isinstance(error.__context__, ssl.SSLCertVerificationError):
                # Like a refused password, it would be retried until the time-out.
                manager._auth_failures[node.node_id] = BadCertificateError(error.__context__)
            raise
        transport._net = manager._net
        transport._sock_recv = receiver(transport, received)
        if type(transport) is KafkaTCPTransport:  # TLS may have to wait for more than the socket
            write_at_once(transport)
            client._net._selector.know(transport)
        return transport

    async def remember_a_refusal(node: Any, connection: Any, **named: Any) -> None:
        _authenticate_with_what_holds_now(connection)
        await connect(node, connection, **named)

        def settle(_: Any) -> None:
            error = connection.init_future.exception
            _note(manager, node, connection, error)
            # kafka-python forgets that a password was refused, and retries until the time-out.
            if isinstance(error, (*CREDENTIALS, ConfigError)):
                if trouble.patient(manager.config, error):
                    manager._auth_failures.pop(node.node_id, None)
                else:
                    manager._auth_failures[node.node_id] = error

        connection.init_future.add_both(settle)  # the connection may end a moment later

    manager._build_transport = receive_at_once
    manager._connect = remember_a_refusal
    # The option of this name does not reach the requests.
    manager.cluster.config["allow_auto_create_topics"] = False
    return client


class _Bounded:
    """kafka-python's loop, with an end to each wait for a socket.

    It gives the handshake of TLS none, so that a peer which accepts connections and says nothing
    would be waited for without end.
    """

    def __init__(self, net: Any, until: float | None) -> None:
        self._net = net
        self._until = until

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)

    def wait_read(self, sock: Any, timeout_at: float | None = None) -> Any:
        return self._net.wait_read(sock, self._until if timeout_at is None else timeout_at)

    def wait_write(self, sock: Any, timeout_at: float | None = None) -> Any:
        return self._net.wait_write(sock, self._until if timeout_at is None else timeout_at)


def token_provider(
    token: Callable[[], str], extensions: Callable[[], dict[str, str]]
) -> AbstractTokenProvider:
    """Return an object that kafka-python takes as ``sasl_oauth_token_provider``."""

    class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # it has no types
        def token(self) -> str:
            return token()

        def extensions(self) -> dict[str, str]:
            return extensions()

    return TokenProvider()


def refreshed_at(consumer: KafkaConsumer) -> float:
    """Return when a consumer last got its topics' metadata, in seconds of some clock."""
    at_ms: float = consumer._cluster._last_successful_refresh_ms
    return at_ms / 1000


def _read_secrets_again(config: dict[str, Any]) -> None:
    for option, value in config.items():
        if isinstance(value, Secret):
            config[option] = value.read_again()


def _authenticate_with_what_holds_now(connection: Any) -> None:
    """Make a connection read its secrets at every authentication, including repeated ones."""
    authenticate = connection._sasl_authenticate

    async def authenticate_anew(*given: Any, **named: Any) -> None:
        _read_secrets_again(connection.config)
        await authenticate(*given, **named)

    connection._sasl_authenticate = authenticate_anew


def _note(manager: Any, node: Any, connection: Any, error: Exception | None) -> None:
    """Record how an attempt to connect ended, and whether the broker closed it after greeting."""
    if manager.closed:  # an abandoned attempt says nothing, and would hide the one before
        return
    servers = manager.config["bootstrap_servers"]
    bootstrap = manager.cluster.is_bootstrap(node.node_id)
    if error is not None:
        attempt = trouble.Attempt(node.host, node.port, bootstrap, error)
        trouble.note(servers, node.node_id, attempt)
        return
    trouble.clear(manager.config, node.node_id)

    def hung_up(error: BaseException) -> None:
        if not manager.closed and not manager.cluster.brokers():
            attempt = trouble.Attempt(node.host, node.port, bootstrap, error, greeted=True)
            trouble.note(servers, node.node_id, attempt)

    connection.close_future.add_errback(hung_up)


def receiver(transport: Any, into: memoryview) -> Callable[[], Received]:
    """Return a function that reads all that has come on a transport, up to the size of ``into``.

    kafka-python reads 4 KiB at a time, and may lose the interpreter at each read. It also drops
    bytes that come together with the end of a connection, such as a refusal. TLS decrypts a record
    of 16 KiB as a whole: the kernel does not report decrypted bytes, so they are taken even beyond
    the size of ``into``.
    """

    def receive() -> Received:
        size = 0
        try:
            while size < len(into):
                room = into[size:]
                came = transport._sock.recv_into(room)
                if came == 0:
                    raise ConnectionError("socket disconnected")
                size += came
                if came < len(room) and not isinstance(transport._sock, ssl.SSLSocket):
                    return into[:size], None  # nothing more; an end comes separately
            if isinstance(transport._sock, ssl.SSLSocket) and (opened := transport._sock.pending()):
                return memoryview(b"".join((into, transport._sock.recv(opened)))), None
        except _NOT_NOW:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the connection
            if size == 0:
                return into[:0], kafka_errors.KafkaConnectionError(error)
        return into[:size], None

    return receive


def write_at_once(transport: Any) -> None:
    """Make a transport send at once what it is given, if the socket accepts it.

    kafka-python creates a task that waits until the socket is writable: two system calls and a turn
    of its loop, which take longer than the sending.
    """
    write = transport.write

    def send(data: Any) -> None:
        if transport._writing or transport._closed or not transport._write or not data:
            write(data)
            return
        try:
            sent = transport._sock.send(data)
        except Exception:  # noqa: BLE001 - its own task meets it again, and knows what to do
            sent = 0
        transport.last_write = time.monotonic()
        if sent < len(data):
            write(memoryview(data)[sent:])

    transport.write = send


class Selector(selectors.DefaultSelector):
    """A selector that knows that a socket is not registered without four system calls.

    kafka-python asks that before each wait. It also unregisters a socket after each event and
    registers it again at once: the kernel is informed of changes only before the next wait, and not
    of those that cancel out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._registered: dict[int, tuple[Any, int]] = {}  # known to the kernel, by descriptor
        self._changed: set[int] = set()
        self._transports: dict[int, Any] = {}

    def know(self, transport: Any) -> None:
        """Remember the owner of a plain socket."""
        self._transports[transport._sock.fileno()] = transport

    def transport_of(self, fd: int) -> Any:
        """Return the owner of a plain socket, if it waits to read and for nothing else."""
        key = self._fd_to_key.get(fd)  # type: ignore[attr-defined]
        transport = self._transports.get(fd)
        if key is None or transport is None or key.events != selectors.EVENT_READ:
            return None
        if transport._sock is not key.fileobj or transport._closed or not transport._read:
            return None
        return transport

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key of a registered socket; KeyError if it is not registered."""
        return self._fd_to_key[self._fileobj_lookup(fileobj)]  # type: ignore[attr-defined,no-any-return]

    if hasattr(selectors, "EpollSelector"):

        def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
            """Register a socket for events; ValueError if it is registered."""
            key = selectors._BaseSelectorImpl.register(self, fileobj, events, data)
            self._changed.add(key.fd)
            return key

        def unregister(self, fileobj: Any) -> selectors.SelectorKey:
            """Unregister a socket; KeyError if it is not registered."""
            key = selectors._BaseSelectorImpl.unregister(self, fileobj)
            self._changed.add(key.fd)
            return key

        def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
            """Register a socket for other events; KeyError if it is not registered."""
            key = self.get_key(fileobj)._replace(events=events, data=data)
            self._fd_to_key[key.fd] = key  # type: ignore[attr-defined]
            self._changed.add(key.fd)
            return key

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Wait for events of registered sockets."""
            if self._changed:
                self._tell()
            return super().select(timeout)

        def came(self, timeout_s: float) -> list[tuple[int, int]]:
            """Wait for the kernel's events of registered sockets: file descriptor and events."""
            if self._changed:
                self._tell()
            kernel = self._selector  # type: ignore[attr-defined]
            found: list[tuple[int, int]] = kernel.poll(
                timeout_s,
                max(len(self._fd_to_key), 1),  # type: ignore[attr-defined]
            )
            return found

        def _tell(self) -> None:
            kernel = self._selector  # type: ignore[attr-defined]
            while self._changed:  # a connection may be closed in another thread
                fd = self._changed.pop()
                key = self._fd_to_key.get(fd)  # type: ignore[attr-defined]
                known = self._registered.get(fd)
                wanted = None if key is None else (key.fileobj, key.events)
                if wanted == known:
                    continue
                if known is not None and (wanted is None or wanted[0] is not known[0]):
                    del self._registered[fd]
                    with contextlib.suppress(OSError):  # closed since: the kernel has forgotten it
                        kernel.unregister(fd)
                if wanted is not None:
                    tell = kernel.modify if fd in self._registered else kernel.register
                    with contextlib.suppress(OSError):  # closed: its owner knows
                        tell(fd, _EPOLL[wanted[1]])
                        self._registered[fd] = wanted
