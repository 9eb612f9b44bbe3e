"""Steps after the smoothing: days that are unusually far from their average, counted by year.

Run it: ``python -m bytewax.run flows.after_smoothing``
"""

from datetime import datetime, timezone

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

import ewma_ops.operators as ew
from ewma_ops import Decay, SmoothedReading, Smoothing
from ewma_ops.demo.data import recorded_series

DAYS = [("seattle", (day.time_ms, day.value)) for day in recorded_series()["seattle-daily-max"]]


def is_far(item: tuple[str, SmoothedReading]) -> bool:
    """Return whether a reading is more than two standard deviations from the average."""
    _, reading = item
    assert isinstance(reading.value, float)
    assert isinstance(reading.ewma, float)
    return abs(reading.value - reading.ewma) > 2 * reading.statistics["std"]


def year(item: tuple[str, SmoothedReading]) -> str:
    """Return the series and the year of a reading."""
    series_id, reading = item
    assert reading.time_ms is not None
    return f"{series_id} {datetime.fromtimestamp(reading.time_ms / 1000, timezone.utc).year}"


flow = Dataflow("after_smoothing")
days = op.input("days", flow, TestingSource(DAYS, batch_size=256))
smoothed = ew.smooth("smooth", days, Smoothing(Decay(halflife="10d"), statistics=["mean", "std"]))
counts = op.count_final("count", op.filter("far", smoothed, is_far), year)
op.output("out", op.map("line", counts, lambda of: f"{of[0]}: {of[1]} unusual days"), StdOutSink())
