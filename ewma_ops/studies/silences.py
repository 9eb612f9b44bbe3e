"""Silences of the past: how often a rule would have raised an alarm, and what it knew at one.

Knows rows, times and the rule; must not know where readings are from.

Each gap that is too long is an alarm: it is raised by other records of the partition, or at the
latest by the one that ends the silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.monitor.silence import usual_gap
from ewma_ops.monitor.stale_rule import Stale
from ewma_ops.monitor.tracking import NUMBERS, Arrivals
from ewma_ops.stats.states import NEVER
from ewma_ops.studies.segments import grown

__all__ = ["Silence", "SilenceCount", "explain_silence"]


class SilenceCount:
    """Count silences that are too long, batch by batch.

    Parameters
    ----------
    rule
        With its decay, as `Stale.with_limit` returns it.
    ticks_per_ms
        In what times are counted.
    forget_after
        After how many ticks idle series are forgotten: a series that may be silent for longer is
        not judged. ``None`` for never.

    Attributes
    ----------
    judged
        Gaps that were looked at.

    Examples
    --------
    >>> from ewma_ops.stats.decay import Decay
    >>> rule = Stale(gaps=3, least="2s", warm_up=3, decay=Decay(beta=0.9))
    >>> found = SilenceCount(rule, 1)
    >>> found.take(np.zeros(5, np.intp), np.array([0, 1000, 2000, 9000, 10_000]))
    >>> found.judged, found.by_series(lambda row: "a")
    (2, {'a': 1})
    """

    def __init__(self, rule: Stale, ticks_per_ms: int, forget_after: int | None = None) -> None:
        self._longest = math.inf if forget_after is None else float(forget_after)
        self._usual = usual_gap(rule.in_ticks(ticks_per_ms), ticks_per_ms)
        self._second = 1_000 * ticks_per_ms
        self._times = np.zeros(0, np.int64)
        self._columns: list[NDArray[Any]] = [
            np.full(0, initial, dtype) for _, dtype, initial in self._usual.columns
        ]
        self._counts = np.zeros(0, np.int64)
        self.judged = 0

    def take(self, rows: NDArray[np.intp], times: NDArray[np.int64]) -> None:
        """Take readings in order of arrival: intp[n] rows of their series, and int64[n] times."""
        n = int(rows.max(initial=-1)) + 1
        self._times = grown(self._times, n, NEVER)
        initials = [initial for _, _, initial in self._usual.columns]
        columns = zip(self._columns, initials, strict=True)
        self._columns = [grown(column, n, initial) for column, initial in columns]
        self._counts = grown(self._counts, n, 0)
        arrivals = Arrivals(rows)
        gaps = np.maximum(arrivals.gaps(times, self._times), 0)
        known = arrivals.track(self._usual, self._columns, np.zeros(len(rows)), gaps)
        judged = known.judged & (known.reach <= self._longest)
        self.judged += int(np.count_nonzero(judged))
        # A clock is looked at once a second: what is over within one was not noticed.
        noticed = times // self._second * self._second
        over = judged & (noticed > times - gaps + known.reach.astype(np.int64))
        self._counts += np.bincount(rows[over], minlength=len(self._counts))

    def by_series(self, id_of: Callable[[int], str]) -> dict[str, int]:
        """Return how many there were of each series that had any, by id."""
        rows = np.flatnonzero(self._counts).tolist()
        return {id_of(row): int(self._counts[row]) for row in rows}


class Silence(NamedTuple):
    """What a stale rule knew after the last reading: all in ticks.

    ``usual`` is the usual gap, ``reach`` how long the series might be silent, ``due`` until when.
    """

    usual: float
    reach: float
    due: int


def explain_silence(rule: Stale, times: Sequence[int], ticks_per_ms: int) -> Silence | None:
    """Return what a rule knew after the last of a series' readings; ``None`` if it did not judge.

    Parameters
    ----------
    rule
        With its decay, in ticks.
    times
        What the log's clock stood at with each reading, in order.

    Examples
    --------
    >>> from ewma_ops.stats.decay import Decay
    >>> rule = Stale(gaps=3, least="2s", warm_up=3, decay=Decay(beta=0.9))
    >>> explain_silence(rule, [0, 1000, 2000, 3000], 1)
    Silence(usual=1000.0, reach=3000.0, due=6000)
    """
    usual = usual_gap(rule, ticks_per_ms)
    state: tuple[Any, ...] = tuple(initial for _, _, initial in usual.columns)
    newest = times[0] if times else 0
    for time in times:
        factors = usual.factors(max(time - newest, 0), columns=False)
        state, _ = usual.step(NUMBERS, state, 0.0, factors)
        newest = max(newest, time)
    gap, _, seen, _ = state
    if seen < rule.warm_up:
        return None
    reach = usual.reach(NUMBERS, gap)
    return Silence(gap, reach, newest + int(reach))
