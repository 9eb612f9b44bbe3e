"""What a million series cost a running flow: memory, the stall of a snapshot, the way back.

python -m tests.bench.bench_memory [--series N]

The flow is what ``ewma run`` runs, exactly once, with a snapshot every 10 s, while readings come
at a steady rate. Times are those at which the broker appended readings and events, hence on
Apache Kafka; left out where there is none.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kafka import TopicPartition

from ewma_ops.columns.readings import Readings
from ewma_ops.connectors.client.connect import connect_consumer
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from tests.bench.contest import PARTITIONS, TIME_MS, fill, make_topic
from tests.bench.feeding import APPEND_CLOCK, appended, feed
from tests.bench.running import Flow
from tests.helpers.brokers import ApacheKafka
from tests.helpers.kafka_jars import KafkaUnavailableError

SERIES = 1_000_000
A_SECOND = 1_000
INTERVAL_S = 10
WATCHED_S = 35
"""Three snapshots at least."""
BACK_S = 15
AN_HOUR_S = 3_600


class Figures(NamedTuple):
    """What the flow took, how late its events were, and how soon it was back."""

    resident_mb: float
    peak_mb: float
    usual_ms: float
    stall_ms: float
    back_s: float


class _Feeder(threading.Thread):
    """Send a steady stream over all series."""

    def __init__(self, bootstrap: str, topic: str, series: int) -> None:
        super().__init__(daemon=True)
        self._where = (bootstrap, topic)
        self._series = series
        self._stop_it = threading.Event()

    def run(self) -> None:
        feed(
            *self._where,
            a_second=A_SECOND,
            series=self._series,
            seconds=AN_HOUR_S,
            stop=self._stop_it,
        )

    def close(self) -> None:
        self._stop_it.set()
        self.join()


def measure(bootstrap: str, series: int, directory: Path) -> Figures:
    """Run a flow through all that is measured of it."""
    readings = series + series // 2
    source = fill(bootstrap, "million", readings, series, every=True, configs=APPEND_CLOCK).topic
    make_topic(bootstrap, "smoothed", APPEND_CLOCK)
    with Flow(bootstrap, source, "smoothed", directory, INTERVAL_S).running() as flow:
        _await_events(bootstrap, readings)
        feeder = _Feeder(bootstrap, source, series)
        feeder.start()
        time.sleep(WATCHED_S)
        resident_mb, peak_mb = flow.memory_mb()
        flow.kill()
        killed_ms = time.time() * 1e3
        time.sleep(1)
        restarted_ms = time.time() * 1e3
        flow.start()
        time.sleep(BACK_S)
        feeder.close()
    came, went = appended(bootstrap, source), appended(bootstrap, "smoothed")
    steady = [n for n in went if A_SECOND <= n < TIME_MS]  # in the first second much is starting
    took_ms = np.array([went[n] - came[n] for n in steady if went[n] < killed_ms])
    usual_ms = float(np.median(took_ms))
    back_ms = min(went[n] for n in steady if went[n] > restarted_ms) - restarted_ms
    return Figures(resident_mb, peak_mb, usual_ms, float(took_ms.max()) - usual_ms, back_ms / 1e3)


def _await_events(bootstrap: str, events: int) -> None:
    consumer = connect_consumer({"bootstrap_servers": bootstrap}, "watch")
    tps = [TopicPartition("smoothed", partition) for partition in range(PARTITIONS)]
    while sum(consumer.end_offsets(tps).values()) < events:
        time.sleep(0.2)
    consumer.close()


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
    try:
        with tempfile.TemporaryDirectory() as directory, ApacheKafka(Path(directory)) as kafka:
            found = measure(kafka.bootstrap_servers, series, Path(directory))
    except KafkaUnavailableError as reason:
        print(f"a flow of so many: left out, {reason}")
        return
    print(f"launcher and worker: {found.resident_mb:.0f} MB, {found.peak_mb:.0f} MB at most")
    print(f"from reading to event: {found.usual_ms:.0f} ms as a rule, and while a snapshot is")
    print(f"taken, each {INTERVAL_S} s, up to {found.stall_ms:.0f} ms more")
    print(f"killed, it writes its first new event {found.back_s:.1f} s after the restart")


if __name__ == "__main__":
    main()
