"""What ``input.format`` asks of the other keys of ``[input]``.

Knows the table of formats and the keys as they stand in the file; must not know what a format does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ewma_ops.serde.formats import FORMATS, entry_of, is_own
from ewma_ops.settings.model import Input

__all__ = ["completed", "format_name", "refuse_unread"]

_OF_SOME = frozenset[str]().union(*(entry.keys for entry in FORMATS.values()))


def format_name(value: object) -> str:
    """Return the name of a format that there is, or of a user's own.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not isinstance(value, str) or not (value in FORMATS or is_own(value)):
        raise ValueError(value)
    return value


def completed(reads: Input, written: Mapping[str, Any]) -> Input:
    """Return ``[input]`` with the defaults of its format, given the keys that were written."""
    if entry_of(reads.format).is_bare and "value" not in written:
        return msgspec.structs.replace(reads, value="@value")
    return reads


def refuse_unread(reads: Input, written: Mapping[str, Any], mistakes: list[str]) -> None:
    """Note keys that mean nothing to the format, and those it lacks."""
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
