"""What every decoder of payloads checks: bounds, ids and times, each rejection with its cause.

Knows what a reading may be; must not know any format. A format is a subclass of `Decoder` that
reads payloads into `Fields`. Bytes never raise here: what cannot be read, or is out of bounds,
is rejected, alone, with a cause.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.columns.readings import (
    EARLIEST_MS,
    LARGEST_VALUE,
    LATEST_MS,
    MAX_ID_BYTES,
    MAX_VALUE_BYTES,
    WEIGHTS,
    Readings,
    Rejections,
    weighable,
)
from ewma_ops.errors import ConfigError
from ewma_ops.serde.fields import Fields, Paths, Reasons

__all__ = ["CAUSES", "Decoded", "Decoder", "are_many", "not_utf8"]


_FEW = 1_536
"""Fewer payloads, or ids, than this are dealt with more quickly one by one (measured)."""


def are_many(pieces: Sequence[bytes | None]) -> TypeGuard[BytesColumn]:
    """Tell whether byte strings are a column, and so many that it is worth to stay with it."""
    return isinstance(pieces, BytesColumn) and len(pieces) >= _FEW


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say what is wrong with bytes that are no text."""
    return f"not UTF-8: {error.reason} (byte {error.start})"


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
    "value-too-long",
    "no-time",
    "not-a-time",
    "time-out-of-range",
)
"""Every cause a rejection can have."""


class Decoded(NamedTuple):
    """What a run of payloads came to.

    ``kept`` holds the positions (intp, ascending) of the payloads that became ``readings``, in
    that order; ``rejected`` the others, by position.
    """

    kept: NDArray[np.intp]
    readings: Readings
    rejected: Rejections


class Decoder(ABC):
    """Decode payloads of one format into readings; what is the same for every format.

    Parameters
    ----------
    value, series_id, time, weight
        Paths of the fields, as `JsonDecoder` explains them; ``series_id = None`` is the record's
        key, ``time = None`` the record's timestamp.
    lowest, highest
        Bounds of a value.
    nulls
        Whether a null or absent value is a missing reading, or else rejected.
    max_id_bytes
        Most bytes of a series id, as UTF-8.

    Raises
    ------
    ConfigError
        If a path is empty, or two are the same.
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
        max_id_bytes: int = MAX_ID_BYTES,
        max_value_bytes: int = MAX_VALUE_BYTES,
    ) -> None:
        if series_id is None:
            series_id = ()
        ids = [series_id] if isinstance(series_id, str) else list(series_id)
        fields = [value] if isinstance(value, str) else list(value)
        numbers = [*fields, *([] if weight is None else [weight])]
        every = [*numbers, *ids, *([] if time is None else [time])]
        for path in every:
            if not all(path.split(".")):
                raise ConfigError(f"{path!r} is not the path of a field, such as 'sensor.value'")
        if len(set(every)) != len(every):
            raise ConfigError(
                f"value {value!r}, series_id {ids!r}, time {time!r} and weight {weight!r} must be "
                "different fields"
            )
        self._paths, self._weight = Paths(ids, time, numbers), weight
        self._lowest, self._highest, self._nulls = lowest, highest, nulls
        self._max_id_bytes, self._max_value_bytes = max_id_bytes, max_value_bytes

    def decode(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps_ms: NDArray[np.int64] | Sequence[int],
    ) -> Decoded:
        """Decode a run of records: their keys, values and timestamps (-1 for none)."""
        rejected: Reasons = {}
        values = self._short(values, rejected)
        fields = self._read(values, rejected)
        ids = _ids_of(keys, rejected) if fields.ids is None else fields.ids
        if fields.times_ms is None:
            times_ms = _times_of_records(np.asarray(timestamps_ms, np.int64), rejected)
        else:
            times_ms = self._times_of(fields.times_ms, rejected)
        for path, column in zip(self._paths.numbers, fields.numbers, strict=True):
            self._check(path, column, rejected)
        weights = None if self._weight is None else fields.numbers.pop()
        several = len(fields.numbers) > 1
        column = np.array(fields.numbers).T if several else fields.numbers[0]
        readings = Readings(ids, column, times_ms, weights=weights)
        _reject_long(ids, self._max_id_bytes, rejected)
        if not rejected:
            return Decoded(np.arange(len(ids)), readings, Rejections.of({}))
        kept = np.ones(len(ids), np.bool_)
        kept[list(rejected)] = False
        places = np.flatnonzero(kept)
        return Decoded(places, readings.take(places), Rejections.of(rejected))

    def _short(self, payloads: Sequence[bytes | None], rejected: Reasons) -> Sequence[bytes | None]:
        """Return the payloads, nothing in the place of those that are too long."""
        most = self._max_value_bytes
        if isinstance(payloads, BytesColumn):
            long = np.flatnonzero(payloads.sizes > most).tolist()
        else:
            long = [i for i, one in enumerate(payloads) if one is not None and len(one) > most]
        if not long:
            return payloads
        pieces = list(payloads)
        for i in long:
            pieces[i] = None
            detail = f"the value has more than {most} bytes (input.max_value_bytes)"
            rejected[i] = "value-too-long", detail
        return BytesColumn.of(pieces) if isinstance(payloads, BytesColumn) else pieces

    def _check(self, path: str, column: NDArray[np.float64], rejected: Reasons) -> None:
        low, high = self._lowest, self._highest
        if path == self._weight:
            bad = ~(weighable(column) | np.isnan(column))
            bounds = f"not between {WEIGHTS}"
        elif _within(column, low, high):
            return
        else:
            bad = ((column < low) | (column > high)) & np.isfinite(column)
            bounds = f"not between {low:.6g} and {high:.6g}"
        for i, value in _items(column, bad):
            rejected.setdefault(i, ("out-of-range", f"{path} is {value}: {bounds}"))
        if not self._nulls:
            for i in np.flatnonzero(np.isnan(column)).tolist():
                rejected.setdefault(i, ("missing", f"{path} is absent or null"))

    def _times_of(self, moments: NDArray[Any], rejected: Reasons) -> NDArray[np.int64]:
        assert self._paths.time is not None
        _reject_outside(moments, self._paths.time, rejected)
        if moments.dtype == np.float64:
            for i, moment in _items(moments, moments != np.rint(moments)):
                detail = f"{self._paths.time} is {moment}: not a whole number of milliseconds"
                rejected.setdefault(i, ("wrong-type", detail))
        if rejected:
            moments[list(rejected)] = 0
        return moments.astype(np.int64)

    @abstractmethod
    def _read(self, payloads: Sequence[bytes | None], rejected: Reasons) -> Fields:
        """Read the fields of every payload; what cannot be read is added to ``rejected``."""


def _times_of_records(times_ms: NDArray[np.int64], rejected: Reasons) -> NDArray[np.int64]:
    for i, time_ms in _items(times_ms, times_ms < 0):
        rejected.setdefault(i, ("no-time", f"the record's timestamp is {time_ms}"))
    _reject_outside(times_ms, "the record's timestamp", rejected)
    return times_ms


def _ids_of(keys: Sequence[bytes | None], rejected: Reasons) -> Sequence[str]:
    if are_many(keys) and (keys.stops > keys.starts).all() and keys.packed().isascii():
        return TextColumn(keys)
    try:
        texts = list(map(bytes.decode, keys))  # type: ignore[arg-type]  # None raises, as it should
    except (TypeError, UnicodeDecodeError):
        texts = []
        for i, key in enumerate(keys):
            try:
                texts.append("" if key is None else key.decode())
            except UnicodeDecodeError as error:
                texts.append("-")
                rejected.setdefault(i, ("not-utf8", f"the key is {not_utf8(error)}"))
    if not all(texts):
        for i in (i for i, text in enumerate(texts) if not text):
            rejected.setdefault(i, ("no-series-id", "the record has no key"))
    return texts


def _reject_outside(times_ms: NDArray[Any], name: str, rejected: Reasons) -> None:
    if _within(times_ms, EARLIEST_MS, LATEST_MS):
        return
    for i, time_ms in _items(times_ms, (times_ms < EARLIEST_MS) | (times_ms > LATEST_MS)):
        detail = f"{name} is {time_ms:.16g} ms, outside the years 1 to 9999"
        rejected.setdefault(i, ("time-out-of-range", detail))


def _reject_long(ids: Sequence[str], max_bytes: int, rejected: Reasons) -> None:
    if not isinstance(ids, TextColumn):
        if _MOST_UTF8 * max(map(len, ids), default=0) <= max_bytes:
            return
        ids = TextColumn.of(ids)
    sizes = ids.utf8.sizes
    for i, size in _items(sizes, sizes > max_bytes):
        detail = f"the series id has {size} bytes, at most {max_bytes} (input.max_id_bytes)"
        rejected.setdefault(i, ("id-too-long", detail))


_MOST_UTF8 = 4
"""Bytes of a character, at most."""


def _items(column: NDArray[Any], where: NDArray[np.bool_]) -> Iterator[tuple[int, Any]]:
    """Return place and value of some items, as Python's own: quicker to look at, one by one."""
    return zip(np.flatnonzero(where).tolist(), column[where].tolist(), strict=True)


def _within(column: NDArray[Any], low: float, high: float) -> bool:
    """Tell whether all are within bounds; a NaN is not."""
    return not len(column) or bool(low <= column.min() and column.max() <= high)
