"""The few operations that differ between a column of numbers and a single number.

A formula that uses arithmetic and these operations works on a column (float64[n]) and on a number
(float), and gives both the same bits, because IEEE 754 defines the result of each operation.

Must not know formulas. A formula that chooses by `Ops.where` computes both sides, so it must guard
a divisor that may be 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ewma_ops.stats.decay import Decay
from ewma_ops.stats.exact_exp2 import exp2, exp2_of

__all__ = ["Ops", "of_columns", "of_numbers"]


class Ops(NamedTuple):
    """Operations on columns, or on numbers.

    ``where(condition, x, y)``, ``sqrt(x)``; ``maximum(x, y)`` and ``minimum(x, y)``, NaN where
    either is; ``all(x)``, whether nothing is false or 0; ``exp2(x)``, 2^x for x <= 0; and
    ``retention``, ``lapse`` and ``lean`` of a gap in milliseconds, as `Decay` has them.
    ``fading(decay)`` are the ``retention`` and ``lapse`` of another decay.
    """

    where: Callable[[Any, Any, Any], Any]
    sqrt: Callable[[Any], Any]
    maximum: Callable[[Any, Any], Any]
    minimum: Callable[[Any, Any], Any]
    all: Callable[[Any], bool]
    exp2: Callable[[Any], Any]
    retention: Callable[[Any], Any]
    lapse: Callable[[Any], Any]
    lean: Callable[[Any], Any]
    fading: Callable[[Decay], tuple[Callable[[Any], Any], Callable[[Any], Any]]]


def of_columns(decay: Decay) -> Ops:
    """Return the operations on columns."""
    return Ops(
        where=np.where,
        sqrt=np.sqrt,
        maximum=np.maximum,
        minimum=np.minimum,
        all=_all,
        exp2=exp2,
        retention=decay.retention,
        lapse=decay.lapse,
        lean=decay.lean,
        fading=lambda other: (other.retention, other.lapse),
    )


def of_numbers(decay: Decay) -> Ops:
    """Return the operations on numbers."""
    return Ops(
        where=_where,
        sqrt=math.sqrt,
        maximum=_maximum,
        minimum=_minimum,
        all=bool,
        exp2=_exp2_of,
        retention=decay.retention_of,
        lapse=decay.lapse_of,
        lean=decay.lean_of,
        fading=lambda other: (other.retention_of, other.lapse_of),
    )


_exp2_of = lru_cache(exp2_of)  # a season asks for few


def _all(x: Any) -> bool:
    return bool(x.all())


def _where(condition: Any, x: Any, y: Any) -> Any:
    return x if condition else y


def _maximum(x: Any, y: Any) -> Any:
    return x if x >= y or x != x else y


def _minimum(x: Any, y: Any) -> Any:
    return x if x <= y or x != x else y
