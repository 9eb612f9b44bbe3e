"""JSON payloads that all have one shape, as columns.

Knows JSON as text; must not know readings, or errors of payloads.

The messages of one producer differ only in their values: they have the same keys in the same order,
with the same blanks between them. The text between the values is learned from one payload, and
searched for in all others at once; the values are what is left, found and read eight bytes at a
time. A payload that differs at all does not match, and the reason is not reported.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.compiled import library
from ewma_ops.serde.spans import Mask, behind, equal_to, read_floats, special, until

__all__ = ["Hole", "Matched", "Shape", "learn"]

_MOST_HOLES = 64
_TOKEN = re.compile(
    rb'[ \t\r\n]*(?:([{}\[\],:])|("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*)|true|false|null)',
    re.DOTALL,
)


_LONGEST_PAYLOAD = 4_096


class Hole(NamedTuple):
    """The position of a value in a payload, without its quotes, and the path of its field.

    The path is ``None`` in an array, and if no path leads to it.
    """

    path: str | None
    is_text: bool
    start: int
    stop: int


class Matched(NamedTuple):
    """Which of n payloads have the shape (bool[n]), and the positions of their values by path.

    The spans are meaningless without a match; for a number only its end is known.
    """

    matches: Mask
    texts: dict[str, BytesColumn]
    numbers: dict[str, BytesColumn]


class Shape:
    """The text between the values of payloads.

    Parameters
    ----------
    payload
        One that has the shape.
    holes
        Its values, in order.
    constants
        The JSON of what has no hole, by path: true, false, null; of an object or an array nothing.

    Examples
    --------
    >>> shape = learn(b'{"id": "a", "x": 1}')
    >>> found = shape.match(BytesColumn.of([b'{"id": "bb", "x": 2.5}', b'{"x": 1}']), ["id", "x"])
    >>> found.matches.tolist(), found.texts["id"][0], found.numbers["x"][0]
    ([True, False], b'bb', b'2.5')
    """

    def __init__(
        self, payload: bytes, holes: Sequence[Hole], constants: Mapping[str | None, bytes]
    ) -> None:
        self.texts = {hole.path for hole in holes if hole.is_text}
        self.numbers = {hole.path for hole in holes if not hole.is_text}
        self._holes = holes
        self.constants = constants
        starts = [0, *(hole.stop for hole in holes)]
        stops = [*(hole.start for hole in holes), len(payload)]
        self._between = [payload[a:b] for a, b in zip(starts, stops, strict=True)]
        self._texts = np.frombuffer(b"".join(self._between), np.uint8)
        self._text_ends = np.cumsum([len(text) for text in self._between])
        self._are_texts = np.array([hole.is_text for hole in holes], np.uint8)

    def match(self, payloads: BytesColumn, wanted: Container[str | None]) -> Matched:
        """Look for the shape in payloads, and for the values of the paths that are wanted."""
        if library.kernels is not None:
            return self._match_compiled(library.kernels, payloads, wanted)
        data, matches = payloads.data, payloads.stops > payloads.starts
        at = np.where(matches, payloads.starts, 0)
        stops = np.where(matches, payloads.stops, 0)
        texts: dict[str, BytesColumn] = {}
        numbers: dict[str, BytesColumn] = {}
        for hole, text, after in zip(self._holes, self._between, self._between[1:], strict=False):
            at = np.minimum(behind(data, at, stops, text, matches), stops)
            ends = special if hole.is_text else equal_to(after[0])
            spans = BytesColumn(data, at, until(data, at, stops, ends))
            at = spans.stops
            if hole.path is not None and hole.path in wanted:
                (texts if hole.is_text else numbers)[hole.path] = spans
            elif not hole.is_text:
                matches &= read_floats(spans, matches)[1]
        matches &= behind(data, at, stops, self._between[-1], matches) == stops
        return Matched(matches, texts, numbers)

    def _match_compiled(
        self, kernels: library.Kernels, payloads: BytesColumn, wanted: Container[str | None]
    ) -> Matched:
        n, holes = len(payloads), len(self._holes)
        starts, stops = np.empty((holes, n), np.int64), np.empty((holes, n), np.int64)
        matches = np.empty(n, np.bool_)
        kernels.match_shape(
            *payloads.arrays(),
            self._texts,
            self._text_ends,
            self._are_texts,
            starts,
            stops,
            matches.view(np.uint8),
        )
        texts: dict[str, BytesColumn] = {}
        numbers: dict[str, BytesColumn] = {}
        for hole, start, stop in zip(self._holes, starts, stops, strict=True):
            spans = BytesColumn(payloads.data, start, stop)
            if hole.path is not None and hole.path in wanted:
                (texts if hole.is_text else numbers)[hole.path] = spans
            elif not hole.is_text:
                matches &= read_floats(spans, matches)[1]
        return Matched(matches, texts, numbers)


def learn(payload: bytes) -> Shape | None:
    """Return the shape of a payload, a JSON object, unless it is unusual.

    Unusual: a repeated key, a key with an escape, a long payload, or very many values.
    """
    if len(payload) > _LONGEST_PAYLOAD:
        return None
    tokens = _TOKEN.finditer(payload)
    holes: list[Hole] = []
    keys: dict[_Path, bytes] = {}
    try:
        _learn(tokens, next(tokens), (), holes, keys)
    except (_UnusualError, StopIteration, RecursionError):
        return None
    constants = {_named(path): mark for path, mark in keys.items()}
    return Shape(payload, holes, constants) if len(holes) <= _MOST_HOLES else None


class _UnusualError(Exception):
    """The payload's shape is not worth learning."""


_Path = tuple[str, ...]


def _learn(
    tokens: Iterator[re.Match[bytes]],
    token: re.Match[bytes],
    path: _Path | None,
    holes: list[Hole],
    keys: dict[_Path, bytes],
) -> None:
    """Add the holes of the value that begins with a token."""
    mark, text, number = token.groups()
    if text is not None:
        holes.append(Hole(_named(path), True, token.start(2) + 1, token.end(2) - 1))
    elif number is not None:
        holes.append(Hole(_named(path), False, *token.span(3)))
    elif mark == b"[":
        while (inner := next(tokens))[1] != b"]":
            if inner[1] != b",":
                _learn(tokens, inner, None, holes, keys)
    elif mark == b"{":
        while (inner := next(tokens))[1] != b"}":
            if inner[1] != b",":
                below = _below(path, inner[2], keys)
                next(tokens)  # the colon
                _learn(tokens, next(tokens), below, holes, keys)
    elif path:
        keys[path] = token[0].strip()


def _below(path: _Path | None, key: bytes, keys: dict[_Path, bytes]) -> _Path | None:
    if path is None:
        return None
    below = (*path, key[1:-1].decode())
    if below in keys or b"\\" in key:
        raise _UnusualError
    keys[below] = b""
    return below


def _named(path: _Path | None) -> str | None:
    if path is None or any("." in name for name in path):
        return None
    return ".".join(path)
