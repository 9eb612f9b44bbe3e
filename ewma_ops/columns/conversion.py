"""Any sequences of numbers to columns, checked.

Knows dtypes and shapes; must not know what the columns are for.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ReadingError

__all__ = ["refuse_beyond", "to_column"]


def to_column(
    values: object, dtype: type[Any], name: str, *, of_values: bool = False
) -> NDArray[Any]:
    """Return a column, float64[n] or int64[n].

    ``of_values``: ``None`` is NaN, and there may be k fields, [n, k], in Fortran order.

    Raises
    ------
    ReadingError
        Naming the column, if they are not numbers or have too many dimensions.
    """
    try:
        column = np.asarray(values)
        if column.dtype.kind in "iuf":
            column = column.astype(dtype, casting="same_kind" if column.size else "unsafe")
        else:
            column = _numbers(column, dtype, nulls=of_values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ReadingError(f"{name} must be numbers: {error}") from None
    if column.ndim != 1 and not (of_values and column.ndim == 2):
        raise ReadingError(f"{name} must be one-dimensional, not of shape {column.shape}")
    return column if column.ndim == 1 else np.asfortranarray(column)


def _numbers(column: NDArray[Any], dtype: type[Any], *, nulls: bool) -> NDArray[Any]:
    flat = [_number(value, nulls=nulls) for value in column.ravel().tolist()]
    return np.array(flat, dtype).reshape(column.shape)


def _number(value: object, *, nulls: bool) -> object:
    if value is None and nulls:
        return np.nan
    if isinstance(value, (Real, Decimal)) and not isinstance(value, bool):
        return value
    raise TypeError(f"{value!r} is not a number")


def refuse_beyond(
    ids: list[str], what: str, column: NDArray[Any], bad: NDArray[np.bool_], bounds: str
) -> None:
    """Refuse a column in which numbers are out of bounds.

    Raises
    ------
    ReadingError
        Naming the first of them, its series and the bounds.
    """
    if bad.any():
        at = tuple(np.argwhere(bad)[0].tolist())
        raise ReadingError(
            f"{what} {column[at]} of series {ids[at[0]]!r} is out of bounds: "
            f"give one within {bounds}"
        )
