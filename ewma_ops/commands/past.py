"""Readings of the past, for commands that look back: from a job's input topics, or from a file.

Knows topics, files and the bounds of time; must not know what is computed from the readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ewma_ops.columns.readings import LARGEST_VALUE, Readings
from ewma_ops.columns.ticks import MILLISECOND, Tick, iso_moment
from ewma_ops.commands.topic_reader import TopicReader
from ewma_ops.connectors.client.connect import connect_input_reader
from ewma_ops.errors import ConfigError
from ewma_ops.job.decoding import build_run_decoder
from ewma_ops.job.identity import look_up_inputs
from ewma_ops.serde.parquet import History
from ewma_ops.settings.model import Settings
from ewma_ops.studies.segments import usual_gap
from ewma_ops.wire.records import ConsumerRecords

__all__ = [
    "ONE_SERIES",
    "FileColumns",
    "Past",
    "Span",
    "open_past",
    "with_usual_gap",
]

ONE_SERIES = "all"
"""Series id of the readings in a file without a column of ids."""

_MOST_IDLE_POLLS = 50
_LOOKED_AT = 20_000
"""Readings that determine the usual gap."""


class Span(NamedTuple):
    """From when to before when, in milliseconds since the epoch; ``None`` for no bound."""

    since_ms: int | None = None
    until_ms: int | None = None


class FileColumns(NamedTuple):
    """Columns of a file: values, series ids and event times; ``None`` where it may have none."""

    value: str | tuple[str, ...] = "value"
    series_id: str | tuple[str, ...] | None = None
    time: str | None = None
    weight: str | None = None
    tick: Tick = MILLISECOND


class Past(Protocol):
    """Readings in batches, those of a series in order; to be iterated once."""

    name: str
    """Their source, for people."""
    rejected: int
    """Messages that are not readings."""

    @property
    def share(self) -> float:
        """How much was read, 0 to 1."""

    def __iter__(self) -> Iterator[Readings]:
        """Yield the readings."""


def open_past(
    settings: Settings | None, file: Path | None, columns: FileColumns, span: Span
) -> Past:
    """Return the readings of a Parquet or CSV file, or else of a job's input topics.

    Parameters
    ----------
    settings
        Of the job; ``None`` with a ``file`` alone.
    file
        ``.csv`` for a CSV file, whose first line names the columns; all else is read as Parquet.
    columns
        Of the file; for those not named, the settings apply. Without a column of series
        ids all readings are of the series `ONE_SERIES`, unless there is one named ``series_id``;
        without one of times those of ``time`` are taken, if there is one.
    span
        Of event times, which a file then needs; for topics, of the times at which messages were
        written.

    Raises
    ------
    BrokerError, ConfigError
        If no broker answers, or a topic does not exist; if the file cannot be read, or a column is
        missing.
    """
    since_ms, until_ms = span
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        since, until = iso_moment(since_ms / 1000), iso_moment(until_ms / 1000)
        raise ConfigError(f"--from {since} is not before --to {until}: give an earlier one")
    if file is None:
        assert settings is not None, "give settings or a file"
        return _TopicPast(settings, span)
    largest = LARGEST_VALUE if settings is None else settings.smoothing_set.largest
    return _FilePast(file, _columns_of(settings, columns), span, largest)


def _columns_of(settings: Settings | None, given: FileColumns) -> FileColumns:
    """Return the columns of a file: those that were given, or as the configuration names them."""
    if settings is None:
        return given
    reads = settings.input
    return FileColumns(
        reads.value if given.value == FileColumns().value else given.value,
        given.series_id or reads.series_id,
        given.time or reads.time,
        reads.weight,
        reads.tick,
    )


def with_usual_gap(
    batches: Iterator[Readings], name: str
) -> tuple[float | None, Iterator[Readings]]:
    """Return the usual gap of the first readings, in ticks, and all readings again.

    ``None`` if no series has two readings at different times.

    Raises
    ------
    ConfigError
        If the past of that name has no times.
    """
    begin: list[Readings] = []
    seen = 0
    for readings in batches:
        if readings.times_ms is None:
            raise ConfigError(f"{name} has no times, which decay by time needs: name their column")
        begin.append(readings)
        seen += len(readings)
        if seen >= _LOOKED_AT:
            break
    if not begin:
        return None, batches
    ids = [one for readings in begin for one in readings.series_ids]
    _, rows = np.unique(np.array(ids), return_inverse=True)
    gap = usual_gap(rows, np.concatenate([one.times_ms for one in begin]))
    return gap, chain(begin, batches)


class _TopicPast:
    def __init__(self, settings: Settings, span: Span) -> None:
        self.name, self.rejected = settings.input.source, 0
        self._span = span
        inputs = look_up_inputs(settings)
        consumer = connect_input_reader(settings.kafka)
        self._reader = TopicReader(settings.kafka, inputs, consumer)
        self._decoder = build_run_decoder(settings, inputs)

    @property
    def share(self) -> float:
        return self._reader.share

    def __iter__(self) -> Iterator[Readings]:
        since = "earliest" if self._span.since_ms is None else self._span.since_ms
        self._reader.begin(since)
        try:
            while not self._reader.ended and self._reader.idle < _MOST_IDLE_POLLS:
                for runs in self._reader.poll().values():
                    for run in runs:
                        readings = self._decoded(run)
                        if len(readings):
                            yield readings
        finally:
            self._reader.close()

    def _decoded(self, records: ConsumerRecords) -> Readings:
        decoded = self._decoder.decode([records])
        self.rejected += len(decoded.rejected)
        readings = replace(decoded.readings, heartbeats=None)
        until = self._span.until_ms
        if until is not None:
            written = records.timestamps_ms[decoded.kept]
            readings = readings.take(np.flatnonzero(written < until))
        return readings


class _FilePast:
    def __init__(self, path: Path, columns: FileColumns, span: Span, largest: float) -> None:
        self.name, self.rejected, self.share = str(path), 0, 0.0
        self._span, self._tick = span, columns.tick
        table = _Table(path)
        series_id, time = columns.series_id, columns.time
        if series_id is None:
            series_id = "series_id" if "series_id" in table.names else None
        if time is None and "time" in table.names:
            time = "time"
        if time is None and span != Span():
            raise ConfigError(
                f"{path} has no column of times: name it with --time, or leave out --from and --to"
            )
        self._table, self._single = table, series_id is None
        named = [columns.value] if isinstance(columns.value, str) else list(columns.value)
        for column in named:
            if "." not in column and column not in table.names:
                fix = "name that of the values with --value; " * (columns == FileColumns())
                there = ", ".join(table.names)
                raise ConfigError(f"{path} has no column {column!r}; {fix}it has {there}")
        self._history = History(
            table.stream(constant=self._single),
            named,
            ONE_SERIES if series_id is None else series_id,
            time,
            columns.weight,
            largest,
            tick=columns.tick,
            name=str(path),
        )

    def __iter__(self) -> Iterator[Readings]:
        since, until = self._span
        per_ms = self._tick.per_ms
        for readings in self._history:
            self.share = self._table.share
            times = readings.times_ms
            if times is None or (since is None and until is None):
                yield readings
                continue
            kept = np.ones(len(times), np.bool_)
            if since is not None:
                kept &= times >= since * per_ms
            if until is not None:
                kept &= times < until * per_ms
            if kept.all():
                yield readings
            elif kept.any():
                yield readings.take(np.flatnonzero(kept))
        self.share = 1.0


class _Table:
    """A file as Arrow's record batches, and how much of it was read."""

    def __init__(self, path: Path) -> None:
        self.share = 0.0
        try:
            import pyarrow as pa
            from pyarrow import csv
            from pyarrow import parquet as pq
        except ImportError:
            raise ConfigError(
                f"{path} cannot be read without pyarrow: pip install 'ewma-ops[arrow]'"
            ) from None
        self._pa = pa
        self._size = 1
        kind = "CSV" if path.suffix.lower() == ".csv" else "Parquet"
        try:
            self._size = max(path.stat().st_size, 1)
            if kind == "CSV":
                self._file: Any = path.open("rb")
                self._batches: Any = csv.open_csv(self._file)
                self._schema = self._batches.schema
                self._rows = None
            else:
                self._file = pq.ParquetFile(path)
                self._schema = self._file.schema_arrow
                self._rows = max(self._file.metadata.num_rows, 1)
                self._batches = self._file.iter_batches(1 << 16)
        except FileNotFoundError:
            raise ConfigError(f"{path}: there is no such file; give the path of a file") from None
        except (OSError, pa.ArrowException) as error:
            other = "; the name of a CSV file ends in .csv" if kind == "Parquet" else ""
            raise ConfigError(f"{path} cannot be read as {kind}: {error}{other}") from None
        self.names: list[str] = list(self._schema.names)

    def stream(self, *, constant: bool) -> Any:
        """Return the batches as one stream, with a column `ONE_SERIES` if ``constant``."""
        pa = self._pa
        schema = self._schema
        if constant:
            schema = schema.append(pa.field(ONE_SERIES, pa.dictionary(pa.int32(), pa.string())))
        return pa.RecordBatchReader.from_batches(schema, self._counted(schema, constant=constant))

    def _counted(self, schema: Any, *, constant: bool) -> Iterator[Any]:
        pa, done = self._pa, 0
        for batch in self._batches:
            done += len(batch)
            self.share = done / self._rows if self._rows else self._file.tell() / self._size
            if constant:
                ids = pa.DictionaryArray.from_arrays(
                    pa.array(np.zeros(len(batch), np.int32)), pa.array([ONE_SERIES])
                )
                batch = pa.RecordBatch.from_arrays([*batch.columns, ids], schema=schema)  # noqa: PLW2901
            yield batch
