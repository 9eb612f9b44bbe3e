"""Which alarms are on, and which transitions have to be sent.

Knows transitions and the time; must not know Kafka, HTTP or the receivers.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from typing import NamedTuple

from ewma_ops.notify.alarm import Transition

__all__ = ["Notice", "Ongoing", "OwnAlarms"]


class Notice(NamedTuple):
    """A transition to send, and the records that are done once every receiver has it."""

    transition: Transition
    records: tuple[Hashable, ...]


class OwnAlarms(NamedTuple):
    """How to recognize a job's alarms: the endings of their ids, and the input topics.

    An alarm of a reading on one of these topics with another ending belongs to earlier rules.
    """

    endings: Collection[str]
    topics: Collection[str]

    def has_left(self, one: Transition) -> bool:
        """Return whether an alarm belongs to rules that the job no longer has."""
        of_job = one.topic is None or one.topic in self.topics
        return of_job and one.job not in self.endings


class Ongoing:
    """Follow alarms from transition to transition.

    A transition with an old event time comes from a job that reads history again. It is held
    for a while; if its alarm clears in the meantime, neither is sent.

    Parameters
    ----------
    old_after_ms
        From what age, in milliseconds, the event time of a transition is old.
    hold_ms
        How long it is held.
    ticks_per_ms
        How many ticks of event times are a millisecond.

    Examples
    --------
    >>> def made(transition: str, time: int) -> Transition:
    ...     return Transition(
    ...         alarm_id="level-0-7-9f3a51c2", transition=transition, rule="level",
    ...         series_id="a", severity="warning", time=time, since=time,
    ...     )
    >>> ongoing = Ongoing(old_after_ms=1000, hold_ms=100)
    >>> ongoing.take(made("raised", 50), "first", now_ms=5_000), ongoing.held
    ([], 1)
    >>> ongoing.take(made("cleared", 60), "second", now_ms=5_001), ongoing.done()
    ([], ['first', 'second'])
    """

    def __init__(self, old_after_ms: int, hold_ms: int, ticks_per_ms: int = 1) -> None:
        self._old_after, self._hold, self._per_ms = old_after_ms, hold_ms, ticks_per_ms
        self._active: dict[str, Transition] = {}
        self._held: dict[str, tuple[int, list[Hashable]]] = {}
        self._done: list[Hashable] = []
        self._of_place: dict[_Place, str] = {}

    @property
    def held(self) -> int:
        """How many alarms are held."""
        return len(self._held)

    def __len__(self) -> int:
        return len(self._active)

    def __iter__(self) -> Iterator[Transition]:
        """Yield the newest transition of each alarm that is on."""
        return iter(self._active.values())

    def restore(self, transition: Transition) -> None:
        """Record a transition that was sent to every receiver before."""
        self._replace_earlier(transition)
        if transition.active:
            self._active[transition.alarm_id] = transition
        else:
            self._active.pop(transition.alarm_id, None)
            self._forget_place(transition)

    def take(self, transition: Transition, record: Hashable, now_ms: int) -> list[Notice]:
        """Record the next transition; return the notices to send now."""
        ended = self._replace_earlier(transition)
        return [*ended, *self._take(transition, record, now_ms)]

    def _take(self, transition: Transition, record: Hashable, now_ms: int) -> list[Notice]:
        alarm_id = transition.alarm_id
        time = transition.time
        fresh = time is None or time // self._per_ms >= now_ms - self._old_after
        held = self._held.get(alarm_id)
        if not transition.active:
            known = self._active.pop(alarm_id, None)
            self._forget_place(transition)
            if held is not None:
                self._done += [*self._held.pop(alarm_id)[1], record]
                return []
            if known is None and not fresh:
                self._done.append(record)
                return []
            return [Notice(transition, (record,))]
        sent = alarm_id in self._active and held is None
        self._active[alarm_id] = transition
        if held is not None:
            held[1].append(record)
            return []
        if fresh or sent:
            return [Notice(transition, (record,))]
        self._held[alarm_id] = (now_ms + self._hold, [record])
        return []

    def due(self, now_ms: int) -> list[Notice]:
        """Return the alarms that were held long enough and are still on."""
        over = [alarm_id for alarm_id, (until, _) in self._held.items() if until <= now_ms]
        return [Notice(self._active[one], tuple(self._held.pop(one)[1])) for one in over]

    def end_others(self, own: OwnAlarms) -> list[Notice]:
        """End the alarms of rules that the job no longer has; return the notices.

        A job with other rules begins with no alarms, so nothing clears the former ones.
        """
        others = [one for one in self._active.values() if own.has_left(one)]
        for one in others:
            del self._active[one.alarm_id]
            self._forget_place(one)
        return [Notice(one.ended(one.time), ()) for one in others]

    def done(self) -> list[Hashable]:
        """Return, once each, the records whose transitions are not sent."""
        done, self._done = self._done, []
        return done

    def _forget_place(self, transition: Transition) -> None:
        place = _place(transition)
        if self._of_place.get(place) == transition.alarm_id:
            del self._of_place[place]

    def _replace_earlier(self, transition: Transition) -> list[Notice]:
        """End an alarm of the same rule and series that nothing has cleared.

        A job with other rules begins with none: nothing clears the former ones. An alarm that it
        raises with an older time does not end one that began later.
        """
        place = _place(transition)
        before = self._active.get(self._of_place.get(place, ""))
        if not transition.active or (before is not None and _began(before) > _began(transition)):
            return []
        self._of_place[place] = transition.alarm_id
        if before is None or before.alarm_id == transition.alarm_id:
            return []
        del self._active[before.alarm_id]
        if before.alarm_id in self._held:
            self._done += self._held.pop(before.alarm_id)[1]
            return []
        return [Notice(before.ended(transition.time), ())]


_Place = tuple[str, str, str | None]
"""Rule, series and input topic: jobs that share an alarms topic may have the first two alike."""


def _place(transition: Transition) -> _Place:
    return transition.rule, transition.series_id, transition.topic


def _began(transition: Transition) -> int:
    return 0 if transition.since is None else transition.since
