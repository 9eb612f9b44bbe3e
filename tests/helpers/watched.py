"""`ewma watch` on topics of a test's own, and events to put there without a flow."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ewma_ops import Readings
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.settings.bind import Bind
from ewma_ops.settings.load import load, load_tables
from ewma_ops.settings.model import Settings
from ewma_ops.table import SeriesTable
from ewma_ops.watch.book import Book
from ewma_ops.watch.measures import measures
from ewma_ops.watch.status import Status
from tests.helpers.brokers import Record, produce
from tests.helpers.forking import start
from tests.helpers.jobs import EWMA, ROOT, Job
from tests.helpers.patience import PATIENCE_S

__all__ = ["Events", "as_lines", "served", "settings", "watching_page"]


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

    @contextmanager
    def clock_back(self, seconds: int) -> Iterator[None]:
        """Let readings of the block come late."""
        self._time_ms -= 1000 * seconds
        yield
        self._time_ms += 1000 * seconds

    def write(self, series_ids: Sequence[str], values: Sequence[float]) -> None:
        produce(self._job.bootstrap, self._job.output, self.encoded(series_ids, values))


@contextmanager
def watching_page(config: Path, *options: str, **variables: str) -> Iterator[str]:
    """Run `ewma watch`, at a free port; yield the page's address."""
    command = [*EWMA, "watch", str(config), "--bind", "127.0.0.1:0", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    process = start(command, environment, stdout=subprocess.PIPE, stderr=sys.stderr)
    assert process.stdout is not None
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        told = process.stdout.readline()
        guard.cancel()
        assert "http://" in told, told
        yield "http://" + told.split("http://")[1].split(" ")[0].split("#")[0]
        process.terminate()
        assert process.wait(15) == 0
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def as_lines(records: Sequence[Record]) -> list[object]:
    return [json.loads(record.value or b"null") for record in records]


def settings(**watch: object) -> Any:
    """Return settings of a job whose broker nobody answers at."""
    return load_tables(
        {
            "kafka": {"bootstrap_servers": "127.0.0.1:1"},  # nobody answers: the page is served
            "input": {"topic": "in"},
            "smooth": {"beta": 0.9},
            "output": {"topic": "out"},
            "watch": watch,
        }
    )


@contextmanager
def served(
    token: str | None = None,
    status: Status | None = None,
    book: Book | None = None,
    job: Settings | None = None,
) -> Iterator[tuple[str, int]]:
    """Serve the page of a job's book, without a broker; yields host and port."""
    import uvicorn

    from ewma_ops.watch.guard import Guard
    from ewma_ops.watch.looker import Looker
    from ewma_ops.watch.pages import Pages
    from ewma_ops.watch.server import about

    made = settings() if job is None else job
    book = Book(measures(made.smoothing_set)) if book is None else book
    shown = status or Status()
    pages = Pages(
        about(made, Path("job.toml"), 60.0),
        lambda: Looker(book, shown, lambda *_: None),
        lambda: book.version,
        lambda: server.should_exit,
    )
    pages.guard = Guard(pages.app, Bind("127.0.0.1", 0), ["watch.example"], token)
    server = uvicorn.Server(uvicorn.Config(pages.guard, log_level="warning", lifespan="off"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield "127.0.0.1", listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
