"""What schemas of several formats mean by times and decimals.

Knows units and digits; must not know schemas or payloads. A time is cut to the unit in
which it is read, downwards. A decimal is exact.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

from ewma_ops.columns.ticks import NANOSECOND

__all__ = ["DAY_NS", "MOST_DECIMAL_DIGITS", "as_decimal", "in_unit"]

DAY_NS = 86_400_000 * NANOSECOND.per_ms
MOST_DECIMAL_DIGITS = 4_096

_MOST_BYTES = 1_024
_EXACT = Context(prec=MOST_DECIMAL_DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN)


def as_decimal(unscaled: bytes, scale: int) -> Decimal:
    """Return a decimal of its unscaled value, two's complement and big-endian.

    Raises
    ------
    ValueError
        If it has more than 1,024 bytes, or a scale beyond 4,096.

    Examples
    --------
    >>> as_decimal(bytes([0xFB, 0x2E]), 2)
    Decimal('-12.34')
    """
    if len(unscaled) > _MOST_BYTES or abs(scale) > MOST_DECIMAL_DIGITS:
        raise ValueError(f"a decimal of {len(unscaled)} bytes and scale {scale}")
    return Decimal(int.from_bytes(unscaled, "big", signed=True)).scaleb(-scale, _EXACT)


def in_unit(time_ns: int, unit: str | None) -> int | Decimal:
    """Return nanoseconds since the epoch as a number of what ``time_unit`` says.

    What is finer than a unit is cut off, downwards; of seconds, than a millisecond.

    Examples
    --------
    >>> in_unit(1_500_000_001, None), in_unit(1_500_000_001, "us"), in_unit(1_500_000_001, "s")
    (1500, 1500000, Decimal('1.5'))
    """
    if unit == "ns":
        return time_ns
    if unit == "us":
        return time_ns // 1_000
    time_ms = time_ns // NANOSECOND.per_ms
    return Decimal(time_ms) / 1_000 if unit == "s" else time_ms
