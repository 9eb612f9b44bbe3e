"""Addresses of hosts and ports, for sockets.

Knows sockets; must not know who listens.
"""

from __future__ import annotations

import socket

__all__ = ["bound", "host_and_port"]


def host_and_port(address: str) -> tuple[str, int]:
    """Return the parts of an address.

    Examples
    --------
    >>> host_and_port("[::1]:9101")
    ('::1', 9101)
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def bound(address: str) -> socket.socket:
    """Return a socket that is bound to an address, of IPv4 or IPv6.

    Raises
    ------
    OSError
        If the address is not this host's, or its port is not free.
    """
    host, port = host_and_port(address)
    family, *_, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    one = socket.socket(family)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(found)
    except OSError:
        one.close()
        raise
    return one
