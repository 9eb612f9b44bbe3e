"""How often an alarm would have been raised, for many limits at once.

Knows scores and limits; must not know how a score is computed.

An alarm is raised by ``for_`` readings in a row whose score is beyond the limit, and cleared by
``clear_for`` in a row that are within a share of it. So between two readings that would raise it,
what counts is whether a clear lies between them. Both are columns that do not depend on the limit:
the least score of the last ``for_`` readings, and the greatest of the last ``clear_for``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ewma_ops.studies.segments import Segments, grown

__all__ = ["LimitGrid", "grid_of"]

_Floats = NDArray[np.float64]
_LOWEST, _RATIO, _LIMITS = 1.5, 1.02, 186
_MOST_COUNTED = np.iinfo(np.uint16).max
_KEPT = 10

OnRaised = Callable[[int, NDArray[np.intp]], None]
"""Takes the place of a limit, and the places of the readings that raised an alarm with it."""


def grid_of(*more: float) -> _Floats:
    """Return the limits to try: 186 from 1.5 to 58.5, each 2 % more, and ``more``.

    Examples
    --------
    >>> grid_of(2.81431)[31:34]
    array([2.771  , 2.81431, 2.827  ])
    """
    powers = _LOWEST * _RATIO ** np.arange(_LIMITS)
    digits = 3 - np.floor(np.log10(powers)).astype(int)
    rounded = [round(power, digit) for power, digit in zip(powers.tolist(), digits, strict=True)]
    return np.array(sorted({*rounded, *more}))


class LimitGrid:
    """Count alarms by limit and series.

    Parameters
    ----------
    limits
        Ascending, > 0.
    clear
        The share of a limit within which a reading has come back.
    for_, clear_for
        Readings in a row until it is raised, and cleared; >= 1.

    kept
        Places of limits whose alarms are counted by series too, beside every tenth.
    """

    def __init__(
        self,
        limits: Sequence[float] | _Floats,
        clear: float,
        for_: int = 1,
        clear_for: int = 1,
        kept: Sequence[int] = (),
    ) -> None:
        self.limits = np.asarray(limits, np.float64)
        self._clear = clear
        self._kept = {g: i for i, g in enumerate(sorted({*range(0, len(limits), _KEPT), *kept}))}
        self._raised: NDArray[np.uint16] = np.empty((0, len(self._kept)), np.uint16)
        # Where an alarm is on with a limit, it is on with all lower ones: their number says all.
        self._on: NDArray[np.int16] = np.empty(0, np.int16)
        self._highs = _Tails(for_, -np.inf)
        self._lows = _Tails(for_, -np.inf)
        self._backs = _Tails(clear_for, -np.inf)

    def by_series(self, limit: float) -> tuple[float, NDArray[np.uint16]]:
        """Return how many alarms each series had with about a limit, and with which one."""
        places = list(self._kept)
        nearest = int(np.argmin(np.abs(np.log(self.limits[places] / limit))))
        return float(self.limits[places[nearest]]), self._raised[:, nearest]

    def take(
        self, segments: Segments, high: _Floats, low: _Floats, back: _Floats, on_raised: OnRaised
    ) -> None:
        """Count the alarms of a batch.

        Parameters
        ----------
        segments
            How the batch lies.
        high, low
            float64[n] in its order: the score, and the score the other way, with -inf where the
            reading cannot be beyond.
        back
            The magnitude that has to be within, with inf where the reading cannot have come back.
        on_raised
            Called for each limit that raises an alarm.
        """
        n = int(segments.series.max()) + 1
        self._raised, self._on = grown(self._raised, n, 0), grown(self._on, n, 0)
        beyond = np.maximum(
            self._highs.least(segments, high, n), self._lows.least(segments, low, n)
        )
        within = -self._backs.least(segments, -back, n)
        peak = float(beyond.max())
        starts = np.zeros(len(beyond), np.bool_)
        starts[segments.starts] = True
        before = self._on[segments.series]
        after, most = np.zeros_like(before), int(before.max())
        for g, limit in enumerate(self.limits.tolist()):
            if peak <= limit and most <= g:
                break  # greater limits are neither reached nor on
            after += self._count(segments, g, starts, beyond > limit, within, before > g, on_raised)
        self._on[segments.series] = after

    def _count(
        self,
        segments: Segments,
        g: int,
        starts: NDArray[np.bool_],
        beyond: NDArray[np.bool_],
        within: _Floats,
        on: NDArray[np.bool_],
        on_raised: OnRaised,
    ) -> NDArray[np.bool_]:
        """Count for one limit; return which series are in alarm with it at the end.

        A raise is a reading beyond, with a clear since the one before.
        """
        # Stretches that begin with a series or a reading beyond: is there a clear in it?
        cuts = np.flatnonzero(beyond | starts)
        begins, is_beyond = starts[cuts], beyond[cuts]
        cleared = np.minimum.reduceat(within, cuts) <= self._clear * self.limits[g]
        before = np.zeros(len(cuts), np.bool_)
        before[begins] = on
        after = (is_beyond | before) & ~cleared
        before[1:] |= after[:-1] & ~begins[1:]
        raised = cuts[is_beyond & ~before]
        if len(raised):
            on_raised(g, raised)
            if (column := self._kept.get(g)) is not None:
                stretches = np.searchsorted(segments.starts, raised, side="right") - 1
                counts = np.bincount(stretches, minlength=len(segments.starts))
                total = self._raised[segments.series, column] + counts
                self._raised[segments.series, column] = np.minimum(total, _MOST_COUNTED)
        return np.asarray(after[np.append(begins[1:], True)])


class _Tails:
    """The newest readings of each series, for the least of the last k."""

    def __init__(self, k: int, fill: float) -> None:
        self._k = k
        self._newest = [np.empty(0) for _ in range(k - 1)]
        self._fill = fill

    def least(self, segments: Segments, column: _Floats, n: int) -> _Floats:
        """Return the least of each reading and the k - 1 before it; ``n`` rows are there."""
        found = column
        shifted = column
        for j in range(self._k - 1):
            self._newest[j] = grown(self._newest[j], n, self._fill)
            shifted = segments.before(shifted, self._newest[j])
            found = np.minimum(found, shifted)
        return found
