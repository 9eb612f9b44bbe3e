"""JSON payloads to readings: many of one shape by columns, others by structs or by documents.

Knows which path is fastest; must not know topics, sockets or statistics. All paths give the same
result, to the last bit and word.

    payloads --(of the usual shape)--> ColumnReader --> Fields --> checks --> Readings
        `-----------(others)---------> RowReader ----'
                                          `--> JsonFormat --> DocumentReader
"""

from __future__ import annotations

from collections.abc import Sequence

from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.fields import Fields, RecordFields
from ewma_ops.serde.format import Reasons
from ewma_ops.serde.json.by_shape import ColumnReader
from ewma_ops.serde.json.documents import JsonFormat, without_schema_ids
from ewma_ops.serde.json.one_by_one import RowReader
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.spans import Mask

__all__ = ["JsonDecoder"]

_DEFAULTS = DecoderOptions()


class JsonDecoder(Decoder):
    """Decode JSON into readings.

    Parameters
    ----------
    options
        Where in a message a reading is, and which readings are accepted. If a key occurs twice in
        an object, the last one counts. A schema's id before the JSON, as the serializers of a
        Schema Registry write it, is left out.

    Raises
    ------
    ConfigError
        If a path is invalid, or two lead to the same field.

    Examples
    --------
    >>> decoder = JsonDecoder(DecoderOptions(value="t", series_id="sensor.id", time="at"))
    >>> decoded = decoder.decode([None], [b'{"sensor": {"id": "s1"}, "t": 21, "at": 5}'], [-1])
    >>> decoded.readings.series_ids, decoded.readings.values, decoded.readings.times_ms
    (['s1'], array([21.]), array([5]))
    """

    def __init__(self, options: DecoderOptions = _DEFAULTS) -> None:
        paths = options.paths()
        json = JsonFormat(paths, infinite=options.infinite)
        super().__init__(json, options)
        is_quick = all(path.is_plain for path in paths.every)
        is_quick = is_quick and not (paths.where or paths.records or paths.shares_fields())
        self._rows = RowReader(paths, options, json, self._documents) if is_quick else None
        self._columns = ColumnReader(paths, options)

    def _read(
        self, payloads: Sequence[bytes | None], record: RecordFields, rejected: Reasons
    ) -> Fields:
        return super()._read(without_schema_ids(payloads), record, rejected)

    def _by_columns(self, payloads: Sequence[bytes | None]) -> tuple[Mask, Fields] | None:
        return None if self._rows is None else self._columns.read(payloads)

    def _one_by_one(
        self,
        payloads: Sequence[bytes | None],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
    ) -> Fields:
        read = super()._one_by_one if self._rows is None else self._rows.read
        return read(payloads, places, record, rejected)
