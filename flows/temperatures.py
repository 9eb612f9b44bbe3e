"""Sea temperatures by half-life, at any gap, some of them three days late.

Run it: ``python -m bytewax.run flows.temperatures``

A late reading enters with the weight that it would have by now: there is no buffer to wait for.
The delays are synthetic; the temperatures, their gaps and their times are recorded.
"""

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

import ewma_ops.operators as ew
from ewma_ops import Decay, SmoothedReading, Smoothing
from ewma_ops.demo.data import recorded_series

ON_TIME = recorded_series()["sea-surface"]
DELAY = 3 * 48  # half-hours
ARRIVAL = sorted(range(len(ON_TIME)), key=lambda i: (i + DELAY * (i % 100 == 99), i))
READINGS = [("sea", (ON_TIME[i].time_ms, ON_TIME[i].value)) for i in ARRIVAL]


def line(item: tuple[str, SmoothedReading]) -> str:
    """Format the average, its standard error, and how many readings have come late so far."""
    series_id, reading = item
    sem, late = reading.statistics["sem"], reading.statistics["revision"]
    return f"{series_id}: {reading.ewma:.3f} +- {sem:.3f} deg C, {late:.0f} late"


flow = Dataflow("temperatures")
readings = op.input("sea", flow, TestingSource(READINGS, batch_size=256))
by_time = Smoothing(Decay(halflife="1d"), statistics=["mean", "sem", "revision"])
smoothed = ew.smooth("smooth", readings, by_time)
op.output("out", op.map("line", smoothed, line), StdOutSink())
