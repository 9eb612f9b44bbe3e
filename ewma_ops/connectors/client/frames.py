"""Short fetch and produce requests of Kafka's protocol, encoded and decoded as bytes.

Knows the layout of two requests; must not know connections, sessions or sequence numbers. For a
request of a few records, converting it to objects and these to bytes takes kafka-python longer than
all the rest. Unusual answers are left to kafka-python's own classes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kafka.protocol.api_header import ResponseHeader
from kafka.protocol.consumer import FetchResponse
from kafka.protocol.producer import ProduceResponse

__all__ = [
    "BODY_AT",
    "FETCH_VERSION",
    "PRODUCE_VERSION",
    "Fetched",
    "FetchedPart",
    "Frame",
    "Produced",
    "ProducedPart",
    "Session",
    "encode_fetch",
    "encode_produce",
    "kafka_fetched",
    "read_fetched",
    "read_produced",
]

FETCH_VERSION, PRODUCE_VERSION = 12, 9
_FETCH, _PRODUCE = 1, 0
_SHORT_BYTES = 64 << 10
"""Longer answers are left to kafka-python: there the records dominate the cost."""

_REQUEST = struct.Struct(">hhih")  # api, version, correlation id, length of the client's id
_FETCH_HEAD = struct.Struct(">iiiibii")
_FETCH_PART = struct.Struct(">iiqiqiB")
_FETCHED_HEAD = struct.Struct(">ihi")  # throttle time, error, session
_FETCHED_PART = struct.Struct(">ihqqq")  # partition, error, watermark, last stable, first offset
_PRODUCED_PART = struct.Struct(">ihqqq")  # partition, error, offset, time of the append, first
_INT32 = struct.Struct(">i")
_NO_REPLICA = b"\xff\xff\xff\xff"
_EMPTY, _NULL = 1, 0
_CORRELATION_END = 4
BODY_AT = _CORRELATION_END + 1
"""Where an answer begins after its correlation id, without tags."""
_CONTINUES = 0x80


class Frame:
    """A request whose body is bytes, as kafka-python's connections take it.

    It is its own header and the reader of its answer, which is all that connections need.
    """

    __slots__ = (
        "API_VERSION",
        "_api",
        "_body",
        "_client_id",
        "_read",
        "correlation_id",
    )

    def __init__(self, api: int, version: int, body: bytes, read: Callable[[Any], Any]) -> None:
        self.API_VERSION = version
        self._api, self._body, self._read = api, body, read

    @property
    def header(self) -> Frame:
        """The key under which the connection waits for the answer."""
        return self

    def with_header(self, correlation_id: int, client_id: str) -> None:
        """Remember who asks."""
        self.correlation_id, self._client_id = correlation_id, client_id.encode()

    def encode(self, framed: bool, header: bool) -> bytes:
        """Return the whole request."""
        assert framed
        assert header
        client, body = self._client_id, self._body
        head = _REQUEST.pack(self._api, self.API_VERSION, self.correlation_id, len(client))
        size = _INT32.pack(len(head) + len(client) + 1 + len(body))
        return b"".join((size, head, client, b"\0", body))

    def expect_response(self) -> bool:
        """Return whether an answer is to come."""
        return True

    def get_response_class(self) -> Frame:
        """Return the reader of the answer."""
        return self

    def parse_header(self, buffer: Any) -> Any:
        """Return an object with the correlation id at the start of the answer."""
        if buffer[_CORRELATION_END]:  # there are tags
            return ResponseHeader.decode(buffer, flexible=True)
        buffer.seek(BODY_AT)
        return _Answers(_INT32.unpack_from(buffer)[0])

    def decode(self, buffer: Any) -> Any:
        """Return the answer; ValueError if it is damaged, as kafka-python expects.

        After an error of another type the connection would be neither read nor closed.
        """
        try:
            return self._read(buffer)
        except IndexError as error:
            raise ValueError("the answer ends too early") from error


class _Answers(NamedTuple):
    correlation_id: int


class Session(NamedTuple):
    """The fields of a fetch request besides its partitions."""

    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    committed: bool
    id: int
    epoch: int
    rack: str


def encode_fetch(
    session: Session, topics: Mapping[str, Sequence[Any]], read: Callable[[Any], Any]
) -> Frame:
    """Return the request that continues a fetch session, with the partitions that changed."""
    pieces = [
        _FETCH_HEAD.pack(
            -1, session.max_wait_ms, session.min_bytes, session.max_bytes, session.committed,
            session.id, session.epoch,
        ),
        _uvarint(len(topics) + 1),
    ]  # fmt: skip
    for topic, parts in topics.items():
        pieces += (_compact(topic.encode()), _uvarint(len(parts) + 1))
        pieces += [
            _FETCH_PART.pack(
                part.partition, part.current_leader_epoch, part.fetch_offset,
                part.last_fetched_epoch, -1, part.partition_max_bytes, 0,
            )
            for part in parts
        ]  # fmt: skip
        pieces.append(b"\0")
    pieces += (b"\x01", _compact(session.rack.encode()), b"\0")
    return Frame(_FETCH, FETCH_VERSION, b"".join(pieces), read)


class FetchedPart(NamedTuple):
    """What was fetched of one partition; offsets as in the protocol, ``records`` as bytes."""

    topic: str
    partition: int
    high_watermark: int
    last_stable_offset: int
    records: bytes


class Fetched(NamedTuple):
    """An answer to a fetch in which nothing is unusual."""

    session_id: int
    parts: list[FetchedPart]
    whole: Any
    """Its bytes, for :func:`kafka_fetched`."""


def read_fetched(buffer: Any) -> Any:
    """Return a `Fetched`, or kafka-python's object for a long or unusual answer."""
    start = buffer.tell()
    if len(buffer) <= _SHORT_BYTES and (fetched := _usual_fetched(buffer, start)) is not None:
        return fetched
    return FetchResponse[FETCH_VERSION].decode(buffer)


def _usual_fetched(buffer: Any, at: int) -> Fetched | None:
    throttled, error, session_id = _FETCHED_HEAD.unpack_from(buffer, at)
    if throttled or error:
        return None
    parts = []
    topics, at = _read_uvarint(buffer, at + _FETCHED_HEAD.size)
    for _ in range(topics - 1):
        size, at = _read_uvarint(buffer, at)
        topic, at = buffer[at : at + size - 1].decode(), at + size - 1
        count, at = _read_uvarint(buffer, at)
        for _ in range(count - 1):
            partition, error, watermark, stable, _ = _FETCHED_PART.unpack_from(buffer, at)
            at += _FETCHED_PART.size
            aborted = buffer[at]
            if error or aborted not in (_NULL, _EMPTY) or buffer[at + 1 : at + 5] != _NO_REPLICA:
                return None
            size, at = _read_uvarint(buffer, at + 5)
            size = max(0, size - 1)
            if buffer[at + size]:  # tags: another leader, or diverging logs
                return None
            records = bytes(buffer[at : at + size])
            parts.append(FetchedPart(topic, partition, watermark, stable, records))
            at += size + 1
        if buffer[at]:
            return None
        at += 1
    return Fetched(session_id, parts, buffer)


def kafka_fetched(fetched: Fetched) -> Any:
    """Return an answer as kafka-python reads it."""
    fetched.whole.seek(BODY_AT)
    return FetchResponse[FETCH_VERSION].decode(fetched.whole)


def encode_produce(
    transactional_id: str | None,
    acks: int,
    timeout_ms: int,
    batches: Mapping[str, Iterable[tuple[int, bytearray]]],
) -> Frame:
    """Return the request that appends a batch of records to each partition of some topics."""
    name = b"\0" if transactional_id is None else _compact(transactional_id.encode())
    pieces: list[bytes | bytearray] = [
        name,
        struct.pack(">hi", acks, timeout_ms),
        _uvarint(len(batches) + 1),
    ]
    for topic, of_topic in batches.items():
        parts = list(of_topic)
        pieces += (_compact(topic.encode()), _uvarint(len(parts) + 1))
        for partition, batch in parts:
            pieces += (_INT32.pack(partition), _uvarint(len(batch) + 1), batch, b"\0")
        pieces.append(b"\0")
    pieces.append(b"\0")
    return Frame(_PRODUCE, PRODUCE_VERSION, b"".join(pieces), read_produced)


@dataclass(frozen=True, slots=True)
class ProducedPart:
    """Where a batch was appended, in the form of kafka-python's answers."""

    index: int
    error_code: int
    base_offset: int
    log_append_time_ms: int
    log_start_offset: int


class _ProducedTopic(NamedTuple):
    name: str
    partition_responses: list[ProducedPart]


class Produced(NamedTuple):
    """An answer to a produce request in which nothing failed."""

    responses: list[_ProducedTopic]


def read_produced(buffer: Any) -> Any:
    """Return a `Produced`, or kafka-python's object for an unusual answer."""
    usual = _usual_produced(buffer, buffer.tell())
    return ProduceResponse[PRODUCE_VERSION].decode(buffer) if usual is None else usual


def _usual_produced(buffer: Any, at: int) -> Produced | None:
    responses = []
    topics, at = _read_uvarint(buffer, at)
    for _ in range(topics - 1):
        size, at = _read_uvarint(buffer, at)
        topic, at = buffer[at : at + size - 1].decode(), at + size - 1
        count, at = _read_uvarint(buffer, at)
        parts = []
        for _ in range(count - 1):
            part = ProducedPart(*_PRODUCED_PART.unpack_from(buffer, at))
            at += _PRODUCED_PART.size
            # No errors of records, no message, no tags.
            if part.error_code or buffer[at : at + 3] not in (b"\x01\0\0", b"\0\0\0"):
                return None
            at += 3
            parts.append(part)
        if buffer[at]:
            return None
        at += 1
        responses.append(_ProducedTopic(topic, parts))
    throttled = _INT32.unpack_from(buffer, at)[0]
    return None if throttled or buffer[at + 4] else Produced(responses)


def _uvarint(number: int) -> bytes:
    if number < _CONTINUES:
        return bytes((number,))
    pieces = bytearray()
    while number >= _CONTINUES:
        pieces.append(number & 0x7F | _CONTINUES)
        number >>= 7
    pieces.append(number)
    return bytes(pieces)


def _read_uvarint(buffer: Any, at: int) -> tuple[int, int]:
    number: int = buffer[at]
    if number < _CONTINUES:
        return number, at + 1
    number &= 0x7F
    shift = 7
    while True:
        at += 1
        byte = buffer[at]
        number |= (byte & 0x7F) << shift
        if byte < _CONTINUES:
            return number, at + 1
        shift += 7


def _compact(text: bytes) -> bytes:
    return _uvarint(len(text) + 1) + text
