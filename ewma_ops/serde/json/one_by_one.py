"""Payloads to columns, one by one: any, and what is wrong with those that cannot be read.

Knows JSON, and what makes a payload unusable; must not know bounds, topics or sockets.

Usual payloads are decoded straight into structs made for the paths. Any other goes, by itself,
through the slow way, which has the last word: it takes what the structs are too strict for and
names what is wrong with the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from json import loads
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, defstruct
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError
from ewma_ops.serde.decoder import not_utf8
from ewma_ops.serde.fields import Fields, Paths, Reasons
from ewma_ops.serde.times import read_time, times_of

__all__ = ["RowReader"]


class RowReader:
    """Read payloads one by one.

    Parameters
    ----------
    paths
        What to read.
    infinite
        Whether a number too large for a float64 is taken as infinite, and the words ``Infinity``,
        ``-Infinity`` and ``NaN`` are read.

    Raises
    ------
    ConfigError
        If one path lies inside another.
    """

    def __init__(self, paths: Paths, *, infinite: bool) -> None:
        self._ids, self._time, self._numbers = paths
        self._infinite = infinite
        leaves: dict[str, tuple[Any, ...]] = dict.fromkeys(self._ids, (str | int,))
        if self._time is not None:
            leaves[self._time] = (int | float | str,)
        leaves |= dict.fromkeys(self._numbers, (float | None, np.nan))
        self._row, where = _row_type(leaves)
        self._get = {path: attrgetter(names) for path, names in where.items()}
        self._decode = msgspec.json.Decoder(self._row).decode
        heads = dict.fromkeys(path.split(".")[0] for path in leaves)
        self._loose = {head: f"f{i}" for i, head in enumerate(heads)}
        self._loose_row = loose = defstruct(
            "Loose",
            [(name, Any, None) for name in self._loose.values()],
            rename={name: head for head, name in self._loose.items()},
        )
        self._decode_loosely = msgspec.json.Decoder(loose).decode
        self._steps = {path: path.split(".") for path in leaves}
        self._nested = any(len(steps) > 1 for steps in self._steps.values())
        self._blank = self._build_blank()

    def read(
        self,
        payloads: Sequence[bytes | None],
        places: Sequence[int],
        rejected: Reasons,
    ) -> Fields:
        """Return what is in payloads, of which the i-th is that at ``places[i]`` of a run.

        Of what cannot be read cause and detail are noted, by place; in its row stands something.
        """
        pieces = list(payloads)
        rows: list[Any] = []
        slow: dict[int, dict[str, Any]] = {}
        left = map(self._decode, pieces)  # type: ignore[arg-type]  # None raises, as it should
        while True:
            try:
                rows.extend(left)  # keeps what it got before an error, and goes on after it
                break
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
                at = len(rows)
                rows.append(self._blank)
                try:
                    slow[at] = self._decode_slowly(pieces[at], error)
                except _Refused as refused:
                    rejected.setdefault(places[at], refused.args)
        times_ms = None
        if self._time is not None:
            column = self._column(self._time, rows, slow)
            times_ms = _moments(self._time, column, places, rejected)
        ids = self._read_ids(rows, slow, places, rejected) if self._ids else None
        # None is NaN
        numbers = [np.array(self._column(path, rows, slow), np.float64) for path in self._numbers]
        return Fields(ids, times_ms, numbers)

    def _column(self, path: str, rows: list[Any], slow: dict[int, dict[str, Any]]) -> list[Any]:
        column = list(map(self._get[path], rows))
        for at, found in slow.items():
            column[at] = found[path]
        return column

    def _read_ids(
        self,
        rows: list[Any],
        slow: dict[int, dict[str, Any]],
        places: Sequence[int],
        rejected: Reasons,
    ) -> list[str]:
        columns = [_as_text(self._column(path, rows, slow)) for path in self._ids]
        for path, column in zip(self._ids, columns, strict=True):
            if not all(column):
                for i in (places[at] for at, part in enumerate(column) if not part):
                    rejected.setdefault(i, ("no-series-id", f"{path} is empty"))
        return columns[0] if len(columns) == 1 else list(map("/".join, zip(*columns, strict=True)))

    def _decode_slowly(self, payload: bytes | None, error: Exception) -> dict[str, Any]:
        """Return what is in a payload that the usual way refused, by path, or refuse it."""
        found = self._parse(payload, error)
        fields: dict[str, Any] = {}
        for path in self._ids:
            fields[path] = _id_part(self._at(found, path), path)
        if self._time is not None:
            fields[self._time] = _time(self._at(found, self._time), self._time)
        for path in self._numbers:
            fields[path] = self._number(self._at(found, path), path)
        return fields

    def _parse(self, payload: bytes | None, error: Exception) -> Any:
        if payload is None:
            raise _Refused("tombstone", "the value is null")
        if not payload.strip():
            raise _Refused("empty", "the value is empty")
        try:
            if self._is_final(error):
                raise error
            return self._decode_loosely(payload)
        except msgspec.MsgspecError as error:
            if self._infinite:
                with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                    found = loads(payload.decode())
                    msgspec.json.encode(found)  # refuses lone surrogates, as it does in reading
                    return msgspec.convert(found, self._loose_row)
            raise _refused(payload, error) from None
        except RecursionError:
            raise _Refused("too-deep", "the value is nested too deeply") from None
        except UnicodeDecodeError as error:
            raise _Refused("not-utf8", not_utf8(error)) from None

    def _is_final(self, error: Exception) -> bool:
        """Tell whether the slow way would say the same: it is not JSON, or no object at all.

        Of nested objects it reads what the structs skip.
        """
        if self._infinite or self._nested or not isinstance(error, msgspec.DecodeError):
            return False
        if isinstance(error, msgspec.ValidationError):
            text = str(error)
            return text.startswith("Expected `object`, got ") and "$" not in text
        return True

    def _at(self, fields: Any, path: str) -> Any:
        head, *rest = self._steps[path]
        found = getattr(fields, self._loose[head])
        for name in rest:
            if found is None:
                return None
            if not isinstance(found, dict):
                raise _Refused(
                    "wrong-type", f"{path} cannot be read: {_shown(found)} is not an object"
                )
            found = found.get(name)
        return found

    def _number(self, found: object, path: str) -> float:
        if found is None:
            return np.nan
        if not isinstance(found, (int, float)) or isinstance(found, bool):
            raise _Refused("wrong-type", f"{path} is {_shown(found)}: not a number")
        try:
            return float(found)
        except OverflowError:
            if self._infinite:
                return np.inf if found > 0 else -np.inf
            raise _Refused("out-of-range", f"{path} is too large for a 64-bit float") from None

    def _build_blank(self) -> Any:
        """Return a row for the place of one that could not be read."""
        leaves: dict[str, Any] = dict.fromkeys(self._ids, "-")
        leaves |= dict.fromkeys(self._numbers, np.nan)
        if self._time is not None:
            leaves[self._time] = 0
        fields: dict[str, Any] = {}
        for path, leaf in leaves.items():
            *outer, last = self._steps[path]
            inner = fields
            for name in outer:
                inner = inner.setdefault(name, {})
            inner[last] = leaf
        return msgspec.convert(fields, self._row)


class _Refused(Exception):
    """A payload is no reading."""


def _refused(payload: bytes, error: msgspec.MsgspecError) -> _Refused:
    """Say why a payload cannot be decoded."""
    if isinstance(error, msgspec.ValidationError):
        cause = "out-of-range" if "out of range" in str(error) else "wrong-type"
        return _Refused(cause, str(error))
    try:
        payload.decode()
    except UnicodeDecodeError as undecodable:
        return _Refused("not-utf8", not_utf8(undecodable))
    bom = " (it begins with a byte order mark)" if payload[:3] == b"\xef\xbb\xbf" else ""
    return _Refused("not-json", f"{error}{bom}")


def _row_type(leaves: Mapping[str, tuple[Any, ...]]) -> tuple[type[Struct], dict[str, str]]:
    """Make the struct for some paths; return it and the attribute each path is found at."""
    inside: dict[str, dict[str, tuple[Any, ...]]] = {}
    for path, leaf in leaves.items():
        head, _, rest = path.partition(".")
        inside.setdefault(head, {})[rest] = leaf
    fields: list[tuple[Any, ...]] = []
    where: dict[str, str] = {}
    for i, (head, inner) in enumerate(inside.items()):
        name = f"f{i}"
        if "" in inner:
            if len(inner) > 1:
                others = ", ".join(f"{head}.{rest}" for rest in inner if rest)
                raise ConfigError(f"field {head!r} cannot be read itself and hold {others} too")
            fields.append((name, *inner[""]))
            where[head] = name
            continue
        kind, below = _row_type(inner)
        optional = all(len(leaf) > 1 for leaf in inner.values())
        fields.append((name, kind, kind()) if optional else (name, kind))
        where |= {f"{head}.{rest}": f"{name}.{names}" for rest, names in below.items()}
    rename = {f"f{i}": head for i, head in enumerate(inside)}
    row = defstruct("Row", fields, rename=rename, kw_only=True, frozen=True, gc=False)
    return row, where


def _as_text(parts: list[Any]) -> list[str]:
    try:
        "".join(parts)  # the quickest way to ask whether all are text
        return parts
    except TypeError:
        return list(map(str, parts))


def _id_part(found: object, path: str) -> str | int:
    if found is None:
        raise _Refused("no-series-id", f"{path} is absent or null")
    if not isinstance(found, (str, int)) or isinstance(found, bool):
        raise _Refused("wrong-type", f"{path} is {_shown(found)}: not text or an integer")
    return found


def _time(found: object, path: str) -> float:
    if found is None:
        raise _Refused("no-time", f"{path} is absent or null")
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return found
    if not isinstance(found, str):
        raise _Refused("wrong-type", f"{path} is {_shown(found)}: not milliseconds, nor ISO 8601")
    time_ms = read_time(found)
    if time_ms is None:
        raise _Refused("not-a-time", _no_time(path, found))
    return time_ms


def _no_time(path: str, text: str) -> str:
    return f"{path} is {_shown(text)}: not ISO 8601"


def _moments(
    path: str, column: list[Any], places: Sequence[int], rejected: Reasons
) -> NDArray[np.float64]:
    """Return numbers and texts as milliseconds; reject texts that are no times."""
    at = [i for i, kind in enumerate(map(type, column)) if kind is str]
    if at:
        texts = [column[i] for i in at]
        for i, text, time_ms in zip(at, texts, times_of(texts), strict=True):
            if time_ms is None:
                rejected[places[i]] = "not-a-time", _no_time(path, text)
            column[i] = time_ms or 0
    # Every whole number of milliseconds within the bounds is exact as a float.
    try:
        return np.array(column, np.float64)
    except OverflowError:
        return np.array(list(map(_as_float, column)), np.float64)


def _as_float(moment: float) -> float:
    try:
        return float(moment)
    except OverflowError:
        return math.inf if moment > 0 else -math.inf


def _shown(found: object) -> str:
    text = repr(found[:50]) if isinstance(found, str) else repr(found)
    return text if len(text) <= 60 else text[:59] + "…"
