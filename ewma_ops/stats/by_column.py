"""`ColumnStepper`: update state by a batch of readings, and compute its statistics, in NumPy.

Runs the recurrences over a planned batch; the formulas are in `weights`, `states` and `statistics`.
The fields share the weights: a reading in which one of them is missing is missing. Must not know
formulas, series ids, tables or streams.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.stats import ops, outlook, recurrences, season
from ewma_ops.stats.batch_plan import BatchPlan
from ewma_ops.stats.moments import Moments
from ewma_ops.stats.policies import MISSING
from ewma_ops.stats.recurrences import Floats, Ints
from ewma_ops.stats.season_loop import STEPPED, SeasonLoop
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.states import (
    ALWAYS,
    NEVER,
    STATES,
    Column,
    columns_of,
    read_before,
    set_second_moment_factors,
)
from ewma_ops.stats.statistics import STATISTICS, reads_of
from ewma_ops.stats.weights import Weighing

__all__ = ["ColumnStepper"]

Bools = NDArray[np.bool_]
State = Mapping[str, NDArray[Any]]


class _Profiles:
    """The numbers of each phase of the season, of the series at some rows."""

    def __init__(self, columns: Mapping[str, Column], state: State, rows: NDArray[np.intp]) -> None:
        self._columns = {
            name: state[name].reshape(-1, column.phases, state[name].shape[-1])
            for name, column in columns.items()
            if column.phases
        }
        self._shared = {name for name in self._columns if STATES[name].of == "reading"}
        self._rows = rows

    def read(self, name: str, phase: Any, _: Any) -> Floats:
        """Return float64[k, n], or float64[n] of what all fields share."""
        found: Floats = self._columns[name][:, phase, self._rows]
        return found[0] if name in self._shared else found

    def write(self, name: str, phase: Any, _: Any, value: Any) -> None:
        """Set what `read` returns."""
        self._columns[name][:, phase, self._rows] = value


class ColumnStepper:
    """Compute the statistics of one `Smoothing` over planned batches.

    Parameters
    ----------
    smoothing
        What to compute.
    width
        How many fields there are.
    unbiased
        Whether to keep second moments unbiased; ``None``: if an unbiased statistic is requested.

    Attributes
    ----------
    columns
        Layout of the columns of state, by name.
    seasonal
        Whether it has a season. Without compiled loops that takes one reading of each series at a
        time.
    """

    def __init__(
        self, smoothing: Smoothing, width: int = 1, *, unbiased: bool | None = None
    ) -> None:
        self.smoothing = smoothing
        needs = smoothing.needs if unbiased is None else smoothing.needs - {"spread"}
        if unbiased:
            needs |= {"spread"}
        self.columns = columns_of(smoothing, needs, width)
        self._ops = ops.of_columns(smoothing.decay)
        self._weighing = Weighing(smoothing, self._ops)
        self._decays = np.array(smoothing.policies.decays)
        self._statistics = {name: STATISTICS[name] for name in smoothing.statistics}
        self._unbiased = [name for name, one in self._statistics.items() if one.unbiased]
        self._pairs_asked = any(one.of == "pair" for one in self._statistics.values())
        self._enough = max(1, smoothing.min_periods)
        self._pairs = recurrences.pairs(width)
        self._ages = not smoothing.needs.isdisjoint(("mean_age", "error_weight"))
        kept = [STATES[name] for name in self.columns]
        self._read_before = read_before(self.columns) | reads_of(smoothing.statistics)
        self._tallies = [(s.name, s.tally) for s in kept if s.tally is not None]
        moments = [(s, s.step) for s in kept if s.step is not None]
        self._of_reading = [(s.name, step) for s, step in moments if s.of == "reading"]
        whole = slice(None), slice(None)
        self._of_fields = [
            (s.name, step, self._pairs if s.of == "pair" else whole)
            for s, step in moments
            if s.of != "reading"
        ]
        self._apart = bool(self._of_fields or reads_of(smoothing.statistics))
        self.seasonal = "season" in self.columns
        self._phased = [name for name, column in self.columns.items() if column.phases]
        self._leads = outlook.leads(smoothing.statistics, smoothing.ahead)

    def with_all_rows(self, plan: BatchPlan) -> Collection[str]:
        """Return the names of the columns of which `advance` takes all rows."""
        if not self.seasonal or plan.at is None:
            return self._phased
        return (*self._phased, *STEPPED)

    def advance(
        self,
        plan: BatchPlan,
        values: Floats,
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None,
        state: State,
    ) -> dict[str, Floats]:
        """Update the state of the plan's series by its readings, in place.

        Parameters
        ----------
        plan
            The layout of the batch.
        values
            float64[k, n] in the plan's order; NaN where the reading is missing.
        times_ms
            int64[n] in the plan's order; needed for decay by time.
        volumes
            float64[n] in the plan's order; needed for weighting by volume.
        causes
            uint8[n] in the plan's order: the set of causes of each reading, as `policies` numbers
            them; ``None`` if none has a cause, and readings without a value are missing.
        state
            The columns of state, one element for each series of ``plan.series``; those that
            `with_all_rows` names with all rows, of which ``plan.series`` are meant.

        Returns
        -------
        dict
            Each requested statistic in the plan's order, NaN where undefined: float64[k, n] for
            fields, float64[pairs, n] for pairs, float64[n] for the reading.
        """
        m = Moments(self.smoothing, self._ops)
        observed: Bools = ~np.asarray(np.isnan(values).any(axis=0))
        if self._weighing.by_volume and volumes is not None:
            observed &= volumes > 0.0
        observed = self._weigh(m, plan, observed, times_ms, volumes, causes, state)
        m.values = values = np.where(observed, values, 0.0)
        if "held" in state:
            factors = np.where(observed, 0.0, 1.0)
            before = recurrences.accumulate(plan, factors, values, state["held"])
            values = self._weighing.over_gap(m, before, values)
        m.d = np.empty(values.shape) if self._apart else None
        m.mean = recurrences.means(plan, m.p, m.r, values, state["mean"], m.d)
        m.line_values, m.line_d = m.values, m.d
        self._advance_moments(m, plan, state, times_ms)
        return self._results(m)

    def _weigh(
        self,
        m: Moments,
        plan: BatchPlan,
        observed: Bools,
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None,
        state: State,
    ) -> Bools:
        """Update times, counts and sums of weights; return which readings are observed."""
        weighing, newest = self._weighing, None
        if weighing.by_time:
            assert times_ms is not None  # the table refuses readings without
            newest = recurrences.latest(
                plan, np.where(observed, times_ms, NEVER), state["newest_ms"]
            )
            opens = newest == NEVER
            m.gap_ms = np.where(opens, 0, times_ms - np.where(opens, 0, newest))
            if weighing.needs_idle:
                idles = ~observed & self._passed(volumes, causes)
                m.idle_ms = np.where(idles, np.maximum(m.gap_ms, 0), 0)
            if weighing.by_duration:
                observed = observed & (m.gap_ms >= 0)
        m.seen = recurrences.counts(plan, observed, state["count"])
        retained, added = weighing.factors(m.gap_ms, m.seen)
        if not observed.all():
            missing = weighing.retained(self._passed(volumes, causes), m.seen)
            retained = np.where(observed, retained, missing)
            added = np.where(observed, added, 0.0)
        if weighing.by_volume:
            assert volumes is not None  # the table refuses readings without
            added = added * np.where(observed, volumes, 0.0)
        # With count decay both are numbers, unless a reading is missing.
        retained, added = (
            x if isinstance(x, np.ndarray) else np.full(len(observed), x) for x in (retained, added)
        )
        factors, gains = retained, added
        whole = weighing.whole(observed, m.seen)
        if whole is not None:
            factors, gains = np.where(whole, 0.0, retained), np.where(whole, 1.0, added)
        kept = recurrences.accumulate(plan, factors, gains, state["weight"])
        kept *= retained
        weighing.share(m, observed, kept, added)
        if self._ages:
            self._age(m, observed, volumes, causes)
        if newest is not None and times_ms is not None and "oldest_ms" in state:
            m.age_ms = _age(plan, observed, times_ms, newest, state["oldest_ms"])
        return observed

    def _age(
        self, m: Moments, observed: Bools, volumes: Floats | None, causes: NDArray[np.uint8] | None
    ) -> None:
        """Set how much earlier readings age with each, its own age, and whether it is timely."""
        m.observed = observed
        if self._weighing.by_time:
            if observed.all() and (m.gap_ms >= 0).all():  # the usual case, at half the cost
                m.ageing, m.own_age, m.timely = m.gap_ms, None, observed
                return
            m.ageing = np.where(observed, np.maximum(m.gap_ms, 0), 0)
            m.own_age = np.where(observed, np.maximum(-m.gap_ms, 0), 0)
            m.timely = observed & (m.gap_ms >= 0)
            return
        m.timely, m.ageing = observed, 1.0
        if not observed.all():
            m.ageing = np.where(observed | self._passed(volumes, causes), 1.0, 0.0)

    def _passed(self, volumes: Floats | None, causes: NDArray[np.uint8] | None) -> Bools:
        """Tell past which readings weights decay if they are not observed."""
        every = np.uint8(0) if causes is None else causes
        if self._weighing.by_volume and volumes is not None:
            every = every | np.where(volumes > 0.0, 0, MISSING).astype(np.uint8)
        return np.asarray(self._decays[every])

    def _advance_moments(
        self, m: Moments, plan: BatchPlan, state: State, times_ms: Ints | None
    ) -> None:
        """Update tallies and moments, and set them on ``m``."""
        m.weighed = m.seen
        for name, tally in self._tallies:
            setattr(m, name, recurrences.counts(plan, tally(m), state[name]))
        if not (self._of_reading or self._of_fields):
            return
        if not m.weighs.all():
            m.r = np.where(m.weighs, m.r, 1.0)
        loop = None
        if self.seasonal:
            season.locate(m, times_ms)
            if plan.at is not None:
                loop = SeasonLoop(m, plan, state, self._leads)
                loop.weigh()
            else:
                m.profile = _Profiles(self.columns, state, plan.series)
                season.weigh(m)
        stepped = () if loop is None else STEPPED
        for name, step in self._of_reading:
            if name not in stepped:
                self._advance_moment(m, plan, name, step(m, ..., ...), state[name])
        if loop is not None:
            loop.adjust()
        elif self.seasonal:
            self._adjust(m, state)
        if self._of_fields:
            set_second_moment_factors(m)
        for name, step, (i, j) in self._of_fields:
            if name not in stepped:
                self._advance_moment(m, plan, name, step(m, i, j), state[name])

    def _adjust(self, m: Moments, state: State) -> None:
        """Fit the line to readings without the season, which learns from them."""
        for name in season.READS:
            if name in state and name not in m.before:
                m.before[name] = state[name].copy()
        m.line_values, m.line_d = np.empty(m.values.shape), np.empty(m.values.shape)
        m.season_moved, m.season_before = np.empty(m.values.shape), np.empty(m.values.shape)
        season.adjust(m, ...)

    def _advance_moment(
        self, m: Moments, plan: BatchPlan, name: str, moved: tuple[Any, Any], column: Floats
    ) -> None:
        factors, gains = moved
        if not isinstance(factors, np.ndarray):
            factors = np.full(gains.shape[-1], factors)
        before = recurrences.accumulate(plan, factors, gains, column)
        if name in self._read_before:
            m.before[name] = before
        after = before * factors
        after += gains
        setattr(m, name, after)

    def _results(self, m: Moments) -> dict[str, Floats]:
        """Return the statistics, NaN where they are undefined."""
        if self._pairs_asked and m.variance is not None:
            left, right = self._pairs
            std = np.sqrt(m.variance)
            m.left_std, m.right_std = std[left], std[right]
        m.deviation, m.line_deviation = m.d, m.line_d
        m.season_expected = m.season_before
        m.variance_before, m.trend_before = map(m.before.get, ("variance", "trend"))
        results = {name: statistic.value(m) for name, statistic in self._statistics.items()}
        if self._unbiased:
            defined = self._weighing.unbiased_defined(m)
            if not defined.all():
                for name in self._unbiased:
                    results[name] = np.where(defined, results[name], np.nan)
        undefined = m.seen < self._enough
        if self.smoothing.min_weight > 0.0:
            undefined |= m.standing() < self.smoothing.min_weight
        if undefined.any():
            for name, result in results.items():
                if not self._statistics[name].always_defined:
                    result[..., undefined] = np.nan
        return results


def _age(plan: BatchPlan, observed: Bools, times_ms: Ints, before: Ints, oldest: Ints) -> Ints:
    """Time from the oldest to the newest reading, after each reading."""
    # The greatest of -t is the smallest of t: one recurrence serves both ends.
    negated = -oldest
    earlier = -recurrences.latest(plan, np.where(observed, -times_ms, -ALWAYS), negated)
    oldest[:] = -negated
    first = np.where(observed, np.minimum(earlier, times_ms), earlier)
    newest = np.where(observed, np.maximum(before, times_ms), before)
    return np.where(newest == NEVER, 0, newest - first)
