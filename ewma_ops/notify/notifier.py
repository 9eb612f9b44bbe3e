"""The notifier: reads the alarms topic, sends to every receiver, commits what all have.

Knows how the parts meet; must not know configuration files.

At its start it reads the topic back, to know which alarms are on. A record is committed when every
receiver has accepted it, or refused it for good; else it is sent again after a crash.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence

from ewma_ops.notify.alarm import Transition, parse_transition
from ewma_ops.notify.alarms_topic import AlarmsTopic, TopicRecord
from ewma_ops.notify.delivery import Delivery, Receiver
from ewma_ops.notify.ongoing import Notice, Ongoing, OwnAlarms
from ewma_ops.notify.progress import Progress

__all__ = ["Notifier"]

_MOST_WAITING = 10_000
"""Most notices that may wait for one receiver before reading of the topic pauses."""
_SAY_EACH_S = 60.0
_STOP_S = 15.0


class Notifier:
    """Send alarms to receivers until it is stopped.

    Parameters
    ----------
    topic
        The alarms topic, just opened; :meth:`run` closes it.
    receivers
        Where to send, all transitions to each.
    ongoing
        Tracks which alarms are on; empty at first.
    resend_s
        Seconds between repetitions of alarms that are on.
    tell
        Called with lines for people.
    own
        Recognizes the job's alarms: those of earlier rules that are on at the start are ended.
        ``None`` if it is not known.
    """

    def __init__(
        self,
        topic: AlarmsTopic,
        receivers: Sequence[Receiver],
        ongoing: Ongoing,
        resend_s: float,
        tell: Callable[[str], None],
        own: OwnAlarms | None = None,
    ) -> None:
        self._topic, self._ongoing, self._tell, self._own = topic, ongoing, tell, own
        self._progress = Progress()
        self._deliveries = [Delivery(one, resend_s, self._progress.done, tell) for one in receivers]
        self._restored = False
        self._early: list[TopicRecord] = []
        self._unreadable = 0
        self._said: tuple[str, float] = ("", time.monotonic())

    @property
    def deliveries(self) -> Sequence[Delivery]:
        """One for each receiver; any thread may read their counts."""
        return self._deliveries

    @property
    def restored(self) -> bool:
        """Whether the topic was read back, so that new transitions are sent."""
        return self._restored

    @property
    def active(self) -> int:
        """How many alarms are on."""
        return len(self._ongoing)

    @property
    def held(self) -> int:
        """How many old alarms are held."""
        return self._ongoing.held

    @property
    def unreadable(self) -> int:
        """How many records were not alarms."""
        return self._unreadable

    def run(self, stopping: threading.Event) -> None:
        """Run until ``stopping`` is set; raises `BrokerError` if the topic cannot be read."""
        try:
            while not stopping.is_set():
                self._turn(stopping)
        finally:
            for delivery in self._deliveries:
                delivery.stop()
            until = time.monotonic() + _STOP_S
            for delivery in self._deliveries:
                if delivery.is_alive():
                    delivery.join(max(0.0, until - time.monotonic()))
            self._commit()
            self._topic.close()

    def summary(self) -> str:
        """Return a summary of the work so far, in one line."""
        n = len(self._ongoing)
        parts = ["1 alarm is on" if n == 1 else f"{n:,} alarms are on"]
        for delivery in self._deliveries:
            kinds = [f"{name} {n:,}" for name, n in sorted(delivery.sent.items())]
            line = f"sent {delivery.receiver.name} {sum(delivery.sent.values()):,}"
            line += f" ({', '.join(kinds)})" if kinds else ""
            more = {
                "sent again": delivery.sent_again,
                "refused": delivery.refused,
                "calls failed": delivery.failed,
                "waiting": len(delivery),
            }
            parts.append(", ".join([line, *(f"{n:,} {name}" for name, n in more.items() if n)]))
        if self._ongoing.held:
            parts.append(f"{self._ongoing.held:,} old ones held")
        if self._unreadable:
            parts.append(f"{self._unreadable:,} records that are not alarms")
        return "; ".join(parts)

    def _turn(self, stopping: threading.Event) -> None:
        if max(map(len, self._deliveries)) >= _MOST_WAITING:
            stopping.wait(0.2)
        else:
            for record in self._topic.poll():
                self._read(record)
        if not self._restored and self._topic.passed_targets():
            self._restored = True
            self._begin_to_tell()
        if self._restored:
            self._put(self._ongoing.due(_now_ms()))
        self._commit()
        if time.monotonic() > self._said[1] + _SAY_EACH_S:
            if (line := self.summary()) != self._said[0]:
                self._tell(line)
            self._said = (line, time.monotonic())

    def _read(self, record: TopicRecord) -> None:
        """Handle records that were sent before, and after these the new ones."""
        if self._restored:
            self._take(record)
        elif record.offset >= self._topic.targets.get(record.partition, 0):
            self._early.append(record)
        elif (transition := self._parsed(record)) is not None:
            self._ongoing.restore(transition)

    def _take(self, record: TopicRecord) -> None:
        transition = self._parsed(record)
        needs = 0 if transition is None else len(self._deliveries)
        self._progress.add(record.partition, record.offset, needs)
        if transition is not None:
            place: Hashable = (record.partition, record.offset)
            self._put(self._ongoing.take(transition, place, _now_ms()))

    def _parsed(self, record: TopicRecord) -> Transition | None:
        transition = parse_transition(record.value)
        if transition is None:
            self._unreadable += 1
            if self._unreadable == 1:
                self._tell(
                    f"offset {record.offset:,} of partition {record.partition} is not an alarm, "
                    "and is skipped: let nothing else write to the alarms topic"
                )
        return transition

    def _begin_to_tell(self) -> None:
        """Begin to send: at the first start the alarms that are on, later only new transitions."""
        ended = [] if self._own is None else self._ongoing.end_others(self._own)
        if ended:
            self._tell(f"alarms of earlier rules, ended: {len(ended):,}")
        known = list(self._ongoing)
        if self._topic.first_start:
            places = [(p, target - 1) for p, target in self._topic.targets.items() if target]
            for partition, offset in places:
                self._progress.add(partition, offset, len(self._deliveries) if known else 0)
            notices = [Notice(one, ()) for one in known]
            if notices:  # they are sent in order
                notices[-1] = Notice(notices[-1].transition, tuple(places))
            self._put(notices)
        else:
            for delivery in self._deliveries:
                delivery.receiver.restore(known)
            self._put(ended)  # receivers have them as on
        self._tell(f"telling {self._names()}; alarms that are on: {len(known):,}")
        for delivery in self._deliveries:
            delivery.start()
        early, self._early = self._early, []
        for record in early:
            self._take(record)

    def _put(self, notices: Iterable[Notice]) -> None:
        made = list(notices)
        for delivery in self._deliveries if made else ():
            delivery.put(made)
        self._progress.done(self._ongoing.done(), times=len(self._deliveries))

    def _commit(self) -> None:
        self._topic.commit(self._progress.reached())

    def _names(self) -> str:
        return ", ".join(delivery.receiver.name for delivery in self._deliveries)


def _now_ms() -> int:
    return int(time.time() * 1_000)
