"""A source of your own, smoothed: how late this machine wakes up a program that sleeps 50 ms.

Run it: ``python -m bytewax.run flows.own_source``
"""

from datetime import datetime, timedelta, timezone

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.inputs import SimplePollingSource

import ewma_ops.operators as ew
from ewma_ops import Decay, Smoothing

INTERVAL = timedelta(milliseconds=50)
LINE = "{0}: {1.value:.3f} ms late, smoothed {1.ewma:.3f}"


class Wakeups(SimplePollingSource[tuple[str, tuple[datetime, float]], None]):
    """Forty (time, value) readings, keyed by series id: milliseconds later than asked for."""

    _due: datetime | None = None
    _left = 40

    def next_item(self) -> tuple[str, tuple[datetime, float]]:
        """Return the next reading; StopIteration ends the flow."""
        if self._left == 0:
            raise StopIteration
        now = datetime.now(timezone.utc)
        late = timedelta(0) if self._due is None else now - self._due
        self._due, self._left = now + INTERVAL, self._left - 1
        return "wake-up", (now, late / timedelta(milliseconds=1))


flow = Dataflow("own_source")
readings = op.input("wake-ups", flow, Wakeups(INTERVAL))
smoothed = ew.smooth("smooth", readings, Smoothing(Decay(halflife="500ms")))
op.output("out", op.map("line", smoothed, lambda item: LINE.format(*item)), StdOutSink())
