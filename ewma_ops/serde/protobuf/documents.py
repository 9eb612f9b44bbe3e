"""Protobuf messages to documents: dicts of plain Python objects.

Knows what the fields of a type mean; must not know bytes, schemas' sources, paths or bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from ewma_ops.serde.logical import as_decimal, in_unit

__all__ = ["Converter"]

_Convert = Callable[[Any], Any]
_WRAPPERS = {
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}


class Converter:
    """Make documents of the messages of a type, and of those inside of them.

    A field has its name of the schema; one without presence is there always, with its default; of
    those with presence, such as ``optional`` ones, what is not set is absent. Enums are names, and
    ``Timestamp``, the wrappers, ``Struct`` and Confluent's ``Decimal`` what they stand for.

    Parameters
    ----------
    unit
        What times are read in, as of ``DecoderOptions.time_unit``.
    """

    def __init__(self, unit: str | None = None) -> None:
        self._unit = unit
        self._made: dict[str, _Convert] = {}

    def of(self, descriptor: Descriptor, heads: Sequence[str] | None = None) -> _Convert:
        """Return what makes a document of a message of a type: of some fields, or of all."""
        name = descriptor.full_name
        if name in self._made and heads is None:
            return self._made[name]
        known = self._well_known(name)
        if known is not None:
            self._made[name] = known
            return known
        plain: list[tuple[str, _Convert | None]] = []
        present: list[tuple[str, _Convert | None]] = []

        def convert(message: Any) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name, inner in plain:
                value = getattr(message, name)
                found[name] = value if inner is None else inner(value)
            for name, inner in present:
                if message.HasField(name):
                    value = getattr(message, name)
                    found[name] = value if inner is None else inner(value)
            return found

        if heads is None:
            self._made[name] = convert  # before its fields: a type may hold itself
        wanted = [one for one in descriptor.fields if heads is None or one.name in heads]
        for field in wanted:
            (present if field.has_presence else plain).append((field.name, self._field(field)))
        return convert

    def _well_known(self, name: str) -> _Convert | None:
        if name in _WRAPPERS:
            return _value
        return {
            "google.protobuf.Timestamp": self._timestamp,
            "google.protobuf.Struct": self._struct,
            "google.protobuf.ListValue": self._list,
            "google.protobuf.Value": self._json,
            "confluent.type.Decimal": _decimal,
        }.get(name)

    def _field(self, field: FieldDescriptor) -> _Convert | None:
        one = self._single(field)
        if not field.is_repeated:
            return one
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            return _map(self._single(kind.fields_by_name["value"]))
        return list if one is None else lambda values: [one(value) for value in values]

    def _single(self, field: FieldDescriptor) -> _Convert | None:
        if field.message_type is not None:
            return self.of(field.message_type)
        return None if field.enum_type is None else _names(field.enum_type)

    def _timestamp(self, message: Any) -> int | Decimal:
        return in_unit(int(message.seconds) * 1_000_000_000 + message.nanos, self._unit)

    def _struct(self, message: Any) -> dict[str, Any]:
        return {name: self._json(value) for name, value in message.fields.items()}

    def _list(self, message: Any) -> list[Any]:
        return [self._json(value) for value in message.values]

    def _json(self, message: Any) -> Any:
        kind = message.WhichOneof("kind")
        if kind in (None, "null_value"):
            return None
        value = getattr(message, kind)
        if kind == "struct_value":
            return self._struct(value)
        return self._list(value) if kind == "list_value" else value


def _value(message: Any) -> Any:
    return message.value


def _decimal(message: Any) -> Decimal:
    return as_decimal(message.value, message.scale)


def _names(kind: EnumDescriptor) -> _Convert:
    names = {number: value.name for number, value in kind.values_by_number.items()}
    return lambda number: names.get(number, number)


def _map(one: _Convert | None) -> _Convert:
    """Return what makes a dict of a map; its keys are text, as paths are."""
    if one is None:
        return lambda values: {_key(key): value for key, value in values.items()}
    return lambda values: {_key(key): one(values[key]) for key in values}


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
