"""A bad network between the flow and its broker: answers that are lost, requests that come late.

It does not know Kafka: what it does to bytes happens to any request. Brokers must name the proxy
as their own address.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from queue import SimpleQueue


class Proxy:
    """Listens on a free port and passes everything on to ``target`` (host:port).

    ``late_s``: a client's bytes wait up to so long, in their order, and are delivered even when
    the client has died in the meantime: appends of the dead.
    """

    def __init__(self, target: str, seed: int) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._rng = random.Random(f"{seed} proxy")
        self.late_s = 0.0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._links: set[_Link] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answers(self) -> None:
        """Swallow the next answer on every connection there is, and cut the connection."""
        for link in list(self._links):
            link.losing = True

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target, 5)
                broker.settimeout(None)
            except OSError:
                client.close()
                continue
            self._links.add(_Link(self, client, broker))

    def delay(self) -> float:
        return self._rng.uniform(0, self.late_s)

    def forget(self, link: _Link) -> None:
        self._links.discard(link)


class _Link:
    def __init__(self, proxy: Proxy, client: socket.socket, broker: socket.socket) -> None:
        self.losing = False
        self._proxy, self._client, self._broker = proxy, client, broker
        self._waiting: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        for work in (self._take, self._deliver, self._answer):
            threading.Thread(target=work, daemon=True).start()

    def _take(self) -> None:
        data = b"?"
        while data:
            try:
                data = self._client.recv(1 << 16)
            except OSError:
                data = b""
            self._waiting.put((time.monotonic() + self._proxy.delay(), data))

    def _deliver(self) -> None:
        while True:
            due, data = self._waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            try:
                self._broker.sendall(data)
            except OSError:
                break
        self._end()

    def _answer(self) -> None:
        while True:
            try:
                data = self._broker.recv(1 << 16)
                if not data or self.losing:
                    break
                self._client.sendall(data)
            except OSError:
                # The client is dead; what it sent is still on its way.
                time.sleep(self._proxy.late_s)
                break
        self._end()

    def _end(self) -> None:
        self._proxy.forget(self)
        for end in (self._client, self._broker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
