"""Parsers for values of keys, beyond checks of their type.

Each parser takes a value as TOML has it, and raises ``ValueError`` or ``msgspec.ValidationError``
if the value is wrong. Knows values one at a time; must not know the rest of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ewma_ops.errors import ConfigError
from ewma_ops.serde.paths import parse_path, parse_records
from ewma_ops.settings.bind import bind_of
from ewma_ops.settings.formats import csv_columns, csv_mark, format_name
from ewma_ops.settings.model import Text
from ewma_ops.settings.moments import moment_ms
from ewma_ops.settings.topics import discover_interval, topic_pattern
from ewma_ops.stats.durations import duration_ms

__all__ = ["PARSERS", "PathError", "duration", "file_path"]


class PathError(Exception):
    """A path that cannot be parsed; the message is complete."""


def _path_text(parse: Callable[[str], object], value: object) -> str:
    text = msgspec.convert(value, str)
    try:
        parse(text)
    except ConfigError as error:
        raise PathError(str(error)) from None
    return text


_field = partial(_path_text, parse_path)


def _fields(value: object) -> str | tuple[str, ...]:
    if not isinstance(value, list):
        return _field(value)
    if not value:
        raise ValueError(value)
    return tuple(map(_field, value))


def _include(value: object) -> tuple[str, ...]:
    paths = _fields(value)
    if isinstance(paths, str):
        raise ValueError(value)
    return paths


def _time_format(value: object) -> str:
    """Return a format that names a day, and that strptime takes."""
    text = msgspec.convert(value, str)
    if not re.search(r"%[YycxdjD]", text):
        raise ValueError(text)
    moment = datetime(2026, 1, 31, 12)  # noqa: DTZ001  # only to try the format
    datetime.strptime(moment.strftime(text), text)  # noqa: DTZ007
    return text


def _missing_values(value: object) -> tuple[str | float, ...]:
    found = msgspec.convert(value, tuple[str | bool | int | float, ...])
    if any(isinstance(one, bool) or one != one for one in found):
        raise ValueError(value)
    return tuple(one if isinstance(one, str) else float(one) for one in found)


def _where(value: object) -> dict[str, tuple[str | float | bool, ...]]:
    """Return values by path; a nested table stands for a path with a dot."""
    table = msgspec.convert(value, dict[str, Any])
    found: dict[str, tuple[str | float | bool, ...]] = {}
    for text, one in table.items():
        if isinstance(one, dict):
            found |= {f"{_field(text)}.{path}": inner for path, inner in _where(one).items()}
            continue
        listed = one if isinstance(one, list) else [one]
        found[_field(text)] = msgspec.convert(listed, tuple[str | bool | int | float, ...])
        if not listed:
            raise ValueError(value)
    if not found:
        raise ValueError(value)
    return found


def _start(value: object) -> str | int:
    if value in ("earliest", "latest", "committed"):
        return str(value)
    if isinstance(value, (datetime, date)):  # TOML has date and time types
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError(value)
    return moment_ms(value)


def duration(value: object) -> timedelta:
    """Return a duration that is written as text, such as ``"5min"``."""
    return timedelta(milliseconds=duration_ms(msgspec.convert(value, str)))


def file_path(value: object) -> Path:
    """Return a path; ``~`` is the home directory."""
    return Path(msgspec.convert(value, Text)).expanduser()


PARSERS: dict[str, Callable[[object], object]] = {
    "input.columns": csv_columns,
    "input.delimiter": partial(csv_mark, optional=False),
    "input.format": format_name,
    "input.quote": partial(csv_mark, optional=True),
    "input.discover": discover_interval,
    "input.topic_pattern": topic_pattern,
    "input.series_id": _fields,
    "input.time": _field,
    "input.value": _fields,
    "input.weight": _field,
    "input.start": _start,
    "input.time_format": _time_format,
    "input.missing_values": _missing_values,
    "input.where": _where,
    "input.records": partial(_path_text, parse_records),
    "output.include": _include,
    "recovery.interval": duration,
    "recovery.directory": file_path,
    "input.schema": file_path,
    "metrics.bind": bind_of,
}
