"""Forecasts of a series, from its events: what a chart draws of them.

Knows names of statistics and the options of an outlook; must not know formulas, topics or pages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.stats.ops import of_numbers
from ewma_ops.stats.outlook import opening
from ewma_ops.stats.smoothing import Smoothing

__all__ = ["FORECASTS", "NAMES", "Lead", "Outlook", "ahead", "axis", "past_forecasts", "usual_gap"]

FORECASTS = ("forecast", "forecast_lower", "forecast_upper")
NAMES = (*FORECASTS, "level", "trend", "mase")
"""Statistics of an event about the outlook of its series."""

_SHARES = tuple(k / 8 for k in range(9))
_POINTS = 32
"""Most points of a forecast that is not a line."""
_GAPS = 100
_UNITS = (("day", 86_400.0), ("h", 3_600.0), ("min", 60.0))
_WITHIN = 6.0
"""The unit of a trend is at most this many horizons long, or half-lives without a horizon."""
_ROOM_AHEAD, _ROOM_PAST = 1.0, 0.25
_OFF = 0.5
"""A past forecast stands for a reading up to so much of the horizon from the time it is for."""


class Lead(NamedTuple):
    """How far ahead a forecast is: in seconds, or, with decay per reading, in readings."""

    seconds: float | None = None
    readings: float = 0.0

    def within(self, gap_s: float | None) -> float | None:
        """Return the seconds that it is where readings have such a gap; None: not known."""
        if self.seconds is None and gap_s is not None:
            return self.readings * gap_s
        return self.seconds


class Outlook(NamedTuple):
    """The numbers of an event about where its series is going, and how they were asked for.

    ``places`` are where in an event those of `NAMES` are that it has; ``per_s`` are ticks a second.
    """

    places: Mapping[str, int]
    smoothing: Smoothing
    per_s: float = 1000.0

    @property
    def forecasts(self) -> bool:
        """Whether events have a forecast."""
        return "forecast" in self.places

    @property
    def lead(self) -> Lead:
        """How far ahead a forecast is."""
        horizon = self.smoothing.ahead.horizon
        if self.smoothing.decay.by_time:
            return Lead(horizon / self.per_s)
        return Lead(readings=horizon)

    @property
    def unit(self) -> tuple[str, float]:
        """The unit of time in which a trend is shown, and the seconds that it has.

        Examples
        --------
        >>> from ewma_ops import Decay
        >>> asked = {"statistics": ["mean", "trend"]}
        >>> [Outlook({}, Smoothing(Decay(halflife=one), **asked)).unit[0]
        ...  for one in ("5s", "1min", "15min", "1d")]
        ['s', 'min', 'h', 'day']
        >>> Outlook({}, Smoothing(Decay(beta=0.9), **asked)).unit
        ('reading', 1.0)
        """
        decay = self.smoothing.decay
        if not decay.by_time:
            return "reading", 1.0
        scale_s = self.lead.seconds or decay.tau_s * math.log(2.0)
        return next((unit for unit in _UNITS if unit[1] <= _WITHIN * scale_s), ("s", 1.0))

    def about(self) -> dict[str, Any]:
        """Return what a page says of it that does not change."""
        return {
            "horizon": self.horizon,
            "within": self.within,
            "trend": "trend" in self.places,
            "unit": self.unit[0],
        }

    @property
    def horizon(self) -> str:
        """How far ahead a forecast is, in words; empty if there is none."""
        given = self.smoothing.horizon
        if not self.forecasts:
            return ""
        if not self.smoothing.decay.by_time:
            readings = self.lead.readings
            return f"{readings:g} reading{'' if readings == 1 else 's'}"
        return re.sub(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)", " ", str(given))

    @property
    def within(self) -> str:
        """The share of readings between the bounds, in words; empty if there are no bounds."""
        if not self.places.keys() >= {*FORECASTS}:
            return ""
        return f"{100 * self.smoothing.coverage:.6g} % within"


def usual_gap(times_s: NDArray[np.float64]) -> float | None:
    """Return the median gap of the newest readings, times in order; None where there is none."""
    if len(times_s) < 2:
        return None
    gap = float(np.median(np.diff(times_s[-_GAPS - 1 :])))
    return gap if gap > 0 else None


def ahead(
    of: Outlook,
    newest: Mapping[str, float],
    times_s: NDArray[np.float64],
    forecasts: NDArray[np.float64],
    most_s: float,
) -> dict[str, Any] | None:
    """Return the path of a forecast from the last reading to its horizon, with its bounds.

    It is the line from the level. If that is not known, or the series has a season, it joins what
    earlier events forecast for each time up to the horizon, and the newest one for the horizon.

    Parameters
    ----------
    of
        What the events have.
    newest
        The newest of `NAMES`, NaN for one that is not defined yet.
    times_s, forecasts
        When readings were, in order, one at least, and `FORECASTS` as of each, float64[n, 3]; NaN
        for one that was late.
    most_s
        How much of the path is wanted, at most.

    Returns
    -------
    dict
        Lists ``x`` in seconds, ``forecast``, and ``lower`` and ``upper``, which are empty if the
        events have no bounds; ``from``, when the last reading was; ``complete``, whether the last
        point is at the horizon. ``None`` if there is nothing to draw.
    """
    gap_s = usual_gap(times_s)
    lead_s, forecast = of.lead.within(gap_s), newest.get("forecast", math.nan)
    if lead_s is None or not math.isfinite(forecast):
        return None
    part = min(most_s / lead_s, 1.0)
    level = _level(of, newest)
    if level is None:
        x, way = _made_before(of.lead, lead_s, times_s, forecasts)
        end = np.array([newest.get(name, math.nan) for name in FORECASTS])
        kept = (x <= part * lead_s) & np.isfinite(way[:, np.isfinite(end)]).all(axis=1)
        x, way = np.append(x[kept], lead_s), np.vstack([way[kept], end])
        x, way = (x, way) if part == 1.0 else (x[:-1], way[:-1])
    else:
        x = part * lead_s * np.array(_SHARES)
        way = _line(of, newest, level, 0.0 if gap_s is None else gap_s * of.per_s, part)
    if not len(x):
        return None
    sides = zip(("forecast", "lower", "upper"), way.T, strict=True)
    shown = {
        name: [float(f"{y:.9g}") for y in side.tolist()] if np.isfinite(side).all() else []
        for name, side in sides
    }
    at_s = float(times_s[-1])
    return {"from": at_s, "complete": part == 1.0, "x": (at_s + x).tolist(), **shown}


def _line(
    of: Outlook, newest: Mapping[str, float], level: float, gap: float, part: float
) -> NDArray[np.float64]:
    """Return `FORECASTS` on a part of the way, where it is a line, at an average gap in ticks."""
    options, forecast = of.smoothing, newest["forecast"]
    shares = [part * share for share in _SHARES]
    opened = np.array(opening(options.ahead, of_numbers(options.decay), gap, shares))
    line = level + opened[:, 0] * (forecast - level)
    apart = [newest.get(name, math.nan) - forecast for name in FORECASTS[1:]]
    return np.column_stack([line, *(line + opened[:, 1] * one for one in apart)])


def _made_before(
    lead: Lead, lead_s: float, times_s: NDArray[np.float64], forecasts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what had been forecast for times until the horizon, and how far ahead they are."""
    n = len(times_s)
    if lead.seconds is None:
        first = max(n - round(lead.readings), 0)
        x = lead_s * (1.0 - np.arange(n - 1 - first, -1, -1) / lead.readings)
    else:
        first = int(np.searchsorted(times_s, times_s[-1] - lead_s, side="right"))
        x = times_s[first:] - times_s[-1] + lead_s
    way = forecasts[first:]
    kept = np.flatnonzero(np.isfinite(way[:, 0]) & (x < lead_s))
    if len(kept) > _POINTS:
        kept = kept[np.linspace(0, len(kept) - 1, _POINTS).astype(np.intp)]
    return x[kept], way[kept]


def _level(of: Outlook, newest: Mapping[str, float]) -> float | None:
    """Return where the line of a forecast begins; None where the events do not tell.

    With a season the way to the horizon is no line.
    """
    options = of.smoothing.ahead
    if options.season is not None:
        return None
    level, trend = newest.get("level", math.nan), newest.get("trend", math.nan)
    if not options.sloped:
        level = newest["forecast"]
    elif math.isnan(level):
        level = newest["forecast"] - trend / options.per_second * options.reach
    return level if math.isfinite(level) else None


def axis(
    readings: NDArray[np.float64], past: NDArray[np.float64], found: Mapping[str, Any] | None
) -> list[float] | None:
    """Return the lowest and the highest forecast that a chart makes room for.

    What is ahead may stretch the range of the readings by as much again on either side, and
    forecasts of the past by a quarter: a line leads anywhere. Where there is no range, all may.

    Parameters
    ----------
    readings, past
        What else is drawn, and the past forecasts, in any shape.
    found
        What `ahead` returned.

    Examples
    --------
    >>> none = np.zeros(0)
    >>> made = {"forecast": [2.0, 9.0], "lower": [], "upper": []}
    >>> axis(np.array([1.0, 3.0, np.nan]), np.array([0.0, 2.0]), made)
    [0.5, 5.0]
    >>> axis(np.array([1.0]), none, made), axis(none, none, None)
    ([2.0, 9.0], None)
    """
    known = readings[np.isfinite(readings)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    room = high - low or np.inf
    to_come = [] if found is None else [*found["forecast"], *found["lower"], *found["upper"]]
    parts = (np.array(to_come), _ROOM_AHEAD), (past, _ROOM_PAST)
    every = np.concatenate(
        [np.clip(y[np.isfinite(y)], low - share * room, high + share * room) for y, share in parts]
    )
    return [float(every.min()), float(every.max())] if len(every) else None


def past_forecasts(
    times_s: NDArray[np.float64], forecasts: NDArray[np.float64], lead: Lead, first: int, stop: int
) -> NDArray[np.float64]:
    """Return what had been forecast for some readings, a horizon before each.

    By time that is the newest forecast that was made at least a horizon before; it stands for a
    reading up to half the horizon after the time that it was for. A horizon that is no whole number
    of readings is rounded.

    Parameters
    ----------
    times_s, forecasts
        When readings were, in order, and what was forecast with each, float64[n, k]; NaN for one
        that was late.
    lead
        The horizon.
    first, stop
        Which readings are asked about.

    Returns
    -------
    float64[stop - first, k]
        NaN where there was no forecast.

    Examples
    --------
    >>> times, made = np.arange(5.0), np.arange(10.0, 15.0)[:, None]
    >>> past_forecasts(times, made, Lead(2.0), 0, 5)[:, 0].tolist()
    [nan, nan, 10.0, 11.0, 12.0]
    """
    found: NDArray[np.float64] = np.full((stop - first, forecasts.shape[1]), np.nan)
    if lead.seconds is None:
        n = round(lead.readings)
        begin = max(first, n)
        found[begin - first :] = forecasts[begin - n : max(stop - n, 0)]
        return found
    asked, lead_s = times_s[first:stop], lead.seconds
    since = int(np.searchsorted(times_s, asked[0] - (1.0 + _OFF) * lead_s)) if len(asked) else 0
    made = since + np.flatnonzero(np.isfinite(forecasts[since:stop, 0]))
    if not len(made):
        return found
    place = np.searchsorted(times_s[made], asked - lead_s, side="right") - 1
    source = made[place]  # of -1, where there was none, it is dropped
    known = (place >= 0) & (asked - times_s[source] <= (1.0 + _OFF) * lead_s)
    found[known] = forecasts[source[known]]
    return found
