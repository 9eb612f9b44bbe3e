"""Two fields and two decays in one pass: price and volume of five stocks, fast and slow.

Run it: ``python -m bytewax.run flows.two_fields``
"""

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

import ewma_ops.operators as ew
from ewma_ops import Decay, SmoothedReading, Smoothing
from ewma_ops.demo.data import recorded_readings

DAYS = [
    (reading.series_id, {"price": reading.value, "volume": reading.volume})
    for reading in recorded_readings()
    if reading.volume is not None
]
DECAYS = {"fast": Smoothing(Decay(span=5)), "slow": Smoothing(Decay(span=50))}


def line(item: tuple[str, SmoothedReading]) -> str:
    """Format both averages of both fields."""
    ticker, reading = item
    of = reading.statistics
    price = f"price {of['price_fast_ewma']:.2f} (slow {of['price_slow_ewma']:.2f})"
    volume = f"volume {of['volume_fast_ewma']:,.0f} (slow {of['volume_slow_ewma']:,.0f})"
    return f"{ticker}: {price}, {volume}"


flow = Dataflow("two_fields")
days = op.input("days", flow, TestingSource(DAYS, batch_size=256))
smoothed = ew.smooth("smooth", days, DECAYS, fields=["price", "volume"])
op.output("out", op.map("line", smoothed, line), StdOutSink())
