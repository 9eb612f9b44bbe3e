"""Events of many series at a steady rate, as a flow would write them; a process of its own.

python -m tests.bench.events_feeder BOOTSTRAP TOPIC --series N --rate N [--forecasts]

Events are made by the table and the encoder of the product, by columns, and sent in whole runs. One
series more, ``probe``, has a reading at each tick, whose value is when it was sent, in milliseconds
since the moment of the first line that is printed. A second line tells that every series has been
written once; from then on the rate is kept until the input of this process is closed, when the
number of events of that time is printed, and how many seconds they took.
"""

from __future__ import annotations

import argparse
import select
import sys
import time

import numpy as np
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, Smoothing
from ewma_ops.columns.byte_columns import BytesColumn, TextColumn, taken
from ewma_ops.columns.murmur2 import murmur2_column, partition_for
from ewma_ops.connectors.client.connect import connect_producer
from ewma_ops.connectors.client.exchange import send
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.table import SeriesTable
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.wire.records import ProducerRecords
from tests.bench.contest import PARTITIONS

PROBE = "probe"
STATISTICS = ("mean", "std", "sem", "settled")
FORECASTS = ("level", "trend", "forecast", "forecast_lower", "forecast_upper", "mase")
HORIZON = 500
"""Readings: of the probe ten seconds."""
TICK_S = 0.02
_FILL = 10_000
_PAST = 4_000


class Feeder:
    """Write events of ``series`` series, in turn; with ``forecasts`` they tell where it goes."""

    def __init__(self, bootstrap: str, topic: str, series: int, *, forecasts: bool) -> None:
        statistics = [*STATISTICS, *(FORECASTS if forecasts else ())]
        smoothing = Smoothing(Decay(beta=0.9), statistics=statistics, horizon=HORIZON)
        self._table = SeriesTable(smoothing)
        self._encoder = JsonEncoder(SmoothingSet.of(smoothing).names)
        self._producer = connect_producer({"bootstrap_servers": bootstrap, "linger_ms": 0})
        self._producer.partitions_for(topic)
        self._topic, self._series = topic, series
        self._ids = TextColumn.of([f"plant{i % 7}/sensor-{i:06}" for i in range(series)])
        self._random = np.random.default_rng(1)
        self._next = 0

    def write(self, ids: TextColumn, values: NDArray[np.float64], times_ms: object) -> None:
        """Write events of some series."""
        smoothed = self._table.update(Readings.of(ids, values, times_ms))  # type: ignore[arg-type]
        events = BytesColumn.of(self._encoder.encode(smoothed))
        keys = TextColumn.of(smoothed.readings.series_ids)
        partitions = partition_for(murmur2_column(keys), PARTITIONS)
        for partition in np.unique(partitions).tolist():
            at = np.flatnonzero(partitions == partition)
            run = ProducerRecords(taken(keys.utf8, at), taken(events, at))
            send(self._producer, self._topic, partition, run)

    def step(self, n: int) -> None:
        """Write the next ``n`` events, of now."""
        if n <= 0:
            return
        at = (self._next + np.arange(n)) % self._series
        self._next = int(at[-1]) + 1
        values = self._random.normal(20, 1, n)
        times = np.full(n, round(1000 * time.time()))
        self.write(TextColumn.of([self._ids[i] for i in at.tolist()]), values, times)

    def probe(self, began_s: float) -> None:
        """Write the reading that says when it was sent."""
        now = time.time()
        one = TextColumn.of([PROBE])
        self.write(one, np.array([1000 * (now - began_s)]), np.array([round(1000 * now)]))

    def past(self, began_s: float) -> None:
        """Write readings of the probe from before, so that its chart is full."""
        times = round(1000 * began_s) - np.arange(_PAST, 0, -1) * round(1000 * TICK_S)
        self.write(TextColumn.of([PROBE] * _PAST), np.zeros(_PAST), times)

    def flush(self) -> None:
        """Wait until all is written."""
        self._producer.flush(60)


def main() -> None:
    """Feed until the input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--series", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--forecasts", action="store_true")
    options = parser.parse_args()
    of = options.bootstrap, options.topic, options.series
    feeder, began_s = Feeder(*of, forecasts=options.forecasts), time.time()
    print(repr(began_s), flush=True)
    feeder.past(began_s)
    for first in range(0, options.series, _FILL):
        feeder.step(min(_FILL, options.series - first))
        feeder.flush()
    print("filled", flush=True)
    started, sent = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        feeder.probe(began_s)
        due = int((time.monotonic() - started) * options.rate)
        feeder.step(due - sent - 1)
        sent = max(due, sent + 1)
        time.sleep(TICK_S)
    feeder.flush()
    print(sent, time.monotonic() - started, time.process_time(), flush=True)


if __name__ == "__main__":
    main()
