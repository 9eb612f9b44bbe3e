"""The sockets of kafka-python's clients: workarounds for bugs in its release 3.0.12.

May touch kafka-python's inside; must not know what is sent, or to whom. Connections, requests and
their time-outs stay kafka-python's own.
"""

# ruff: noqa: SLF001 - kafka-python's inside

from __future__ import annotations

import selectors
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaConsumer
from kafka import errors as kafka_errors
from kafka.net.sasl.oauth import AbstractTokenProvider

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
    "token_provider",
]

CREDENTIALS = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)
"""What says that a broker knows who asks, and will not have it."""


class BadCertificateError(kafka_errors.KafkaError):  # type: ignore[misc]  # it has no types
    """The certificate that a broker shows is not trusted, or is another one's."""


_RECEIVED_BYTES = 1 << 20  # what a broker sends of one partition at a time
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Received = tuple[memoryview, Exception | None]


def net_client(settings: Mapping[str, Any]) -> Any:
    """Return kafka-python's network client with workarounds for its bugs."""
    client = KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**{**settings, "selector": Selector})
    manager = client._manager
    build_transport, connect = manager._build_transport, manager._connect
    received = memoryview(bytearray(_RECEIVED_BYTES))  # for all: each is done with it at once

    async def receive_at_once(node: Any, **named: Any) -> Any:
        _read_secrets_again(manager.config)
        try:
            transport = await build_transport(node, **named)
        except kafka_errors.KafkaConnectionError as error:
            if isinstance(error.__context__, ssl.SSLCertVerificationError):
                # As a refused password, it would be tried until the time-out.
                manager._auth_failures[node.node_id] = BadCertificateError(error.__context__)
            raise
        transport._sock_recv = receiver(transport, received)
        return transport

    async def remember_a_refusal(node: Any, connection: Any, **named: Any) -> None:
        _authenticate_with_what_holds_now(connection)
        await connect(node, connection, **named)

        def settle(_: Any) -> None:
            error = connection.init_future.exception
            _note(manager, node, connection, error)
            # A refused password is forgotten at once, and tried until the time-out.
            if isinstance(error, (*CREDENTIALS, ConfigError)):
                if trouble.patient(manager.config, error):
                    manager._auth_failures.pop(node.node_id, None)
                else:
                    manager._auth_failures[node.node_id] = error

        connection.init_future.add_both(settle)  # it may end a moment after this

    manager._build_transport = receive_at_once
    manager._connect = remember_a_refusal
    # The option of this name does not reach the requests.
    manager.cluster.config["allow_auto_create_topics"] = False
    return client


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


def _read_secrets_again(config: dict[str, Any]) -> None:
    for option, value in config.items():
        if isinstance(value, Secret):
            config[option] = value.read_again()


def _authenticate_with_what_holds_now(connection: Any) -> None:
    """Have a connection read its secrets whenever it authenticates, also a second time."""
    authenticate = connection._sasl_authenticate

    async def authenticate_anew(*given: Any, **named: Any) -> None:
        _read_secrets_again(connection.config)
        await authenticate(*given, **named)

    connection._sasl_authenticate = authenticate_anew


def _note(manager: Any, node: Any, connection: Any, error: Exception | None) -> None:
    """Note how an attempt to connect ended, and whether the broker hangs up after its greeting."""
    if manager.closed:  # an attempt that was given up says nothing, and hides the one before
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
    """Return what takes all that has come on a transport, up to the size of ``into``.

    kafka-python takes 4 KiB at a time, and whoever waits for the interpreter gets it at each. It
    also throws away what comes together with the end of a connection, as a refusal does.
    """

    def receive() -> Received:
        size = 0
        try:
            while size < len(into):
                came = transport._sock.recv_into(into[size:])
                if came == 0:
                    raise ConnectionError("socket disconnected")
                size += came
        except _NOT_NOW:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the connection
            if size == 0:
                return into[:0], kafka_errors.KafkaConnectionError(error)
        return into[:size], None

    return receive


class Selector(selectors.DefaultSelector):
    """Tells that a socket is not registered without asking the kernel four times who it is.

    kafka-python asks that before each time it waits for one.
    """

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key that the socket was registered with; KeyError if it was not."""
        return self._fd_to_key[self._fileobj_lookup(fileobj)]  # type: ignore[attr-defined,no-any-return]
