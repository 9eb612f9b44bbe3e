"""Whole jobs for the end-to-end tests: topics of their own, a configuration, the real programs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.helpers.brokers import Record, make_topic, produce, read_all
from tests.helpers.forking import start
from tests.helpers.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
EWMA = (sys.executable, "-m", "ewma_ops.commands.cli")
BYTEWAX = (sys.executable, "-m", "bytewax.run", "flows.smooth")
START_MS = 1_700_000_000_000

_SOON_BACK = {"reconnect_backoff_max_ms": 200}

Finished = subprocess.CompletedProcess[str]
Running = contextlib.AbstractContextManager["subprocess.Popen[str]"]


class Reading(NamedTuple):
    series_id: str
    time_ms: int
    value: float | None


class Event(NamedTuple):
    """A smoothed event as it stands in the output topic."""

    time_ms: int
    value: float | None
    ewma: float | None


class Job:
    """Topics of one test's own on a broker, and the configuration file of a job on them.

    ``partitions`` are those of the input, the output and the dead letters; without any, there
    are no topics, and no broker is needed.
    """

    def __init__(
        self, bootstrap: str, directory: Path, partitions: Sequence[int] = (4, 3, 2)
    ) -> None:
        self.bootstrap = bootstrap
        self.state = directory / "state"
        self.path = directory / "job.toml"
        names = ["readings", "smoothed", "dead-letters"]
        for i, count in enumerate(partitions):
            names[i] = make_topic(bootstrap, count, names[i])
        self.input, self.output, self.dead_letters = names
        self.configure()

    def configure(self, **changes: Mapping[str, object]) -> None:
        """Write the configuration; ``changes`` are keys by table, None to leave a key out."""
        tables: dict[str, dict[str, object]] = {
            "kafka": {"bootstrap_servers": self.bootstrap},
            "input": {"topic": self.input, "series_id": "series_id", "time": "ts", "stop": "end"},
            "smooth": {"beta": 0.9},
            "output": {"topic": self.output},
            "dead_letters": {"topic": self.dead_letters},
            "recovery": {"directory": str(self.state), "interval": "100ms"},
        }
        for table, keys in changes.items():
            tables.setdefault(table, {}).update(keys)
        self.path.write_text("".join(map(_table, tables, tables.values())))

    def run(self, workers: int = 1) -> str:
        """Run the job to its end with ``ewma run``; return what it said on stderr."""
        done = ewma("run", str(self.path), f"--workers={workers}")
        assert done.returncode == 0, done.stderr
        return done.stderr

    def running(self, workers: int = 1) -> Running:
        """Return a block during which ``ewma run`` runs."""
        return started([*EWMA, "run", str(self.path), f"--workers={workers}"])

    def send(self, readings: Iterable[Reading]) -> None:
        produce(self.bootstrap, self.input, map(as_record, readings))

    @contextmanager
    def sending(self, series: int, per_second: int = 250) -> Iterator[list[Reading]]:
        """Send readings during the block; yields the list of those sent, which grows."""
        sent: list[Reading] = []
        done = threading.Event()
        failures: list[BaseException] = []

        def send() -> None:
            producer = KafkaProducer(bootstrap_servers=self.bootstrap, **_SOON_BACK)
            turns = zip(*[iter(made_up(100_000, series))] * (per_second // 50), strict=False)
            try:
                for turn in itertools.takewhile(lambda _: not done.wait(0.02), turns):
                    for record in map(as_record, turn):
                        producer.send(self.input, value=record.value, key=record.key)
                    sent.extend(turn)
                producer.flush(timeout=PATIENCE_S)
            except BaseException as error:  # noqa: BLE001 - raised again by the test's thread
                failures.append(error)
            finally:
                producer.close(timeout=10)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield sent
        finally:
            done.set()
            thread.join(90)
        assert not failures, failures

    def events(self, n: int) -> dict[str, list[Event]]:
        return by_series(read_all(self.bootstrap, self.output, n))

    def letters(self, n: int) -> list[Any]:
        return read_all(self.bootstrap, self.dead_letters, n)


class Watch:
    """Follow a topic from its start: ``records`` is what has been seen so far."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.records: list[Any] = []
        self._readings: set[tuple[bytes, int]] = set()
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None, **_SOON_BACK
        )
        partitions = self._consumer.partitions_for_topic(topic)
        self._consumer.assign([TopicPartition(topic, p) for p in sorted(partitions)])

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def until(self, n: int, limit_s: float = PATIENCE_S) -> None:
        """Wait until so many different readings have an event."""
        deadline = time.monotonic() + limit_s
        while len(self._readings) < n:
            assert time.monotonic() < deadline, f"{len(self._readings)} of {n} after {limit_s} s"
            for run in self._consumer.poll(timeout_ms=50).values():
                self.records += run
                self._readings |= {(r.key, json.loads(r.value)["time"]) for r in run}


def ewma(*arguments: str, limit_s: float = PATIENCE_S, **variables: str) -> Finished:
    """Run the ``ewma`` command to its end."""
    return finished([*EWMA, *arguments], limit_s, **variables)


def finished(command: Sequence[str], limit_s: float = PATIENCE_S, **variables: str) -> Finished:
    """Run a program to its end."""
    with started(command, **variables) as child:
        out, err = child.communicate(timeout=limit_s)
    return Finished(command, child.returncode, out, err)


@contextmanager
def started(command: Sequence[str], **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program in the background; it does not outlive the block."""
    child = start(command, _environment(variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def assert_told(done: Finished, code: int, *words: str) -> None:
    """Check that a program ended with a code and one screen that says these words."""
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 24 * 80, "more than one screen"


def wait_until(true: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
    """Wait for something to become true, or fail."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"still not so after {limit_s} s"
        time.sleep(0.02)


def made_up(n: int, series: int) -> list[Reading]:
    """Return n readings of so many series in random turns, a tenth of them missing."""
    random = np.random.default_rng(1)
    ids = random.integers(0, series, n).tolist()
    values = (20 + np.round(random.normal(0, 5, n), 3)).tolist()
    missing = (random.random(n) < 0.1).tolist()
    return [
        Reading(f"sensor-{ids[i]}", START_MS + 1000 * i, None if missing[i] else values[i])
        for i in range(n)
    ]


def as_parquet(readings: Sequence[Reading], path: Path) -> None:
    """Write readings as a job with ``series_id`` and ``ts`` starts from them."""
    columns = zip(*readings, strict=True)
    names = ["series_id", "ts", "value"]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path)


def as_record(reading: Reading) -> Record:
    """Write a reading as its sender would: a missing one as null, or without the field."""
    payload: dict[str, object] = {"series_id": reading.series_id, "ts": reading.time_ms}
    if reading.value is not None or reading.time_ms % 2000 == 0:
        payload["value"] = reading.value
    return Record(json.dumps(payload).encode(), reading.series_id.encode())


def by_series(records: Iterable[Any]) -> dict[str, list[Event]]:
    """Group the records of the output topic by series, in order; the key must be the series."""
    events: dict[str, list[Event]] = {}
    for record in records:
        event = json.loads(record.value)
        assert list(event) == ["series_id", "time", "value", "ewma"]
        assert record.key.decode() == event["series_id"]
        found = Event(event["time"], event["value"], event["ewma"])
        events.setdefault(event["series_id"], []).append(found)
    return events


def pandas_says(
    readings: Sequence[Reading], beta: float = 0.9, *, adjust: bool = True, ignore_na: bool = True
) -> dict[str, list[Event]]:
    """Return the events of each series, in order, as pandas computes them."""
    said: dict[str, list[Event]] = {}
    values: dict[str, list[float]] = {}
    for series_id, _, value in readings:
        values.setdefault(series_id, []).append(np.nan if value is None else value)
    means = {
        series_id: iter(
            pd.Series(column).ewm(alpha=1 - beta, adjust=adjust, ignore_na=ignore_na).mean()
        )
        for series_id, column in values.items()
    }
    for series_id, time_ms, value in readings:
        mean = next(means[series_id])
        event = Event(time_ms, value, None if np.isnan(mean) else mean)
        said.setdefault(series_id, []).append(event)
    return said


def assert_same(events: Mapping[str, list[Event]], said: Mapping[str, list[Event]]) -> None:
    """Compare events by series: times and values exactly, the mean within 1e-12 of itself."""
    assert sorted(events) == sorted(said)
    for series_id, wanted in said.items():
        found = events[series_id]
        assert [event[:2] for event in found] == [event[:2] for event in wanted], series_id
        np.testing.assert_allclose(_means(found), _means(wanted), rtol=1e-12, err_msg=series_id)


def _means(events: Sequence[Event]) -> Any:
    return np.array([event.ewma for event in events], np.float64)


def _table(name: str, keys: Mapping[str, object]) -> str:
    # JSON's text, numbers, booleans and lists are TOML's too.
    plain = {k: value for k, value in keys.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in plain.items() if value is not None]
    inner = [_table(f"{name}.{k}", value) for k, value in keys.items() if k not in plain]  # type: ignore[arg-type]
    return "".join([f"[{name}]\n", *lines, *inner])


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if name != "EWMA_CONFIG"}
    return {**inherited, "PYTHONPATH": str(ROOT), **variables}
