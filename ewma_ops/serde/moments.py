"""Event times as people write them: numbers in any unit, ISO 8601, or a custom format.

Knows plain Python objects and what counts as a time; must not know its position, nor bounds.

A time is counted in the job's ticks from here on, whole milliseconds or finer: what is finer still
is rounded down. Whole numbers and text are converted exactly. A fraction is a float64; of seconds
it is taken to the microsecond first, as it has no more digits of today's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.serde.format import Reasons, Refused
from ewma_ops.serde.numbers import as_float, shown
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.times import read_time, ticks_of, times_of

__all__ = ["MomentReader", "likely_unit"]

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
Times = NDArray[np.float64] | NDArray[np.int64]
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?")
_LONGEST = 400
_FROM_S, _TO_S = 631_152_000, 4_102_444_800


class MomentReader:
    """Reads values as ticks since the epoch.

    Milliseconds are float64, so that a fraction can be reported later; finer ticks are int64, with
    out-of-bounds times out of bounds there too.

    Parameters
    ----------
    options
        ``time_unit``, ``tick`` and ``time_format`` of them.

    Examples
    --------
    >>> reader = MomentReader(DecoderOptions(time_unit="s"))
    >>> reader.column("t", [1, 1.5, "2", "1970-01-01T00:00:03Z"], range(4), {}).tolist()
    [1000.0, 1500.0, 2000.0, 3000.0]
    """

    def __init__(self, options: DecoderOptions) -> None:
        self._unit, self._format = options.time_unit, options.time_format
        self._tick = options.tick
        self._is_fine = options.tick.per_ms > 1
        assert not self._is_fine or self._unit == self._tick.unit
        per_s = _PER_SECOND[self._unit or "ms"]
        self.exact_below = 2.0**53 / max(1, 1_000_000 // per_s)
        """Whole numbers below it are converted exactly as floats too."""

    def column(
        self, name: str, found: list[Any], places: Sequence[int], rejected: Reasons
    ) -> Times:
        """Return n times; record cause and detail of other values, by place.

        Without a unit numbers are milliseconds as they stand: that they are whole is checked later.
        """
        kinds = set(map(type, found))
        if self._unit is None and self._format is None:
            if str in kinds:
                found = self._texts(name, found, places, rejected)
            if kinds <= {int, float, str}:
                return _floats(found)
        elif kinds == {int} and self._unit is not None:
            try:
                return self.ticks(np.array(found, np.int64))
            except OverflowError:
                pass
        moments: list[Any] = []
        for place, one in zip(places, found, strict=True):
            if place in rejected:
                moments.append(0)
                continue
            try:
                moments.append(self._moment(one, name))
            except Refused as refused:
                moments.append(0)
                rejected.setdefault(place, refused.args)
        if self._is_fine:
            return np.array(list(map(self._tick.cut, moments)), np.int64)
        return _floats(moments)

    def nothing(self) -> Times:
        """Return the times of nothing."""
        return np.zeros(0, np.int64) if self._is_fine else np.zeros(0)

    def ticks(self, numbers: NDArray[np.int64] | NDArray[np.float64]) -> Times:
        """Return numbers of the unit as ticks, rounded down; floats of fine ticks within int64."""
        if self._unit is None:
            return numbers.astype(np.float64)
        if self._is_fine:
            return numbers if numbers.dtype == np.int64 else np.floor(numbers).astype(np.int64)
        per_s = _PER_SECOND[self._unit]
        if numbers.dtype == np.int64:
            if per_s > 1_000:  # exact, which a float64 of nanoseconds is not
                return (numbers // (per_s // 1_000)).astype(np.float64)
            return numbers.astype(np.float64) * (1_000 // per_s)
        with np.errstate(over="ignore", invalid="ignore"):
            if per_s > 1_000:
                return np.floor(numbers / (per_s // 1_000))
            return np.asarray(np.floor(np.rint(numbers * (1_000_000 // per_s)) / 1_000))

    def _texts(
        self, name: str, found: list[Any], places: Sequence[int], rejected: Reasons
    ) -> list[Any]:
        found = list(found)
        at = [i for i, one in enumerate(found) if type(one) is str]
        texts = [found[i] for i in at]
        for i, text, time_ms in zip(at, texts, times_of(texts, self._tick), strict=True):
            if time_ms is None:
                rejected.setdefault(places[i], ("not-a-time", self._no_time(name, text)))
            found[i] = time_ms or 0
        return found

    def _moment(self, found: object, name: str) -> float:
        if found is None:
            raise Refused("no-time", f"{name} is absent or null")
        if isinstance(found, (int, float, Decimal)) and not isinstance(found, bool):
            return self._from_number(found, name)
        if isinstance(found, datetime):
            return ticks_of(found, self._tick)
        if isinstance(found, date):
            midnight = datetime(found.year, found.month, found.day, tzinfo=timezone.utc)
            return ticks_of(midnight, self._tick)
        if not isinstance(found, str):
            detail = f"{name} is {shown(found)}: not {self._tick.name}, nor ISO 8601"
            raise Refused("wrong-type", detail)
        time = self._from_text(found, name)
        if time is None:
            raise Refused("not-a-time", self._no_time(name, found))
        return time

    def _from_number(self, number: float | Decimal, name: str) -> float:
        if self._unit is None:
            return as_float(number)
        if self._is_fine:
            return self._floor(number, name)
        if isinstance(number, int):
            return as_float(number * 1_000 // _PER_SECOND[self._unit])
        moment = as_float(number)
        return float(self.ticks(np.array([moment]))[0])

    def _floor(self, number: float | Decimal, name: str) -> int:
        """Return a number of ticks rounded down, exactly, of any size."""
        try:
            return math.floor(number)
        except (OverflowError, ValueError):
            detail = f"{name} is {number}: not a whole number of {self._tick.name}"
            raise Refused("wrong-type", detail) from None

    def _from_text(self, text: str, name: str) -> float | None:
        bare = text.strip()
        if self._unit is not None and len(bare) <= _LONGEST and _NUMBER.fullmatch(bare):
            if self._is_fine:
                return self._floor(Decimal(bare), name)
            return self._from_number(float(bare) if "." in bare else int(bare), name)
        if self._format is None:
            return read_time(bare, self._tick)
        try:
            moment = datetime.strptime(bare, self._format)  # noqa: DTZ007  # UTC, if it names none
        except ValueError:
            return None
        return ticks_of(moment, self._tick)

    def _no_time(self, name: str, text: str) -> str:
        what = "not ISO 8601" if self._format is None else f"not of the form {self._format!r}"
        bare = text.strip()
        if self._unit is None and len(bare) <= _LONGEST and _NUMBER.fullmatch(bare):
            unit = likely_unit(float(bare)) or "ms"
            what += f'; time_unit = "{unit}" in [input] reads digits in quotes'
        elif self._format is None:
            what += "; time_format in [input] reads other forms"
        return f"{name} is {shown(text)}: {what}"


def likely_unit(moment: float) -> str | None:
    """Return the unit in which a number is a time from 1990 to 2100, if there is one.

    Examples
    --------
    >>> [likely_unit(1.7 * 10.0**digits) for digits in (9, 12, 15, 18, 30)]
    ['s', 'ms', 'us', 'ns', None]
    """
    for unit, per_s in _PER_SECOND.items():
        if _FROM_S * per_s <= moment <= _TO_S * per_s:
            return unit
    return None


def _floats(moments: Sequence[Any]) -> NDArray[np.float64]:
    try:  # every whole number of milliseconds within the bounds is exact as a float
        return np.array(moments, np.float64)
    except OverflowError:
        return np.array(list(map(as_float, moments)), np.float64)
