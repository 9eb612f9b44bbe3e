"""The file itself: TOML in, its tables out.

Knows how large and how deep a file may be; must not know which tables and keys there are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from ewma_ops.errors import ConfigError

__all__ = ["parse_file", "parse_text"]

_LARGEST_FILE = 256 << 10
_MOST_DOTS = 500
_MOST_NESTED = 8


def parse_file(path: Path | str) -> dict[str, Any]:
    """Return the tables of a file.

    Raises
    ------
    ConfigError
        If the file cannot be read, is larger than 256 KiB, nested too deeply or not TOML.
    """
    try:
        text = _text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; give the path of a TOML file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a directory; give the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
    return parse_text(text, path)


def parse_text(text: str, path: Path | str) -> dict[str, Any]:
    """Return the tables of a file's text; ``path`` is for messages, errors as of `parse_file`."""
    try:
        tables = msgspec.toml.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        found = re.fullmatch(r"(.*) \(at (line .*|end of document)\)", str(error), re.DOTALL)
        what, where = found.groups() if found else (str(error), "somewhere")
        raise ConfigError(
            f'{path}, {where}: {what}; write tables as [input] and keys as topic = "readings", '
            "text in quotes, each key once"
        ) from None
    if _deeper(tables, _MOST_NESTED):
        raise ConfigError(
            f"{path}: tables and lists are nested more than {_MOST_NESTED} deep, which no "
            "key needs; remove dots and brackets"
        )
    return tables


def _text(path: Path | str) -> str:
    """Read a file with few dots a line: the parser's time grows with their square."""
    with Path(path).open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ConfigError(
            f"{path}: larger than {_LARGEST_FILE:,} bytes, which is the most that is read; "
            "give the path of a configuration file"
        )
    text = content.decode("utf-8-sig")
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MOST_DOTS:
            raise ConfigError(
                f"{path}, line {number}: more than {_MOST_DOTS:,} dots in one line; break a list "
                "into lines, and write keys without dots"
            )
    return text


def _deeper(value: object, limit: int) -> bool:
    """Return whether tables and lists are nested more than ``limit`` deep."""
    level: list[Any] = [value]
    for _ in range(limit):
        parts = [part.values() if isinstance(part, dict) else part for part in level]
        level = [inner for part in parts for inner in part if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True
