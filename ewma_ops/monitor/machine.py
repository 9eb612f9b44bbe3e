"""`Machine`: turns the scores of readings into alarms that are raised, changed, held and cleared.

Knows thresholds, counts and times of one rule; must not know how a score is computed, series ids,
or how readings are laid out. Nearly all series are quiet, and a quiet series has no entry here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.transitions import BY, SEVERITIES, TRANSITIONS
from ewma_ops.monitor.rules import Rule
from ewma_ops.stats.states import NEVER

__all__ = [
    "EPISODE",
    "Episode",
    "Event",
    "Look",
    "Machine",
    "Scored",
    "Thresholds",
    "Trigger",
]

RAISED, CHANGED, HELD, CLEARED = range(len(TRANSITIONS))
_CRITICAL = SEVERITIES.index("critical")
_ADOPTED = 0.6
"""If an alarm clears with more than this share of its largest deviation left, measured from the
expected value when it was raised, the series has not come back: the expectation has followed it."""
PENDING, LASTING, COOLING, GONE = range(4)
"""The phases of an episode. Gone: silent for so long that nothing more is reported until it
sends."""
_LATEST = (1 << 63) - 1

EPISODE = (
    *(("phase", "int8"), ("side", "int8"), ("severity", "int8")),
    *(("run", "int64"), ("back", "int64"), ("readings", "int64")),
    *(("since", "int64"), ("noticed", "int64"), ("until", "int64")),
    *(("partition", "int64"), ("offset", "int64"), ("ordinal", "uint64")),
    *(("expected", "float64"), ("worst", "float64"), ("largest", "float64")),
)
"""The numbers of an `Episode`, by name, with the dtypes of their columns in a snapshot."""


class Thresholds(NamedTuple):
    """Which scores are beyond, and which are back. A score of NaN is neither.

    ``least`` is the deviation from which on a score counts as beyond, and ``least_back`` the one
    below which it is back. ``sided``: whether high and low are meaningful to people.
    """

    high: float = math.inf
    low: float = -math.inf
    back_high: float = math.inf
    back_low: float = -math.inf
    critical_high: float = math.inf
    critical_low: float = -math.inf
    least: float = 0.0
    least_back: float = 0.0
    sided: bool = True

    def side(self, score: float, deviation: float) -> int:
        """Return 1 beyond the upper threshold, -1 beyond the lower one, 0 between them."""
        if score > self.high:
            return int(deviation >= self.least)
        if score < self.low:
            return -int(deviation <= -self.least)
        return 0

    def is_back(self, score: float, deviation: float) -> bool:
        """Return whether a score has come back."""
        within = self.back_low <= score <= self.back_high
        return within or abs(deviation) < self.least_back

    def is_critical(self, score: float) -> bool:
        """Return whether a score is so far beyond that the alarm is critical."""
        return score >= self.critical_high or score <= self.critical_low


class Scored(NamedTuple):
    """The score of a reading, or of each of a batch: NaN where the rule does not judge it.

    ``deviation`` is what the score is of, in the units of the readings, from what was ``expected``;
    both are 0 for rules that expect nothing.
    """

    score: Any
    deviation: Any
    expected: Any


class Trigger(NamedTuple):
    """The reading that may move the rule: its time (`NEVER` if none), and its input position.

    ``logged`` is what the clock of its input partition stood at.
    """

    time: int
    partition: int = -1
    offset: int = -1
    ordinal: int = 0
    logged: int = NEVER


class Event(NamedTuple):
    """A transition of an alarm; `Transitions` documents the parts.

    ``time`` is its time, if that is not the trigger's: for rules that use the log's clock.
    """

    transition: int
    by: int
    severity: int
    high: int
    since: int
    raised: tuple[int, int, int]
    evidence: Mapping[str, float]
    time: int = NEVER


class Episode:
    """A series that is not quiet: pending, in alarm, or cooling down."""

    __slots__ = tuple(name for name, _ in EPISODE)

    phase: int
    side: int
    severity: int
    run: int
    back: int
    readings: int
    since: int
    noticed: int
    until: int
    partition: int
    offset: int
    ordinal: int
    expected: float
    worst: float
    largest: float

    def __init__(self, *numbers: float) -> None:
        for name, value in zip(self.__slots__, numbers, strict=True):
            setattr(self, name, value)

    @classmethod
    def pending(cls, side: int, time: int) -> Episode:
        """Return a new episode of a series, at its first reading beyond."""
        return cls(PENDING, side, 0, 0, 0, 0, time, NEVER, NEVER, -1, -1, 0, 0.0, 0.0, 0.0)

    def numbers(self) -> tuple[float, ...]:
        """Return its numbers, in the order of `EPISODE`."""
        return tuple(getattr(self, name) for name in self.__slots__)


Look = Callable[[], Mapping[str, float]]
"""The evidence about a reading, computed only when there is a transition."""


class Machine:
    """Alarms of one rule.

    Parameters
    ----------
    rule
        The rule whose alarms it tracks.
    thresholds
        For its scores.
    per_ms
        How many ticks are a millisecond.

    Attributes
    ----------
    episodes
        By row, of the series that are not quiet.
    """

    def __init__(self, rule: Rule, thresholds: Thresholds, per_ms: int = 1) -> None:
        self._thresholds = thresholds
        self._for, self._clear_for = rule.for_, rule.clear_for
        self._cooldown = rule.ticks("cooldown", per_ms)
        self._remind = rule.ticks("remind", per_ms)
        self._severity = SEVERITIES.index(rule.severity)
        self.episodes: dict[int, Episode] = {}

    def active(self) -> dict[str, int]:
        """Return how many series are in alarm, by severity; any thread may ask."""
        episodes = list(self.episodes.values())
        return Counter(SEVERITIES[one.severity] for one in episodes if one.phase == LASTING)

    def beyond(self, up: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the places of readings that may be beyond.

        ``up`` is at least their scores, ``down`` at least the opposite of them.
        """
        return np.flatnonzero((up > self._thresholds.high) | (down > -self._thresholds.low))

    def judge(self, row: int, scored: Scored, trigger: Trigger, look: Look) -> Event | None:
        """Handle a reading's score; return the transition of its series' alarm.

        Parameters
        ----------
        row
            The series.
        scored
            Its score, in numbers; a reading whose score is NaN moves nothing.
        trigger
            The reading.
        look
            Gives the evidence.
        """
        score, deviation, _ = scored
        if score != score:
            return None
        side = self._thresholds.side(score, deviation)
        episode = self.episodes.get(row)
        if episode is None:
            if side == 0:
                return None
            episode = self.episodes[row] = Episode.pending(side, trigger.time)
        elif episode.phase == LASTING:
            return self._lasting(row, episode, side, scored, trigger, look)
        elif episode.phase == COOLING and trigger.time < episode.until:
            return None
        elif side == 0:
            del self.episodes[row]
            return None
        elif episode.phase == COOLING or side != episode.side:
            episode = self.episodes[row] = Episode.pending(side, trigger.time)
        episode.run += 1
        if episode.run < self._for:
            return None
        episode.phase, episode.readings = LASTING, episode.run
        _, episode.partition, episode.offset, episode.ordinal, _ = trigger
        return self._open(RAISED, episode, scored, trigger, look)

    def _lasting(
        self,
        row: int,
        episode: Episode,
        side: int,
        scored: Scored,
        trigger: Trigger,
        look: Look,
    ) -> Event | None:
        """Continue an alarm."""
        score, deviation, expected = scored
        episode.readings += 1
        episode.worst = (max if episode.side > 0 else min)(episode.worst, score)
        away = (deviation + expected - episode.expected) * episode.side
        episode.largest = max(episode.largest, away)
        episode.back = episode.back + 1 if self._thresholds.is_back(score, deviation) else 0
        if episode.back >= self._clear_for:
            by = "adopted" if away > _ADOPTED * episode.largest else "back"
            return self._clear(row, episode, by, trigger, look)
        episode.run = episode.run + 1 if side == -episode.side else 0
        if episode.run >= self._for:
            episode.side = side
            return self._open(CHANGED, episode, scored, trigger, look)
        if episode.severity < _CRITICAL and self._thresholds.is_critical(score):
            episode.severity = _CRITICAL
            return self._report(CHANGED, episode, trigger, look())
        if self._remind and trigger.time - episode.noticed >= self._remind:
            return self._report(HELD, episode, trigger, look())
        return None

    def _open(
        self,
        transition: int,
        episode: Episode,
        scored: Scored,
        trigger: Trigger,
        look: Look,
    ) -> Event:
        """Report an alarm that is raised, or has turned to the other side."""
        critical = self._thresholds.is_critical(scored.score)
        episode.severity = _CRITICAL if critical else self._severity
        episode.run, episode.worst = 0, scored.score
        episode.largest, episode.expected = abs(scored.deviation), scored.expected
        return self._report(transition, episode, trigger, look())

    def _report(
        self, transition: int, episode: Episode, trigger: Trigger, seen: Mapping[str, float]
    ) -> Event:
        episode.noticed = trigger.time
        return self._event(transition, "", episode, trigger, seen)

    def _clear(self, row: int, episode: Episode, by: str, trigger: Trigger, look: Look) -> Event:
        event = self._event(CLEARED, by, episode, trigger, look())
        if self._cooldown:
            episode.phase = COOLING
            episode.until = min(trigger.time + self._cooldown, _LATEST)
        else:
            del self.episodes[row]
        return event

    def reset(self, row: int, trigger: Trigger, value: float) -> Event | None:
        """Clear the alarm of a series that starts over, if there is one."""
        episode = self.episodes.get(row)
        if episode is None or episode.phase != LASTING:
            self.episodes.pop(row, None)
            return None
        event = self._event(CLEARED, "reset", episode, trigger, {"value": value})
        del self.episodes[row]
        return event

    def _event(
        self,
        transition: int,
        by: str,
        episode: Episode,
        trigger: Trigger,
        seen: Mapping[str, float],
    ) -> Event:
        evidence = {**seen, **self._course(episode, trigger)}
        raised = episode.partition, episode.offset, episode.ordinal
        high = episode.side if self._thresholds.sided else 0
        return Event(
            *(transition, BY.index(by), episode.severity, high, episode.since, raised, evidence),
            self._own_time(trigger),
        )

    def _course(self, episode: Episode, trigger: Trigger) -> Mapping[str, float]:
        """Return the evidence about an alarm so far."""
        course = {"worst": episode.worst, "readings": float(episode.readings)}
        if trigger.time != NEVER:
            course["duration_ms"] = float(max(trigger.time - episode.since, 0))
        return course

    def _own_time(self, _: Trigger) -> int:
        """Return the ``time`` of an event."""
        return NEVER
