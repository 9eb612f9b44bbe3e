"""The same recurrences as `recurrences`, one reading at a time, in plain Python.

For the trickle of a live stream, where one call of NumPy costs more than the arithmetic of a
reading. Same operations in the same order as the columns, hence the same bits: the law tests hold
the two against each other.
Knows the options and one row of state; must not know series ids, tables or streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ewma_ops.stats.policies import MISSING
from ewma_ops.stats.smoothing import OF_READING, PAIRED, Smoothing
from ewma_ops.stats.weights import NEVER, TINY, most_equal

__all__ = ["ReadingStepper"]


class _Weights(NamedTuple):
    """What one reading weighs: the row of a `weights.Weighed`."""

    share: float
    rest: float
    weighs: bool
    weight: float
    seen: int
    gap_ms: int
    idle_ms: int
    observed: bool


class ReadingStepper:
    """Move one series on by one reading.

    Parameters
    ----------
    smoothing
        What to compute.
    columns
        The state of all series, moved on in place. `Smoother` says what each column holds.
    width
        How many fields there are.
    """

    def __init__(
        self, smoothing: Smoothing, columns: Mapping[str, NDArray[Any]], width: int = 1
    ) -> None:
        self._smoothing = smoothing
        self._decay = decay = smoothing.decay
        self._by_time = decay.by_time
        self._by_duration = smoothing.by_duration
        self._by_volume = smoothing.weighting == "volume"
        self._alpha = 1.0 if self._by_time else decay.alpha
        self._beta = 1.0 if self._by_time else decay.beta
        self._uncorrected = smoothing.start_up == "uncorrected"
        self._start_n = {"first": 1, "simple": smoothing.start_n}.get(smoothing.start_up) or 0
        self._adds_to_1 = self._start_n > 0 and not self._by_volume
        self._decays = smoothing.policies.decays
        self._idles = self._by_time and any(self._decays)
        self._enough = max(1, smoothing.min_periods)
        self._two = 1 if smoothing.start_up == "prior" else 2
        self._most = most_equal(smoothing)
        self._statistics = tuple(smoothing.statistics)
        self._pairs = list(combinations(range(width), 2)) if smoothing.pairs else []
        # Reading one element through a memoryview costs half of what an array asks for it.
        self._columns: dict[str, Any] = {
            name: memoryview(c.data) if c.ndim == 1 else [memoryview(field.data) for field in c]
            for name, c in columns.items()
        }
        self._weight = self._columns["weight"]
        self._count = self._columns["count"]
        self._steady = not (self._by_time or self._start_n)
        self._means = self._columns["mean"]
        self._mean = self._means[0]
        if (
            self._statistics == ("mean",)
            and width == 1
            and smoothing.weighting == "observation"
            and smoothing.min_weight == 0.0
        ):
            self.step = self._step_mean  # type: ignore[method-assign] # the same, quicker

    def step(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        volume: float | None = None,
        causes: int = 0,
    ) -> tuple[float, ...]:
        """Take in one reading of the series at ``row``; NaN in any field: it is missing.

        ``causes`` is the set of why it is.

        Returns
        -------
        tuple
            The statistics in the order they were asked for; each of all fields or pairs in turn,
            or once if it is of the reading.
        """
        by = self._weigh(row, values, time_ms, volume, causes)
        x = values if by.observed else [0.0] * len(values)
        if self._by_duration:
            x = [self._over_gap(row, i, v, by) for i, v in enumerate(x)]
        far, share, rest = by.share > 0.5, by.share, by.rest
        means: list[float] = []
        deviations: list[float] = []
        for column, v in zip(self._means, x, strict=True):
            mean = column[row]
            d = v - mean
            column[row] = mean = v - d * rest if far else mean + d * share
            means.append(mean)
            deviations.append(d)
        return self._all(row, means, self._moments(row, deviations, by), by)

    def _step_mean(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        volume: float | None = None,  # noqa: ARG002 - not weighed by
        causes: int = 0,
    ) -> tuple[float, ...]:
        """Take in one reading of one field where nothing but the mean is asked for."""
        (value,) = values
        observed = value == value
        count = self._count[row]
        if observed:
            count += 1
            self._count[row] = count
        if self._steady and observed:
            kept, added = self._weight[row] * self._beta, 1.0
            self._weight[row] = weight = kept + added
        else:
            gap = 0
            if self._by_time:
                assert time_ms is not None  # the table refuses readings without
                gap = self._gap(row, time_ms, observed)
            retained, added = self._factors(observed, count, gap, causes)
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
        return (self._alpha * weight * mean if self._uncorrected else mean,)

    def _weigh(
        self,
        row: int,
        values: Sequence[float],
        time_ms: int | None,
        volume: float | None,
        causes: int,
    ) -> _Weights:
        observed = all(map(float.__eq__, values, values))
        gap = idle = 0
        if self._by_volume:
            assert volume is not None  # the table refuses readings without
            if not volume > 0.0:
                observed, causes = False, causes | MISSING
        if self._by_time:
            assert time_ms is not None  # the table refuses readings without
            gap = self._gap(row, time_ms, observed)
            if not observed and self._decays[causes]:
                idle = gap if gap > 0 else 0
            if self._by_duration:
                observed = observed and gap >= 0
        count = self._count[row]
        if observed:
            count += 1
            self._count[row] = count
        retained, added = self._factors(observed, count, gap, causes)
        if self._by_volume and volume is not None:
            added *= volume if observed else 0.0
        kept = self._weight[row] * retained
        weight = kept + added
        whole = self._adds_to_1 and observed and count >= self._start_n
        self._weight[row] = 1.0 if whole else weight
        total = weight if weight > TINY else TINY
        share, rest = added / total, kept / total
        weighs = (added if self._by_volume else share) > 0.0
        if self._by_duration and observed and count == 1:
            share, rest, weighs = 1.0, 0.0, True
        if "revision" in self._columns:
            self._columns["revision"][row] += gap < 0 and weighs
        return _Weights(share, rest, weighs, weight, count, gap, idle, observed)

    def _gap(self, row: int, time_ms: int, observed: bool) -> int:
        columns = self._columns
        newest = columns["newest_ms"][row]
        placed = observed and (time_ms >= newest or not self._by_duration)
        if placed and "oldest_ms" in columns and time_ms < columns["oldest_ms"][row]:
            columns["oldest_ms"][row] = time_ms
        if observed and time_ms > newest:
            columns["newest_ms"][row] = time_ms
        return 0 if newest == NEVER else time_ms - newest

    def _factors(self, observed: bool, count: int, gap: int, causes: int) -> tuple[float, float]:
        """Retention of the earlier weights, and the weight of this reading."""
        if not observed:
            if self._by_time or count < self._start_n:
                return 1.0, 0.0
            return self._beta if self._decays[causes] else 1.0, 0.0
        if self._start_n:
            if count <= self._start_n:
                return 1.0, 1.0
            if not self._by_time:
                return self._beta, self._alpha
        elif not self._by_time:
            return self._beta, 1.0
        if gap < 0:
            return 1.0, 0.0 if self._start_n else self._decay.retention_of(-gap)
        divides = self._start_n or self._by_duration
        return self._decay.retention_of(gap), self._decay.lapse_of(gap) if divides else 1.0

    def _over_gap(self, row: int, i: int, value: float, by: _Weights) -> float:
        """Return the value that stands for the gap: between the one before and this one."""
        if "held" not in self._columns:
            return value
        held = self._columns["held"][i]
        before: float = held[row]
        if by.observed:
            held[row] = before * 0.0 + value
        if by.seen <= 1:
            before = value
        if self._smoothing.weighting == "last":
            return before
        return value - (value - before) * self._decay.lean_of(by.gap_ms if by.gap_ms > 0 else 0)

    def _moments(
        self, row: int, deviations: Sequence[float], by: _Weights
    ) -> dict[str, list[float]]:
        """Second moments, y <- a y + b d_i d_j; U; Q; the readings that weighed anything."""
        columns, after = self._columns, {}
        share = by.share
        r = by.rest if by.weighs else 1.0
        if "weighed" in columns:
            columns["weighed"][row] += by.weighs
        after["weighed"] = [columns["weighed"][row] if "weighed" in columns else by.seen]
        if "concentration" in columns:
            u = columns["concentration"][row] * (r * r) + share * share
            columns["concentration"][row] = u
            after["n_eff"] = [1.0 / u]
        a, b = r, r * share
        if "spread" in columns:
            before, doubled = columns["spread"][row], 2.0 * share
            columns["spread"][row] = spread = before * (r * r) + doubled * r
            after["spread"] = [spread]
            a, b = 1.0, share
            if by.weighs:
                divisor = r * before + doubled
                if divisor > 0.0:
                    a, b = before / divisor, share / divisor
                elif after["weighed"][0] == self._two:
                    a, b = 0.0, 0.5
        if "variance" in columns:
            after["variance"] = [
                _moved(c, row, a, d * d * b)
                for c, d in zip(columns["variance"], deviations, strict=True)
            ]
        if "covariance" in columns:
            after["covariance"] = [
                _moved(c, row, a, deviations[i] * deviations[j] * b)
                for c, (i, j) in zip(columns["covariance"], self._pairs, strict=True)
            ]
        return after

    def _all(
        self, row: int, means: list[float], moments: dict[str, list[float]], by: _Weights
    ) -> tuple[float, ...]:
        undefined = by.seen < self._enough
        if self._smoothing.min_weight > 0.0:
            undefined = undefined or self._standing(by) < self._smoothing.min_weight
        results: list[float] = []
        for name in self._statistics:
            found = self._statistic(name, row, means, moments, by)
            if undefined and name != "count":
                found = [math.nan] * len(found)
            results += found
        return tuple(results)

    def _statistic(
        self,
        name: str,
        row: int,
        means: list[float],
        moments: dict[str, list[float]],
        by: _Weights,
    ) -> list[float]:
        if name in OF_READING:
            return [self._of_reading(name, row, moments, by)]
        defined = moments["weighed"][0] >= self._two
        if self._most is not None:
            defined = defined and by.seen <= self._most
        if name in PAIRED:
            return self._of_pairs(name, moments, defined)
        share = self._alpha * by.weight if self._uncorrected else 1.0
        if name == "mean":
            return [share * m for m in means] if self._uncorrected else means
        if name == "sum":
            standing = self._standing(by)
            return [standing * m for m in means]
        variances = moments["variance"]
        if name in ("var_biased", "std_biased", "mean_square"):
            if "spread" in moments:
                variances = [v * moments["spread"][0] for v in variances]
            if name == "mean_square":
                return [share * (v + m * m) for v, m in zip(variances, means, strict=True)]
            return variances if name == "var_biased" else [math.sqrt(v) for v in variances]
        if not defined:
            return [math.nan] * len(means)
        if name == "sem":
            return [math.sqrt(v / moments["n_eff"][0]) for v in variances]
        return variances if name == "var" else [math.sqrt(v) for v in variances]

    def _of_reading(
        self, name: str, row: int, moments: dict[str, list[float]], by: _Weights
    ) -> float:
        if name == "count":
            return float(by.seen)
        if name == "revision":
            return float(self._columns["revision"][row])
        if name == "n_eff":
            return moments["n_eff"][0]
        return self._settled(row, by) if name == "settled" else self._rate(row, by)

    def _of_pairs(self, name: str, moments: dict[str, list[float]], defined: bool) -> list[float]:
        covariances = moments["covariance"]
        if name == "cov_biased":
            spread = moments.get("spread")
            return covariances if spread is None else [c * spread[0] for c in covariances]
        if not defined:
            return [math.nan] * len(covariances)
        return covariances if name == "cov" else self._corr(covariances, moments["variance"])

    def _corr(self, covariances: list[float], variances: list[float]) -> list[float]:
        results = []
        for c, (i, j) in zip(covariances, self._pairs, strict=True):
            scale = math.sqrt(variances[i]) * math.sqrt(variances[j])
            corr = c / scale if scale != 0.0 else math.nan
            results.append(min(max(corr, -1.0), 1.0) if corr == corr else corr)
        return results

    def _standing(self, by: _Weights) -> float:
        """Sum of weights as of the reading's own time, missing ones too."""
        return by.weight * self._decay.retention_of(by.idle_ms) if self._idles else by.weight

    def _age(self, row: int) -> int:
        newest: int = self._columns["newest_ms"][row]
        oldest: int = self._columns["oldest_ms"][row]
        return 0 if newest == NEVER else newest - oldest

    def _settled(self, row: int, by: _Weights) -> float:
        if self._start_n:
            return min(by.seen / self._start_n, 1.0)
        return self._decay.lapse_of(self._age(row)) if self._by_time else self._alpha * by.weight

    def _rate(self, row: int, by: _Weights) -> float:
        age = self._age(row) + by.idle_ms
        if age == 0:
            return math.nan
        readings = self._standing(by) - self._decay.retention_of(age)
        return readings / (self._decay.tau_s * self._decay.lapse_of(age))


def _moved(column: Any, row: int, factor: float, gain: float) -> float:
    y: float = column[row] * factor + gain
    column[row] = y
    return y
