"""Smoothed readings to Avro events, after the id of their schema.

Knows what an event looks like; must not know topics, registries or how statistics are computed.
Many events are written by columns with NumPy: no other package is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import SPARE, BytesColumn, TextColumn, lay_out, utf8_of
from ewma_ops.columns.event_names import in_event_order, is_whole, value_keys
from ewma_ops.columns.readings import MAX_INCLUDE_BYTES, Smoothed
from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.errors import ConfigError
from ewma_ops.serde.encoder import Keyed, event_keys, keyed
from ewma_ops.serde.schemas import PREFIX_BYTES

__all__ = ["AvroEncoder", "events_schema"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_VARINT = 10
_FEW = 96
"""Fewer events than this are encoded faster one by one (measured)."""
_pack = Struct("<d").pack
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LOGICAL = {"ms": "timestamp-millis", "us": "timestamp-micros", "ns": "timestamp-nanos"}
_NULL, _PRESENT = 0, 2
"""The branches of a union of null and another type, as they are written."""


def events_schema(
    statistics: Sequence[str],
    fields: Sequence[str] = (),
    include: Sequence[str] = (),
    tick: Tick = MILLISECOND,
) -> str:
    """Return the schema of events, as JSON; arguments as of `AvroEncoder`.

    Raises
    ------
    ConfigError
        If a name is not a valid one in Avro, or two would be the same.

    Examples
    --------
    >>> [field["name"] for field in json.loads(events_schema(["std", "mean"]))["fields"]]
    ['series_id', 'time', 'value', 'ewma', 'std']
    """
    keys = event_keys(statistics, fields, include)
    for name in (*keys, *include):
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not a valid field name in Avro: use letters A to Z, digits and _; "
                "rename the field or the smoothing"
            )
    listed: list[dict[str, Any]] = [
        {"name": "series_id", "type": "string"},
        {"name": "time", "type": {"type": "long", "logicalType": _LOGICAL[tick.unit]}},
    ]
    for name in keys[2:]:
        kind = "long" if is_whole(name) and name not in fields else "double"
        listed.append({"name": name, "type": ["null", kind], "default": None})
    listed += [{"name": one, "type": ["null", "string"], "default": None} for one in include]
    event = {"type": "record", "name": "Event", "namespace": "ewma_ops", "fields": listed}
    return json.dumps(event, separators=(",", ":"))


class AvroEncoder:
    r"""Encode smoothed readings as Avro in Confluent's wire format, one event each.

    A record of ``series_id``, ``time`` (timestamp-millis, or of the unit of ``tick``), the values
    and the statistics, each of them null or a double, or a long for counts.

    Parameters
    ----------
    statistics
        Names of the statistics to write; a mean is written as ``"ewma"``, and first.
    fields
        Names of the fields if there are several: each is written under its name, not ``value``.
    include, max_include_bytes
        Names of the included fields of readings, and how many bytes they may have: each null or
        text, other values as JSON.
    schema_id
        Returns the id of a schema, that of `events_schema`; called for the first events, and may
        wait.
    tick
        How many ticks of event times are a millisecond.

    Raises
    ------
    ConfigError
        If a name is not a valid one in Avro, or two would be the same.

    Examples
    --------
    >>> from ewma_ops import Readings
    >>> readings = Readings.of(["a"], [1.5], [0])
    >>> encoder = AvroEncoder(["mean"], schema_id=lambda _: 7)
    >>> encoder.encode(Smoothed(readings, {"mean": np.array([np.nan])}))[0]
    b'\x00\x00\x00\x00\x07\x02a\x00\x02\x00\x00\x00\x00\x00\x00\xf8?\x00'
    """

    def __init__(
        self,
        statistics: Sequence[str],
        fields: Sequence[str] = (),
        include: Sequence[str] = (),
        max_include_bytes: int = MAX_INCLUDE_BYTES,
        *,
        schema_id: Callable[[str], int],
        tick: Tick = MILLISECOND,
    ) -> None:
        self._statistics = in_event_order(statistics)
        self._numbers = len(value_keys(fields)) + len(self._statistics)
        self._schema_id = schema_id
        self._prefix: bytes | None = None
        self._include = include
        self._include_bytes = max_include_bytes + len(include) * _LONGEST_VARINT if include else 0
        self.schema = events_schema(statistics, fields, include, tick)
        """The schema of the events, as JSON."""

    def largest(self, max_id_bytes: int) -> int:
        """Return the most bytes that key and value of an event may have.

        Examples
        --------
        >>> AvroEncoder(["mean"], schema_id=lambda _: 7).largest(max_id_bytes=1024)
        2095
        """
        varints = (2 + self._numbers) * _LONGEST_VARINT
        own = PREFIX_BYTES + varints + self._numbers + self._include_bytes
        return 2 * max_id_bytes + own

    def encode_in(self, order: NDArray[np.intp] | None, smoothed: Smoothed) -> Keyed:
        """Encode the readings in a given order, or unchanged; return the keys too."""
        return keyed(self, order, smoothed)

    def encode(self, smoothed: Smoothed) -> Sequence[bytes]:
        """Encode each reading with its statistics, in order."""
        if self._prefix is None:
            self._prefix = b"\0" + self._schema_id(self.schema).to_bytes(PREFIX_BYTES - 1, "big")
        readings = smoothed.readings
        if not len(readings):
            return []
        assert readings.times_ms is not None
        numbers = [(column, False) for column in np.atleast_2d(readings.values.T)]
        numbers += [(smoothed.statistics[name], is_whole(name)) for name in self._statistics]
        texts = self._texts(readings.included, len(readings))
        if len(readings) < _FEW:
            ids = [_sized(utf8_of(text)) for text in readings.series_ids]
            times = map(_varint, readings.times_ms.tolist())
            rows = [
                [_present(number, whole=whole) for number in column.tolist()]
                for column, whole in numbers
            ]
            columns = [[self._prefix] * len(ids), ids, times, *rows, *texts]
            return list(map(b"".join, zip(*columns, strict=True)))
        utf8 = TextColumn.of(readings.series_ids).utf8
        pieces: list[bytes | BytesColumn] = [
            self._prefix,
            _varints(utf8.sizes),
            utf8,
            _varints(readings.times_ms),
            *(_longs(column) if whole else _doubles(column) for column, whole in numbers),
            *map(BytesColumn.of, texts),
        ]
        events: Any = lay_out(pieces, len(readings))  # none of them is null
        return events  # type: ignore[no-any-return]

    def _texts(self, included: Sequence[bytes | None] | None, n: int) -> list[list[bytes]]:
        """Write an included field: null or a string."""
        if not self._include:
            return []
        members = [b""] * n if included is None else [one or b"" for one in included]
        found = [_decode_members(b"{%b}" % one) for one in members]
        return [[_text(one.get(name)) for one in found] for name in self._include]


def _text(raw: msgspec.Raw | None) -> bytes:
    content = b"null" if raw is None else bytes(raw)
    if content == b"null":
        return bytes([_NULL])
    text = msgspec.json.decode(content).encode() if content[:1] == b'"' else content
    return bytes([_PRESENT]) + _sized(text)


def _sized(text: bytes) -> bytes:
    return _varint(len(text)) + text


def _varint(number: int) -> bytes:
    """Write a whole number, zigzag, seven bits a byte."""
    rest = number << 1 if number >= 0 else ~(number << 1)
    written = bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def _present(number: float, *, whole: bool) -> bytes:
    """Write null, or a number."""
    if number != number:
        return bytes([_NULL])
    return bytes([_PRESENT]) + (_varint(int(number)) if whole else _pack(number))


def _varints(numbers: NDArray[np.int64], ahead: NDArray[np.uint8] | None = None) -> BytesColumn:
    """Write whole numbers, zigzag, seven bits a byte, each after its ``ahead`` (uint8[n])."""
    first = 0 if ahead is None else 1
    rest = (numbers << 1 ^ numbers >> 63).view(np.uint64)
    written = np.zeros((len(numbers), first + _LONGEST_VARINT), np.uint8)
    sizes = np.full(len(numbers), first, np.int64)
    if ahead is not None:
        written[:, 0] = ahead
    for at in range(first, first + _LONGEST_VARINT):
        sizes += (rest > 0) | (at == first)
        low, rest = rest & np.uint64(0x7F), rest >> np.uint64(7)
        written[:, at] = low | np.where(rest > 0, np.uint64(0x80), np.uint64(0))
        if not rest.any():
            break
    return _rows(written, sizes)


def _doubles(column: NDArray[np.float64]) -> BytesColumn:
    """Write null or a double, little-endian."""
    absent = np.isnan(column)
    written = np.empty((len(column), 9), np.uint8)
    written[:, 0] = np.where(absent, _NULL, _PRESENT)
    written[:, 1:] = np.ascontiguousarray(column, "<f8").view(np.uint8).reshape(-1, 8)
    return _rows(written, np.where(absent, 1, 9))


def _longs(column: NDArray[np.float64]) -> BytesColumn:
    """Write null or a long."""
    absent = np.isnan(column)
    numbers = np.where(absent, 0, column).astype(np.int64)
    ahead = np.where(absent, _NULL, _PRESENT).astype(np.uint8)
    written = _varints(numbers, ahead)
    return BytesColumn(
        written.data, written.starts, np.where(absent, written.starts + 1, written.stops)
    )


def _rows(written: NDArray[np.uint8], sizes: NDArray[np.int64]) -> BytesColumn:
    starts = np.arange(len(written)) * written.shape[1]
    return BytesColumn(written.tobytes() + SPARE, starts, starts + sizes)
