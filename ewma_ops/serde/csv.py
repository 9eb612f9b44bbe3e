r"""CSV: messages of one or more lines, whose fields are separated by a character.

Knows lines, quotes and names of columns; must not know what a field means.

Lines end with ``\n`` or ``\r\n``, and blank ones are ignored. A field may be quoted, as in RFC
4180, with quotes inside doubled; it may then hold delimiters and line breaks. An empty field is
absent. A line with the names of the columns is a header, not a reading.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde.by_span import SpanReader, Spans
from ewma_ops.serde.fields import Fields
from ewma_ops.serde.format import Refused, text_of
from ewma_ops.serde.lines import Lines, LinesDecoder, read_spans, usual_messages
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Path, Paths
from ewma_ops.serde.several import MOST_READINGS
from ewma_ops.serde.spans import Mask

__all__ = ["FIRST_LINE", "CsvDecoder"]

FIRST_LINE = "first-line"
"""Means that the first line of each message names the columns."""

_BOM = "\ufeff"
_BOM_BYTE = 0xEF


class CsvDecoder(LinesDecoder):
    r"""Decode lines of CSV into readings.

    Parameters
    ----------
    columns
        Names of all columns, in order; or ``"first-line"`` if the first line of each message names
        them.
    options
        Where a reading is: a path is the name of a column. Numbers are text, and times in digits
        are milliseconds without a ``time_unit``.
    delimiter
        One ASCII character.
    quote
        One ASCII character, or none.

    Examples
    --------
    >>> options = DecoderOptions(value="t", series_id="id", time="at")
    >>> decoder = CsvDecoder(["id", "at", "t"], options)
    >>> decoded = decoder.decode([None], [b'a,1,21.5\n"b, c",2,22.5'], [-1])
    >>> decoded.readings.series_ids, decoded.readings.values.tolist(), decoded.ordinals.tolist()
    (['a', 'b, c'], [21.5, 22.5], [0, 1])
    """

    def __init__(
        self,
        columns: Sequence[str],
        options: DecoderOptions,
        *,
        delimiter: str = ",",
        quote: str = '"',
    ) -> None:
        options = replace(options, numbers="text")
        if options.time_unit is None and options.time_format is None:
            options = replace(options, time_unit="ms")
        paths = options.paths()
        names = None if columns == FIRST_LINE else list(columns)
        table = None
        if names is not None and all(_is_column(path, names) for path in paths.every):
            own = _Table(names, paths, options, delimiter, quote)
            table = own if own.is_quick else None
        super().__init__(_Csv(names, paths.heads(), delimiter, quote), table, options)


class _Csv:
    """Split a message into lines and fields."""

    def __init__(
        self, names: list[str] | None, heads: list[str] | None, delimiter: str, quote: str
    ) -> None:
        self._names, self._heads = names, heads
        self._delimiter, self._quote = delimiter, quote

    def lines(self, payload: bytes) -> list[Any]:
        rows = self._rows(text_of(payload).removeprefix(_BOM))
        names = self._names
        if names is None:
            names = [name.strip() for name in next(rows, [])]
        heads = names if self._heads is None else self._heads
        wanted = [(name, at) for at, name in enumerate(names) if name in heads]
        found: list[Any] = []
        for row in rows:
            if len(found) > MOST_READINGS:
                break
            if len(row) != len(names):
                found.append(_ragged(len(row), names))
            elif row != names and [field.strip() for field in row] != names:
                found.append({name: row[at] or None for name, at in wanted})
        return found

    def _rows(self, text: str) -> Iterator[list[str]]:
        """Yield the fields of each line that is not blank."""
        lines = StringIO(text, newline="\n")  # one at a time: there may be millions
        if self._quote and self._quote in text:
            rows = self._quoted(lines)
        else:
            rows = (line.rstrip("\n").removesuffix("\r").split(self._delimiter) for line in lines)
        return (row for row in rows if len(row) > 1 or (row and row[0].strip()))

    def _quoted(self, lines: StringIO) -> Iterator[list[str]]:
        if "\0" in lines.getvalue():  # which only Python 3.10 refuses
            raise Refused("not-csv", "a message with quotes has a zero byte")
        reader = csv.reader(
            lines,
            delimiter=self._delimiter,
            quotechar=self._quote,
            strict=True,
        )
        try:
            yield from reader
        except csv.Error as error:
            raise Refused("not-csv", f"line {reader.line_num}: {error}") from None


def _ragged(n: int, names: Sequence[str]) -> Refused:
    columns = "is 1 column" if len(names) == 1 else f"are {len(names)} columns"
    fields = "1 field" if n == 1 else f"{n} fields"
    return Refused("not-csv", f"the line has {fields}, and there {columns}")


class _Table:
    """Read lines of many messages that have the right number of fields, by columns."""

    def __init__(
        self,
        names: Sequence[str],
        paths: Paths,
        options: DecoderOptions,
        delimiter: str,
        quote: str,
    ) -> None:
        self._reader = SpanReader(paths, options, blank_is_missing=True)
        self._wanted = {path.text: names.index(str(path.steps[0])) for path in paths.every}
        self._columns = len(names)
        self._delimiter, self._quote = ord(delimiter), ord(quote) if quote else None
        every = frozenset(self._wanted)
        self.is_quick = (
            not paths.where
            and self._reader.serves(every, frozenset())
            # A header must not count as a reading.
            and not any(_is_number(str(path.steps[0])) for path in paths.numbers)
        )

    def read(self, lines: Lines) -> tuple[Mask, Fields] | None:
        usual = usual_messages(lines)
        if self._quote is not None:
            usual[lines.owners_of(self._quote)] = False
        if not lines.is_ascii:
            usual[lines.owners_of(_BOM_BYTE)] = False
        between = np.flatnonzero(lines.data[: lines.total] == self._delimiter)
        first = np.searchsorted(between, lines.starts)
        alike = np.searchsorted(between, lines.stops) - first == self._columns - 1
        usual[lines.owners[~alike]] = False
        kept = usual[lines.owners]
        if not kept.any():
            return None
        lines, first = lines.take(kept), first[kept]
        spans = {}
        for path, at in self._wanted.items():
            starts = lines.starts if at == 0 else between[first + at - 1] + 1
            stops = lines.stops if at == self._columns - 1 else between[first + at]
            spans[path] = BytesColumn(lines.data, starts, stops)
        return read_spans(
            self._reader, lines, Spans(spans, {}), np.ones(len(first), np.bool_), usual
        )


def _is_column(path: Path, names: Sequence[str]) -> bool:
    return path.source == "document" and len(path.steps) == 1 and path.steps[0] in names


def _is_number(name: str) -> bool:
    with suppress(ValueError):
        float(name)
        return True
    return False
