"""Whether the paths of values lead anywhere: with a misspelt one every reading is missing.

Knows columns of numbers; must not know formats or documents.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import numpy as np
from numpy.typing import NDArray

from ewma_ops.serde.outline import nearest

__all__ = ["MOST_WITHOUT", "PathWatch", "unfound_notice"]

MOST_WITHOUT = 1_000
"""Readings without a number, from the first on, after which a path is reported."""

_MOST_LOOKED_AT = 50
"""Messages of a batch in which names are looked for, until one has some."""


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
