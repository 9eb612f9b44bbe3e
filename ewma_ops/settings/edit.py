"""Changes one number in a configuration file, and leaves everything else as it was.

Knows lines of TOML and files; must not know what a key means.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

from ewma_ops.errors import ConfigError
from ewma_ops.settings.toml_file import parse_file, parse_text

__all__ = ["set_number", "write_number"]

_HEADER = re.compile(r"\s*\[\s*(?P<name>[^\[\]#]+?)\s*\]\s*(#.*)?")
_ANY_HEADER = re.compile(r"\s*\[")


def set_number(text: str, table: str, key: str, value: float) -> str:
    r"""Return the text of a file with a number set in a table; comments and order are kept.

    Parameters
    ----------
    text
        The file.
    table
        The name of a table with its own header, such as ``"alarms.level"``.
    key
        The key; if it is new in the table, it becomes the first line of it.

    Raises
    ------
    ConfigError
        If the table has no header of its own; the message has the line to add.

    Examples
    --------
    >>> print(set_number("[alarms.level]  # shifts\nclear = 0.5", "alarms.level", "limit", 4.2))
    [alarms.level]  # shifts
    limit = 4.2
    clear = 0.5
    """
    lines = text.split("\n")
    begins = next((i for i, line in enumerate(lines) if _is_header(line, table)), None)
    if begins is None:
        raise ConfigError(
            f"[{table}] has no line of its own in the file: write {key} = {value!r} there yourself"
        )
    assigned = re.compile(
        rf"(?P<before>\s*(?:{key}|\"{key}\")\s*=\s*)[^#\s]+(?P<after>\s*(?:#.*)?)"
    )
    end = "\r" if lines[begins].endswith("\r") else ""
    for i in range(begins + 1, len(lines)):
        if _ANY_HEADER.match(lines[i]):
            break
        if (found := assigned.fullmatch(lines[i].removesuffix("\r"))) is not None:
            lines[i] = f"{found['before']}{value!r}{found['after']}{end}"
            return "\n".join(lines)
    lines.insert(begins + 1, f"{key} = {value!r}{end}")
    return "\n".join(lines)


def write_number(path: Path, table: str, key: str, value: float) -> None:
    """Set a number in a file, which is replaced as a whole, or stays as it is.

    Raises
    ------
    ConfigError
        If the table has no header of its own, or the file cannot be written.
    """
    path = path.resolve()  # the target of a link is replaced, not the link
    before = parse_file(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = set_number(file.read(), table, key, value)
        after = parse_text(text.removeprefix("\ufeff"), path)
        wanted = before
        for part in table.split("."):
            wanted = wanted[part]
        wanted[key] = value
        if after != before:
            raise ConfigError(
                f"{path}: [{table}] cannot be changed safely: write {key} = {value!r} there "
                "yourself"
            )
        _replace(path, text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _is_header(line: str, table: str) -> bool:
    found = _HEADER.fullmatch(line.removesuffix("\r"))
    if found is None:
        return False
    parts = [part.strip().strip("\"'") for part in found["name"].split(".")]
    return ".".join(parts) == table


def _replace(path: Path, text: str) -> None:
    """Replace a file with a new one, keeping its permissions."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        status = path.stat()
        os.chmod(name, status.st_mode & 0o7777)
        with contextlib.suppress(PermissionError):
            os.chown(name, status.st_uid, status.st_gid)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
