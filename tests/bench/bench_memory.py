"""What a million series cost a running flow: memory, the stall of a snapshot, the way back.

python -m tests.bench.bench_memory [--series N]

The flow is what ``ewma run`` runs, exactly once, with a snapshot every 10 s, on the embedded
broker, while readings come at a steady rate. Times are by the records' own clocks.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from kafka import TopicPartition

from ewma_ops.connectors.client import connect_consumer
from ewma_ops.connectors.exchange import poll
from ewma_ops.decay import Decay
from ewma_ops.demo.broker import EmbeddedBroker
from ewma_ops.readings import Readings
from ewma_ops.smoothing import Smoothing
from ewma_ops.table import SeriesTable
from tests.bench.contest import PARTITIONS, fill, make_topic
from tests.bench.feeding import feed
from tests.bench.running import Flow

SERIES = 1_000_000
A_SECOND = 1_000
INTERVAL_S = 10
WATCHED_S = 35
"""Three snapshots at least."""
BACK_S = 60
_BEAT_S = 0.005
_ALMOST_ALWAYS = 50


class Figures(NamedTuple):
    """Megabytes, and seconds."""

    resident_mb: float
    peak_mb: float
    usual_s: float
    stall_s: float
    back_s: float


class _Event(msgspec.Struct):
    time: int


_read = msgspec.json.Decoder(_Event).decode


class _Watch:
    """Read a topic in the background; note when each event was seen first, by its number."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.seen: dict[int, float] = {}
        self.numbers = 0
        self._stop = threading.Event()
        self._consumer = connect_consumer({"bootstrap_servers": bootstrap}, "watch")
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        self._consumer.assign(tps)
        self._consumer.seek_to_beginning(*tps)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for run in (run for each in poll(self._consumer, 50).values() for run in each):
                self.numbers += len(run.values)
                now = time.monotonic()
                for value in run.values:
                    number = _read(value).time  # type: ignore[arg-type]  # none is null
                    if number < FIRST_OF_FILL:
                        self.seen.setdefault(number, now)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()


FIRST_OF_FILL = 1_000_000_000_000
"""Times of the filling are far above the numbers of the steady stream."""


class _Feeder(threading.Thread):
    """Send a steady stream over all series."""

    def __init__(self, bootstrap: str, topic: str, series: int) -> None:
        super().__init__(daemon=True)
        self.started = 0.0
        self._arguments = (bootstrap, topic, series)
        self._stop_it = threading.Event()

    def run(self) -> None:
        bootstrap, topic, series = self._arguments
        self.started = time.monotonic()
        options = {"a_second": A_SECOND, "series": series, "seconds": 3_600, "stop": self._stop_it}
        feed(bootstrap, topic, **options)  # type: ignore[arg-type]

    def close(self) -> None:
        self._stop_it.set()
        self.join()


def measure(bootstrap: str, series: int, directory: Path) -> Figures:
    """Run a flow through all that is measured of it."""
    many = fill(bootstrap, "million", series + series // 2, series, every=True)
    make_topic(bootstrap, "smoothed")
    watch = _Watch(bootstrap, "smoothed")
    with Flow(bootstrap, many.topic, "smoothed", directory, INTERVAL_S).running() as flow:
        while watch.numbers < many.readings:
            time.sleep(0.2)
        feeder = _Feeder(bootstrap, many.topic, series)
        feeder.start()
        time.sleep(WATCHED_S)
        resident_mb, peak_mb = flow.memory_mb()
        delays = _delays(watch, feeder.started)
        flow.kill()
        time.sleep(1)
        before = max(watch.seen)
        flow.start()
        back_s = _first_after(watch, before)
        feeder.close()
    watch.close()
    usual_s = float(np.percentile(delays, _ALMOST_ALWAYS))
    return Figures(resident_mb, peak_mb, usual_s, float(delays.max()) - usual_s, back_s)


def _delays(watch: _Watch, started: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return how long after it was due each event of the steady stream was seen."""
    seen = dict(watch.seen)
    numbers = np.array(sorted(seen))[A_SECOND:]  # of the first second much is starting
    return np.array([seen[n] for n in numbers.tolist()]) - started - numbers / A_SECOND


def _first_after(watch: _Watch, before: int) -> float:
    """Return the seconds until an event is seen that no earlier run has written."""
    began = time.monotonic()
    while max(watch.seen) == before:
        if time.monotonic() - began > BACK_S:
            raise RuntimeError(f"no new event within {BACK_S} s of the restart")
        time.sleep(_BEAT_S)
    return time.monotonic() - began


def in_memory(series: int) -> tuple[float, float]:
    """Return the CPU seconds to pickle one table of so many series, and to have it again."""
    smoothing = Smoothing(Decay(beta=0.9))
    table = SeriesTable(smoothing)
    table.update(Readings([f"sensor-{i}" for i in range(series)], np.ones(series)))
    began = time.process_time()
    stored = pickle.dumps(table.snapshot())
    stored_s = time.process_time() - began
    began = time.process_time()
    assert len(SeriesTable(smoothing, pickle.loads(stored))) == series
    return stored_s, time.process_time() - began


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=SERIES)
    series = parser.parse_args(arguments).series
    stored_s, resumed_s = in_memory(series)
    print(f"{series:,} series: snapshot {stored_s:.2f} s, resumed in {resumed_s:.2f} s, CPU alone")
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory() as directory:
        found = measure(broker.bootstrap_servers, series, Path(directory))
    print(f"launcher and worker: {found.resident_mb:.0f} MB, {found.peak_mb:.0f} MB at most")
    print(f"an event is seen after {found.usual_s * 1e3:.0f} ms as a rule; a snapshot every")
    print(f"{INTERVAL_S} s makes that up to {found.stall_s * 1e3:.0f} ms more")
    print(f"killed, it writes its first new event {found.back_s:.1f} s after the restart")


if __name__ == "__main__":
    main()
