"""Start warm: earlier prices from a Parquet file, later ones from the stream.

The averages are those of a flow that has read all prices from the first day on.
Run it: ``python -m bytewax.run flows.warm_start``
"""

import tempfile
from pathlib import Path

import bytewax.operators as op
import pyarrow as pa
import pyarrow.parquet as pq
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

import ewma_ops.operators as ew
from ewma_ops import Decay, Smoothing
from ewma_ops.demo.data import recorded_series
from ewma_ops.history import History

DAYS = recorded_series()["IBM"]
PAST, STREAM = DAYS[:-20], DAYS[-20:]
FILE = Path(tempfile.mkdtemp(prefix="ewma-")) / "past.parquet"
columns = {"series_id": ["IBM"] * len(PAST), "value": [day.value for day in PAST]}
pq.write_table(pa.table(columns), FILE)

flow = Dataflow("warm_start")
prices = op.input("prices", flow, TestingSource([("IBM", day.value) for day in STREAM]))
smoothed = ew.smooth("smooth", prices, Smoothing(Decay(span=200)), warm_start=History(FILE))
lines = op.map("line", smoothed, lambda item: f"{item[0]}: {item[1].value} {item[1].ewma:.4f}")
op.output("out", lines, StdOutSink())
