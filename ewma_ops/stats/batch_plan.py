"""How the readings of one batch are laid out for the recurrences.

Knows row numbers; must not know series ids, values or statistics.

The readings of a series must be processed one after the other, in order of arrival, or its last
bits would depend on how the stream was cut; but different series are independent. So a batch is
laid out in one of three ways, and every recurrence runs over each with the same operations in the
same order:

* as it arrived, where there are compiled loops;
* by rounds: the first reading of every series, then every second one, and so on, the longest
  series first, so that each round works on a prefix of the same columns;
* by runs: one series after the other, in plain Python. Faster where few series are long.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.compiled import library

__all__ = ["BatchPlan", "Renewal", "plan_batch", "plan_series", "renewed", "turns"]

# With fewer readings a round on average, plain Python is faster than NumPy (measured).
_SMALLEST_ROUND = 28


class BatchPlan(NamedTuple):
    """How the readings of one batch are laid out.

    ``order[i]`` is the place in the batch of the i-th reading of the plan; ``series`` holds the
    row of each series; ``bounds`` cuts the plan into rounds, the i-th reading of each belonging to
    ``series[i]``, or else into runs, the i-th run belonging to ``series[i]``.

    As they arrived, readings have no ``order``; ``at`` says to which of ``series`` each belongs.
    """

    order: NDArray[np.intp] | None
    series: NDArray[np.intp]
    bounds: list[int]
    by_rounds: bool
    at: NDArray[np.int64] | None = None

    def planned(self, arrived: NDArray[Any]) -> NDArray[Any]:
        """Return columns, ``[..., n]``, in the order of the plan: maybe the same."""
        return arrived if self.order is None else np.take(arrived, self.order, axis=-1)

    def arrived(self, planned: NDArray[Any]) -> NDArray[Any]:
        """Return columns, ``[..., n]``, in the order of arrival: maybe the same."""
        if self.order is None:
            return planned
        restored = np.empty_like(planned)
        restored[..., self.order] = planned
        return restored


def plan_batch(rows: NDArray[np.intp], width: int = 1) -> BatchPlan:
    """Lay out a batch: its i-th reading, of ``width`` values, is of the series at ``rows[i]``."""
    if library.kernels is not None:
        return _as_it_arrived(library.kernels, rows)
    return plan_series(rows, width)


def plan_series(rows: NDArray[np.intp], width: int = 1) -> BatchPlan:
    """Lay out a batch for loops that are not compiled: by rounds, or runs if rounds are small."""
    n = len(rows)
    order = _ascending(rows)
    grouped = rows[order]
    starts = np.flatnonzero(np.diff(grouped, prepend=-1))
    series = grouped[starts]
    if len(starts) == n:
        return BatchPlan(order, series, [0, n], True)
    lengths = np.diff(starts, append=n)
    longest = int(lengths.max())
    if n * width < longest * _SMALLEST_ROUND:
        return BatchPlan(order, series, [*starts.tolist(), n], False)
    longest_first = _ascending(longest - lengths)
    ascending = lengths[longest_first[::-1]]
    rounds = np.arange(longest)
    bounds = np.zeros(len(rounds) + 1, np.intp)
    np.cumsum(len(starts) - np.searchsorted(ascending, rounds, side="right"), out=bounds[1:])
    place = np.empty(len(starts), np.intp)
    place[longest_first] = np.arange(len(starts))
    nth = np.arange(n) - np.repeat(starts, lengths)
    laid_out = np.empty(n, np.intp)
    laid_out[bounds[nth] + np.repeat(place, lengths)] = order
    return BatchPlan(laid_out, series[longest_first], bounds.tolist(), True)


def _as_it_arrived(kernels: library.Kernels, rows: NDArray[np.intp]) -> BatchPlan:
    n = len(rows)
    bits = max(1, (2 * n).bit_length())
    slots, series, at = np.full(1 << bits, -1), np.empty(n, np.int64), np.empty(n, np.int64)
    found = kernels.number_series(np.ascontiguousarray(rows), slots, bits, series, at)
    return BatchPlan(None, series[:found], [0, n], False, at)


def turns(plan: BatchPlan) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Yield one reading of each series at a time: their places in a plan, and their rows.

    Of a plan by runs it is one reading at a time.

    Examples
    --------
    >>> plan = plan_series(np.array([7, 5]))
    >>> [(places, rows.tolist()) for places, rows in turns(plan)]
    [(slice(0, 2, None), [5, 7])]
    """
    for i, (lo, hi) in enumerate(pairwise(plan.bounds)):
        if plan.by_rounds:
            yield slice(lo, hi), plan.series[: hi - lo]
        else:
            for at in range(lo, hi):
                yield slice(at, at + 1), plan.series[i : i + 1]


class Renewal(NamedTuple):
    """Rows of the readings of a batch in which some series are reset.

    ``rows`` holds a row for each reading; ``last`` the last row of each series of ``series``.
    """

    rows: NDArray[np.intp]
    series: NDArray[np.intp]
    last: NDArray[np.intp]


def renewed(rows: NDArray[np.intp], resets: NDArray[np.bool_], free: int) -> Renewal:
    """Give a series a new row from each reading on that resets it.

    Parameters
    ----------
    rows
        Row of the series of each reading.
    resets
        Whether the reading resets its series.
    free
        The first of the unused rows, one for each reset.

    Examples
    --------
    >>> renewed(np.array([0, 1, 0, 0]), np.array([False, False, True, False]), 7).rows
    array([0, 1, 7, 7])
    """
    order = np.argsort(rows, kind="stable")
    grouped, begins = rows[order], resets[order]
    begun = np.cumsum(begins)
    starts = np.flatnonzero(np.diff(grouped, prepend=-1))
    lengths = np.diff(starts, append=len(rows))
    earlier: NDArray[np.intp] = np.repeat((begun - begins)[starts], lengths)
    moved = np.where(begun > earlier, free - 1 + begun, grouped)
    ends = starts + lengths - 1
    ends = ends[moved[ends] != grouped[ends]]
    laid_out = np.empty_like(rows)
    laid_out[order] = moved
    return Renewal(laid_out, grouped[ends], moved[ends])


def _ascending(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Sort stably: NumPy sorts 16-bit integers by radix, several times faster than longer ones."""
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    high = numbers >> 16
    if high.any():
        order = order[np.argsort(high[order].astype(np.uint16), kind="stable")]
    return order
