"""JSON payloads to readings.

Knows what a reading may be; must not know topics, sockets or statistics. Bytes never raise here:
what cannot be read, or is out of bounds, is rejected, alone, with a cause.

    payloads --(of the usual shape)--> ColumnReader --> Fields --> checks --> Readings
        `-----------(others)---------> RowReader ----'
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ewma_ops.columns.byte_columns import taken
from ewma_ops.columns.readings import (
    LARGEST_VALUE,
    MAX_ID_BYTES,
    MAX_VALUE_BYTES,
)
from ewma_ops.serde.decoder import (
    Decoder,
)
from ewma_ops.serde.fields import Fields, Reasons
from ewma_ops.serde.json.by_shape import ColumnReader
from ewma_ops.serde.json.one_by_one import RowReader

__all__ = ["JsonDecoder"]


class JsonDecoder(Decoder):
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
    max_id_bytes
        Most bytes of a series id, as UTF-8.
    max_value_bytes
        Most bytes of a payload: a longer one is rejected unread.

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
        max_id_bytes: int = MAX_ID_BYTES,
        max_value_bytes: int = MAX_VALUE_BYTES,
    ) -> None:
        super().__init__(
            value,
            series_id,
            time,
            weight,
            lowest,
            highest,
            nulls=nulls,
            max_id_bytes=max_id_bytes,
            max_value_bytes=max_value_bytes,
        )
        self._rows = RowReader(self._paths, infinite=infinite)
        self._columns = ColumnReader(self._paths)

    def _read(self, payloads: Sequence[bytes | None], rejected: Reasons) -> Fields:
        read = self._columns.read(payloads)
        if read is None:
            return self._rows.read(payloads, range(len(payloads)), rejected)
        alike, fields = read
        if alike.all():
            return fields
        others = np.flatnonzero(~alike)
        rest = self._rows.read(taken(payloads, others), others.tolist(), rejected)
        return fields.merged(np.flatnonzero(alike), rest, others)
