"""The recurrences of exponentially weighted statistics, over columns.

Knows arrays; must not know series ids, options, clocks or where anything comes from.

A batch holds the readings of many series in order of arrival. A series' readings must be taken
one after the other, in that order, or its last bits would depend on how the stream was cut; but
different series are independent. So `plan` lays a batch out in one of two ways, and every
recurrence runs over either with the same operations in the same order, hence the same bits:

* by rounds: the first reading of every series, then every second one, and so on, the longest
  series first, so that each round works on a prefix of the same columns;
* by runs: one series after the other, in plain Python. Faster where few series are long.

Each recurrence takes columns in the plan's order and the state of its series, one element a
series in the order of ``plan.series``, which it moves on in place. It returns what the state was
after each reading. `scalar` holds the same recurrences for a single reading.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Plan", "concentrations", "counts", "latest", "means", "plan", "weights"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


# A mean round of fewer readings than this costs NumPy more than plain Python (measured).
_SMALLEST_ROUND = 28


class Plan(NamedTuple):
    """How the readings of one batch are laid out.

    ``order[i]`` is the place in the batch of the i-th reading of the plan; ``series`` holds the
    row of each series; ``bounds`` cuts the plan into rounds, the i-th reading of each belonging to
    ``series[i]``, or else into runs, the i-th run belonging to ``series[i]``.
    """

    order: NDArray[np.intp]
    series: NDArray[np.intp]
    bounds: list[int]
    by_rounds: bool


def plan(rows: NDArray[np.intp]) -> Plan:
    """Lay out a batch whose i-th reading belongs to the series at ``rows[i]``."""
    n = len(rows)
    # NumPy sorts 16-bit integers by radix, several times faster than longer ones.
    short = n > 0 and int(rows.max()) < 1 << 16
    order = np.argsort(rows.astype(np.uint16) if short else rows, kind="stable")
    grouped = rows[order]
    starts = np.flatnonzero(np.diff(grouped, prepend=-1))
    series = grouped[starts]
    if len(starts) == n:
        return Plan(order, series, [0, n], True)
    lengths = np.diff(starts, append=n)
    if n < int(lengths.max()) * _SMALLEST_ROUND:
        return Plan(order, series, [*starts.tolist(), n], False)
    longest_first = np.argsort(-lengths, kind="stable")
    ascending = lengths[longest_first[::-1]]
    rounds = np.arange(ascending[-1])
    bounds = np.zeros(len(rounds) + 1, np.intp)
    np.cumsum(len(starts) - np.searchsorted(ascending, rounds, side="right"), out=bounds[1:])
    place = np.empty(len(starts), np.intp)
    place[longest_first] = np.arange(len(starts))
    nth = np.arange(n) - np.repeat(starts, lengths)
    laid_out = np.empty(n, np.intp)
    laid_out[bounds[nth] + np.repeat(place, lengths)] = order
    return Plan(laid_out, series[longest_first], bounds.tolist(), True)


def weights(
    plan: Plan, retained: Floats, added: Floats, total: Floats, *, reset: bool
) -> tuple[Floats, Floats]:
    """Sum of weights: S <- f S + w; with ``reset``, S <- 1 after a reading that has a weight.

    Returns the part kept of the earlier sum, f S, and the new sum before any reset, f S + w.
    """
    if not plan.by_rounds:
        return _weights_by_runs(plan, retained, added, total, reset)
    kept, after = np.empty_like(added), np.empty_like(added)
    for lo, hi in pairwise(plan.bounds):
        s = total[: hi - lo]
        s *= retained[lo:hi]
        kept[lo:hi] = s
        s += added[lo:hi]
        after[lo:hi] = s
        if reset:
            s[added[lo:hi] > 0.0] = 1.0
    return kept, after


def _weights_by_runs(
    plan: Plan, retained: Floats, added: Floats, total: Floats, reset: bool
) -> tuple[Floats, Floats]:
    kept: list[float] = []
    after: list[float] = []
    f, w = retained.tolist(), added.tolist()
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        s = float(total[i])
        for retention, weight in zip(f[lo:hi], w[lo:hi], strict=True):
            s *= retention
            kept.append(s)
            s += weight
            after.append(s)
            if reset and weight > 0.0:
                s = 1.0
        total[i] = s
    return np.array(kept), np.array(after)


def means(plan: Plan, shares: Floats, rests: Floats, values: Floats, mean: Floats) -> Floats:
    """Weighted mean: m <- m + p (x - m), or x - r (x - m) where p > 1/2.

    p is the reading's share of all weight and r = 1 - p the rest. Each form is exact for a
    constant; the second keeps the digits of x where next to nothing is left of a large m.
    """
    far = shares > 0.5
    any_far = bool(far.any())
    smaller = np.where(far, rests, shares) if any_far else shares
    if not plan.by_rounds:
        return _means_by_runs(plan, far, smaller, values, mean)
    after = np.empty_like(values)
    for lo, hi in pairwise(plan.bounds):
        m, x = mean[: hi - lo], values[lo:hi]
        step = x - m
        step *= smaller[lo:hi]
        m += step
        if any_far:
            np.subtract(x, step, out=m, where=far[lo:hi])
        after[lo:hi] = m
    return after


def _means_by_runs(
    plan: Plan, far: NDArray[np.bool_], smaller: Floats, values: Floats, mean: Floats
) -> Floats:
    after: list[float] = []
    from_value, c, x = far.tolist(), smaller.tolist(), values.tolist()
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        m = float(mean[i])
        for j in range(lo, hi):
            step = (x[j] - m) * c[j]
            m = x[j] - step if from_value[j] else m + step
            after.append(m)
        mean[i] = m
    return np.array(after)


def concentrations(plan: Plan, shares: Floats, rests: Floats, concentration: Floats) -> Floats:
    """Sum of squared weights over the squared sum: U <- r^2 U + p^2.

    U is 1 after one reading and tends to 0 as many weigh alike; 1 / U is the number of equally
    weighted readings that would carry as much evidence. No term is negative.
    """
    added, kept = shares * shares, rests * rests
    if not plan.by_rounds:
        return _concentrations_by_runs(plan, added, kept, concentration)
    after = np.empty_like(shares)
    for lo, hi in pairwise(plan.bounds):
        u = concentration[: hi - lo]
        u *= kept[lo:hi]
        u += added[lo:hi]
        after[lo:hi] = u
    return after


def _concentrations_by_runs(
    plan: Plan, added: Floats, kept: Floats, concentration: Floats
) -> Floats:
    after: list[float] = []
    p2, r2 = added.tolist(), kept.tolist()
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        u = float(concentration[i])
        for gain, rest in zip(p2[lo:hi], r2[lo:hi], strict=True):
            u = u * rest + gain
            after.append(u)
        concentration[i] = u
    return np.array(after)


def latest(plan: Plan, times: Ints, newest: Ints) -> Ints:
    """Greatest time so far: T <- max(T, t). Returns T as it was *before* each reading."""
    if not plan.by_rounds:
        return _latest_by_runs(plan, times, newest)
    before = np.empty_like(times)
    for lo, hi in pairwise(plan.bounds):
        t = newest[: hi - lo]
        before[lo:hi] = t
        np.maximum(t, times[lo:hi], out=t)
    return before


def _latest_by_runs(plan: Plan, times: Ints, newest: Ints) -> Ints:
    before: list[int] = []
    t = times.tolist()
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        greatest = int(newest[i])
        for time in t[lo:hi]:
            before.append(greatest)
            if time > greatest:
                greatest = time
        newest[i] = greatest
    return np.array(before, np.int64)


def counts(plan: Plan, observed: NDArray[np.bool_], count: Ints) -> Ints:
    """Count the readings observed so far: n <- n + 1, but not for a missing one."""
    if plan.by_rounds:
        after = np.empty(len(observed), np.int64)
        for lo, hi in pairwise(plan.bounds):
            n = count[: hi - lo]
            n += observed[lo:hi]
            after[lo:hi] = n
        return after
    after = np.cumsum(observed, dtype=np.int64)
    starts, ends = np.array(plan.bounds[:-1]), np.array(plan.bounds[1:])
    after += np.repeat(count - after[starts] + observed[starts], ends - starts)
    count[:] = after[ends - 1]
    return after
