"""Tables of the configuration file about servers: addresses, users, passwords, PEM files.

Knows how such values are read and which of them are secret; must not know which tables there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from ewma_ops.secrets.masking import Secret, remember, substituted
from ewma_ops.settings.kafka_table import noted_secrets
from ewma_ops.stats.durations import duration_ms

__all__ = [
    "PEM_FILE",
    "TIMEOUT",
    "USER",
    "Reader",
    "Readers",
    "password",
    "read_server_table",
    "server_urls",
    "span",
    "text",
    "url",
    "webhook",
]

Reader = tuple[Callable[[object], Any], str]
"""The parser of a value (ValueError if it is wrong), and what the value must be."""

Readers = Mapping[str, Reader]
"""The readers of a table, by key."""

_SECRET = ("password", "username", "secret", "webhook", "token")
"""Keys whose values are never shown."""

_Struct = TypeVar("_Struct", bound=Struct)


def read_server_table(
    kind: type[_Struct],
    name: str,
    values: Mapping[str, Any],
    readers: Readers,
    mistakes: list[str],
    incomplete: Callable[[Mapping[str, Any]], Iterable[str]] = lambda _: (),
) -> _Struct | None:
    """Read a table; every ``${NAME}`` and ``${file:PATH}`` in a value is replaced.

    Parameters
    ----------
    kind, name
        The table as a struct, and its name in the file.
    values
        The table as parsed; unknown keys are reported elsewhere.
    readers
        Of all keys.
    mistakes
        Mistakes are added here; they never show a secret.
    incomplete
        Yields mistakes of the keys in combination.
    """
    known = len(mistakes)
    kept: dict[str, Any] = {}
    for key in (key for key in kind.__struct_fields__ if key in values):
        read, bound = readers[key]
        with noted_secrets(f"{name}.{key}", mistakes):
            value = substituted(values[key])
            try:
                kept[key] = read(value)
            except (ValueError, TypeError, OverflowError):
                shown = "" if key in _SECRET else f" = {values[key]!r}"
                mistakes.append(f"{name}.{key}{shown} must be {bound}")
    mistakes += incomplete(values)
    return kind(**kept) if len(mistakes) == known else None


def server_urls(port: int) -> Reader:
    """Return the parser of server addresses with a default port."""
    example = f'"http://127.0.0.1:{port}"'
    return _urls, f"text such as {example}, several joined with commas, without a user in it"


def _urls(value: object) -> tuple[str, ...]:
    """Return the addresses in a list, or in text with commas."""
    written = value.split(",") if isinstance(value, str) else value
    if not isinstance(written, list) or not written:
        raise ValueError
    return tuple(url(one.strip()) for one in written)


def url(value: object) -> str:
    """Return an address of HTTP without a user in it."""
    written = text(value)
    parts = urlsplit(written)
    if parts.username is not None:
        remember(parts.password or parts.username)
        raise ValueError
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    parts.port  # noqa: B018  # ValueError if it is none
    return written


def webhook(value: object) -> str:
    """Return an address of HTTP that may hold secrets anywhere: it is masked from now on."""
    written = text(value)
    if not isinstance(value, Secret):
        remember(written)
    parts = urlsplit(written)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError
    parts.port  # noqa: B018  # ValueError if it is none
    return written


def text(value: object) -> str:
    """Return text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _user(value: object) -> str:
    """Return the name of a user of HTTP Basic."""
    if ":" in text(value):
        raise ValueError
    return text(value)


def password(value: object) -> str:
    """Return a secret, which is masked from now on."""
    if not isinstance(value, Secret):
        remember(text(value))
    return text(value)


def _path(value: object) -> Path:
    """Return a path; ``~`` is the home directory."""
    return Path(text(value)).expanduser()


def span(value: object) -> timedelta:
    """Return a duration that is written as text."""
    return timedelta(milliseconds=duration_ms(text(value)))


def _timeout(value: object) -> timedelta:
    """Return how long one call may take."""
    limit = span(value)
    if not timedelta(milliseconds=100) <= limit <= timedelta(minutes=5):
        raise ValueError
    return limit


USER: Reader = (_user, "the name of a user, as text without a colon")
PEM_FILE: Reader = (_path, "the path of a PEM file, as text")
TIMEOUT: Reader = (_timeout, 'a duration from "100ms" to "5min"')
