"""Bytewax operators: exponentially weighted statistics of streams.

Knows Bytewax and what users hand in; must not know Kafka, JSON or files, nor how shards work.

    smooth          (series id, value) -> columns -> shards -> table -> (series id, smoothed)
    smooth_batches                        columns -> shards -> table -> columns
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from itertools import groupby, repeat
from math import inf, nan
from numbers import Integral, Rational, Real
from pathlib import PurePath
from types import NoneType
from typing import Any, NamedTuple

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from ewma_ops.columns.byte_columns import utf8_of
from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.readings import (
    EARLIEST_MS,
    LARGEST_WEIGHT,
    LATEST_MS,
    SMALLEST_WEIGHT,
    WEIGHTS,
    Reading,
    Readings,
    Smoothed,
    SmoothedReading,
    event_key,
)
from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.operators.shards import BatchShard, Due, Piece, Shard, Tables, WarmStart, deal, settle
from ewma_ops.table.smoothing_set import Asked, Family
from ewma_ops.table.table import SeriesTable

__all__ = ["smooth", "smooth_batches"]

Number = float | int | Decimal | Rational | None
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

    def __init__(self, step_id: str, tables: Tables, resume_state: bytes | None) -> None:
        super().__init__(tables, resume_state)
        self._step_id = step_id
        self._names = tuple(map(event_key, tables.family.names))

    def on_batch(self, values: list[_Items | Piece]) -> tuple[Iterable[Iterable[_Out] | Due], bool]:
        out: list[Iterable[_Out] | Due] = []
        with _named(self._step_id):
            shared = self.shared(values[0].shard)
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
    step_id: str,
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
    named = _naming(step_id)
    dealt = op.flat_map_batch("deal", up, named(lambda batch: deal(_checked(batch), shards)))
    due = op.stateful_batch("update", dealt, lambda resumed: BatchShard(tables, resumed))
    return op.flat_map_batch("settle", due, named(settle))


@operator
def smooth(
    step_id: str,
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
        Keyed by series id, a ``str``. A value is a real number (``int``, ``float``, ``Decimal``,
        ``Fraction``, a NumPy scalar, but no ``bool``); or a ``(time, value)`` pair, with the time
        in milliseconds since the epoch (int) or as an aware ``datetime``; or a `Reading`. ``None``
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
        If an option is of another kind or out of bounds, or names do not go together.
    ReadingError
        While the flow runs: if the stream is not keyed, a value is not a number, has no time and
        the decay is by time, or has the policy ``"dead-letter"``, as infinite ones have by
        default. The message names the step, the series and the value.

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
    named = _naming(step_id)
    dealt = op.flat_map_batch("deal", up, named(lambda batch: _deal(batch, shards, family)))
    due = op.stateful_batch("update", dealt, lambda resumed: _ItemShard(step_id, tables, resumed))
    return op.flat_map_batch("settle", due, named(_settle))


def _check_shards(shards: object) -> None:
    whole = isinstance(shards, Integral) and not isinstance(shards, bool)
    if not whole or shards not in range(1, MAX_SHARDS + 1):
        raise ConfigError(f"shards = {shards!r}: give a whole number from 1 to {MAX_SHARDS}")


def _tables(family: Family, shards: int, history: Iterable[Readings] | None) -> Tables:
    if history is None:
        return Tables(family, shards, None)
    if isinstance(history, (str, bytes, PurePath)) or hasattr(history, "__arrow_c_stream__"):
        raise ConfigError(
            f"warm_start is a {type(history).__name__}: give ewma_ops.history.History(...) of it, "
            "or a list of Readings"
        )
    if isinstance(history, (Readings, Iterator)) or not isinstance(history, Iterable):
        raise ConfigError(
            f"warm_start is a {type(history).__name__}, which cannot be iterated over again and "
            "again: give a list of Readings, or a History"
        )
    return Tables(family, shards, WarmStart(history, family, shards))


@contextmanager
def _named(step_id: str) -> Iterator[None]:
    """Have errors about readings name the step."""
    try:
        yield
    except ReadingError as error:
        raise ReadingError(f"{error} (step {step_id!r})") from None


def _naming(step_id: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    def naming(act: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def named(batch: Any) -> Any:
            with _named(step_id):
                return act(batch)

        return named

    return naming


def _checked(runs: list[Readings]) -> list[Readings]:
    for run in runs:
        if not isinstance(run, Readings):
            raise ReadingError(
                f"{_shown(run)} is not Readings: make columns with Readings.of, or use smooth for "
                "(series id, value) pairs"
            )
    return runs


def _deal(
    batch: list[tuple[str, Value]], shards: int, family: Family
) -> Iterable[tuple[str, _Items | Piece]]:
    _check_keys(batch)
    if len(batch) >= _FEW or (family.width > 1 and not family.fields):
        return deal(_to_readings(batch, family), shards)
    runs: dict[int, list[_Item]] = {}
    for item in _to_some(batch, family):
        runs.setdefault(_shard_of(item.series_id, shards), []).append(item)
    return [(str(shard), _Items(shard, items)) for shard, items in runs.items()]


def _check_keys(batch: list[Any]) -> None:
    for item in batch:
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise ReadingError(
                f"{_shown(item)} is not a (series id, value) pair, as smooth takes them: key the "
                "stream first, for example with op.key_on"
            )
        if not isinstance(item[0], str):
            raise ReadingError(
                f"series id {_shown(item[0])} (value {_shown(item[1])}) is not a str: convert it, "
                "for example in op.key_on or with op.map and str()"
            )


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
            yield _to_item(series_id, value, family)


def _to_readings(batch: list[tuple[str, Value]], family: Family) -> Iterable[Readings]:
    """Return columns; where some values have a time or a weight and others none, several."""
    ids = [series_id for series_id, _ in batch]
    values: list[Any] = [value for _, value in batch]
    if family.width == 1 and set(map(type, values)) <= {float, NoneType}:
        return [Readings.of(ids, values, finite=False)]
    items = [_to_item(series_id, value, family) for series_id, value in batch]
    return [
        Readings.of(ids, found, None if untimed else times, None if unweighed else weights,
                    finite=False)
        for (untimed, unweighed), alike in groupby(
            items, lambda item: (item.time_ms is None, item.weight is None)
        )
        for ids, found, times, weights in [zip(*alike, strict=True)]
    ]  # fmt: skip


def _to_item(series_id: str, value: object, family: Family) -> _Item:
    time: object = None
    found: object = value
    weight: float | None = None
    if isinstance(value, Reading):
        time, found = value.time_ms, value.value
        if value.weight is not None:
            weight = _to_weight(series_id, value.weight)
    elif isinstance(value, tuple) and len(value) == 2:
        time, found = value
        if isinstance(found, datetime):
            raise ReadingError(
                f"value {_shown(value)} of series {series_id!r} ends with a time: give "
                "(time, value), the time first"
            )
    time_ms = _to_ms(series_id, time)
    if family.width == 1:
        return _Item(series_id, _to_number(series_id, value, found), time_ms, weight)
    if isinstance(found, Mapping):
        if found and found.keys().isdisjoint(family.fields):
            raise ReadingError(
                f"value {_shown(value)} of series {series_id!r} has none of the fields "
                f"{', '.join(family.fields) or '(they have no names)'}: rename them, or name in "
                "fields= what it has"
            )
        found = [found.get(field) for field in family.fields]
    elif found is None:
        found = [None] * family.width
    if not isinstance(found, (Sequence, np.ndarray)) or len(found) != family.width:
        raise ReadingError(
            f"value {_shown(value)} of series {series_id!r} is not a list of {family.width} "
            f"numbers, or a mapping of {', '.join(family.fields) or 'named fields'}: map it to one"
        )
    numbers = found.tolist() if isinstance(found, np.ndarray) else found
    column = [_to_number(series_id, value, number) for number in numbers]
    return _Item(series_id, column, time_ms, weight)


def _to_number(series_id: str, value: object, number: object) -> float:
    if number is None:
        return nan
    if isinstance(number, bool) or not isinstance(number, (Real, Decimal)):
        hint = ""
        if isinstance(number, Mapping):
            hint = "; several numbers of a mapping are taken by name, with fields=[...]"
        raise ReadingError(
            f"value {_shown(value)} of series {series_id!r} is not a number, a (time, number) "
            f"pair or a Reading: map it to one of them first{hint}"
        )
    try:
        return float(number)
    except OverflowError:  # an int or a Fraction: other numbers become infinite by themselves
        return inf if number > 0 else -inf  # type: ignore[operator] # every number compares
    except ValueError:
        raise ReadingError(
            f"value {_shown(value)} of series {series_id!r} is a signaling NaN: use a quiet one, "
            "or None"
        ) from None


def _to_weight(series_id: str, weight: object) -> float:
    number = _to_number(series_id, weight, weight)
    if number != 0.0 and not SMALLEST_WEIGHT <= number <= LARGEST_WEIGHT:
        raise ReadingError(
            f"weight {_shown(weight)} of series {series_id!r} is out of bounds: give one within "
            f"{WEIGHTS}"
        )
    return number


def _to_ms(series_id: str, time: object) -> int | None:
    if time is None:
        return None
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ReadingError(
                f"time {_shown(time)} of series {series_id!r} must be a datetime with a time zone: "
                "if it is UTC, use time.replace(tzinfo=timezone.utc)"
            )
        return (time - _EPOCH) // _MILLISECOND
    if not isinstance(time, Integral) or isinstance(time, bool):
        raise ReadingError(
            f"time {_shown(time)} of series {series_id!r} must be an int (milliseconds since the "
            "epoch) or a datetime with a time zone; in a pair it comes before the value"
        )
    time_ms = int(time)
    if not EARLIEST_MS <= time_ms <= LATEST_MS:
        raise ReadingError(
            f"time {_shown(time)} of series {series_id!r} is out of bounds: give one within "
            f"{EARLIEST_MS} and {LATEST_MS} ms (years 1-9999)"
        )
    return time_ms


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
