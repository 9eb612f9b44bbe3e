"""Messages between the launchers of a cluster, and how they are framed on a socket.

Knows frames and their bounds; must not know the consequences of a message. The launcher of a place
identifies itself once (`Hello`), and then reports its state several times a second (`Beat`); each
time place 0 answers what to do (`Answer`). All messages are states, not steps: the next one repeats
anything that was missed.
"""

from __future__ import annotations

import socket
import struct
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "BEAT_S",
    "LARGEST_HELLO",
    "LEASE_S",
    "MARGIN_S",
    "Answer",
    "Beat",
    "Ended",
    "Hello",
    "ProtocolError",
    "Run",
    "receive",
    "send",
]

BEAT_S = 0.25
LEASE_S = 5.0
"""How long the workers of a place may go on without an answer from place 0."""
MARGIN_S = 1.0
"""How much longer place 0 waits before it counts them as ended, because killing them takes time."""

_LENGTH = struct.Struct(">I")
_LARGEST = 64 << 20
LARGEST_HELLO = 4 << 20
"""Bytes read from a connection before its peer is identified."""

_ExitCode: TypeAlias = Annotated[int, Meta(ge=0, le=255)]
_Again: TypeAlias = Annotated[str, Meta(pattern="^(new-input|clock|host|)$")]
_Fence: TypeAlias = Annotated[str, Meta(pattern="^([0-9]+:[0-9]+|)$")]


class ProtocolError(Exception):
    """Something other than a message of this protocol was received."""


class Ended(Struct, frozen=True):
    """How a run ended at one place."""

    run: str
    code: _ExitCode
    text: str
    again: _Again = ""
    notes: list[bytes] = []


class Run(Struct, frozen=True):
    """A run of the job that all places are to start.

    ``manifest`` is the manifest of its store, ``fence`` the fence that its workers write with, if
    the launcher made one.
    """

    id: str
    manifest: bytes
    fence: _Fence = ""


class Beat(Struct, frozen=True, tag=True):
    """The state of a place: the run of its workers, whether they are being stopped, and why."""

    run: str = ""
    stopping: str = ""
    ended: Ended | None = None


class Hello(Struct, frozen=True, tag=True):
    """The identity of a place, and what must be the same at all places.

    ``machine`` stays with the recovery directory, whose lock the launcher holds: if the same one
    connects again, its former workers have ended. ``launcher`` names this start of the launcher.
    ``holds`` is the epoch of a recovery store of this job at this place, or -1 if there is none.
    ``beat`` is its state when it connects.
    """

    version: str
    place: int
    addresses: list[str]
    workers: int
    job: dict[str, str]
    machine: str
    holds: int = -1
    beat: Beat = Beat()
    launcher: str = ""


class Answer(Struct, frozen=True, tag=True):
    """The orders to a place: accept a refusal, start a run, stop it, kill it, or exit."""

    refused: str = ""
    start: Run | None = None
    stop: str = ""
    kill: str = ""
    exit_code: _ExitCode | None = None
    waits_for: list[str] = []


_Message: TypeAlias = Hello | Beat | Answer
_decoder: msgspec.msgpack.Decoder[_Message] = msgspec.msgpack.Decoder(_Message)


def send(connection: socket.socket, message: _Message) -> None:
    """Send a message; ``OSError`` if the connection is gone."""
    content = msgspec.msgpack.encode(message)
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket, largest: int = _LARGEST) -> _Message:
    """Return the next message, which has ``largest`` bytes at most.

    Raises
    ------
    OSError
        If the connection is gone, or its time-out has passed.
    ProtocolError
        If it is not a message.
    """
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size))
    if length > largest:
        raise ProtocolError(f"a message of {length:,} bytes")
    try:
        return _decoder.decode(_read(connection, length))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from None


def _read(connection: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        chunk = connection.recv(min(size - len(content), 1 << 20))
        if not chunk:
            raise ConnectionResetError("the other end has closed the connection")
        content += chunk
    return bytes(content)
