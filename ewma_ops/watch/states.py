"""The state that a series is in: with an alarm, silent, settling, or live.

Knows columns and alarms; must not know who looks.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from ewma_ops.watch.alarms import Alarm
from ewma_ops.watch.book import Book
from ewma_ops.watch.columns import Columns, MeasureColumns

__all__ = ["in_states", "state_of"]

_SETTLED = 0.95
_STALE_GAPS, _STALE_LEAST_S = 10.0, 5.0


def in_states(
    columns: Columns, of: MeasureColumns, rows: NDArray[np.intp], states: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Return which rows are in some of the states "alarm", "stale" and "settling"."""
    kept = np.zeros(len(rows), np.bool_)
    if "alarm" in states:
        kept |= columns.alarm[rows] != 0
    if "stale" in states:
        limit = np.maximum(_STALE_GAPS * columns.gap_s[rows], _STALE_LEAST_S)
        kept |= time.time() - columns.seen_s[rows] > limit
    if "settling" in states:
        kept |= of.settled[rows] < _SETTLED
    return kept


def state_of(book: Book, of: MeasureColumns, row: int, now_s: float) -> list[str]:
    """Return the kind of the state of a series, and its words."""
    columns, measure, known = book.columns, of.measure, book.alarms
    if known is not None and columns.alarm[row]:
        on = known.of(book.name(row))
        words = ", ".join(f"{one.rule} {_side(one)}".strip() for one in on)
        return [f"alarm {on[0].direction}".strip() if on else "alarm", words or "alarm"]
    average, settled = float(of.average[row]), float(of.settled[row])
    if now_s - columns.seen_s[row] > max(_STALE_GAPS * columns.gap_s[row], _STALE_LEAST_S):
        return ["stale", "silent"]
    if measure.average is not None and average != average:
        return ["settling", "no average yet"]
    if measure.settled is not None and settled < _SETTLED:
        return ["settling", f"settling {100 * settled:.0f} %"]
    return ["live", "live"]


def _side(alarm: Alarm) -> str:
    """Say what is wrong with a series, where its rule knows."""
    return "silent" if alarm.kind == "stale" and alarm.rule != "silent" else alarm.direction
