"""What is usual for series: gaps between readings, equal values in a row, memory, and seasons.

Knows readings in order of their series; must not know alarms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ewma_ops.monitor.chart_rule import HOURS
from ewma_ops.studies.segments import Segments, grown

__all__ = ["Habits"]

_Floats = NDArray[np.float64]
_PER_OCTAVE = 16
_OCTAVES = 64
_WEEK = HOURS["week"]
_LEAST_SEASONS = 4
_NEVER = np.iinfo(np.int64).min


class Habits:
    """Gather habits of many series, batch by batch.

    Attributes
    ----------
    longest_run
        How many readings of a series in a row had one value, at the most.
    longest_row
        The row of that series; -1 if there is none.
    longest_gap
        In ticks.

    Parameters
    ----------
    ticks_per_hour
        Of the times of readings.
    """

    def __init__(self, ticks_per_hour: int = 3_600_000) -> None:
        self._ticks_per_hour = ticks_per_hour
        self._hourly = np.zeros(_WEEK)
        self._of_hour = np.zeros(_WEEK, np.int64)
        self._span = [np.iinfo(np.int64).max, np.iinfo(np.int64).min]
        self._deviations = 0.0
        self.longest_run, self.longest_row, self.longest_gap = 0, -1, 0
        self._values, self._runs = np.empty(0), np.empty(0, np.int64)
        self._times = np.empty(0, np.int64)
        self._gaps = np.zeros(_OCTAVES * _PER_OCTAVE, np.int64)
        self._tops = np.zeros(_OCTAVES * _PER_OCTAVE, np.int64)
        self._residuals = np.empty(0)
        self._products = self._squares = 0.0

    def take(self, segments: Segments, values: _Floats, times: NDArray[np.int64] | None) -> None:
        """Take values and times of a batch, in the order of its segments."""
        n = int(segments.series.max()) + 1
        self._values = grown(self._values, n, np.nan)
        self._runs = grown(self._runs, n, 0)
        before = segments.before(values, self._values)
        places = np.arange(len(values))
        changes = values != before
        began = np.maximum.accumulate(np.where(changes, places, -1))
        starts = np.repeat(segments.starts, segments.ends - segments.starts + 1)
        goes_on = began < starts
        runs = np.where(
            goes_on, self._runs[segments.rows] + places - starts + 1, places - began + 1
        )
        self._runs[segments.series] = runs[segments.ends]
        longest = int(np.argmax(runs))
        if runs[longest] > self.longest_run:
            self.longest_run = int(runs[longest])
            self.longest_row = int(segments.rows[longest])
        if times is not None:
            self._take_gaps(segments, times, n)

    def take_residuals(
        self, segments: Segments, residuals: _Floats, times: NDArray[np.int64] | None = None
    ) -> None:
        """Take how far readings were from what was expected; NaN where nothing was."""
        if times is not None:
            self._take_hours(residuals, times)
        n = int(segments.series.max()) + 1
        self._residuals = grown(self._residuals, n, np.nan)
        before = segments.before(residuals, self._residuals)
        both = ~(np.isnan(residuals) | np.isnan(before))
        own, last = residuals[both], before[both]
        # Sums, not dot products: those wake the threads of a BLAS.
        self._products += float((own * last).sum())
        self._squares += 0.5 * float((own * own + last * last).sum())

    @property
    def correlation(self) -> float | None:
        """Of a residual with the one before it; ``None`` without residuals."""
        return self._products / self._squares if self._squares > 0.0 else None

    def of_the_hour(self, season: str) -> float | None:
        """Return the share of the variance of residuals that the hour of a season explains.

        ``season`` is ``"day"`` or ``"week"``; ``None`` if there are not four of it at least.
        """
        sums, counts = self._hourly, self._of_hour
        hours = HOURS[season]
        if self._span[1] - self._span[0] < _LEAST_SEASONS * hours:
            return None
        total, n = float(sums.sum()), int(counts.sum())
        deviations = self._deviations - total * total / n
        if not deviations > 0.0:
            return None
        sums, counts = (one.reshape(-1, hours).sum(axis=0) for one in (sums, counts))
        met = counts > 0
        between = float((sums[met] ** 2 / counts[met]).sum()) - total * total / n
        return between / deviations

    def gap(self, share: float) -> float | None:
        """Return a gap that a share of all gaps does not exceed, to 4 %; ``None`` if none is."""
        total = int(self._gaps.sum())
        if not total:
            return None
        place = int(np.searchsorted(np.cumsum(self._gaps), share * total))
        return float(self._tops[place])

    def _take_hours(self, residuals: _Floats, times: NDArray[np.int64]) -> None:
        known = ~np.isnan(residuals)
        if not known.any():
            return
        own, hours = residuals[known], times[known] // self._ticks_per_hour
        self._span = [min(self._span[0], int(hours.min())), max(self._span[1], int(hours.max()))]
        self._hourly += np.bincount(hours % _WEEK, own, _WEEK)
        self._of_hour += np.bincount(hours % _WEEK, minlength=_WEEK)
        self._deviations += float((own * own).sum())

    def _take_gaps(self, segments: Segments, times: NDArray[np.int64], n: int) -> None:
        self._times = grown(self._times, n, _NEVER)
        before = segments.before(times, self._times)
        gaps = (times - before)[before != _NEVER]
        gaps = gaps[gaps > 0]
        if len(gaps):
            self.longest_gap = max(self.longest_gap, int(gaps.max()))
            places = (np.log2(gaps) * _PER_OCTAVE).astype(np.intp)
            self._gaps += np.bincount(places, minlength=len(self._gaps))
            np.maximum.at(self._tops, places, gaps)
