"""Tests of your own: a job, or a dataflow, without a broker; records in, records out.

Knows the flow that ``ewma run`` runs, and Bytewax; must not know Kafka's brokers. Nothing depends
on the time of day: a record has the timestamp that the test gives it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink
from bytewax.testing import TestingSink, TestingSource

from ewma_ops.connectors import KafkaSink, KafkaSource
from ewma_ops.errors import ConfigError
from ewma_ops.job.message_lines import LineError, parse_line
from ewma_ops.job.offline import Record, as_records, build_offline, in_runs, run_to_end, usual_topic
from ewma_ops.job.report import Report
from ewma_ops.settings.load import load, load_tables
from ewma_ops.stats.durations import duration_ms
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

__all__ = ["Record", "Result", "read_records", "run_dataflow", "run_job", "timed"]

RecordLike: TypeAlias = "Record | bytes | str | Mapping[str, Any]"
"""A record, or only its value: bytes, text, or an object to be written as JSON."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Result:
    """The output of a job, in order.

    ``events``, ``dead_letters`` and ``alarms`` are the records as they would stand on their topics
    (without the header ``ewma``, which is the position on the broker); ``read`` is the number of
    messages, and ``skipped`` how many of them, or of the items in them, the job skipped.
    """

    events: list[Record]
    dead_letters: list[Record]
    read: int
    skipped: int
    alarms: list[Record] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        lines = [str(one.value) for one in self.events]
        lines += [f"{_cause(one)}: {one.header('ewma-detail')}" for one in self.dead_letters]
        lines += [f"{one.json()['transition']}: {one.json()['summary']}" for one in self.alarms]
        return "\n".join(lines)

    @property
    def causes(self) -> list[str]:
        """The cause of each dead letter."""
        return list(map(_cause, self.dead_letters))


def _cause(letter: Record) -> str:
    return letter.header("ewma-cause") or ""


def run_job(config: Path | str | Mapping[str, Any], records: Iterable[RecordLike]) -> Result:
    """Run a job on some records, from the first to the last, without a broker.

    Decodes, smooths and encodes with the dataflow of ``ewma run``; neither topics nor the recovery
    directory are touched. The same records give the same result: to continue a job, run it again
    with more records, and look at the last events.

    Parameters
    ----------
    config
        Path of a configuration file, or its tables as a mapping.
    records
        A `Record` each; or only its value: bytes, text, or a mapping to be written as JSON.

    Raises
    ------
    ConfigError
        If the configuration is wrong.

    Examples
    --------
    >>> config = {
    ...     "kafka": {"bootstrap_servers": "127.0.0.1:9092"},
    ...     "input": {"topic": "readings", "series_id": "id"},
    ...     "smooth": {"halflife": "1min"},
    ...     "output": {"topic": "smoothed"},
    ... }
    >>> records = [{"id": "a", "value": 1.0}, {"id": "a", "value": 4.0}, "?"]
    >>> result = run_job(config, timed(records, start=0, every="1min"))
    >>> [event.json()["ewma"] for event in result.events], result.causes
    ([1.0, 3.0], ['not-json'])
    """
    settings = load_tables(config) if isinstance(config, Mapping) else load(config)
    runs = in_runs(map(_as_record, records), usual_topic(settings))
    events: list[ProducerRecords] = []
    letters: list[ProducerRecords] = []
    alarms: list[ProducerRecords] = []
    report = Report()

    def poll() -> tuple[list[ConsumerRecords], None]:
        return [next(runs)], None

    takers = events.append, letters.append
    run_to_end(build_offline(settings, poll, *takers, report, alarms.append))
    return Result(
        [record for made in events for record in as_records(made)],
        [record for made in letters for record in as_records(made)],
        report.read,
        report.skipped,
        [record for made in alarms for record in as_records(made)],
    )


def timed(
    records: Iterable[RecordLike],
    start: datetime | int,
    every: timedelta | int | str = 0,
) -> Iterator[Record]:
    """Give records timestamps, the first one ``start``, each other ``every`` later.

    Parameters
    ----------
    records
        As for `run_job`; timestamps that they have are replaced.
    start
        An aware datetime, or milliseconds since the epoch.
    every
        A timedelta, milliseconds, or a duration such as ``"5min"``.

    Examples
    --------
    >>> [record.timestamp_ms for record in timed([b"1", b"2"], start=0, every="1min")]
    [0, 60000]
    """
    at_ms = start if isinstance(start, int) else (start - _EPOCH) // _MS
    if isinstance(every, str):
        every = int(duration_ms(every))
    step_ms = every if isinstance(every, int) else every // _MS
    for number, record in enumerate(records):
        yield dataclasses.replace(_as_record(record), timestamp_ms=at_ms + number * step_ms)


def read_records(path: Path | str) -> list[Record]:
    """Read the records of a file, as ``ewma try`` reads them: an object of JSON a line.

    A record that names no timestamp has none. Offsets are the numbers of the lines, from 0.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a line is no record; the message names the line.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    records = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                records.append(parse_line(line, number))
            except LineError as error:
                raise ConfigError(f"{path}, line {number}: {error}") from None
    return records


def run_dataflow(
    flow: Dataflow, inputs: Mapping[str, Iterable[Any]], *, batch_size: int = 1
) -> dict[str, list[Any]]:
    """Run your dataflow on items that you give in place of its sources; return its outputs.

    The dataflow runs with its own steps; its sources are not read, and its sinks not written. It
    may be run any number of times, each time from the start.

    Parameters
    ----------
    flow
        The dataflow.
    inputs
        Items for each ``op.input``, by its step id. For a `KafkaSource` they are `Record`.
    batch_size
        How many items come together, >= 1.

    Returns
    -------
    dict
        The items of each ``op.output``, by its step id. Of a `KafkaSink` they are `Record`.

    Raises
    ------
    ConfigError
        If an input is missing or unknown.
    Exception
        What a step raises.

    Examples
    --------
    >>> import bytewax.operators as op
    >>> import ewma_ops.operators as ew
    >>> from bytewax.connectors.stdio import StdOutSink
    >>> from ewma_ops import Decay, Smoothing
    >>> flow = Dataflow("ticks")
    >>> ticks = op.input("in", flow, TestingSource([]))
    >>> op.output("out", ew.smooth("smooth", ticks, Smoothing(Decay(beta=0.5))), StdOutSink())
    >>> out = run_dataflow(flow, {"in": [("a", 1.0), ("a", 4.0)]})
    >>> [reading.ewma for _, reading in out["out"]]
    [1.0, 3.0]
    """
    ends = _Ends(f"{flow.flow_id}.", inputs, batch_size)
    substituted = Dataflow(flow.flow_id, ends.steps(flow.substeps))
    ends.check()
    run_to_end(substituted)
    return {name: ends.collected(name) for name in ends.outputs}


class _Ends:
    """Replaces the sources and sinks of a dataflow."""

    def __init__(self, ahead: str, inputs: Mapping[str, Iterable[Any]], batch_size: int) -> None:
        self._ahead, self._inputs, self._batch_size = ahead, inputs, batch_size
        self._found: list[str] = []
        self._of_kafka: set[str] = set()
        self.outputs: dict[str, list[Any]] = {}

    def steps(self, steps: Iterable[Any]) -> list[Any]:
        """Return steps in which those that read and write are replaced."""
        return [self._step(step) for step in steps]

    def _step(self, step: Any) -> Any:
        name = step.step_id.removeprefix(self._ahead)
        if isinstance(getattr(step, "source", None), Source):
            self._found.append(name)
            items = list(self._inputs.get(name, ()))
            if isinstance(step.source, KafkaSource):
                items = list(in_runs(map(_as_record, items), name))
            return dataclasses.replace(step, source=TestingSource(items, self._batch_size))
        if isinstance(getattr(step, "sink", None), Sink):
            out = self.outputs[name] = []
            if isinstance(step.sink, KafkaSink):
                self._of_kafka.add(name)
            return dataclasses.replace(step, sink=TestingSink(out))
        if step.substeps:
            return dataclasses.replace(step, substeps=self.steps(step.substeps))
        return step

    def check(self) -> None:
        """Refuse inputs other than those of the dataflow."""
        if set(self._found) != set(self._inputs):
            raise ConfigError(
                f"inputs are given for {', '.join(self._inputs) or 'no step'}, and the dataflow "
                f"reads in {', '.join(self._found) or 'no step'}: give each of those its items"
            )

    def collected(self, name: str) -> list[Any]:
        """Return the items of an output."""
        items = self.outputs[name]
        if name not in self._of_kafka:
            return items
        return [
            dataclasses.replace(record, partition=int(part))
            for part, made in items
            for record in as_records(made)
        ]


def _as_record(given: RecordLike) -> Record:
    if isinstance(given, Record):
        return given
    if isinstance(given, str):
        given = given.encode()
    return Record(given if isinstance(given, bytes) else msgspec.json.encode(given))
