"""Content of messages shown to people: one line, cut, and nothing that a terminal would obey.

Knows text and bytes; must not know what they mean, nor where they are shown.
"""

from __future__ import annotations

import json

__all__ = ["cut", "printable", "shown_bytes", "shown_json", "shown_text"]

_ELLIPSIS = "…"


def shown_bytes(content: bytes | None, width: int = 60) -> str:
    r"""Show the bytes of a key or a value: as text, if they are, or else as Python writes them.

    Examples
    --------
    >>> shown_bytes(b'{"a": 1}'), shown_bytes(b"\x00\xff"), shown_bytes(None)
    ('{"a": 1}', "b'\\x00\\xff'", 'null')
    >>> shown_bytes(b"\x1b[2Jx\n"), shown_bytes(b"abcdef", 4)
    ('\\x1b[2Jx\\n', 'abc…')
    """
    if content is None:
        return "null"
    if not content:
        return '""'
    head = content[: 4 * width]
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        whole = len(head) - error.start > 3 or len(head) == len(content)
        if whole:  # else the cut went through a character
            return cut(repr(content[:width]), width)
        text = head[: error.start].decode()
    if "\x00" in text:
        return cut(repr(content[:width]), width)
    return shown_text(text, width)


def shown_text(text: str, width: int = 60) -> str:
    r"""Show text on one line: control characters and those of no width are written as escapes.

    Examples
    --------
    >>> shown_text("a\tb\u202ec")
    'a\\tb\\u202ec'
    """
    return cut(printable(text[: width + 1]), width)


def printable(text: str) -> str:
    r"""Return text with control characters, and marks of no width, as escapes.

    Examples
    --------
    >>> printable("a\x1b[2J\u200fb")
    'a\\x1b[2J\\u200fb'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shown_json(text: str) -> str:
    r"""Show JSON with control characters escaped: the same JSON.

    Examples
    --------
    >>> print(shown_json('{"a": "\u009b2J b\u00a0c \U000e0001"}'))
    {"a": "\u009b2J b\u00a0c \udb40\udc01"}
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def cut(text: str, width: int) -> str:
    """Return text, cut to a number of characters."""
    return text if len(text) <= width else text[: width - 1] + _ELLIPSIS
