"""How good forecasts of a history would have been, by horizon, against three without a model.

Knows a table with a smoothing for each horizon; must not know the source of readings, or the
output.

Every forecast is made by the readings before its time alone, in order of arrival, as the job makes
it: nothing is fitted to what it is compared with. Four are compared at the same times: the outlook;
the last value; the value of the season before, the newest that was known; and the mean of all
readings so far. Series have scales of their own: their errors are put together over the mean
absolute error of the last value, one reading ahead, of the same series (mean absolute scaled error,
R. J. Hyndman and A. B. Koehler, Int. J. of Forecasting 22 (2006) 679-688).

Horizons by time are met by the reading nearest to the moment that was forecast, at most a tenth of
the horizon away. Of readings that come closer together than a twentieth of a horizon the first of
each twentieth makes a forecast: the errors of the others would be nearly the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ewma_ops.columns.event_names import value_keys
from ewma_ops.columns.readings import Readings
from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.errors import ConfigError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.studies.forecast_errors import Horizon, HorizonForecasts
from ewma_ops.studies.forecasts_due import ForecastsDue, Made
from ewma_ops.studies.plain import plain
from ewma_ops.table.index import SeriesIndex
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

__all__ = ["FieldForecasts", "Forecasting", "HorizonForecasts", "horizon_of"]

MOST_SERIES = 50_000
"""Series that are looked at: each costs 72 bytes for each forecast that waits for its reading."""
_AHEAD = ("forecast", "forecast_lower", "forecast_upper")
_OF_ALL, _OF_ALL_BY_TIME = Decay(halflife=1e12), Decay(halflife="100000000 days")
"""Decays of a mean of all readings so far."""


@dataclass(frozen=True)
class FieldForecasts:
    """What was found for one field.

    ``readings`` of ``series`` were read, and ``unseen`` ones of series beyond the first
    `MOST_SERIES` were not looked at.
    """

    field: str
    readings: int
    series: int
    unseen: int
    horizons: tuple[HorizonForecasts, ...]


def horizon_of(text: str, smoothing: Smoothing, tick: Tick = MILLISECOND) -> Horizon:
    """Return a horizon that is written as a duration, or with count decay as a number of readings.

    Raises
    ------
    ConfigError
        If it is invalid.

    Examples
    --------
    >>> horizon_of("15min", Smoothing(Decay(halflife="1h")))
    Horizon(text='15min', ahead=900000)
    >>> horizon_of("6", Smoothing(Decay(beta=0.9)))
    Horizon(text='6', ahead=6)
    """
    if smoothing.decay.by_time:
        ahead = whole_ticks("horizon", text, tick.per_ms)
    else:
        ahead = int(text) if text.isdecimal() and len(text) < 10 else 0
    if ahead < 1:
        such = 'a duration > 0, such as "15min"' if smoothing.decay.by_time else "1 or more"
        per = "time" if smoothing.decay.by_time else "reading: give a number of readings"
        raise ConfigError(f"horizon is {text!r}: it must be {such}, as the decay is per {per}")
    return Horizon(text, ahead)


class Forecasting:
    """Reads a history, and reports how good forecasts of it would have been.

    Parameters
    ----------
    smoothing
        Its decay and options of an outlook make the forecasts; where none of its statistics needs
        an outlook, its mean does.
    horizons
        How far ahead; at least one.
    fields
        Names of the fields; none for one number.
    season
        Its length, as a horizon; ``None``: there is none to compare with.
    warm_up
        Readings of a series, >= 3, before the first that a forecast is made at.
    tick
        The unit of event times.

    Raises
    ------
    ConfigError
        If the smoothing has no forecasts.

    Examples
    --------
    >>> walk = np.cumsum(np.random.default_rng(1).normal(0, 1, 5_000))
    >>> smoothing = Smoothing(Decay(beta=0.8), outlook="level", statistics=["mean", "level"])
    >>> study = Forecasting(smoothing, [horizon_of("1", smoothing)])
    >>> study.take(Readings(["a"] * 5_000, walk))
    >>> (found,) = study.result()
    >>> methods = found.horizons[0].methods
    >>> [round(methods[name].mase, 2) for name in ("outlook", "last_value")]  # of a random walk
    [1.66, 1.0]
    """

    def __init__(
        self,
        smoothing: Smoothing,
        horizons: Sequence[Horizon],
        fields: Sequence[str] = (),
        season: Horizon | None = None,
        warm_up: int = 50,
        tick: Tick = MILLISECOND,
    ) -> None:
        self._names = [f"h{i}" for i in range(len(horizons))]
        asked = {
            name: _forecasting(smoothing, one)
            for name, one in zip(self._names, horizons, strict=True)
        }
        by_time = smoothing.decay.by_time
        alike = plain(
            smoothing,
            decay=_OF_ALL_BY_TIME if by_time else _OF_ALL,
            statistics=("mean",),
            trend_halflife=None,
        )
        self.fields = tuple(fields)
        """Names of the fields."""
        every = SmoothingSet.of({**asked, "all": alike}, self.fields or 1, tick=tick)
        self._table, self._index = SeriesTable(every), SeriesIndex()
        self._by_time = by_time
        self._studies = [
            ForecastsDue(horizons, season, warm_up, by_time=by_time, steps=_steps(smoothing))
            for _ in self.fields or [""]
        ]
        self._rows = self._unseen = 0
        self.rejected = 0
        """Readings that a policy rejected."""

    def take(self, readings: Readings) -> None:
        """Take a batch of readings in."""
        smoothed = self._table.update(readings, collect_rejected=True)
        if smoothed.rejected is not None:
            self.rejected += len(smoothed.rejected.readings)
        own = smoothed.readings
        if not len(own):
            return
        located = self._index.look_up(own.series_ids)
        self._index.add(located)
        self._rows += len(own)
        seen = located.rows < MOST_SERIES
        self._unseen += int(np.count_nonzero(~seen))
        kept = np.flatnonzero(seen)
        values = own.values.reshape(len(own), -1)[kept]
        times = None if own.times_ms is None or not self._by_time else own.times_ms[kept]
        for i, study in enumerate(self._studies):
            prefix = f"{self.fields[i]}_" if len(self.fields) > 1 else ""
            ahead = [
                [smoothed.statistics[f"{prefix}{name}_{one}"][kept] for one in _AHEAD]
                for name in self._names
            ]
            mean = smoothed.statistics[f"{prefix}all_mean"][kept]
            study.take(Made(located.rows[kept], times, values[:, i], np.array(ahead), mean))

    def result(self) -> list[FieldForecasts]:
        """Return what was found, for each field."""
        return [
            FieldForecasts(name, self._rows, len(self._index), self._unseen, study.found(None))
            for name, study in zip(value_keys(self.fields), self._studies, strict=True)
        ]

    def by_series(self, field: int) -> Iterator[tuple[str, tuple[HorizonForecasts, ...]]]:
        """Yield the id of each series, and what was found of one of its fields, by its place."""
        for row, series_id in enumerate(self._index.ids()[:MOST_SERIES]):
            yield series_id, self._studies[field].found(row)


def _steps(smoothing: Smoothing) -> bool:
    """Return whether a missing reading is a step too: weights decay past it."""
    return not smoothing.decay.by_time and smoothing.missing == "decay"


def _forecasting(smoothing: Smoothing, horizon: Horizon) -> Smoothing:
    """Return a smoothing that forecasts from the first readings on."""
    lines = smoothing.ahead.sloped and "age_variance" in smoothing.needs
    return plain(
        smoothing,
        statistics=("mean", *_AHEAD),
        outlook="trend" if lines else "level",
        horizon=horizon.text if smoothing.decay.by_time else float(horizon.ahead),
        trend_halflife=smoothing.trend_halflife if lines else None,
        damping=smoothing.damping if lines else None,
    )
