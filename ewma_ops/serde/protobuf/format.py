"""Protobuf payloads to documents: with the id of a schema before them, or all of one type.

Knows how a payload names its schema; must not know who keeps schemas, nor paths and bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from ewma_ops.errors import ConfigError
from ewma_ops.serde.format import Format, Refused
from ewma_ops.serde.protobuf.documents import Converter
from ewma_ops.serde.protobuf.schema import file_of, message_at, message_class, set_of
from ewma_ops.serde.schemas import (
    PREFIX_BYTES,
    BadSchemaError,
    Prepared,
    Schemas,
    prefix_refusal,
)

__all__ = ["ProtobufFormat", "SingleProtobufFormat"]

_CAUSE = "not-protobuf"
_MOST_INDEXES = 64
_LONGEST_VARINT = 5


class _Reader(NamedTuple):
    """How messages of one type are read."""

    parse: Callable[[bytes], Any]
    convert: Callable[[Any], Any]
    name: str

    @classmethod
    def of(cls, descriptor: Descriptor, unit: str | None, heads: Sequence[str] | None) -> _Reader:
        parse = message_class(descriptor).FromString
        return cls(parse, Converter(unit).of(descriptor, heads), descriptor.full_name)

    def document(self, datum: bytes) -> Any:
        """Return the document of a message; `Refused` if it is invalid."""
        try:
            return self.convert(self.parse(datum))
        except DecodeError as error:
            raise Refused(_CAUSE, f"the value is no {self.name}: {str(error)[:100]}") from None
        except (ValueError, OverflowError) as error:
            raise Refused(_CAUSE, f"the value is no {self.name}: {str(error)[:100]}") from None


class ProtobufFormat(Format):
    """Read Protobuf with the id of its schema before it, and where in that its type stands.

    Parameters
    ----------
    schemas
        Knows the schema of an id.
    unit
        What times are read in, as of ``DecoderOptions.time_unit``.
    heads
        Names of the fields of a message that will be looked at; ``None`` for all.
    """

    def __init__(
        self, schemas: Schemas, unit: str | None = None, heads: Sequence[str] | None = None
    ) -> None:
        self._unit, self._heads = unit, heads
        self._files = Prepared(schemas, lambda written, _: file_of(written), _CAUSE)
        self._readers: dict[tuple[bytes, tuple[int, ...]], _Reader] = {}

    def document(self, payload: bytes) -> Any:
        """Return what a payload holds; `Refused` if it is none."""
        if len(payload) <= PREFIX_BYTES:
            raise prefix_refusal(payload, _CAUSE)
        indexes: tuple[int, ...] = (0,)
        start = PREFIX_BYTES + 1
        if (
            payload[PREFIX_BYTES] != 0 and payload[0] == 0
        ):  # which is the usual one: the first type of the file
            indexes, start = _indexes(payload)
        key = payload[:PREFIX_BYTES], indexes
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = self._reader(payload, indexes)
        return reader.document(payload[start:])

    def _reader(self, payload: bytes, indexes: tuple[int, ...]) -> _Reader:
        file = self._files.of(payload)
        try:
            return _Reader.of(message_at(file, indexes), self._unit, self._heads)
        except BadSchemaError as error:
            raise Refused(_CAUSE, f"the schema of the value: {error}") from None


class SingleProtobufFormat(Format):
    """Read Protobuf that is all of one message type.

    Parameters
    ----------
    content
        A descriptor set, or the text of a ``.proto`` file.
    message
        Full name of the type, such as ``"pkg.Reading"``.
    unit
        What times are read in, as of ``DecoderOptions.time_unit``.
    name
        What the file is called; if it ends with ``.proto``, it is text.
    heads
        Names of the fields of a message that will be looked at; ``None`` for all.

    Raises
    ------
    ConfigError
        If the file cannot be used, or has no such type.
    """

    def __init__(
        self,
        content: bytes,
        message: str,
        unit: str | None,
        name: str,
        heads: Sequence[str] | None = None,
    ) -> None:
        try:
            descriptor = set_of(content, name).FindMessageTypeByName(message)
        except BadSchemaError as error:
            raise ConfigError(f"{name} cannot be used: {error}") from None
        except KeyError:
            raise ConfigError(
                f'input.message = "{message}": {name} has no such type; give its full name, with '
                "the package"
            ) from None
        self._reader = _Reader.of(descriptor, unit, heads)

    def document(self, payload: bytes) -> Any:
        """Return what a payload holds; `Refused` if it is none."""
        return self._reader.document(payload)


def _indexes(payload: bytes) -> tuple[tuple[int, ...], int]:
    """Return where the type stands in its file, and where the message begins."""
    count, at = _varint(payload, PREFIX_BYTES)
    if not 0 < count <= _MOST_INDEXES:
        raise Refused(_CAUSE, f"{count} indexes of a message type stand before the message")
    found = []
    for _ in range(count):
        index, at = _varint(payload, at)
        found.append(index)
    return tuple(found), at


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """Return the zigzag number at a place, and where it ends."""
    number = 0
    for i, byte in enumerate(payload[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number >> 1 ^ -(number & 1), at + i + 1
    raise Refused(_CAUSE, "the indexes of the message type before the message have no end")
