"""Logical types of Avro to plain Python objects.

Knows what each of them means; must not know its position. fastavro's own conversion is not used: it
rounds a decimal to its precision, and fails on times outside the years 1 to 9999.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from fastavro.read import LOGICAL_READERS

from ewma_ops.serde.logical import DAY_NS, MOST_DECIMAL_DIGITS, as_decimal, in_unit

__all__ = ["translated"]

_IN_NS = {"millis": 1_000_000, "micros": 1_000, "nanos": 1}

_Reader = Callable[..., object]


def translated(schema: Mapping[str, Any], unit: str | None) -> dict[str, Any]:
    """Return a schema that makes fastavro read a logical type as here.

    Decimals become `Decimal`, exactly; times and dates numbers of ``unit`` (milliseconds for
    ``None``), UUIDs text. All other logical types are read as their underlying type.

    Parameters
    ----------
    schema
        Of a type with ``logicalType``.
    unit
        ``time_unit`` of the options.
    """
    plain = {key: value for key, value in schema.items() if key != "logicalType"}
    logical, kind = schema["logicalType"], schema["type"]
    name, reader = _reader_of(logical, kind, plain, unit)
    if reader is None:
        return plain
    LOGICAL_READERS[f"{kind}-{name}"] = reader
    return {**plain, "logicalType": name}


def _reader_of(
    logical: object, kind: object, schema: Mapping[str, Any], unit: str | None
) -> tuple[str, _Reader | None]:
    name = f"ewma-{logical}-{unit}"
    if logical == "decimal" and kind in ("bytes", "fixed"):
        scale = schema.get("scale", 0)
        if not isinstance(scale, int) or not 0 <= scale <= MOST_DECIMAL_DIGITS:
            return name, None  # an invalid decimal is read as bytes, as Avro says
        return f"ewma-decimal-{scale}", partial(_decimal, scale)
    if logical == "date" and kind == "int":
        return name, partial(_date, unit)
    head, _, precision = str(logical).rpartition("-")
    if kind == "long" and head in ("timestamp", "local-timestamp") and precision in _IN_NS:
        if precision == "millis" and unit in (None, "ms"):
            return name, None  # it already is such a number
        return name, partial(_timestamp, _IN_NS[precision], unit)
    if logical == "uuid" and kind == "fixed" and schema.get("size") == 16:
        return name, _uuid
    return name, None


def _decimal(scale: int, data: bytes, *_: object) -> Decimal:
    return as_decimal(data, scale)


def _date(unit: str | None, days: int, *_: object) -> int | Decimal:
    return in_unit(days * DAY_NS, unit)


def _timestamp(in_ns: int, unit: str | None, number: int, *_: object) -> int | Decimal:
    return in_unit(number * in_ns, unit)


def _uuid(data: bytes, *_: object) -> str:
    return str(UUID(bytes=data))
