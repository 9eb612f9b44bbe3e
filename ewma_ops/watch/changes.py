"""Updates of the charts on a page: points at the end, and those that changed.

Knows the points of a chart; must not know their source, or how they are sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.watch.deep import Drawn
from ewma_ops.watch.finite import listed

__all__ = ["POINTS", "Sent"]

POINTS = ("x", "value", "average", "lower", "upper")
"""Columns of a chart that have a number for each point; ``past_forecast``, if there is one, too."""


class _Points(NamedTuple):
    number: int
    columns: NDArray[np.float64]


class Sent:
    """The points of charts on one page, which is sent only differences.

    Examples
    --------
    >>> def chart(*x: float) -> Drawn:
    ...     at = np.array(x)
    ...     return Drawn(at, at, at, at, at, None, len(x), 0, [])
    >>> sent = Sent()
    >>> sent.points("a", chart(1.0, 2.0, 3.0))["x"]
    [1.0, 2.0, 3.0]
    >>> update = sent.points("a", chart(2.0, 3.0, 4.0))
    >>> update["after"], update["drop"], update["keep"], update["x"]
    (1, 1, 2, [4.0])
    """

    def __init__(self) -> None:
        self._has: dict[str, _Points] = {}

    def points(self, series_id: str, seen: Drawn) -> dict[str, Any]:
        """Return the points of a chart that the page lacks.

        Parameters
        ----------
        series_id
            Of the chart.
        seen
            What it is to show.

        Returns
        -------
        dict
            Lists of the columns of points, and ``number``, which grows when points change. With
            ``after``, the number of what the page must have, they follow on ``keep`` of its
            points after the first ``drop``; without it they are all.
        """
        names = [*POINTS, *(() if seen.past_forecast is None else ("past_forecast",))]
        columns = np.array([getattr(seen, name) for name in names])
        before = self._has.get(series_id)
        if before is None:
            self._has[series_id] = _Points(1, columns)
            return {"number": 1, **_named(names, columns)}
        drop, keep = _kept(before.columns, columns)
        same = drop == 0 and keep == len(seen.x) == before.columns.shape[1]
        number = before.number + (not same)
        self._has[series_id] = _Points(number, columns)
        if 2 * keep < len(seen.x):
            return {"number": number, **_named(names, columns)}
        update = {"number": number, "after": before.number, "drop": drop, "keep": keep}
        return {**update, **_named(names, columns[:, keep:])}

    def forget_all_but(self, series_ids: Collection[str]) -> None:
        """Forget charts that the page has closed."""
        self._has = {name: self._has[name] for name in self._has if name in series_ids}


def _kept(before: NDArray[np.float64], now: NDArray[np.float64]) -> tuple[int, int]:
    """Return how many points at the beginning are gone, and how many after them are the same."""
    if not now.shape[1]:
        return 0, 0
    drop = int(np.searchsorted(before[0], now[0, 0]))
    n = min(before.shape[1] - drop, now.shape[1])
    old, new = before[:, drop : drop + n], now[:, :n]
    same = ((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=0)
    return drop, n if same.all() else int(np.argmin(same))


def _named(names: Sequence[str], columns: NDArray[np.float64]) -> dict[str, list[float | None]]:
    return dict(zip(names, map(listed, columns), strict=True))
