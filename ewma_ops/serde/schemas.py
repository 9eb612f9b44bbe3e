"""Schemas that payloads are written with, and the wire format that names them by an id.

Knows what a schema and its id are; must not know who keeps schemas, nor how they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from ewma_ops.serde.format import Refused, empty

__all__ = [
    "PREFIX_BYTES",
    "BadSchemaError",
    "Prepared",
    "Schemas",
    "WrittenSchema",
    "prefix_refusal",
    "unknown_refusal",
]

T = TypeVar("T")

PREFIX_BYTES = 5
"""A zero byte, and the id of the schema as 4 bytes, big-endian: the wire format of Confluent."""


class BadSchemaError(ValueError):
    """A schema is invalid or cannot be used; the message says why."""


class WrittenSchema(NamedTuple):
    """A schema as a registry keeps it.

    ``references`` are the schemas it uses, by the names it uses them by, each behind those that it
    uses itself. ``kind`` is "AVRO", "PROTOBUF" or "JSON".
    """

    text: str
    kind: str = "AVRO"
    references: tuple[tuple[str, str], ...] = ()


class Schemas(Protocol):
    """Returns schemas by id."""

    def schema(self, schema_id: int) -> WrittenSchema | None:
        """Return the schema of an id, ``None`` if there is none; waits while an error is temporary.

        Raises
        ------
        EwmaError
            If the schema cannot be requested, whatever the payload.
        """


class Prepared(Generic[T]):
    """Prepares each schema once; remembers those that cannot be used.

    Parameters
    ----------
    schemas
        Knows the schema of an id.
    make
        Makes a schema, and what it is called, ready; `BadSchemaError` if it cannot be used.
    cause
        Of messages whose schema cannot be used.
    """

    def __init__(
        self, schemas: Schemas, make: Callable[[WrittenSchema, str], T], cause: str
    ) -> None:
        self._schemas, self._make, self._cause = schemas, make, cause
        self._made: dict[bytes, T] = {}
        self._bad: dict[bytes, str] = {}

    def of(self, payload: bytes) -> T:
        """Return what was made of the schema that a payload names.

        Raises
        ------
        Refused
            If it names none, or one that does not exist or cannot be used.
        """
        prefix = payload[:PREFIX_BYTES]
        made = self._made.get(prefix)
        return self._first(prefix) if made is None else made

    def _first(self, prefix: bytes) -> T:
        if len(prefix) < PREFIX_BYTES or prefix[0] != 0:
            raise prefix_refusal(prefix, self._cause)
        schema_id = int.from_bytes(prefix[1:], "big")
        if prefix not in self._bad:
            written = self._schemas.schema(schema_id)
            if written is None:
                raise unknown_refusal(schema_id)
            try:
                made = self._made[prefix] = self._make(written, f"schema {schema_id}")
                return made
            except BadSchemaError as error:
                self._bad[prefix] = f"schema {schema_id} cannot be used: {error}"
        raise Refused(self._cause, self._bad[prefix])


def prefix_refusal(payload: bytes, cause: str) -> Refused:
    """Say why a payload has no schema id before it."""
    if not payload:
        return empty()
    if len(payload) < PREFIX_BYTES or payload[0] == 0:
        detail = f"{len(payload)} bytes: too short for the id of a schema"
    else:
        detail = f"it begins with {payload[:1]!r}, not with a zero byte and the id of a schema"
    likely = '; format = "json" in [input] reads JSON' if payload[:1] in (b"{", b"[") else ""
    return Refused(cause, f"{detail}{likely}")


def unknown_refusal(schema_id: int) -> Refused:
    """Say that an id has no schema."""
    return Refused("unknown-schema", f"the registry has no schema {schema_id}")
