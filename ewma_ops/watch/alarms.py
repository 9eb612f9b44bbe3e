"""Alarms from their topic: which are on, the latest transitions, and when each was on.

Knows records of transitions; must not know topics, rows or pages.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

__all__ = ["Alarm", "Alarms", "Span", "parse_alarm"]

_RECENT = 200
_SPANS = 100
_OTHER_CLOCK_S = 86_400.0
"""An alarm that begins this long after the newest reading uses another clock."""
_MOST_SERIES = 2_000
"""For how many series, those of the newest transitions, spans are kept."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """The shown fields of a transition on the topic; times in the job's ticks."""

    alarm_id: str
    transition: str
    rule: str
    series_id: str
    severity: str
    direction: str = ""
    kind: str = ""
    time: int | None = None
    since: int | None = None
    by: str = ""
    value: float | None = None
    ewma: float | None = None
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    score: float | None = None
    limit: float | None = None
    designed: str = ""
    runbook: str = ""
    summary: str = ""

    @property
    def sign(self) -> int:
        """1 for too high, -1 for too low, 0 for neither."""
        return {"high": 1, "low": -1}.get(self.direction, 0)


class Span(NamedTuple):
    """When an alarm was on, in event time, seconds; ``end`` is None while it is."""

    begin: float
    end: float | None
    sign: int
    rule: str


_decoder = msgspec.json.Decoder(Alarm)


def parse_alarm(value: bytes | None) -> Alarm | None:
    """Return the transition in a record, or None if it has none.

    Examples
    --------
    >>> parse_alarm(b"{}") is None
    True
    """
    try:
        return _decoder.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Alarms:
    """The state of alarms.

    Parameters
    ----------
    ticks_per_s
        In how many ticks of the job's clock a second is.
    designed
        By rule, after how many readings it is designed to raise a false alarm.
    """

    def __init__(self, ticks_per_s: float, designed: Mapping[str, float]) -> None:
        self._ticks_per_s = ticks_per_s
        self.designed = designed
        self.active: dict[tuple[str, str], Alarm] = {}
        """By series and rule."""
        self.recent: deque[Alarm] = deque(maxlen=_RECENT)
        self.raised: Counter[str] = Counter()
        self._spans: OrderedDict[str, list[Span]] = OrderedDict()

    def take(self, alarm: Alarm) -> None:
        """Add a transition; one that was read before changes nothing."""
        key = (alarm.series_id, alarm.rule)
        before = self.active.get(key)
        if alarm.transition == "cleared":
            if before is not None and before.alarm_id == alarm.alarm_id:
                del self.active[key]
        else:
            if before is None or before.alarm_id != alarm.alarm_id:
                self.raised[alarm.rule] += 1
            self.active[key] = alarm
        self.recent.appendleft(alarm)
        self._note(alarm)

    def _note(self, alarm: Alarm) -> None:
        """Keep the span of an alarm: it begins at its raise, and ends at its clear."""
        if alarm.time is None:
            return
        since = alarm.time if alarm.since is None else alarm.since
        end = alarm.time / self._ticks_per_s if alarm.transition == "cleared" else None
        span = Span(since / self._ticks_per_s, end, alarm.sign, alarm.rule)
        spans = self._spans.setdefault(alarm.series_id, [])
        self._spans.move_to_end(alarm.series_id)
        for i in reversed(range(len(spans))):  # alarms of several rules overlap
            if spans[i].rule == span.rule and spans[i].begin == span.begin:
                spans[i] = span._replace(sign=span.sign or spans[i].sign)
                break
        else:
            spans.append(span)
        del spans[:-_SPANS]
        if len(self._spans) > _MOST_SERIES:
            self._spans.popitem(last=False)

    def of(self, series_id: str) -> list[Alarm]:
        """Return the alarms of a series that are on."""
        return [alarm for (name, _), alarm in self.active.items() if name == series_id]

    def spans(self, series_id: str, newest: float = math.inf) -> list[Span]:
        """Return when alarms of a series were on, oldest first.

        ``newest`` is the event time of its newest reading: alarms about silences have times of the
        log's clock, and where that is another one than the readings', they have no place among
        these.
        """
        spans = self._spans.get(series_id, ())
        return [span for span in spans if span.begin <= newest + _OTHER_CLOCK_S]

    def shown(self, alarm: Alarm) -> dict[str, Any]:
        """Return a transition for the page, its times in seconds."""
        found = msgspec.structs.asdict(alarm)
        for name in ("time", "since"):
            if found[name] is not None:
                found[name] = found[name] / self._ticks_per_s
        return found

    def rules(self, readings: int) -> list[dict[str, Any]]:
        """Return how often each rule raised, and how many false alarms its design expects."""
        names = sorted({*self.designed, *self.raised})
        return [
            {
                "rule": name,
                "raised": self.raised[name],
                "expected": readings / self.designed[name] if name in self.designed else None,
            }
            for name in names
        ]
