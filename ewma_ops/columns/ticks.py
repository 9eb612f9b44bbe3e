"""`Tick`: the unit in which a job counts event times, and the times in it; how times are shown.

Knows units and bounds; must not know where a time comes from, nor what is computed from it.

Times are int64. So that the gap between any two of them is one too, times in nanoseconds have less
than half of its range on either side: the whole years 1900 to 2191.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MICROSECOND",
    "MILLISECOND",
    "NANOSECOND",
    "Tick",
    "iso_moment",
    "shown_duration",
    "tick_of",
]

_NS_IN_MS = 1e-6
_SHOWN_MS = (
    *(("weeks", 604_800_000.0, 2), ("d", 86_400_000.0, 1), ("h", 3_600_000.0, 1)),
    *(("min", 60_000.0, 1), ("s", 1_000.0, 1), ("ms", 1.0, 1), ("us", 1e-3, 1)),
)
"""Units with their milliseconds, and the least number of them in which a duration is shown."""


@dataclass(frozen=True)
class Tick:
    """A unit of event times.

    ``unit`` is its name as in ``input.time_unit``, ``name`` its plural; ``per_ms`` how
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
        """Return milliseconds as int64[n] ticks; those out of bounds as just out of bounds.

        Examples
        --------
        >>> MICROSECOND.of_ms(np.array([-1, 1_700_000_000_000]))
        array([           -1000, 1700000000000000])
        """
        earliest, latest = self.earliest // self.per_ms, self.latest // self.per_ms
        return np.clip(times_ms, earliest - 1, latest + 1) * self.per_ms

    def cut(self, time: int) -> int:
        """Return a time of any size in ticks; clipped to int64.

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
    """Return the tick of a job whose times are in a unit: the millisecond, or a finer one.

    Examples
    --------
    >>> [tick_of(unit).unit for unit in (None, "s", "ms", "us", "ns")]
    ['ms', 'ms', 'ms', 'us', 'ns']
    """
    finer = (MICROSECOND, NANOSECOND)
    return next((tick for tick in finer if tick.unit == time_unit), MILLISECOND)


def shown_duration(ms: float) -> str:
    """Return a duration >= 0 in its largest fitting unit, to three digits.

    It reads back as a duration of a configuration file.

    Examples
    --------
    >>> [shown_duration(ms) for ms in (90_000.0, 12.0, 7_200_000.0, 0.00025)]
    ['1.5 min', '12 ms', '2 h', '250 ns']
    >>> shown_duration(3_650 * 86_400_000.0)
    '521 weeks'
    """
    for unit, size, least in _SHOWN_MS:
        if float(f"{ms:.3g}") >= least * size:
            return f"{_three_digits(ms / size)} {unit}"
    return f"{_three_digits(ms / _NS_IN_MS)} ns" if ms > 0.0 else "0 ms"


def iso_moment(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601 in UTC, to the millisecond.

    Examples
    --------
    >>> iso_moment(1_700_000_000.25), iso_moment(1e20)
    ('2023-11-14T22:13:20.250Z', '1e+20')
    """
    try:
        at = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return repr(seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _three_digits(x: float) -> str:
    text = f"{x:.3g}"
    return text if "e" not in text else f"{x:.0f}" if x > 1.0 else f"{x:.15f}".rstrip("0")
