"""Rows of the table, and readings of a chart, all of them: to be written as CSV.

Knows the book; must not know how a row is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ewma_ops.columns.ticks import iso_moment
from ewma_ops.watch.book import Book
from ewma_ops.watch.columns import MeasureColumns
from ewma_ops.watch.deep import AVERAGE, FORECAST, LOWER, TIME, UPPER, VALUE, WITH_FORECASTS
from ewma_ops.watch.finite import finite
from ewma_ops.watch.outlook import FORECASTS
from ewma_ops.watch.states import state_of

__all__ = ["reading_lines", "table_lines"]


def table_lines(book: Book, of: MeasureColumns, rows: list[int], piece: int) -> Iterator[list[Any]]:
    """Yield rows of the table, and first the heads; the lock is taken for some of them at a time.

    Parameters
    ----------
    book
        What is known.
    of
        The measure that is shown.
    rows
        Of the book, in order.
    piece
        For how many rows the lock is held.
    """
    ahead = [] if of.measure.outlook is None else [*of.measure.outlook.places]
    heads = ["series", "time", "value", of.measure.average_name, "z", *ahead]
    yield [*heads, "readings", "state"]
    for begin in range(0, len(rows), piece):
        part = rows[begin : begin + piece]
        now = time.time()
        with book.lock:
            names = book.names(part)
            numbers = [
                [
                    iso_moment(float(book.columns.time_s[row])),
                    *map(finite, (of.value[row], of.average[row], of.z[row])),
                    *map(finite, of.newest_outlook(row).values()),
                    int(book.columns.count[row]),
                    state_of(book, of, row, now)[1],
                ]
                for row in part
            ]
        for name, others in zip(names, numbers, strict=True):
            yield [name, *others]


def reading_lines(book: Book, series_id: str, place: int) -> Iterator[list[Any]] | None:
    """Return the readings of a series that is open, and first the heads; else None."""
    with book.lock:
        row = book.find(series_id)
        deep = None if row is None else book.deep.get((row, place))
        if deep is None:
            return None
        numbers, average = deep.whole().numbers, book.measures[place].average_name
    shown = [TIME, VALUE, AVERAGE, LOWER, UPPER]
    heads = ["time", "value", average, "lower", "upper"]
    if numbers.shape[1] == WITH_FORECASTS:
        shown += range(FORECAST.start, FORECAST.stop)
        heads += FORECASTS

    def lines() -> Iterator[list[Any]]:
        yield heads
        for at, *others in numbers[:, shown].tolist():
            yield [iso_moment(at), *map(finite, others)]

    return lines()
