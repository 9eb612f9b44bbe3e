"""The alarms that rules would have raised in a history, by limit, in one pass.

Knows a table with rules, and counts; must not know the source of readings, or the output.

The scores do not depend on the limit: the table computes them once, and `LimitGrid` counts for
every limit. A limit is *calibrated* on the first half of the readings: the limit whose number of
alarms there is nearest to the wanted one. Its result in the second half, which it has not seen, is
what to expect of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.columns.transitions import TRANSITIONS
from ewma_ops.monitor.globs import matcher
from ewma_ops.monitor.rules import AlarmRules, ChartRule, Rule, Stale
from ewma_ops.studies.habits import Habits
from ewma_ops.studies.limit_grid import LimitGrid, grid_of
from ewma_ops.studies.poisson import interval, tail
from ewma_ops.studies.segments import Segments, by_series
from ewma_ops.studies.silences import SilenceCount
from ewma_ops.studies.time_bins import TimeBins
from ewma_ops.table.index import SeriesIndex
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

__all__ = ["FEW", "Backtest", "Calibrated", "Count", "RuleFindings"]

_Floats = NDArray[np.float64]
_OUT_OF_REACH = 9e5
"""A limit that no score reaches: the table only scores then."""
_TOGETHER = 1 << 15
_MOST_SHOWN = 10
FEW = 5.0
"""With fewer alarms than this in half of the history a limit is hardly calibrated."""
_RAISED = TRANSITIONS.index("raised")


class Count(NamedTuple):
    """How often a limit would have raised an alarm: altogether, and in each half."""

    limit: float
    raised: int
    first: int
    second: int


class Calibrated(NamedTuple):
    """A limit from the first half, and what it does in the second.

    ``wanted`` are the alarms that the rate asks for in each half, ``within`` the 95 % interval of
    the second's, and ``chance`` that of a number as far from it as ``second`` is.
    """

    limit: float
    first: int
    second: int
    wanted_first: float
    wanted: float
    within: tuple[int, int]
    chance: float


@dataclass(frozen=True)
class RuleFindings:
    """The result for one rule.

    ``every`` is how many readings there are to be for one false alarm, if that is known;
    ``own`` counts at the rule's own limit, with what was expected and its chance. ``worst``
    are the series with most alarms at the limit ``worst_at``, which is about the calibrated one, or
    else the rule's own.
    """

    name: str
    kind: str
    judged: int
    every: float | None
    own: Count
    expected: float | None
    chance: float | None
    counts: tuple[Count, ...]
    calibrated: Calibrated | None
    worst: tuple[tuple[str, int], ...]
    worst_at: float
    series_with_alarms: int


class Backtest:
    """Reads a history, and reports the alarms that rules would have raised.

    Parameters
    ----------
    smoothing_set
        Of the job.
    rules
        With their limits, as `AlarmRules.with_limits` returns them.

    Attributes
    ----------
    readings, rejected
        How many were taken in, and how many a policy has rejected.
    habits
        What is usual for the series.
    first, last
        The oldest and the newest event time; ``None`` without times.
    """

    def __init__(self, smoothing_set: SmoothingSet, rules: AlarmRules) -> None:
        scored = {name: _scoring(rule) for name, rule in rules.rules}
        own = replace(AlarmRules.of(scored, in_events=True), parts=_PARTS)
        self._table = SeriesTable(smoothing_set, alarms=own)
        self._index = SeriesIndex()
        self._rules = rules
        self._charts = [
            _Chart(name, rule) for name, rule in rules.rules if isinstance(rule, ChartRule)
        ]
        expecting = [i for i, one in enumerate(self._charts) if one.kind != "spread"]
        self._of_mean = expecting[0] if expecting else -1  # expects a mean
        self._plain = {
            at: name
            for at, (name, rule) in enumerate(rules.rules)
            if not isinstance(rule, ChartRule)
        }
        self._raised: dict[str, Counter[str]] = {name: Counter() for name in self._plain.values()}
        self._silences = {
            name: SilenceCount(rule, smoothing_set.tick.per_ms, smoothing_set.forget_after)
            for name, rule in rules.rules
            if isinstance(rule, Stale)
        }
        self.habits = Habits(3_600_000 * smoothing_set.tick.per_ms)
        fields = self._fields = smoothing_set.fields
        self._places = [fields.index(str(chart.field)) if fields else 0 for chart in self._charts]
        self.readings = self.rejected = 0
        self.first: int | None = None
        self.last: int | None = None
        self._waiting: list[_Taken] = []
        self._waits = 0

    @property
    def series(self) -> int:
        """How many series there are."""
        return len(self._index)

    @property
    def series_of_longest_run(self) -> str | None:
        """The series with most equal values in a row."""
        row = self.habits.longest_row
        return self._index.ids()[row] if row >= 0 else None

    def take(self, readings: Readings) -> None:
        """Take a batch of readings in."""
        for smoothed in self._table.update_in_order(readings):
            if smoothed.rejected is not None:
                self.rejected += len(smoothed.rejected.readings)
            if len(smoothed):
                self._take(smoothed)

    def result(self, every: Mapping[str, float]) -> list[RuleFindings]:
        """Return what each rule would have done, in order.

        Parameters
        ----------
        every
            Readings per false alarm, by rule: of those that are to be calibrated.
        """
        self._flush()
        charts = {one.name: one.result(self._index, every.get(one.name)) for one in self._charts}
        kinds = {name: rule.kind for name, rule in self._rules.rules}
        found = []
        for name in self._rules.names:
            if name in charts:
                found.append(charts[name])
                continue
            counted, judged = self._raised[name], self.readings
            if name in self._silences:
                counted, judged = self._of_silences(name), self._silences[name].judged
            worst = tuple(counted.most_common(_MOST_SHOWN))
            none = Count(np.nan, sum(counted.values()), 0, 0)
            found.append(
                RuleFindings(name, kinds[name], judged, None, none, None, None, (), None,
                             worst, np.nan, len(counted))
            )  # fmt: skip
        return found

    def _of_silences(self, name: str) -> Counter[str]:
        """Return how often each series was silent for too long, of those that the rule is for."""
        concerns = matcher(dict(self._rules.rules)[name].series)
        found = self._silences[name].by_series(self._index.ids().__getitem__)
        return Counter({series_id: n for series_id, n in found.items() if concerns(series_id)})

    def _take(self, smoothed: Smoothed) -> None:
        own = smoothed.readings
        for series_id, rule, became in _transitions(smoothed):
            if became == _RAISED and rule in self._plain:
                self._raised[self._plain[rule]][series_id] += 1
        located = self._index.look_up(own.series_ids)
        self._index.add(located)
        times = own.times_ms
        if times is not None and len(times):
            low, high = int(times.min()), int(times.max())
            self.first = low if self.first is None else min(self.first, low)
            self.last = high if self.last is None else max(self.last, high)
        numbers = np.arange(self.readings, self.readings + len(own))
        self.readings += len(own)
        scores = {
            chart.name: tuple(smoothed.statistics[f"{chart.name}_{part}"] for part in _PARTS)
            for chart in self._charts
        }
        values = own.values if own.values.ndim == 1 else own.values[:, (self._places or [0])[0]]
        clock = times if own.logged is None else own.logged
        if clock is not None:
            self._hear(located.rows, own.values, clock)
        when = numbers if times is None else times
        self._waiting.append(_Taken(located.rows, values, when, times is not None, scores))
        self._waits += len(own)
        if self._waits >= _TOGETHER:
            self._flush()

    def _hear(self, rows: NDArray[np.intp], values: _Floats, clock: NDArray[np.int64]) -> None:
        for name, count in self._silences.items():
            field = dict(self._rules.rules)[name].field
            own = values if values.ndim == 1 else values[:, self._fields.index(str(field))]
            at = np.flatnonzero(~np.isnan(own))
            count.take(rows[at], clock[at])

    def _flush(self) -> None:
        waiting, self._waiting, self._waits = self._waiting, [], 0
        if not waiting:
            return
        segments = by_series(np.concatenate([one.rows for one in waiting]))
        order = segments.order
        times = np.concatenate([one.when for one in waiting])[order]
        values = np.concatenate([one.values for one in waiting])[order]
        timed = all(one.timed for one in waiting)
        self.habits.take(segments, values, times if timed else None)
        for i, chart in enumerate(self._charts):
            columns = zip(*(one.scores[chart.name] for one in waiting), strict=True)
            z, deviation, expected = (np.concatenate(column)[order] for column in columns)
            judged = ~np.isnan(z)
            z = np.where(chart.concerned(segments.rows, self._index), z, np.nan)
            chart.take(segments, times, z, deviation)
            if i == self._of_mean:
                residuals = np.where(judged, values - expected, np.nan)
                self.habits.take_residuals(segments, residuals, times if timed else None)


_PARTS = ("z", "deviation", "expected")


class _Taken(NamedTuple):
    rows: NDArray[np.intp]
    values: _Floats
    when: NDArray[np.int64]
    timed: bool
    scores: Mapping[str, tuple[_Floats, ...]]


class _Chart:
    """One rule about a score."""

    def __init__(self, name: str, rule: ChartRule) -> None:
        assert rule.limit is not None
        self.name, self.kind, self.field, self._rule = name, rule.kind, rule.field, rule
        limits = grid_of(rule.limit)
        own = [int(np.searchsorted(limits, rule.limit))]
        self._grid = LimitGrid(limits, rule.clear, rule.for_, rule.clear_for, own)
        self._bins = TimeBins(1 + len(self._grid.limits))
        self._judged = 0
        self._concerns = matcher(rule.series)
        self._concerned = np.empty(0, np.bool_)

    def concerned(self, rows: NDArray[np.intp], index: SeriesIndex) -> NDArray[np.bool_]:
        """Return which readings are of series that the rule is for."""
        if not self._rule.series:
            return np.ones(len(rows), np.bool_)
        new = index.texts(len(self._concerned))
        own = np.fromiter(map(self._concerns, new), np.bool_, len(new))
        self._concerned = np.concatenate([self._concerned, own])
        return self._concerned[rows]

    def take(
        self,
        segments: Segments,
        times: NDArray[np.int64],
        z: _Floats,
        deviation: _Floats,
    ) -> None:
        judged = ~np.isnan(z)
        self._judged += int(np.count_nonzero(judged))
        self._bins.add(0, times[judged])
        never = np.where(judged, z, -np.inf)
        high = never if self._rule.direction != "low" else np.full(len(z), -np.inf)
        low = np.where(judged, -z, -np.inf)
        if self._rule.direction == "high":
            low = np.full(len(z), -np.inf)
        back = {"both": np.abs(z), "high": z, "low": -z}[self._rule.direction]
        back = np.where(judged, back, np.inf)
        if self._rule.least > 0.0:
            high = np.where(deviation >= self._rule.least, high, -np.inf)
            low = np.where(deviation <= -self._rule.least, low, -np.inf)
            near = np.abs(deviation) < self._rule.clear * self._rule.least
            back = np.where(near, -np.inf, back)
        self._grid.take(
            segments, high, low, back, lambda g, places: self._bins.add(1 + g, times[places])
        )

    def result(self, index: SeriesIndex, every: float | None) -> RuleFindings:
        bins, limits = self._bins, self._grid.limits
        half = bins.cut_at(0, 0.5)
        firsts, totals = bins.counts[:half].sum(axis=0), bins.counts.sum(axis=0)
        counts = tuple(
            Count(limit, int(totals[g]), int(firsts[g]), int(totals[g] - firsts[g]))
            for g, limit in enumerate(limits.tolist(), 1)
        )
        own = next(one for one in counts if one.limit == self._rule.limit)
        expected = None if every is None else self._judged / every
        judged = int(firsts[0]), int(totals[0] - firsts[0])
        calibrated = None if every is None else _calibrated(counts, *judged, every)
        shown = own.limit if calibrated is None else calibrated.limit
        near, column = self._grid.by_series(shown)
        ids = index.ids()
        worst = np.argsort(-column.astype(np.int64), kind="stable")[:_MOST_SHOWN]
        return RuleFindings(
            self.name,
            self.kind,
            self._judged,
            every,
            own,
            expected,
            None if expected is None else tail(own.raised, expected),
            counts,
            calibrated,
            tuple((ids[row], int(column[row])) for row in worst.tolist() if column[row]),
            near,
            int(np.count_nonzero(column)),
        )


def _calibrated(
    counts: Sequence[Count], judged_first: int, judged_second: int, every: float
) -> Calibrated | None:
    """Return the limit that comes nearest to what is wanted in the first half."""
    wanted_first, wanted = judged_first / every, judged_second / every
    if not judged_second or counts[-1].first > 2.0 * wanted_first + 1.0:
        return None
    if counts[0].first < 0.5 * wanted_first:  # so low a limit would be arbitrary
        return None
    fits = min(counts, key=lambda one: abs(math.log((one.first + 0.5) / (wanted_first + 0.5))))
    return Calibrated(
        fits.limit,
        fits.first,
        fits.second,
        wanted_first,
        wanted,
        interval(wanted),
        tail(fits.second, wanted),
    )


def _scoring(rule: Rule) -> Rule:
    """Return a rule that never raises an alarm, but scores as it did."""
    if not isinstance(rule, ChartRule):
        return rule
    return replace(rule, limit=_OUT_OF_REACH, least=0.0, critical=None)


def _transitions(smoothed: Smoothed) -> list[tuple[str, int, int]]:
    found = smoothed.transitions
    if found is None:
        return []
    return list(
        zip(found.series_ids, found.rules.tolist(), found.transitions.tolist(), strict=True)
    )
