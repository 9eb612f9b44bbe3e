"""The checks of every decoder: bounds, ids and times, with a cause for each rejection.

Knows what a reading may be; must not know any format. A format turns payloads into documents; a
decoder of its own may read usual ones more quickly, by `Decoder._by_columns`. Bytes never raise
here: what cannot be read, or is out of bounds, is rejected, alone, with a cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, taken
from ewma_ops.columns.readings import WEIGHTS, Readings, weighable
from ewma_ops.serde.decoded import Decoded, joined, with_tombstones
from ewma_ops.serde.documents import DocumentReader
from ewma_ops.serde.fields import Fields, Headers, RecordFields
from ewma_ops.serde.format import SKIPPED, Format, Reasons, tombstone
from ewma_ops.serde.include import reject_long
from ewma_ops.serde.keys import KeyReader
from ewma_ops.serde.limits import (
    are_within,
    items_where,
    places_of_nulls,
    record_times,
    reject_long_ids,
    reject_outside,
)
from ewma_ops.serde.moments import likely_unit
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.several import split
from ewma_ops.serde.spans import Mask
from ewma_ops.serde.watch import PathWatch, TimeWatch

__all__ = ["Decoded", "Decoder", "are_many"]


_DEFAULTS = DecoderOptions()

_FEW = 1_536
"""Fewer payloads, or ids, than this are processed faster one by one (measured)."""


def are_many(pieces: Sequence[bytes | None], fewest: int | None = None) -> TypeGuard[BytesColumn]:
    """Return whether byte strings are a column, and enough of them to be worth keeping columnar.

    ``fewest`` overrides the default minimum.
    """
    least = _FEW if fewest is None else min(fewest, _FEW)
    return isinstance(pieces, BytesColumn) and len(pieces) >= least


class Decoder:
    """Decodes the records of a topic into readings; common to all formats.

    Parameters
    ----------
    format_
        Turns payloads into documents; ``None`` for a decoder with its own `_read` and `documents`.
    options
        Where in a message a reading is, and which readings are accepted.

    Raises
    ------
    ConfigError
        If a path is invalid, or two lead to the same field.
    """

    def __init__(self, format_: Format | None, options: DecoderOptions = _DEFAULTS) -> None:
        self._paths = options.paths()
        self._format = format_
        self._documents = DocumentReader(self._paths, options)
        self._keys = KeyReader(options.key, options.key_format)
        self._options = options
        self.beside = frozenset(path.source for path in self._paths.every)
        """Which parts of records besides payloads are read: "header", "partition", "topic" ..."""
        time = self._paths.time
        self._time_watch = None if time is None else TimeWatch(time.text, options)
        self.watch = PathWatch([path.text for path in self._paths.numbers])
        """Tracks which paths have not led to a number yet."""
        self._tombstones: Decoder | None = None
        if options.tombstones == "forget":
            self._tombstones = Decoder(_Empty(), _of_tombstones(options))

    def decode(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps_ms: NDArray[np.int64] | Sequence[int],
        headers: Sequence[Headers] | None = None,
        partitions: Sequence[int] | NDArray[np.int32] | None = None,
        topics: Sequence[str] | None = None,
    ) -> Decoded:
        """Decode a run of records.

        Parameters
        ----------
        keys, values
            n byte strings each; ``None`` is Kafka's null.
        timestamps_ms
            int64[n], milliseconds since the epoch; -1 for none.
        headers
            n header lists, or ``None`` if no record has any; used if ``beside`` has
            "header".
        partitions, topics
            n of each; needed if ``beside`` has "partition" or "topic".
        """
        rejected: Reasons = {}
        clipped = 0
        nulls = self._nulls(values)
        rejected.update(dict.fromkeys(nulls.tolist(), SKIPPED))
        values = self._short(values, rejected)
        times_of_records = np.asarray(timestamps_ms, np.int64)
        record = RecordFields(keys, times_of_records, headers, partitions, topics)
        fields = self._read(values, record, rejected)
        if fields.owners is not None:
            keys = taken(keys, fields.owners)
            times_of_records = times_of_records[fields.owners]
        ids = fields.ids
        if ids is None:
            ids = self._keys.ids(keys, rejected, many=are_many(keys))
        if fields.times_ms is None:
            times_ms = record_times(times_of_records, rejected)
        else:
            times_ms = self._times_of(fields.times_ms, rejected)
            clipped = self._guard(times_ms, times_of_records, rejected)
            if self._time_watch is not None:
                self._time_watch.look(times_ms, times_of_records, rejected)
        if not self.watch.is_done:
            self.watch.look(fields.numbers, rejected, values)
        for place, (path, column) in enumerate(
            zip(self._paths.numbers, fields.numbers, strict=True)
        ):
            self._check(place, path.text, column, rejected)
        weights = None if self._options.weight is None else fields.numbers.pop()
        several = len(fields.numbers) > 1
        column = np.array(fields.numbers).T if several else fields.numbers[0]
        if fields.included is not None:
            reject_long(fields.included, self._options.max_include_bytes, rejected)
        readings = Readings(ids, column, times_ms, weights=weights, included=fields.included)
        reject_long_ids(ids, self._options.max_id_bytes, rejected)
        decoded = joined(readings, rejected, fields, len(values))._replace(clipped=clipped)
        if self._tombstones is None:
            return decoded
        return with_tombstones(decoded, nulls, self._tombstones.of(record.take(nulls)))

    def of(self, record: RecordFields) -> Decoded:
        """Decode records without a value."""
        n = len(record.keys)
        beside = record.headers, record.partitions, record.topics
        return self.decode(record.keys, [b""] * n, np.zeros(n, np.int64), *beside)

    def _nulls(self, payloads: Sequence[bytes | None]) -> NDArray[np.intp]:
        """Return the places of null payloads, unless these are dead letters."""
        if self._options.tombstones == "dead-letter":
            return np.zeros(0, np.intp)
        return places_of_nulls(payloads)

    def _hint(self, moment: float) -> str:
        if self._options.time_unit is not None:
            return ""
        unit = likely_unit(moment)
        return f'; time_unit = "{unit}" in [input] reads it that way' if unit else ""

    def _read(
        self, payloads: Sequence[bytes | None], record: RecordFields, rejected: Reasons
    ) -> Fields:
        """Read the fields of every payload; what cannot be read is added to ``rejected``."""
        read = self._by_columns(payloads)
        if read is None:
            return self._one_by_one(payloads, range(len(payloads)), record, rejected)
        usual, fields = read
        if usual.all():
            return fields
        others = np.flatnonzero(~usual)
        rest = self._one_by_one(
            taken(payloads, others), others.tolist(), record.take(others), rejected
        )
        return fields.merged(np.flatnonzero(usual), rest, others)

    def _by_columns(
        self,
        payloads: Sequence[bytes | None],  # noqa: ARG002 - of those that override it
    ) -> tuple[Mask, Fields] | None:
        """Return which payloads are usual ones, and the fields of those, found without documents.

        ``None`` if that is not worth while; a format that has no such way leaves this as it is.
        """
        return None

    def _one_by_one(
        self,
        payloads: Sequence[bytes | None],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
    ) -> Fields:
        """Read payloads, of which the i-th is that at ``places[i]`` of a run, by documents."""
        assert self._format is not None
        documents = self._format.documents(payloads, places, rejected)
        if not self._paths.records:
            return self._documents.read([documents], places, record, rejected)
        rows = split(documents, self._paths.records, rejected)
        places = range(len(rows.owners))
        fields = self._documents.read(
            rows.levels, places, record.take(rows.owners), rejected, rows.broken
        )
        return fields._replace(owners=rows.owners, ordinals=rows.ordinals)

    def _guard(
        self, times_ms: NDArray[np.int64], of_records: NDArray[np.int64], rejected: Reasons
    ) -> int:
        """Reject or clip times too far ahead; return how many were clipped, in place."""
        most, name, tick = self._options.max_ahead, self._paths.time, self._options.tick
        if most is None or name is None:
            return 0
        ahead_by = times_ms - tick.of_ms(of_records)
        ahead = (of_records >= 0) & (ahead_by > most)
        places = [place for place in np.flatnonzero(ahead).tolist() if place not in rejected]
        if not places:
            return 0
        if self._options.ahead == "clip":
            times_ms[places] -= ahead_by[places] - most
            return len(places)
        per_s, digits = 1_000 * tick.per_ms, len(str(tick.per_ms)) + 2
        for place in places:
            by_s = int(ahead_by[place]) / per_s
            detail = f"{name.text} is {by_s:,.{digits}f} s ahead of the record's timestamp"
            rejected[place] = "ahead", f"{detail}, at most {most / per_s:g} s (smooth.max_ahead)"
        return 0

    def pop_notice(self) -> str | None:
        """Return, once, a warning about the messages read so far."""
        of_times = [] if self._time_watch is None else self._time_watch.pop_notices()
        return "; ".join([*of_times, *self.watch.pop_notices()]) or None

    def documents(self, payload: bytes | None) -> list[Any]:
        """Return the documents of a payload: one or several.

        Raises
        ------
        Refused
            If it is invalid.
        """
        assert self._format is not None
        if payload is None:
            raise tombstone()
        return [self._format.document(payload)]

    def _short(self, payloads: Sequence[bytes | None], rejected: Reasons) -> Sequence[bytes | None]:
        """Return the payloads, with empty ones in place of those that are too long."""
        most = self._options.max_value_bytes
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

    def _check(self, place: int, path: str, column: NDArray[np.float64], rejected: Reasons) -> None:
        low, high = self._options.lowest, self._options.highest
        if self._options.weight is not None and place == len(self._paths.numbers) - 1:
            bad = ~(weighable(column) | np.isnan(column))
            bounds = f"not between {WEIGHTS}"
        elif are_within(column, low, high):
            return
        else:
            bad = ((column < low) | (column > high)) & np.isfinite(column)
            bounds = f"not between {low:.6g} and {high:.6g}"
        for i, value in items_where(column, bad):
            rejected.setdefault(i, ("out-of-range", f"{path} is {value}: {bounds}"))
        if not self._options.nulls:
            for i in np.flatnonzero(np.isnan(column)).tolist():
                rejected.setdefault(i, ("missing", f"{path} is absent or null"))

    def _times_of(self, moments: NDArray[Any], rejected: Reasons) -> NDArray[np.int64]:
        assert self._paths.time is not None
        name = self._paths.time.text
        reject_outside(moments, name, rejected, self._options.tick, self._hint)
        if moments.dtype == np.float64:
            for i, moment in items_where(moments, moments != np.rint(moments)):
                detail = f"{name} is {moment}: not a whole number of milliseconds"
                detail += self._hint(moment)
                rejected.setdefault(i, ("wrong-type", detail))
        if rejected:
            moments[list(rejected)] = 0
        return moments.astype(np.int64)


class _Empty(Format):
    """The document of a message without a value."""

    def document(self, payload: bytes) -> Any:  # noqa: ARG002 - of the interface
        return {}


def _of_tombstones(options: DecoderOptions) -> DecoderOptions:
    """Return the reader of ids of messages without a value."""
    return DecoderOptions(
        value="@timestamp",
        series_id=options.series_id,
        max_id_bytes=options.max_id_bytes,
        key=options.key,
        key_format=options.key_format,
    )
