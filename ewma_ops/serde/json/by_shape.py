"""Payloads of one shape to columns.

Knows which values of a shape are asked for, and keeps the shape that most payloads have; must not
know what to do with the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.serde.decoder import are_many
from ewma_ops.serde.fields import Fields
from ewma_ops.serde.json.shape import Matched, Shape, learn
from ewma_ops.serde.moments import MomentReader
from ewma_ops.serde.numbers import NumberReader
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Paths
from ewma_ops.serde.spans import read_floats, read_integers
from ewma_ops.serde.times import read_times

__all__ = ["ColumnReader"]

_DEFAULTS = DecoderOptions()
_SAMPLES = 3
_MOST_PATIENCE = 64


class ColumnReader:
    """Read payloads of the shape that was seen last, a column at a time."""

    def __init__(self, paths: Paths, options: DecoderOptions = _DEFAULTS) -> None:
        self._options = options
        self._number_reader, self._moments = NumberReader(options), MomentReader(options)
        self._quoted = options.numbers == "text" and options.decimal == "."
        self._ids: list[str] = [path.text for path in paths.ids]
        self._numbers: list[str] = [path.text for path in paths.numbers]
        self._time = None if paths.time is None else paths.time.text
        self._times = set() if self._time is None else {self._time}
        self._shape: Shape | None = None
        self._patience = self._waits = 0

    def read(self, payloads: Sequence[bytes | None]) -> tuple[NDArray[np.bool_], Fields] | None:
        """Return which payloads have the shape, and what is in those.

        ``None`` if they are few, or hardly any has it; then they are left alone for some runs.
        """
        if not are_many(payloads) or len(self._ids) > 1:
            return None
        if self._waits > 0:
            self._waits -= 1
            return None
        shape = self._shape or self._learn(payloads)
        if shape is not None:
            alike, fields = self._read(shape, payloads)
            if 2 * np.count_nonzero(alike) >= len(payloads):
                self._shape, self._patience = shape, 0
                return alike, fields
        self._shape = None
        self._waits, self._patience = self._patience, min(2 * self._patience + 1, _MOST_PATIENCE)
        return None

    def _learn(self, payloads: BytesColumn) -> Shape | None:
        for payload in payloads[:_SAMPLES]:
            try:
                msgspec.json.decode(payload or b"", type=dict)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
            shape = learn(payload or b"")
            if shape is not None and self._serves(shape):
                return shape
        return None

    def _serves(self, shape: Shape) -> bool:
        texts, numbers = shape.texts, shape.numbers
        times_are = numbers >= self._times or (
            texts >= self._times and self._options.time_format is None
        )
        both = numbers | texts if self._quoted else numbers
        return texts >= set(self._ids) and both >= set(self._numbers) and times_are

    def _read(self, shape: Shape, payloads: BytesColumn) -> tuple[NDArray[np.bool_], Fields]:
        found = shape.match(payloads, {*self._numbers, *self._ids} | self._times)
        alike = found.matches
        ids = times_ms = None
        if self._ids:
            spans = found.texts[self._ids[0]]
            alike &= spans.stops > spans.starts
            ids = TextColumn(spans)
        if self._time is not None:
            times_ms, good = self._read_times(found, alike)
            alike &= good
        numbers = []
        for path in self._numbers:
            column, good = self._read_numbers(found, path, alike)
            alike &= good
            numbers.append(self._number_reader.blank_sentinels(column))
        fields = Fields(ids, times_ms, numbers)
        return alike, fields if alike.all() else fields.take(np.flatnonzero(alike))

    def _read_numbers(
        self, found: Matched, path: str, alike: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        if path in found.numbers:
            return read_floats(found.numbers[path], alike)
        column, good = read_floats(found.texts[path], alike)
        return column, good & ~np.isnan(column)  # the word null is no number

    def _read_times(
        self, found: Matched, alike: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64] | NDArray[np.float64], NDArray[np.bool_]]:
        assert self._time is not None
        unit = self._options.time_unit
        if self._time in found.texts:
            if unit is None:
                return read_times(found.texts[self._time])
            times, good = read_integers(found.texts[self._time])
            if not good.any():
                return read_times(found.texts[self._time])
            return self._moments.in_ms(times), good
        times, good = read_integers(found.numbers[self._time])
        if unit is None:
            return times, good
        if good.all():
            return self._moments.in_ms(times), good
        moments, good = read_floats(found.numbers[self._time], alike)
        good &= np.abs(moments) < self._moments.exact_below
        return self._moments.in_ms(moments), good & ~np.isnan(moments)
