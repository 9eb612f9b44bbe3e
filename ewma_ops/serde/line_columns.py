"""Points of the line protocol that all have one shape, as columns.

Knows what stands between the values of a point; must not know what is wrong with a line. The points
of one producer have the same tags and fields in the same order, so that they differ in their values
alone: what stands between these is learned from one point, and looked for in all others at once. A
line that is different in the least is left to be matched by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde.by_span import SpanReader, Spans
from ewma_ops.serde.fields import Fields
from ewma_ops.serde.lines import Lines, read_spans, usual_messages
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Path, Paths
from ewma_ops.serde.spans import Mask, any_of, behind, read_floats, read_integers, until

__all__ = ["PointColumns"]

_SAMPLES = 3
_MOST_HOLES = 64
_LONGEST_LINE = 2_048
_ASCII = 0x80
_MINUS, _ZERO, _NINE = ord("-"), ord("0"), ord("9")
_NANOSECONDS = 19
_FIELD = re.compile(r'([^,= ]+)=("[^"]*"|[^,]*)')
_BEGINS_NO_POINT = list(b"#\t\r")
"""Comments, and blanks that may stand before one."""
_ENDS_NAME = b"\\,= "
_ENDS_TEXT = b'"\\'


class _Hole(NamedTuple):
    """Where a value stands in the point that is learned from, and what it is.

    ``at`` are the steps of the path that leads to it. ``kind`` is ``"name"`` for a measurement or a
    tag, ``"text"`` for what is inside of quotes, ``"float"``, ``"integer"``, ``"unsigned"`` or
    ``"time"``.
    """

    at: tuple[str | int, ...]
    kind: str
    start: int
    stop: int


class PointColumns:
    """Read points of the shape that was seen last, a column at a time.

    Parameters
    ----------
    paths, options
        What to read.
    point
        Matches a point: measurement, tags, fields and time are its groups.
    """

    def __init__(self, paths: Paths, options: DecoderOptions, point: re.Pattern[str]) -> None:
        self._reader, self._point = SpanReader(paths, options), point
        self._wanted = {path.steps: path.text for path in paths.every}
        written = {path.text for path in paths.every}
        self._shape: _Shape | None = None
        self.is_quick = (
            not paths.where
            and all(map(_is_of_point, paths.every))
            and len(written) == len(self._wanted)
            and not {("tags",), ("fields",)} & self._wanted.keys()
        )

    def read(self, lines: Lines) -> tuple[Mask, Fields] | None:
        """Do as `serde.lines.LineColumns` says."""
        text = lines.data[: lines.total]
        if (text >= _ASCII).any():
            try:
                text.tobytes().decode()
            except UnicodeDecodeError:
                return None
        shape = self._shape or self._learn(lines)
        if shape is None:
            return None
        usual = usual_messages(lines)
        alike, found = shape.match(lines, self._wanted)
        usual[lines.owners[~alike]] = False
        usual, fields = read_spans(self._reader, lines, found, alike, usual)
        self._shape = shape if 2 * np.count_nonzero(usual) >= len(usual) else None
        return usual, fields

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
            shape = _Shape(line.encode(), holes, dict(_booleans(point)))
            texts = {self._wanted.get(at) for at in shape.texts}
            numbers = {self._wanted.get(at) for at in shape.numbers}
            held = texts | numbers
            shape.constants = {
                path: shape.booleans.get(at, b"null")
                for at, path in self._wanted.items()
                if path not in held
            }
            if self._reader.serves(texts, numbers, shape.constants.keys()):
                return shape
        return None


class _Shape:
    """What stands between the values of points."""

    def __init__(
        self, line: bytes, holes: list[_Hole], booleans: dict[tuple[str | int, ...], bytes]
    ) -> None:
        self.booleans = booleans
        self.constants: dict[str, bytes] = {}
        self.texts = {hole.at for hole in holes if hole.kind in ("name", "text")}
        self.numbers = {hole.at for hole in holes} - self.texts
        self.floats = {hole.at for hole in holes if hole.kind == "float"}
        self._holes = holes
        stops = [*(hole.start for hole in holes), len(line)]
        starts = [0, *(hole.stop for hole in holes)]
        self._between = [line[a:b] for a, b in zip(starts, stops, strict=True)]

    def match(self, lines: Lines, wanted: dict[tuple[str | int, ...], str]) -> tuple[Mask, Spans]:
        """Return which lines have the shape, and where the values that are wanted stand."""
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
            alike &= _is_number(spans, hole.kind, alike, is_read=path is not None)
            if path is not None:
                numbers[path] = spans
        alike &= behind(lines.data, at, stops, self._between[-1], alike) == stops
        floats = {wanted[at] for at in self.floats & wanted.keys()}
        return alike, Spans(texts, numbers, self.constants, floats)


def _is_number(spans: BytesColumn, kind: str, alike: Mask, *, is_read: bool) -> Mask:
    """Tell which spans are numbers, but for what shows when one is read as a float."""
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
