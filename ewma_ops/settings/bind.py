"""Addresses that a program listens on, as written in the file.

Knows hosts and ports; must not know what listens there.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

import msgspec

__all__ = ["Bind", "bind_of"]

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[\w.-]+)):(?P<port>\d{1,5})")
_HIGHEST_PORT = 65_535


class Bind(NamedTuple):
    """A host and a port; port 0 means any free port.

    Examples
    --------
    >>> str(bind_of("[::1]:9464")), bind_of("localhost:0").is_loopback
    ('[::1]:9464', True)
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def bind_of(value: object) -> Bind:
    """Return the address that a text such as ``"127.0.0.1:9464"`` names.

    Raises
    ------
    ValueError
        If it is invalid.
    """
    found = _ADDRESS.fullmatch(msgspec.convert(value, str))
    if found is None or int(found["port"]) > _HIGHEST_PORT:
        raise ValueError(value)
    if found["v6"] is not None:
        ipaddress.IPv6Address(found["v6"])
    return Bind(found["v6"] or found["host"], int(found["port"]))
