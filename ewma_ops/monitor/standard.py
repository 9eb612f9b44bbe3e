"""The distance of a reading from its expected value, in standard errors, as a normal score.

Knows formulas, for numbers and for columns to the same bits; must not know rules or series.
"""

from __future__ import annotations

import math
from typing import Any

from ewma_ops.monitor.student import normal_of_t
from ewma_ops.stats.ops import Ops

__all__ = ["MOST_SCORE", "inverse_degrees", "ratio", "reading_ratio", "reading_scale", "reading_z"]

MOST_SCORE = 1e6
"""Greatest magnitude of a score."""


def ratio(deviation: Any, scale: Any, judged: Any, o: Ops) -> Any:
    """Return deviation / scale, cut at `MOST_SCORE`; NaN where it is not judged."""
    judged = judged & (scale > 0.0)
    score = o.minimum(o.maximum(deviation / o.where(judged, scale, 1.0), -MOST_SCORE), MOST_SCORE)
    return o.where(judged, score, math.nan)


def reading_scale(seen: Any, o: Ops) -> Any:
    """Return the standard error of a reading minus the mean that was expected before it."""
    return o.sqrt(seen.variance * (1.0 + seen.concentration))


def inverse_degrees(seen: Any, o: Ops) -> Any:
    """Return 1 / degrees of freedom of the standard deviation, n_eff - 1."""
    u = o.where(seen.judged, seen.concentration, 0.05)
    return u / (1.0 - u)


def reading_ratio(value: Any, seen: Any, o: Ops) -> Any:
    """Return Student's t of a reading; NaN where it is not judged."""
    return ratio(value - seen.before, reading_scale(seen, o), seen.judged, o)


def reading_z(value: Any, seen: Any, o: Ops) -> Any:
    """Return the normal score of a reading; NaN where it is not judged."""
    return normal_of_t(reading_ratio(value, seen, o), inverse_degrees(seen, o), o)
