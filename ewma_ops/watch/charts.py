"""What the chart of a series shows: its points, alarms and forecast.

Knows the book and what a chart draws; must not know browsers, or how much of it is sent.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ewma_ops.watch.book import Book
from ewma_ops.watch.changes import Sent
from ewma_ops.watch.columns import MeasureColumns
from ewma_ops.watch.deep import FORECAST, TIME, Deep, Drawn, Whole, drawn
from ewma_ops.watch.finite import finite
from ewma_ops.watch.outlook import ahead, axis
from ewma_ops.watch.plain import sentence
from ewma_ops.watch.states import state_of
from ewma_ops.watch.view import View

__all__ = ["chart"]


def chart(
    book: Book, view: View, series_id: str, row: int, deep: Deep, sent: Sent
) -> dict[str, Any]:
    """Return what the chart of a series shows; the lock is held.

    Parameters
    ----------
    book
        What is known.
    view
        Which span of it is looked at, and how wide.
    series_id, row
        The series.
    deep
        Its readings.
    sent
        What who looks has of it: only the points that are new are returned.
    """
    of, known = book.measure(view.measure), book.alarms
    whole, outlook = deep.whole(), of.measure.outlook
    numbers = whole.numbers
    begin, end = -np.inf, np.inf
    if len(numbers):
        newest = float(numbers[-1, 0])
        if view.between is not None:
            begin, end = view.between
        elif view.span > 0:
            begin = newest - view.span
    lead = outlook.lead if outlook is not None and outlook.forecasts else None
    seen = drawn(whole, view.width, begin, end, lead=lead)
    now, newest_s = time.time(), float(book.columns.time_s[row])
    return {
        "id": series_id,
        "known": True,
        **sent.points(series_id, seen),
        "late": seen.late,
        "late_at": seen.late_at,
        "whole": float(numbers[-1, 0] - numbers[0, 0]) if len(numbers) else 0.0,
        "settled_from": seen.settled_from,
        "readings": seen.readings,
        "is_read": deep.is_read,
        "note": deep.note if deep.is_read else "reading what was written before …",
        "state": state_of(book, of, row, now),
        "last": [finite(of.value[row]), finite(of.average[row]), finite(of.z[row])],
        "std": finite(of.std[row]),
        "sem": finite(of.sem[row]),
        "settled": finite(of.settled[row]),
        "outlook": None if outlook is None else _ahead(view, of, row, whole, seen),
        "at": newest_s,
        "alarms": []
        if known is None
        else [span._asdict() for span in known.spans(series_id, newest_s)],
        "on": [] if known is None else [known.shown(one) for one in known.of(series_id)],
        "total": int(book.columns.count[row]),
    }


def _ahead(
    view: View, of: MeasureColumns, row: int, whole: Whole, seen: Drawn
) -> dict[str, Any] | None:
    """Return where a series is going: the newest numbers, and what its chart draws."""
    outlook, newest = of.measure.outlook, of.newest_outlook(row)
    assert outlook is not None
    shown = {name: finite(number) for name, number in newest.items()}
    if shown.get("trend") is not None:
        shown["trend"] = newest["trend"] * outlook.unit[1]
    times = whole.numbers[:, TIME]
    drawn_ahead = None
    if len(times):
        at = float(times[-1])
        # As much as there is behind, so that a far horizon leaves half of the chart to it.
        shown_s = min(at - float(times[0]), view.span or np.inf)
        most = shown_s or np.inf if view.between is None else view.between[1] - at
        if most > 0:
            drawn_ahead = ahead(outlook, newest, times, whole.numbers[:, FORECAST], most)
    said = sentence(outlook, shown, seen.forecasts).replace("-", "\N{MINUS SIGN}")
    past = np.zeros(0) if seen.past_forecast is None else seen.past_forecast
    readings = np.array([seen.value, seen.average, seen.lower, seen.upper])
    room = axis(readings, past, drawn_ahead)
    return {**shown, "ahead": drawn_ahead, "axis": room, "sentence": said}
