"""Payloads to columns, one by one: any, and what is wrong with those that cannot be read.

Knows JSON, and what makes a payload unusable; must not know bounds, topics or sockets.

Usual payloads are decoded straight into structs made for the paths. Any other goes, by itself,
through the slow way, which has the last word: it takes what the structs are too strict for and
names what is wrong with the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from json import loads
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, defstruct
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.readings import Rejection
from ewma_ops.serde.fields import Fields, Paths

__all__ = ["RowReader", "not_utf8"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)
_SHORT_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d))?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
"""What RFC 3339 lacks of ISO 8601: a date alone, and a time without seconds."""


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
            leaves[self._time] = (int | float | datetime,)
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
        self._blank = self._build(["-"] * len(self._ids), 0, [np.nan] * len(self._numbers))

    def read(
        self,
        payloads: Sequence[bytes | None],
        places: Sequence[int],
        rejected: dict[int, Rejection],
    ) -> Fields:
        """Return what is in payloads, of which the i-th is that at ``places[i]`` of a run.

        Of what cannot be read is said why, by place; in its row stands something.
        """
        pieces = list(payloads)
        rows: list[Any] = []
        left = map(self._decode, pieces)  # type: ignore[arg-type]  # None raises, as it should
        while True:
            try:
                rows.extend(left)  # keeps what it got before an error, and goes on after it
                break
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
                at = len(rows)
                rows.append(self._decode_slowly(places[at], pieces[at], rejected))
        return Fields(
            self._read_ids(rows, places, rejected) if self._ids else None,
            None if self._time is None else _moments(self._column(self._time, rows)),
            # None is NaN
            [np.array(self._column(path, rows), np.float64) for path in self._numbers],
        )

    def _column(self, path: str, rows: list[Any]) -> list[Any]:
        return list(map(self._get[path], rows))

    def _read_ids(
        self, rows: list[Any], places: Sequence[int], rejected: dict[int, Rejection]
    ) -> list[str]:
        columns = [_as_text(self._column(path, rows)) for path in self._ids]
        for path, column in zip(self._ids, columns, strict=True):
            if not all(column):
                for i in (places[at] for at, part in enumerate(column) if not part):
                    rejected.setdefault(i, Rejection(i, "no-series-id", f"{path} is empty"))
        return columns[0] if len(columns) == 1 else list(map("/".join, zip(*columns, strict=True)))

    def _decode_slowly(
        self, index: int, payload: bytes | None, rejected: dict[int, Rejection]
    ) -> Any:
        """Return the row of one payload, or reject it and return a row to fill its place."""
        try:
            fields = self._parse(payload)
            ids = [_id_part(self._at(fields, path), path) for path in self._ids]
            time_ms = 0 if self._time is None else _time(self._at(fields, self._time), self._time)
            numbers = [self._number(self._at(fields, path), path) for path in self._numbers]
            return self._build(ids, time_ms, numbers)
        except _Refused as refused:
            rejected[index] = Rejection(index, refused.cause, str(refused))
            return self._blank

    def _parse(self, payload: bytes | None) -> Any:
        if payload is None:
            raise _Refused("tombstone", "the value is null")
        if not payload.strip():
            raise _Refused("empty", "the value is empty")
        try:
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

    def _at(self, fields: Any, path: str) -> Any:
        head, *rest = path.split(".")
        found = getattr(fields, self._loose[head])
        for name in rest:
            if found is None:
                return None
            if not isinstance(found, dict):
                raise _Refused("wrong-type", f"{path} cannot be: {_shown(found)} holds no fields")
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

    def _build(self, ids: Sequence[str | int], time_ms: float, numbers: list[float]) -> Any:
        leaves: dict[str, Any] = dict(zip(self._ids, ids, strict=True))
        leaves |= zip(self._numbers, numbers, strict=True)
        if self._time is not None:
            leaves[self._time] = time_ms
        fields: dict[str, Any] = {}
        for path, leaf in leaves.items():
            *outer, last = path.split(".")
            inner = fields
            for name in outer:
                inner = inner.setdefault(name, {})
            inner[last] = leaf
        return msgspec.convert(fields, self._row)


class _Refused(ReadingError):
    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


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
    short = _SHORT_TIME.fullmatch(found)
    full = f"{short[1]}T{short[2] or '00:00'}:00{short[3] or ''}" if short else found
    try:
        return _milliseconds(msgspec.convert(full, datetime))
    except msgspec.ValidationError:
        raise _Refused("not-a-time", f"{path} is {_shown(found)}: not ISO 8601") from None


def _milliseconds(moment: float | datetime) -> float:
    if not isinstance(moment, datetime):
        try:
            return float(moment)
        except OverflowError:
            return math.inf if moment > 0 else -math.inf
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // _MS


def _moments(column: list[Any]) -> NDArray[np.float64]:
    # Every whole number of milliseconds within the bounds is exact as a float.
    try:
        return np.array(column, np.float64)
    except (TypeError, OverflowError):
        return np.array(list(map(_milliseconds, column)), np.float64)


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say what is wrong with bytes that are no text."""
    return f"not UTF-8: {error.reason} (byte {error.start})"


def _shown(found: object) -> str:
    text = repr(found[:50]) if isinstance(found, str) else repr(found)
    return text if len(text) <= 60 else text[:59] + "…"
