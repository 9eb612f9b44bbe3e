"""The recurrences of exponentially weighted statistics, over columns.

The seed formula is v <- beta v + (1 - beta) x from v = 0, corrected as v / (1 - beta^t). Kept in
its place are the sum of weights S and the weighted mean m, which *is* the corrected average: with
f = beta (or 2^(-gap / half-life)) and a reading of weight w = 1,

    m <- m + p (x - m),  p = w / (f S + w)     and v = (1 - beta) S m,  1 - beta^t = (1 - beta) S.

The mean needs no division by a vanishing 1 - beta^t, holds at any gap and for any weight, and its
deviations make variances without cancellation. Every other recurrence is y <- a y + g, with the
factor a and the gain g known before the loop:

    sum of weights         S <- f S + w               p = w / (f S + w), r = 1 - p = f S / (f S + w)
    sum of w^2 over S^2    U <- r^2 U + p^2           U = 1 after one reading, 1 / n_eff
    1 - U                  Q <- r^2 Q + 2 p r         without the cancellation
    biased covariance      C <- r C + r p d_i d_j     d = x - m before the reading; variance: i = j
    unbiased covariance    W <- (Q / D) W + (p / D) d_i d_j      D = r Q + 2 p, W = C / Q

No term of a variance is negative, and none grows. The last one is C / Q with the common factor r
divided out, so that it is right after any gap, when both C and Q are close to 0.

Each function takes columns in the order of a `BatchPlan`, and the state of its series: one element
for each of ``plan.series``, updated in place. A column of values or of state may have a leading
axis of fields, ``[k, n]``; a column that all fields share is ``[n]``. `by_reading` runs the same
recurrences for a single reading, with the same operations in the same order, hence the same bits.
So do the compiled loops over a batch as it arrived.

Must not know series ids, options, clocks or sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.compiled import library
from ewma_ops.stats.batch_plan import BatchPlan

__all__ = ["accumulate", "counts", "latest", "means", "pairs"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def pairs(width: int) -> tuple[list[int], list[int]]:
    """Return the index pairs (i < j) of ``width`` fields, as two lists.

    Examples
    --------
    >>> pairs(3)
    ([0, 0, 1], [1, 2, 2])
    """
    both = list(combinations(range(width), 2))
    return [i for i, _ in both], [j for _, j in both]


def accumulate(plan: BatchPlan, factors: Floats, gains: Floats, state: Floats) -> Floats:
    """Linear recurrence: y <- a y + g.

    Parameters
    ----------
    plan
        The layout of the batch.
    factors
        float64[n], a.
    gains
        float64[n] or [k, n], g.
    state
        float64[m] or [k, m], y; updated in place.

    Returns
    -------
    ndarray
        y as it was *before* each reading, of the shape of ``gains``; ``a * before + g`` is y after
        it, to the bit.
    """
    if plan.at is not None:
        return _accumulate_as_arrived(plan.at, factors, gains, state)
    if not plan.by_rounds:
        if gains.ndim == 1:
            return _accumulate_by_runs(plan, factors, gains, state)
        rows = [_accumulate_by_runs(plan, factors, g, y) for g, y in zip(gains, state, strict=True)]
        return np.array(rows)
    before = np.empty_like(gains)
    for lo, hi in pairwise(plan.bounds):
        y = state[..., : hi - lo]
        before[..., lo:hi] = y
        y *= factors[lo:hi]
        y += gains[..., lo:hi]
    return before


def _rows(*columns: NDArray[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield the rows of columns, ``[n]`` or ``[k, n]``; what has one row has it for every k."""
    depth = max(1 if column.ndim == 1 else len(column) for column in columns)
    for i in range(depth):
        yield tuple(column if column.ndim == 1 else column[i] for column in columns)


def _accumulate_as_arrived(at: Ints, factors: Floats, gains: Floats, state: Floats) -> Floats:
    assert library.kernels is not None
    before = np.empty(gains.shape)
    for a, g, y, b in _rows(factors, gains, state, before):
        given = [np.ascontiguousarray(column, np.float64) for column in (a, g)]
        library.kernels.accumulate(at, *given, y, b)
    return before


def _accumulate_by_runs(plan: BatchPlan, factors: Floats, gains: Floats, state: Floats) -> Floats:
    before: list[float] = []
    a, g = factors.tolist(), gains.tolist()
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        y = float(state[i])
        for factor, gain in zip(a[lo:hi], g[lo:hi], strict=True):
            before.append(y)
            y = y * factor + gain
        state[i] = y
    return np.array(before)


def means(
    plan: BatchPlan,
    shares: Floats,
    rests: Floats,
    values: Floats,
    mean: Floats,
    deviations: Floats | None = None,
) -> Floats:
    """Weighted mean: m <- m + p (x - m), or x - r (x - m) where p > 1/2.

    Each form is exact for a constant; the second keeps the digits of x where almost nothing of a
    large m remains.

    Parameters
    ----------
    plan
        The layout of the batch.
    shares, rests
        float64[n], p and r.
    values
        float64[k, n], x; any finite number where p is 0.
    mean
        float64[k, m], m; updated in place.
    deviations
        float64[k, n] to be filled with x - m, m as it was before the reading; or ``None``.

    Returns
    -------
    ndarray
        float64[k, n], m after each reading.
    """
    if plan.at is not None:
        return _means_as_arrived(plan.at, shares, rests, values, mean, deviations)
    far = shares > 0.5
    any_far = bool(far.any())
    smaller = np.where(far, rests, shares) if any_far else shares
    after = np.empty(values.shape)
    if not plan.by_rounds:
        for i in range(len(values)):
            apart = None if deviations is None else deviations[i]
            after[i] = _means_by_runs(plan, far, smaller, values[i], mean[i], apart)
        return after
    for lo, hi in pairwise(plan.bounds):
        m, x = mean[:, : hi - lo], values[:, lo:hi]
        step = x - m
        if deviations is not None:
            deviations[:, lo:hi] = step
        step *= smaller[lo:hi]
        m += step
        if any_far:
            np.subtract(x, step, out=m, where=far[lo:hi])
        after[:, lo:hi] = m
    return after


def _means_as_arrived(
    at: Ints, shares: Floats, rests: Floats, values: Floats, mean: Floats, deviations: Floats | None
) -> Floats:
    assert library.kernels is not None
    after, unasked = np.empty(values.shape), np.empty(0)
    steps = unasked if deviations is None else deviations
    for p, r, x, m, found, step in _rows(shares, rests, values, mean, after, steps):
        given = [np.ascontiguousarray(column, np.float64) for column in (p, r, x)]
        library.kernels.means(at, *given, m, found, step)
    return after


def _means_by_runs(
    plan: BatchPlan,
    far: NDArray[np.bool_],
    smaller: Floats,
    values: Floats,
    mean: Floats,
    deviations: Floats | None,
) -> list[float]:
    after: list[float] = []
    before: list[float] = []
    from_value, c, x = far.tolist(), smaller.tolist(), values.tolist()
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        m = float(mean[i])
        for j in range(lo, hi):
            before.append(m)
            step = (x[j] - m) * c[j]
            m = x[j] - step if from_value[j] else m + step
            after.append(m)
        mean[i] = m
    if deviations is not None:
        np.subtract(values, before, out=deviations)
    return after


def latest(plan: BatchPlan, times: Ints, newest: Ints) -> Ints:
    """Greatest time so far: T <- max(T, t). Returns T as it was *before* each reading."""
    if plan.at is not None:
        assert library.kernels is not None
        before = np.empty(len(times), np.int64)
        library.kernels.latest(plan.at, np.ascontiguousarray(times, np.int64), newest, before)
        return before
    if not plan.by_rounds:
        return _latest_by_runs(plan, times, newest)
    before = np.empty_like(times)
    for lo, hi in pairwise(plan.bounds):
        t = newest[: hi - lo]
        before[lo:hi] = t
        np.maximum(t, times[lo:hi], out=t)
    return before


def _latest_by_runs(plan: BatchPlan, times: Ints, newest: Ints) -> Ints:
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


def counts(plan: BatchPlan, counted: NDArray[np.bool_], count: Ints) -> Ints:
    """Count the marked readings: n <- n + 1. Returns n after each reading."""
    if plan.at is not None:
        assert library.kernels is not None
        after = np.empty(len(counted), np.int64)
        marks = np.ascontiguousarray(counted).view(np.uint8)
        library.kernels.counts(plan.at, marks, count, after)
        return after
    if plan.by_rounds:
        after = np.empty(len(counted), np.int64)
        for lo, hi in pairwise(plan.bounds):
            n = count[: hi - lo]
            n += counted[lo:hi]
            after[lo:hi] = n
        return after
    after = np.cumsum(counted, dtype=np.int64)
    starts, ends = np.array(plan.bounds[:-1]), np.array(plan.bounds[1:])
    after += np.repeat(count - after[starts] + counted[starts], ends - starts)
    count[:] = after[ends - 1]
    return after
