"""Decoder, encoder and warm start of a job, built from its settings.

Knows settings, formats and the table; must not know Kafka or Bytewax.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ewma_ops.errors import ConfigError
from ewma_ops.serde.bare import BareDecoder, BareName
from ewma_ops.serde.csv import CsvDecoder
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.formats import OWN, entry_of, is_own
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.line import LineDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.own import OwnFormat
from ewma_ops.serde.parquet import History, file_digest
from ewma_ops.settings.model import Settings
from ewma_ops.table.table import SeriesTable

__all__ = ["build_decoder", "build_encoder", "open_history", "warm_table"]


def build_decoder(settings: Settings) -> Decoder:
    """Build the payload decoder.

    Raises
    ------
    ConfigError
        If a path of ``[input]`` is none, or two lead to the same field; or if what the format needs
        is not installed, or cannot be imported.
    """
    name = settings.input.format
    build = _BUILDERS[OWN if is_own(name) else name]
    try:
        return build(settings, _decoder_options(settings))
    except ModuleNotFoundError as error:
        extra = entry_of(name).extra
        if not extra:
            raise
        raise ConfigError(
            f'input.format = "{name}" cannot be read without {error.name}: '
            f"pip install 'ewma-ops[{extra}]'"
        ) from None


def _json(_: Settings, options: DecoderOptions) -> Decoder:
    return JsonDecoder(options)


def _csv(settings: Settings, options: DecoderOptions) -> Decoder:
    reads = settings.input
    return CsvDecoder(reads.columns, options, delimiter=reads.delimiter, quote=reads.quote)


def _line(_: Settings, options: DecoderOptions) -> Decoder:
    return LineDecoder(options)


def _bare(name: BareName) -> Callable[[Settings, DecoderOptions], Decoder]:
    def build(_: Settings, options: DecoderOptions) -> Decoder:
        return BareDecoder(name, options)

    return build


def _own(settings: Settings, options: DecoderOptions) -> Decoder:
    return Decoder(OwnFormat(settings.input.format), options)


_BUILDERS: dict[str, Callable[[Settings, DecoderOptions], Decoder]] = {
    "json": _json,
    "csv": _csv,
    "line": _line,
    "number": _bare("number"),
    "float32": _bare("float32"),
    "float64": _bare("float64"),
    "int32": _bare("int32"),
    "int64": _bare("int64"),
    OWN: _own,
}
"""How the decoder of each format is built; of one with an extra by a late import."""


def _decoder_options(settings: Settings) -> DecoderOptions:
    reads, policies = settings.input, settings.smoothing_set.policies
    lowest, highest = settings.smoothing_set.bounds
    if policies.out_of_range != "dead-letter":
        lowest, highest = -np.inf, np.inf
    return DecoderOptions(
        value=reads.value,
        series_id=reads.series_id,
        time=reads.time,
        weight=reads.weight,
        lowest=lowest,
        highest=highest,
        nulls=policies.missing != "dead-letter",
        infinite=policies.non_finite != "dead-letter",
        max_id_bytes=reads.max_id_bytes,
        max_value_bytes=reads.max_value_bytes,
        records=reads.records,
        numbers=reads.numbers,
        decimal=reads.decimal,
        missing_values=reads.missing_values,
        time_unit=reads.time_unit,
        time_format=reads.time_format,
        key=reads.key,
        where=reads.where,
        tombstones=reads.tombstones,
        max_ahead_ms=settings.max_ahead_ms,
        ahead=settings.ahead,
    )


def open_history(settings: Settings, digest: str = "") -> History | None:
    """Return what the job starts from, as its file is by now, or was when it had a digest.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    reads, smoothing_set, path = settings.input, settings.smoothing_set, settings.warm_start
    if path is None:
        return None
    return History(
        path,
        reads.value,
        "series_id" if reads.series_id is None else reads.series_id,
        None if smoothing_set.by_time is None else reads.time or "time",
        reads.weight,
        smoothing_set.largest,
        digest or file_digest(path),
    )


def warm_table(settings: Settings, history: History | None) -> tuple[SeriesTable, int]:
    """Return the table that the job starts from, and how many readings are in it.

    Raises
    ------
    ConfigError
        If the history cannot be read, or a row of it is no reading.
    """
    table, readings = SeriesTable(settings.smoothing_set), 0
    for part in history or ():
        table.update(part)
        readings += len(part)
    return table, readings


def build_encoder(settings: Settings) -> JsonEncoder:
    """Return what writes the job's events."""
    return JsonEncoder(settings.smoothing_set.names, settings.smoothing_set.fields)
