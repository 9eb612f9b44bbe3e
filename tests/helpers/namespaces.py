"""Hosts as network namespaces, to be cut off from each other and not from Kafka; Linux, root.

Each has an address on a bridge that all share, and a way of its own to the broker: a port of its
loopback interface that is forwarded to the broker outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Namespace", "NamespacesUnavailableError", "namespaces"]

_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


class NamespacesUnavailableError(Exception):
    """Network namespaces cannot be made here; the reason is its text."""


class Namespace:
    """One host: ``run`` goes before the command line of what is to run on it."""

    def __init__(self, bridge: str, address: str, broker: tuple[str, int]) -> None:
        self.address = address
        self.name = f"ewma{os.getpid()}-{next(_numbers)}"
        self._bridge, self._outer = bridge, f"ew{os.getpid() % 100_000}v{next(_numbers)}"
        self._broker = broker
        _ip("netns", "add", self.name)
        inner = f"{self._outer}i"
        _ip("link", "add", self._outer, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", self.name)
        self._ip_inside("link", "set", "lo", "up")
        self._ip_inside("address", "add", f"{address}/24", "dev", inner)
        self._ip_inside("link", "set", inner, "up")
        _ip("link", "set", self._outer, "up")
        self.join()
        self._listener = self._listen()
        threading.Thread(target=self._forward, daemon=True).start()

    @property
    def run(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def cut_off(self) -> None:
        """Lose every packet from and to the other hosts, in silence; Kafka stays within reach."""
        _ip("link", "set", self._outer, "nomaster")

    def join(self) -> None:
        """Be on the network of the others."""
        _ip("link", "set", self._outer, "master", self._bridge)

    def close(self) -> None:
        self._listener.close()
        _ip("netns", "delete", self.name)

    def _ip_inside(self, *words: str) -> None:
        _ip("-n", self.name, *words)

    def _listen(self) -> socket.socket:
        """Return a socket that listens inside: where the thread is that makes it, it stays."""
        made: list[socket.socket] = []

        def listen() -> None:
            with open(f"/run/netns/{self.name}") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server(self._broker))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        return made[0]

    def _forward(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = self._listener.accept()
                outside = socket.create_connection(self._broker)
                for ends in ((inside, outside), (outside, inside)):
                    threading.Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(1 << 16):
            target.sendall(chunk)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def namespaces(bootstrap: str, places: list[int]) -> Iterator[list[Namespace]]:
    """Make one host for each place; those of the same place have the same address.

    Raises
    ------
    NamespacesUnavailableError
        Where they are not permitted.
    """
    if sys.platform != "linux" or os.geteuid() or shutil.which("ip") is None:
        raise NamespacesUnavailableError("network namespaces need Linux, root and iproute2")
    host, _, port = bootstrap.rpartition(":")
    bridge = f"ewb{os.getpid()}"
    net = f"10.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "delete", bridge)
        _ip("link", "set", bridge, "up")
        made: list[Namespace] = []
        for place in places:
            one = Namespace(bridge, f"{net}.{place + 1}", (host, int(port)))
            stack.callback(one.close)
            one.cut_off()
            made.append(one)
        yield made


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NamespacesUnavailableError(f"ip {' '.join(words)}: {done.stderr.strip()}")
