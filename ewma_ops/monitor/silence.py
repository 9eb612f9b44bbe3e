"""Silences of series: the usual gap, when a silence is too long, and the alarms about it.

Knows clocks and gaps as numbers, using only operations that give the same bits for a number and for
a column (`stats.ops`); must not know series ids, or how readings are laid out.

    g the gap before a reading   reach = max(gaps x usual, least)
    usual <- usual + p (g - usual)     not if g > reach; if the gap before was too, with g = reach

So one silence does not make the next one usual, and a series that sends less often from then on is
learned after several silences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ewma_ops.monitor.machine import (
    CLEARED,
    GONE,
    HELD,
    LASTING,
    RAISED,
    Episode,
    Event,
    Look,
    Machine,
    Scored,
    Trigger,
)
from ewma_ops.monitor.rule import COUNTED
from ewma_ops.monitor.stale_rule import Stale
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.stats.ops import Ops
from ewma_ops.stats.weights import plain_factors

__all__ = ["HEARD", "Heard", "Silences", "UsualGap", "usual_gap"]

_MOST = float(1 << 60)
"""Longest silence in ticks, so that its end is an int64."""
_NEVER = float(np.iinfo(np.int64).min)
_LATEST = int(np.iinfo(np.int64).max)

HEARD = (
    *(("time", "int64", _NEVER), ("source", "int64", -1)),
    *(("offset", "int64", -1), ("ordinal", "uint64", 0)),
)
"""The stored fields of the last reading of a series, with dtypes and initial values: the time of
its partition's clock, the partition, and its position."""


class Heard(NamedTuple):
    """The last reading of a series, or of each: the fields of `HEARD`."""

    time: Any
    source: Any
    offset: Any
    ordinal: Any


class _Factors(NamedTuple):
    """The gap before a reading, and f and w of it, for the mean."""

    gap: Any
    kept: Any
    added: Any


class Known(NamedTuple):
    """The ``usual`` gap and the ``reach`` of a series before a reading, in ticks.

    ``judged``: whether the rule judges gaps of the series yet.
    """

    usual: Any
    reach: Any
    judged: Any


@dataclass(frozen=True)
class UsualGap:
    """The usual gap between the readings of a series: an exponentially weighted mean.

    Parameters
    ----------
    decay
        How fast it forgets, for gaps in ticks.
    gaps
        How many usual gaps a series may be silent.
    least
        Least silence for an alarm, in ticks.
    warm_up
        Readings before the first gap that may be too long.
    """

    columns: ClassVar[tuple[tuple[str, str, float], ...]] = (
        ("usual", "float64", 0.0),
        ("weight", "float64", 0.0),
        ("seen", "uint32", 0),
        ("silent", "uint8", 0),
    )
    by_time: ClassVar[bool] = False
    """False: it uses gaps of the log's clock, not gaps between event times."""

    decay: Decay
    gaps: float
    least: int
    warm_up: int

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> _Factors:  # noqa: ARG002 - of any time
        """Return the factors after gaps >= 0 in ticks, int64[n] or int."""
        of_columns, of_numbers = self._of_gap
        return _Factors(gap, *(of_columns if columns else of_numbers)(gap, None))

    @cached_property
    def _of_gap(self) -> Any:
        return plain_factors(self.decay)

    def reach(self, o: Ops, usual: Any) -> Any:
        """Return how long a series with this usual gap may be silent, in ticks as float64."""
        return o.minimum(o.maximum(self.gaps * usual, float(self.least)), _MOST)

    def step(self, o: Ops, y: Any, x: Any, by: _Factors) -> tuple[tuple[Any, ...], Known]:  # noqa: ARG002 - of any value
        """Return the state after a reading, and its evaluation by the state before."""
        usual, weight, seen, silent = y
        reach = self.reach(o, usual)
        judged = seen >= self.warm_up
        over = judged & (by.gap > reach)
        learns = (seen > 0) & (o.where(over, silent, 1) > 0)
        gap = o.where(over, reach, by.gap * 1.0)
        total = weight * by.kept + by.added
        after = usual + by.added / total * (gap - usual)
        state = (
            o.where(learns, after, usual),
            o.where(learns, total, weight),
            seen + (seen < COUNTED),
            o.where(over, 1, 0),
        )
        return state, Known(usual * 1.0, reach, judged)

    def compiled(self, *_: Any) -> None:
        """Return None: it is not compiled."""


def usual_gap(rule: Stale, ticks_per_ms: int) -> UsualGap:
    """Return the tracker of a series for a rule of `Rule.in_ticks`."""
    assert rule.decay is not None  # `with_limit` names it
    least = whole_ticks("least", rule.least, ticks_per_ms)
    return UsualGap(rule.decay, float(rule.gaps), least, rule.warm_up)


class Silences(Machine):
    """Alarms of a rule about silences: raised and held by the clock, cleared by a reading.

    Times are those of the log, which triggers have in ``logged``.
    """

    def judge(self, row: int, scored: Scored, trigger: Trigger, look: Look) -> Event | None:  # noqa: ARG002 - any reading ends a silence
        """Handle a reading, which ends a silence; return the transition of its series' alarm."""
        episode, trigger = self.episodes.get(row), trigger._replace(time=trigger.logged)
        if episode is None:
            return None
        if episode.phase == LASTING:
            return self._clear(row, episode, "resumed", trigger, look)
        if episode.phase == GONE or trigger.time >= episode.until:
            del self.episodes[row]
        return None

    def reset(self, row: int, trigger: Trigger, value: float) -> Event | None:
        """Clear the alarm of a series that starts over, if there is one."""
        return super().reset(row, trigger._replace(time=trigger.logged), value)

    @property
    def lingers(self) -> bool:
        """Whether something may still be reported about a silent series."""
        return bool(self._remind or self._cooldown)

    def lasts(self, row: int) -> bool:
        """Return whether a series is in alarm."""
        episode = self.episodes.get(row)
        return episode is not None and episode.phase == LASTING

    def is_gone(self, row: int) -> bool:
        """Return whether a series was given up."""
        episode = self.episodes.get(row)
        return episode is not None and episode.phase == GONE

    def give_up(self, row: int, time: int) -> Event:
        """End the alarm of a series that is forgotten; return the transition."""
        episode = self.episodes[row]
        episode.phase = GONE
        return self._event(CLEARED, "reset", episode, Trigger(time), {})

    def cooled(self, row: int, due: int) -> int:
        """Return when a silence is reported that is due at ``due`` without a cooldown."""
        episode = self.episodes.get(row)
        if episode is None:
            return due
        return _LATEST if episode.phase == GONE else max(due, episode.until)

    def raise_alarm(self, row: int, due: int, heard: Heard, seen: Mapping[str, float]) -> Event:
        """Return the alarm about a silence that was too long from ``due`` on."""
        episode = Episode.pending(0, heard.time)
        episode.phase, episode.severity = LASTING, self._severity
        episode.partition, episode.offset = heard.source, heard.offset
        episode.ordinal = heard.ordinal
        self.episodes[row] = episode
        return self._report(RAISED, episode, Trigger(due), seen)

    def reminder(self, row: int, now: int, seen: Mapping[str, float]) -> Event | None:
        """Return the reminder of an alarm that lasts, if it is due."""
        episode = self.episodes[row]
        times = (now - episode.noticed) // self._remind if self._remind else 0
        if times < 1:
            return None
        return self._report(HELD, episode, Trigger(episode.noticed + times * self._remind), seen)

    def since(self, row: int) -> int:
        """Return since when a series in alarm is silent."""
        return self.episodes[row].since

    def next_reminder(self, row: int) -> int:
        """Return until when no reminder of a series in alarm is due."""
        return self.episodes[row].noticed + self._remind - 1 if self._remind else _LATEST

    def _course(self, episode: Episode, trigger: Trigger) -> Mapping[str, float]:
        return {"duration_ms": float(max(trigger.time - episode.since, 0))}

    def _own_time(self, trigger: Trigger) -> int:
        return trigger.time
