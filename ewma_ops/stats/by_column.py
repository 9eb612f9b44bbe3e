"""What one `Smoothing` keeps of some fields, and how a batch of readings moves it on.

Knows the options and settles them before any loop; must not know series ids, tables or streams.
The fields share the weights: a reading in which one of them is missing is missing.

The state of a series is a row of the columns of `weights`, and of these, k fields deep:

============= ======= ======================================================================
mean          float64 m, the weighted mean; always properly weighted, whatever the start-up
held          float64 the value before (weighting ``last`` and ``linear``)
variance      float64 W where there is a ``spread``, unbiased; else C, biased; 0 before
covariance    float64 the same of each two fields
============= ======= ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.stats import recurrences
from ewma_ops.stats.batch_plan import BatchPlan
from ewma_ops.stats.recurrences import Floats, Ints
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.weights import Column, Weighed, Weighing

__all__ = ["ColumnStepper"]


class ColumnStepper:
    """Compute the statistics of one `Smoothing` over planned batches.

    Parameters
    ----------
    smoothing
        What to compute.
    width
        How many fields there are.
    unbiased
        Whether second moments are kept unbiased; ``None``: if an unbiased statistic is asked for.
    """

    def __init__(
        self, smoothing: Smoothing, width: int = 1, *, unbiased: bool | None = None
    ) -> None:
        self.smoothing = smoothing
        self._left, self._right = recurrences.pairs(width if smoothing.pairs else 0)
        unbiased = smoothing.unbiased if unbiased is None else unbiased
        self.weighing = Weighing(smoothing, unbiased=unbiased)
        self._width = width
        self._decay = smoothing.decay
        self._corrected = smoothing.start_up != "uncorrected"
        self._enough = max(1, smoothing.min_periods)
        self.columns = self._columns()

    def _columns(self) -> dict[str, Column]:
        smoothing, columns = self.smoothing, dict(self.weighing.columns)
        columns["mean"] = Column(np.float64, smoothing.prior or 0.0, self._width)
        if smoothing.weighting in ("last", "linear"):
            columns["held"] = Column(np.float64, 0.0, self._width)
        if smoothing.squares:
            columns["variance"] = Column(np.float64, 0.0, self._width)
        if smoothing.pairs:
            columns["covariance"] = Column(np.float64, 0.0, len(self._left))
        return columns

    def advance(
        self,
        plan: BatchPlan,
        values: Floats,
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None,
        state: Mapping[str, NDArray[Any]],
    ) -> dict[str, Floats]:
        """Move the state of the plan's series on by its readings, in place.

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
            them; ``None`` where there is none, and what is not observed is simply missing.
        state
            The columns of the state, one element a series of ``plan.series``.

        Returns
        -------
        dict
            Each statistic asked for, in the plan's order; NaN where undefined: float64[k, n] of
            fields, float64[pairs, n] of pairs, float64[n] of the reading.
        """
        observed: NDArray[np.bool_] = ~np.asarray(np.isnan(values).any(axis=0))
        if self.weighing.by_volume and volumes is not None:
            observed &= volumes > 0.0
        by = self.weighing.advance(plan, observed, times_ms, volumes, causes, state)
        values = np.where(by.observed, values, 0.0)
        if self.weighing.by_duration:
            values = self._over_gaps(plan, values, by, state)
        deviations = np.empty_like(values) if self.weighing.moments else None
        mean = recurrences.means(plan, by.shares, by.rests, values, state["mean"], deviations)
        moments: dict[str, Floats] = {}
        if deviations is not None:
            moments = self._second_moments(plan, by, deviations, state)
        wanted = self._statistics(by, mean, moments)
        results = {name: wanted[name]() for name in self.smoothing.statistics}
        self._blank(results, by)
        return results

    def _over_gaps(
        self, plan: BatchPlan, values: Floats, by: Weighed, state: Mapping[str, NDArray[Any]]
    ) -> Floats:
        """Return the value that stands for each gap: between the one before and this one."""
        if "held" not in state or by.gap_ms is None:
            return values
        factors = np.where(by.observed, 0.0, 1.0)
        before = recurrences.accumulate(plan, factors, values, state["held"])
        before = np.where(by.seen <= 1, values, before)
        if self.smoothing.weighting == "last":
            return before
        return values - (values - before) * self._decay.lean(np.maximum(by.gap_ms, 0))

    def _second_moments(
        self, plan: BatchPlan, by: Weighed, deviations: Floats, state: Mapping[str, NDArray[Any]]
    ) -> dict[str, Floats]:
        """Second moments: y <- a y + b d_i d_j. Returns them after each reading."""
        a, b = by.factors, by.portions
        assert a is not None
        assert b is not None
        after: dict[str, Floats] = {}
        if "variance" in state:
            gains = deviations * deviations * b
            before = recurrences.accumulate(plan, a, gains, state["variance"])
            after["variance"] = before * a + gains
        if "covariance" in state:
            gains = deviations[self._left] * deviations[self._right] * b
            before = recurrences.accumulate(plan, a, gains, state["covariance"])
            after["covariance"] = before * a + gains
        return after

    def _statistics(
        self, by: Weighed, mean: Floats, moments: Mapping[str, Floats]
    ) -> dict[str, Callable[[], Floats]]:
        def unbiased(name: str) -> Floats:
            defined = by.weighed >= self.weighing.two
            if self.weighing.most is not None:
                defined &= by.seen <= self.weighing.most
            return np.where(defined, moments[name], np.nan)

        def biased(name: str = "variance") -> Floats:
            return moments[name] if by.spread is None else moments[name] * by.spread

        def n_eff() -> Floats:
            assert by.concentration is not None
            return 1.0 / by.concentration

        def revision() -> Floats:
            assert by.revision is not None
            return by.revision.astype(np.float64)

        def share() -> Floats | float:
            return 1.0 if self._corrected else self._gathered(by.weight)

        return {
            "mean": lambda: mean if self._corrected else self._gathered(by.weight) * mean,
            "sum": lambda: self._standing(by) * mean,
            "count": lambda: by.seen.astype(np.float64),
            "n_eff": n_eff,
            "settled": lambda: self._settled(by),
            "rate": lambda: self._rate(by),
            "revision": revision,
            "var": lambda: unbiased("variance"),
            "std": lambda: np.sqrt(unbiased("variance")),
            "sem": lambda: np.sqrt(unbiased("variance") / n_eff()),
            "var_biased": biased,
            "std_biased": lambda: np.sqrt(biased()),
            "mean_square": lambda: share() * (biased() + mean * mean),
            "cov": lambda: unbiased("covariance"),
            "cov_biased": lambda: biased("covariance"),
            "corr": lambda: self._corr(unbiased("covariance"), np.sqrt(moments["variance"])),
        }

    def _corr(self, covariance: Floats, deviation: Floats) -> Floats:
        scale = deviation[self._left] * deviation[self._right]
        flat = scale == 0.0
        corr = np.where(flat, np.nan, covariance / np.where(flat, 1.0, scale))
        return np.minimum(np.maximum(corr, -1.0), 1.0)

    def _standing(self, by: Weighed) -> Floats:
        """Sum of weights as of the reading's own time, missing ones too."""
        if by.idle_ms is None:
            return by.weight
        return by.weight * self._decay.retention(by.idle_ms)

    def _settled(self, by: Weighed) -> Floats:
        """Share gathered so far of the weight that an average without a beginning would have."""
        if self.weighing.start_n is not None:
            return np.minimum(by.seen / self.weighing.start_n, 1.0)
        return self._gathered(by.weight) if by.age_ms is None else self._decay.lapse(by.age_ms)

    def _gathered(self, weight: Floats) -> Floats:
        """(1 - beta) S: 1 - beta^t after t readings without a gap."""
        return self._decay.alpha * weight

    def _rate(self, by: Weighed) -> Floats:
        """Count readings per second since the oldest, which opens the time and is not counted."""
        assert by.age_ms is not None
        age = by.age_ms if by.idle_ms is None else by.age_ms + by.idle_ms
        readings = self._standing(by) - self._decay.retention(age)
        seconds = self._decay.tau_s * self._decay.lapse(age)
        return np.where(age > 0, readings / np.where(age > 0, seconds, 1.0), np.nan)

    def _blank(self, results: dict[str, Floats], by: Weighed) -> None:
        """Take back what too few readings or too little weight stand behind."""
        undefined = by.seen < self._enough
        if self.smoothing.min_weight > 0.0:
            undefined |= self._standing(by) < self.smoothing.min_weight
        if undefined.any():
            for name, result in results.items():
                if name != "count":
                    result[..., undefined] = np.nan
