"""What an operator should be told of the first messages: misspelt paths, times in another unit.

Knows columns of numbers; must not know formats or documents. With a misspelt path every reading is
missing, and with a wrong unit every time is years away: neither is an error by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import numpy as np
from numpy.typing import NDArray

from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.outline import nearest

__all__ = ["MOST_WITHOUT", "PathWatch", "TimeWatch", "unfound_notice"]

MOST_WITHOUT = 1_000
"""Readings without a number, from the first on, after which a path is reported."""

_MOST_LOOKED_AT = 50
"""Messages of a batch in which names are looked for, until one has some."""

_YEAR_MS = 31_556_952_000
_DECADES_MS = 20 * _YEAR_MS


class PathWatch:
    """Count readings until each path has led to a number once.

    Parameters
    ----------
    paths
        As they are written.
    within
        Returns the paths that there are in a payload.

    Examples
    --------
    >>> watch = PathWatch(["temp"], lambda payload: ["id", "temperature"])
    >>> watch.look([np.array([np.nan, np.nan])], (), [b"...", b"..."])
    >>> watch.unfound()
    {'temp': (2, 'temperature')}
    >>> watch.look([np.array([np.nan, 3.0])], (), [b"...", b"..."])
    >>> watch.unfound()
    {}
    """

    def __init__(
        self, paths: Sequence[str], within: Callable[[bytes], list[str]] = lambda _: []
    ) -> None:
        self.within = within
        self._seen = dict.fromkeys(paths, 0)
        self._places = dict(zip(paths, range(len(paths)), strict=True))
        self._known: list[str] | None = None
        self.is_reported = False
        """Whether the paths that lead nowhere were reported already."""

    def look(
        self,
        columns: Sequence[NDArray[np.float64]],
        rejected: Container[int],
        payloads: Sequence[bytes | None],
    ) -> None:
        """Look at a column for each path, of what was read of payloads."""
        for path in list(self._seen):
            column = columns[self._places[path]]
            blank = np.isnan(column)
            if not blank.all():
                del self._seen[path]
                continue
            self._seen[path] += sum(place not in rejected for place in range(len(column)))
            if self._known is None and self._seen[path]:
                found = (self.within(one) for one in payloads[:_MOST_LOOKED_AT] if one)
                self._known = next(filter(None, found), None)

    @property
    def found(self) -> list[str]:
        """The paths that have led to a number."""
        return [path for path in self._places if path not in self._seen]

    @property
    def is_done(self) -> bool:
        """Whether every path has been found."""
        return not self._seen

    def unfound(self) -> dict[str, tuple[int, str | None]]:
        """Return, by path, in how many readings it led to no number, and what may be meant."""
        return {
            path: (seen, nearest(path, self._known or ()))
            for path, seen in self._seen.items()
            if seen
        }

    def pop_notices(self) -> list[str]:
        """Return, once, a notice for each path without a number in many readings."""
        if self.is_reported or not any(seen >= MOST_WITHOUT for seen in self._seen.values()):
            return []
        self.is_reported = True
        return [unfound_notice(path, *why) for path, why in self.unfound().items()]


def unfound_notice(path: str, readings: int, meant: str | None) -> str:
    """Return the notice on a path that led to no number.

    Examples
    --------
    >>> unfound_notice("temp", 1000, "temperature")
    'temp has no number in any of 1,000 readings; did you mean temperature?'
    """
    of = f"any of {readings:,} readings" if readings > 1 else "the only reading"
    fix = "ewma check shows what is in them" if meant is None else f"did you mean {meant}?"
    return f"{path} has no number in {of}; {fix}"


class TimeWatch:
    """Compare the first event time with its record's timestamp: both are of one decade.

    Parameters
    ----------
    path
        Where event times stand, as it is written.
    options
        ``time_unit`` and ``tick`` of them.

    Examples
    --------
    >>> watch = TimeWatch("ts", DecoderOptions())
    >>> watch.look(np.array([1_700_000_000]), np.array([1_700_000_000_000]), ())
    >>> print(*watch.pop_notices())
    the first ts is read as 1970-01-20T16:13:20Z, 53 years away from its record's timestamp: if it \
counts seconds, write time_unit = "s" in [input]
    """

    def __init__(self, path: str, options: DecoderOptions) -> None:
        self._path, self._unit, self._tick = path, options.time_unit, options.tick
        self._is_done = False
        self._notices: list[str] = []

    def look(
        self, times: NDArray[np.int64], of_records: NDArray[np.int64], rejected: Container[int]
    ) -> None:
        """Look at event times, in ticks, and their records' timestamps, until one has both."""
        if self._is_done:
            return
        place = next((i for i in range(len(times)) if i not in rejected), None)
        if place is None or of_records[place] <= 0:
            return
        self._is_done = True
        time_ms, of_record = int(times[place]) // self._tick.per_ms, int(of_records[place])
        distance_ms = abs(time_ms - of_record)
        if distance_ms <= _DECADES_MS:
            return
        moment = np.datetime_as_string(np.datetime64(time_ms, "ms"), unit="s")
        notice = (
            f"the first {self._path} is read as {moment}Z, {distance_ms // _YEAR_MS} years away "
            "from its record's timestamp"
        )
        if self._unit is None and abs(time_ms * 1_000 - of_record) < _DECADES_MS:
            notice += ': if it counts seconds, write time_unit = "s" in [input]'
        self._notices.append(notice)

    def pop_notices(self) -> list[str]:
        """Return, once, what was found."""
        notices, self._notices = self._notices, []
        return notices
