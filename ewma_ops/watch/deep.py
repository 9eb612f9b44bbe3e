"""All readings of one series that a chart shows, oldest first, and no more pixels than it has.

Knows columns of numbers; must not know topics, ids or pages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.watch.outlook import Lead, past_forecasts

__all__ = ["COLUMNS", "WITH_FORECASTS", "Deep", "Drawn", "Part", "Whole", "drawn"]

COLUMNS = 7
"""Time in seconds, value, average, lower, upper, settled, revision."""
TIME, VALUE, AVERAGE, LOWER, UPPER, SETTLED, REVISION = range(COLUMNS)
FORECAST = slice(COLUMNS, COLUMNS + 3)
"""Forecast, its lower and its upper bound: only where events have forecasts."""
WITH_FORECASTS = FORECAST.stop

_MOST = 200_000
_SPARE = _MOST // 4
"""How many extra readings are kept before the oldest are dropped, to do that seldom."""
_LEAST_ROOM = 64
_PRECISION = 9
_MOST_LATE = 100
_STEPS = (1.0, 1.25, 1.5, 1.75, 2.0)


class Part(NamedTuple):
    """Readings in the order in which they came: offsets int64[n], numbers float64[n, 7 or 10]."""

    offsets: NDArray[np.int64]
    numbers: NDArray[np.float64]


class Whole(NamedTuple):
    """Readings by time: numbers as in `Part`, and which came late or were corrected, bool[n]."""

    numbers: NDArray[np.float64]
    late: NDArray[np.bool_]


class Deep:
    """The readings of one series: those from before it was opened, and those that came since.

    ``live_from`` is the offset at which the latter begin; what is before is read back. ``columns``
    are how many numbers each has. ``note`` says what is missing.
    """

    def __init__(self, live_from: int, columns: int = COLUMNS) -> None:
        self.live_from = live_from
        self.note = ""
        self.is_read = False
        self.version = 0
        self.used_at = 0.0
        self._room: NDArray[np.float64] = np.empty((_LEAST_ROOM, columns))
        self._count = self._past = 0
        self._is_in_order = True
        self._whole: Whole | None = None

    def add_past(self, part: Part) -> None:
        """Add readings from before it was opened, in their order."""
        numbers = part.numbers[part.offsets < self.live_from]
        if not len(numbers):
            return
        live = self._room[self._past : self._count].copy()
        self._count = self._past
        self._append(numbers)
        self._past = self._count
        self._append(live)
        self._changed()

    def add_live(self, part: Part) -> None:
        """Add readings that came since."""
        numbers = part.numbers[part.offsets >= self.live_from]
        if len(numbers):
            self._append(numbers)
            self._changed()

    def _append(self, numbers: NDArray[np.float64]) -> None:
        first, count = max(self._count - 1, 0), self._count + len(numbers)
        if count > len(self._room):
            room = np.empty((max(count, 2 * self._count), numbers.shape[1]))
            room[: self._count] = self._room[: self._count]
            self._room = room
        self._room[self._count : count] = numbers
        self._count = count
        self._is_in_order &= not _out_of_order(self._room[first:count])[0].any()

    def _changed(self) -> None:
        self.version += 1
        self._whole = None
        if self._count > _MOST + _SPARE:
            cut = self._count - _MOST
            self._room = self._room[cut : self._count].copy()
            self._count, self._past = _MOST, max(self._past - cut, 0)
            self.note = f"only the newest {_MOST:,} readings"

    def whole(self) -> Whole:
        """Return all readings by time; of very many the newest.

        What corrects the newest reading has its time and a higher revision: it takes its place.
        """
        if self._whole is None:
            arrived = self._room[: self._count]
            nothing = np.zeros(self._count, np.bool_)
            self._whole = Whole(arrived, nothing) if self._is_in_order else _in_time(arrived)
        return self._whole


def _out_of_order(arrived: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which readings came late or correct one, and which of these came late."""
    times, revisions = arrived[:, TIME], arrived[:, REVISION]
    late = np.zeros(len(arrived), np.bool_)
    revised = late.copy()
    late[1:] = times[1:] < np.maximum.accumulate(times)[:-1]
    revised[1:] = revisions[1:] > revisions[:-1]
    return late | revised, late


def _in_time(arrived: NDArray[np.float64]) -> Whole:
    """Return readings by time; corrections replace the corrected."""
    marked, late = _out_of_order(arrived)
    order = np.argsort(arrived[:, TIME], kind="stable")
    numbers, marked, late = arrived[order], marked[order], late[order]
    numbers[late, FORECAST] = np.nan  # it was made later than the reading is
    kept = np.ones(len(numbers), np.bool_)
    for i in np.flatnonzero(marked & ~late).tolist():
        before = i - 1
        while before >= 0 and numbers[before, TIME] == numbers[i, TIME]:
            if np.isnan(numbers[i, VALUE]):
                numbers[i, VALUE] = numbers[before, VALUE]
            kept[before] = False
            before -= 1
    return Whole(numbers[kept], marked[kept])


class Drawn(NamedTuple):
    """What a chart draws: columns of a common x in seconds, and the readings that are marked."""

    x: NDArray[np.float64]
    value: NDArray[np.float64]
    average: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    settled_from: float | None
    readings: int
    late: int
    late_at: list[list[float]]
    """Time and value of readings that came late or were corrected, of many the newest."""
    past_forecast: NDArray[np.float64] | None = None
    """What had been forecast for each point, a horizon before it."""
    forecasts: tuple[int, int] = (0, 0)
    """Readings for which there had been bounds, and those of them that came within."""


def drawn(
    whole: Whole,
    width: int,
    begin_s: float,
    end_s: float,
    settled_at: float = 0.95,
    lead: Lead | None = None,
) -> Drawn:
    """Return readings of a span for a chart of ``width`` pixels.

    Where there are more, each step of about a pixel has the lowest and the highest value, so that
    no spike is lost, and the last average and band of its readings. Steps are multiples of their
    length since the epoch: a point that is complete stays as it is while others come. ``lead`` is
    how far ahead the forecasts are, if there are any.

    Examples
    --------
    >>> numbers = np.zeros((10_000, COLUMNS))
    >>> numbers[:, TIME] = np.arange(10_000)
    >>> numbers[5_432, VALUE] = 9.0
    >>> found = drawn(Whole(numbers, np.zeros(10_000, bool)), 100, 0.0, 1e9)
    >>> len(found.x), found.value.max(), found.readings
    (180, np.float64(9.0), 10000)
    """
    times = whole.numbers[:, TIME]
    first, stop = np.searchsorted(times, [begin_s, np.nextafter(end_s, np.inf)]).tolist()
    # One beyond each edge, so that lines go on to the edge.
    lead_in, end = max(first - 1, 0), min(stop + 1, len(times))
    step = None
    if end - lead_in > 2 * width:
        span_s = min(end_s, float(times[end - 1])) - max(begin_s, float(times[lead_in]))
        step = _step(span_s, width)
        lead_in = int(np.searchsorted(times, np.floor(times[lead_in] / step) * step))
    part, late = whole.numbers[lead_in:end], whole.late[lead_in:end]
    settling = part[:, SETTLED] < settled_at
    settled_from = None
    if settling.any():
        after = int(np.flatnonzero(settling)[-1]) + 1
        settled_from = float(part[min(after, len(part) - 1), TIME])
    marks = part[late][:, [TIME, VALUE]]
    marks = marks[np.isfinite(marks).all(axis=1)][-_MOST_LATE:].tolist()
    past, forecasts = None, (0, 0)
    if lead is not None:
        made = past_forecasts(times, whole.numbers[:, FORECAST], lead, lead_in, end)
        forecasts = _kept(whole.numbers[first:stop, VALUE], made[first - lead_in :][: stop - first])
        past = made[:, 0]
    x, value, at = (part[:, TIME], part[:, VALUE], ...) if step is None else _thinned(part, step)
    average, lower, upper = (_rounded(part[at, column]) for column in (AVERAGE, LOWER, UPPER))
    return Drawn(
        x,
        _rounded(value),
        average,
        lower,
        upper,
        settled_from,
        stop - first,
        int(late.sum()),
        marks,
        None if past is None else _rounded(past[at]),
        forecasts,
    )


def _kept(values: NDArray[np.float64], past: NDArray[np.float64]) -> tuple[int, int]:
    """Return how many values had bounds, and how many were within them."""
    known = np.isfinite(values) & np.isfinite(past[:, 1:]).all(axis=1)
    within = (past[:, 1] <= values) & (values <= past[:, 2])
    return int(known.sum()), int((known & within).sum())


def _step(span_s: float, width: int) -> float:
    """Return how long the steps are that have two points each; few lengths are used."""
    least = max(span_s, 1e-6) / (width - 1) * (1 - 1e-6)
    power = 2.0 ** np.floor(np.log2(least))
    return float(next(power * step for step in _STEPS if power * step >= least))


class _Points(NamedTuple):
    """Points of a chart, and which reading each has its average and band of."""

    x: NDArray[np.float64]
    value: NDArray[np.float64]
    at: NDArray[np.intp]


def _thinned(part: NDArray[np.float64], step: float) -> _Points:
    """Return two points for each step of time that has any reading, and the last reading."""
    times, values = part[:, TIME], part[:, VALUE]
    bucket = np.floor(times / step)
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    stops = np.append(starts[1:], len(part))
    low = np.fmin.reduceat(values, starts)
    high = np.fmax.reduceat(values, starts)
    rising = values[starts] <= values[stops - 1]
    two: NDArray[np.float64] = np.empty((len(starts), 2))
    two[:, 0], two[:, 1] = np.where(rising, low, high), np.where(rising, high, low)
    x: NDArray[np.float64] = np.empty_like(two)
    x[:, 0], x[:, 1] = times[starts], np.maximum(times[stops - 1], times[starts] + step / 4)
    points = _Points(np.maximum.accumulate(x.ravel()), two.ravel(), np.repeat(stops - 1, 2))
    if not np.array_equal(two[-1, 1], values[-1], equal_nan=True):
        # The line ends where the series does, and the step still has its lowest and highest value.
        last = points.x[-1], values[-1], len(part) - 1
        points = _Points(*(np.append(*pair) for pair in zip(points, last, strict=True)))
    return points


def _rounded(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers with the digits that a chart can show."""
    largest = np.nanmax(np.abs(column), initial=0.0, where=np.isfinite(column))
    if not 0 < largest < 1e15:
        return column
    digits = _PRECISION - 1 - int(np.floor(np.log10(largest)))
    rounded: NDArray[np.float64] = np.round(column, min(digits, 300))
    return rounded
