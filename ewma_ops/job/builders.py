"""Decoder, encoder, clocks and warm start of a job, built from its settings.

Knows settings, formats and the table; must not know Kafka or Bytewax.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ewma_ops.columns.log_clocks import LogClocks
from ewma_ops.errors import ConfigError
from ewma_ops.registry.client import RegistryClient
from ewma_ops.registry.schemas import RegistrySchemas
from ewma_ops.serde.avro.encoder import AvroEncoder
from ewma_ops.serde.bare import BareDecoder, BareName
from ewma_ops.serde.csv import CsvDecoder
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.encoder import Encoder
from ewma_ops.serde.format import Format
from ewma_ops.serde.formats import FORMATS, OWN, entry_of, is_own
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.line import LineDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.own import OwnFormat
from ewma_ops.serde.parquet import History, file_digest
from ewma_ops.serde.paths import parse_path
from ewma_ops.settings.model import Settings
from ewma_ops.table.table import SeriesTable

__all__ = [
    "build_decoder",
    "build_encoder",
    "build_log_clocks",
    "build_schemas",
    "open_history",
    "warm_table",
]

_AWAY_S = 30.0
"""How long to wait for a Schema Registry if no job runs, as in a test or in `ewma verify`."""

_LARGEST_SCHEMA = 16 << 20
"""Most bytes of a schema file."""


def build_decoder(settings: Settings, stopping: threading.Event | None = None) -> Decoder:
    """Build the payload decoder.

    Parameters
    ----------
    settings
        What to read.
    stopping
        When set, a decoder that waits for a Schema Registry raises `RegistryError`.

    Raises
    ------
    ConfigError
        If a path of ``[input]`` is invalid, or two lead to the same field; if something that the
        format needs is not installed or cannot be imported; or if a schema file cannot be used.
    """
    reads, options = settings.input, _decoder_options(settings)
    schemas = build_schemas(settings, stopping)
    if reads.key in FORMATS and entry_of(reads.key).has_schema:
        keys = _with_schema(reads.key, settings, schemas, "input.key", None)
        options = replace(options, key_format=keys)
    if entry_of(reads.format).has_schema:
        own = None if reads.schema is not None else schemas
        heads = options.paths().heads()
        format_ = _with_schema(reads.format, settings, own, "input.format", heads)
        return Decoder(format_, options)
    return _BUILDERS[OWN if is_own(reads.format) else reads.format](settings, options)


def build_schemas(
    settings: Settings, stopping: threading.Event | None = None
) -> RegistrySchemas | None:
    """Build the client of the job's Schema Registry, if any; arguments as for `build_decoder`.

    Without ``stopping`` no job runs that could wait: a registry that is down for long is an error,
    and an unknown id is requested once.

    Raises
    ------
    ConfigError
        If the file of its authority cannot be read.
    """
    registry = settings.registry
    if registry is None:
        return None
    client = RegistryClient(
        registry.url,
        username=registry.username,
        password=registry.password,
        ca_file=registry.ca_file,
        cert_file=registry.cert_file,
        key_file=registry.key_file,
        timeout_s=registry.timeout.total_seconds(),
    )
    if stopping is None:
        return RegistrySchemas(client, unknown_after_s=0.0, away_s=_AWAY_S)
    unknown_after_s = registry.unknown_after.total_seconds()
    return RegistrySchemas(client, stopping, unknown_after_s=unknown_after_s)


def _with_schema(
    name: str,
    settings: Settings,
    schemas: RegistrySchemas | None,
    key: str,
    heads: list[str] | None,
) -> Format:
    """Build a format with schemas, which the option ``key`` asks for.

    ``heads`` are the fields of a message that will be looked at, ``None`` for all.
    """
    try:
        return _WITH_SCHEMA[name](settings, schemas, heads)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'{key} = "{name}" cannot be read without {error.name}: '
            f"pip install 'ewma-ops[{entry_of(name).extra}]'"
        ) from None


def _avro(settings: Settings, schemas: RegistrySchemas | None, heads: list[str] | None) -> Format:
    from ewma_ops.serde.avro.format import AvroFormat, SingleAvroFormat

    unit, path = settings.input.time_unit, settings.input.schema
    if schemas is not None:
        return AvroFormat(schemas, unit, heads)
    assert path is not None
    return SingleAvroFormat(_content(path).decode(errors="replace"), unit, str(path), heads)


def _protobuf(
    settings: Settings, schemas: RegistrySchemas | None, heads: list[str] | None
) -> Format:
    from ewma_ops.serde.protobuf.format import ProtobufFormat, SingleProtobufFormat

    unit, path, message = settings.input.time_unit, settings.input.schema, settings.input.message
    if schemas is not None:
        return ProtobufFormat(schemas, unit, heads)
    assert path is not None
    assert message is not None
    return SingleProtobufFormat(_content(path), message, unit, str(path), heads)


_SchemaBuilder = Callable[[Settings, RegistrySchemas | None, list[str] | None], Format]
_WITH_SCHEMA: dict[str, _SchemaBuilder] = {
    "avro": _avro,
    "protobuf": _protobuf,
}
"""Builders of formats with schemas, from a registry or a file; imported late."""


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_SCHEMA + 1)
    except OSError as error:
        raise ConfigError(
            f"input.schema = {path} cannot be read: {error.strerror}; give the path of a file"
        ) from None
    if len(content) > _LARGEST_SCHEMA:
        raise ConfigError(f"input.schema = {path} has more than {_LARGEST_SCHEMA:,} bytes")
    return content


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
"""Builders of the decoders of formats without schemas."""


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
        tick=reads.tick,
        time_format=reads.time_format,
        key=reads.key,
        where=reads.where,
        tombstones=reads.tombstones,
        max_ahead=settings.max_ahead,
        ahead=settings.ahead,
        include=settings.output.include,
        max_include_bytes=settings.output.max_include_bytes,
    )


def open_history(settings: Settings, digest: str = "") -> History | None:
    """Return the warm start: the current file, or, with a digest, the file of that digest.

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
        reads.tick,
    )


def build_log_clocks(settings: Settings) -> LogClocks | None:
    """Return the clocks of the log; ``None`` if no rule of the job uses them."""
    if settings.alarms is None or not settings.alarms.rules.by_log:
        return None
    return LogClocks(settings.input.tick)


def warm_table(settings: Settings, history: History | None) -> tuple[SeriesTable, int]:
    """Return the table that the job starts from, and how many readings are in it.

    Raises
    ------
    ConfigError
        If the history cannot be read, or one of its rows is not a reading.
    """
    rules = None if settings.alarms is None else settings.alarms.rules
    table, readings = SeriesTable(settings.smoothing_set, alarms=rules), 0
    for part in history or ():
        table.update(part)
        readings += len(part)
    return table, readings


def build_encoder(
    settings: Settings, stopping: threading.Event | None = None, *, registers: bool = True
) -> Encoder:
    """Build the encoder of the job's events.

    Parameters
    ----------
    settings
        What to write.
    stopping
        When set, a Schema Registry that is away is waited for no longer.
    registers
        Whether to register the schema with the first event; else it must exist.

    Raises
    ------
    ConfigError
        If two keys of an event would be the same, or one is not a valid name in the format.
    """
    names, fields = settings.event_statistics, settings.smoothing_set.fields
    include = [parse_path(path).name for path in settings.output.include]
    most = settings.output.max_include_bytes
    if settings.output.format == "json":
        return JsonEncoder(names, fields, include, most)
    schemas = build_schemas(settings, stopping)
    assert schemas is not None
    subject = f"{settings.output.topic}-value"

    def schema_id(schema: str) -> int:
        found = (schemas.register if registers else schemas.registered)(subject, schema)
        if found is None:
            raise ConfigError(
                f"the registry does not have the schema of these events under {subject!r}: they "
                "were written by another job, or with another configuration"
            )
        return found

    return AvroEncoder(names, fields, include, most, schema_id=schema_id, tick=settings.input.tick)
