"""`Seasonal`: the usual level of a series at each hour of the day, or of the week.

Knows the recurrences of one series, using only operations that give the same bits for a number and
for a column (`stats.ops`); must not know rules, limits or series.

A profile has a number for each full hour of the day, or of the week. Between two full hours it is
a line, and a reading at the share a of an hour h counts for both:

    expected = (1 - a) m[h] + a m[h + 1]
    W[h] <- f^n W[h] + (1 - a)    m[h] <- m[h] + (1 - a) / W[h] (x' - m[h])     and so for h + 1, a

n is how many days, or weeks, ago the hour was last met, and f = 0.9: the profile is learned from
about 19 of them, each with the same weight at all hours. x' is the reading, clipped as the baseline
clips it. An inner tracker sees what is left, x - expected, and nothing at all of an hour that was
met on fewer than `LEAST_PERIODS` days, or weeks. What is left varies by rounding at least, in
proportion to the larger of the two hours: between them a season may pass 0.

The season of an outlook (`stats.season`) has the same phases and weights, but learns what readings
are off a line, which forecasts need and clipping would hide; a rule has its level in the profile.

Hours are those of UTC, shifted by a constant. A time zone with daylight saving would need tables
that differ between machines, and change from year to year, and with them the bits of an alarm.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, repeat
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ewma_ops.monitor.baseline import CLIP
from ewma_ops.monitor.chart_rule import HOURS
from ewma_ops.monitor.tracking import ChartTracker
from ewma_ops.stats.ahead import SEASON_KEPT
from ewma_ops.stats.ops import Ops
from ewma_ops.stats.season import place

__all__ = ["LEAST_PERIODS", "Phased", "Seasonal", "Seasoned"]

LEAST_PERIODS = 3
"""On how many days, or weeks, an hour must have occurred before its readings are judged."""

_HOUR_MS = 3_600_000
_POWER = list(accumulate(repeat(SEASON_KEPT, 63), operator.mul, initial=1.0))
_POWERS = np.array(_POWER)
_FORGOTTEN = 14
"""After this many days, or weeks, without readings an hour counts as having occurred once."""
_MOST_PERIOD = 2**31 - 1
_COUNTED = 255
_TINY = 1e-300


class Phased(NamedTuple):
    """The gap before a reading, and where in the season it is.

    ``hour`` and ``next_hour`` of the season, the ``period`` (day or week) of each, and the
    ``share`` that counts for the next one.
    """

    gap: Any
    hour: Any
    next_hour: Any
    period: Any
    next_period: Any
    share: Any


class Seasoned(NamedTuple):
    """The evaluation of the inner tracker, and the ``offset`` that was subtracted.

    ``known``: whether it saw the rest, after a ``gap`` since the newest reading that it saw.
    """

    inner: Any
    offset: Any
    known: Any
    gap: Any


@dataclass(frozen=True)
class Seasonal:
    """A tracker of readings minus the usual level at their hour.

    Parameters
    ----------
    inner
        The tracker.
    hours
        Of the season: a number of `HOURS`.
    ticks_per_hour
        Of the times.
    offset
        How many ticks local time is ahead of UTC.
    """

    by_time: ClassVar[bool] = True

    inner: ChartTracker
    hours: int
    ticks_per_hour: int
    offset: int

    @classmethod
    def of(cls, inner: ChartTracker, season: str, offset_ms: int, ticks_per_ms: int) -> Seasonal:
        """Return the tracker for a season, by its name."""
        return cls(inner, HOURS[season], _HOUR_MS * ticks_per_ms, offset_ms * ticks_per_ms)

    @property
    def columns(self) -> tuple[tuple[str, str, float], ...]:
        """Names of the state, with the dtype and the initial value of each.

        Those of the profile have a number for each hour.
        """
        own = ("profile", "f8"), ("profile_weight", "f8"), ("period", "i4"), ("periods", "u1")
        profile = tuple((name, f"({self.hours},){dtype}", 0.0) for name, dtype in own)
        unseen = (("unseen", "int64", 0),) if self.inner.by_time else ()
        return (*self.inner.columns, *unseen, *profile)

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> Phased:  # noqa: ARG002
        """Return where in the season the times are."""
        assert time is not None  # a table refuses readings without times
        placed = place(time, self.ticks_per_hour, self.hours, self.offset)
        return Phased(
            gap,
            placed.phase,
            placed.next_phase,
            _within_int32(placed.period),
            _within_int32(placed.next_period),
            placed.share,
        )

    def step(self, o: Ops, y: Any, x: Any, by: Phased) -> tuple[tuple[Any, ...], Seasoned]:
        """Return the state after a reading x, and its evaluation.

        Of the profile ``y`` has the numbers of the hour, and of the next one.
        """
        *before, mean, next_mean, weight, next_weight, period, next_period, met, next_met = y
        share, counts = by.share, by.share > 0.0
        known = (met >= LEAST_PERIODS) & ((next_met >= LEAST_PERIODS) | (share == 0.0))
        offset = o.where(known, (1.0 - share) * mean + share * next_mean, 0.0)
        gap, unseen = by.gap, []
        if self.inner.by_time:
            late = before.pop()
            gap, late = self._since_seen(o, before, by.gap, late, known)
            unseen = [late]
        factors = self.inner.factors(gap, columns=isinstance(x, np.ndarray))
        near = o.maximum(abs(mean), abs(next_mean))  # the season may pass through 0
        after, seen = self.inner.step(o, before, x - offset, factors, o.where(known, near, 0.0))
        state = [
            *(o.where(known, new, old) for new, old in zip(after, before, strict=True)),
            *unseen,
        ]
        seen = seen._replace(judged=seen.judged & known)
        reach = o.where(seen.judged, o.sqrt(seen.variance) * CLIP, float("inf"))
        left = o.minimum(o.maximum(x - offset, seen.before - reach), seen.before + reach)
        x = offset + left
        one = _met(o, (mean, weight, period, met), x, 1.0 - share, by.period)
        two = _met(o, (next_mean, next_weight, next_period, next_met), x, share, by.next_period)
        old = next_mean, next_weight, next_period, next_met
        two = tuple(o.where(counts, new, before) for new, before in zip(two, old, strict=True))
        profile = (each for pair in zip(one, two, strict=True) for each in pair)
        return (*state, *profile), Seasoned(seen, offset, known, gap)

    def _since_seen(
        self, o: Ops, inner: list[Any], gap: Any, unseen: Any, known: Any
    ) -> tuple[Any, Any]:
        """Return the time since the newest reading that the inner tracker saw; and what is after.

        ``unseen`` is by how much the newest reading of all is newer than that; ``gap`` is since the
        newest of all.
        """
        first = inner[self._weight] == 0.0
        newest = o.maximum(gap, 0)
        since = o.where(first, 0, gap + unseen)
        after = o.where(first, newest - gap, newest + unseen - o.maximum(gap + unseen, 0))
        return since, o.where(known, after, newest + unseen)

    @cached_property
    def _weight(self) -> int:
        """The place of a weight in the inner state that is 0 until there is a reading."""
        return [name for name, _, _ in self.inner.columns].index("fast_weight")

    def compiled(self, *_: Any) -> None:
        """Return None: it is not compiled."""


def _met(o: Ops, y: Any, x: Any, share: Any, period: Any) -> tuple[Any, ...]:
    """Return the mean, the weight, the last period and the number of them, of an hour."""
    mean, weight, last, met = y
    since = o.where(met > 0, o.maximum(period - last, 0), 0)
    weight = weight * _power(since) + share
    mean = mean + share / o.maximum(weight, _TINY) * (x - mean)
    again = met + (((since > 0) | (met == 0)) & (met < _COUNTED))
    return (
        mean,
        weight,
        o.where(met > 0, o.maximum(period, last), period),
        o.where(since >= _FORGOTTEN, 1, again),
    )


def _power(n: Any) -> Any:
    """Return 0.9^n, of whole numbers from 0 on, at most 63."""
    if isinstance(n, np.ndarray):
        return _POWERS[np.minimum(n, 63)]
    return _POWER[min(n, 63)]


def _within_int32(n: Any) -> Any:
    if isinstance(n, np.ndarray):
        return np.clip(n, -_MOST_PERIOD, _MOST_PERIOD)
    return min(max(n, -_MOST_PERIOD), _MOST_PERIOD)
