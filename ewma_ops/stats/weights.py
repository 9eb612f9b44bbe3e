"""What each reading weighs, and what all of them weigh together: the half without values.

Knows the options of a `Smoothing` and settles them before any loop; must not know values, series
ids, tables or streams. All fields of a reading that are observed together share it.

The state of a series is a row of these columns, each present only if something asked for needs it:

============= ======= ======================================================================
weight        float64 S, the sum of weights as of the last reading; 0 before the first
count         int64   readings observed
newest_ms     int64   greatest event time (decay by time)
oldest_ms     int64   smallest event time (``rate``, ``settled``, decay by time)
weighed       int64   readings that weighed anything on arrival (unbiased, decay by time)
revision      int64   how often the past was revised (``revision``)
concentration float64 U = (sum of squared weights) / S^2, 1 before the first (``n_eff``)
spread        float64 Q = 1 - U (unbiased)
============= ======= ======================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.stats.batch_plan import BatchPlan
from ewma_ops.stats.policies import MISSING
from ewma_ops.stats.recurrences import Floats, Ints, accumulate, counts, latest
from ewma_ops.stats.smoothing import Smoothing

__all__ = ["ALWAYS", "NEVER", "TINY", "Column", "Weighed", "Weighing", "most_equal"]

NEVER = int(np.iinfo(np.int64).min)
"""The newest time of a series without a reading."""

ALWAYS = int(np.iinfo(np.int64).max)
"""The oldest time of a series without a reading."""

TINY = 5e-324
"""Keeps 0 / 0 (no reading yet, and this one is missing) at 0; no sum of weights is below it."""


class Column(NamedTuple):
    """One column of the state: dtype, value before any reading, and rows per series (0: flat)."""

    dtype: type[Any]
    initial: float | int
    depth: int = 0


class Weighed(NamedTuple):
    """The weights of a planned batch: columns in the plan's order.

    ``shares`` p and ``rests`` r = 1 - p of all weight after the reading; ``weight`` f S + w;
    ``gap_ms`` since the newest reading before (< 0: late) and ``idle_ms`` from the newest to this
    missing one; ``age_ms`` from the oldest to the newest; ``factors`` and ``portions`` of the
    second moments, y <- a y + b d_i d_j; ``seen`` readings so far, ``weighed`` of them that weighed
    anything on arrival, ``revision`` of those late. ``None`` where not needed.
    """

    observed: NDArray[np.bool_]
    shares: Floats
    rests: Floats
    weight: Floats
    seen: Ints
    weighed: Ints
    revision: Ints | None
    gap_ms: Ints | None
    idle_ms: Ints | None
    age_ms: Ints | None
    concentration: Floats | None
    spread: Floats | None
    factors: Floats | None
    portions: Floats | None


def most_equal(smoothing: Smoothing) -> int | None:
    """Return after how many readings only the newest has a weight; ``None``: never.

    So it is with beta = 0, but for a simple start. The effective number is 1 then, and nothing
    unbiased is defined.
    """
    if smoothing.decay.by_time or smoothing.decay.beta > 0.0:
        return None
    return smoothing.start_n or 0


class Weighing:
    """Weigh the readings of planned batches by the rules of one `Smoothing`."""

    def __init__(self, smoothing: Smoothing, *, unbiased: bool) -> None:
        self.decay = smoothing.decay
        self.by_time = smoothing.decay.by_time
        self.by_duration = smoothing.by_duration
        self.by_volume = smoothing.weighting == "volume"
        self.two = 1 if smoothing.start_up == "prior" else 2
        self.start_n = {"first": 1, "simple": smoothing.start_n}.get(smoothing.start_up)
        self.most = most_equal(smoothing)
        self.decays = np.array(smoothing.policies.decays)
        self.moments = smoothing.squares or smoothing.pairs
        self.needs_idle = self.by_time and bool(self.decays.any())
        self.columns = self._columns(smoothing, unbiased=unbiased)

    def _columns(self, smoothing: Smoothing, *, unbiased: bool) -> dict[str, Column]:
        asked = set(smoothing.statistics)
        columns = {
            "weight": Column(np.float64, smoothing.prior_weight or 0.0),
            "count": Column(np.int64, 0),
        }
        if self.by_time:
            columns["newest_ms"] = Column(np.int64, NEVER)
        aged = "rate" in asked or ("settled" in asked and self.start_n is None)
        if self.by_time and aged:
            columns["oldest_ms"] = Column(np.int64, ALWAYS)
        if self.by_time and unbiased:
            columns["weighed"] = Column(np.int64, 0)
        if "revision" in asked:
            columns["revision"] = Column(np.int64, 0)
        if not asked.isdisjoint(("n_eff", "sem")):
            columns["concentration"] = Column(np.float64, 1.0)
        if unbiased:
            columns["spread"] = Column(np.float64, 0.0)
        return columns

    def advance(
        self,
        plan: BatchPlan,
        observed: NDArray[np.bool_],
        times_ms: Ints | None,
        volumes: Floats | None,
        causes: NDArray[np.uint8] | None,
        state: Mapping[str, NDArray[Any]],
    ) -> Weighed:
        """Move the state of the plan's series on by its readings, in place."""
        passed = self._passed(volumes, causes)
        gap = idle = before = None
        if self.by_time:
            assert times_ms is not None  # the table refuses readings without
            before = latest(plan, np.where(observed, times_ms, NEVER), state["newest_ms"])
            opens = before == NEVER
            gap = np.where(opens, 0, times_ms - np.where(opens, 0, before))
            if self.needs_idle:
                idle = np.where(~observed & passed, np.maximum(gap, 0), 0)
            if self.by_duration:
                observed = observed & (gap >= 0)
        count = counts(plan, observed, state["count"])
        if gap is None:
            retained, added = self._by_count(observed, passed, count)
        else:
            retained, added = self._by_gap(gap)
            retained, added = np.where(observed, retained, 1.0), np.where(observed, added, 0.0)
            if self.start_n is not None:
                seeding = observed & (count <= self.start_n)
                retained[seeding] = added[seeding] = 1.0
        if self.by_volume:
            assert volumes is not None  # the table refuses readings without
            added *= np.where(observed, volumes, 0.0)
            weighs = added > 0.0  # of shares the least would be 0
            shares, rests, weight = self._shares(plan, retained, added, observed, count, state)
        else:
            shares, rests, weight = self._shares(plan, retained, added, observed, count, state)
            weighs = shares > 0.0
        weighed = count
        if "weighed" in state:
            weighed = counts(plan, weighs, state["weighed"])
        revision = None
        if "revision" in state and gap is not None:
            revision = counts(plan, (gap < 0) & weighs, state["revision"])
        age = None
        if "oldest_ms" in state and before is not None and times_ms is not None:
            age = _age(plan, observed, times_ms, before, state["oldest_ms"])
        return Weighed(
            observed, shares, rests, weight, count, weighed, revision, gap, idle, age,
            *self._concentrations(plan, shares, rests, weighs, weighed, state),
        )  # fmt: skip

    def _passed(
        self, volumes: Floats | None, causes: NDArray[np.uint8] | None
    ) -> NDArray[np.bool_]:
        """Tell past which readings weights decay, if they are not observed."""
        every = np.uint8(0) if causes is None else causes
        if self.by_volume and volumes is not None:
            every = every | np.where(volumes > 0.0, 0, MISSING).astype(np.uint8)
        return np.asarray(self.decays[every])

    def _by_count(
        self, observed: NDArray[np.bool_], passed: NDArray[np.bool_], count: Ints
    ) -> tuple[Floats, Floats]:
        decay = self.decay
        retained = np.where(observed | passed, decay.beta, 1.0)
        if self.start_n is None:
            return retained, np.where(observed, 1.0, 0.0)
        added = np.where(observed, decay.alpha, 0.0)
        seeding = count < self.start_n + observed
        retained[seeding] = 1.0
        added[seeding & observed] = 1.0
        return retained, added

    def _by_gap(self, gap: Ints) -> tuple[Floats, Floats]:
        """Retention and weight from the gap to the newest reading so far.

        A late reading (a gap below zero) is weighed as it would weigh by now had it been on
        time, and the sum of weights does not decay: exact, without a buffer to reorder in.
        """
        fading = self.decay.retention(np.abs(gap))
        on_time = gap >= 0
        retained = np.where(on_time, fading, 1.0)
        if self.start_n is not None or self.by_duration:
            # The weight of the gap that a late reading would have divided is already given away.
            return retained, self.decay.lapse(np.maximum(gap, 0))
        return retained, np.where(on_time, 1.0, fading)

    def _shares(
        self,
        plan: BatchPlan,
        retained: Floats,
        added: Floats,
        observed: NDArray[np.bool_],
        count: Ints,
        state: Mapping[str, NDArray[Any]],
    ) -> tuple[Floats, Floats, Floats]:
        """Sum of weights: S <- f S + w; S <- 1 once the start is over, where weights add up to 1.

        Returns the reading's share of it, the rest, and the sum before it was set to 1.
        """
        factors, gains = retained, added
        if self.start_n is not None and not self.by_volume:
            whole = observed & (count >= self.start_n)
            factors, gains = np.where(whole, 0.0, retained), np.where(whole, 1.0, added)
        kept = accumulate(plan, factors, gains, state["weight"])
        kept *= retained
        weight = kept + added
        total = np.maximum(weight, TINY)
        shares = np.divide(added, total, out=added)
        rests = np.divide(kept, total, out=kept)
        if self.by_duration:
            opens = observed & (count == 1)
            shares[opens], rests[opens] = 1.0, 0.0
        return shares, rests, weight

    def _concentrations(
        self,
        plan: BatchPlan,
        shares: Floats,
        rests: Floats,
        weighs: NDArray[np.bool_],
        weighed: Ints,
        state: Mapping[str, NDArray[Any]],
    ) -> tuple[Floats | None, Floats | None, Floats | None, Floats | None]:
        """Return U and Q after each reading, and a and b of the second moments."""
        concentration = spread = factors = portions = None
        if not self.moments and "concentration" not in state:
            return concentration, spread, factors, portions
        r = np.where(weighs, rests, 1.0)
        squared = r * r
        if "concentration" in state:
            gains = shares * shares
            before = accumulate(plan, squared, gains, state["concentration"])
            concentration = before * squared + gains
        if "spread" in state:
            doubled = 2.0 * shares
            gains = doubled * r
            before = accumulate(plan, squared, gains, state["spread"])
            spread = before * squared + gains
            divisors = np.where(weighs, r * before + doubled, 1.0)
            lost = np.flatnonzero(divisors == 0.0) if self.by_volume else ()
            if len(lost):
                divisors[lost] = 1.0
            factors = np.where(weighs, before / divisors, 1.0)
            portions = shares / divisors
            if len(lost):
                # A share too small for a float cancels if there was one reading: W = d_i d_j / 2.
                second = weighed[lost] == self.two
                factors[lost] = np.where(second, 0.0, 1.0)
                portions[lost] = np.where(second, 0.5, 0.0)
        elif self.moments:
            factors, portions = r, r * shares
        return concentration, spread, factors, portions


def _age(
    plan: BatchPlan, observed: NDArray[np.bool_], times_ms: Ints, before: Ints, oldest: Ints
) -> Ints:
    """From the oldest to the newest reading, after each."""
    # The greatest of -t is the smallest of t: one recurrence serves both ends.
    negated = -oldest
    earlier = -latest(plan, np.where(observed, -times_ms, -ALWAYS), negated)
    oldest[:] = -negated
    first = np.where(observed, np.minimum(earlier, times_ms), earlier)
    newest = np.where(observed, np.maximum(before, times_ms), before)
    return np.where(newest == NEVER, 0, newest - first)
