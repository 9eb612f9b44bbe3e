"""Table ``[smooth]`` of the configuration file, and what it requires of the other tables.

Knows the keys besides the smoothings, which ``smooth.py`` reads; must not know Kafka.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.errors import ConfigError
from ewma_ops.serde.paths import parse_path
from ewma_ops.settings.alarms_table import used_by_rules
from ewma_ops.settings.model import Input
from ewma_ops.settings.smooth import read_smoothings
from ewma_ops.settings.tables import find_table, read_value, refuse_unknown_keys, suggestion
from ewma_ops.settings.values import duration, file_path
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = ["SmoothTable", "read_smooth"]

_SHARDS = (Annotated[int, Meta(ge=1, le=1024)], "a whole number from 1 to 1024")
_Ahead = Literal["dead-letter", "clip"]


class SmoothTable(NamedTuple):
    """The values of ``[smooth]``, by attributes of `ewma_ops.settings.model.Settings`."""

    smoothing_set: SmoothingSet
    shards: int
    warm_start: Path | None
    max_ahead: int | None
    ahead: _Ahead


def read_smooth(
    tables: dict[str, Any], input_: Input | None, mistakes: list[str]
) -> SmoothTable | None:
    """Read the table; ``None`` if it, or ``[input]``, which it depends on, has mistakes."""
    values = find_table("smooth", tables, mistakes)
    if values is None:
        return None
    refuse_unknown_keys("smooth", values, mistakes)
    smoothings = read_smoothings(values, mistakes, suggestion, used_by_rules(tables))
    shards = 16
    if "shards" in values:
        convert = partial(msgspec.convert, type=_SHARDS[0])
        shards = read_value("smooth", "shards", values, convert, _SHARDS[1], mistakes)
    warm_start = None
    if "warm_start" in values:
        bound = "the path of a Parquet file, as text"
        warm_start = read_value("smooth", "warm_start", values, file_path, bound, mistakes)
    max_ahead, ahead = _read_ahead(values, input_, mistakes)
    if smoothings is None or input_ is None:
        return None
    paths = (input_.value,) if isinstance(input_.value, str) else input_.value
    fields = [parse_path(path).name for path in dict.fromkeys(paths)]  # twice: said of [input]
    try:
        smoothing_set = SmoothingSet.of(smoothings, fields, values.get("forget_after"), input_.tick)
    except ConfigError as error:
        mistakes.append(f"[smooth] {error}")
        return None
    if smoothing_set.by_volume and input_.weight is None:
        mistakes.append('weighting "volume" needs input.weight; add weight = "volume" to [input]')
    if input_.weight is not None and not smoothing_set.by_volume:
        mistakes.append('input.weight is not used; add weighting = "volume" to [smooth]')
    return SmoothTable(smoothing_set, shards, warm_start, max_ahead, ahead)


def _read_ahead(
    values: dict[str, Any], input_: Input | None, mistakes: list[str]
) -> tuple[int | None, _Ahead]:
    """Return how far an event time may be ahead, and the policy for a later one."""
    max_ahead: int | None = None
    ahead: _Ahead = "dead-letter"
    if "max_ahead" in values:
        tick = MILLISECOND if input_ is None else input_.tick
        bound = 'a duration such as "5min"'
        max_ahead = read_value(
            "smooth", "max_ahead", values, partial(_ticks, tick=tick), bound, mistakes
        )
        if max_ahead is not None and input_ is not None and input_.time is None:
            mistakes.append("smooth.max_ahead needs an event time in the message; add input.time")
    if "ahead" in values:
        ahead = read_value("smooth", "ahead", values, partial(msgspec.convert, type=_Ahead),
                       '"dead-letter" or "clip"', mistakes)  # fmt: skip
        if ahead is not None and "max_ahead" not in values:
            mistakes.append('smooth.ahead needs a bound; add max_ahead = "5min" to [smooth]')
    return max_ahead, ahead


def _ticks(value: object, tick: Tick) -> int:
    duration(value)  # refuses a duration longer than any
    return whole_ticks("max_ahead", value, tick.per_ms)
