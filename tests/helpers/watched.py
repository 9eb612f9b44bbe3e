"""`ewma watch` on topics of a test's own, and events to put there without a flow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ewma_ops import Readings
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.settings.load import load
from ewma_ops.table import SeriesTable
from tests.helpers.brokers import Record, produce
from tests.helpers.jobs import EWMA, ROOT, Job

__all__ = ["Events", "watching_page"]


class Events:
    """What a job would write of readings: put on its output topic as it does, keyed by series."""

    def __init__(self, job: Job) -> None:
        settings = load(job.path)
        self._job = job
        self._table = SeriesTable(settings.smoothing_set)
        self._encoder = JsonEncoder(settings.smoothing_set.names, settings.smoothing_set.fields)
        self._time_ms = 1_700_000_000_000

    def encoded(self, series_ids: Sequence[str], values: Sequence[float]) -> list[Record]:
        times = self._time_ms + 1000 * np.arange(len(values))
        self._time_ms = int(times[-1]) + 1000
        smoothed = self._table.update(Readings.of(series_ids, np.array(values), times))
        events = self._encoder.encode(smoothed)
        keys = [series_id.encode() for series_id in smoothed.readings.series_ids]
        return [Record(event, key) for event, key in zip(events, keys, strict=True)]

    def write(self, series_ids: Sequence[str], values: Sequence[float]) -> None:
        produce(self._job.bootstrap, self._job.output, self.encoded(series_ids, values))


@contextmanager
def watching_page(config: Path, *options: str, **variables: str) -> Iterator[str]:
    """Run `ewma watch`, at a free port; yield the page's address."""
    command = [*EWMA, "watch", str(config), "--bind", "127.0.0.1:0", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, env=environment
    )
    assert process.stdout is not None
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        told = process.stdout.readline()
        guard.cancel()
        assert "http://" in told, told
        yield "http://" + told.split("http://")[1].split(" ")[0].split("#")[0]
        process.terminate()
        assert process.wait(15) in (0, -15)
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def as_lines(records: Sequence[Record]) -> list[object]:
    return [json.loads(record.value or b"null") for record in records]
