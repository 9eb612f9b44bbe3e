"""The limits of payloads, ids and times, and rejections beyond them.

Knows columns of numbers, text and bytes; must not know documents, paths or formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.serde.format import Reasons

__all__ = [
    "are_within",
    "items_where",
    "places_of_nulls",
    "record_times",
    "reject_long_ids",
    "reject_outside",
]

_MOST_UTF8 = 4
"""Most bytes of a character."""


def places_of_nulls(payloads: Sequence[bytes | None]) -> NDArray[np.intp]:
    """Return the places of payloads that are null."""
    if isinstance(payloads, BytesColumn):
        return np.flatnonzero(payloads.stops < payloads.starts)
    return np.array([place for place, one in enumerate(payloads) if one is None], np.intp)


def record_times(times_ms: NDArray[np.int64], rejected: Reasons) -> NDArray[np.int64]:
    """Return records' timestamps; reject those that are absent or outside the years 1 to 9999."""
    for i, time_ms in items_where(times_ms, times_ms < 0):
        rejected.setdefault(i, ("no-time", f"the record's timestamp is {time_ms}"))
    reject_outside(times_ms, "the record's timestamp", rejected, MILLISECOND)
    return times_ms


def reject_outside(
    times: NDArray[Any],
    name: str,
    rejected: Reasons,
    tick: Tick,
    hint: Callable[[float], str] = lambda _: "",
) -> None:
    """Reject times outside the years of the tick; ``hint`` says what a number may have meant."""
    if are_within(times, tick.earliest, tick.latest):
        return
    for i, time in items_where(times, (times < tick.earliest) | (times > tick.latest)):
        shown = f"{time:.16g} ms" if tick.per_ms == 1 else tick.shown(time)
        detail = f"{name} is {shown}, outside the years {tick.years}{hint(time)}"
        rejected.setdefault(i, ("time-out-of-range", detail))


def reject_long_ids(ids: Sequence[str], max_bytes: int, rejected: Reasons) -> None:
    """Reject series ids of more than ``max_bytes`` bytes of UTF-8."""
    if not isinstance(ids, TextColumn):
        if _MOST_UTF8 * max(map(len, ids), default=0) <= max_bytes:
            return
        ids = TextColumn.of(ids)
    sizes = ids.utf8.sizes
    for i, size in items_where(sizes, sizes > max_bytes):
        detail = f"the series id has {size} bytes, at most {max_bytes} (input.max_id_bytes)"
        rejected.setdefault(i, ("id-too-long", detail))


def items_where(column: NDArray[Any], where: NDArray[np.bool_]) -> Iterator[tuple[int, Any]]:
    """Return place and value of some items as Python objects, which are faster to loop over."""
    return zip(np.flatnonzero(where).tolist(), column[where].tolist(), strict=True)


def are_within(column: NDArray[Any], low: float, high: float) -> bool:
    """Return whether all are within bounds; a NaN is not."""
    return not len(column) or bool(low <= column.min() and column.max() <= high)
