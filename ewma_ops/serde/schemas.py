"""Schemas that payloads are written with, and the wire format that names them by an id.

Knows what a schema and its id are; must not know who keeps schemas, nor how they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from ewma_ops.serde.fields import Reasons, Refused

__all__ = [
    "PREFIX_BYTES",
    "BadSchemaError",
    "Schemas",
    "WrittenSchema",
    "each",
    "refuse_prefix",
    "refuse_unknown",
]

PREFIX_BYTES = 5
"""A zero byte, and the id of the schema as 4 bytes, big-endian: the wire format of Confluent."""


class BadSchemaError(ValueError):
    """A schema is none, or cannot be used; the message says why."""


class WrittenSchema(NamedTuple):
    """A schema as a registry keeps it.

    ``references`` are the schemas it uses, by the names it uses them by, each behind those that it
    uses itself. ``kind`` is "AVRO", "PROTOBUF" or "JSON".
    """

    text: str
    kind: str = "AVRO"
    references: tuple[tuple[str, str], ...] = ()


class Schemas(Protocol):
    """What knows the schema of an id."""

    def schema(self, schema_id: int, form: str = "") -> WrittenSchema | None:
        """Return the schema of an id, ``None`` if there is none; waits for what may heal.

        ``form`` is another form than its text, if the registry has it.

        Raises
        ------
        EwmaError
            If the schema can not be asked for, whatever the payload is.
        """


def each(
    read: Callable[[bytes], Any],
    payloads: Sequence[bytes | None],
    places: Sequence[int],
    rejected: Reasons,
) -> list[Any]:
    """Return what is read of each payload, and ``{}`` where cause and detail are noted."""
    found: list[Any] = []
    for place, payload in zip(places, payloads, strict=True):
        try:
            if payload is None:
                raise Refused("tombstone", "the value is null")
            found.append(read(payload))
        except Refused as refused:
            found.append({})
            rejected.setdefault(place, refused.args)
    return found


def refuse_prefix(payload: bytes, cause: str) -> Refused:
    """Say why a payload has no schema's id before it."""
    if not payload:
        return Refused("empty", "the value is empty")
    if len(payload) < PREFIX_BYTES or payload[0] == 0:
        detail = f"{len(payload)} bytes: too short for the id of a schema"
    else:
        detail = f"it begins with {payload[:1]!r}, not with a zero byte and the id of a schema"
    likely = '; format = "json" in [input] reads JSON' if payload[:1] in (b"{", b"[") else ""
    return Refused(cause, f"{detail}{likely}")


def refuse_unknown(schema_id: int) -> Refused:
    """Say that an id has no schema."""
    return Refused("unknown-schema", f"the registry has no schema {schema_id}")
