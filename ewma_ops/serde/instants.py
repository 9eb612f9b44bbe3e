"""Times that a schema gives a unit, in the unit that the job reads.

Knows units; must not know schemas or payloads. Such a time is exact to the millisecond, as every
time of a job is: what is finer is rounded down.
"""

from __future__ import annotations

from decimal import Decimal

__all__ = ["DAY_MS", "in_unit"]

DAY_MS = 86_400_000


def in_unit(time_ms: int, unit: str | None) -> int | Decimal:
    """Return milliseconds since the epoch as a number of what ``time_unit`` says.

    Examples
    --------
    >>> in_unit(1_500, None), in_unit(1_500, "us"), in_unit(1_500, "s")
    (1500, 1500000, Decimal('1.5'))
    """
    if unit is None or unit == "ms":
        return time_ms
    if unit == "s":
        return Decimal(time_ms) / 1_000
    return time_ms * (1_000 if unit == "us" else 1_000_000)
