"""What one `Smoothing` keeps of a series, and how a batch of readings moves it on.

Knows the options and settles them before any loop; must not know series ids, tables or streams.

The state of a series is a row of these columns, each present only if something asked for needs it:

============= ======= ======================================================================
weight        float64 S, the sum of weights as of the last reading; 0 before the first
mean          float64 m, the weighted mean; always properly weighted, whatever the start-up
count         int64   readings observed
newest_ms     int64   greatest event time (decay by time)
oldest_ms     int64   smallest event time (``settled``, decay by time)
concentration float64 U = (sum of squared weights) / S^2, 1 before the first (``n_eff``)
============= ======= ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops import kernel
from ewma_ops.kernel import Floats, Ints, Plan
from ewma_ops.scalar import NEVER, TINY
from ewma_ops.smoothing import Smoothing

__all__ = ["Smoother"]

_ALWAYS = int(np.iinfo(np.int64).max)


class Smoother:
    """Compute the statistics of one `Smoothing` over planned batches."""

    def __init__(self, smoothing: Smoothing) -> None:
        self.smoothing = smoothing
        self._by_time = smoothing.decay.by_time
        self._first = smoothing.start_up == "first"
        self._corrected = smoothing.start_up != "uncorrected"
        self.columns = self._columns()

    def _columns(self) -> dict[str, tuple[type[Any], float | int]]:
        """Name the columns of the state, with dtype and the value before any reading."""
        columns: dict[str, tuple[type[Any], float | int]] = {
            "weight": (np.float64, 0.0),
            "mean": (np.float64, 0.0),
            "count": (np.int64, 0),
        }
        if self._by_time:
            columns["newest_ms"] = (np.int64, NEVER)
        if self._by_time and not self._first and "settled" in self.smoothing.statistics:
            columns["oldest_ms"] = (np.int64, _ALWAYS)
        if "n_eff" in self.smoothing.statistics:
            columns["concentration"] = (np.float64, 1.0)
        return columns

    def advance(
        self,
        plan: Plan,
        values: Floats,
        times_ms: Ints | None,
        state: Mapping[str, NDArray[Any]],
    ) -> dict[str, Floats]:
        """Move the state of the plan's series on by its readings, in place.

        Parameters
        ----------
        plan
            The layout of the batch.
        values
            float64[n] in the plan's order; NaN where the reading is missing.
        times_ms
            int64[n] in the plan's order; needed for decay by time.
        state
            The columns of the state, one element a series of ``plan.series``.

        Returns
        -------
        dict
            float64[n] for each statistic asked for, in the plan's order; NaN where undefined.
        """
        observed = ~np.isnan(values)
        before = None
        if self._by_time:
            assert times_ms is not None  # the table refuses readings without
            before = kernel.latest(plan, np.where(observed, times_ms, NEVER), state["newest_ms"])
            retained, added = self._by_gap(times_ms, before, observed)
        else:
            retained, added = self._by_count(observed)
        kept, weight = kernel.weights(plan, retained, added, state["weight"], reset=self._first)
        total = np.maximum(weight, TINY)
        shares = added / total
        rests = kept / total
        mean = kernel.means(plan, shares, rests, np.where(observed, values, 0.0), state["mean"])
        count = kernel.counts(plan, observed, state["count"])
        wanted: dict[str, Callable[[], Floats]] = {
            "mean": lambda: mean if self._corrected else self._gathered(weight) * mean,
            "n_eff": lambda: self._n_eff(plan, shares, rests, state["concentration"]),
            "settled": lambda: self._settled(plan, weight, times_ms, before, observed, state),
            "count": lambda: count.astype(np.float64),
        }
        results = {name: wanted[name]() for name in self.smoothing.statistics}
        self._blank(results, count)
        return results

    def _by_count(self, observed: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        decay = self.smoothing.decay
        weight_of_new = decay.alpha if self._first else 1.0
        retained_over_missing = decay.beta if self.smoothing.missing == "decay" else 1.0
        return (
            np.where(observed, decay.beta, retained_over_missing),
            np.where(observed, weight_of_new, 0.0),
        )

    def _by_gap(
        self, times_ms: Ints, before: Ints, observed: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Retention and weight from the gap to the newest reading so far.

        A late reading (a gap below zero) is weighed as it would weigh by now had it been on
        time, and the sum of weights does not decay: exact, without a buffer to reorder in.
        """
        opens = before == NEVER
        gaps = np.where(opens | ~observed, 0, times_ms - np.where(opens, 0, before))
        fading = self.smoothing.decay.retention(np.abs(gaps))
        on_time = gaps >= 0
        retained = np.where(on_time, fading, 1.0)
        if self._first:
            # The weight of the gap that a late reading would have divided is already given away.
            weight = np.where(opens, 1.0, self.smoothing.decay.lapse(np.maximum(gaps, 0)))
        else:
            weight = np.where(on_time, 1.0, fading)
        return retained, np.where(observed, weight, 0.0)

    def _n_eff(self, plan: Plan, shares: Floats, rests: Floats, concentration: Floats) -> Floats:
        """Count the equally weighted readings that would carry as much evidence."""
        rests[shares == 0.0] = 1.0
        return 1.0 / kernel.concentrations(plan, shares, rests, concentration)

    def _settled(
        self,
        plan: Plan,
        weight: Floats,
        times_ms: Ints | None,
        before: Ints | None,
        observed: NDArray[np.bool_],
        state: Mapping[str, NDArray[Any]],
    ) -> Floats:
        """Share gathered so far of the weight that an average without a beginning would have."""
        if times_ms is None or before is None or "oldest_ms" not in state:
            return np.ones_like(weight) if self._first else self._gathered(weight)
        # The greatest of -t is the smallest of t: one recurrence serves both ends.
        negated = -state["oldest_ms"]
        earlier = -kernel.latest(plan, np.where(observed, -times_ms, -_ALWAYS), negated)
        state["oldest_ms"][:] = -negated
        oldest = np.where(observed, np.minimum(earlier, times_ms), earlier)
        newest = np.where(observed, np.maximum(before, times_ms), before)
        age = np.where(newest == NEVER, 0, newest - oldest)
        return self.smoothing.decay.lapse(age)

    def _gathered(self, weight: Floats) -> Floats:
        """(1 - beta) S: 1 - beta^t after t readings without a gap."""
        return self.smoothing.decay.alpha * weight

    def _blank(self, results: dict[str, Floats], count: Ints) -> None:
        """Take back what too few readings stand behind."""
        too_few = count < max(1, self.smoothing.min_periods)
        if too_few.any():
            for name, result in results.items():
                if name != "count":
                    result[too_few] = np.nan
