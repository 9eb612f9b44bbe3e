"""The same recurrences as `kernel`, one reading at a time, in plain Python.

For the trickle of a live stream, and for few series with many readings each, where one call of
NumPy costs more than the arithmetic of a reading. Same operations in the same order as the
columns, hence the same bits: the law tests hold the two against each other.
Knows the options and one row of state; must not know series ids, tables or streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.smoothing import Smoothing

__all__ = ["NEVER", "TINY", "Stepper"]

NEVER = int(np.iinfo(np.int64).min)
"""The newest time of a series without a reading."""

TINY = float(np.finfo(np.float64).tiny)
"""Keeps 0 / 0 (no reading yet, and this one is missing) at 0; far below any sum of weights."""


class Stepper:
    """Move one series on by one reading.

    Parameters
    ----------
    smoothing
        What to compute.
    columns
        The state of all series, moved on in place. `Smoother` says what each column holds.
    """

    def __init__(self, smoothing: Smoothing, columns: Mapping[str, NDArray[Any]]) -> None:
        self._decay = smoothing.decay
        self._by_time = smoothing.decay.by_time
        self._first = smoothing.start_up == "first"
        self._uncorrected = smoothing.start_up == "uncorrected"
        self._alpha = 1.0 if self._by_time else smoothing.decay.alpha
        self._beta = 1.0 if self._by_time else smoothing.decay.beta
        self._over_missing = self._beta if smoothing.missing == "decay" else 1.0
        self._weight_of_new = self._alpha if self._first else 1.0
        self._enough = max(1, smoothing.min_periods)
        self._statistics = tuple(smoothing.statistics)
        self._only_mean = self._statistics == ("mean",)
        # Reading one element through a memoryview costs half of what an array asks for it.
        self._columns: dict[str, Any] = {n: memoryview(c.data) for n, c in columns.items()}
        self._weight = self._columns["weight"]
        self._mean = self._columns["mean"]
        self._count = self._columns["count"]

    def step(self, row: int, value: float, time_ms: int | None) -> tuple[float, ...]:
        """Take in one reading of the series at ``row``; NaN is a missing one.

        Returns
        -------
        tuple
            The statistics, in the order they were asked for.
        """
        observed = value == value
        if self._by_time:
            assert time_ms is not None  # the table refuses readings without
            retained, added = self._by_gap(row, time_ms, observed)
        elif observed:
            retained, added = self._beta, self._weight_of_new
        else:
            retained, added = self._over_missing, 0.0
        kept = self._weight[row] * retained
        weight = kept + added
        total = weight if weight > TINY else TINY
        share = added / total
        mean = self._mean[row]
        x = value if observed else 0.0
        rest = kept / total
        mean = x - (x - mean) * rest if share > 0.5 else mean + (x - mean) * share
        self._weight[row] = 1.0 if self._first and added > 0.0 else weight
        self._mean[row] = mean
        count = self._count[row]
        if observed:
            count += 1
            self._count[row] = count
        shown = self._alpha * weight * mean if self._uncorrected else mean
        if self._only_mean:
            return (shown if count >= self._enough else math.nan,)
        return self._all(row, shown, count, share, rest, weight)

    def _by_gap(self, row: int, time_ms: int, observed: bool) -> tuple[float, float]:
        if not observed:
            return 1.0, 0.0
        newest_ms = self._columns["newest_ms"]
        newest = newest_ms[row]
        if "oldest_ms" in self._columns and time_ms < self._columns["oldest_ms"][row]:
            self._columns["oldest_ms"][row] = time_ms
        if time_ms > newest:
            newest_ms[row] = time_ms
        if newest == NEVER:
            return 1.0, 1.0
        gap = time_ms - newest
        if gap < 0:
            return 1.0, 0.0 if self._first else self._decay.retention_of(-gap)
        return self._decay.retention_of(gap), self._decay.lapse_of(gap) if self._first else 1.0

    def _all(
        self, row: int, mean: float, count: int, share: float, rest: float, weight: float
    ) -> tuple[float, ...]:
        results = {"mean": mean, "count": float(count)}
        if "concentration" in self._columns:
            concentration = self._columns["concentration"]
            r = rest if share != 0.0 else 1.0
            concentration[row] = u = concentration[row] * (r * r) + share * share
            results["n_eff"] = 1.0 / u
        if "settled" in self._statistics:
            results["settled"] = self._settled(row, weight)
        if count < self._enough:
            results = dict.fromkeys(results, math.nan) | {"count": float(count)}
        return tuple(results[name] for name in self._statistics)

    def _settled(self, row: int, weight: float) -> float:
        if self._first:
            return 1.0
        if not self._by_time:
            return self._alpha * weight
        newest = self._columns["newest_ms"][row]
        if newest == NEVER:
            return 0.0
        return self._decay.lapse_of(newest - self._columns["oldest_ms"][row])
