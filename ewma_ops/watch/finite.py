"""Numbers as JSON and CSV have them: None in place of what is not finite.

Knows numbers and columns of them; must not know what they mean.
"""

from __future__ import annotations

import math
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

__all__ = ["finite", "listed"]


def finite(number: SupportsFloat) -> float | None:
    """Return a number, or None if it is not finite."""
    own = float(number)
    return own if math.isfinite(own) else None


def listed(column: NDArray[np.floating[Any]]) -> list[float | None]:
    """Return numbers as a list, None for each that is not finite.

    Examples
    --------
    >>> listed(np.array([1.5, np.nan, np.inf]))
    [1.5, None, None]
    """
    numbers: list[float | None] = column.tolist()
    for i in np.flatnonzero(~np.isfinite(column)).tolist():
        numbers[i] = None
    return numbers
