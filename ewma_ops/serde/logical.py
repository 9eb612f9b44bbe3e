"""What schemas of several formats mean by times and decimals.

Knows units and digits; must not know schemas or payloads. A time is exact to the millisecond, as
every time of a job is: what is finer is rounded down. A decimal is exact.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

__all__ = ["DAY_MS", "MOST_DECIMAL_DIGITS", "as_decimal", "in_unit"]

DAY_MS = 86_400_000
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
