"""MACD of daily stock prices: the days on which it crosses its signal line.

Prices as quoted on the day: splits are jumps. Run it: ``python -m bytewax.run flows.macd``
"""

from datetime import datetime, timezone

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

import ewma_ops.operators as ew
from ewma_ops import SmoothedReading
from ewma_ops.composites import macd
from ewma_ops.demo.data import recorded_series

PRICES = [("MSFT", (day.time_ms, day.value)) for day in recorded_series()["MSFT"]]


def crossing(above: bool | None, reading: SmoothedReading) -> tuple[bool, str | None]:
    """Compare the side of the signal line with that of the day before."""
    now = reading.statistics["macd_histogram"] > 0
    if above is None or now == above or reading.time_ms is None:
        return now, None
    day = datetime.fromtimestamp(reading.time_ms / 1000, timezone.utc).date()
    return now, f"{day}: {reading.value:.2f}, MACD crosses {'above' if now else 'below'} its signal"


flow = Dataflow("macd")
prices = op.input("prices", flow, TestingSource(PRICES, batch_size=256))
found = ew.smooth("macd", prices, macd(fast=12, slow=26, signal=9))
crossings = op.stateful_map("cross", found, crossing)
lines = op.filter_map("line", crossings, lambda item: item[1] and f"{item[0]} {item[1]}")
op.output("out", lines, StdOutSink())
