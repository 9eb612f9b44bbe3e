"""The columns that flow: readings in, smoothed readings out.

Knows shapes and dtypes; must not know formats, statistics or destinations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ewma_ops.columns.byte_columns import joined, taken
from ewma_ops.columns.conversion import refuse_beyond, to_column
from ewma_ops.columns.heartbeats import Heartbeats
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.rejections import Rejection
from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.columns.transitions import Transition, Transitions
from ewma_ops.errors import ReadingError

__all__ = [
    "EARLIEST_MS",
    "LARGEST_VALUE",
    "LARGEST_WEIGHT",
    "LATEST_MS",
    "MAX_ID_BYTES",
    "MAX_VALUE_BYTES",
    "SMALLEST_WEIGHT",
    "WEIGHTS",
    "Original",
    "Reading",
    "Readings",
    "Rejected",
    "Smoothed",
    "SmoothedReading",
    "weighable",
]

EARLIEST_MS = MILLISECOND.earliest
"""0001-01-01T00:00:00Z, the earliest event time."""

LATEST_MS = MILLISECOND.latest
"""9999-12-31T23:59:59.999Z, the latest event time."""

LARGEST_WEIGHT = 2.0**500
"""Greatest weight of a reading: any sum of weights is finite."""

SMALLEST_WEIGHT = 2.0**-1022
"""Least weight > 0 of a reading: below it a float has fewer digits."""

LARGEST_VALUE = 2.0**1022
"""Greatest magnitude of a value: the difference of two is a finite float64."""


WEIGHTS = f"{SMALLEST_WEIGHT:.3g} and {LARGEST_WEIGHT:.3g}, or 0"
"""The bounds of a weight, for messages."""


def weighable(weights: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which weights are allowed: 0, and those within the bounds.

    Examples
    --------
    >>> weighable(np.array([0.0, 1e-310, 1.0, np.nan, -1.0]))
    array([ True, False,  True, False, False])
    """
    found = (weights >= SMALLEST_WEIGHT) & (weights <= LARGEST_WEIGHT)
    return np.asarray(found | (weights == 0.0))


MAX_ID_BYTES = 1_024
"""Default limit of the UTF-8 bytes of an id from Kafka: series keep ids, events hold them twice."""


MAX_VALUE_BYTES = 1 << 20
"""Default limit of the bytes of a message from Kafka: it is decoded as a whole."""


MAX_INCLUDE_BYTES = 4_096
"""Default limit of the bytes of the fields that are passed through to an event."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One reading of a series: its value, and its event time where it has one.

    ``value`` is ``None`` or NaN if the reading is missing; with several fields it is a list of
    numbers or a mapping by name. ``time_ms`` is in milliseconds since the epoch, UTC; ``weight`` is
    needed for weighting by volume.
    """

    value: float | Sequence[float | None] | Mapping[str, float | None] | None
    time_ms: int | None = None
    weight: float | None = None


class SmoothedReading(msgspec.Struct, frozen=True, gc=False):
    """One reading with the statistics of its series up to and including it.

    ``value`` is NaN for a missing reading, ``ewma`` where it is undefined. ``statistics`` holds all
    other requested statistics, by name. With several fields or smoothings ``value`` is a list,
    ``ewma`` is NaN, and ``statistics`` holds everything, such as ``"bid_fast_ewma"``. One smoothing
    of vectors gives vectors. ``alarms`` is what became of alarms at the reading.
    """

    value: float | list[float]
    ewma: float | list[float]
    time_ms: int | None = None
    statistics: dict[str, float] = {}
    alarms: list[Transition] = []


class Original(NamedTuple):
    """The record that a reading was made from, byte for byte."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Readings of any number of series as columns, in order of arrival.

    Parameters
    ----------
    series_ids
        n series ids: a list, or a `TextColumn`.
    values
        float64[n], or [n, k] for k fields (fastest in Fortran order, each field contiguous); NaN is
        a missing reading.
    times_ms
        int64[n] event times, UTC; ``None`` if there are none. Milliseconds since the epoch, or the
        finer ticks of a job (`ewma_ops.columns.ticks`), as are all times derived from it.
    origins
        Input positions, which are passed on to the output; ``None`` outside Kafka.
    hashes
        uint32[n], the stable hash of each series id, if computed already.
    weights
        float64[n], 0, or from `SMALLEST_WEIGHT` to `LARGEST_WEIGHT`; ``None`` if all are equal.
    included
        n byte strings: fields of the message that are passed through to the event, as members of a
        JSON object, such as ``b'"unit":"C"'``; ``None`` if there are none.
    originals
        The record of each reading, if a policy may send it to the dead-letter topic; else ``None``.
    clocks_ms
        int64[n], the newest event time of the reading's input partition up to and including it,
        if idle series are forgotten; else ``None``.
    tombstones
        bool[n], which of them are not readings, but ask to forget their series;
        ``None`` for none.
    appended_ms
        int64[n], the timestamp of the record of each reading, -1 where it has none, if latencies
        are measured; else ``None``.
    logged
        int64[n], the time of the clock of each reading's input partition, in ticks: the newest
        timestamp of its records; ``None`` where no rule asks for it.
    heartbeats
        The places where such a clock reached another second; ``None`` for none. They belong to the
        whole run: :meth:`take` leaves them out.

    The constructor does not check the columns; :meth:`of` converts and checks.
    """

    series_ids: Sequence[str]
    values: NDArray[np.float64]
    times_ms: NDArray[np.int64] | None = None
    origins: Origins | None = None
    hashes: NDArray[np.uint32] | None = None
    weights: NDArray[np.float64] | None = None
    originals: list[Original] | None = None
    included: Sequence[bytes | None] | None = None
    clocks_ms: NDArray[np.int64] | None = None
    tombstones: NDArray[np.bool_] | None = None
    appended_ms: NDArray[np.int64] | None = None
    logged: NDArray[np.int64] | None = None
    heartbeats: Heartbeats | None = None

    @classmethod
    def of(
        cls,
        series_ids: Sequence[str],
        values: ArrayLike | Sequence[float | None] | Sequence[Sequence[float | None]],
        times_ms: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        *,
        finite: bool = True,
        tick: Tick = MILLISECOND,
    ) -> Readings:
        """Return readings from any sequences, converted and checked.

        ``finite=False`` accepts infinite values and those beyond `LARGEST_VALUE`, and leaves them
        to the policies of the smoothing.

        Raises
        ------
        ReadingError
            If the columns differ in length, a value is infinite, beyond `LARGEST_VALUE` or not a
            number, a weight is neither 0 nor from `SMALLEST_WEIGHT` to `LARGEST_WEIGHT`, or a time
            is not an integer from `EARLIEST_MS` to `LATEST_MS`.

        Examples
        --------
        >>> Readings.of(["a", "b"], [1, 2.5], [0, 1000]).values
        array([1. , 2.5])
        """
        ids = list(series_ids)
        if not set(map(type, ids)) <= {str}:
            raise ReadingError("series ids must be str; convert them, for example with str()")
        column = to_column(values, np.float64, "values", of_values=True)
        times = None if times_ms is None else to_column(times_ms, np.int64, "times_ms")
        weight_column = None if weights is None else to_column(weights, np.float64, "weights")
        optional = [part for part in (times, weight_column) if part is not None]
        if len(column) != len(ids) or any(len(part) != len(ids) for part in optional):
            raise ReadingError(
                f"columns differ in length: {len(ids)} series ids, {len(column)} values"
                + ("" if times is None else f", {len(times)} times")
                + ("" if weight_column is None else f", {len(weight_column)} weights")
            )
        if finite:
            beyond = np.abs(column) > LARGEST_VALUE
            refuse_beyond(ids, "value", column, beyond, f"+-{LARGEST_VALUE:.3g}")
        if times is not None:
            beyond = (times < tick.earliest) | (times > tick.latest)
            years = tick.years.replace(" to ", "-")
            bounds = f"{tick.earliest} and {tick.latest} {tick.unit} (years {years})"
            refuse_beyond(ids, "time", times, beyond, bounds)
        if weight_column is not None:
            refuse_beyond(ids, "weight", weight_column, ~weighable(weight_column), WEIGHTS)
        return cls(ids, column, times, weights=weight_column)

    def __len__(self) -> int:
        return len(self.series_ids)

    def take(self, at: NDArray[np.intp]) -> Readings:
        """Return the readings at positions ``at``, in that order."""
        return Readings(
            taken(self.series_ids, at),
            np.take(self.values.T, at, axis=-1).T,
            None if self.times_ms is None else self.times_ms[at],
            None if self.origins is None else self.origins.take(at),
            None if self.hashes is None else self.hashes[at],
            None if self.weights is None else self.weights[at],
            None if self.originals is None else [self.originals[i] for i in at.tolist()],
            None if self.included is None else taken(self.included, at),
            None if self.clocks_ms is None else self.clocks_ms[at],
            None if self.tombstones is None else self.tombstones[at],
            None if self.appended_ms is None else self.appended_ms[at],
            None if self.logged is None else self.logged[at],
        )

    @staticmethod
    def concat(parts: Sequence[Readings]) -> Readings:
        """Join runs of readings end to end; all must have the same optional columns."""
        if len(parts) == 1:
            return parts[0]
        hashed = all(part.hashes is not None for part in parts)
        return Readings(
            joined([part.series_ids for part in parts]),
            np.concatenate([part.values.T for part in parts], axis=-1).T,
            _concat([part.times_ms for part in parts]),
            _concat_origins([part.origins for part in parts]),
            _concat([part.hashes if hashed else None for part in parts]),
            _concat([part.weights for part in parts]),
            _concat_originals([part.originals for part in parts]),
            _concat_included([part.included for part in parts]),
            _concat([part.clocks_ms for part in parts]),
            _concat([part.tombstones for part in parts]),
            _concat([part.appended_ms for part in parts]),
            _concat([part.logged for part in parts]),
            Heartbeats.concat([part.heartbeats for part in parts], list(map(len, parts))),
        )


class Rejected(NamedTuple):
    """Readings that a policy rejected, and why."""

    readings: Readings
    rejections: list[Rejection]


@dataclass(frozen=True, slots=True, eq=False)
class Smoothed:
    """Readings with their statistics as columns, in the order of the readings.

    Parameters
    ----------
    readings
        The readings that were admitted.
    statistics
        float64[n] by name, in the order of the options; NaN where undefined.
        The exponentially weighted mean is ``"mean"``.
    rejected
        The readings that a policy rejected; ``None`` if there are none.
    tally
        Number of unusual readings by cause.
    transitions
        The transitions of alarms; ``None`` if there are none, or no rules.
    """

    readings: Readings
    statistics: dict[str, NDArray[np.float64]]
    rejected: Rejected | None = None
    tally: Mapping[str, int] = field(default_factory=dict)
    transitions: Transitions | None = None

    def __len__(self) -> int:
        return len(self.readings)

    def take(self, at: NDArray[np.intp]) -> Smoothed:
        """Return the readings at positions ``at`` with their statistics, in that order.

        Without rejected readings and transitions, which belong to the whole run.
        """
        statistics = {name: column[at] for name, column in self.statistics.items()}
        return Smoothed(self.readings.take(at), statistics)


R = TypeVar("R", bound=Sized)


def grouped(runs: Iterable[R], most: int = 8_192) -> Iterator[list[R]]:
    """Group short runs, in order: up to ``most`` items a group, or one run that is longer.

    A step costs the same for one short run as for a group. The default is the number of
    readings that stay in the cache of a processor (measured).

    Examples
    --------
    >>> list(grouped(["a", "bc", "def", "g"], 3))
    [['a', 'bc'], ['def'], ['g']]
    """
    group: list[R] = []
    size = 0
    for run in runs:
        if group and size + len(run) > most:
            yield group
            group, size = [], 0
        group.append(run)
        size += len(run)
    if group:
        yield group


def _concat(columns: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    present = [column for column in columns if column is not None]
    if present and len(present) != len(columns):
        raise ReadingError("some readings have a column (times, weights) that others lack")
    return np.concatenate(present) if present else None


def _concat_originals(originals: list[list[Original] | None]) -> list[Original] | None:
    present = [part for part in originals if part is not None]
    return list(chain.from_iterable(present)) if len(present) == len(originals) else None


def _concat_included(
    columns: list[Sequence[bytes | None] | None],
) -> Sequence[bytes | None] | None:
    present = [column for column in columns if column is not None]
    return joined(present) if present and len(present) == len(columns) else None


def _concat_origins(origins: list[Origins | None]) -> Origins | None:
    present = [origin for origin in origins if origin is not None]
    return Origins.concat(present) if present and len(present) == len(origins) else None
