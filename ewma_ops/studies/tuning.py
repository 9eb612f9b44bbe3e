"""Which decay predicts a history best: one-step errors of many decays, in one pass.

Knows a table of several smoothings; must not know where readings are from.

A mean before a reading predicts it, or the line before it, with its season if there is one, where
forecasts are asked for; the error is what is left. Series have scales of their own, so their errors
are put together as the likelihood does it: the mean of ln(mean squared error) of each series, by
its number of readings. The optimum is flat. Between candidates it is the lowest point of a parabola
in ln(half-life), and what costs no more than 1 % of error is as good: of that the smoothest is
suggested.

The half-life of a season is looked for at the decay that is in use, and decays with the season that
is in use: found in turns, both are the best.

Where the level of a series is a random walk, with steps of variance q (in variances of the noise),
the best weight of a new reading is (sqrt(q^2 + 4 q) - q) / 2. (J. F. Muth, J. American Statistical
Association 55 (1960) 299-306.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.event_names import value_keys
from ewma_ops.columns.readings import Readings
from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.errors import ConfigError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.studies.plain import plain
from ewma_ops.studies.segments import Segments, by_series, grown
from ewma_ops.table.index import SeriesIndex
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

__all__ = ["Candidate", "Optimum", "Tuned", "Tuning"]

_Floats = NDArray[np.float64]

_SHORTEST, _PER_OCTAVE, _CANDIDATES = 0.25, 4, 60
_SEASONS = 0.25 * 2.0 ** (np.arange(14) / 2.0)
"""Half-lives of a season that are tried, in periods."""
_AS_GOOD = 1.01
MOST_SERIES = 100_000
"""Series that are looked at: each costs 8 bytes for each candidate."""


class Candidate(NamedTuple):
    """A decay, by its half-life, and its error as a multiple of the best one's."""

    halflife: float
    cost: float


class Optimum(NamedTuple):
    """The half-life with the least error among candidates, in readings or in milliseconds.

    ``interval`` costs at most 1 %; ``at_edge`` is which end of the candidates the best one is:
    ``""``, ``"shortest"`` or ``"longest"``.
    """

    best: float
    interval: tuple[float, float]
    at_edge: str
    candidates: tuple[Candidate, ...]

    @property
    def suggested(self) -> float:
        """The half-life to take: the smoother end of what is as good."""
        return self.interval[1]


@dataclass(frozen=True)
class Tuned:
    """What was found for one field.

    Half-lives are in milliseconds if ``by_time``, else in readings. ``given`` is the cost of the
    decay that is in use, ``last_value`` that of no smoothing at all. ``unseen`` counts the readings
    of series beyond the first `MOST_SERIES`, which were not looked at. ``of_line`` tells whether a
    line predicted, and not a mean. ``season`` is of its season, with the decay that is in use.
    """

    field: str
    by_time: bool
    readings: int
    series: int
    decay: Optimum
    given: float
    last_value: float
    unseen: int = 0
    of_line: bool = False
    season: Optimum | None = None


class Tuning:
    """Take readings in, and report at the end which decay would have predicted them best.

    Parameters
    ----------
    smoothing
        Its policies and weighting are kept; if its statistics have a trend or forecasts of one,
        the line predicts, and else the mean. Its decay says whether half-lives are in readings or
        in time, and is compared with the others.
    fields
        Names of the fields; none for one number.
    usual_gap_ms
        Of by-time decays: half-lives are tried from a quarter of it to about 7,000 times as long.
    tick
        How many ticks of event times are a millisecond.

    Raises
    ------
    ConfigError
        If the smoothing cannot be tuned, or there is no usual gap though decay is by time.

    Examples
    --------
    >>> random = np.random.default_rng(1)
    >>> level = np.cumsum(random.normal(0, 0.2, 20_000))
    >>> tuning = Tuning(Smoothing(Decay(beta=0.9)))
    >>> tuning.take(Readings(["a"] * 20_000, level + random.normal(0, 1, 20_000)))
    >>> (found,) = tuning.result()
    >>> round(1 - 0.5 ** (1 / found.decay.best), 2)  # the weight of a reading; theory says 0.18
    0.18
    """

    def __init__(
        self,
        smoothing: Smoothing,
        fields: Sequence[str] = (),
        usual_gap_ms: float | None = None,
        tick: Tick = MILLISECOND,
    ) -> None:
        self._by_time = smoothing.decay.by_time
        if self._by_time and not usual_gap_ms:
            raise ConfigError(
                "decay is by time, and no series has two readings at different times: there is "
                "nothing to tune"
            )
        gap = float(usual_gap_ms or 1.0) if self._by_time else 1.0
        self.halflives = gap * _SHORTEST * 2.0 ** (np.arange(_CANDIDATES) / _PER_OCTAVE)
        tried = {
            f"c{i:02}": _predicting(smoothing, Decay(halflife=f"{h:.6f}ms" if self._by_time else h))
            for i, h in enumerate(self.halflives.tolist())
        }
        own = _predicting(smoothing, smoothing.decay)
        self.season_halflives, seasons = _seasonal(own)
        self._names = [*tried, "given", *seasons]
        self._of_outlook = "forecast_error" in own.statistics
        self._sloped = own.ahead.sloped
        self._fields = list(fields)
        every = {**tried, "given": own, **seasons}
        asked = SmoothingSet.of(every, self._fields or 1, tick=tick)
        self._table, self._index = SeriesTable(asked), SeriesIndex()
        k = len(self._names)
        self._errors = [_Errors(k) for _ in self._fields or [""]]
        self.unseen = 0
        """Readings of series beyond `MOST_SERIES`."""

    def take(self, readings: Readings) -> None:
        """Take a batch of readings in."""
        smoothed = self._table.update(readings, collect_rejected=True)
        own = smoothed.readings
        if not len(own):
            return
        located = self._index.look_up(own.series_ids)
        self._index.add(located)
        rows = located.rows
        seen = rows < MOST_SERIES
        self.unseen += int(np.count_nonzero(~seen))
        if not seen.any():
            return
        kept = np.flatnonzero(seen)
        segments = by_series(rows[kept])
        at = kept[segments.order]
        values = own.values.reshape(len(own), -1)[at]
        for i, errors in enumerate(self._errors):
            prefix = f"{self._fields[i]}_" if len(self._fields) > 1 else ""
            of = "forecast_error" if self._of_outlook else "mean"
            columns = [smoothed.statistics[f"{prefix}{name}_{of}"][at] for name in self._names]
            found = np.array(columns).T
            if not self._of_outlook:
                found = errors.of_means(segments, values[:, i], found)
            errors.take(segments, values[:, i], found)

    def result(self) -> list[Tuned]:
        """Return what was found, for each field.

        Raises
        ------
        ConfigError
            If no series has two different values.
        """
        names = value_keys(self._fields)
        return [self._tuned(name, errors) for name, errors in zip(names, self._errors, strict=True)]

    def _tuned(self, field: str, errors: _Errors) -> Tuned:
        costs, readings, series = errors.costs()
        optimum, least = _optimum(self.halflives, costs[:_CANDIDATES])
        given, *of_seasons, last_value = costs[_CANDIDATES:]
        season = None
        if of_seasons:
            season, _ = _optimum(self.season_halflives, np.array(of_seasons))
        return Tuned(
            field,
            self._by_time,
            readings,
            series,
            optimum,
            float(np.exp(given - least)),
            float(np.exp(last_value - least)),
            self.unseen,
            self._of_outlook and self._sloped,
            season,
        )


def _predicting(smoothing: Smoothing, decay: Decay) -> Smoothing:
    """Return a smoothing with another decay, and what predicts from the first reading on."""
    ahead = smoothing.ahead
    of_outlook = (ahead.sloped or ahead.season is not None) and "age_variance" in smoothing.needs
    statistics = ("mean", "forecast_error") if of_outlook else ("mean",)
    return plain(smoothing, decay=decay, statistics=statistics)


def _seasonal(own: Smoothing) -> tuple[_Floats, dict[str, Smoothing]]:
    """Return the half-lives of a season that are tried, and smoothings with them, by name."""
    season, decay = own.ahead.season, own.decay
    if season is None or "forecast_error" not in own.statistics:
        return np.empty(0), {}
    halflives = _SEASONS * (season.phases * season.slot / decay.ticks_per_ms)
    return halflives, {
        f"s{i:02}": replace(own, season_halflife=f"{h:.6f}ms" if decay.by_time else h)
        for i, h in enumerate(halflives.tolist())
    }


def _optimum(halflives: _Floats, costs: _Floats) -> tuple[Optimum, float]:
    """Return the best of candidates, by their costs in logarithms; and the least cost."""
    lowest = int(np.argmin(costs))
    x = np.log(halflives)
    best, least = _lowest_point(x, costs, lowest)
    limit = np.log(_AS_GOOD) + least
    low, high = (_reached(x, costs, lowest, limit, step) for step in (-1, 1))
    listed = zip(halflives.tolist(), np.exp(costs - least).tolist(), strict=True)
    optimum = Optimum(
        float(np.exp(best)),
        (float(np.exp(low)), float(np.exp(high))),
        {0: "shortest", len(x) - 1: "longest"}.get(lowest, ""),
        tuple(Candidate(halflife, cost) for halflife, cost in listed),
    )
    return optimum, least


class _Errors:
    """Squared errors of k candidates, and of the last value, by series."""

    def __init__(self, k: int) -> None:
        self._means: _Floats = np.empty((0, k))
        self._last: _Floats = np.empty(0)
        self._sums: _Floats = np.empty((0, k + 1))
        self._counts: _Floats = np.empty(0)

    def of_means(self, segments: Segments, values: _Floats, means: _Floats) -> _Floats:
        """Return readings less the means before them."""
        self._means = grown(self._means, int(segments.series.max()) + 1, np.nan)
        return values[:, None] - segments.before(means, self._means)

    def take(self, segments: Segments, values: _Floats, errors: _Floats) -> None:
        n = int(segments.series.max()) + 1
        self._last, self._sums = grown(self._last, n, np.nan), grown(self._sums, n, 0.0)
        self._counts = grown(self._counts, n, 0.0)
        last = segments.before(self._held(segments, values), self._last)
        errors = np.column_stack([errors, values - last])
        known = np.asarray(~np.isnan(errors).any(axis=1))
        squares = np.where(known[:, None], errors * errors, 0.0)
        self._sums[segments.series] += segments.sums(squares)
        self._counts[segments.series] += segments.sums(known.astype(np.float64))

    def _held(self, segments: Segments, values: _Floats) -> _Floats:
        """Return each value, or the one before it where it is missing."""
        missing = np.isnan(values)
        if not missing.any():
            return values
        places = np.arange(len(values))
        starts = np.repeat(segments.starts, segments.ends - segments.starts + 1)
        newest = np.maximum.accumulate(np.where(missing, -1, places))
        held = np.where(newest >= starts, newest, -1)
        return np.where(held >= 0, values[held], self._last[segments.rows])

    def costs(self) -> tuple[_Floats, int, int]:
        """Return half the mean ln of the squared errors, the readings and the series."""
        varies = (self._counts > 0) & (self._sums > 0).all(axis=1)
        counts = self._counts[varies]
        if not len(counts):
            raise ConfigError(
                "no series has two different values one after the other, with a season a period or "
                "more after its first: there is nothing to tune"
            )
        means = np.log(self._sums[varies] / counts[:, None])
        found: _Floats = 0.5 * (counts @ means) / counts.sum()
        return found, int(counts.sum()), len(counts)


def _lowest_point(x: _Floats, y: _Floats, at: int) -> tuple[float, float]:
    """Return the lowest point of the parabola through three points about ``at``."""
    if not 0 < at < len(x) - 1:
        return float(x[at]), float(y[at])
    step = x[at + 1] - x[at]
    below, own, above = (float(one) for one in y[at - 1 : at + 2])
    bend = below - 2.0 * own + above
    if bend <= 0.0:
        return float(x[at]), own
    shift = 0.5 * (below - above) / bend
    return float(x[at] + shift * step), own - 0.125 * (below - above) ** 2 / bend


def _reached(x: _Floats, y: _Floats, at: int, limit: float, step: int) -> float:
    """Return where, going away from the lowest point, the cost reaches the limit."""
    place = at
    while 0 <= place + step < len(x):
        if y[place + step] > limit:
            share = (limit - y[place]) / (y[place + step] - y[place])
            return float(x[place] + max(share, 0.0) * (x[place + step] - x[place]))
        place += step
    return float(x[place])
