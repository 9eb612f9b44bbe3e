"""What `ewma watch` cannot read, or cannot ask for, is logged."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from kafka import TopicPartition

from ewma_ops.settings.load import load_tables
from ewma_ops.settings.model import Settings
from ewma_ops.watch.book import Book
from ewma_ops.watch.follower import Follower, InputEnds
from ewma_ops.watch.server import measures_of
from ewma_ops.watch.status import Status
from ewma_ops.wire.batch import Columns
from tests.helpers.jobs import wait_until


def a_job() -> Settings:
    return load_tables(
        {
            "kafka": {"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 100},
            "input": {"topic": "in"},
            "smooth": {"beta": 0.9},
            "output": {"topic": "out"},
        }
    )


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if one.name.startswith("ewma_ops")]


def test_records_that_are_no_events_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    job, place = a_job(), TopicPartition("out", 0)
    book = Book(measures_of(job))
    follower = Follower(job, book, Status(), 0.0)
    follower.parts.append(place)
    own = b'{"series_id":"s","time":5,"value":1.5,"ewma":1.25}'
    for first in (0, 3):
        offsets = np.arange(first, first + 3)
        times = np.zeros(3, np.int64)
        run = Columns(offsets, times, [b"s"] * 3, [b"\x1b{", own, b"{}"], None, first + 3)
        follower._take_events(place, run)
    (line,) = ours(caplog)
    assert "topic 'out' has records that are no events of this configuration" in line
    assert "\x1b" not in line
    assert book.events == 2


def test_why_the_lag_is_unknown_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    status = Status()
    thread = threading.Thread(target=InputEnds(a_job(), status).run)
    thread.start()
    try:
        wait_until(lambda: bool(ours(caplog)))
    finally:
        status.stopping.set()
        thread.join()
    (line,) = ours(caplog)
    assert line.startswith("the lag is unknown: ")
