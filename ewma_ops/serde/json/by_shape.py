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
from ewma_ops.serde.fields import Fields, Paths
from ewma_ops.serde.json.shape import Shape, learn, read_floats, read_integers
from ewma_ops.serde.times import read_times

__all__ = ["ColumnReader"]

_SAMPLES = 3
_MOST_PATIENCE = 64


class ColumnReader:
    """Read payloads of the shape that was seen last, a column at a time."""

    def __init__(self, paths: Paths) -> None:
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
        times_are = texts >= self._times or numbers >= self._times
        return texts >= set(self._ids) and numbers >= set(self._numbers) and times_are

    def _read(self, shape: Shape, payloads: BytesColumn) -> tuple[NDArray[np.bool_], Fields]:
        found = shape.match(payloads, {*self._numbers, *self._ids} | self._times)
        alike = found.matches
        ids = times_ms = None
        if self._ids:
            spans = found.texts[self._ids[0]]
            alike &= spans.stops > spans.starts
            ids = TextColumn(spans)
        if self._time is not None:
            if self._time in found.texts:
                times_ms, good = read_times(found.texts[self._time])
            else:
                times_ms, good = read_integers(found.numbers[self._time])
            alike &= good
        numbers = []
        for path in self._numbers:
            column, good = read_floats(found.numbers[path], alike)
            alike &= good
            numbers.append(column)
        fields = Fields(ids, times_ms, numbers)
        return alike, fields if alike.all() else fields.take(np.flatnonzero(alike))
