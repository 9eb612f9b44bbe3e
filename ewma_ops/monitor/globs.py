"""Which series a rule is for: matches globs against ids.

Knows text; must not know rules or series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from functools import lru_cache

__all__ = ["GlobWatch", "matcher"]

_MOST_IDS = 1 << 16
_MOST_LOOKED_AT = 100_000


def matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether a series id matches one of the globs.

    Examples
    --------
    >>> matcher(["plant1/*", "b?"])("plant1/oven"), matcher(["b?"])("B1"), matcher([])("any")
    (True, False, True)
    """
    if not globs:
        return lambda _: True
    pattern = re.compile("|".join(map(translate, globs)))
    return lru_cache(_MOST_IDS)(lambda series_id: pattern.match(series_id) is not None)


class GlobWatch:
    """Finds globs that match no series, by the ids in the stream.

    Checks the first readings of a stream until all have matched, up to a maximum.

    Parameters
    ----------
    globs
        Those of each rule, by its name; without any a rule is for all series.

    Examples
    --------
    >>> watch = GlobWatch({"level": ["plnt1/*"], "spike": []})
    >>> watch.look(["plant1/a", "plant1/b"])
    >>> watch.unmatched
    {'level': (2, 'plant1/a')}
    """

    def __init__(self, globs: dict[str, Sequence[str]]) -> None:
        self._waiting = {name: matcher(own) for name, own in globs.items() if own}
        self.matched: list[str] = []
        """Names of the rules that have matched a series."""
        self._looked_at, self._example = 0, ""

    @property
    def unmatched(self) -> dict[str, tuple[int, str]]:
        """For rules that match none: how many readings were checked, and the id of one."""
        if not self._looked_at:
            return {}
        return dict.fromkeys(self._waiting, (self._looked_at, self._example))

    @property
    def settled(self) -> list[str]:
        """Names of the rules that have matched, or were reported as not matching."""
        return [*self.matched, *(self._waiting if self.is_over else ())]

    @property
    def is_over(self) -> bool:
        """Whether the search is over."""
        return not self._waiting or self._looked_at >= _MOST_LOOKED_AT

    def look(self, series_ids: Iterable[str]) -> None:
        """Check the ids of some readings."""
        if self.is_over:
            return
        ids = list(series_ids)
        if not ids:
            return
        self._looked_at += len(ids)
        self._example = self._example or ids[0]
        for name in [n for n, match in self._waiting.items() if any(map(match, set(ids)))]:
            del self._waiting[name]
            self.matched.append(name)
