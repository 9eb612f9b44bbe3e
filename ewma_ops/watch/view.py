"""What one looks at, and what there is to see of it now: rows of the table, charts, the head.

Knows the book; must not know browsers, terminals or Kafka. The page and `ewma top` show the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Protocol

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from ewma_ops.columns.ticks import iso_moment
from ewma_ops.watch.book import Book
from ewma_ops.watch.changes import Sent, listed
from ewma_ops.watch.columns import MeasureColumns
from ewma_ops.watch.deep import (
    AVERAGE,
    FORECAST,
    LOWER,
    TIME,
    UPPER,
    VALUE,
    WITH_FORECASTS,
    Deep,
    Drawn,
    Whole,
    drawn,
)
from ewma_ops.watch.outlook import FORECASTS, ahead, axis
from ewma_ops.watch.plain import sentence
from ewma_ops.watch.search import Search
from ewma_ops.watch.states import in_states, state_of
from ewma_ops.watch.status import Status, health

__all__ = ["MOST_OPEN", "MOST_ROWS", "SORTS", "Looker", "Looks", "View"]

MOST_OPEN = 6
MOST_ROWS = 200
_SPARK_STEPS = 100
_MOST_CAUSES = 20
_MOST_ALARMS = 100


class View(Struct, frozen=True):
    """What one looks at.

    ``q`` is a text or a pattern, ``only`` some of "alarm", "stale" and "settling"; ``first`` and
    ``rows`` are which part of the table is seen; ``open`` are the ids of the series in the chart,
    which is ``width`` pixels wide and shows the last ``span`` seconds (0: all), or from one moment
    to another. ``hold`` keeps the rows as they were, for a pointer that is over them.
    """

    q: Annotated[str, Meta(max_length=70_000)] = ""
    sort: str = "name"
    desc: bool = False
    only: tuple[str, ...] = ()
    first: Annotated[int, Meta(ge=0, le=1 << 31)] = 0
    rows: Annotated[int, Meta(ge=0, le=MOST_ROWS)] = 30
    open: Annotated[tuple[str, ...], Meta(max_length=MOST_OPEN)] = ()
    measure: Annotated[int, Meta(ge=0)] = 0
    width: Annotated[int, Meta(ge=50, le=5_000)] = 900
    span: Annotated[float, Meta(ge=0)] = 0.0
    between: tuple[float, float] | None = None
    hold: bool = False


_Key = Callable[[Book, MeasureColumns, NDArray[np.intp]], NDArray[np.float64]]
SORTS: dict[str, _Key | None] = {
    "name": None,
    "value": lambda _, of, rows: of.value[rows],
    "average": lambda _, of, rows: of.average[rows],
    "z": lambda _, of, rows: np.abs(of.z[rows]).astype(np.float64),
    "change": lambda _, of, rows: np.abs(of.change(rows)) / _scale(of, rows),
    "seen": lambda book, _, rows: book.columns.seen_s[rows],
    "readings": lambda book, _, rows: book.columns.count[rows].astype(np.float64),
    "alarm": lambda book, _, rows: np.abs(book.columns.alarm[rows]).astype(np.float64),
}
"""What a table can be sorted by; a change by its size beside the spread, or the average."""


def _scale(of: MeasureColumns, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    std = of.std[rows].astype(np.float64)
    size = np.where(std > 0, std, np.abs(of.average[rows]))
    return np.where(size > 0, size, 1.0)


class Looks(Protocol):
    """Answers how a job is, and what its table shows: here, or through a page elsewhere."""

    def head(self) -> dict[str, Any]:
        """Return how the job is."""
        ...

    def table(self, view: View) -> dict[str, Any]:
        """Return what the table shows."""
        ...


class Looker:
    """Answers views of one page or terminal; keeps what was searched and sorted for the next one.

    Parameters
    ----------
    book, status
        What is known.
    read_back
        Asks for the readings of a series from before it was opened.
    show_brokers
        Whether what it returns may name the brokers.
    """

    def __init__(
        self,
        book: Book,
        status: Status,
        read_back: Callable[[int, int, Deep], None],
        *,
        show_brokers: bool = False,
    ) -> None:
        self._book, self._status, self._read_back = book, status, read_back
        self._show_brokers = show_brokers
        self._search = Search("")
        self._held: tuple[object, list[int], int] | None = None

    def head(self) -> dict[str, Any]:
        """Return how the job is."""
        book, status, now = self._book, self._status, time.time()
        with book.lock:
            arrived, events = book.last_s(now), book.events
            rate, event_lag = book.rates.per_s(now), book.event_lag_s
            letters, series = sum(book.causes.values()), len(book.index)
        state = health(status, arrived, now, show_brokers=self._show_brokers)
        lag, exact = status.lag()
        said = status.said
        return {
            "state": state.word,
            "why": state.sentence,
            "rate": rate,
            "lag": lag,
            "exact": exact,
            "event_lag": None if event_lag != event_lag else round(event_lag, 3),
            "letters": letters,
            "events": events,
            "series": series,
            "snapshot": None if said is None else said.snapshot_s,
            "restarts": None if said is None else said.restarts,
            "workers": None if said is None else said.workers,
        }

    def causes(self) -> list[dict[str, Any]]:
        """Return the causes of dead letters, the most usual first, with the newest of each."""
        book = self._book
        with book.lock:
            causes, examples = book.causes.most_common(_MOST_CAUSES), dict(book.examples)
        shown = []
        for cause, n in causes:
            one = examples[cause]
            payload = None if one.payload is None else one.payload.decode("utf-8", "replace")
            shown.append(
                {
                    "cause": cause,
                    "n": n,
                    "detail": one.detail,
                    "place": one.place,
                    "at": one.written_ms,
                    "payload": payload,
                }
            )
        return shown

    def alarms(self) -> dict[str, Any] | None:
        """Return the alarms that are on and their latest transitions; None where there are none."""
        book = self._book
        with book.lock:
            known = book.alarms
            if known is None:
                return None
            active = sorted(known.active.values(), key=lambda one: -(one.time or 0))
            return {
                "active": len(active),
                "on": [known.shown(one) for one in active[:_MOST_ALARMS]],
                "recent": [known.shown(one) for one in list(known.recent)[:_MOST_ALARMS]],
                "rules": known.rules(book.events),
            }

    def rows(self, view: View, *, every: bool = False) -> tuple[list[int], int]:
        """Return the rows that are seen, in order, and how many match; the lock is held."""
        book, count = self._book, len(self._book.index)
        of = self._measure(view)
        key_of = (view.q, view.sort, view.desc, view.only, view.first, view.rows, view.measure)
        if view.hold and self._held is not None and self._held[0] == key_of:
            return self._held[1], self._held[2]
        if self._search.text != view.q:
            self._search = Search(view.q)
        if view.q.strip():
            rows = self._search.rows(book.ids(self._search.looked), self._search.looked)
        else:
            rows = np.arange(count)
        if view.only:
            rows = rows[in_states(book.columns, of, rows, view.only)]
        first, stop = (0, len(rows)) if every else (view.first, view.first + view.rows)
        key = SORTS.get(view.sort)
        if key is None:
            ranks = book.ranks()[rows].astype(np.float64)
            order = _order(ranks, stop, descending=view.desc)
        else:
            order = _order(key(book, of, rows), stop, descending=view.desc)
        found = rows[order][first:stop].tolist()
        self._held = (key_of, found, len(rows))
        return found, len(rows)

    def table(self, view: View) -> dict[str, Any]:
        """Return what the table shows; the lock is not held."""
        book, now = self._book, time.time()
        with book.lock:
            of = self._measure(view)
            rows, matched = self.rows(view)
            at = np.array(rows, np.intp)
            columns = book.columns
            counts, outlook = columns.count[at], of.measure.outlook
            trend, forecast = of.outlook_of("trend", at), of.outlook_of("forecast", at)
            unit, unit_s = ("", 1.0) if outlook is None else outlook.unit
            return {
                "series": len(book.index),
                "matched": matched,
                "first": view.first,
                "ids": book.names(at) if rows else [],
                "value": listed(of.value[at]),
                "average": listed(of.average[at]),
                "z": listed(of.z[at]),
                "change": listed(of.change(at)),
                "trend": None if trend is None else listed(trend * unit_s),
                "trend_unit": unit,
                "forecast": None if forecast is None else listed(forecast),
                "horizon": "" if outlook is None else outlook.horizon,
                "time": columns.time_s[at].tolist(),
                "seen": np.round(columns.seen_s[at], 2).tolist(),
                "readings": counts.tolist(),
                "spark": [_spark(of, row, int(n)) for row, n in zip(rows, counts, strict=True)],
                "state": [state_of(book, of, row, now) for row in rows],
            }

    def charts(self, view: View, sent: Sent | None = None) -> list[dict[str, Any]]:
        """Return what the charts show, one for each series that is open, however often named.

        Of those that who looks has, as ``sent`` says, only the points that are new.
        """
        sent = Sent() if sent is None else sent
        sent.forget_all_but(view.open)
        book = self._book
        found = []
        for series_id in dict.fromkeys(view.open[:MOST_OPEN]):  # one that is named twice is one
            with book.lock:
                row = book.find(series_id)
                if row is None:
                    found.append({"id": series_id, "known": False})
                    continue
                place = min(view.measure, len(book.measures) - 1)
                deep, is_new = book.open(row, place)
            if is_new:
                self._read_back(row, place, deep)
            with book.lock:
                found.append(self._chart(view, series_id, row, deep, sent))
        return found

    def lines(self, view: View, piece: int) -> Iterator[list[Any]]:
        """Return every row of the table, and first the heads."""
        book = self._book
        with book.lock:
            of = self._measure(view)
            rows, _ = self.rows(view, every=True)
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
                        *map(_number, (of.value[row], of.average[row], of.z[row])),
                        *map(_number, of.newest_outlook(row).values()),
                        int(book.columns.count[row]),
                        state_of(book, of, row, now)[1],
                    ]
                    for row in part
                ]
            for name, others in zip(names, numbers, strict=True):
                yield [name, *others]

    def reading_lines(self, series_id: str, place: int) -> Iterator[list[Any]] | None:
        """Return the readings of a series that is open, and first the heads; else None."""
        book = self._book
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
                yield [iso_moment(at), *map(_number, others)]

        return lines()

    def _chart(
        self, view: View, series_id: str, row: int, deep: Deep, sent: Sent
    ) -> dict[str, Any]:
        book = self._book
        of, known = self._measure(view), book.alarms
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
            "last": [_number(of.value[row]), _number(of.average[row]), _number(of.z[row])],
            "std": _number(of.std[row]),
            "sem": _number(of.sem[row]),
            "settled": _number(of.settled[row]),
            "outlook": None if outlook is None else _ahead(view, of, row, whole, seen),
            "at": newest_s,
            "alarms": []
            if known is None
            else [span._asdict() for span in known.spans(series_id, newest_s)],
            "on": [] if known is None else [known.shown(one) for one in known.of(series_id)],
            "total": int(book.columns.count[row]),
        }

    def _measure(self, view: View) -> MeasureColumns:
        every = self._book.columns.measures
        return every[min(view.measure, len(every) - 1)]


def _ahead(
    view: View, of: MeasureColumns, row: int, whole: Whole, seen: Drawn
) -> dict[str, Any] | None:
    """Return where a series is going: the newest numbers, and what its chart draws."""
    outlook, newest = of.measure.outlook, of.newest_outlook(row)
    assert outlook is not None
    shown = {name: _number(number) for name, number in newest.items()}
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


def _order(key: NDArray[np.float64], stop: int, *, descending: bool) -> NDArray[np.intp]:
    """Return the places of the first ``stop`` by a key; what has none comes last."""
    signed = -key if descending else key
    signed = np.where(np.isnan(signed), np.inf, signed)
    if stop < len(key) // 4:
        near = np.argpartition(signed, stop)[: stop + 1] if stop else np.zeros(0, np.intp)
        near.sort()
        return near[np.argsort(signed[near], kind="stable")]
    return np.argsort(signed, kind="stable")


def _spark(of: MeasureColumns, row: int, count: int) -> list[int]:
    """Return the latest values as heights from 0 to 100, -1 where there is none."""
    recent = of.recent(row, count).astype(np.float64)
    finite = recent[np.isfinite(recent)]
    if not len(finite):
        return []
    low, high = float(finite.min()), float(finite.max())
    span = (high - low) or 1.0
    heights = np.where(high > low, (recent - low) / span * _SPARK_STEPS, _SPARK_STEPS / 2)
    whole: list[int] = np.where(np.isfinite(heights), heights, -1).round().astype(int).tolist()
    return whole


def _number(one: Any) -> float | None:
    number = float(one)
    return number if np.isfinite(number) else None
