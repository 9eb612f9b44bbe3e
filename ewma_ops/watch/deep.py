"""All readings of one series that a chart shows, oldest first, and no more pixels than it has.

Knows columns of numbers; must not know topics, ids or pages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "Deep", "Drawn", "Part", "drawn"]

COLUMNS = 6
"""Time in seconds, value, average, lower, upper, settled."""
TIME, VALUE, AVERAGE, LOWER, UPPER, SETTLED = range(COLUMNS)

_MOST = 200_000
_PRECISION = 9


class Part(NamedTuple):
    """Readings in the order in which they came: offsets int64[n], numbers float64[n, 6]."""

    offsets: NDArray[np.int64]
    numbers: NDArray[np.float64]


class Deep:
    """The readings of one series: those from before it was opened, and those that came since.

    ``live_from`` is the offset at which the latter begin; what is before is read back. ``note``
    says what is missing.
    """

    def __init__(self, live_from: int) -> None:
        self.live_from = live_from
        self.note = ""
        self.is_read = False
        self.version = 0
        self.used_at = 0.0
        self._past: list[Part] = []
        self._live: list[Part] = []
        self._joined: Part | None = None

    def add_past(self, part: Part) -> None:
        """Add readings from before it was opened, in their order."""
        kept = part.offsets < self.live_from
        if kept.any():
            self._past.append(Part(part.offsets[kept], part.numbers[kept]))
            self._changed()

    def add_live(self, part: Part) -> None:
        """Add readings that came since."""
        kept = part.offsets >= self.live_from
        if kept.any():
            self._live.append(Part(part.offsets[kept], part.numbers[kept]))
            self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._joined = None

    def whole(self) -> NDArray[np.float64]:
        """Return all readings, by time, float64[n, 6]; of very many the newest."""
        if self._joined is None:
            parts = [*self._past, *self._live]
            if not parts:
                return np.zeros((0, COLUMNS))
            offsets = np.concatenate([part.offsets for part in parts])[-_MOST:]
            numbers = np.concatenate([part.numbers for part in parts])[-_MOST:]
            in_past = sum(len(part.offsets) for part in self._past)
            cut = sum(len(part.offsets) for part in parts) - len(offsets)
            if cut:
                self.note = f"only the newest {_MOST:,} readings"
            at = max(in_past - cut, 0)
            self._past = [Part(offsets[:at], numbers[:at])]
            self._live = [Part(offsets[at:], numbers[at:])]
            times = numbers[:, TIME]
            if (times[1:] < times[:-1]).any():  # late readings
                numbers = numbers[np.argsort(times, kind="stable")]
            self._joined = Part(offsets, numbers)
        return self._joined.numbers


class Drawn(NamedTuple):
    """What a chart draws: columns of a common x in seconds."""

    x: NDArray[np.float64]
    value: NDArray[np.float64]
    average: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    settled_from: float | None
    readings: int


def drawn(
    numbers: NDArray[np.float64], width: int, begin_s: float, end_s: float, settled_at: float = 0.95
) -> Drawn:
    """Return readings of a span for a chart of ``width`` pixels.

    Where there are more, each pixel has the lowest and the highest value, so that no spike is lost,
    and the last average and band of its readings.

    Examples
    --------
    >>> numbers = np.zeros((10_000, COLUMNS))
    >>> numbers[:, TIME] = np.arange(10_000)
    >>> numbers[5_432, VALUE] = 9.0
    >>> found = drawn(numbers, 100, 0.0, 1e9)
    >>> len(found.x), found.value.max(), found.readings
    (200, np.float64(9.0), 10000)
    """
    times = numbers[:, TIME]
    first, stop = np.searchsorted(times, [begin_s, np.nextafter(end_s, np.inf)]).tolist()
    # One beyond each edge, so that lines go on to the edge.
    part = numbers[max(first - 1, 0) : stop + 1]
    settled = part[:, SETTLED]
    known = ~np.isnan(settled)
    settling = known & (settled < settled_at)
    settled_from = None
    if settling.any():
        after = int(np.flatnonzero(settling)[-1]) + 1
        settled_from = float(part[min(after, len(part) - 1), TIME])
    if len(part) <= 2 * width:
        columns = [part[:, column] for column in (TIME, VALUE, AVERAGE, LOWER, UPPER)]
    else:
        columns = _thinned(part, width)
    x, value, average, lower, upper = columns[0], *map(_rounded, columns[1:])
    return Drawn(x, value, average, lower, upper, settled_from, stop - first)


def _thinned(part: NDArray[np.float64], width: int) -> list[NDArray[np.float64]]:
    """Return two points for each of ``width`` equal spans of time that has any reading."""
    times, values = part[:, TIME], part[:, VALUE]
    span = max(times[-1] - times[0], 1e-9)
    bucket = np.minimum(((times - times[0]) / span * width).astype(np.int64), width - 1)
    starts = np.flatnonzero(np.diff(bucket, prepend=-1))
    stops = np.append(starts[1:], len(part))
    low = np.fmin.reduceat(values, starts)
    high = np.fmax.reduceat(values, starts)
    rising = values[starts] <= values[stops - 1]
    two: NDArray[np.float64] = np.empty((len(starts), 2))
    two[:, 0], two[:, 1] = np.where(rising, low, high), np.where(rising, high, low)
    two[-1, 1] = values[-1]  # the line ends where the series does
    x: NDArray[np.float64] = np.empty_like(two)
    x[:, 0], x[:, 1] = times[starts], np.maximum(times[stops - 1], times[starts] + span / width / 4)
    ends = part[stops - 1]
    others = [np.repeat(ends[:, column], 2) for column in (AVERAGE, LOWER, UPPER)]
    return [np.maximum.accumulate(x.ravel()), two.ravel(), *others]


def _rounded(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers with the digits that a chart can show."""
    largest = np.nanmax(np.abs(column), initial=0.0, where=np.isfinite(column))
    if not 0 < largest < 1e15:
        return column
    digits = _PRECISION - 1 - int(np.floor(np.log10(largest)))
    rounded: NDArray[np.float64] = np.round(column, min(digits, 300))
    return rounded
