"""What ``input.format`` requires of the other keys of ``[input]``.

Knows the table of formats and the keys as written in the file; must not know what a format does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ewma_ops.errors import ConfigError
from ewma_ops.serde.formats import FORMATS, entry_of, is_own
from ewma_ops.serde.paths import Path, Paths
from ewma_ops.settings.model import Input

__all__ = ["completed", "csv_columns", "csv_mark", "format_name", "refuse_paths", "refuse_unread"]

_LINE_PATHS: dict[tuple[str | int, ...], int] = {
    ("measurement",): 1,
    ("tags",): 2,
    ("fields",): 2,
    ("time",): 1,
}
"""Number of steps of a path, by its first step."""
_OF_SOME = frozenset[str]().union(*(entry.keys for entry in FORMATS.values()))


def format_name(value: object) -> str:
    """Return the name of an existing format, or of a user's own.

    Raises
    ------
    ValueError
        If it is invalid.
    """
    if not isinstance(value, str) or not (value in FORMATS or is_own(value)):
        raise ValueError(value)
    return value


def csv_columns(value: object) -> str | tuple[str, ...]:
    """Return names of columns, each of them once; or ``"first-line"``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if value == "first-line":
        return "first-line"
    names = msgspec.convert(value, tuple[str, ...])
    if not names or len(set(names)) < len(names) or any(name != name.strip() for name in names):
        raise ValueError(value)
    return names


def csv_mark(value: object, *, optional: bool) -> str:
    """Return one ASCII character other than a line break; or none, if it is ``optional``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    mark = msgspec.convert(value, str)
    if mark == "" and optional:
        return mark
    if len(mark) != 1 or not mark.isascii() or mark in "\0\r\n":
        raise ValueError(value)
    return mark


def completed(reads: Input, written: Mapping[str, Any]) -> Input:
    """Return ``[input]`` with the defaults of its format, given the keys that were written."""
    if entry_of(reads.format).is_bare and "value" not in written:
        return msgspec.structs.replace(reads, value="@value")
    return reads


def refuse_unread(reads: Input, written: Mapping[str, Any], mistakes: list[str]) -> None:
    """Record keys that the format does not use, and keys that are missing."""
    entry = entry_of(reads.format)
    for key in sorted(_OF_SOME & written.keys() - entry.keys):
        others = [f'"{name}"' for name, other in FORMATS.items() if key in other.keys]
        mistakes.append(
            f'input.{key} is not read by format = "{reads.format}": remove it, or set format to '
            + " or ".join(others)
        )
    mistakes += [
        f'input.{key} is missing, which format = "{reads.format}" needs'
        for key in sorted(entry.needs - written.keys())
    ]


def refuse_paths(reads: Input, include: Sequence[str], mistakes: list[str]) -> None:
    """Record paths that conflict, or that do not exist in the format."""
    try:
        paths = Paths.of(reads, include)
    except ConfigError as error:
        mistakes.append(f"[input] {error}")
        return
    inside = [path for path in paths.every if path.source == "document"]
    if reads.tombstones == "forget" and any(path.source == "document" for path in paths.ids):
        mistakes.append(
            'input.tombstones = "forget" needs an id that a message without a value has: take it '
            'from the key (leave series_id out, or write "@key" or "@key.NAME"), a header or the '
            "topic"
        )
    if reads.format == "csv":
        _refuse_csv(reads, inside, mistakes)
    if reads.format == "line":
        mistakes += [
            f"path {path.text!r} leads nowhere in a point of the line protocol: write "
            "measurement, tags.NAME, fields.NAME or time"
            for path in inside
            if _LINE_PATHS.get(path.steps[:1], 0) != len(path.steps)
        ]


def _refuse_csv(reads: Input, inside: Sequence[Path], mistakes: list[str]) -> None:
    if reads.delimiter == reads.quote:
        mistakes.append(f"input.quote is also input.delimiter: {reads.quote!r}; give another one")
    if isinstance(reads.columns, str) or not reads.columns:
        return
    for path in inside:
        if not (len(path.steps) == 1 and path.steps[0] in reads.columns):
            known = ", ".join(reads.columns)
            quoted = f"; write '\"{path.text}\"'" if path.text in reads.columns else ""
            mistakes.append(f"input.columns has no {path.text}: there are {known}{quoted}")
