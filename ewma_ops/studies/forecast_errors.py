"""Errors of forecasts by series and horizon: sums, and the measures of accuracy that they make.

Knows columns; must not know how forecasts are made, or which reading each was compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.studies.pairing import Clocked
from ewma_ops.studies.segments import Segments, grown

__all__ = ["METHODS", "Accuracy", "ForecastErrors", "Horizon", "HorizonForecasts", "Pending"]

_Floats = NDArray[np.float64]
_Rows = NDArray[np.intp]

METHODS = ("outlook", "last_value", "season_before", "mean_so_far")
"""What is compared."""


class Accuracy(NamedTuple):
    """Mean absolute error, root of the mean squared error, and mean absolute scaled error.

    ``mase`` is ``None`` where no series ever changed from one reading to the next.
    """

    mae: float
    rmse: float
    mase: float | None


class Horizon(NamedTuple):
    """How far ahead, as text for people, and in readings or ticks."""

    text: str
    ahead: int


@dataclass(frozen=True)
class HorizonForecasts:
    """How good the forecasts of one horizon were, over all series.

    ``compared`` forecasts met a reading, and ``missed`` none. ``within`` is the share of the
    readings that were between the bounds; ``methods`` has the accuracy by the names ``outlook``,
    ``last_value``, ``season_before`` and ``mean_so_far``. Of the series, in a share ``better`` the
    outlook has a smaller mean absolute error than the last value. What was never compared is
    ``None``.
    """

    horizon: Horizon
    compared: int
    missed: int
    within: float | None
    methods: Mapping[str, Accuracy | None]
    better: float | None


class Pending(NamedTuple):
    """Forecasts whose moment has not come: columns, in any order.

    ``origins`` is when each was made, ``due`` the moment that it is of; ``last``, ``season`` and
    ``mean`` are the other three.
    """

    rows: _Rows
    origins: NDArray[np.int64]
    due: NDArray[np.int64]
    forecast: _Floats
    lower: _Floats
    upper: _Floats
    last: _Floats
    season: _Floats
    mean: _Floats

    @classmethod
    def none(cls) -> Pending:
        """Return no forecasts."""
        whole, x = np.empty(0, np.int64), np.empty(0)
        return cls(np.empty(0, np.intp), whole, whole, x, x, x, x, x, x)

    @classmethod
    def made(
        cls, new: Clocked, at: NDArray[np.bool_], horizon: int, ahead: _Floats, mean: _Floats
    ) -> Pending:
        """Return the forecasts of some readings, without those of a season."""
        origins = new.clocks[at]
        forecast, lower, upper = ahead[:, at]
        no_season = np.full(len(origins), np.nan)
        own = new.rows[at], origins, origins + horizon
        return cls(*own, forecast, lower, upper, new.values[at], no_season, mean[at])

    def take(self, kept: NDArray[np.bool_]) -> Pending:
        """Return some of them."""
        return Pending._make(column[kept] for column in self)

    def joined(self, others: Pending) -> Pending:
        """Return these and others."""
        return Pending._make(map(np.concatenate, zip(self, others, strict=True)))


class ForecastErrors:
    """Sums of errors, a row for each series.

    Parameters
    ----------
    horizons
        How many there are.
    with_season
        Whether there are forecasts of a season: what has none is not compared then.
    """

    def __init__(self, horizons: int, *, with_season: bool) -> None:
        self._methods = [one for one in METHODS if with_season or one != "season_before"]
        of_methods = 0, horizons, len(self._methods)
        self._absolute, self._squared = np.empty(of_methods), np.empty(of_methods)
        self._counts = np.empty((0, horizons, 3))  # compared, missed, within
        self._steps = np.empty((0, 2))  # sum and number

    def grow(self, n: int) -> None:
        """Make room for series."""
        for name in ("_absolute", "_squared", "_counts", "_steps"):
            setattr(self, name, grown(getattr(self, name), n, 0.0))

    def scale(self, segments: Segments, steps: _Floats) -> None:
        """Take the errors of the last value, one reading ahead; NaN where there was none."""
        known = ~np.isnan(steps)
        both = np.column_stack([np.where(known, steps, 0.0), known])
        self._steps[segments.series] += segments.sums(both)

    def take(self, i: int, come: Pending, values: _Floats) -> None:
        """Take forecasts of the i-th horizon with what came; NaN where no reading did.

        Those without bounds are not compared: where the season was not known yet, they are a mean.
        """
        columns = {
            "outlook": come.forecast,
            "last_value": come.last,
            "season_before": come.season,
            "mean_so_far": come.mean,
        }
        errors = np.array([columns[name] for name in self._methods]) - values
        judged = ~(np.isnan(errors).any(axis=0) | np.isnan(come.lower))
        within = (come.lower <= values) & (values <= come.upper)
        n = len(self._counts)

        def summed(weights: Any) -> _Floats:
            return np.asarray(np.bincount(come.rows, weights, n), np.float64)

        for k, marks in enumerate((judged, np.isnan(values), judged & within)):
            self._counts[:, i, k] += summed(marks)
        sizes: _Floats = np.where(judged, np.abs(errors), 0.0)
        for k in range(len(self._methods)):
            self._absolute[:, i, k] += summed(sizes[k])
            self._squared[:, i, k] += summed(sizes[k] * sizes[k])

    def found(self, i: int, row: int | None, horizon: Horizon) -> HorizonForecasts:
        """Return what was found of the i-th horizon, of one series or of all."""
        rows = slice(None) if row is None else slice(row, row + 1)
        counts = self._counts[rows, i]
        compared, missed, within = counts.sum(axis=0).tolist()
        methods: dict[str, Accuracy | None] = dict.fromkeys(self._methods)
        if not compared:
            return HorizonForecasts(horizon, 0, int(missed), None, methods, None)
        sums, number = self._steps[rows].T
        changed = sums > 0.0
        per = np.where(changed, number / np.where(changed, sums, 1.0), 0.0)
        scaled = float(counts[changed, 0].sum())
        for k, name in enumerate(self._methods):
            absolute = self._absolute[rows, i, k]
            mase = float((absolute * per).sum()) / scaled if scaled else None
            squared = float(self._squared[rows, i, k].sum())
            methods[name] = Accuracy(
                float(absolute.sum()) / compared, float(np.sqrt(squared / compared)), mase
            )
        of = counts[:, 0] > 0
        better = self._absolute[rows, i, 0][of] < self._absolute[rows, i, 1][of]
        share = within / compared
        return HorizonForecasts(
            horizon, int(compared), int(missed), share, methods, float(better.mean())
        )
