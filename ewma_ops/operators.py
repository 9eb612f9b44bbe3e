"""Bytewax operators: exponentially weighted statistics of streams.

Knows Bytewax and what users hand in; must not know Kafka, JSON or files, nor how shards work.

    smooth          (series id, value) -> columns -> shards -> table -> (series id, smoothed)
    smooth_batches                        columns -> shards -> table -> columns
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from itertools import repeat
from math import nan
from numbers import Integral, Real
from types import NoneType
from typing import Any, NamedTuple

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.family import Asked, Family
from ewma_ops.murmur2 import murmur2
from ewma_ops.readings import (
    Reading,
    Readings,
    Smoothed,
    SmoothedReading,
    event_key,
)
from ewma_ops.shards import (
    BatchShard,
    Due,
    Piece,
    Shard,
    ShardState,
    Tables,
    WarmStart,
    deal,
    settle,
)
from ewma_ops.spans import utf8_of
from ewma_ops.table import SeriesTable

__all__ = ["smooth", "smooth_batches"]

Number = float | int | None
Fields = Number | Sequence[Number] | Mapping[str, Number]
Value = Fields | tuple[int | datetime, Fields] | Reading
"""What `smooth` takes of a series: a value, a (time, value) pair, or a reading."""

_Out = tuple[str, SmoothedReading]

Smoothings = Asked | Mapping[str, Asked] | Family

MAX_SHARDS = 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


_FEW = 128
"""Fewer readings than this are quicker as items than as columns (measured)."""


class _Item(NamedTuple):
    """One reading on its way to its shard."""

    series_id: str
    value: float | list[float]
    time_ms: int | None
    weight: float | None


class _Items(NamedTuple):
    """A few readings on their way to their shard."""

    shard: int
    items: list[_Item]


class _ItemShard(Shard["_Items | Piece", "Iterable[_Out] | Due"]):
    """One shard of `smooth`: few readings go on item by item, others by the column."""

    def __init__(self, tables: Tables, resume_state: ShardState | None) -> None:
        super().__init__(tables, resume_state)
        self._names = tuple(map(event_key, tables.family.names))

    def on_batch(self, values: list[_Items | Piece]) -> tuple[Iterable[Iterable[_Out] | Due], bool]:
        shared = self.shared(values[0].shard)
        out: list[Iterable[_Out] | Due] = []
        for value in values:
            if isinstance(value, Piece):
                out.append(shared.put_by(value))
            else:
                shared.settle()
                out.append([self._step(shared.table, item) for item in value.items])
        return out, StatefulBatchLogic.RETAIN

    def _step(self, table: SeriesTable, item: _Item) -> _Out:
        series_id, value, time_ms, weight = item
        results = table.step(series_id, value, time_ms, weight)
        if self._names == ("ewma",):
            return series_id, SmoothedReading(value, results[0], time_ms)
        statistics = dict(zip(self._names, results, strict=True))
        ewma = statistics.pop("ewma", nan)
        return series_id, SmoothedReading(value, ewma, time_ms, statistics)


@operator
def smooth_batches(
    step_id: str,  # noqa: ARG001 - Bytewax's decorator uses it
    up: Stream[Readings],
    smoothing: Smoothings,
    shards: int = 16,
    fields: Sequence[str] | int = 1,
    warm_start: Iterable[Readings] | None = None,
) -> Stream[Smoothed]:
    """Smooth columns of readings: the fast way, with no Python object a reading.

    Parameters
    ----------
    step_id
        Unique id of the step.
    up
        Runs of readings of any number of series, each series' own in order.
    smoothing
        What to compute: one `Smoothing` or `Composite`, or several by name, all in one pass.
    shards
        1 to 1024 parts among which the series are dealt, hence the most workers that can
        share the step. Fixed for the life of a recovery store: state is kept by shard.
    fields
        Names of the fields of a reading, or how many numbers its value is a vector of.
    warm_start
        Readings that came before the stream, such as a list of them or a `History`: what comes
        out is as if they had been streamed, themselves left out. Every process takes all of them
        in, once, when it first meets a shard without state; a shard that resumes does not look
        at them. So they must be the same at every start, and can be iterated over again.

    Returns
    -------
    Stream
        The readings with their statistics: each series' in order. What has the policy
        ``"dead-letter"`` does not enter, and is in ``rejected``.

    Raises
    ------
    ConfigError
        If ``shards`` is out of bounds, or names do not go together.

    Notes
    -----
    Recoverable and rescalable: the state of each shard is a snapshot of its table. Outputs do not
    depend, in one bit, on the batches, the shards or the workers.

    Examples
    --------
    >>> import bytewax.operators as op
    >>> import ewma_ops.operators as ew
    >>> from bytewax.dataflow import Dataflow
    >>> from bytewax.testing import TestingSink, TestingSource, run_main
    >>> from ewma_ops import Decay, Smoothing
    >>> flow, out = Dataflow("columns"), []
    >>> up = op.input("in", flow, TestingSource([Readings.of(["a", "a"], [1.0, 4.0])]))
    >>> smoothed = ew.smooth_batches("smooth", up, Smoothing(Decay(beta=0.5)))
    >>> op.output("out", smoothed, TestingSink(out))
    >>> run_main(flow)
    >>> out[0].statistics["mean"]
    array([1., 3.])
    """
    _check_shards(shards)
    tables = _tables(Family.of(smoothing, fields), shards, warm_start)
    dealt = op.flat_map_batch("deal", up, lambda batch: deal(batch, shards))
    due = op.stateful_batch("update", dealt, lambda resumed: BatchShard(tables, resumed))
    return op.flat_map_batch("settle", due, settle)


@operator
def smooth(
    step_id: str,  # noqa: ARG001 - Bytewax's decorator uses it
    up: KeyedStream[Value],
    smoothing: Smoothings,
    shards: int = 16,
    fields: Sequence[str] | int = 1,
    warm_start: Iterable[Readings] | None = None,
) -> KeyedStream[SmoothedReading]:
    """Smooth the values of each key: one more operator for any dataflow.

    Parameters
    ----------
    step_id
        Unique id of the step.
    up
        Keyed by series id. A value is a number; or a ``(time, value)`` pair, with the time in
        milliseconds since the epoch (int) or as an aware ``datetime``; or a `Reading`. ``None``
        or NaN is a missing reading. With several fields, a list of numbers or a mapping by name
        stands for the number. Within a series, in order.
    smoothing, shards, fields, warm_start
        As for `smooth_batches`.

    Returns
    -------
    KeyedStream
        A `SmoothedReading` for each value, keyed by series id: a series' own in order.

    Raises
    ------
    ConfigError
        If ``shards`` is out of bounds, or names do not go together.
    ReadingError
        While the flow runs: if a value is not a number, has no time and the decay is by time, or
        has the policy ``"dead-letter"``, as infinite ones have unless told otherwise. The message
        names the series and the value.

    Examples
    --------
    >>> import bytewax.operators as op
    >>> import ewma_ops.operators as ew
    >>> from bytewax.dataflow import Dataflow
    >>> from bytewax.testing import TestingSink, TestingSource, run_main
    >>> from ewma_ops import Decay, Smoothing
    >>> flow, out = Dataflow("ticks"), []
    >>> ticks = op.input("in", flow, TestingSource([("a", 1.0), ("a", 4.0)], batch_size=2))
    >>> smoothed = ew.smooth("smooth", ticks, Smoothing(Decay(beta=0.5)))
    >>> op.output("out", smoothed, TestingSink(out))
    >>> run_main(flow)
    >>> [(series_id, reading.ewma) for series_id, reading in out]
    [('a', 1.0), ('a', 3.0)]
    """
    _check_shards(shards)
    family = Family.of(smoothing, fields)
    tables = _tables(family, shards, warm_start)
    dealt = op.flat_map_batch("deal", up, lambda batch: _deal(batch, shards, family))
    due = op.stateful_batch("update", dealt, lambda resumed: _ItemShard(tables, resumed))
    return op.flat_map_batch("settle", due, _settle)


def _check_shards(shards: int) -> None:
    if shards not in range(1, MAX_SHARDS + 1):
        raise ConfigError(f"shards = {shards!r}: give a whole number from 1 to {MAX_SHARDS}")


def _tables(family: Family, shards: int, history: Iterable[Readings] | None) -> Tables:
    return Tables(family, shards, None if history is None else WarmStart(history, family, shards))


def _deal(
    batch: list[tuple[str, Value]], shards: int, family: Family
) -> Iterable[tuple[str, _Items | Piece]]:
    if len(batch) >= _FEW or (family.width > 1 and not family.fields):
        return deal([_to_readings(batch, family)], shards)
    runs: dict[int, list[_Item]] = {}
    for item in _to_some(batch, family):
        runs.setdefault(_shard_of(item.series_id, shards), []).append(item)
    return [(str(shard), _Items(shard, items)) for shard, items in runs.items()]


def _settle(batch: list[tuple[str, Iterable[_Out] | Due]]) -> Iterable[_Out]:
    out: list[_Out] = []
    for _, value in batch:
        if isinstance(value, Due):
            for smoothed in value.take():
                out += _to_items(smoothed)
        else:
            out += value
    return out


@lru_cache(maxsize=1 << 16)
def _shard_of(series_id: str, shards: int) -> int:
    return murmur2(utf8_of(series_id)) % shards


def _to_items(smoothed: Smoothed) -> Iterable[_Out]:
    if smoothed.rejected is not None:
        raise ReadingError(smoothed.rejected.rejections[0].detail)
    readings = smoothed.readings
    statistics = {event_key(name): column for name, column in smoothed.statistics.items()}
    times = repeat(None) if readings.times_ms is None else readings.times_ms.tolist()
    ewma = statistics.pop("ewma", None)
    means = repeat(nan) if ewma is None else ewma.tolist()
    columns = [readings.values.tolist(), means, times]
    if statistics:
        rows = zip(*(column.tolist() for column in statistics.values()), strict=True)
        columns.append([dict(zip(statistics, row, strict=True)) for row in rows])
    return list(zip(readings.series_ids, map(SmoothedReading, *columns), strict=True))


def _to_some(batch: list[tuple[str, Value]], family: Family) -> Iterable[_Item]:
    """Check a few values without the overhead of columns."""
    plain = family.width == 1
    for series_id, value in batch:
        if plain and type(value) is float:
            yield _Item(series_id, value, None, None)
        else:
            reading = _to_readings([(series_id, value)], family)
            times, weights = reading.times_ms, reading.weights
            yield _Item(
                series_id,
                reading.values[0].tolist(),
                None if times is None else int(times[0]),
                None if weights is None else float(weights[0]),
            )


def _to_readings(batch: list[tuple[str, Value]], family: Family) -> Readings:
    try:
        ids = [series_id for series_id, _ in batch]
        values: list[Any] = [value for _, value in batch]
    except (TypeError, ValueError):
        raise ReadingError(
            "smooth takes a keyed stream of (series id, value): make one with op.key_on"
        ) from None
    if family.width == 1 and set(map(type, values)) <= {float, int, NoneType}:
        return Readings.of(ids, values, finite=False)
    readings = [_to_reading(series_id, value, family) for series_id, value in batch]
    column: Any = [reading.value for reading in readings]
    return Readings.of(
        ids,
        column,
        _given("time", ids, [reading.time_ms for reading in readings]),
        _given("weight", ids, [reading.weight for reading in readings]),
        finite=False,
    )


def _given(what: str, ids: list[str], column: list[Any]) -> list[Any] | None:
    without = column.count(None)
    if 0 < without < len(column):
        raise ReadingError(
            f"series {ids[column.index(None)]!r} has a value without a {what} among others with "
            f"one: give every value a {what}, or none"
        )
    return None if without else column


def _to_reading(series_id: str, value: object, family: Family) -> Reading:
    time: object
    found: object
    weight: float | None = None
    if isinstance(value, Reading):
        time, found, weight = value.time_ms, value.value, value.weight
    elif isinstance(value, tuple) and len(value) == 2:
        time, found = value
    else:
        time, found = None, value
    time_ms = _to_ms(series_id, time)
    if family.width == 1:
        return Reading(_to_number(series_id, value, found), time_ms, weight)
    if isinstance(found, Mapping):
        found = [found.get(field) for field in family.fields]
    elif found is None:
        found = [None] * family.width
    if not isinstance(found, (Sequence, np.ndarray)) or len(found) != family.width:
        raise ReadingError(
            f"value {value!r} of series {series_id!r} is not a list of {family.width} numbers, or "
            f"a mapping of {', '.join(family.fields) or 'named fields'}"
        )
    numbers = found.tolist() if isinstance(found, np.ndarray) else found
    return Reading([_to_number(series_id, value, number) for number in numbers], time_ms, weight)


def _to_number(series_id: str, value: object, number: object) -> float:
    if number is None:
        return nan
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ReadingError(
            f"value {value!r} of series {series_id!r} is not a number, a (time, number) pair or a "
            "Reading: map it to one of them first"
        )
    return float(number)


def _to_ms(series_id: str, time: object) -> int | None:
    if time is None:
        return None
    if isinstance(time, datetime) and time.tzinfo is not None:
        return (time - _EPOCH) // _MILLISECOND
    if isinstance(time, Integral) and not isinstance(time, bool):
        return int(time)
    raise ReadingError(
        f"time {time!r} of series {series_id!r} must be an int (milliseconds since the epoch) or "
        "a datetime with a time zone"
    )
