"""Readings of the past, to start from: a Parquet file, or a table that speaks Arrow.

Knows columns and how they become readings; must not know what is computed from them, or any stream.
pyarrow, an extra, is imported when a history is read, and not before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ewma_ops.columns.readings import LARGEST_VALUE, Readings
from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.errors import ConfigError, ReadingError

__all__ = ["History", "file_digest"]

_BATCH = 8_192
_CHUNK_BYTES = 1 << 20


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                found.update(chunk)
    except OSError as error:
        raise _unreadable(str(path), error) from None
    return found.hexdigest()


def _unreadable(name: str, error: Exception) -> ConfigError:
    if isinstance(error, FileNotFoundError):
        return ConfigError(f"{name}: there is no such file; give the path of a Parquet file")
    return ConfigError(f"{name} cannot be read as Parquet: {error}")


class History:
    """Readings of the past in batches, in the order of the rows; iterate as often as needed.

    Takes one batch into memory at a time, and of a file one row group as it is stored.

    Parameters
    ----------
    source
        Path of a Parquet file; or anything with ``__arrow_c_stream__``, such as a pyarrow table
        or a pandas or polars data frame.
    value
        Column of the value, numbers; null is a missing reading. A list for several fields.
    series_id
        Column of the series id, text or integers; several are joined with "/".
    time
        Column of the event time: timestamps, UTC where they name no zone, or dates, or integers,
        ticks since the epoch. ``None``: the readings have no time.
    weight
        Column of what the reading weighs, numbers >= 0; null is a missing reading.
    largest
        Greatest magnitude of a value.
    digest
        A former result of `file_digest`: a changed file is refused.
    tick
        The unit of times: milliseconds, or the unit of a job.
    name
        What messages call it; the path, or ``"history"``, if left out.

    A column within a struct is named like ``"sensor.value"``.

    Raises
    ------
    ConfigError
        When read: if pyarrow or the file is missing, the file is not Parquet or has changed, a
        column is missing or of another type, or a row has no series id, no time, or a number out
        of bounds. The message names it.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"series_id": ["a", "b", "a"], "value": [1.0, 2.5, None]})
    >>> [(part.series_ids, part.values) for part in History(frame)]
    [(['a', 'b', 'a'], array([1. , 2.5, nan]))]
    """

    def __init__(
        self,
        source: Any,
        value: str | Sequence[str] = "value",
        series_id: str | Sequence[str] = "series_id",
        time: str | None = None,
        weight: str | None = None,
        largest: float = LARGEST_VALUE,
        digest: str | None = None,
        tick: Tick = MILLISECOND,
        name: str | None = None,
    ) -> None:
        self._path = Path(source) if isinstance(source, str | Path) else None
        self._source, self._largest = source, largest
        self.digest, self._tick = digest, tick
        own = "history" if self._path is None else str(self._path)
        self._name = own if name is None else name
        self._values = [value] if isinstance(value, str) else list(value)
        self._ids = [series_id] if isinstance(series_id, str) else list(series_id)
        self._time, self._weight = time, weight

    def __iter__(self) -> Iterator[Readings]:
        if self.digest is not None and file_digest(Path(self._source)) != self.digest:
            raise ConfigError(
                f"{self._name} has changed since the job began: put the old file back, or "
                "start over with a new recovery directory"
            )
        row = 0
        for batch in self._batches():
            yield self._readings(batch, row)
            row += len(batch)

    def check(self) -> None:
        """Raise as reading would, of all but the rows."""
        next(self._batches(), None)

    def _batches(self) -> Iterator[Any]:
        """Yield record batches with the columns needed, which are there and of the right types."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise ConfigError(
                f"{self._name} cannot be read without pyarrow: pip install 'ewma-ops[arrow]'"
            ) from None
        try:
            if self._path is None:
                reader = pa.RecordBatchReader.from_stream(self._source)
                self._check_columns(reader.schema, pa.types)
                for batch in reader:
                    for first in range(0, len(batch), _BATCH):
                        yield batch.slice(first, _BATCH)
                return
            with pq.ParquetFile(self._path) as file:
                self._check_columns(file.schema_arrow, pa.types)
                yield from file.iter_batches(_BATCH, columns=self._columns())
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self._name, error) from None

    def _columns(self) -> list[str]:
        optional = [column for column in (self._time, self._weight) if column is not None]
        return [*self._ids, *self._values, *optional]

    def _check_columns(self, schema: Any, types: Any) -> None:
        def is_number(kind: Any) -> Any:
            return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)

        def is_id(kind: Any) -> Any:
            kind = kind.value_type if types.is_dictionary(kind) else kind
            texts = (types.is_string, types.is_large_string, types.is_string_view)
            return types.is_integer(kind) or any(is_text(kind) for is_text in texts)

        def is_time(kind: Any) -> Any:
            return types.is_timestamp(kind) or types.is_date(kind) or types.is_integer(kind)

        numbers = [*self._values, *([] if self._weight is None else [self._weight])]
        wanted = [
            (self._ids, is_id, "text or integers"),
            (numbers, is_number, "numbers"),
            ([] if self._time is None else [self._time], is_time, "timestamps or integers"),
        ]
        for columns, fits, kinds in wanted:
            for column in columns:
                found = _type(schema, column)
                if found is None:
                    there = ", ".join(schema.names)
                    raise ConfigError(f"{self._name} has no column {column!r}; it has {there}")
                if not fits(found):
                    found_type = f"column {column!r} of {self._name} is of type {found}"
                    raise ConfigError(f"{found_type}: it must hold {kinds}")

    def _readings(self, batch: Any, row: int) -> Readings:
        rows = f"{self._name}, rows {row} to {row + len(batch) - 1}"
        try:
            ids = [self._texts(batch, column, row) for column in self._ids]
            values = [_floats(_column(batch, column)) for column in self._values]
            if any((np.abs(column) > self._largest).any() for column in values):
                raise ReadingError(f"a value is beyond +-{self._largest:.3g}: leave it out")
            weights = None
            if self._weight is not None:  # a reading without weight is missing
                weights = np.nan_to_num(_floats(_column(batch, self._weight)), nan=0.0)
            return Readings.of(
                ids[0] if len(ids) == 1 else list(map("/".join, zip(*ids, strict=True))),
                values[0] if len(values) == 1 else np.array(values).T,
                None if self._time is None else self._times(batch, self._time, row),
                weights,
                tick=self._tick,
            )
        except (ReadingError, UnicodeDecodeError) as error:
            raise ConfigError(f"{rows}: {error}") from None

    def _texts(self, batch: Any, column: str, row: int) -> list[str]:
        texts = _column(batch, column).cast("string").to_pylist()
        if not all(texts):
            at = next(i for i, text in enumerate(texts) if not text)
            raise ConfigError(f"{self._name}, row {row + at}: {column} is null or empty")
        return texts  # type: ignore[no-any-return]

    def _times(self, batch: Any, column: str, row: int) -> Any:
        times = _column(batch, column)
        if times.null_count:
            at = int(np.flatnonzero(times.is_null().to_numpy(zero_copy_only=False))[0])
            raise ConfigError(f"{self._name}, row {row + at}: {column} is null")
        found = times.to_numpy(zero_copy_only=False)
        if found.dtype.kind != "M":
            return found
        times_ms = found.astype("datetime64[ms]").astype(np.int64)
        within = self._tick.of_ms(times_ms)  # in nanoseconds other years would wrap around
        fine = found.astype(f"datetime64[{self._tick.unit}]").astype(np.int64)
        return np.where(within // self._tick.per_ms == times_ms, fine, within)


def _type(schema: Any, path: str) -> Any:
    """Return the type of a column, which may stand within structs; ``None`` without one."""
    if path in schema.names:
        return schema.field(path).type
    head, *inner = path.split(".")
    kind = schema.field(head).type if head in schema.names else None
    for name in inner:
        at = getattr(kind, "get_field_index", lambda _: -1)(name)
        if at < 0:
            return None
        kind = kind.field(at).type  # type: ignore[union-attr] # a struct
    return kind if inner else None


def _column(batch: Any, path: str) -> Any:
    if path in batch.schema.names:
        return batch.column(path)
    head, *inner = path.split(".")
    column = batch.column(head)
    for name in inner:
        column = column.flatten()[column.type.get_field_index(name)]
    return column


def _floats(column: Any) -> Any:
    return column.cast("float64", safe=False).to_numpy(zero_copy_only=False)
