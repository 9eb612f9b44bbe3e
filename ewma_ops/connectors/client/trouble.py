"""Why a connection to a broker failed: records the failures, and explains them.

Knows the last failure of each broker's address in this process; must not know what is sent, nor
kafka-python's inside.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple

from kafka import errors as kafka_errors

from ewma_ops.connectors.client.options import servers_of, shown_of
from ewma_ops.errors import BrokerError, ConfigError, EwmaError
from ewma_ops.secrets.masking import Secret, masked

__all__ = ["Attempt", "clear", "explain", "note", "patient", "refusal"]

PATIENCE_S = 120.0
"""How long a refused user is retried, if the password may be about to change."""

_TELLING_S = 60.0
_OUT_OF_TIME = (kafka_errors.RequestTimedOutError, kafka_errors.KafkaTimeoutError)
_TLS_ALERT = b"\x15\x03"
_HTTP = b"HTTP"


class Attempt(NamedTuple):
    """A connection that failed; ``bootstrap`` marks a configured address, not an advertised one.

    ``greeted`` is whether the broker had answered before it closed the connection.
    """

    host: str
    port: int
    bootstrap: bool
    error: BaseException
    greeted: bool = False


_failed: dict[str, dict[object, tuple[Attempt, float]]] = {}
_accepted: set[tuple[str, ...]] = set()
_refused_since: dict[tuple[str, ...], float] = {}


def note(servers: object, node: object, attempt: Attempt) -> None:
    """Remember that a connection failed.

    An attempt that timed out does not replace a recent one that says more, because the time-out
    cuts the last attempt short.
    """
    failed, now = _failed.setdefault(_key(servers), {}), time.monotonic()
    before, noted_at = failed.get(node, (None, 0.0))
    # Out of time before the socket is connected is a KafkaConnectionError raised from it.
    out_of_time = any(
        isinstance(e, _OUT_OF_TIME) for e in (attempt.error, attempt.error.__context__)
    )
    cut_short = out_of_time and not attempt.greeted
    if before is None or not cut_short or now - noted_at > _TELLING_S:
        failed[node] = attempt, now


def clear(config: Mapping[str, object], node: object) -> None:
    """Forget the failure of an address that answers, and a refusal of the user."""
    _failed.get(_key(config["bootstrap_servers"]), {}).pop(node, None)
    user = _user(config)
    _accepted.add(user)
    _refused_since.pop(user, None)


def patient(config: Mapping[str, object], error: BaseException) -> bool:
    """Return whether to retry a user who was just refused with this error.

    For two minutes after the first refusal, if this process was accepted before or reads a secret
    from a file: a new password may not have reached every broker yet.
    """
    if isinstance(error, _REFUSED[1:]):
        return False
    user = _user(config)
    changes = any(isinstance(value, Secret) and value.from_file for value in config.values())
    if user not in _accepted and not changes:
        return False
    since = _refused_since.setdefault(user, time.monotonic())
    return time.monotonic() - since < PATIENCE_S


def refusal(error: BaseException, client: Mapping[str, object], *, final: bool = True) -> EwmaError:
    """Return the error for a broker that refuses the user."""
    servers, what = servers_of(client), _text(error)
    if isinstance(error, kafka_errors.IllegalSaslStateError):
        tls = "SSL" in str(client.get("security_protocol"))
        return ConfigError(
            f"the listener at {servers} does not authenticate users: set kafka.security_protocol = "
            f'"{"SSL" if tls else "PLAINTEXT"}", or connect to the port of its SASL listener '
            f"({what})"
        )
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError):
        return ConfigError(
            f"the listener at {servers} does not offer kafka.sasl_mechanism = "
            f"{shown_of(client, 'sasl_mechanism')}: use one of its sasl.enabled.mechanisms ({what})"
        )
    if client.get("sasl_mechanism") == "OAUTHBEARER":
        refused = "refused the token: correct where kafka.sasl_oauth* takes it from"
    else:
        user = shown_of(client, "sasl_plain_username").strip('"')
        refused = (
            f"refused user '{user}': correct kafka.sasl_plain_username, sasl_plain_password or "
            "sasl_mechanism"
        )
    if final:
        return ConfigError(f"the broker at {servers} {refused} ({what})")
    return BrokerError(f"the broker at {servers} {refused}; trying again meanwhile ({what})")


def explain(client: Mapping[str, object], doing: str) -> EwmaError | None:
    """Return the error if no broker answered in time; None if nothing is known about the cause."""
    failed = _failed.get(_key(client.get("bootstrap_servers")), {})
    attempts = [attempt for attempt, _ in failed.values()]
    for attempt in attempts:
        if isinstance(attempt.error, EwmaError):  # no token could be fetched
            return attempt.error
        if isinstance(attempt.error, _REFUSED):
            return refusal(attempt.error, client, final=False)
    servers = servers_of(client)
    for attempt in attempts:
        if attempt.bootstrap and "DNS Resolution failure" in str(attempt.error):
            # The name may be a secret, of which the servers are shown as they were written.
            host = attempt.host if attempt.host in servers else servers
            return BrokerError(
                f"{doing}: no address is known here for the host {host!r} in "
                "kafka.bootstrap_servers: correct the name, or add it to your DNS"
            )
    for attempt in attempts:
        if not attempt.bootstrap and not _mismatch(attempt, client):
            at = f"{attempt.host}:{attempt.port}"
            return BrokerError(
                f"{doing}: the cluster at {servers} advertises a broker at {at}, which cannot be "
                f"reached from here ({_text(attempt.error)}): start that broker; if "
                "it runs, set its advertised.listeners to an address that clients can reach"
            )
    for attempt in attempts:
        if (mismatch := _mismatch(attempt, client)) is not None:
            return BrokerError(f"{doing}: {mismatch} ({_text(attempt.error)})")
    return None


_REFUSED = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)


def _mismatch(attempt: Attempt, client: Mapping[str, object]) -> str | None:
    """Describe a protocol that the listener does not speak."""
    protocol = str(client.get("security_protocol", "PLAINTEXT"))
    sasl, tls = protocol.startswith("SASL"), protocol.endswith("SSL")
    at = f"the listener at {attempt.host}:{attempt.port}"
    start = _frame_start(attempt.error)
    if start.startswith(_TLS_ALERT):
        wanted = "SASL_SSL" if sasl else "SSL"
        return (
            f'{at} speaks TLS: set kafka.security_protocol = "{wanted}", and kafka.ssl_cafile to '
            "the file of its authority; or connect to the port of a listener without TLS"
        )
    if start == _HTTP:
        return f"{at} is a web server, not a Kafka broker: correct kafka.bootstrap_servers"
    if tls and isinstance(attempt.error.__context__, ssl.SSLError):
        wanted = "SASL_PLAINTEXT" if sasl else "PLAINTEXT"
        return (
            f'{at} does not speak TLS: set kafka.security_protocol = "{wanted}", or connect to '
            "the port of its TLS listener"
        )
    if attempt.greeted and not sasl:
        wanted = "SASL_SSL" if tls else "SASL_PLAINTEXT"
        return (
            f"{at} answered and then closed the connection, as a listener that authenticates users "
            "does: set "
            f'kafka.security_protocol = "{wanted}", sasl_mechanism, sasl_plain_username and '
            "sasl_plain_password"
        )
    return None


def _frame_start(error: BaseException) -> bytes:
    """Return the first bytes of an answer, which kafka-python read as the length of a frame."""
    number = str(error).rpartition("frame length: ")[2].rstrip(")'")
    return int(number).to_bytes(4, "big", signed=True) if number.lstrip("-").isdigit() else b""


def _key(servers: object) -> str:
    return ",".join(servers) if isinstance(servers, (list, tuple)) else str(servers)


def _user(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return user and servers; for a secret from a file only its path."""
    names = ("bootstrap_servers", "sasl_plain_username", "sasl_plain_password")
    return tuple(repr(config.get(name)) for name in names)


def _text(error: BaseException) -> str:
    return masked(f"{type(error).__name__}: {error}")
