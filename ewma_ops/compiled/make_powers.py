"""Write ``powers.h``: the powers of ten that numbers.c needs, to 128 bits.

``python -m ewma_ops.compiled.make_powers`` writes it again; a test compares. Must not know what the
powers are for.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["powers_header"]

_LOWEST, _HIGHEST = -292, 324
"""Exponents of the powers of ten that numbers.c needs."""


def powers_header() -> str:
    """Return the text of the header: of 10^k the upper 128 bits, rounded up, as two words.

    Examples
    --------
    >>> print(powers_header().splitlines()[-2])
        {0x9E19DB92B4E31BA9, 0x6C07A2C26A8346D2},
    """
    lines = [
        "/* Written by make_powers.py: 10^k, its first bit on top, rounded up, in two words. */",
        f"#define LOWEST_POWER ({_LOWEST})",
        f"#define HIGHEST_POWER {_HIGHEST}",
        "static const u64 POWERS_OF_TEN[][2] = {",
    ]
    for k in range(_LOWEST, _HIGHEST + 1):
        power = _upper_bits(k)
        lines.append(f"    {{0x{power >> 64:016X}, 0x{power & 2**64 - 1:016X}}},")
    return "\n".join([*lines, "};"]) + "\n"


def _upper_bits(k: int) -> int:
    """Return the least whole number of 128 bits that is at least 10^k times a power of two."""
    if k >= 0:
        whole: int = 10**k
        shift = whole.bit_length() - 128
        return -(-whole >> shift) if shift > 0 else whole << -shift
    divisor: int = 10**-k
    return -(-(1 << divisor.bit_length() + 127) // divisor)


if __name__ == "__main__":
    (Path(__file__).parent / "powers.h").write_text(powers_header(), "ascii")
