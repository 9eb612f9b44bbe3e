"""Payloads of one shape to columns.

Knows which values of a shape are needed, and keeps the shape of most payloads; must not know how
the others are read.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.compiled import library
from ewma_ops.serde.by_span import SpanReader, Spans
from ewma_ops.serde.decoder import are_many
from ewma_ops.serde.fields import Fields
from ewma_ops.serde.json.shape import Shape, learn
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Paths
from ewma_ops.serde.patience import Patience

__all__ = ["ColumnReader"]

_DEFAULTS = DecoderOptions()
_FEW_COMPILED = 112
"""Fewer payloads than this are read faster one by one, if there are compiled loops."""
_SAMPLES = 3


class ColumnReader:
    """Reads payloads of the shape seen last, by columns."""

    def __init__(self, paths: Paths, options: DecoderOptions = _DEFAULTS) -> None:
        self._spans = SpanReader(paths, options)
        self._shape: Shape | None = None
        self._patience = Patience()

    def read(self, payloads: Sequence[bytes | None]) -> tuple[NDArray[np.bool_], Fields] | None:
        """Return which payloads have the shape, and their fields.

        ``None`` if they are few, or hardly any has it; then the shape is not tried for some runs.
        """
        fewest = None if library.kernels is None else _FEW_COMPILED
        if not are_many(payloads, fewest) or len(self._spans.ids) > 1:
            return None
        if not self._patience.is_over():
            return None
        shape = self._shape or self._learn(payloads)
        read = None if shape is None else self._read(shape, payloads)
        is_worth = self._patience.is_worth(None if read is None else read[0])
        self._shape = shape if is_worth else None
        return read if is_worth else None

    def _learn(self, payloads: BytesColumn) -> Shape | None:
        for payload in payloads[:_SAMPLES]:
            try:
                msgspec.json.decode(payload or b"", type=dict)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
            shape = learn(payload or b"")
            if shape is not None and self._spans.serves(
                shape.texts, shape.numbers, self._constants(shape).keys()
            ):
                return shape
        return None

    def _read(self, shape: Shape, payloads: BytesColumn) -> tuple[NDArray[np.bool_], Fields]:
        found = shape.match(payloads, self._spans.every)
        usual = found.matches
        fields = self._spans.read(Spans(found.texts, found.numbers, self._constants(shape)), usual)
        return usual, fields

    def _constants(self, shape: Shape) -> dict[str, bytes]:
        """Return the JSON of included fields that are constant in the shape."""
        held = shape.texts | shape.numbers
        constants = {
            path: shape.constants.get(path, b"null")
            for path in self._spans.include
            if path not in held
        }
        return {path: text for path, text in constants.items() if text}
