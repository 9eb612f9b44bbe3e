"""Table ``[watch]`` of the configuration file: where the live page is served, and to whom.

Knows the keys and how their values are shown; must not know HTTP, nor the rest of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct

from ewma_ops.settings.bind import Bind, bind_of
from ewma_ops.settings.servers import Readers, password, read_server_table, span

__all__ = ["Watch", "read_watch"]

_SHORTEST_TOKEN = 16
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}", re.ASCII)


class Watch(Struct, frozen=True, kw_only=True):
    """Table ``[watch]``: the address of `ewma watch`, and how far back it begins."""

    bind: Bind = Bind("127.0.0.1", 8765)
    hosts: tuple[str, ...] = ()
    token: str | None = None
    history: timedelta = timedelta(hours=1)

    def __repr__(self) -> str:
        return f"Watch(bind={self.bind!r})"


def read_watch(values: Mapping[str, Any], mistakes: list[str]) -> Watch | None:
    """Read the table; every ``${NAME}`` and ``${file:PATH}`` in a value is replaced.

    Parameters
    ----------
    values
        The table as parsed; unknown keys are reported elsewhere.
    mistakes
        Mistakes are added here; they never show the token.
    """
    return read_server_table(Watch, "watch", values, _READERS, mistakes)


def _hosts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    if not all(isinstance(one, str) and _HOST.fullmatch(one) for one in value):
        raise ValueError
    return tuple(value)


def _token(value: object) -> str:
    token = password(value)
    if len(token) < _SHORTEST_TOKEN:
        raise ValueError
    return token


_READERS: Readers = {
    "bind": (bind_of, 'a host and a port, such as "127.0.0.1:8765"'),
    "hosts": (_hosts, 'a list of host names, such as ["watch.example.org"]'),
    "token": (_token, 'at least 16 characters, such as "${EWMA_WATCH_TOKEN}"'),
    "history": (span, 'a duration such as "1h"'),
}
