"""How commands look on a terminal: colours where they are wanted, and tables.

Knows columns and colours; must not know what is shown.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import unicodedata
from collections.abc import Container, Sequence
from typing import Literal, TextIO

from ewma_ops.job.showing import cut

__all__ = ["escape_unwritable", "painted", "table"]

_GAP = 2
_NARROWEST = 8

_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
Colour = Literal["red", "green", "yellow", "bold", "dim"]


def escape_unwritable() -> None:
    """Have characters that the encoding of the output lacks written as escapes of JSON."""

    def escaped(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return json.dumps(error.object[error.start : error.end])[1:-1], error.end

    codecs.register_error("ewma-escaped", escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="ewma-escaped")


def painted(text: str, colour: Colour, stream: TextIO) -> str:
    """Return text in a colour, if the stream is a terminal with colours.

    ``NO_COLOR`` in the environment turns colours off, as does ``TERM=dumb``.
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not stream.isatty():
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], width: int, right: Container[int] = ()
) -> list[str]:
    """Lay out a table; if it would be too wide, cells of the last column are cut first.

    Parameters
    ----------
    heads
        Of the columns.
    rows
        A cell for each head.
    width
        Cells of a line, at most: wide characters, such as those of Chinese, take two.
    right
        Places of columns that are aligned to the right.

    Examples
    --------
    >>> table(["field", "n", "example"], [["time", "5", "2023-11-14T22:13:20Z"]], 24, {1})
    ['field  n  example', 'time   5  2023-11-14T22…']
    """
    every = [heads, *rows]
    widths = [max(_cells(row[place]) for row in every) for place in range(len(heads))]
    for place in reversed(range(len(heads))):
        over = sum(widths) + _GAP * (len(heads) - 1) - width
        if over > 0 and place not in right:
            widths[place] = max(len(heads[place]), _NARROWEST, widths[place] - over)
    lines = []
    for row in every:
        cells = [
            cell.rjust(size) if place in right else _fitted(cell, size)
            for place, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * _GAP).join(cells).rstrip())
    return lines


def _cells(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    drawn = (one for one in text if unicodedata.category(one) not in ("Mn", "Me", "Cf"))
    return sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in drawn)


def _fitted(text: str, size: int) -> str:
    text = cut(text, size)
    while (cells := _cells(text)) > size:
        text = f"{text.rstrip('…')[:-1]}…"
    return text + " " * (size - cells)
