"""Formats in which a message is lines of text, each of them a reading.

Knows messages, lines and the faster path by columns; must not know what a line looks like.
Every line has its ordinal, counted from 0 in its message; a line that cannot be read is rejected
alone, and a message that cannot be split into lines as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import SPARE, BytesColumn, copy_into, taken
from ewma_ops.serde.by_span import SpanReader, Spans
from ewma_ops.serde.decoder import Decoder, are_many
from ewma_ops.serde.fields import Fields, RecordFields
from ewma_ops.serde.format import Reasons, Refused, empty, tombstone
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.patience import Patience
from ewma_ops.serde.several import MOST_READINGS, too_many
from ewma_ops.serde.spans import Mask

__all__ = [
    "LineColumns",
    "LineFormat",
    "Lines",
    "LinesDecoder",
    "lines_of",
    "read_spans",
    "usual_messages",
]

_LINE_BREAK, _RETURN = ord("\n"), ord("\r")
_ASCII = 0x80
_SHORTEST, _FEW_LINES = 4, 1 << 16
_MANY_BYTES = 4 << 10
"""Fewer bytes than this are read faster line by line (measured)."""


class LineFormat(Protocol):
    """Turns a message into the documents of its lines."""

    def lines(self, payload: bytes) -> list[Any]:
        """Return the document of each line, or a `Refused` in its place.

        Raises
        ------
        Refused
            If the message cannot be split into lines.
        """


class LineColumns(Protocol):
    """Reads the usual lines of many messages by columns."""

    def read(self, lines: Lines) -> tuple[Mask, Fields] | None:
        """Return which messages are usual, and the fields of their lines.

        ``None`` if hardly any is. Messages with an unusual line are left out as a whole.
        """


class Lines(NamedTuple):
    """The lines of consecutive messages, m of them, none of them empty.

    ``data`` is the buffer, of ``total`` bytes of UTF-8 and some to spare; ``starts`` and ``stops``
    (int64[m]) are the lines in it, without their line breaks, ``owners`` (intp[m]) the messages
    they are of, and ``ordinals`` (uint64[m]) count them within one. ``ends`` (int64[n]) are the
    messages' ends. ``is_ascii`` tells whether all bytes are ASCII.
    """

    data: NDArray[np.uint8]
    total: int
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    owners: NDArray[np.intp]
    ordinals: NDArray[np.uint64]
    ends: NDArray[np.int64]
    is_ascii: bool

    def owners_of(self, byte: int) -> NDArray[np.intp]:
        """Return the messages that contain a byte, some of them several times."""
        at = np.flatnonzero(self.data[: self.total] == byte)
        return np.searchsorted(self.ends, at, side="right")

    def take(self, rows: NDArray[np.intp] | Mask) -> Lines:
        """Return some lines."""
        return self._replace(
            starts=self.starts[rows],
            stops=self.stops[rows],
            owners=self.owners[rows],
            ordinals=self.ordinals[rows],
        )


def lines_of(payloads: BytesColumn) -> Lines | None:
    r"""Split messages into lines, at ``\n`` or ``\r\n``; empty ones are dropped.

    ``None`` where very many are so short that they are none, as columns would be many times as
    long; and where the messages are not all UTF-8.

    Examples
    --------
    >>> lines = lines_of(BytesColumn.of([b"a\r\n\nbc", None, b"d\n"]))
    >>> lines.starts.tolist(), lines.stops.tolist(), lines.owners.tolist(), lines.ordinals.tolist()
    ([0, 4, 8], [1, 6, 9], [0, 0, 2], [0, 1, 0])
    """
    sizes = np.maximum(payloads.sizes, 0)
    ends = np.cumsum(sizes + 1)
    total = int(ends[-1]) if len(ends) else 0
    data = np.zeros(total + len(SPARE), np.uint8)
    copy_into(data, ends - sizes - 1, payloads)
    data[ends - 1] = _LINE_BREAK
    breaks = data[:total] == _LINE_BREAK
    if np.count_nonzero(breaks) > max(total // _SHORTEST + len(ends), _FEW_LINES):
        return None
    is_ascii = not (data >= _ASCII).any()
    if not is_ascii:
        try:
            data[:total].tobytes().decode()
        except UnicodeDecodeError:
            return None
    stops = np.flatnonzero(breaks)
    starts = np.zeros_like(stops)
    starts[1:] = stops[:-1] + 1
    owners = np.searchsorted(ends, stops, side="right")
    stops = stops - ((stops > starts) & (data[stops - 1] == _RETURN))
    ordinals = np.zeros(len(starts), np.uint64)
    lines = Lines(data, total, starts, stops, owners, ordinals, ends, is_ascii)
    lines = lines.take(np.flatnonzero(stops > starts))
    return lines._replace(ordinals=ordinals_of(lines.owners))


def ordinals_of(owners: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Count the lines of each message, given the message of each line."""
    places = np.arange(len(owners))
    first = np.ones(len(owners), np.bool_)
    first[1:] = owners[1:] != owners[:-1]
    return (places - np.maximum.accumulate(np.where(first, places, 0))).astype(np.uint64)


def usual_messages(lines: Lines) -> Mask:
    """Return which messages (bool[n]) hold lines, and not too many."""
    counts = np.bincount(lines.owners, minlength=len(lines.ends))
    return (counts > 0) & (counts <= MOST_READINGS)


def read_spans(
    reader: SpanReader, lines: Lines, found: Spans, alike: Mask, usual: Mask
) -> tuple[Mask, Fields]:
    """Return which messages are usual, and the fields of their lines.

    Parameters
    ----------
    reader
        Reads the fields.
    lines, found
        m lines, and where their values stand.
    alike
        bool[m], of which lines that is known.
    usual
        bool[n], of which messages anything is known.
    """
    alike &= usual[lines.owners]
    fields = reader.read(found, alike)
    usual[lines.owners[~alike]] = False
    kept = usual[lines.owners]
    if not (kept == alike).all():
        fields = fields.take(np.flatnonzero(kept[alike]))
    own = lines.take(kept)
    return usual, fields._replace(owners=own.owners, ordinals=own.ordinals)


class LinesDecoder(Decoder):
    """Decode messages that are lines.

    Parameters
    ----------
    format_
        Reads a line, whatever it looks like.
    columns
        Reads usual lines by columns; ``None`` where there is no such way.
    options
        Where in the document of a line a reading stands, and which readings are taken.
    """

    def __init__(
        self, format_: LineFormat, columns: LineColumns | None, options: DecoderOptions
    ) -> None:
        super().__init__(None, options)
        self._lines, self._columns = format_, columns
        self._patience = Patience()

    def documents(self, payload: bytes | None) -> list[Any]:
        """Return the documents of the lines of a message; `Refused` if it holds none."""
        found = self._found(payload)
        lines = [line for line in found if not isinstance(line, Refused)]
        if found and not lines:
            raise found[0]
        return lines

    def _read(
        self, payloads: Sequence[bytes | None], record: RecordFields, rejected: Reasons
    ) -> Fields:
        read = self._by_columns(payloads)
        if read is None:
            return self._read_lines(payloads, record, rejected)
        usual, fields = read
        if usual.all():
            return fields
        others = np.flatnonzero(~usual)
        theirs = {i: rejected[at] for i, at in enumerate(others.tolist()) if at in rejected}
        rest = self._read_lines(taken(payloads, others), record.take(others), theirs)
        return _merged(fields, rest._replace(owners=others[rest.owners]), theirs, rejected)

    def _by_columns(self, payloads: Sequence[bytes | None]) -> tuple[Mask, Fields] | None:
        """Return which messages are usual, and the fields of their lines."""
        if self._columns is None or not _are_long(payloads) or not self._patience.is_over():
            return None
        lines = lines_of(payloads)
        read = None if lines is None else self._columns.read(lines)
        return read if self._patience.is_worth(None if read is None else read[0]) else None

    def _read_lines(
        self, payloads: Sequence[bytes | None], record: RecordFields, rejected: Reasons
    ) -> Fields:
        """Read messages by the documents of their lines; ``rejected`` is by line from here on."""
        documents: list[Any] = []
        owners: list[int] = []
        broken: Reasons = {}
        for place, payload in enumerate(payloads):
            found = [Refused(*rejected[place])] if place in rejected else self._found(payload)
            for document in found:
                is_refused = isinstance(document, Refused)
                if is_refused:
                    broken[len(owners)] = document.args
                documents.append({} if is_refused else document)
                owners.append(place)
        rejected.clear()
        rejected.update(broken)
        rows = np.array(owners, np.intp)
        fields = self._documents.read([documents], range(len(rows)), record.take(rows), rejected)
        return fields._replace(owners=rows, ordinals=ordinals_of(rows))

    def _found(self, payload: bytes | None) -> list[Any]:
        if payload is None:
            return [tombstone()]
        if not payload.strip():
            return [empty()]
        try:
            found = self._lines.lines(payload)
        except Refused as refused:
            return [refused]
        return found if len(found) <= MOST_READINGS else [too_many()]


def _are_long(payloads: Sequence[bytes | None]) -> TypeGuard[BytesColumn]:
    """Return whether messages are a column, and long enough to be worth keeping columnar."""
    if are_many(payloads):
        return True
    return isinstance(payloads, BytesColumn) and payloads.nbytes >= _MANY_BYTES


def _merged(fields: Fields, rest: Fields, theirs: Reasons, rejected: Reasons) -> Fields:
    """Join the lines of usual messages with the others'; ``rejected`` is by line from here on."""
    assert fields.owners is not None
    assert rest.owners is not None
    assert fields.ordinals is not None
    assert rest.ordinals is not None
    n = len(fields.owners)
    owners = np.concatenate([fields.owners, rest.owners])
    order = np.argsort(owners, kind="stable")
    row_of = np.empty_like(order)
    row_of[order] = np.arange(len(order))
    rejected.clear()
    rejected.update((int(row_of[n + row]), why) for row, why in theirs.items())
    joined = fields.merged(row_of[:n], rest, row_of[n:])
    ordinals = np.concatenate([fields.ordinals, rest.ordinals])
    return joined._replace(owners=owners[order], ordinals=ordinals[order], skipped=fields.skipped)
