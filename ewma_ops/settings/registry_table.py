"""Table ``[registry]`` of the configuration file: where schemas are kept.

Knows the keys and how their values are shown; must not know HTTP, nor the rest of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from ewma_ops.secrets.masking import Secret, remember, substituted
from ewma_ops.settings.kafka_table import noted_secrets
from ewma_ops.stats.durations import duration_ms

__all__ = ["REGISTRY_KEY", "Registry", "read_registry"]

REGISTRY_KEY = 'url = "http://127.0.0.1:8081"'


class Registry(Struct, frozen=True, kw_only=True):
    """Table ``[registry]``: the servers of a Schema Registry, and how to reach them."""

    url: tuple[str, ...]
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout: timedelta = timedelta(seconds=10)
    unknown_after: timedelta = timedelta(minutes=1)

    def __repr__(self) -> str:
        return f"Registry(url={self.url!r})"


def read_registry(values: Mapping[str, Any], mistakes: list[str]) -> Registry | None:
    """Read the table; every ``${NAME}`` and ``${file:PATH}`` in a value is replaced.

    Parameters
    ----------
    values
        The table as parsed; unknown keys are reported elsewhere.
    mistakes
        What is wrong is added here; a password is never shown in it.
    """
    known = len(mistakes)
    kept: dict[str, Any] = {}
    for key in (key for key in Registry.__struct_fields__ if key in values):
        read, bound = _READERS[key]
        with noted_secrets(f"registry.{key}", mistakes):
            value = substituted(values[key])
            try:
                kept[key] = read(value)
            except (ValueError, TypeError, OverflowError):
                shown = "" if key in ("password", "username") else f" = {values[key]!r}"
                mistakes.append(f"registry.{key}{shown} must be {bound}")
    if "url" not in values:
        mistakes.append(f"registry.url is missing; add {REGISTRY_KEY}")
    if "password" in values and "username" not in values:
        mistakes.append('registry.password needs a user; add username = "..." to [registry]')
    if "key_file" in values and "cert_file" not in values:
        mistakes.append("registry.key_file needs a certificate; add cert_file to [registry]")
    return Registry(**kept) if len(mistakes) == known else None


def _urls(value: object) -> tuple[str, ...]:
    written = value.split(",") if isinstance(value, str) else value
    if not isinstance(written, list) or not written:
        raise ValueError
    return tuple(_url(one.strip()) for one in written)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.username is not None:
        remember(parts.password or parts.username)
        raise ValueError
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    parts.port  # noqa: B018  # ValueError if it is none
    return text


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _user(value: object) -> str:
    if ":" in _text(value):
        raise ValueError
    return _text(value)


def _password(value: object) -> str:
    if not isinstance(value, Secret):
        remember(_text(value))
    return _text(value)


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser()


def _duration(value: object) -> timedelta:
    return timedelta(milliseconds=duration_ms(_text(value)))


def _timeout(value: object) -> timedelta:
    limit = _duration(value)
    if not timedelta(milliseconds=100) <= limit <= timedelta(minutes=5):
        raise ValueError
    return limit


_READERS: dict[str, tuple[Any, str]] = {
    "url": (
        _urls,
        'text such as "http://127.0.0.1:8081", several joined with commas, without a user in it',
    ),
    "username": (_user, "the name of a user, as text without a colon"),
    "password": (_password, 'text such as "${REGISTRY_PASSWORD}"'),
    "ca_file": (_path, "the path of a PEM file, as text"),
    "cert_file": (_path, "the path of a PEM file, as text"),
    "key_file": (_path, "the path of a PEM file, as text"),
    "timeout": (_timeout, 'a duration from "100ms" to "5min"'),
    "unknown_after": (_duration, 'a duration such as "1min", or "0s"'),
}
