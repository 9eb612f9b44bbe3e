"""Numbers as people write them: as numbers, in quotes, with a decimal comma, or a word for none.

Knows plain Python objects and what counts as a number; must not know where it stood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.serde.format import Reasons, Refused
from ewma_ops.serde.options import DecoderOptions

__all__ = ["NumberReader", "as_float", "shown"]

_DECIMAL = {
    point: re.compile(rf"[+-]?(?:[0-9]+(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]+)?")
    for point, mark in ((".", r"\."), (",", ","))
}
_INFINITE = re.compile(r"[+-]?(?:inf|infinity)|nan", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[+-]?0[xX][0-9a-fA-F.]+")
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(?:[ .,_'\u00a0\u202f][0-9]{3})+(?:[.,][0-9]+)?")
_WITH_UNIT = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?\s*[^\d\s.,_]+[\S ]*")
_LONGEST = 400
"""Longer text is not a number that anybody sends in quotes."""


class NumberReader:
    """Reads values as float64, NaN for a missing reading.

    Parameters
    ----------
    options
        ``numbers``, ``decimal``, ``missing_values`` and ``infinite`` of them.

    Examples
    --------
    >>> reader = NumberReader(DecoderOptions(numbers="text", missing_values=["unknown"]))
    >>> reader.column("t", ["21.5", 3, "unknown", None], range(4), {}).tolist()
    [21.5, 3.0, nan, nan]
    """

    def __init__(self, options: DecoderOptions) -> None:
        self._is_text = options.numbers == "text"
        self._decimal = options.decimal
        self._infinite = options.infinite
        self._words = {one for one in options.missing_values if isinstance(one, str)}
        self._sentinels = [float(one) for one in options.missing_values if not isinstance(one, str)]
        self.takes_text = self._is_text or bool(self._words)
        """Whether any text can be a number, or a word for none."""

    def column(
        self,
        name: str,
        found: Sequence[Any],
        places: Sequence[int],
        rejected: Reasons,
        *,
        as_text: bool = False,
    ) -> NDArray[np.float64]:
        """Return numbers; record cause and detail of other values, by place.

        ``as_text`` reads text as numbers whatever the options say: keys and headers have no other.
        """
        if set(map(type, found)) <= {float, int, NoneType}:
            try:
                column = np.array(found, np.float64)  # None is NaN
            except OverflowError:
                pass
            else:
                if self._infinite or not np.isinf(column).any():
                    return self.blank_sentinels(column)
        numbers = []
        for place, one in zip(places, found, strict=True):
            if place in rejected:
                numbers.append(math.nan)
                continue
            try:
                numbers.append(self._number(one, name, as_text=as_text))
            except Refused as refused:
                numbers.append(math.nan)
                rejected.setdefault(place, refused.args)
        return self.blank_sentinels(np.array(numbers, np.float64))

    def blank_sentinels(self, column: NDArray[np.float64]) -> NDArray[np.float64]:
        """Replace numbers that mean a missing reading by NaN, in place."""
        for sentinel in self._sentinels:
            column[column == sentinel] = math.nan
        return column

    def _number(self, found: object, name: str, *, as_text: bool) -> float:
        if found is None:
            return math.nan
        if isinstance(found, str):
            if found in self._words:
                return math.nan
            number = self._from_text(found, name, as_text=as_text)
        elif isinstance(found, (int, float, Decimal, Fraction)) and not isinstance(found, bool):
            try:
                number = as_float(found)
            except ValueError:
                raise Refused("wrong-type", f"{name} is a signaling NaN: not a number") from None
        else:
            raise Refused("wrong-type", f"{name} is {shown(found)}: not a number")
        if math.isinf(number) and not self._infinite:
            raise Refused("out-of-range", f"{name} is too large for a 64-bit float")
        return number

    def _from_text(self, text: str, name: str, *, as_text: bool) -> float:
        bare = text.strip(" \t\r\n")
        if len(bare) <= _LONGEST and (as_text or self._is_text):
            if _DECIMAL[self._decimal].fullmatch(bare):
                return float(bare.replace(",", "."))
            if self._infinite and _INFINITE.fullmatch(bare):
                return float(bare)
        cause = "wrong-type"
        raise Refused(cause, f"{name} is {shown(text)}: {self._why(bare, as_text=as_text)}")

    def _why(self, bare: str, *, as_text: bool) -> str:
        """Say why text is no number, and what to write or send."""
        if len(bare) > _LONGEST:
            return "not a number"
        if not bare:
            return 'not a number; missing_values = [""] in [input] takes it as a missing reading'
        if not (as_text or self._is_text) and _DECIMAL["."].fullmatch(bare):
            return 'not a number; numbers = "text" in [input] reads numbers in quotes'
        if _HEXADECIMAL.fullmatch(bare):
            return "hexadecimal, which is not read; send it as a decimal number"
        if _GROUPED.fullmatch(bare):
            return "digits in groups, which are not read; send them without separators"
        other = "," if self._decimal == "." else "."
        if _DECIMAL[other].fullmatch(bare):
            key = "" if self._is_text or as_text else 'numbers = "text" and '
            return f'not a number; {key}decimal = "{other}" in [input] reads it'
        if _WITH_UNIT.fullmatch(bare):
            return "a number with a unit or other text behind it; send the number alone"
        return "not a number; a word for a missing reading is listed in missing_values of [input]"


def as_float(number: Any) -> float:
    """Return a number as a float64; an integer that is too large as infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def shown(found: object) -> str:
    """Show what was found, cut to a line."""
    try:
        text = repr(found[:50]) if isinstance(found, (str, bytes)) else repr(found)
    except ValueError:  # an integer of more digits than Python writes out
        return "an integer of thousands of digits"
    return text if len(text) <= 60 else text[:59] + "…"
