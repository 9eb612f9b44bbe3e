"""Items of a keyed stream to readings and back: few one by one, many as columns.

Knows the types of input and output items; must not know how shards work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from itertools import groupby, repeat
from math import inf, nan
from numbers import Integral, Rational, Real
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
from bytewax.operators import StatefulBatchLogic

from ewma_ops.columns.byte_columns import utf8_of
from ewma_ops.columns.event_names import event_key
from ewma_ops.columns.murmur2 import partition_of_key
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
)
from ewma_ops.columns.transitions import Transition
from ewma_ops.errors import ReadingError, shown
from ewma_ops.operators.placement import shard_keys
from ewma_ops.operators.routing import ShardBatch, route
from ewma_ops.operators.shards import PendingBatch, Shard, Tables
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

__all__ = [
    "Fields",
    "ItemShard",
    "Number",
    "Value",
    "check_readings",
    "flush_items",
    "route_items",
    "with_step_name",
]


Number = float | int | Decimal | Rational | None
Fields = Number | Sequence[Number] | Mapping[str, Number]
Value = Fields | tuple[int | datetime, Fields] | Reading
"""An input of `smooth` for a series: a value, a (time, value) pair, or a reading."""

_Out = tuple[str, SmoothedReading]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)

_FEW = 128
"""Fewer readings than this are faster as items than as columns (measured)."""


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


class ItemShard(Shard["_Items | ShardBatch", "Iterable[_Out] | PendingBatch"]):
    """One shard of `smooth`: few readings are processed as items, many as columns."""

    def __init__(self, step_id: str, tables: Tables, resume_state: bytes | None) -> None:
        super().__init__(tables, resume_state)
        self._step_id = step_id
        self._names = tuple(map(event_key, tables.names))
        self._rules = () if tables.alarms is None else tables.alarms.names

    def on_batch(
        self, values: list[_Items | ShardBatch]
    ) -> tuple[Iterable[Iterable[_Out] | PendingBatch], bool]:
        """Smooth single readings; queue columns until the next flush."""
        out: list[Iterable[_Out] | PendingBatch] = []
        try:
            worker_table = self.worker_table(values[0].shard)
            for value in values:
                if isinstance(value, ShardBatch):
                    out.append(worker_table.enqueue(value))
                else:
                    worker_table.flush()
                    out.append([self._step(worker_table.table, item) for item in value.items])
                    worker_table.maintain(len(value.items))
        except ReadingError as error:
            raise _named(error, self._step_id) from None
        return out, StatefulBatchLogic.RETAIN

    def _step(self, table: SeriesTable, item: _Item) -> _Out:
        series_id, value, time_ms, weight = item
        results = table.step(series_id, value, time_ms, weight)
        if self._names == ("ewma",) and not self._rules:
            return series_id, SmoothedReading(value, results[0], time_ms)
        statistics = dict(zip(self._names, results, strict=True))
        ewma = statistics.pop("ewma", nan)
        transitions = table.pop_transitions() if self._rules else None
        alarms = [] if transitions is None else transitions.single(self._rules)
        return series_id, SmoothedReading(value, ewma, time_ms, statistics, alarms)


def _named(error: ReadingError, step_id: str) -> ReadingError:
    """Return an error about readings with the name of the step."""
    return ReadingError(f"{error} (step {step_id!r})")


def with_step_name(step_id: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Return a decorator that adds the name of a step to errors about readings."""

    def naming(act: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def named(batch: Any) -> Any:
            try:
                return act(batch)
            except ReadingError as error:
                raise _named(error, step_id) from None

        return named

    return naming


def check_readings(runs: list[Readings]) -> list[Readings]:
    """Refuse a batch of anything but `Readings`."""
    for run in runs:
        if not isinstance(run, Readings):
            raise ReadingError(
                f"{shown(run)} is not Readings: make columns with Readings.of, or use smooth for "
                "(series id, value) pairs"
            )
    return runs


def route_items(
    batch: list[tuple[str, Value]],
    shards: int,
    smoothing_set: SmoothingSet,
    *,
    all_here: bool = False,
) -> Iterable[tuple[str, _Items | ShardBatch]]:
    """Route values to shards: few as items, many as columns."""
    _check_keys(batch)
    if len(batch) >= _FEW or (smoothing_set.width > 1 and not smoothing_set.fields):
        return route(_to_readings(batch, smoothing_set), shards, all_here=all_here)
    runs: dict[int, list[_Item]] = {}
    for item in _to_some(batch, smoothing_set):
        runs.setdefault(_shard_of(item.series_id, shards), []).append(item)
    keys = shard_keys(shards)
    return [(keys[shard], _Items(shard, items)) for shard, items in runs.items()]


def _check_keys(batch: list[Any]) -> None:
    for item in batch:
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise ReadingError(
                f"{shown(item)} is not a (series id, value) pair, as smooth expects: key the "
                "stream first, for example with op.key_on"
            )
        if not isinstance(item[0], str):
            raise ReadingError(
                f"series id {shown(item[0])} (value {shown(item[1])}) is not a str: convert it, "
                "for example in op.key_on or with op.map and str()"
            )


def flush_items(
    batch: list[tuple[str, Iterable[_Out] | PendingBatch]], rules: Sequence[str] = ()
) -> Iterable[_Out]:
    """Return the smoothed items, in order; queued columns are flushed. ``rules``: names."""
    out: list[_Out] = []
    for _, value in batch:
        if isinstance(value, PendingBatch):
            for smoothed in value.pop_smoothed():
                out += _to_items(smoothed, rules)
        else:
            out += value
    return out


@lru_cache(maxsize=1 << 16)
def _shard_of(series_id: str, shards: int) -> int:
    return partition_of_key(utf8_of(series_id), shards)


def _to_items(smoothed: Smoothed, rules: Sequence[str]) -> Iterable[_Out]:
    if smoothed.rejected is not None:
        raise ReadingError(smoothed.rejected.rejections[0].detail)
    readings = smoothed.readings
    statistics = {event_key(name): column for name, column in smoothed.statistics.items()}
    times = repeat(None) if readings.times_ms is None else readings.times_ms.tolist()
    ewma = statistics.pop("ewma", None)
    means = repeat(nan) if ewma is None else ewma.tolist()
    columns: list[Any] = [readings.values.tolist(), means, times]
    if statistics:
        rows = zip(*(column.tolist() for column in statistics.values()), strict=True)
        columns.append([dict(zip(statistics, row, strict=True)) for row in rows])
    transitions = smoothed.transitions
    if transitions is not None and transitions.places is not None:
        if not statistics:
            columns.append([{} for _ in range(len(readings))])
        alarms: list[list[Transition]] = [[] for _ in range(len(readings))]
        for at, one in zip(transitions.places.tolist(), transitions.single(rules), strict=True):
            alarms[at].append(one)
        columns.append(alarms)
    return list(zip(readings.series_ids, map(SmoothedReading, *columns), strict=True))


def _to_some(batch: list[tuple[str, Value]], smoothing_set: SmoothingSet) -> Iterable[_Item]:
    """Check a few values without the overhead of columns."""
    plain = smoothing_set.width == 1
    for series_id, value in batch:
        if plain and type(value) is float:
            yield _Item(series_id, value, None, None)
        else:
            yield _to_item(series_id, value, smoothing_set)


def _to_readings(batch: list[tuple[str, Value]], smoothing_set: SmoothingSet) -> Iterable[Readings]:
    """Return columns: several if only some of the values have a time or a weight."""
    ids = [series_id for series_id, _ in batch]
    values: list[Any] = [value for _, value in batch]
    if smoothing_set.width == 1 and set(map(type, values)) <= {float, NoneType}:
        return [Readings.of(ids, values, finite=False)]
    items = [_to_item(series_id, value, smoothing_set) for series_id, value in batch]
    return [
        Readings.of(ids, found, None if untimed else times, None if unweighed else weights,
                    finite=False)
        for (untimed, unweighed), alike in groupby(
            items, lambda item: (item.time_ms is None, item.weight is None)
        )
        for ids, found, times, weights in [zip(*alike, strict=True)]
    ]  # fmt: skip


def _to_item(series_id: str, value: object, smoothing_set: SmoothingSet) -> _Item:
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
                f"value {shown(value)} of series {shown(series_id)} ends with a time: give "
                "(time, value), the time first"
            )
    time_ms = _to_ms(series_id, time)
    if smoothing_set.width == 1:
        return _Item(series_id, _to_number(series_id, value, found), time_ms, weight)
    if isinstance(found, Mapping):
        if found and found.keys().isdisjoint(smoothing_set.fields):
            raise ReadingError(
                f"value {shown(value)} of series {shown(series_id)} has none of the fields "
                f"{', '.join(smoothing_set.fields) or '(they have no names)'}: rename them, or "
                "name its fields in fields="
            )
        found = [found.get(field) for field in smoothing_set.fields]
    elif found is None:
        found = [None] * smoothing_set.width
    if not isinstance(found, (Sequence, np.ndarray)) or len(found) != smoothing_set.width:
        names = ", ".join(smoothing_set.fields) or "named fields"
        raise ReadingError(
            f"value {shown(value)} of series {shown(series_id)} is not a list of "
            f"{smoothing_set.width} numbers, or a mapping of {names}: map it to one"
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
            f"value {shown(value)} of series {shown(series_id)} is not a number, a (time, number) "
            f"pair or a Reading: map it to one of them first{hint}"
        )
    try:
        return float(number)
    except OverflowError:  # only int and Fraction raise: other numbers become infinite
        return inf if number > 0 else -inf  # type: ignore[operator] # every number compares
    except ValueError:
        raise ReadingError(
            f"value {shown(value)} of series {shown(series_id)} is a signaling NaN: use a quiet "
            "one, or None"
        ) from None


def _to_weight(series_id: str, weight: object) -> float:
    number = _to_number(series_id, weight, weight)
    if number != 0.0 and not SMALLEST_WEIGHT <= number <= LARGEST_WEIGHT:
        raise ReadingError(
            f"weight {shown(weight)} of series {shown(series_id)} is out of bounds: give one "
            f"within {WEIGHTS}"
        )
    return number


def _to_ms(series_id: str, time: object) -> int | None:
    if time is None:
        return None
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ReadingError(
                f"time {shown(time)} of series {shown(series_id)} must be a datetime with a time "
                "zone: if it is UTC, use time.replace(tzinfo=timezone.utc)"
            )
        return (time - _EPOCH) // _MILLISECOND
    if not isinstance(time, Integral) or isinstance(time, bool):
        raise ReadingError(
            f"time {shown(time)} of series {shown(series_id)} must be an int (milliseconds since "
            "the epoch) or a datetime with a time zone; in a pair it comes before the value"
        )
    time_ms = int(time)
    if not EARLIEST_MS <= time_ms <= LATEST_MS:
        raise ReadingError(
            f"time {shown(time)} of series {shown(series_id)} is out of bounds: give one within "
            f"{EARLIEST_MS} and {LATEST_MS} ms (years 1-9999)"
        )
    return time_ms
