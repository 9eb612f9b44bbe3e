"""Find readings by time: those next to a moment, in a batch of many series.

Knows rows of series and clocks; must not know what is compared. A clock is a time in ticks, or the
number of a reading in its series.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Clocked", "neighbours"]

_Ints = NDArray[np.int64]
_Rows = NDArray[np.intp]


class Clocked(NamedTuple):
    """Readings in order of their series, and in each of rising clocks, with their values."""

    rows: _Rows
    clocks: _Ints
    values: NDArray[np.float64]

    @classmethod
    def none(cls) -> Clocked:
        """Return no readings."""
        return cls(np.empty(0, np.intp), np.empty(0, np.int64), np.empty(0))

    def take(self, kept: NDArray[np.bool_]) -> Clocked:
        """Return some of them."""
        return Clocked(self.rows[kept], self.clocks[kept], self.values[kept])

    def followed_by(self, later: Clocked) -> Clocked:
        """Return these and later ones, in order."""
        rows = np.concatenate([self.rows, later.rows])
        order = np.argsort(rows, kind="stable")
        return Clocked(
            rows[order],
            np.concatenate([self.clocks, later.clocks])[order],
            np.concatenate([self.values, later.values])[order],
        )

    def nearest(self, rows: _Rows, moments: _Ints, least: _Ints, reach: int) -> NDArray[np.float64]:
        """Return the value nearest to each moment, the earlier one of two that are as near.

        NaN where no reading of that series is at most ``reach`` away, and from ``least`` on.
        """
        before, after = neighbours(self.rows, self.clocks, rows, moments)
        found = np.full(len(rows), np.nan)
        best = np.full(len(rows), reach + 1, np.int64)
        for places in (before, after):
            there = np.flatnonzero(places >= 0)
            clocks = self.clocks[places[there]]
            away = np.abs(clocks - moments[there])
            nearer = (away < best[there]) & (clocks >= least[there])
            chosen = there[nearer]
            found[chosen], best[chosen] = self.values[places[chosen]], away[nearer]
        return found


def neighbours(rows: _Rows, clocks: _Ints, of: _Rows, moments: _Ints) -> tuple[_Rows, _Rows]:
    """Return the places of the last reading up to each moment, and of the first one after it.

    Parameters
    ----------
    rows, clocks
        Readings in order of their series, and in each of rising clocks.
    of, moments
        The series of each moment, and when it is; in any order.

    Returns
    -------
    tuple of ndarray
        -1 where the series has none.

    Examples
    --------
    >>> rows, clocks = np.array([0, 0, 2]), np.array([10, 20, 10])
    >>> neighbours(rows, clocks, np.array([0, 0, 1, 2]), np.array([20, 5, 10, 15]))
    (array([ 1, -1, -1,  2]), array([-1,  0, -1, -1]))
    """
    n = len(rows)
    asked = np.concatenate([np.zeros(n, np.bool_), np.ones(len(of), np.bool_)])
    every = np.concatenate([rows, of])
    order = np.lexsort((asked, np.concatenate([clocks, moments]), every))
    passed = np.cumsum(~asked[order])
    last = np.empty(len(order), np.intp)
    last[order] = passed - 1
    before = last[n:]
    after = before + 1
    padded = np.append(rows, -1)  # of no series: also before the first, by its place -1
    return (
        np.where(padded[before] == of, before, -1),
        np.where(padded[after] == of, after, -1),
    )
