"""How commands look on a terminal: colours where they are wanted, and tables.

Knows columns and colours; must not know what is shown.
"""

from __future__ import annotations

import os
from typing import Literal, TextIO

__all__ = ["painted"]

_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
Colour = Literal["red", "green", "yellow", "bold", "dim"]


def painted(text: str, colour: Colour, stream: TextIO) -> str:
    """Return text in a colour, if the stream is a terminal that wants any.

    ``NO_COLOR`` in the environment turns colours off, as does ``TERM=dumb``.
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not stream.isatty():
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"
