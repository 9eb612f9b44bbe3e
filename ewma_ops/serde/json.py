"""JSON payloads to readings, smoothed readings to JSON.

Knows field paths and what makes a payload unusable; must not know topics, sockets or statistics.
Bytes never raise here: what cannot be read is rejected, alone, with a cause.

Usual payloads are decoded straight into structs made for the paths. Any other goes, by itself,
through the slow way, which has the last word: it takes what the structs are too strict for and
names what is wrong with the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from json import loads
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct, defstruct
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.readings import (
    EARLIEST_MS,
    LARGEST_VALUE,
    LARGEST_WEIGHT,
    LATEST_MS,
    Readings,
    Rejection,
    Smoothed,
    event_key,
)

__all__ = ["CAUSES", "LONGEST_ID", "Decoded", "JsonDecoder", "JsonEncoder"]

CAUSES = (
    "tombstone",
    "empty",
    "not-utf8",
    "not-json",
    "too-deep",
    "wrong-type",
    "missing",
    "out-of-range",
    "no-series-id",
    "id-too-long",
    "no-time",
    "not-a-time",
    "time-out-of-range",
)
"""Every cause a rejection can have."""

LONGEST_ID = 65_536
"""Characters of a series id: an event holds it twice, and must fit into a message."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)
_BEYOND_MS = 1 << 62
_SHORT_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d))?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
"""What RFC 3339 lacks of ISO 8601: a date alone, and a time without seconds."""


class Decoded(NamedTuple):
    """What a run of payloads came to.

    ``kept`` holds the positions (intp, ascending) of the payloads that became ``readings``, in
    that order; ``rejected`` the others, by position.
    """

    kept: NDArray[np.intp]
    readings: Readings
    rejected: list[Rejection]


class JsonDecoder:
    """Decode JSON objects into readings.

    Parameters
    ----------
    value
        Path of the value, a number; null or absent is a missing reading (NaN). A list of paths
        for several fields.
    series_id
        Path of the series id, text or an integer (5 and "5" are the same series); several are
        joined with "/", so they had better not contain one. ``None``: the record's key.
    time
        Path of the event time: milliseconds since the epoch, or ISO 8601 text in the years 1 to
        9999, UTC where it names no offset. ``None``: the record's timestamp.
    weight
        Path of what the reading weighs, a number >= 0; null or absent is a missing reading.
    lowest, highest
        Bounds of a value.
    nulls
        Whether a null or absent value is a missing reading, or else rejected.
    infinite
        Whether a number too large for a float64 is taken as infinite, and the words ``Infinity``,
        ``-Infinity`` and ``NaN`` are read, which JSON has not; or else all of them rejected.

    A path is the name of a field, or names joined with "." for nested objects. Of a key that
    stands twice in an object the last counts. Other fields are skipped unread.

    Raises
    ------
    ConfigError
        If a path is empty, or one lies inside another.

    Examples
    --------
    >>> decoder = JsonDecoder(value="t", series_id="sensor.id", time="at")
    >>> decoded = decoder.decode([None], [b'{"sensor": {"id": "s1"}, "t": 21, "at": 5}'], [-1])
    >>> decoded.readings.series_ids, decoded.readings.values, decoded.readings.times_ms
    (['s1'], array([21.]), array([5]))
    """

    def __init__(
        self,
        value: str | Sequence[str] = "value",
        series_id: str | Sequence[str] | None = "series_id",
        time: str | None = None,
        weight: str | None = None,
        lowest: float = -LARGEST_VALUE,
        highest: float = LARGEST_VALUE,
        *,
        nulls: bool = True,
        infinite: bool = False,
    ) -> None:
        if series_id is None:
            series_id = ()
        ids = [series_id] if isinstance(series_id, str) else list(series_id)
        fields = [value] if isinstance(value, str) else list(value)
        numbers = [*fields, *([] if weight is None else [weight])]
        for path in (*numbers, *ids, *([] if time is None else [time])):
            if not all(path.split(".")):
                raise ConfigError(f"{path!r} is not the path of a field, such as 'sensor.value'")
        leaves: dict[str, tuple[Any, ...]] = dict.fromkeys(ids, (str | int,))
        if time is not None:
            leaves[time] = (int | float | datetime,)
        leaves |= dict.fromkeys(numbers, (float | None, np.nan))
        if len(leaves) != len(ids) + (time is not None) + len(numbers):
            raise ConfigError(
                f"value {value!r}, series_id {ids!r}, time {time!r} and weight {weight!r} must be "
                "different fields"
            )
        self._fields, self._ids, self._time, self._weight = fields, ids, time, weight
        self._numbers, self._lowest, self._highest = numbers, lowest, highest
        self._nulls, self._infinite = nulls, infinite
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
        self._blank = self._build(["-"] * len(ids), 0, [np.nan] * len(numbers))

    def decode(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps_ms: NDArray[np.int64] | Sequence[int],
    ) -> Decoded:
        """Decode a run of records: their keys, values and timestamps (-1 for none)."""
        rejected: dict[int, Rejection] = {}
        rows: list[Any] = []
        left = map(self._decode, values)  # type: ignore[arg-type]  # None raises, as it should
        while True:
            try:
                rows.extend(left)  # keeps what it got before an error, and goes on after it
                break
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
                rows.append(self._decode_slowly(len(rows), values[len(rows)], rejected))
        ids = self._series_ids(rows, keys, rejected)
        times_ms = self._times_ms(rows, timestamps_ms, rejected)
        columns = [self._column(path, rows, rejected) for path in self._fields]
        column = columns[0] if len(columns) == 1 else np.array(columns).T
        weights = None if self._weight is None else self._column(self._weight, rows, rejected)
        readings = Readings(ids, column, times_ms, weights=weights)
        _reject_long(ids, rejected)
        if not rejected:
            return Decoded(np.arange(len(rows)), readings, [])
        kept = np.array([i for i in range(len(rows)) if i not in rejected], np.intp)
        return Decoded(kept, readings.take(kept), [rejected[i] for i in sorted(rejected)])

    def _column(
        self, path: str, rows: list[Any], rejected: dict[int, Rejection]
    ) -> NDArray[np.float64]:
        column = np.array(list(map(self._get[path], rows)), np.float64)  # None is NaN
        bad = ((column < self._lowest) | (column > self._highest)) & np.isfinite(column)
        bounds = f"not between {self._lowest:.6g} and {self._highest:.6g}"
        if path == self._weight:
            bad = (column < 0.0) | (column > LARGEST_WEIGHT)
            bounds = f"not between 0 and {LARGEST_WEIGHT:.3g}"
        for i in np.flatnonzero(bad).tolist():
            detail = f"{path} is {column[i]}: {bounds}"
            rejected.setdefault(i, Rejection(i, "out-of-range", detail))
        if not self._nulls:
            for i in np.flatnonzero(np.isnan(column)).tolist():
                rejected.setdefault(i, Rejection(i, "missing", f"{path} is absent or null"))
        return column

    def _series_ids(
        self, rows: list[Any], keys: Sequence[bytes | None], rejected: dict[int, Rejection]
    ) -> list[str]:
        if not self._ids:
            return _texts(keys, rejected)
        columns = [_as_text(list(map(self._get[path], rows))) for path in self._ids]
        for path, column in zip(self._ids, columns, strict=True):
            if not all(column):
                for i in (i for i, part in enumerate(column) if not part):
                    rejected.setdefault(i, Rejection(i, "no-series-id", f"{path} is empty"))
        return columns[0] if len(columns) == 1 else list(map("/".join, zip(*columns, strict=True)))

    def _times_ms(
        self,
        rows: list[Any],
        timestamps_ms: NDArray[np.int64] | Sequence[int],
        rejected: dict[int, Rejection],
    ) -> NDArray[np.int64]:
        if self._time is None:
            times_ms = np.asarray(timestamps_ms, np.int64)
            for i in np.flatnonzero(times_ms < 0).tolist():
                detail = f"the record's timestamp is {times_ms[i]}"
                rejected.setdefault(i, Rejection(i, "no-time", detail))
            _reject_outside(times_ms, "the record's timestamp", rejected)
            return times_ms
        column = list(map(self._get[self._time], rows))
        try:
            # Every whole number of milliseconds within the bounds is exact as a float.
            wide = np.array(column, np.float64)
        except (TypeError, OverflowError):
            wide = np.array(list(map(_milliseconds, column)), np.float64)
        _reject_outside(wide, self._time, rejected)
        for i in np.flatnonzero(wide != np.rint(wide)).tolist():
            detail = f"{self._time} is {wide[i]}: not a whole number of milliseconds"
            rejected.setdefault(i, Rejection(i, "wrong-type", detail))
        if rejected:
            wide[list(rejected)] = 0
        return wide.astype(np.int64)

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
                    return msgspec.convert(loads(payload.decode()), self._loose_row)
            raise _refused(payload, error) from None
        except RecursionError:
            raise _Refused("too-deep", "the value is nested too deeply") from None
        except UnicodeDecodeError as error:
            raise _Refused("not-utf8", _not_utf8(error)) from None

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


class JsonEncoder:
    """Encode smoothed readings as JSON objects, one event each.

    ``{"series_id": ..., "time": ..., "value": ..., "ewma": ...}`` and one key per further
    statistic; ``time`` in milliseconds since the epoch, left out where there is none; numbers in
    the shortest form that reads back the same; ``null`` where there is no value.

    Parameters
    ----------
    statistics
        Names of the statistics to write; a mean is written as ``"ewma"``, and first.
    fields
        Names of the fields where there are several: each is written by its name, not ``value``.

    Raises
    ------
    ConfigError
        If two keys of an event would be the same.

    Examples
    --------
    >>> readings = Readings.of(["a"], [1.5], [0])
    >>> JsonEncoder(["mean"]).encode(Smoothed(readings, {"mean": np.array([1.25])}))
    [b'{"series_id":"a","time":0,"value":1.5,"ewma":1.25}']
    """

    def __init__(self, statistics: Sequence[str], fields: Sequence[str] = ()) -> None:
        self._statistics = sorted(statistics, key=lambda name: name != "mean")
        keys = ["series_id", "time", *(fields or ["value"]), *map(event_key, self._statistics)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ConfigError(f"two keys of an event would be {twice[0]!r}: rename the field")
        rename = {f"f{i}": key for i, key in enumerate(keys)}
        self._timed_event = defstruct("TimedEvent", list(rename), gc=False, rename=rename)
        untimed = [name for name, key in rename.items() if key != "time"]
        self._event = defstruct("Event", untimed, gc=False, rename=rename)
        self._encode_lines = msgspec.json.Encoder().encode_lines

    def encode(self, smoothed: Smoothed) -> list[bytes]:
        """Encode each reading with its statistics, in order."""
        readings = smoothed.readings
        columns: list[list[Any]] = np.atleast_2d(readings.values.T).tolist()
        columns += [_numbers(name, smoothed.statistics[name]) for name in self._statistics]
        event = self._event
        if readings.times_ms is not None:
            event = self._timed_event
            columns.insert(0, readings.times_ms.tolist())
        lines = self._encode_lines(list(map(event, readings.series_ids, *columns))).split(b"\n")
        lines.pop()  # after the last line break stands nothing
        return lines


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
    except UnicodeDecodeError as not_utf8:
        return _Refused("not-utf8", _not_utf8(not_utf8))
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


def _texts(keys: Sequence[bytes | None], rejected: dict[int, Rejection]) -> list[str]:
    try:
        texts = list(map(bytes.decode, keys))  # type: ignore[arg-type]  # None raises, as it should
    except (TypeError, UnicodeDecodeError):
        texts = []
        for i, key in enumerate(keys):
            try:
                texts.append("" if key is None else key.decode())
            except UnicodeDecodeError as error:
                texts.append("-")
                rejected.setdefault(i, Rejection(i, "not-utf8", f"the key is {_not_utf8(error)}"))
    if not all(texts):
        for i in (i for i, text in enumerate(texts) if not text):
            rejected.setdefault(i, Rejection(i, "no-series-id", "the record has no key"))
    return texts


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
        return min(max(moment, -_BEYOND_MS), _BEYOND_MS)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // _MS


def _reject_outside(times_ms: NDArray[Any], name: str, rejected: dict[int, Rejection]) -> None:
    for i in np.flatnonzero((times_ms < EARLIEST_MS) | (times_ms > LATEST_MS)).tolist():
        detail = f"{name} is {times_ms[i]} ms, outside the years 1 to 9999"
        rejected.setdefault(i, Rejection(i, "time-out-of-range", detail))


def _reject_long(ids: list[str], rejected: dict[int, Rejection]) -> None:
    if not ids or max(map(len, ids)) <= LONGEST_ID:
        return
    for i, series_id in enumerate(ids):
        if len(series_id) > LONGEST_ID:
            detail = f"the series id has {len(series_id)} characters, at most {LONGEST_ID}"
            rejected.setdefault(i, Rejection(i, "id-too-long", detail))


def _numbers(name: str, column: NDArray[np.float64]) -> list[Any]:
    numbers: list[float] = column.tolist()  # msgspec writes NaN as null
    if name.rpartition("_")[2] not in ("count", "revision"):
        return numbers
    return [None if number != number else int(number) for number in numbers]


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8: {error.reason} (byte {error.start})"


def _shown(found: object) -> str:
    text = repr(found[:50]) if isinstance(found, str) else repr(found)
    return text if len(text) <= 60 else text[:59] + "…"
