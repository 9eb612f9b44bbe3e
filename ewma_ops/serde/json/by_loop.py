"""Events as JSON, by a compiled loop.

Knows how columns are passed to the loop; must not know the meaning of an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import SPARE, BytesColumn
from ewma_ops.compiled import library

__all__ = ["Values", "write_events"]

_NUMBER_ROOM = 48
_PLAIN, _BYTES, _WHOLE, _FLOAT, _WHOLE_FLOAT = range(5)


class Values(NamedTuple):
    """The value after a text in each of n events.

    A column of byte strings, written as they are; if ``plain``, only if all of them stand in JSON
    as they are. Or int64[n]; or float64[n], as whole numbers if ``whole``, NaN as null.
    """

    text: bytes
    column: BytesColumn | NDArray[Any]
    plain: bool = False
    whole: bool = False


def write_events(
    kernels: library.Kernels, fields: Sequence[Values], tail: bytes, order: NDArray[np.intp] | None
) -> BytesColumn | None:
    """Return events, in an order or as they are: of each field its text and its value, and a tail.

    ``None`` if a value is not what its field says, or of another type.
    """
    length = len(fields[0].column)
    n = length if order is None else len(order)
    layout = np.zeros((len(fields), 8), np.int64)
    texts, room = b"", 0
    held: list[NDArray[Any]] = []  # until the loop has run
    for row, field in zip(layout, fields, strict=True):
        texts += field.text
        row[1] = len(texts)
        if isinstance(field.column, BytesColumn):
            arrays = field.column.arrays()
            row[0] = _PLAIN if field.plain else _BYTES
            row[2:6] = _address(arrays[0]), arrays[0].size, *map(_address, arrays[1:])
            room += field.column.nbytes
            held += arrays
        else:
            numbers = np.ascontiguousarray(field.column)
            if numbers.dtype == np.int64:
                row[0], row[6] = _WHOLE, _address(numbers)
            elif numbers.dtype == np.float64:
                row[0], row[7] = _WHOLE_FLOAT if field.whole else _FLOAT, _address(numbers)
            else:
                return None
            room += length * _NUMBER_ROOM
            held.append(numbers)
        if len(field.column) != length:
            raise ValueError(f"columns differ in length: {len(field.column)} and {length}")
    # An order may name a place more than once: the bytes of all places would not be enough.
    assert order is None or n <= length
    texts += tail
    out = np.empty(room + n * len(texts) + len(SPARE), np.uint8)
    starts, stops = np.empty(n, np.int64), np.empty(n, np.int64)
    places = np.empty(0, np.int64) if order is None else np.ascontiguousarray(order)
    text = np.frombuffer(texts + SPARE, np.uint8)
    sizes = length, len(tail)
    end = kernels.write_events(layout.ravel(), text, places, *sizes, out, starts, stops)
    if end == library.DOUBT:
        return None
    return BytesColumn(out[: end + len(SPARE)], starts, stops)


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
