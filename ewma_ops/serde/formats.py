"""The formats of payloads by name: the keys of ``[input]`` that each uses, and its requirements.

Knows only names; `ewma_ops.job.builders` builds the formats.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

__all__ = ["FORMATS", "OWN", "FormatEntry", "KeyKind", "entry_of", "is_own"]

_OWN_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")

OWN = "module:name"
"""Stands for any format of the user's own."""


KeyKind = Literal["text", "int32", "int64", "uuid", "json", "avro", "protobuf"]
"""The types of keys."""


class FormatEntry(NamedTuple):
    """The description of a format.

    Parameters
    ----------
    keys
        Keys of ``[input]`` that only some formats use, including this one.
    needs
        Those of them that are required.
    is_bare
        Whether a payload is the value itself, so that ``value`` is ``"@value"`` where it is left
        out.
    extra
        The extra of the package that it needs; empty for none.
    has_schema
        Whether its payloads are read with a schema: of a registry, or of ``schema``.
    """

    keys: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    is_bare: bool = False
    extra: str = ""
    has_schema: bool = False


_DOCUMENT = frozenset({"records", "numbers", "decimal"})
"""Read by formats of nested documents."""

_TEXT = frozenset({"decimal"})
"""Used by formats in which every number is text: ``numbers = "text"`` is implied."""

FORMATS = {
    "json": FormatEntry(keys=_DOCUMENT),
    "csv": FormatEntry(
        keys=_TEXT | {"columns", "delimiter", "quote"}, needs=frozenset({"columns"})
    ),
    "line": FormatEntry(keys=frozenset({"numbers", "decimal"}), needs=frozenset({"value"})),
    "number": FormatEntry(keys=_TEXT, is_bare=True),
    "float32": FormatEntry(is_bare=True),
    "float64": FormatEntry(is_bare=True),
    "int32": FormatEntry(is_bare=True),
    "int64": FormatEntry(is_bare=True),
    "avro": FormatEntry(keys=_DOCUMENT | {"schema"}, extra="avro", has_schema=True),
    "protobuf": FormatEntry(
        keys=_DOCUMENT | {"schema", "message"}, extra="protobuf", has_schema=True
    ),
    OWN: FormatEntry(keys=_DOCUMENT),
}
"""Every format; keys of ``[input]`` in no entry are used by all of them."""


def is_own(name: str) -> bool:
    """Return whether a name is that of a user's own format.

    Examples
    --------
    >>> is_own("decoders.scale:decode"), is_own("json"), is_own("a b:c")
    (True, False, False)
    """
    return _OWN_NAME.fullmatch(name) is not None


def entry_of(name: str) -> FormatEntry:
    """Return the entry of an existing format."""
    return FORMATS[OWN if is_own(name) else name]
