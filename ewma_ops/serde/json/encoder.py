"""Smoothed readings to JSON events.

Knows what an event looks like; must not know topics, sockets or how statistics are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np
from msgspec import defstruct
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn, lay_out, split
from ewma_ops.columns.event_names import in_event_order, is_whole
from ewma_ops.columns.readings import MAX_INCLUDE_BYTES, Smoothed
from ewma_ops.compiled import library
from ewma_ops.serde.encoder import Keyed, event_keys, keyed
from ewma_ops.serde.json.by_loop import Values, write_events
from ewma_ops.serde.spans import is_plain

__all__ = ["JsonEncoder"]

_FEW = 1_200
"""Fewer events than this are encoded faster one by one (measured)."""


_FEW_COMPILED = 80
"""The same, if there is a compiled loop."""

_LONGEST_NUMBER = len("-2.2250738585072014e-308")


class JsonEncoder:
    """Encode smoothed readings as JSON objects, one event each.

    ``{"series_id": ..., "time": ..., "value": ..., "ewma": ...}`` and one key per further
    statistic; ``time`` since the epoch in the unit of the readings, left out if there is none;
    numbers in the shortest form that reads back the same; ``null`` where there is no value.

    Parameters
    ----------
    statistics
        Names of the statistics to write; a mean is written as ``"ewma"``, and first.
    fields
        Names of the fields if there are several: each is written under its name, not ``value``.
    include, max_include_bytes
        Names of the included fields of readings, and how many bytes they may have.

    Raises
    ------
    ConfigError
        If two keys of an event would be the same.

    Examples
    --------
    >>> from ewma_ops import Readings
    >>> readings = Readings.of(["a"], [1.5], [0])
    >>> JsonEncoder(["mean"]).encode(Smoothed(readings, {"mean": np.array([1.25])}))
    [b'{"series_id":"a","time":0,"value":1.5,"ewma":1.25}']
    """

    def __init__(
        self,
        statistics: Sequence[str],
        fields: Sequence[str] = (),
        include: Sequence[str] = (),
        max_include_bytes: int = MAX_INCLUDE_BYTES,
    ) -> None:
        self._statistics = in_event_order(statistics)
        keys = event_keys(statistics, fields, include)
        self._includes = bool(include)
        self._include_bytes = max_include_bytes + len(b",") if include else 0
        rename = {f"f{i}": key for i, key in enumerate(keys)}
        self._timed_event = defstruct("TimedEvent", list(rename), gc=False, rename=rename)
        untimed = [name for name, key in rename.items() if key != "time"]
        self._event = defstruct("Event", untimed, gc=False, rename=rename)
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._keys = [msgspec.json.encode(key) + b":" for key in keys]

    def largest(self, max_id_bytes: int) -> int:
        """Return the most bytes that key and value of an event may have.

        Examples
        --------
        >>> JsonEncoder(["mean"]).largest(max_id_bytes=1024)
        7281
        """
        numbers = (len(self._keys) - 1) * (_LONGEST_NUMBER + len(b","))
        escaped = max_id_bytes * len(rb"\u0000") + len(b'""')
        keys = sum(map(len, self._keys))
        return max_id_bytes + escaped + numbers + keys + len(b"{}") + self._include_bytes

    def encode(self, smoothed: Smoothed) -> Sequence[bytes]:
        """Encode each reading with its statistics, in order."""
        if library.kernels is not None and len(smoothed) >= _FEW_COMPILED:
            found = self._by_loop(library.kernels, None, smoothed)
            if found is not None:
                return cast("Sequence[bytes]", found[1])  # none of them is null
        readings = smoothed.readings
        columns: list[list[Any]] = np.atleast_2d(readings.values.T).tolist()
        columns += [_numbers(name, smoothed.statistics[name]) for name in self._statistics]
        timed = readings.times_ms is not None
        if readings.times_ms is not None:
            columns.insert(0, readings.times_ms.tolist())
        included = None
        if self._includes and readings.included is not None:
            included = BytesColumn.of(readings.included)
        if len(readings) >= _FEW:
            ids = TextColumn.of(readings.series_ids).utf8
            if is_plain(ids):
                events = self._by_columns(ids, columns, included, timed=timed)
                return cast("Sequence[bytes]", events)  # none of them is null
        lines = self._by_rows(readings.series_ids, columns, timed=timed)
        if included is None:
            return lines
        pairs = zip(lines, included, strict=True)
        return [b"%b,%b}" % (line[:-1], members or b"") for line, members in pairs]

    def encode_in(self, order: NDArray[np.intp] | None, smoothed: Smoothed) -> Keyed:
        """Encode the readings in a given order, or unchanged; return the keys too."""
        if library.kernels is not None and len(smoothed) >= _FEW_COMPILED:
            found = self._by_loop(library.kernels, order, smoothed)
            if found is not None:
                return found
        return keyed(self, order, smoothed)

    def _by_loop(
        self, kernels: library.Kernels, order: NDArray[np.intp] | None, smoothed: Smoothed
    ) -> Keyed | None:
        """Encode by a compiled loop; ``None`` if an id needs escapes in JSON."""
        readings = smoothed.readings
        ids = TextColumn.of(readings.series_ids).utf8
        first, time, *others = self._keys
        ahead = b"{" + first + b'"'
        fields = [Values(ahead, ids, plain=True)]
        if readings.times_ms is not None:
            fields.append(Values(b'",' + time, readings.times_ms))
        names = [None] * (len(others) - len(self._statistics)) + self._statistics
        columns = [*np.atleast_2d(readings.values.T)]
        columns += [smoothed.statistics[name] for name in self._statistics]
        for key, name, column in zip(others, names, columns, strict=True):
            text = (b"," if len(fields) > 1 else b'",') + key
            fields.append(Values(text, column, whole=name is not None and is_whole(name)))
        if self._includes and readings.included is not None:
            included = BytesColumn.of(readings.included)
            if (included.stops < included.starts).any():
                return None
            fields.append(Values(b",", included))
        events = write_events(kernels, fields, b"}", order)
        if events is None:
            return None
        sizes = ids.stops - ids.starts
        starts = events.starts + len(ahead)
        stops = starts + (sizes if order is None else sizes[order])
        return BytesColumn(events.data, starts, stops), events

    def _by_columns(
        self,
        ids: BytesColumn,
        columns: list[list[Any]],
        included: BytesColumn | None,
        *,
        timed: bool,
    ) -> BytesColumn:
        first, time, *others = self._keys
        keys = [time, *others] if timed else others
        pieces: list[bytes | BytesColumn] = [b"{" + first + b'"', ids]
        ahead = b'",'
        for key, column in zip(keys, columns, strict=True):
            pieces += [ahead + key, _text_of(column)]
            ahead = b","
        if included is not None:
            pieces += [b",", included]
        return lay_out([*pieces, b"}"], len(ids))

    def _by_rows(self, ids: Sequence[str], columns: list[list[Any]], *, timed: bool) -> list[bytes]:
        event = self._timed_event if timed else self._event
        lines = self._encode_lines(list(map(event, ids, *columns))).split(b"\n")
        lines.pop()  # nothing follows the last line break
        return lines


def _text_of(numbers: list[Any]) -> BytesColumn:
    """Return the JSON of each number."""
    return split(msgspec.json.encode(numbers)[1:-1], ord(","))


def _numbers(name: str, column: NDArray[np.float64]) -> list[Any]:
    numbers: list[float] = column.tolist()  # msgspec writes NaN as null
    if not is_whole(name):
        return numbers
    return [None if number != number else int(number) for number in numbers]
