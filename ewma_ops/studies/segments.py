"""A batch of readings put in order of its series, so that each series is one stretch of a column.

Knows rows of series and columns; must not know what is computed of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segments", "by_series", "grown", "usual_gap"]

A = TypeVar("A", bound=np.generic)


class Segments(NamedTuple):
    """How a batch lies when it is in order of its series, each in order of arrival.

    ``order`` puts a column so; ``rows`` is the row of each reading then; ``starts`` where each
    series begins and ``ends`` where its last reading is; ``series`` its row.
    """

    order: NDArray[np.intp]
    rows: NDArray[np.intp]
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]
    series: NDArray[np.intp]

    def before(self, column: NDArray[A], last: NDArray[A]) -> NDArray[A]:
        """Return what a series had at its reading before, and note its newest.

        Parameters
        ----------
        column
            [n] or [n, k], in order of the series.
        last
            By row: what the newest reading of earlier batches had; of this one after the call.
        """
        found = np.empty_like(column)
        found[1:] = column[:-1]
        found[self.starts] = last[self.series]
        last[self.series] = column[self.ends]
        return found

    def sums(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of a column, [n] or [n, k], for each series."""
        added: NDArray[Any] = np.add.reduceat(column, self.starts, axis=0)
        return added


def by_series(rows: NDArray[np.intp]) -> Segments:
    """Put a batch in order of its series.

    Examples
    --------
    >>> found = by_series(np.array([1, 0, 1]))
    >>> found.order, found.starts, found.series
    (array([1, 0, 2]), array([0, 1]), array([0, 1]))
    >>> found.before(np.array([5.0, 7.0, 8.0]), np.array([np.nan, 2.0]))
    array([nan,  2.,  7.])
    """
    order = np.argsort(rows, kind="stable")
    own = rows[order]
    changes = np.flatnonzero(own[1:] != own[:-1]) + 1
    starts = np.concatenate([[0], changes]) if len(own) else changes
    ends = np.append(starts[1:], len(own)) - 1 if len(own) else changes
    return Segments(order, own, starts, ends, own[starts])


def grown(column: NDArray[A], n: int, fill: object) -> NDArray[A]:
    """Return a column with at least ``n`` rows, new ones with ``fill``; it grows by half."""
    if len(column) >= n:
        return column
    more = np.full((max(n, len(column) * 3 // 2, 64) - len(column), *column.shape[1:]), fill)
    return np.concatenate([column, more.astype(column.dtype)])


def usual_gap(rows: NDArray[np.intp], times: NDArray[np.int64]) -> float | None:
    """Return the median gap between readings of a series at different times; ``None`` if none.

    Examples
    --------
    >>> usual_gap(np.array([0, 1, 0, 1, 0]), np.array([0, 5, 10, 5, 40]))
    20.0
    """
    segments = by_series(rows)
    own = times[segments.order]
    gaps = np.diff(own)[segments.rows[1:] == segments.rows[:-1]]
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if len(gaps) else None
