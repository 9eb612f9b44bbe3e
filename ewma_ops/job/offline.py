"""A job without a broker: records in, events and dead letters out, through the real flow.

Knows the job's dataflow and Bytewax; must not know files, lines or the receiver of the output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from ewma_ops.connectors.inputs import UnlistedTopics
from ewma_ops.connectors.parts import Addressed
from ewma_ops.job.builders import open_history
from ewma_ops.job.dataflow import AlarmsOut, join
from ewma_ops.job.identity import alarms_identity
from ewma_ops.job.report import Report
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

__all__ = [
    "Calls",
    "Record",
    "RunSource",
    "as_records",
    "build_offline",
    "in_runs",
    "run_to_end",
    "usual_topic",
]


@dataclass(frozen=True)
class Record:
    """A record of Kafka: one that a job reads, or one that it writes.

    Parameters
    ----------
    value, key
        Bytes, or ``None`` for Kafka's null.
    headers
        Names and contents, in order.
    timestamp_ms
        Milliseconds since the epoch, UTC; ``None`` for none.
    partition
        Of the topic, >= 0.
    topic
        ``None``: the topic that the job reads.
    offset
        In the partition; ``None``: one more than that of the record before.

    Examples
    --------
    >>> record = Record(b'{"ewma": 1.5}', headers=[("cause", b"a"), ("cause", b"b")])
    >>> record.json(), record.header("cause"), record.header("x")
    ({'ewma': 1.5}, 'b', None)
    """

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int | None = None
    partition: int = 0
    topic: str | None = None
    offset: int | None = None

    def json(self) -> Any:
        """Return the value as a JSON document.

        Raises
        ------
        ValueError
            If it is invalid.
        """
        return None if self.value is None else msgspec.json.decode(self.value)

    def header(self, name: str) -> str | None:
        """Return the last header of a name as text, or ``None``."""
        content = dict(self.headers).get(name)
        return None if content is None else content.decode(errors="replace")


def usual_topic(settings: Settings) -> str:
    """Return the default topic of records: the first one that the job reads."""
    return next(iter(settings.input.names), settings.input.source)


def in_runs(records: Iterable[Record], topic: str) -> Iterator[ConsumerRecords]:
    """Group consecutive records of one partition, as a source would return them.

    Missing offsets continue the ones before; ``topic`` is the default for records without one.
    """
    ends: Counter[tuple[str, int]] = Counter()
    of_places = groupby(records, lambda one: (one.topic or topic, one.partition))
    for (name, partition), group in of_places:
        own = list(group)
        offsets = []
        for record in own:
            end = ends[name, partition] if record.offset is None else record.offset
            offsets.append(end)
            ends[name, partition] = end + 1
        times = [-1 if one.timestamp_ms is None else one.timestamp_ms for one in own]
        yield ConsumerRecords(
            name,
            partition,
            np.array(offsets, np.int64),
            np.array(times, np.int64),
            [one.key for one in own],
            [one.value for one in own],
            [one.headers for one in own] if any(one.headers for one in own) else None,
        )


def as_records(made: ProducerRecords) -> list[Record]:
    """Return the written records, one by one."""
    headers: Iterable[Any] = [()] * len(made) if made.headers is None else made.headers
    columns = zip(made.keys, made.values, headers, strict=True)
    return [Record(value, key, tuple(own)) for key, value, own in columns]


Poll = Callable[[], "tuple[list[ConsumerRecords], datetime | None]"]
"""Returns the next runs, and when to poll again; StopIteration at the end."""


class RunSource(DynamicSource[ConsumerRecords]):
    """A source that gets its runs from a function."""

    def __init__(self, poll: Poll) -> None:
        self._poll = poll

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Part:  # noqa: ARG002
        """Return the one part."""
        return _Part(self._poll)


class _Part(StatelessSourcePartition[ConsumerRecords]):
    def __init__(self, poll: Poll) -> None:
        self._poll = poll
        self._awake: datetime | None = None

    def next_batch(self) -> list[ConsumerRecords]:
        runs, self._awake = self._poll()
        return runs

    def next_awake(self) -> datetime | None:
        return self._awake


class Calls(DynamicSink[Addressed]):
    """A sink that passes records to a function."""

    def __init__(self, take: Callable[[ProducerRecords], None]) -> None:
        self._take = take

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Caller:  # noqa: ARG002
        """Return the part that makes the calls."""
        return _Caller(self._take)


class _Caller(StatelessSinkPartition[Addressed]):
    def __init__(self, take: Callable[[ProducerRecords], None]) -> None:
        self._take = take

    def write_batch(self, items: list[Addressed]) -> None:
        for _, made in items:
            self._take(made)


def build_offline(
    settings: Settings,
    poll: Poll,
    on_events: Callable[[ProducerRecords], None],
    on_letters: Callable[[ProducerRecords], None],
    report: Report | None = None,
    on_alarms: Callable[[ProducerRecords], None] | None = None,
) -> Dataflow:
    """Build the dataflow of a job that reads from ``poll`` and calls back with its output.

    The records may be of any topics. Events are JSON, whatever ``output.format`` says, because a
    trial registers no schema.
    """
    as_json = msgspec.structs.replace(settings.output, format="json")
    settings = msgspec.structs.replace(settings, output=as_json)
    source = RunSource(poll)
    history = open_history(settings)
    sinks = Calls(on_events), Calls(on_letters)
    alarms = None
    if settings.alarms is not None and on_alarms is not None:
        identity = alarms_identity(repr(settings.identity()), settings.alarms.rules)
        alarms = AlarmsOut(Calls(on_alarms), identity)
    return join(settings, source, *sinks, history, UnlistedTopics(), report=report, alarms=alarms)


def run_to_end(flow: Dataflow) -> None:
    """Run a dataflow in this thread until its sources end; raise what a step raises."""
    try:
        # Bytewax prints a Rust backtrace when it runs without addresses; with one, none listens.
        cli_main(flow, process_id=0, addresses=["127.0.0.1:0"])
    except BytewaxRuntimeError as error:
        cause: BaseException = error
        while isinstance(cause, BytewaxRuntimeError) and cause.__cause__ is not None:
            cause = cause.__cause__
        raise cause from None
