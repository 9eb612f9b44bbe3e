"""Avro schemas, prepared for reading: references, logical types, checks for unsafe types.

Knows schemas; must not know payloads, nor where a schema came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from ewma_ops.serde.avro.logical import translated
from ewma_ops.serde.schemas import BadSchemaError, WrittenSchema

__all__ = ["WRAPPED", "ReadySchema", "ready"]


WRAPPED = "value"
_COMPLEX = ("record", "error", "enum", "fixed", "array", "map")
_MANY = 8
"""From this many fields on, skipping is faster than reading (measured)."""


class ReadySchema(NamedTuple):
    """A schema in fastavro's form.

    ``wanted`` is the part of it to read, or ``None`` for all; ``is_recursive`` whether its values
    may nest without limit; ``is_wrapped`` whether the value is inside a record with the single
    field ``WRAPPED``, which adds no bytes. ``dropped`` are fields that are read but not needed, and
    that may take many times more memory than bytes.
    """

    parsed: Any
    wanted: Any
    is_recursive: bool
    is_wrapped: bool = False
    dropped: tuple[str, ...] = ()


def ready(
    written: WrittenSchema, unit: str | None = None, heads: Sequence[str] | None = None
) -> ReadySchema:
    """Parse a schema and what it refers to.

    Parameters
    ----------
    written
        The schema and those it refers to.
    unit
        The unit of times, as for ``DecoderOptions.time_unit``.
    heads
        Names of the fields that are needed; ``None`` for all. Many others are skipped.

    Raises
    ------
    BadSchemaError
        If it is not an Avro schema, or its payloads could require any amount of memory.

    Examples
    --------
    >>> ready(WrittenSchema('{"type": "array", "items": "null"}'))
    Traceback (most recent call last):
    ...
    ewma_ops.serde.schemas.BadSchemaError: an array of items without bytes can be of any length
    """
    if written.kind != "AVRO":
        raise BadSchemaError(f"it is a {written.kind} schema, not Avro")
    try:
        own = _translated(json.loads(written.text), unit)
        others = [_translated(json.loads(text), unit) for _, text in written.references]
        is_wrapped = bool(others) and not _defines(own)
        if is_wrapped:
            own = {"type": "record", "name": "Wrapped", "fields": [{"name": WRAPPED, "type": own}]}
            heads = None
        parsed, named = _parsed(own, others)
        types = _Types(named)
        if any(types.is_empty(items) for items in types.items_of(parsed)):
            raise BadSchemaError("an array of items without bytes can be of any length")
        is_recursive, wanted = types.is_recursive(parsed), None
        if heads is not None and not is_recursive:  # or inner records would be read in part too
            wanted = _part(own, others, heads, parsed, types)
        dropped = () if heads is None else _many(parsed, heads, types)
        return ReadySchema(parsed, wanted, is_recursive, is_wrapped, dropped)
    except BadSchemaError:
        raise
    except UnknownType as error:
        raise BadSchemaError(f"it refers to {error.name}, which is not there") from None
    except SchemaParseException as error:
        raise BadSchemaError(f"it is not valid: {error}") from None
    except RecursionError:
        raise BadSchemaError("it is nested too deeply") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadSchemaError(f"it is not an Avro schema: {type(error).__name__} {error}") from None


def _defines(schema: Any) -> bool:
    """Return whether a schema is a type itself, not the name of one or a union of such.

    fastavro resolves names only inside a record.
    """
    return isinstance(schema, dict) and schema.get("type") in _COMPLEX


def _parsed(own: Any, others: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """Return a schema in fastavro's form, and all types by their names."""
    named: dict[str, Any] = {}
    for other in others:
        parse_schema(other, named)
    return parse_schema(own, named), named


def _part(own: Any, others: Sequence[Any], heads: Sequence[str], parsed: Any, types: _Types) -> Any:
    """Return the schema of some fields of a record, if that is worthwhile."""
    if not isinstance(own, dict) or own.get("type") != "record":
        return None
    kept = [field for field in own["fields"] if field["name"] in heads]
    skipped = [field for field in parsed["fields"] if field["name"] not in heads]
    try:
        part, _ = _parsed({**own, "fields": kept}, others)
    except UnknownType:  # it is defined in a field that would be left out
        return None
    # fastavro does not detect the end of the data while skipping: a count may be anything.
    is_safe = not any(types.is_many(field["type"]) for field in skipped)
    return part if is_safe and len(skipped) >= _MANY else None


def _many(parsed: Any, heads: Sequence[str], types: _Types) -> tuple[str, ...]:
    """Return the unneeded fields of a record that hold arrays or maps."""
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        return ()
    others = [field for field in parsed["fields"] if field["name"] not in heads]
    return tuple(field["name"] for field in others if types.is_many(field["type"]))


def _translated(schema: Any, unit: str | None) -> Any:
    """Return a schema with the logical types replaced."""
    if isinstance(schema, list):
        return [_translated(branch, unit) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.keys() == {"type"}:  # fastavro does not accept {"type": "x.Name"} as a name
        return _translated(schema["type"], unit)
    made = dict(schema)
    if isinstance(made.get("type"), (dict, list)):
        made["type"] = _translated(made["type"], unit)
    for key in ("items", "values"):
        if key in made:
            made[key] = _translated(made[key], unit)
    if isinstance(made.get("fields"), list):
        made["fields"] = [_translated(field, unit) for field in made["fields"]]
    if "logicalType" in made:
        made = translated(made, unit)
    return made


class _Types:
    """Parsed types, which refer to each other by name."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named

    def _below(self, schema: Any) -> Iterator[Any]:
        """Yield the types directly inside one."""
        if isinstance(schema, list):
            yield from schema
        elif isinstance(schema, dict):
            if schema["type"] in ("record", "error"):
                yield from (field["type"] for field in schema["fields"])
            elif schema["type"] == "array":
                yield schema["items"]
            elif schema["type"] == "map":
                yield schema["values"]
        elif schema in self._named:
            yield self._named[schema]

    def _every(self, schema: Any) -> Iterator[Any]:
        """Yield a type and all inside it, named ones once."""
        seen: set[str] = set()
        left = [schema]
        while left:
            one = left.pop()
            name = one.get("name") if isinstance(one, dict) else None
            if name in seen:
                continue
            if name is not None:
                seen.add(name)
            yield one
            left.extend(self._below(one))

    def is_many(self, schema: Any) -> bool:
        """Return whether a type holds arrays or maps."""
        kinds = (one["type"] for one in self._every(schema) if isinstance(one, dict))
        return any(kind in ("array", "map") for kind in kinds)

    def items_of(self, schema: Any) -> Iterator[Any]:
        """Yield the types of the items of every array."""
        for one in self._every(schema):
            if isinstance(one, dict) and one["type"] == "array":
                yield one["items"]

    def is_empty(self, schema: Any, seen: frozenset[str] = frozenset()) -> bool:
        """Return whether values of a type may have no bytes."""
        if isinstance(schema, str):
            return schema == "null" or (
                schema in self._named and self.is_empty(self._named[schema], seen)
            )
        if isinstance(schema, list):
            return False
        kind, name = schema["type"], schema.get("name", "")
        if kind == "fixed":
            return bool(schema["size"] == 0)
        if kind not in ("record", "error"):
            return bool(kind == "null")
        return name in seen or all(
            self.is_empty(field["type"], seen | {name}) for field in schema["fields"]
        )

    def is_recursive(self, schema: Any) -> bool:
        """Return whether a record may contain itself."""
        for one in self._every(schema):
            if isinstance(one, dict) and one["type"] in ("record", "error"):
                inside = (part for below in self._below(one) for part in self._every(below))
                if any(isinstance(p, dict) and p.get("name") == one["name"] for p in inside):
                    return True
        return False
