"""Forecasts of one field that wait for the readings they predict, and their comparison.

Knows readings in columns, with what is forecast at each; must not know how that is computed.

By time, a forecast is compared with the reading nearest to its moment, at most a tenth of the
horizon away; of readings closer together than a twentieth of it, the first of each twentieth makes
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.monitor.tracking import Arrivals
from ewma_ops.stats.states import NEVER
from ewma_ops.studies.forecast_errors import ForecastErrors, Horizon, HorizonForecasts, Pending
from ewma_ops.studies.pairing import Clocked
from ewma_ops.studies.segments import Segments, by_series, grown

__all__ = ["ForecastsDue", "Made"]

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

_TOGETHER = 1 << 16
_REACH = 10
_PER_HORIZON = 20
_PER_SEASON = 1_440
"""Moments of a season whose values are kept for the next one."""


class Made(NamedTuple):
    """Readings of one field, and what is forecast at each: float64[horizons, 3, n], with bounds.

    ``mean`` is that of all readings so far.
    """

    rows: NDArray[np.intp]
    times: _Ints | None
    values: _Floats
    ahead: _Floats
    mean: _Floats


class ForecastsDue:
    """The forecasts of one field.

    Parameters
    ----------
    horizons, season, warm_up
        As for `Forecasting`.
    by_time
        Whether horizons are times, and not numbers of readings.
    steps
        Whether a missing reading counts as one.
    """

    def __init__(
        self,
        horizons: Sequence[Horizon],
        season: Horizon | None,
        warm_up: int,
        *,
        by_time: bool,
        steps: bool,
    ) -> None:
        self._horizons, self._warm_up, self._by_time = horizons, warm_up, by_time
        self._season, self._steps = season, steps
        self._newest, self._seen = np.empty(0, np.int64), np.empty(0, np.int64)
        self._clock, self._value = np.empty(0, np.int64), np.empty(0)
        self._waiting: list[Made] = []
        self._waits = 0
        self._past = Clocked.none()
        self._pending = [Pending.none() for _ in horizons]
        self._errors = ForecastErrors(len(horizons), with_season=season is not None)

    def take(self, made: Made) -> None:
        """Take readings in, with what is forecast at each."""
        self._waiting.append(made)
        self._waits += len(made.rows)
        waits = [_TOGETHER, len(self._past.rows), *(len(one.rows) for one in self._pending)]
        if self._waits >= max(waits):
            self._flush()

    def found(self, row: int | None) -> tuple[HorizonForecasts, ...]:
        """Return what was found of one series, or of all."""
        self._flush()
        return tuple(self._errors.found(i, row, one) for i, one in enumerate(self._horizons))

    def _flush(self) -> None:
        if not (waiting := [one for one in self._waiting if len(one.rows)]):
            return
        self._waiting, self._waits = [], 0
        rows = np.concatenate([one.rows for one in waiting])
        values = np.concatenate([one.values for one in waiting])
        times = None
        if self._by_time:
            times = np.concatenate([t for one in waiting if (t := one.times) is not None])
        n = int(rows.max()) + 1
        for name, fill in (("_newest", NEVER), ("_seen", 0), ("_clock", NEVER), ("_value", np.nan)):
            setattr(self, name, grown(getattr(self, name), n, fill))
        self._errors.grow(n)
        kept = np.arange(len(rows)) if self._steps else np.flatnonzero(~np.isnan(values))
        if times is not None:
            new = self._newest[rows[kept]] == NEVER
            gaps = Arrivals(rows[kept]).gaps(times[kept], self._newest)
            kept = kept[(gaps > 0) | (new & _first(rows[kept]))]
        if not len(kept):
            return
        segments = by_series(rows[kept])
        at = kept[segments.order]
        ahead = np.concatenate([one.ahead for one in waiting], axis=2)[:, :, at]
        mean = np.concatenate([one.mean for one in waiting])[at]
        self._advance(segments, None if times is None else times[at], values[at], ahead, mean)

    def _advance(
        self,
        segments: Segments,
        times: _Ints | None,
        values: _Floats,
        ahead: _Floats,
        mean: _Floats,
    ) -> None:
        """Take readings in order of their series, none of them late."""
        sizes = segments.ends - segments.starts + 1
        within = np.arange(len(values)) - np.repeat(segments.starts, sizes)
        number = self._seen[segments.rows] + within
        clocks = number if times is None else times
        series = segments.series
        newest = Clocked(series, self._clock[series], self._value[series])
        newest = newest.take(self._seen[series] > 0)
        before = segments.before(clocks, self._clock)
        last = segments.before(values, self._value)
        self._errors.scale(segments, np.where(number > 0, np.abs(values - last), np.nan))
        new = Clocked(segments.rows, clocks, values)
        readings = newest.followed_by(new)
        for i, horizon in enumerate(self._horizons):
            origins = number >= self._warm_up - 1
            if times is not None:
                window = max(horizon.ahead // _PER_HORIZON, 1)
                origins &= clocks // window != before // window
            made = Pending.made(new, origins, horizon.ahead, ahead[i], mean)
            if self._season is not None:
                made = made._replace(season=self._season_before(new, origins, horizon))
            self._settle(i, readings, self._pending[i].joined(made))
        self._seen[series] += sizes
        if self._season is not None:
            self._remember(new, before)

    def _reach(self, horizon: Horizon) -> int:
        """Return how far a reading may be from the moment that was forecast."""
        return horizon.ahead // _REACH if self._by_time else 0

    def _season_before(self, new: Clocked, origins: NDArray[np.bool_], horizon: Horizon) -> _Floats:
        """Return the newest value, of those up to each origin, of the same moment of a season."""
        assert self._season is not None
        length = self._season.ahead
        back = -(-horizon.ahead // length) * length - horizon.ahead
        own = np.isin(self._past.rows, new.rows)
        past = self._past.take(own).followed_by(new)
        rows, moments = new.rows[origins], new.clocks[origins] - back
        reach = 0
        if self._by_time:
            reach = min(max(self._reach(horizon), length // _PER_SEASON), length // _REACH)
        since = np.full(len(rows), NEVER)
        return past.nearest(rows, moments, since, min(reach, back))

    def _remember(self, new: Clocked, before: _Ints) -> None:
        """Keep the values that the next season is compared with."""
        assert self._season is not None
        length = self._season.ahead
        if self._by_time:
            window = max(length // _PER_SEASON, 1)
            new = new.take(new.clocks // window != before // window)
        past = self._past.followed_by(new)
        since = self._clock[past.rows] - length - length // _REACH
        self._past = past.take(past.clocks >= since)

    def _settle(self, i: int, readings: Clocked, pending: Pending) -> None:
        """Compare forecasts whose moment has come; the others wait."""
        due = pending.due <= self._clock[pending.rows]
        self._pending[i] = pending.take(~due)
        come = pending.take(due)
        reach = self._reach(self._horizons[i])
        values = readings.nearest(come.rows, come.due, come.origins + 1, reach)
        self._errors.take(i, come, values)


def _first(rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell of each reading whether it is the first of its series in the batch."""
    found = np.zeros(len(rows), np.bool_)
    found[np.unique(rows, return_index=True)[1]] = True
    return found
