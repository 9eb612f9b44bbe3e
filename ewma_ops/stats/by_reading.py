"""`ReadingStepper`: `by_column` for a single reading, in plain Python.

For live streams of few readings, where one NumPy call costs more than the arithmetic of a reading.
It calls the same formulas (`weights`, `states`, `statistics`) with numbers in place of columns, so
the bits are the same; the law tests compare the two. Only `ReadingStepper._step_mean` is written
out by hand, because most streams need nothing but the mean.
Knows the options and one row of state; must not know series ids, tables or streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from numpy.typing import NDArray

from ewma_ops.stats import ops, season
from ewma_ops.stats.moments import Moments
from ewma_ops.stats.policies import MISSING
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.states import NEVER, STATES, read_before, set_second_moment_factors
from ewma_ops.stats.statistics import STATISTICS, reads_of
from ewma_ops.stats.weights import TINY, Weighing

__all__ = ["ReadingStepper"]


class _Profile:
    """The numbers of each phase of the season, of the series at ``row``."""

    def __init__(self, columns: Mapping[str, Any], phases: int) -> None:
        self._columns, self._phases, self.row = columns, phases, 0

    def read(self, name: str, phase: int, i: Any) -> float:
        """Return a number, of the field ``i``; ``...`` of what all fields share."""
        at = phase if i is ... else i * self._phases + phase
        found: float = self._columns[name][at][self.row]
        return found

    def write(self, name: str, phase: int, i: Any, value: float) -> None:
        """Set what `read` returns."""
        at = phase if i is ... else i * self._phases + phase
        self._columns[name][at][self.row] = value


class ReadingStepper:
    """Update the state of one series by one reading.

    Parameters
    ----------
    smoothing
        What to compute.
    columns
        The state of all series, updated in place; `states` documents the columns.
    width
        How many fields there are.
    """

    def __init__(
        self, smoothing: Smoothing, columns: Mapping[str, NDArray[Any]], width: int = 1
    ) -> None:
        numbers = ops.of_numbers(smoothing.decay)
        self._moments = Moments(smoothing, numbers)
        self._weighing = weighing = Weighing(smoothing, numbers)
        self._factors = weighing.factors
        self._by_time, self._by_volume = weighing.by_time, weighing.by_volume
        self._by_duration = weighing.by_duration
        self._decays = smoothing.policies.decays
        self._enough = max(1, smoothing.min_periods)
        self._min_weight = smoothing.min_weight
        # Reading one element through a memoryview costs half of what it does from an array.
        self._columns: dict[str, Any] = {
            name: memoryview(c.data) if c.ndim == 1 else [memoryview(field.data) for field in c]
            for name, c in columns.items()
        }
        self._weight = self._columns["weight"]
        self._count = self._columns["count"]
        self._newest: Any = self._columns.get("newest_ms")
        self._oldest: Any = self._columns.get("oldest_ms")
        self._held: Any = self._columns.get("held")
        self._means = self._columns["mean"]
        self._absent = [0.0] * width
        self._pairs = list(combinations(range(width), 2)) if smoothing.pairs else []
        self._reads = reads_of(smoothing.statistics)
        self._ages = not smoothing.needs.isdisjoint(("mean_age", "error_weight"))
        self._seasonal = "season" in self._columns
        if self._seasonal:
            phases = len(self._columns["season_weight"])
            self._moments.profile = _Profile(self._columns, phases)
            self._moments.season_moved = [0.0] * width
            self._moments.season_before = [0.0] * width
        self._bind_moments(width)
        self._bind_statistics(smoothing, width)
        if (
            tuple(smoothing.statistics) == ("mean",)
            and width == 1
            and smoothing.weighting == "observation"
            and smoothing.min_weight == 0.0
        ):
            self._mean = self._means[0]
            self._retention = smoothing.decay.retention_of
            self._start_n = self._moments.start_n or 0
            self._steady = not (self._by_time or self._start_n)
            self._beta = 1.0 if self._by_time else smoothing.decay.beta
            self._added = self._moments.alpha if self._start_n else 1.0
            self._lapse = smoothing.decay.lapse_of
            self.step = self._step_mean  # type: ignore[method-assign] # the same result, faster

    def _bind_moments(self, width: int) -> None:
        """Bind the steps of the tallies and moments that are kept to their columns."""
        self._read_before = read_before(self._columns) | self._reads
        self._reads_of_field = [
            (name, f"{name}_before")
            for name in self._reads.intersection(self._columns)
            if STATES[name].of == "field"
        ]
        kept = [(STATES[name], column) for name, column in self._columns.items()]
        self._tallies = [(s.name, c, s.tally) for s, c in kept if s.tally is not None]
        moments = [(s, c, s.step) for s, c in kept if s.step is not None]
        self._of_reading = [(s.name, c, step) for s, c, step in moments if s.of == "reading"]
        fields = [(i, i) for i in range(width)]
        self._of_fields = [
            (s.name, step, [(column, *at) for column, at in zip(c, places, strict=True)])
            for s, c, step in moments
            if s.of != "reading"
            for places in [self._pairs if s.of == "pair" else fields]
        ]
        self._field_names = [s.name for s, _, _ in moments if s.of == "field"]
        self._pair_names = [s.name for s, _, _ in moments if s.of == "pair"]

    def _bind_statistics(self, smoothing: Smoothing, width: int) -> None:
        """Bind the formulas of the statistics to their places in the result."""
        sizes = {"reading": 1, "field": width, "pair": len(self._pairs)}
        formulas: dict[str, list[Any]] = {of: [] for of in sizes}
        place = 0
        for name in smoothing.statistics:
            one = STATISTICS[name]
            formulas[one.of].append((place, one.value, one.unbiased, one.always_defined))
            place += sizes[one.of]
        self._undefined = [math.nan] * place
        self._reading_formulas = formulas["reading"]
        self._field_formulas = [formula[:3] for formula in formulas["field"]]
        self._pair_formulas = [formula[:3] for formula in formulas["pair"]]

    def step(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        volume: float | None = None,
        causes: int = 0,
    ) -> tuple[float, ...]:
        """Update the series at ``row`` by one reading, which is missing if any field is NaN.

        ``causes`` is the set of its causes, as `policies` numbers them.

        Returns
        -------
        tuple
            The statistics in the order of the options, each for all fields or pairs in turn, or
            once if it is of the reading.
        """
        m = self._moments
        x: Sequence[float] = self._absent
        if self._weigh(row, values, time_ms, volume, causes):
            x = values
        if self._held is not None:
            x = self._over_gaps(row, x, observed=x is values)
        p, r = m.p, m.r
        far = p > 0.5
        means: list[float] = []
        deviations: list[float] = []
        for column, v in zip(self._means, x, strict=True):
            mean = column[row]
            d = v - mean
            column[row] = mean = v - d * r if far else mean + d * p
            means.append(mean)
            deviations.append(d)
        m.d, m.values = deviations, x
        m.line_d, m.line_values = deviations, x
        return self._results(means, self._advance_moments(row, time_ms))

    def _step_mean(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        volume: float | None = None,  # noqa: ARG002 - not weighed by
        causes: int = 0,
    ) -> tuple[float, ...]:
        """`step` for one field, where nothing but the mean is requested."""
        (value,) = values
        observed = value == value
        count = self._count[row]
        if self._steady and observed:
            self._count[row] = count = self._count[row] + 1
            kept, added = self._weight[row] * self._beta, 1.0
            self._weight[row] = weight = kept + added
        else:
            gap = self._gap(row, time_ms, observed) if self._by_time else 0
            self._count[row] = count = self._count[row] + observed
            usual = observed and count > self._start_n
            if usual and not self._by_time:
                retained, added = self._beta, self._added
            elif usual and gap >= 0:
                retained = self._retention(gap)
                added = self._lapse(gap) if self._start_n else 1.0
            elif observed:
                retained, added = self._factors(gap, count)
            else:
                retained, added = self._weighing.retained(self._decays[causes], count), 0.0
            kept = self._weight[row] * retained
            weight = kept + added
            whole = self._start_n and observed and count >= self._start_n
            self._weight[row] = 1.0 if whole else weight
        total = weight if weight > TINY else TINY
        share = added / total
        mean = self._mean[row]
        x = value if observed else 0.0
        mean = x - (x - mean) * (kept / total) if share > 0.5 else mean + (x - mean) * share
        self._mean[row] = mean
        if count < self._enough:
            return (math.nan,)
        m = self._moments
        return (m.alpha * weight * mean if m.from_zero else mean,)

    def _weigh(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        volume: float | None,
        causes: int,
    ) -> bool:
        """Update times, count and sum of weights; return whether the reading is observed."""
        m, weighing = self._moments, self._weighing
        observed = all(map(float.__eq__, values, values))
        if self._by_volume:
            assert volume is not None  # the table refuses readings without
            if not volume > 0.0:
                observed, causes = False, causes | MISSING
        gap = 0
        if self._by_time:
            m.gap_ms = gap = self._gap(row, time_ms, observed)
            if weighing.needs_idle:
                m.idle_ms = gap if not observed and self._decays[causes] and gap > 0 else 0
            if self._by_duration:
                observed = observed and gap >= 0
        m.seen = count = self._count[row] + observed
        self._count[row] = count
        if observed:
            retained, added = self._factors(gap, count)
            if self._by_volume:
                added *= volume
        else:
            retained, added = weighing.retained(self._decays[causes], count), 0.0
        kept = self._weight[row] * retained
        weighing.share(m, observed, kept, added)
        self._weight[row] = 1.0 if weighing.whole(observed, count) else m.weight
        if self._ages:
            self._age(m, observed, gap, passed=self._decays[causes])
        if self._oldest is not None:
            newest = self._newest[row]
            m.age_ms = 0 if newest == NEVER else newest - self._oldest[row]
        return observed

    def _age(self, m: Moments, observed: bool, gap: int, *, passed: bool) -> None:
        """Set how much earlier readings age with this, its own age, and whether it is timely."""
        m.observed = observed
        m.timely = observed and gap >= 0
        if self._by_time:
            m.ageing = gap if m.timely else 0
            m.own_age = -gap if observed and gap < 0 else None
        else:
            m.ageing = 1.0 if observed or passed else 0.0

    def _gap(self, row: int, time_ms: int | None, observed: bool) -> int:
        """Update the newest and oldest time; return the time since the previous newest."""
        assert time_ms is not None  # the table refuses readings without
        newest: int = self._newest[row]
        if observed:
            placed = time_ms >= newest or not self._by_duration
            if self._oldest is not None and placed and time_ms < self._oldest[row]:
                self._oldest[row] = time_ms
            if time_ms > newest:
                self._newest[row] = time_ms
        return 0 if newest == NEVER else time_ms - newest

    def _over_gaps(self, row: int, values: Sequence[float], *, observed: bool) -> list[float]:
        """Return the value of each field that stands for the gap, and keep the new value."""
        results = []
        for column, value in zip(self._held, values, strict=True):
            before = column[row]
            if observed:
                column[row] = before * 0.0 + value
            results.append(self._weighing.over_gap(self._moments, before, value))
        return results

    def _advance_moments(self, row: int, time_ms: int | None) -> dict[str, list[float]]:
        """Update tallies and moments; return those of fields and pairs, by name."""
        m = self._moments
        m.weighed = m.seen
        for name, column, tally in self._tallies:
            column[row] = n = column[row] + tally(m)
            setattr(m, name, n)
        after: dict[str, list[float]] = {}
        if not m.weighs:
            m.r = 1.0
        if self._seasonal:
            m.profile.row = row
            season.locate(m, time_ms)
            season.weigh(m)
        for name, column, step in self._of_reading:
            factor, gain = step(m, 0, 0)
            y = column[row]
            if name in self._read_before:
                m.before[name] = y
            column[row] = y = y * factor + gain
            setattr(m, name, y)
        if self._seasonal:
            self._adjust(m, row)
        if self._of_fields:
            set_second_moment_factors(m)
        for name, step, places in self._of_fields:
            if name in self._read_before:
                m.before[name] = [column[row] for column, _, _ in places]
            after[name] = moved = []
            for column, i, j in places:
                factor, gain = step(m, i, j)
                column[row] = y = column[row] * factor + gain
                moved.append(y)
        return after

    def _adjust(self, m: Moments, row: int) -> None:
        """Fit the line to readings without the season, which learns from them."""
        for name in season.READS:
            if name in self._columns:
                m.before[name] = [column[row] for column in self._columns[name]]
        width = len(m.values)
        m.line_values, m.line_d = [0.0] * width, [0.0] * width
        for i in range(width):
            season.adjust(m, i)

    def _results(self, means: list[float], after: Mapping[str, list[float]]) -> tuple[float, ...]:
        """Return the statistics, NaN where they are undefined."""
        m = self._moments
        defined = m.seen >= self._enough
        if self._min_weight > 0.0:
            defined = defined and m.standing() >= self._min_weight
        unbiased = defined and self._weighing.unbiased_defined(m)
        results = self._undefined.copy()
        for place, value, unbiased_only, always in self._reading_formulas:
            if always or (unbiased if unbiased_only else defined):
                results[place] = value(m)
        if not defined:
            return tuple(results)
        for i, m.mean in enumerate(means):
            m.field = i
            for name in self._field_names:
                setattr(m, name, after[name][i])
            if self._reads:
                m.deviation, m.line_deviation = m.d[i], m.line_d[i]
                if self._seasonal:
                    m.season_expected = m.season_before[i]
                for name, attribute in self._reads_of_field:
                    setattr(m, attribute, m.before[name][i])
            for place, value, unbiased_only in self._field_formulas:
                if unbiased or not unbiased_only:
                    results[place + i] = value(m)
        if self._pair_formulas:
            self._set_pairs(results, after, unbiased=unbiased)
        return tuple(results)

    def _set_pairs(
        self, results: list[float], after: Mapping[str, list[float]], *, unbiased: bool
    ) -> None:
        m = self._moments
        stds = [math.sqrt(variance) for variance in after.get("variance", ())]
        for k, (i, j) in enumerate(self._pairs):
            for name in self._pair_names:
                setattr(m, name, after[name][k])
            if stds:
                m.left_std, m.right_std = stds[i], stds[j]
            for place, value, unbiased_only in self._pair_formulas:
                if unbiased or not unbiased_only:
                    results[place + k] = value(m)
