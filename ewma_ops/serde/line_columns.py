"""Points of the line protocol with a common shape, as columns.

Knows the text between the values of a point; must not know errors of lines. The points of one
producer have the same tags and fields in the same order, so they differ only in their values: the
text between these is learned from one point, and searched for in all others at once. Any other line
is left to be matched separately.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.serde.by_span import SpanReader, Spans
from ewma_ops.serde.fields import Fields, distinct
from ewma_ops.serde.lines import Lines, usual_messages
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Path, Paths
from ewma_ops.serde.spans import Mask, any_of, behind, read_floats, read_integers, until
from ewma_ops.serde.where import Where

__all__ = ["PointColumns"]

_SAMPLES = 3
_MOST_SHAPES = 8
_MOST_HOLES = 64
_LONGEST_LINE = 2_048
_MINUS, _ZERO, _NINE = ord("-"), ord("0"), ord("9")
_NANOSECONDS = 19
_LEAST_INEXACT = 2.0**53
_FIELD = re.compile(r'([^,= ]+)=("[^"]*"|[^,]*)')
_BEGINS_NO_POINT = list(b"#\t\r")
"""Comments, and blanks that may stand before one."""
_ENDS_NAME = b"\\,= "
_ENDS_TEXT = b'"\\'


class _Hole(NamedTuple):
    """The position of a value in the learned point, and its kind.

    ``at`` are the steps of the path that leads to it. ``kind`` is ``"name"`` for a measurement or a
    tag, ``"text"`` for what is inside of quotes, ``"float"``, ``"integer"``, ``"unsigned"`` or
    ``"time"``.
    """

    at: tuple[str | int, ...]
    kind: str
    start: int
    stop: int


class PointColumns:
    """Read points of the shapes that were seen last, a column at a time.

    Parameters
    ----------
    paths, options
        What to read.
    point
        Matches a point: measurement, tags, fields and time are its groups.
    """

    def __init__(self, paths: Paths, options: DecoderOptions, point: re.Pattern[str]) -> None:
        self._reader, self._point = SpanReader(paths, options), point
        self._where = Where(options)
        self._wanted = {path.steps: path.text for path in paths.every}
        written = {path.text for path in paths.every}
        self._shapes: list[_Shape] = []
        self.is_quick = (
            all(map(_is_of_point, paths.every))
            and len(written) == len(self._wanted)
            and not {("tags",), ("fields",)} & self._wanted.keys()
        )

    def read(self, lines: Lines) -> tuple[Mask, Fields] | None:
        """Implement `serde.lines.LineColumns`."""
        usual = usual_messages(lines)
        read = self._reader.nothing(), np.zeros(0, np.intp)
        skipped = np.zeros(len(lines.starts), np.bool_)
        left = np.arange(len(lines.starts))
        known = self._shapes
        used: list[tuple[int, int, _Shape]] = []
        for _ in range(_MOST_SHAPES):
            own = lines if len(left) == len(lines.starts) else lines.take(left)
            shape = known.pop(0) if known else self._learn(own)
            if shape is None:
                break
            alike, found = shape.match(own, self._wanted, is_read=not self._where.wanted)
            ours = self._are_ours(found, alike)
            skipped[left[alike & ~ours]] = True
            if shape.serves:
                fields = self._reader.read(found, ours)
                rows = left[ours]
                read = _joined(*read, fields, rows) if len(read[1]) else (fields, rows)
            used.append((-int(np.count_nonzero(alike)), len(used), shape))
            left = left[~alike]
            if not len(left) or not (known or alike.any()):
                break
        self._shapes = [shape for found_in, _, shape in sorted(used) if found_in]
        return _whole_messages(lines, usual, *read, skipped)

    def _are_ours(self, found: Spans, alike: Mask) -> Mask:
        """Return which of the lines that are ``alike`` match ``where``.

        Lines for which that cannot be decided here are removed from ``alike``.
        """
        for path in self._where.wanted:
            if path.text in found.numbers:  # an integer is compared as one
                alike &= np.abs(read_floats(found.numbers[path.text], alike)[0]) < _LEAST_INEXACT
        ours = alike.copy()
        rows = np.flatnonzero(alike)
        for path, wanted in self._where.wanted.items():
            if path.text in found.constants:
                constant = msgspec.json.decode(found.constants[path.text])
                ours &= (isinstance(constant, bool), constant) in wanted
            elif path.text in found.texts:
                texts = TextColumn(found.texts[path.text].take(rows))
                ours[rows] &= np.fromiter(((False, one) in wanted for one in texts), np.bool_)
            else:
                numbers = read_floats(found.numbers[path.text], alike)[0][rows].tolist()
                ours[rows] &= np.fromiter(((False, one) in wanted for one in numbers), np.bool_)
        return ours

    def _learn(self, lines: Lines) -> _Shape | None:
        for start, stop in zip(lines.starts[:_SAMPLES], lines.stops[:_SAMPLES], strict=True):
            if stop - start > _LONGEST_LINE:
                continue
            line = lines.data[start:stop].tobytes().decode()
            point = self._point.fullmatch(line)
            if point is None or not line.isascii() or "\\" in line:
                continue
            holes = list(_holes(point))
            if len(holes) > _MOST_HOLES or len({hole.at for hole in holes}) < len(holes):
                continue
            shape = _Shape(line.encode(), holes)
            texts = {self._wanted.get(at) for at in shape.texts}
            numbers = {self._wanted.get(at) for at in shape.numbers}
            booleans = dict(_booleans(point))
            shape.constants = {
                path: booleans.get(at, b"null")
                for at, path in self._wanted.items()
                if path not in texts | numbers
            }
            shape.serves = self._reader.serves(texts, numbers, shape.constants.keys())
            return shape
        return None


def _joined(
    fields: Fields, rows: NDArray[np.intp], others: Fields, theirs: NDArray[np.intp]
) -> tuple[Fields, NDArray[np.intp]]:
    return fields.merged(rows, others, theirs), np.sort(np.append(rows, theirs))


def _whole_messages(
    lines: Lines, usual: Mask, fields: Fields, rows: NDArray[np.intp], skipped: Mask
) -> tuple[Mask, Fields]:
    """Return which messages are usual: every line was read or skipped.

    ``fields`` are of the lines ``rows``, in order.
    """
    settled = skipped.copy()
    settled[rows] = True
    usual[lines.owners[~settled]] = False
    kept = usual[lines.owners[rows]]
    if not kept.all():
        fields, rows = fields.take(np.flatnonzero(kept)), rows[kept]
    own = lines if len(rows) == len(lines.starts) else lines.take(rows)
    # A message of which every line is skipped holds none, and is counted as such.
    bare = int(np.count_nonzero(usual)) - distinct(own.owners)
    left_out = int(np.count_nonzero(skipped & usual[lines.owners])) - bare
    return usual, fields._replace(owners=own.owners, ordinals=own.ordinals, skipped=left_out)


class _Shape:
    """The text between the values of points."""

    def __init__(self, line: bytes, holes: list[_Hole]) -> None:
        self.constants: dict[str, bytes] = {}
        self.serves = False
        self.texts = {hole.at for hole in holes if hole.kind in ("name", "text")}
        self.numbers = {hole.at for hole in holes} - self.texts
        self.floats = {hole.at for hole in holes if hole.kind == "float"}
        self._holes = holes
        stops = [*(hole.start for hole in holes), len(line)]
        starts = [0, *(hole.stop for hole in holes)]
        self._between = [line[a:b] for a, b in zip(starts, stops, strict=True)]

    def match(
        self, lines: Lines, wanted: dict[tuple[str | int, ...], str], *, is_read: bool
    ) -> tuple[Mask, Spans]:
        """Return which lines have the shape, and the positions of the needed values.

        ``is_read`` says that the numbers among these are read for every line anyway.
        """
        at, stops = lines.starts, lines.stops
        alike = ~np.isin(lines.data[at], _BEGINS_NO_POINT)
        texts: dict[str, BytesColumn] = {}
        numbers: dict[str, BytesColumn] = {}
        for hole, text, after in zip(self._holes, self._between, self._between[1:], strict=False):
            at = np.minimum(behind(lines.data, at, stops, text, alike), stops)
            marks = _ENDS_TEXT if hole.kind == "text" else _ENDS_NAME + after[:1]
            spans = BytesColumn(lines.data, at, until(lines.data, at, stops, any_of(marks)))
            at = spans.stops
            path = wanted.get(hole.at)
            if hole.kind in ("name", "text"):
                if hole.kind == "name":
                    alike &= spans.stops > spans.starts
                if path is not None:
                    texts[path] = spans
                continue
            alike &= _is_number(spans, hole.kind, alike, is_read=is_read and path is not None)
            if path is not None:
                numbers[path] = spans
        alike &= behind(lines.data, at, stops, self._between[-1], alike) == stops
        floats = {wanted[at] for at in self.floats & wanted.keys()}
        return alike, Spans(texts, numbers, self.constants, floats)


def _is_number(spans: BytesColumn, kind: str, alike: Mask, *, is_read: bool) -> Mask:
    """Return which spans are numbers, except for errors that show when a float is read."""
    data = np.frombuffer(spans.data, np.uint8)
    first = data[spans.starts]
    last = data[np.maximum(spans.stops - 1, spans.starts)]
    negative = first == _MINUS
    # JSON has blanks around numbers, and the word null.
    good: Mask = (negative | ((first >= _ZERO) & (first <= _NINE))) & (last >= _ZERO)
    good &= (last <= _NINE) & (spans.stops > spans.starts)
    if kind == "integer":
        bare = BytesColumn(spans.data, spans.starts + negative, spans.stops)
        return good & read_integers(bare, _NANOSECONDS)[1]
    if kind in ("time", "unsigned"):
        return good & read_integers(spans, _NANOSECONDS)[1]
    return good if is_read else good & read_floats(spans, alike & good)[1]


def _holes(point: re.Match[str]) -> Iterator[_Hole]:
    """Yield where the values of a point stand that has no backslash in it, in order."""
    yield _Hole(("measurement",), "name", *point.span(1))
    at = point.start(2)
    for pair in point[2].split(",")[1:]:
        name, _, text = pair.partition("=")
        at += len(name) + 2
        yield _Hole(("tags", name), "name", at, at + len(text))
        at += len(text)
    for field in _FIELD.finditer(point[3]):
        name, value = field.groups()
        start, stop = (place + point.start(3) for place in field.span(2))
        if value[0] == '"':
            yield _Hole(("fields", name), "text", start + 1, stop - 1)
        elif value[-1] in "iu":
            kind = "integer" if value[-1] == "i" else "unsigned"
            yield _Hole(("fields", name), kind, start, stop - 1)
        elif value[-1].isdigit():
            yield _Hole(("fields", name), "float", start, stop)
        # What else there is has to be the same in all points.
    if point[4] is not None:
        yield _Hole(("time",), "time", *point.span(4))


def _booleans(point: re.Match[str]) -> Iterator[tuple[tuple[str | int, ...], bytes]]:
    """Yield the fields that are true or false, which is the same in all points of a shape."""
    for field in _FIELD.finditer(point[3]):
        name, value = field.groups()
        if value[0] in "tTfF":
            yield ("fields", name), b"true" if value[0] in "tT" else b"false"


def _is_of_point(path: Path) -> bool:
    return path.source == "document" and path.up == 0
