"""A bad network and a strict broker: answers lost, requests late, high watermarks that lag.

It stands before any broker and names itself in the broker's stead. It knows how requests and
answers are framed, and what brokers tell of themselves and of their ends; nothing of the flow.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

from kafka import TopicPartition
from kafka.protocol.consumer import FetchResponse, ListOffsetsResponse, OffsetCommitResponse
from kafka.protocol.metadata import FindCoordinatorResponse, MetadataResponse

PRODUCE = 0
_WRITES = {PRODUCE, 24, 25, 26}  # and what belongs to a transaction
_REWRITTEN = {
    one.API_KEY: one
    for one in (
        FetchResponse,
        ListOffsetsResponse,
        OffsetCommitResponse,
        FindCoordinatorResponse,
        MetadataResponse,
    )
}
_COORDINATOR_LOAD_IN_PROGRESS = 14
_LINGER_S = 60.0
"""How long what a dead client has sent may be held."""


class Proxy:
    """Listens on a free port and passes everything on to ``target`` (host:port).

    ``late_s``: whatever writes waits up to so long, in its order, and is delivered even when its
    client has died in the meantime: appends of the dead.
    ``in_pieces``: answers come in pieces, some of them with the beginning of the next one.
    ``commits_to_refuse``: so many commits of offsets are answered as while a coordinator loads.
    ``marks``: readers are told that these partitions end there, and see nothing from there on:
    the high watermark lags behind what was acknowledged.
    """

    def __init__(self, target: str, seed: int = 0) -> None:
        host, _, port = target.rpartition(":")
        self.target = (host, int(port))
        self._rng = random.Random(f"{seed} proxy")
        self.late_s = 0.0
        self.in_pieces = False
        self.marks: dict[TopicPartition, int] = {}
        self.acks_lost = 0
        self.commits_to_refuse = 0
        self.flowing = threading.Event()
        self.flowing.set()
        self.waiting = threading.Event()
        self._names: dict[object, str] = {}
        self._acks_to_lose = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._port = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self.connections = 0
        self._links: set[_Link] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.flowing.set()
        self._listening.close()
        for link in list(self._links):
            link.end()

    def lose_answers(self) -> None:
        """Swallow the next answer on every connection there is, and cut the connection."""
        for link in list(self._links):
            link.losing = True

    def lose_acks(self, n: int) -> None:
        """Swallow the answers to the next ``n`` appends, and cut their connections."""
        self._acks_to_lose = n

    def hold(self) -> None:
        """Keep the appends on every connection there is back; ``waiting`` is set at the first."""
        self.waiting.clear()
        self.flowing.clear()
        for link in list(self._links):
            link.held = True

    def release(self) -> None:
        """Deliver what was held, be its client alive or dead."""
        self.flowing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self.target, 5)
                broker.settimeout(None)
            except OSError:
                client.close()
                continue
            self.connections += 1
            self._links.add(_Link(self, client, broker))

    # Called by the links.

    def pieces(self, answer: bytes) -> list[bytes]:
        """Cut an answer at random places, if answers are to come in pieces."""
        if not self.in_pieces:
            return [answer]
        cuts = sorted(self._rng.choices(range(1, len(answer)), k=self._rng.randrange(3)))
        return [answer[lo:hi] for lo, hi in pairwise([0, *cuts, len(answer)])]

    def due(self, request: bytes) -> float:
        (api,) = struct.unpack_from(">h", request)
        return time.monotonic() + (self._rng.uniform(0, self.late_s) if api in _WRITES else 0.0)

    def loses(self, api: int) -> bool:
        if api != PRODUCE or not self._acks_to_lose:
            return False
        self._acks_to_lose -= 1
        self.acks_lost += 1
        return True

    def forget(self, link: _Link) -> None:
        self._links.discard(link)

    def rewritten(self, api: int, version: int, answer: bytes) -> bytes:
        """Return what the client is told in place of the broker's own answer."""
        if api not in _REWRITTEN or (api in (1, 2) and not self.marks):
            return answer
        told = _REWRITTEN[api].decode(answer, version=version, header=True)
        if isinstance(told, FetchResponse):
            self._hide(told)
        elif isinstance(told, ListOffsetsResponse):
            for topic in told.topics:
                for at in topic.partitions:
                    at.offset = min(at.offset, self._mark(topic.name, at.partition_index))
        elif isinstance(told, OffsetCommitResponse):
            if self.commits_to_refuse:
                self.commits_to_refuse -= 1
                for topic in told.topics:
                    for at in topic.partitions:
                        at.error_code = _COORDINATOR_LOAD_IN_PROGRESS
        else:
            self._name_itself(told)
        told._version = version
        return bytes(told.encode(header=True))

    def _mark(self, topic: str, partition: int) -> float:
        return self.marks.get(TopicPartition(topic, partition), 1 << 62)

    def _hide(self, told: Any) -> None:
        for topic in told.responses:
            name = topic.topic or self._names.get(topic.topic_id, "")
            for at in topic.partitions:
                mark = self._mark(name, at.partition_index)
                at.high_watermark = min(at.high_watermark, mark)
                at.last_stable_offset = min(at.last_stable_offset, mark)
                at.records = _before(bytes(at.records or b""), mark)

    def _name_itself(self, told: Any) -> None:
        if isinstance(told, MetadataResponse):
            self._names.update({topic.topic_id: topic.name for topic in told.topics})
            named = told.brokers
        else:
            named = told.coordinators or [told]
        for broker in named:
            if broker.host:
                broker.host, broker.port = "127.0.0.1", self._port


class _Link:
    def __init__(self, proxy: Proxy, client: socket.socket, broker: socket.socket) -> None:
        self.losing = self.held = False
        self._proxy, self._client, self._broker = proxy, client, broker
        self._asked: dict[int, tuple[int, int]] = {}
        self._waiting: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        for work in (self._take, self._deliver, self._answer):
            threading.Thread(target=work, daemon=True).start()

    def _take(self) -> None:
        for request in _frames(self._client):
            self._waiting.put((self._proxy.due(request), request))
        self._waiting.put((0.0, b""))

    def _deliver(self) -> None:
        while True:
            due, request = self._waiting.get()
            api, version, correlation = (
                struct.unpack_from(">hhi", request) if request else (-1,) * 3
            )
            time.sleep(max(0.0, due - time.monotonic()))
            if api == PRODUCE and self.held:
                self._proxy.waiting.set()
                self._proxy.flowing.wait(_LINGER_S)
            if not request:
                break
            self._asked[correlation] = (api, version)
            try:
                self._broker.sendall(struct.pack(">i", len(request)) + request)
            except OSError:
                break
        self.end()

    def _answer(self) -> None:
        for answer in _frames(self._broker):
            api, version = self._asked.pop(struct.unpack_from(">i", answer)[0])
            if self.losing or self._proxy.loses(api):
                break
            told = self._proxy.rewritten(api, version, answer)
            # A client that is dead does not take it, and what it sent is still on its way.
            with contextlib.suppress(OSError):
                for piece in self._proxy.pieces(struct.pack(">i", len(told)) + told):
                    self._client.sendall(piece)
                    time.sleep(0.002 if self._proxy.in_pieces else 0)
        self.end()

    def end(self) -> None:
        self._proxy.forget(self)
        for end in (self._client, self._broker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _frames(connection: socket.socket) -> Iterator[bytes]:
    """Yield what comes in, without the sizes before it, until the connection ends."""
    with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as file:
        while len(size := file.read(4)) == 4:
            (wanted,) = struct.unpack(">i", size)
            frame = file.read(wanted)
            if len(frame) < wanted:
                return
            yield frame


def _before(records: bytes, mark: float) -> bytes:
    """Return the record batches that end before ``mark``."""
    at = 0
    while at + 27 <= len(records):
        base, size = struct.unpack_from(">qi", records, at)
        (last,) = struct.unpack_from(">i", records, at + 23)
        if base + last >= mark:
            break
        at += 12 + size
    return records[:at]
