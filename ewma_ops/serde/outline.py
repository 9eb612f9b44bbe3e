"""The content of a document, by path: for commands that show or suggest fields.

Knows the grammar of paths, and plain Python objects; must not know formats or options.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["nearest", "outline"]

_PLAIN = re.compile(r'[^.\[\]"^@/$\s][^.\[\]"]*')
_MOST = 200
_MOST_ITEMS = 3


def outline(document: object, most: int = _MOST) -> dict[str, Any]:
    r"""Return the values in a document by path, of arrays the first few items.

    At most ``most`` of them; none for an empty document.

    Examples
    --------
    >>> outline({"id": "a", "s.t": {"v": [1, 2]}, "e": {}})
    {'id': 'a', '"s.t".v[0]': 1, '"s.t".v[1]': 2, 'e': {}}
    """
    found: dict[str, Any] = {}
    _add(document, "", found, most)
    return found


def _add(document: object, path: str, found: dict[str, Any], most: int) -> None:
    if len(found) >= most:
        return
    if isinstance(document, Mapping) and document:
        for name, inner in document.items():
            if name == "":
                continue
            part = _part(str(name))
            _add(inner, f"{path}.{part}" if path else part, found, most)
    elif isinstance(document, (list, tuple)) and document:
        for place, inner in enumerate(document[:_MOST_ITEMS]):
            _add(inner, f"{path}[{place}]", found, most)
    elif path and len(found) < most:
        found[path] = document


def _part(name: str) -> str:
    if _PLAIN.fullmatch(name) and name == name.strip():
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def nearest(path: str, known: Iterable[str]) -> str | None:
    """Return the path that was probably meant, compared whole or by its last name.

    Examples
    --------
    >>> nearest("tmperature", ["id", "temperature"]), nearest("temp", ["sensor.temp", "time"])
    ('temperature', 'sensor.temp')
    >>> nearest("kWh", ["kwh"]), nearest("temp", ["t", "temperature"]), nearest("x", ["abc"])
    ('kwh', 'temperature', None)
    """
    paths = list(known)
    lower = {one.lower(): one for one in reversed(paths)}
    if found := difflib.get_close_matches(path.lower(), lower, 1, 0.7):
        return lower[found[0]]
    last = {_last(one): one for one in reversed(paths)}
    name = _last(path)
    if found := difflib.get_close_matches(name, last, 1, 0.75):
        return last[found[0]]
    within = [
        one for one in last if len(name) > 1 and (name in one or (len(one) > 1 and one in name))
    ]
    return last[min(within, key=len)] if within else None


def _last(path: str) -> str:
    return re.split(r"[.\[]", path.replace('"', ""))[-1].lower() if "." in path else path.lower()
