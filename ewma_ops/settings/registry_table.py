"""Table ``[registry]`` of the configuration file: where schemas are kept.

Knows the keys and how their values are shown; must not know HTTP, nor the rest of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from ewma_ops.settings.servers import (
    PEM_FILE,
    TIMEOUT,
    USER,
    Readers,
    password,
    read_server_table,
    server_urls,
    span,
)

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
        Mistakes are added here; they never show a password.
    """
    return read_server_table(Registry, "registry", values, _READERS, mistakes, _incomplete)


def _incomplete(values: Mapping[str, Any]) -> Iterator[str]:
    if "url" not in values:
        yield f"registry.url is missing; add {REGISTRY_KEY}"
    if "password" in values and "username" not in values:
        yield 'registry.password needs a user; add username = "..." to [registry]'
    if "key_file" in values and "cert_file" not in values:
        yield "registry.key_file needs a certificate; add cert_file to [registry]"


_READERS: Readers = {
    "url": server_urls(8081),
    "username": USER,
    "password": (password, 'text such as "${REGISTRY_PASSWORD}"'),
    "ca_file": PEM_FILE,
    "cert_file": PEM_FILE,
    "key_file": PEM_FILE,
    "timeout": TIMEOUT,
    "unknown_after": (span, 'a duration such as "1min", or "0s"'),
}
