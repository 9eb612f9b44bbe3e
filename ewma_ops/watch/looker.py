"""What there is to see now of what one looks at: the head, rows of the table, charts, alarms.

Knows the book; must not know browsers, terminals or Kafka. The page and `ewma top` show the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.watch.book import Book
from ewma_ops.watch.changes import Sent
from ewma_ops.watch.charts import chart
from ewma_ops.watch.choices import MOST_OPEN
from ewma_ops.watch.columns import MeasureColumns
from ewma_ops.watch.deep import Deep
from ewma_ops.watch.export import reading_lines, table_lines
from ewma_ops.watch.finite import listed
from ewma_ops.watch.search import Search
from ewma_ops.watch.states import in_states, state_of
from ewma_ops.watch.status import Status, health
from ewma_ops.watch.view import View

__all__ = ["Looker"]

_SPARK_STEPS = 100
_MOST_CAUSES = 20
_MOST_ALARMS = 100


_Key = Callable[[Book, MeasureColumns, NDArray[np.intp]], NDArray[np.float64]]
_KEYS: dict[str, _Key] = {
    "value": lambda _, of, rows: of.value[rows],
    "average": lambda _, of, rows: of.average[rows],
    "z": lambda _, of, rows: np.abs(of.z[rows]).astype(np.float64),
    "change": lambda _, of, rows: np.abs(of.change(rows)) / _scale(of, rows),
    "seen": lambda book, _, rows: book.columns.seen_s[rows],
    "readings": lambda book, _, rows: book.columns.count[rows].astype(np.float64),
    "alarm": lambda book, _, rows: np.abs(book.columns.alarm[rows]).astype(np.float64),
}
"""What a table is sorted by, but for the name."""


def _scale(of: MeasureColumns, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    std = of.std[rows].astype(np.float64)
    size = np.where(std > 0, std, np.abs(of.average[rows]))
    return np.where(size > 0, size, 1.0)


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
        of = book.measure(view.measure)
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
        key = _KEYS.get(view.sort)
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
            of = book.measure(view.measure)
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
                found.append(chart(book, view, series_id, row, deep, sent))
        return found

    def lines(self, view: View, piece: int) -> Iterator[list[Any]]:
        """Return every row of the table, and first the heads, as of :func:`table_lines`."""
        book = self._book
        with book.lock:
            rows, _ = self.rows(view, every=True)
        return table_lines(book, book.measure(view.measure), rows, piece)

    def reading_lines(self, series_id: str, place: int) -> Iterator[list[Any]] | None:
        """Return the readings of a series that is open, and first the heads; else None."""
        return reading_lines(self._book, series_id, place)


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
