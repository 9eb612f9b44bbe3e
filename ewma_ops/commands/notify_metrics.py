"""What ``ewma notify`` says of itself, as families of metrics, and whether it is ready.

Knows counts of the notifier; must not know how they are served.
"""

from __future__ import annotations

from collections.abc import Iterator

from ewma_ops.job.measurements import Family, Sample, Taken, of_this_process
from ewma_ops.notify.delivery import Delivery
from ewma_ops.notify.notifier import Notifier

__all__ = ["NotifyMeasurements"]

_PREFIX = "ewma_ops_notify_"
_TEXTS = {
    "sent_again": "Alarms that a receiver was sent again while they last.",
    "refused": "Transitions that a receiver has refused for good.",
    "failed_calls": "Calls that a receiver has not answered, or with an error; they are repeated.",
}


class NotifyMeasurements:
    """What a notifier has counted."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    def take(self) -> Taken:
        """Return the families, and why the notifier is not ready."""
        return Taken([*self._own(), *of_this_process({})], [], list(self._why_not_ready()))

    def _why_not_ready(self) -> Iterator[str]:
        if not self._notifier.restored:
            yield "the alarms topic is still read back"
        for one in self._notifier.deliveries:
            if away_s := one.away_s:
                yield f"{one.receiver.name} has not taken alarms for {away_s:,.0f} s"

    def _own(self) -> Iterator[Family]:
        notifier = self._notifier
        yield _gauge("alarms_active", "Alarms that are on.", notifier.active)
        yield _gauge("alarms_held", "Alarms of long ago that are held for a while.", notifier.held)
        text = "Records of the alarms topic that are no alarms."
        name = f"{_PREFIX}unreadable_records"
        sample = Sample(f"{name}_total", {}, float(notifier.unreadable))
        yield Family(name, "counter", text, [sample])
        deliveries = notifier.deliveries
        name = f"{_PREFIX}sent"
        samples = [
            Sample(f"{name}_total", {"receiver": one.receiver.name, "transition": kind}, float(n))
            for one in deliveries
            for kind, n in list(one.sent.items())
        ]
        yield Family(name, "counter", "Transitions that a receiver has taken.", samples)
        waiting = {one.receiver.name: float(len(one)) for one in deliveries}
        name = f"{_PREFIX}waiting"
        samples = [Sample(name, {"receiver": receiver}, n) for receiver, n in waiting.items()]
        yield Family(name, "gauge", "Transitions that wait for a receiver.", samples)
        for name, text in _TEXTS.items():
            whole = f"{_PREFIX}{name}"
            counts = {one.receiver.name: _count(one, name) for one in deliveries}
            yield Family(
                whole,
                "counter",
                text,
                [Sample(f"{whole}_total", {"receiver": key}, n) for key, n in counts.items()],
            )


def _count(one: Delivery, name: str) -> float:
    counts = {"sent_again": one.sent_again, "refused": one.refused, "failed_calls": one.failed}
    return float(counts[name])


def _gauge(name: str, text: str, value: int) -> Family:
    whole = f"{_PREFIX}{name}"
    return Family(whole, "gauge", text, [Sample(whole, {}, float(value))])
