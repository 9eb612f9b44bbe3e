"""`Tick`: the unit in which a job counts event times, and the times that there are in it.

Knows units and bounds; must not know where a time comes from, nor what is computed of it.

Times are int64. So that the gap between any two of them is one too, times in nanoseconds have less
than half of its range on either side: the whole years 1900 to 2191.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MICROSECOND", "MILLISECOND", "NANOSECOND", "Tick", "tick_of"]


@dataclass(frozen=True)
class Tick:
    """A unit of event times.

    ``unit`` is its name as in ``input.time_unit``, ``name`` the word for many of it; ``per_ms`` how
    many are a millisecond. Event times, since the epoch, are from ``earliest`` to ``latest``, which
    are the whole ``years``.
    """

    unit: str
    name: str
    per_ms: int
    earliest: int
    latest: int
    years: str

    def of_ms(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return milliseconds, as int64[n] ticks; what is out of bounds as just out of them.

        Examples
        --------
        >>> MICROSECOND.of_ms(np.array([-1, 1_700_000_000_000]))
        array([           -1000, 1700000000000000])
        """
        earliest, latest = self.earliest // self.per_ms, self.latest // self.per_ms
        return np.clip(times_ms, earliest - 1, latest + 1) * self.per_ms

    def cut(self, time: int) -> int:
        """Return a time of any size in ticks; what is out of bounds within int64.

        Examples
        --------
        >>> NANOSECOND.cut(5), NANOSECOND.cut(10**30) > NANOSECOND.latest
        (5, True)
        """
        return time if self.earliest <= time <= self.latest else max(min(time, _MOST), -_MOST)

    def shown(self, time: int) -> str:
        """Show a time that `cut` returned.

        Examples
        --------
        >>> NANOSECOND.shown(-5), NANOSECOND.shown(NANOSECOND.cut(10**30))
        ('-5 ns', 'more nanoseconds than fit in 64 bits')
        """
        if abs(time) >= _MOST:
            return f"more {self.name} than fit in 64 bits"
        return f"{time} {self.unit}"


_MOST = int(np.iinfo(np.int64).max)

MILLISECOND = Tick(
    "ms", "milliseconds", 1, -62_135_596_800_000, 253_402_300_799_999, "1 to 9999"
)  # fmt: skip
MICROSECOND = Tick(
    "us",
    "microseconds",
    1_000,
    MILLISECOND.earliest * 1_000,
    (MILLISECOND.latest + 1) * 1_000 - 1,
    MILLISECOND.years,
)
NANOSECOND = Tick(
    "ns",
    "nanoseconds",
    1_000_000,
    -2_208_988_800_000_000_000,
    7_005_657_599_999_999_999,
    "1900 to 2191",
)


def tick_of(time_unit: str | None) -> Tick:
    """Return in what a job counts whose times are in a unit: milliseconds, if it is no finer.

    Examples
    --------
    >>> [tick_of(unit).unit for unit in (None, "s", "ms", "us", "ns")]
    ['ms', 'ms', 'ms', 'us', 'ns']
    """
    return {"us": MICROSECOND, "ns": NANOSECOND}.get(time_unit or "ms", MILLISECOND)
