"""Avro payloads to documents: with the id of a schema before them, or all with one schema.

Knows how a payload names its schema; must not know where schemas come from, nor paths and bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from fastavro import schemaless_reader
from fastavro._read_py import schemaless_reader as careful_reader
from fastavro.schema import fingerprint, to_parsing_canonical_form

from ewma_ops.errors import ConfigError
from ewma_ops.serde.avro.schema import WRAPPED, ready
from ewma_ops.serde.format import Format, Refused, not_utf8
from ewma_ops.serde.schemas import (
    PREFIX_BYTES,
    BadSchemaError,
    Prepared,
    Schemas,
    WrittenSchema,
)

__all__ = ["AvroFormat", "SingleAvroFormat"]

_CAUSE = "not-avro"
_MARKER = b"\xc3\x01"
_HEADER_BYTES = 10
_FILE = b"Obj\x01"


class _Reader(NamedTuple):
    """Reads payloads of one schema."""

    schema: Any
    wanted: Any
    read: Callable[..., Any]
    name: str
    is_wrapped: bool = False
    dropped: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, written: WrittenSchema, unit: str | None, heads: Sequence[str] | None, name: str
    ) -> _Reader:
        """Make a schema ready; `BadSchemaError` if it cannot be used."""
        made = ready(written, unit, heads)
        # fastavro's compiled reader overflows the stack on values nested without end.
        read = careful_reader if made.is_recursive else schemaless_reader
        return cls(made.parsed, made.wanted, read, name, made.is_wrapped, made.dropped)

    def document(self, payload: bytes, start: int) -> Any:
        """Return the datum that starts at a place of a payload; `Refused` if it is invalid."""
        data = BytesIO(payload)
        data.seek(start)
        try:
            found = self.read(data, self.schema, self.wanted)
        except RecursionError:
            raise Refused("too-deep", "the value is nested too deeply") from None
        except UnicodeDecodeError as error:
            raise Refused("not-utf8", not_utf8(error)) from None
        except Exception as error:  # noqa: BLE001  # whatever bytes make of it
            why = "it ends too early" if isinstance(error, EOFError) else str(error)[:100]
            raise Refused(_CAUSE, f"the value does not match {self.name}: {why}") from None
        left = len(payload) - data.tell()
        if left:
            raise Refused(
                _CAUSE, f"the value does not match {self.name}: {left} bytes are left over"
            )
        for field in self.dropped:  # avoid holding those of a whole run
            found.pop(field, None)
        return found[WRAPPED] if self.is_wrapped else found


class AvroFormat(Format):
    """Read Avro with the id of its schema before it.

    Each payload is read with the schema that it was written with: fields that it lacks are absent.

    Parameters
    ----------
    schemas
        Returns the schema of an id.
    unit
        What times of a logical type are read in, as of ``DecoderOptions.time_unit``.
    heads
        Names of the fields of a message that will be looked at; ``None`` for all.
    """

    def __init__(
        self, schemas: Schemas, unit: str | None = None, heads: Sequence[str] | None = None
    ) -> None:
        def make(written: WrittenSchema, name: str) -> _Reader:
            return _Reader.of(written, unit, heads, name)

        self._readers = Prepared(schemas, make, _CAUSE)

    def document(self, payload: bytes) -> Any:
        """Return what a payload holds; `Refused` if it is none."""
        return self._readers.of(payload).document(payload, PREFIX_BYTES)


class SingleAvroFormat(Format):
    r"""Read Avro with one schema, or its single-object encoding.

    Parameters
    ----------
    text
        The schema as JSON.
    unit
        What times of a logical type are read in, as of ``DecoderOptions.time_unit``.
    name
        The name of the schema in messages.
    heads
        Names of the fields of a message that will be looked at; ``None`` for all.

    Raises
    ------
    ConfigError
        If the schema cannot be used.

    Examples
    --------
    >>> avro = SingleAvroFormat('{"type": "record", "name": "R", "fields": '
    ...                         '[{"name": "id", "type": "string"}, {"name": "v", "type": "int"}]}')
    >>> avro.documents([b"\x02a\x0a"], [0], {})
    [{'id': 'a', 'v': 5}]
    """

    def __init__(
        self,
        text: str,
        unit: str | None = None,
        name: str = "the schema",
        heads: Sequence[str] | None = None,
    ) -> None:
        try:
            self._reader = _Reader.of(WrittenSchema(text), unit, heads, name)
            canonical = to_parsing_canonical_form(self._reader.schema)
        except BadSchemaError as error:
            raise ConfigError(f"{name} cannot be used: {error}") from None
        digest = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
        self._header = _MARKER + digest

    def document(self, payload: bytes) -> Any:
        """Return what a payload holds; `Refused` if it is none."""
        if payload.startswith(self._header):
            return self._reader.document(payload, len(self._header))
        try:
            return self._reader.document(payload, 0)
        except Refused as refused:
            cause, detail = refused.args
            raise Refused(cause, f"{detail}{_likely(payload)}") from None


def _likely(payload: bytes) -> str:
    """Return a hint on bytes that do not match the schema."""
    if payload.startswith(_MARKER) and len(payload) >= _HEADER_BYTES:
        return "; it looks like a single object of another schema"
    if payload.startswith(_FILE):
        return "; it looks like a whole Avro file: send data one by one"
    if payload[:1] == b"\0" and len(payload) >= PREFIX_BYTES:
        schema_id = int.from_bytes(payload[1:PREFIX_BYTES], "big")
        return f"; if it is of a Schema Registry, schema {schema_id}, write [registry]"
    return '; format = "json" in [input] reads JSON' if payload[:1] in (b"{", b"[") else ""
