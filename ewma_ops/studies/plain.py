"""A smoothing as studies compute it: from the first reading on, and without what changes outputs.

Knows options; must not know what is studied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ewma_ops.stats.smoothing import Smoothing

__all__ = ["plain"]


def plain(smoothing: Smoothing, **options: Any) -> Smoothing:
    """Return a smoothing whose statistics are there from the first reading on, with ``options``.

    Examples
    --------
    >>> from ewma_ops import Decay
    >>> plain(Smoothing(Decay(beta=0.9), min_periods=5), statistics=("mean", "std")).min_periods
    0
    """
    usual: dict[str, Any] = {
        "start_up": "corrected",
        "start_n": None,
        "prior": None,
        "prior_weight": None,
        "min_periods": 0,
        "min_weight": 0.0,
        "horizon": None,
        "damping": None,
    }
    return replace(smoothing, **{**usual, **options})
