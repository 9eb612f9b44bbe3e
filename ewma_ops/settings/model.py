"""The configuration as typed tables: keys, bounds and defaults, and which values are secret.

Knows no files and no TOML. Passwords stay hidden: neither `repr` nor `describe` nor an error shows
one.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ewma_ops.columns.readings import MAX_ID_BYTES, MAX_INCLUDE_BYTES, MAX_VALUE_BYTES
from ewma_ops.columns.ticks import MILLISECOND, Tick, tick_of
from ewma_ops.monitor.rules import AlarmRules
from ewma_ops.secrets.option_names import SHOWN, shown
from ewma_ops.serde.formats import FORMATS, OWN, KeyKind, entry_of
from ewma_ops.serde.paths import parse_path
from ewma_ops.settings.bind import Bind
from ewma_ops.settings.kafka_table import KafkaOptions
from ewma_ops.settings.moments import FORMS
from ewma_ops.settings.notify_table import Notify
from ewma_ops.settings.registry_table import Registry
from ewma_ops.settings.watch_table import Watch
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = [
    "INPUT_TOPIC",
    "WARM_START",
    "Alarms",
    "DeadLetters",
    "Input",
    "Metrics",
    "Output",
    "Recovery",
    "Settings",
    "Text",
    "show_value",
]

INPUT_TOPIC = "input topic"
"""Name of the input topics in an identity: their names in order, with commas, or the pattern."""

WARM_START = "warm start"
"""Name of the warm start's digest in an identity."""


Text = Annotated[str, Meta(min_length=1)]
_Topic = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.{1,2}\Z)[a-zA-Z0-9._-]{1,249}\Z",
        description="the name of a topic: 1 to 249 letters, digits, '.', '_' or '-'",
    ),
]
_FORMATS = ", ".join(f'"{name}"' for name in FORMATS if name != OWN)
_FORMATS += f', or a function of your own as "{OWN}"'


class Input(Struct, frozen=True, kw_only=True):
    """Table ``[input]``: which topics are read, from where to where, and what is in their payloads.

    One of ``topic``, ``topics`` and ``topic_pattern`` is given, the others are empty. ``start`` is
    a word, or a time in milliseconds since the epoch; ``series_id = None`` is the record's key, and
    ``time = None`` the record's timestamp. ``on_lost`` says what to do if retention removed
    readings before they were read.
    """

    topic: _Topic = ""
    series_id: Annotated[
        str | tuple[str, ...] | None,
        Meta(description="a payload field or a list of them; leave it out to use the record's key"),
    ] = None
    time: Annotated[
        str | None,
        Meta(description="a payload field; leave it out to use the record's timestamp"),
    ] = None
    value: Annotated[
        str | tuple[str, ...],
        Meta(description='a payload field, such as "value" or "sensor.value", or a list of them'),
    ] = "value"
    weight: Annotated[str | None, Meta(description="a payload field")] = None
    format: Annotated[str, Meta(description=_FORMATS)] = "json"
    columns: Annotated[
        Literal["first-line"] | tuple[str, ...],
        Meta(
            description='a list of the names of all columns, or "first-line" where the first line '
            "of each message names them"
        ),
    ] = ()
    delimiter: Annotated[
        str, Meta(description='one ASCII character such as "," or ";" or "\\t"')
    ] = ","
    quote: Annotated[str, Meta(description='one ASCII character such as "\'", or "" for none')] = (
        '"'
    )
    schema: Annotated[
        Path | None, Meta(description="the path of a file with the schema, as text")
    ] = None
    message: Annotated[
        Text | None, Meta(description='the full name of a message type, such as "pkg.Reading"')
    ] = None
    records: Annotated[
        str | None,
        Meta(
            description='a path to arrays, such as "data[]" or "[]"; leave it out for one reading'
        ),
    ] = None
    numbers: Annotated[
        Literal["strict", "text"],
        Meta(description='"strict", or "text" to read numbers in quotes too'),
    ] = "strict"
    decimal: Annotated[
        Literal[".", ","], Meta(description='"." or ",", the decimal mark of numbers in quotes')
    ] = "."
    missing_values: Annotated[
        tuple[str | float, ...],
        Meta(description='a list of words and numbers, such as ["", "unavailable", -9999.9]'),
    ] = ()
    time_unit: Annotated[
        Literal["s", "ms", "us", "ns"] | None,
        Meta(description='"s", "ms", "us" or "ns"; leave it out for whole milliseconds'),
    ] = None
    time_format: Annotated[
        str | None,
        Meta(description='a format of times as text, such as "%d.%m.%Y %H:%M:%S"'),
    ] = None
    key: Annotated[
        KeyKind | None,
        Meta(description='"text", "int32", "int64", "uuid", "json", "avro" or "protobuf"'),
    ] = None
    where: Annotated[
        dict[str, tuple[str | float | bool, ...]],
        Meta(description='values by path, such as { op = ["c", "u"], type = "trade" }'),
    ] = {}
    tombstones: Annotated[
        Literal["dead-letter", "skip", "forget"],
        Meta(description='"dead-letter", "skip" or "forget"'),
    ] = "dead-letter"
    start: Annotated[
        Literal["earliest", "latest", "committed"] | int,
        Meta(description=f'"earliest", "latest", "committed" or a time such as {FORMS}'),
    ] = "earliest"
    stop: Annotated[Literal["never", "end"], Meta(description='"never" or "end"')] = "never"
    max_id_bytes: Annotated[
        int, Meta(ge=1, le=65_536, description="a whole number of bytes from 1 to 65536")
    ] = MAX_ID_BYTES
    max_value_bytes: Annotated[
        int, Meta(ge=1, le=8 << 20, description="a whole number of bytes from 1 to 8388608")
    ] = MAX_VALUE_BYTES
    on_lost: Annotated[
        Literal["fail", "earliest"],
        Meta(description='"fail", or "earliest" to continue where the topic begins'),
    ] = "fail"
    group_id: Annotated[Text, Meta(description="the name of a consumer group, as text")] = ""
    topics: Annotated[
        tuple[_Topic, ...],
        Meta(min_length=1, description='a list of topics, such as ["readings", "more-readings"]'),
    ] = ()
    topic_pattern: Annotated[
        str,
        Meta(description='a regular expression for the whole name, such as "sensor-.*"'),
    ] = ""
    discover: Annotated[
        timedelta | None,
        Meta(description='a duration of at least a second, such as "5min", or "off"'),
    ] = timedelta(minutes=5)

    @property
    def names(self) -> tuple[str, ...]:
        """The topics that are named; none with a pattern."""
        return (self.topic,) if self.topic else self.topics

    @property
    def source(self) -> str:
        """Which topics are read, as text: names in order, or the pattern."""
        return ", ".join(sorted(self.names)) or f"pattern {self.topic_pattern}"

    @property
    def tick(self) -> Tick:
        """The unit of the job's event times; timestamps of records are milliseconds."""
        of_record = self.time is None or parse_path(self.time).source == "timestamp"
        return MILLISECOND if of_record else tick_of(self.time_unit)

    @property
    def types(self) -> tuple[object, ...]:
        """The keys that decide how values, times and keys are read."""
        return (
            self.numbers,
            self.decimal,
            self.missing_values,
            self.time_unit,
            self.time_format,
            self.key,
        )

    @property
    def of_format(self) -> dict[str, str]:
        """The format, and the keys that decide how it is read; empty for plain JSON.

        The file of a schema may be moved, and may gain a comment.
        """
        if self.format == "json":
            return {}
        keys = sorted(entry_of(self.format).keys - {"records", "numbers", "decimal", "schema"})
        values = {key: getattr(self, key) for key in keys}
        return {"format": f"{self.format} {values!r}" if values else self.format}


class Output(Struct, frozen=True, kw_only=True):
    """Table ``[output]``: where smoothed events go."""

    topic: _Topic
    delivery: Annotated[
        Literal["exactly-once", "transactional", "at-least-once"],
        Meta(description='"exactly-once", "transactional" or "at-least-once"'),
    ] = "exactly-once"
    format: Annotated[Literal["json", "avro"], Meta(description='"json" or "avro"')] = "json"
    include: Annotated[
        tuple[str, ...],
        Meta(description='a list of payload fields such as ["unit", "site.name"]'),
    ] = ()
    max_include_bytes: Annotated[
        int, Meta(ge=2, le=1 << 20, description="a whole number of bytes from 2 to 1048576")
    ] = MAX_INCLUDE_BYTES

    @property
    def of_include(self) -> dict[str, str]:
        """The fields copied into an event; empty for none."""
        if not self.include:
            return {}
        return {"include": repr((self.include, self.max_include_bytes))}


class DeadLetters(Struct, frozen=True, kw_only=True):
    """Table ``[dead_letters]``: where unreadable messages go."""

    topic: _Topic = "dead-letters"
    max_bytes: Annotated[
        int, Meta(ge=1000, description="a whole number of bytes, at least 1000")
    ] = 1_000_000


class Recovery(Struct, frozen=True, kw_only=True):
    """Table ``[recovery]``: where state survives a crash, and how often it is written.

    A relative ``directory`` is relative to the working directory, as in a shell.
    """

    directory: Annotated[Path, Meta(description="the path of a directory, as text")]
    interval: Annotated[
        timedelta, Meta(description='a duration such as "10s", "500ms" or "1min"')
    ] = timedelta(seconds=10)


class Metrics(Struct, frozen=True, kw_only=True):
    """Table ``[metrics]``: where the launcher serves metrics and health; nowhere without it."""

    bind: Annotated[
        Bind, Meta(description='an address and a port, such as "127.0.0.1:9464" or "[::1]:9464"')
    ]


class Alarms(Struct, frozen=True, kw_only=True):
    """Table ``[alarms]``: the rules, with their limits, and where transitions of alarms go.

    ``computed`` are the names of those whose limit follows from a rate of false alarms.
    """

    topic: _Topic = "alarms"
    rules: AlarmRules
    computed: tuple[str, ...] = ()

    @property
    def of_events(self) -> dict[str, str]:
        """The part that events depend on: the scores, if requested."""
        return {"alarms in events": self.rules.fingerprint()} if self.rules.in_events else {}


class Settings(Struct, frozen=True, kw_only=True):
    """A whole configuration file, checked. ``recovery = None`` keeps no state across restarts.

    ``max_ahead`` is in the job's ticks, as of ``input.tick``. ``alarms = None`` raises none.
    """

    kafka: KafkaOptions
    registry: Registry | None = None
    input: Input
    smoothing_set: SmoothingSet
    shards: int
    warm_start: Path | None = None
    max_ahead: int | None = None
    ahead: Literal["dead-letter", "clip"] = "dead-letter"
    output: Output
    dead_letters: DeadLetters
    recovery: Recovery | None
    notify: Notify | None = None
    metrics: Metrics | None = None
    alarms: Alarms | None = None
    watch: Watch = Watch()

    @property
    def event_statistics(self) -> tuple[str, ...]:
        """The statistics of an event, with the scores of alarms if requested."""
        scores = () if self.alarms is None else self.alarms.rules.score_names
        return (*self.smoothing_set.names, *scores)

    def identity(self, warm_digest: str | None = None) -> dict[str, str]:
        """Return the identity for a recovery store, which must not resume with another one.

        Of alarms only the part in events: rules may be added and changed.

        Parameters
        ----------
        warm_digest
            The digest of the warm start's file, as `file_digest` returns it: the file may be
            moved, and must not change. None without a warm start.
        """
        return {
            **({} if warm_digest is None else {WARM_START: warm_digest}),
            INPUT_TOPIC: self.input.source,
            "isolation level": self.kafka.isolation_level,
            "output topic": self.output.topic,
            "delivery": self.output.delivery,
            **({} if self.output.format == "json" else {"output format": self.output.format}),
            "dead-letter topic": self.dead_letters.topic,
            "group": self.input.group_id,
            "series id": repr(self.input.series_id),
            "time": repr(self.input.time),
            "value": repr(self.input.value),
            "weight": repr(self.input.weight),
            "ahead": repr((self.max_ahead, self.ahead)),
            "records": repr(self.input.records),
            **self.input.of_format,
            **self.output.of_include,
            "types": repr(self.input.types),
            "where": repr(sorted(self.input.where.items())),
            "tombstones": self.input.tombstones,
            "longest id": str(self.input.max_id_bytes),
            "longest value": str(self.input.max_value_bytes),
            "shards": str(self.shards),
            "smoothing": self.smoothing_set.fingerprint(),
            **({} if self.alarms is None else self.alarms.of_events),
        }


def show_value(key: str, value: object) -> str:
    """Return a value as written in the file, shortened, and with secrets masked."""
    if key in SHOWN:
        return shown(key, value)
    # JSON has no NaN, and no line break inside a text.
    text = repr(value) if isinstance(value, float) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:59] + "…"
