"""What is asked for of messages, what comes beside their payloads, and what was read of them.

Knows paths, and columns; must not know how payloads are read, nor any bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import TextColumn, taken
from ewma_ops.errors import ConfigError
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import KEY, TIMESTAMP, Path, check_paths, parse_path, parse_records

__all__ = [
    "SKIPPED",
    "Fields",
    "Headers",
    "Paths",
    "Reasons",
    "RecordFields",
    "Refused",
    "not_utf8",
]


Reasons = dict[int, tuple[str, str]]
"""Why payloads are no readings: cause and detail by place. The first one that is noted counts."""

Headers = Sequence[tuple[str, bytes | None]]


class Refused(Exception):
    """A payload, or a field of it, is no reading: its arguments are cause and detail."""


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say what is wrong with bytes that are no text."""
    return f"not UTF-8: {error.reason} (byte {error.start})"


SKIPPED = ("", "")
"""The cause of what is none of ours: it is dropped, without a letter."""


class Paths(NamedTuple):
    """Where each thing stands in a message; what has no path is the record's own.

    ``ids`` are joined, and none where the record's key is the id; ``time`` is ``None`` where it is
    the record's timestamp. ``numbers`` are the values, and what a reading weighs behind them.
    ``where`` is looked at first, and may lead to the same fields. ``records`` lead to the arrays
    whose items are readings, each within the one before; none where a message is one reading.
    """

    ids: tuple[Path, ...]
    time: Path | None
    numbers: tuple[Path, ...]
    where: tuple[Path, ...] = ()
    records: tuple[Path, ...] = ()

    @classmethod
    def of(cls, options: DecoderOptions) -> Paths:
        """Read the paths of some options.

        Raises
        ------
        ConfigError
            If one is no path, there is no value, or two lead to the same field.
        """
        values = [options.value] if isinstance(options.value, str) else list(options.value)
        if not values:
            raise ConfigError('value = []: name at least one field, such as "value"')
        series_id = () if options.series_id is None else options.series_id
        ids = [series_id] if isinstance(series_id, str) else list(series_id)
        weights = [] if options.weight is None else [options.weight]
        id_paths = tuple(map(parse_path, ids))
        numbers = tuple(map(parse_path, [*values, *weights]))
        time = None if options.time is None else parse_path(options.time)
        where = tuple(map(parse_path, options.where))
        records = () if options.records is None else parse_records(options.records)
        check_paths([*numbers, *id_paths, *(() if time is None else (time,))], where, records)
        return cls(
            () if id_paths == (KEY,) else id_paths,
            None if time == TIMESTAMP else time,
            numbers,
            where,
            records,
        )

    def heads(self) -> list[str] | None:
        """Return the fields of a document that are looked at; ``None`` for any part of it."""
        inside = [path for path in self.every if path.source == "document"]
        outermost = [path for path in inside if path.up == len(self.records)]
        steps = [path.steps for path in (*outermost, *self.records[:1])]
        names = [first[0] for first in steps if first and isinstance(first[0], str)]
        return list(dict.fromkeys(names)) if len(names) == len(steps) else None

    @property
    def every(self) -> tuple[Path, ...]:
        """All of them."""
        time = () if self.time is None else (self.time,)
        return (*self.ids, *time, *self.numbers, *self.where)


class RecordFields(NamedTuple):
    """What records have beside their payloads, n of each; ``None`` for what was not asked for.

    ``headers`` of a record are in order, and the last of a name counts.
    """

    keys: Sequence[bytes | None]
    timestamps_ms: NDArray[np.int64]
    headers: Sequence[Headers] | None = None
    partitions: Sequence[int] | NDArray[np.int32] | None = None
    topics: Sequence[str] | None = None

    def take(self, at: NDArray[np.intp]) -> RecordFields:
        """Return those of some records; one may come several times."""
        keys, timestamps_ms, headers, partitions, topics = self
        return RecordFields(
            taken(keys, at),
            timestamps_ms[at],
            None if headers is None else taken(headers, at),
            None if partitions is None else np.asarray(partitions)[at],
            None if topics is None else taken(topics, at),
        )


class Fields(NamedTuple):
    """What was read of n payloads, by the column: not looked at yet.

    ``ids`` is ``None`` and ``times_ms`` (float64[n] or int64[n]) are, where they are not asked for;
    ``numbers`` is float64[n] for each path of them. Where payloads hold several readings, n is how
    many those are, ``owners`` (intp[n], ascending) the places of their payloads, and ``ordinals``
    (uint64[n]) count them within one.
    """

    ids: Sequence[str] | None
    times_ms: NDArray[np.float64] | NDArray[np.int64] | None
    numbers: list[NDArray[np.float64]]
    owners: NDArray[np.intp] | None = None
    ordinals: NDArray[np.uint64] | None = None

    def take(self, at: NDArray[np.intp]) -> Fields:
        """Return what was read of some payloads."""
        return Fields(
            None if self.ids is None else TextColumn.of(self.ids).take(at),
            None if self.times_ms is None else self.times_ms[at],
            [column[at] for column in self.numbers],
        )

    def merged(self, at: NDArray[np.intp], others: Fields, others_at: NDArray[np.intp]) -> Fields:
        """Join with what was read of others, in the order of their places."""
        order = np.argsort(np.concatenate([at, others_at]), kind="stable")
        ids = times_ms = None
        if self.ids is not None and others.ids is not None:
            ids = TextColumn.concat([TextColumn.of(self.ids), TextColumn.of(others.ids)])
        if self.times_ms is not None and others.times_ms is not None:
            times_ms = np.concatenate([self.times_ms.astype(np.float64), others.times_ms])
        numbers = map(np.concatenate, zip(self.numbers, others.numbers, strict=True))
        return Fields(ids, times_ms, list(numbers)).take(order)
