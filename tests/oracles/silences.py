"""Alarms about silences by their definition: record by record, every series at every heartbeat."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Logged", "SilenceRule", "silences"]

HOUR_MS = 3_600_000
_WEIGHING = 400
"""Earlier gaps have less than 1e-18 of the weight of the newest, for the rules of the tests."""


class Logged(NamedTuple):
    """A record: partition, offset, timestamp, and the series that it has a reading of, if any."""

    partition: int
    offset: int
    timestamp_ms: int
    series_id: str | None


@dataclass(frozen=True)
class SilenceRule:
    """The numbers of a rule, durations in milliseconds."""

    gaps: float
    least: int
    warm_up: int
    beta: float
    remind: int = 0
    cooldown: int = 0
    prefix: str = ""


@dataclass
class _Series:
    clock: int
    partition: int
    offset: int
    gaps: list[float] = field(default_factory=list)
    usual: float = 0.0
    seen: int = 1
    silent: bool = False
    raised: tuple[int, int] | None = None
    since: int = 0
    noticed: int = 0
    until: int = -1

    def learn(self, rule: SilenceRule, gap: float) -> None:
        """Set the mean of all gaps so far, weighted by beta ** (gaps since)."""
        self.gaps.append(gap)
        weights = [rule.beta**k for k in range(min(len(self.gaps), _WEIGHING))]
        newest = self.gaps[::-1][:_WEIGHING]
        weighed = map(operator.mul, weights, newest)
        self.usual = math.fsum(weighed) / math.fsum(weights)

    def reach(self, rule: SilenceRule) -> float:
        return max(rule.gaps * self.usual, rule.least)


@dataclass
class _Clock:
    at: int | None = None
    doubted: int | None = None

    def read(self, timestamp: int) -> bool:
        """Take a record in; return whether another second has begun."""
        if self.at is None:
            self.at = timestamp
            return False
        before = self.at
        if self.doubted is not None and timestamp > self.at + HOUR_MS:
            self.at = min(self.doubted, timestamp)
        if timestamp > self.at + HOUR_MS:
            self.doubted = timestamp
        else:
            self.doubted = None
            self.at = max(self.at, timestamp)
        return self.at // 1000 > before // 1000


def silences(
    records: Iterable[Logged], rule: SilenceRule
) -> list[tuple[str, str, int, tuple[int, int], tuple[int, int]]]:
    """Return (series, transition, time, trigger, last reading before it was raised) of each.

    The times are right to a millisecond: sums are rounded otherwise than by the recurrence.
    """
    clocks: dict[int, _Clock] = {}
    known: dict[str, _Series] = {}
    found = []
    for partition, offset, timestamp, series_id in records:
        clock = clocks.setdefault(partition, _Clock())
        beats = clock.read(timestamp)
        assert clock.at is not None
        now = clock.at // 1000 * 1000
        own = sorted(known.items()) if beats else ()
        came = []
        for name, one in own:
            if one.partition != partition or one.seen < rule.warm_up:
                continue
            if one.raised is not None:
                times = (now - one.noticed) // rule.remind if rule.remind else 0
                if times > 0:
                    one.noticed += times * rule.remind
                    came.append((one.noticed, name, "held", one.raised))
                continue
            due = max(one.clock + int(one.reach(rule)), one.until)
            if due < now and name.startswith(rule.prefix):
                one.raised, one.since, one.noticed = (one.partition, one.offset), one.clock, due
                came.append((due, name, "raised", one.raised))
        for time, name, what, raised in sorted(came):
            found.append((name, what, time, (partition, offset), raised))
        if series_id is None:
            continue
        series = known.get(series_id)
        if series is None:
            known[series_id] = _Series(clock.at, partition, offset)
            continue
        gap = max(clock.at - series.clock, 0)
        reach = series.reach(rule)
        if series.raised is not None:
            found.append((series_id, "cleared", clock.at, (partition, offset), series.raised))
            series.raised = None
            if rule.cooldown:
                series.until = clock.at + rule.cooldown
        over = series.seen >= rule.warm_up and gap > reach
        if not over:
            series.learn(rule, gap)
        elif series.silent:
            series.learn(rule, reach)
        series.silent = over
        series.seen += 1
        series.clock = max(series.clock, clock.at)
        series.partition, series.offset = partition, offset
    return found
