"""Reads tables of the configuration file key by key, so that all mistakes are found.

Knows the keys of every table and how to suggest one; must not know what keys mean together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from ewma_ops.secrets.option_names import SECRETS, SHOWN
from ewma_ops.settings.kafka_table import FIRST_KEY
from ewma_ops.settings.model import (
    DeadLetters,
    Input,
    Metrics,
    Output,
    Recovery,
    show_value,
)
from ewma_ops.settings.notify_table import NOTIFY_KEY, Notify
from ewma_ops.settings.registry_table import REGISTRY_KEY, Registry
from ewma_ops.settings.smooth import KEYS as SMOOTH_KEYS
from ewma_ops.settings.values import PARSERS, PathError
from ewma_ops.settings.watch_table import Watch

__all__ = [
    "FIRST_KEYS",
    "KEYS",
    "SHARED_ALARM_KEYS",
    "find_table",
    "read_table",
    "read_value",
    "refuse_unknown_keys",
    "refuse_unknown_tables",
    "suggestion",
]

FIRST_KEYS = {
    "kafka": FIRST_KEY,
    "input": 'topic = "readings"',
    "smooth": 'beta = 0.9 or halflife = "5min"',
    "output": 'topic = "smoothed"',
    "recovery": 'directory = "state"',
    "registry": REGISTRY_KEY,
    "notify": NOTIFY_KEY,
    "metrics": 'bind = "127.0.0.1:9464"',
}
"""The line to add to a table that is missing, or lacks a required key."""

SHARED_ALARM_KEYS = (
    "false_alarms",
    "readings",
    "clear",
    "for",
    "clear_for",
    "cooldown",
    "remind",
    "severity",
    "warm_up",
    "gap",
)
"""Keys of ``[alarms]`` that apply to all rules."""

KEYS: dict[str, tuple[str, ...]] = {
    "kafka": ("bootstrap_servers",),
    "input": Input.__struct_fields__,
    "smooth": (*SMOOTH_KEYS, "shards", "warm_start", "max_ahead", "ahead", "forget_after"),
    "output": Output.__struct_fields__,
    "dead_letters": DeadLetters.__struct_fields__,
    "recovery": Recovery.__struct_fields__,
    "registry": Registry.__struct_fields__,
    "notify": Notify.__struct_fields__,
    "metrics": Metrics.__struct_fields__,
    "alarms": ("topic", "in_events", *SHARED_ALARM_KEYS),
    "watch": Watch.__struct_fields__,
}

_WITH_TABLES = ("smooth", "alarms")
"""Tables that contain tables, with names chosen by the user."""

_Struct = TypeVar("_Struct", bound=Struct)


def refuse_unknown_tables(tables: dict[str, Any], mistakes: list[str]) -> None:
    """Note unknown tables, and keys outside any table."""
    for name, value in tables.items():
        if name in KEYS:
            continue
        if not isinstance(value, dict) and (home := _home(name)):
            mistakes.append(
                f"{name} = {show_value(name, value)} is outside any table; move it to {home}"
            )
        elif name in SHOWN | SECRETS:
            mistakes.append(f"{name} is outside any table; move it to [kafka]")
        else:  # its value may be a secret
            unknown = f"[{name}]" if isinstance(value, dict) else name
            mistakes.append(f"{unknown} is not known; {suggestion(name, KEYS)}")


def refuse_unknown_keys(name: str, values: dict[str, Any], mistakes: list[str]) -> None:
    """Note unknown keys of a table."""
    for key, value in values.items():
        if key in KEYS[name] or (name in _WITH_TABLES and isinstance(value, dict)):
            continue
        fix = suggestion(key, KEYS[name])
        if (home := _home(key)) and not fix.startswith("did you mean"):
            fix = f"it belongs in {home}"
        mistakes.append(f"{name}.{key} is not known; {fix}")


def find_table(name: str, tables: dict[str, Any], mistakes: list[str]) -> dict[str, Any] | None:
    """Return a table as parsed; if it is missing or not a table, note that and return None."""
    if name not in tables and name in FIRST_KEYS:
        mistakes.append(f"[{name}] is missing; add it with {FIRST_KEYS[name]}")
        return None
    values = tables.get(name, {})
    if not isinstance(values, dict):
        mistakes.append(f"{name} must be a table; write [{name}]")
        return None
    return values


def read_table(
    kind: type[_Struct], name: str, tables: dict[str, Any], mistakes: list[str]
) -> _Struct | None:
    """Convert a table key by key, so that one mistake does not hide the next."""
    values = find_table(name, tables, mistakes)
    if values is None:
        return None
    refuse_unknown_keys(name, values, mistakes)
    known = len(mistakes)
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.name in values:
            bound = next(meta.description for meta in reversed(field.type.__metadata__))
            parse = PARSERS.get(f"{name}.{field.name}", partial(msgspec.convert, type=field.type))
            kept[field.name] = read_value(name, field.name, values, parse, bound, mistakes)
        elif field.required:
            mistakes.append(f"{name}.{field.name} is missing; add {FIRST_KEYS[name]}")
    return kind(**kept) if len(mistakes) == known else None


def read_value(
    name: str,
    key: str,
    values: dict[str, Any],
    parse: Callable[[Any], Any],
    bound: str | None,
    mistakes: list[str],
) -> Any:
    """Parse one value; if it is wrong, record what it must be (``bound``) and return None."""
    try:
        return parse(values[key])
    except PathError as error:
        mistakes.append(f"{name}.{key}: {error}")
    except (msgspec.ValidationError, ValueError, OverflowError):
        must_be = f"must be {bound}{_meant(values[key], bound or '')}"
        mistakes.append(f"{name}.{key} = {show_value(key, values[key])} {must_be}")


def _meant(value: object, bound: str) -> str:
    """Suggest the nearest of the words in quotes, where these are all that is possible."""
    words = [] if "such as" in bound else re.findall(r'"([^":]+)"', bound)
    near = difflib.get_close_matches(value, words, 1) if isinstance(value, str) else []
    return f'; did you mean "{near[0]}"?' if near else ""


def _home(key: str) -> str:
    return " or ".join(f"[{table}]" for table, keys in KEYS.items() if key in keys)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest known word, or list all."""
    words = tuple(known)
    near = difflib.get_close_matches(word.lower(), words, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"
