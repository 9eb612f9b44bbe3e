"""Payloads that are a single number: as text, or as bytes of Kafka's serializers.

Knows these encodings; must not know topics or sockets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from struct import Struct
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, words_at
from ewma_ops.serde.decoder import Decoder, are_many
from ewma_ops.serde.fields import Fields
from ewma_ops.serde.format import Format, Refused, empty, text_of
from ewma_ops.serde.numbers import NumberReader
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.spans import Mask, read_text_floats

__all__ = ["BareDecoder", "BareName"]

BareName = Literal["number", "float32", "float64", "int32", "int64"]

_BINARY = {"float32": ">f", "float64": ">d", "int32": ">i", "int64": ">q"}
_FEW = 64
"""Fewer numbers than this are read faster one by one (measured)."""
_DEFAULTS = DecoderOptions(value="@value", series_id=None)


class BareDecoder(Decoder):
    """Decode payloads that are numbers into readings.

    Parameters
    ----------
    name
        ``"number"`` for text, such as ``21.5``; or how Kafka's own serializers write one,
        big-endian.
    options
        Where a reading is: the value is ``"@value"``, everything else is beside the payload. Text
        is read as with ``numbers = "text"``.

    Raises
    ------
    ConfigError
        If a path is invalid, or leads into the payload.

    Examples
    --------
    >>> decoded = BareDecoder("float64").decode([b"a"], [bytes.fromhex("4035800000000000")], [5])
    >>> decoded.readings.series_ids, decoded.readings.values, decoded.readings.times_ms
    (['a'], array([21.5]), array([5]))
    """

    def __init__(self, name: BareName, options: DecoderOptions = _DEFAULTS) -> None:
        options = replace(options, numbers="text")
        words = frozenset(one for one in options.missing_values if isinstance(one, str))
        bare: Format = _Text(words) if name == "number" else _Binary(name)
        super().__init__(bare, options)
        paths = options.paths()
        self._dtype = None if name == "number" else np.dtype(_BINARY[name])
        self._infinite = options.infinite
        self._number_reader = NumberReader(options)
        self._is_quick = (
            [path.text for path in paths.every] == ["@value"]
            and not paths.records
            and options.decimal == "."
        )

    def _by_columns(self, payloads: Sequence[bytes | None]) -> tuple[Mask, Fields] | None:
        if not self._is_quick or not are_many(payloads, _FEW):
            return None
        column, good = self._column(payloads)
        fields = Fields(None, None, [self._number_reader.blank_sentinels(column)])
        return good, fields if good.all() else fields.take(np.flatnonzero(good))

    def _column(self, payloads: BytesColumn) -> tuple[NDArray[np.float64], Mask]:
        """Return the numbers, and which of them are usual."""
        if self._dtype is None:
            return read_text_floats(payloads, payloads.stops > payloads.starts)
        good = payloads.sizes == self._dtype.itemsize
        words = words_at(payloads.data, np.where(good, payloads.starts, 0), 1)
        first = np.ascontiguousarray(words.view(np.uint8)[:, : self._dtype.itemsize])
        with np.errstate(invalid="ignore"):  # signaling NaN
            column = first.view(self._dtype)[:, 0].astype(np.float64)
        return column, good & (self._infinite | ~np.isinf(column))


class _Text(Format):
    """Payloads to text; one of ``words`` may be empty."""

    def __init__(self, words: frozenset[str]) -> None:
        self._is_empty_known = "" in words

    def document(self, payload: bytes) -> str:
        text = text_of(payload).strip()
        if not text and not self._is_empty_known:
            raise empty()
        return text


class _Binary(Format):
    """Payloads to the number in their bytes."""

    def __init__(self, name: BareName) -> None:
        self._name = name
        self._struct = Struct(_BINARY[name])

    def document(self, payload: bytes) -> float:
        if not payload:
            raise empty()
        if len(payload) != self._struct.size:
            detail = f"the value has {len(payload)} bytes, and {self._name} has {self._struct.size}"
            raise Refused("wrong-size", detail)
        number: float = self._struct.unpack(payload)[0]
        return number
