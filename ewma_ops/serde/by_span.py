"""Reads the fields of payloads whose values were found as spans of text, by columns.

Knows paths and which types are read; must not know formats, nor how the spans were found.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn, lay_out, split
from ewma_ops.serde.fields import Fields
from ewma_ops.serde.moments import MomentReader
from ewma_ops.serde.numbers import NumberReader
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Paths
from ewma_ops.serde.spans import Mask, are_plain, read_floats, read_integers, read_text_floats
from ewma_ops.serde.times import read_times

__all__ = ["SpanReader", "Spans"]

_NANOSECONDS = 19
"""Digits of today's nanoseconds."""
_MINUS = ord("-")
_MOST_WHOLE = 2.0**63
"""From here on, whole numbers have more than one notation."""


class Spans(NamedTuple):
    """The positions of the values of n payloads, by path: texts and numbers.

    ``constants`` are the JSON of values common to all, and ``floats`` the numbers that are floats
    even if they are whole.
    """

    texts: Mapping[str, BytesColumn]
    numbers: Mapping[str, BytesColumn]
    constants: Mapping[str, bytes] = {}
    floats: AbstractSet[str] = frozenset()


class SpanReader:
    """Reads fields of spans; unusual values are left to documents, with the same result.

    Parameters
    ----------
    paths
        What to read: of the document, all of them.
    options
        Which types are read as numbers and times.
    blank_is_missing
        Whether an empty text is a missing number.
    """

    def __init__(
        self, paths: Paths, options: DecoderOptions, *, blank_is_missing: bool = False
    ) -> None:
        self._options = options
        self._number_reader, self._moments = NumberReader(options), MomentReader(options)
        self._blank_is_missing = blank_is_missing
        self._reads_text = options.numbers == "text" and options.decimal == "."
        self.ids = [path.text for path in paths.ids]
        self.numbers = [path.text for path in paths.numbers]
        self.times = [] if paths.time is None else [paths.time.text]
        self.include = [path.text for path in paths.include]
        self._members = [msgspec.json.encode(path.name) + b":" for path in paths.include]
        self.every = frozenset([*self.ids, *self.numbers, *self.times, *self.include])
        self._digits = _NANOSECONDS if options.time_unit in ("us", "ns") else None

    def serves(
        self,
        texts: AbstractSet[str | None],
        numbers: AbstractSet[str | None],
        constants: AbstractSet[str | None] = frozenset(),
    ) -> bool:
        """Return whether payloads with texts, numbers and constants at these paths are read."""
        if not texts | numbers | constants >= set(self.include):
            return False
        both = numbers | texts if self._reads_text else numbers
        times = frozenset(self.times)
        times_are = numbers >= times or (texts >= times and self._options.time_format is None)
        return texts >= set(self.ids) and both >= set(self.numbers) and times_are

    def read(self, found: Spans, usual: Mask) -> Fields:
        """Return the fields of the ``usual`` payloads (bool[n]); others are removed from it."""
        ids = times_ms = None
        if self.ids:
            parts = [found.texts[path] for path in self.ids]
            for part in parts:
                usual &= part.stops > part.starts
            ids = TextColumn(_joined(parts, usual))
        if self.times:
            times_ms, good = self._read_times(found, self.times[0], usual)
            usual &= good
        numbers = []
        for path in self.numbers:
            column, good = self._read_numbers(found, path, usual)
            usual &= good
            numbers.append(self._number_reader.blank_sentinels(column))
        included = self._read_include(found, usual) if self.include else None
        fields = Fields(ids, times_ms, numbers, included=included)
        return fields if usual.all() else fields.take(np.flatnonzero(usual))

    def nothing(self) -> Fields:
        """Return the fields of no payloads."""
        return Fields(
            TextColumn.of([]) if self.ids else None,
            self._moments.nothing() if self.times else None,
            [np.zeros(0) for _ in self.numbers],
            included=BytesColumn.of([]) if self.include else None,
        )

    def _read_numbers(
        self, found: Spans, path: str, usual: Mask
    ) -> tuple[NDArray[np.float64], Mask]:
        if path in found.numbers:
            read = read_text_floats if path in found.floats else read_floats
            return read(found.numbers[path], usual)
        spans = found.texts[path]
        if not self._blank_is_missing:
            return read_text_floats(spans, usual)
        blank = spans.stops <= spans.starts
        column, good = read_text_floats(spans, usual & ~blank)
        column[blank] = np.nan
        return column, good | blank

    def _read_include(self, found: Spans, usual: Mask) -> BytesColumn:
        """Return members of JSON objects, in the form of `IncludeWriter`."""
        pieces: list[bytes | BytesColumn] = []
        for path, member in zip(self.include, self._members, strict=True):
            pieces += [b"," + member if pieces else member]
            if path in found.constants:
                pieces.append(found.constants[path])
            elif path in found.numbers:
                is_float = path in found.floats
                pieces.append(_json_numbers(found.numbers[path], usual, is_float=is_float))
            else:
                pieces.append(self._json_texts(found.texts[path], usual))
        return lay_out(pieces, len(usual)) if len(usual) else BytesColumn.of([])

    def _json_texts(self, spans: BytesColumn, usual: Mask) -> BytesColumn:
        usual &= are_plain(spans)
        n = len(usual)
        starts = np.where(usual, spans.starts, 0)
        own = BytesColumn(spans.data, starts, np.where(usual, spans.stops, 0))
        texts = lay_out([b'"', own, b'"'], n) if n else own
        blank = own.stops <= own.starts
        if self._blank_is_missing and blank.any():
            null = BytesColumn.of([b"null"])
            return BytesColumn.concat([texts, null]).take(np.where(blank, n, np.arange(n)))
        return texts

    def _read_times(
        self, found: Spans, path: str, usual: Mask
    ) -> tuple[NDArray[np.int64] | NDArray[np.float64], Mask]:
        unit = self._options.time_unit
        if path in found.texts:
            spans = found.texts[path]
            if unit is None:
                return read_times(spans, self._options.tick)
            times, good = read_integers(spans, self._digits)
            if not good.any():
                return read_times(spans, self._options.tick)
            return self._moments.ticks(times), good
        spans = found.numbers[path]
        times, good = read_integers(spans, self._digits)
        if unit is None:
            return times, good
        if good.all():
            return self._moments.ticks(times), good
        moments, fine = read_floats(spans, usual & ~good)
        fine &= (np.abs(moments) < self._moments.exact_below) & ~np.isnan(moments)
        moments[~fine] = 0
        times_ms = np.where(good, self._moments.ticks(times), self._moments.ticks(moments))
        return times_ms, good | fine


def _json_numbers(spans: BytesColumn, usual: Mask, *, is_float: bool) -> BytesColumn:
    """Return numbers as in JSON that was read and written again."""
    n = len(usual)
    negative = np.frombuffer(spans.data, np.uint8)[spans.starts] == _MINUS
    bare = BytesColumn(spans.data, spans.starts + negative, spans.stops)
    values, whole = read_integers(bare, _NANOSECONDS)
    if is_float:
        whole[:] = False
    usual &= ~(whole & negative & (values == 0))  # JSON's -0 is written as 0
    read = read_text_floats if is_float else read_floats
    floats, good = read(spans, usual & ~whole)
    usual &= whole | (good & (np.abs(floats) < _MOST_WHOLE)) | (good & np.isnan(floats))
    whole &= usual
    own = spans.take(np.flatnonzero(whole))
    others = floats[~whole & usual].tolist()
    written = split(msgspec.json.encode(others)[1:-1], ord(",")) if others else BytesColumn.of([])
    order = np.full(n, -1)
    order[whole] = np.arange(len(own))
    order[~whole & usual] = len(own) + np.arange(len(others))
    order[~usual] = len(own) + len(others)
    return BytesColumn.concat([own, written, BytesColumn.of([b"0"])]).take(order)


def _joined(parts: list[BytesColumn], usual: Mask) -> BytesColumn:
    """Return texts joined with "/", each of several parts; arbitrary for unusual payloads."""
    if len(parts) == 1 or not len(usual):
        return parts[0]
    empty = np.zeros(1, np.int64)
    pieces: list[bytes | BytesColumn] = []
    for part in parts:
        starts = np.where(usual, part.starts, empty)
        pieces += [BytesColumn(part.data, starts, np.where(usual, part.stops, empty)), b"/"]
    return lay_out(pieces[:-1], len(usual))
