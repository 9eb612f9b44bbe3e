"""Metrics of ``ewma notify``, and whether it is ready.

Knows counts of the notifier; must not know how they are served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ewma_ops.job.measurements import Family, Sample, Taken, of_this_process
from ewma_ops.notify.delivery import Delivery
from ewma_ops.notify.notifier import Notifier

__all__ = ["NotifyMeasurements"]

_PREFIX = "ewma_ops_notify_"
_COUNTS: dict[str, tuple[str, Callable[[Delivery], int]]] = {
    "sent_again": (
        "Alarms that were sent again to a receiver while they last.",
        lambda one: one.sent_again,
    ),
    "refused": (
        "Transitions that a receiver has refused for good.",
        lambda one: one.refused,
    ),
    "failed_calls": (
        "Calls that a receiver did not answer, or answered with an error; they are repeated.",
        lambda one: one.failed,
    ),
}
"""Counters of each receiver."""


class NotifyMeasurements:
    """What a notifier has counted."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    def take(self) -> Taken:
        """Return the families, and why the notifier is not ready."""
        return Taken([*self._own(), *of_this_process({})], [], list(self._why_not_ready()))

    def _why_not_ready(self) -> Iterator[str]:
        if not self._notifier.restored:
            yield "the alarms topic is still being read back"
        for one in self._notifier.deliveries:
            if away_s := one.away_s:
                yield f"{one.receiver.name} has not taken alarms for {away_s:,.0f} s"

    def _own(self) -> Iterator[Family]:
        notifier, deliveries = self._notifier, self._notifier.deliveries
        yield _gauge("alarms_active", "Alarms that are on.", [({}, notifier.active)])
        text = "Old alarms that are held for a while."
        yield _gauge("alarms_held", text, [({}, notifier.held)])
        text = "Records of the alarms topic that are not alarms."
        yield _counter("unreadable_records", text, [({}, notifier.unreadable)])
        sent = [
            ({"receiver": one.receiver.name, "transition": kind}, n)
            for one in deliveries
            for kind, n in list(one.sent.items())
        ]
        yield _counter("sent", "Transitions that a receiver has taken.", sent)
        waiting = [({"receiver": one.receiver.name}, len(one)) for one in deliveries]
        yield _gauge("waiting", "Transitions that wait for a receiver.", waiting)
        for name, (text, count) in _COUNTS.items():
            counts = [({"receiver": one.receiver.name}, count(one)) for one in deliveries]
            yield _counter(name, text, counts)


_Numbers = Iterable[tuple[dict[str, str], int]]
"""Numbers by their labels."""


def _gauge(name: str, text: str, numbers: _Numbers) -> Family:
    whole = f"{_PREFIX}{name}"
    return Family(whole, "gauge", text, [Sample(whole, by, float(n)) for by, n in numbers])


def _counter(name: str, text: str, numbers: _Numbers) -> Family:
    whole = f"{_PREFIX}{name}"
    samples = [Sample(f"{whole}_total", by, float(n)) for by, n in numbers]
    return Family(whole, "counter", text, samples)
