"""What the fields of a configuration find in some messages, and what to write where nothing fits.

Knows settings, decoders and documents; must not know brokers, or how a survey is printed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec

from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.job.advice import advise
from ewma_ops.job.builders import build_decoder
from ewma_ops.job.contents import Contents
from ewma_ops.job.decoding import decode_runs
from ewma_ops.job.showing import shown_bytes, shown_text
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.documents import found_at
from ewma_ops.serde.fields import Refused
from ewma_ops.serde.formats import FORMATS
from ewma_ops.serde.keys import KeyReader
from ewma_ops.serde.outline import outline
from ewma_ops.serde.paths import KEY, TIMESTAMP, Path, parse_path
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["FieldFound", "Reading", "Survey", "survey"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOST_NAMES = 1_000


class FieldFound(msgspec.Struct, frozen=True):
    """What a field of the configuration finds in a sample of readings.

    ``role`` is what it is read as; ``types`` counts what was found by kind; ``example`` is of the
    newest message that has it, as text.
    """

    role: str
    path: str
    found: int
    missing: int
    types: dict[str, int]
    example: str | None


class Reading(msgspec.Struct, frozen=True):
    """A reading as the job takes it; ``time`` in words, UTC, with all digits that are counted."""

    series_id: str
    time_ms: int
    time: str
    values: list[float | None]
    weight: float | None = None


class Survey(msgspec.Struct, frozen=True):
    """What a job would make of some messages.

    ``looks_like`` is the format that they seem to have, in words, where they cannot be read in the
    one that is asked for. ``advice`` are sentences that say what to write.
    """

    messages: int
    readings: int
    skipped: int
    dead_letters: dict[str, int]
    fields: list[FieldFound]
    newest: Reading | None
    looks_like: str | None
    advice: list[str]

    @property
    def nothing_readable(self) -> bool:
        """Whether there are messages, and the job would make a dead letter of each."""
        return bool(self.messages) and not self.readings and not self.skipped


def survey(
    settings: Settings,
    runs: Sequence[ConsumerRecords],
    stopping: threading.Event | None = None,
) -> Survey:
    """Read messages as a job reads them, and look at each field that it asks for.

    Parameters
    ----------
    settings
        Of the job.
    runs
        Some messages.
    stopping
        When set, a Schema Registry that is away is waited for no longer.

    Raises
    ------
    ConfigError
        If what the format needs is not installed.
    EwmaError
        If a Schema Registry is away.
    """
    sample = Sample(settings, runs, stopping)
    decoder = build_decoder(settings, stopping)
    decoded = decode_runs(decoder, runs) if sample.payloads else None
    fields = [sample.field(role, path) for role, path in _asked(settings)]
    letters = Counter() if decoded is None else Counter(decoded.rejected.causes)
    guess, advice = advise(settings, sample, fields, decoded)
    return Survey(
        messages=len(sample.payloads),
        readings=0 if decoded is None else len(decoded.readings),
        skipped=0 if decoded is None else decoded.skipped,
        dead_letters=dict(letters.most_common()),
        fields=fields,
        newest=None if decoded is None else _newest(decoded, settings.input.tick),
        looks_like=guess,
        advice=advice,
    )


def _asked(settings: Settings) -> Iterable[tuple[str, Path]]:
    reads = settings.input
    yield from (("where", parse_path(text)) for text in reads.where)
    for text in [reads.series_id] if isinstance(reads.series_id, str) else reads.series_id or ():
        yield "series id", parse_path(text)
    if reads.series_id is None:
        yield "series id", KEY
    yield "time", TIMESTAMP if reads.time is None else parse_path(reads.time)
    for text in [reads.value] if isinstance(reads.value, str) else reads.value:
        yield "value", parse_path(text)
    if reads.weight is not None:
        yield "weight", parse_path(reads.weight)


class Sample:
    """Messages, and all that is in those of them that can be read.

    ``rows`` are their readings: the document of each and what encloses it, and the place of its
    message. ``unreadable`` counts by cause the messages that are none of the format.
    """

    def __init__(
        self,
        settings: Settings,
        runs: Sequence[ConsumerRecords],
        stopping: threading.Event | None = None,
    ) -> None:
        self.payloads = [value for run in runs for value in run.values]
        self.keys = [key for run in runs for key in run.keys]
        self._records = [(run, at) for run in runs for at in range(len(run))]
        self.rows: list[tuple[int, tuple[Any, ...]]] = []
        self.unreadable: Counter[str] = Counter()
        contents = Contents(settings, stopping)
        for place, payload in enumerate(self.payloads):
            try:
                self.rows += [(place, levels) for levels in contents.rows(payload)]
            except Refused as refused:
                self.unreadable[refused.args[0]] += 1
        kind = settings.input.key
        self._key_reader = KeyReader(None if kind in FORMATS else kind)

    @property
    def documents(self) -> list[Any]:
        """The document of each reading."""
        return [levels[0] for _, levels in self.rows]

    def paths(self) -> dict[str, Any]:
        """Return what stands in the readings by path: of each the first that is not null."""
        found: dict[str, Any] = {}
        for document in reversed(self.documents):
            for path, value in outline(document).items():
                if found.get(path) is None:
                    found[path] = value
            if len(found) > _MOST_NAMES:
                break
        return found

    def field(self, role: str, path: Path) -> FieldFound:
        """Return what a path leads to in the readings."""
        values = self.values(path)
        there = [value for value in values if value is not None]
        return FieldFound(
            role,
            path.text,
            len(there),
            len(values) - len(there),
            dict(Counter(map(kind_of, there)).most_common()),
            _shown(there[-1]) if there else None,
        )

    def values(self, path: Path) -> list[Any]:
        """Return what a path leads to in each reading; ``None`` where it is absent."""
        if path.source == "document":
            return [_follow(levels[path.up : path.up + 1], path) for _, levels in self.rows]
        places = range(len(self.payloads)) if not self.rows else [place for place, _ in self.rows]
        return [self._beside(path, place) for place in places]

    def _beside(self, path: Path, place: int) -> Any:
        run, at = self._records[place]
        if path.source == "partition":
            return run.partition
        if path.source == "topic":
            return run.topic
        if path.source == "timestamp":
            time_ms = int(run.timestamps_ms[at])
            return None if time_ms < 0 else time_ms
        if path.source == "header":
            return dict(() if run.headers is None else run.headers[at]).get(str(path.steps[0]))
        key = run.keys[at]
        if key is None:
            return None
        [found] = self._key_reader.found([key], [0], {}, nested=bool(path.steps))
        return key if found is None else _follow((found,), path)


def _follow(documents: Sequence[Any], path: Path) -> Any:
    try:
        return found_at(documents[0], path) if documents else None
    except Refused:
        return None


def kind_of(value: object) -> str:
    """Return what a value is, in a word.

    Examples
    --------
    >>> kind_of(True), kind_of(1.5), kind_of("a"), kind_of([]), kind_of({})
    ('boolean', 'number', 'text', 'array', 'object')
    """
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float, Decimal)):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bytes):
        return "bytes"
    if isinstance(value, (datetime, date)):
        return "time"
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, (list, tuple)) else type(value).__name__


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return shown_bytes(value)
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        text = repr(value)
    return shown_text(text)


def in_words(time: int, tick: Tick = MILLISECOND) -> str:
    """Return a time in words, UTC.

    Examples
    --------
    >>> in_words(1_700_000_000_250)
    '2023-11-14 22:13:20.250 UTC'
    """
    seconds, rest = divmod(time, 1_000 * tick.per_ms)
    moment = _EPOCH + timedelta(seconds=seconds)
    fraction = f".{rest:0{len(str(tick.per_ms)) + 2}d}" if rest else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} UTC"


def _newest(decoded: Decoded, tick: Tick) -> Reading | None:
    readings = decoded.readings
    if not len(readings) or readings.times_ms is None:
        return None
    values = readings.values[-1].tolist()
    values = values if isinstance(values, list) else [values]
    time = int(readings.times_ms[-1])
    return Reading(
        readings.series_ids[-1],
        time // tick.per_ms,
        in_words(time, tick),
        [None if value != value else value for value in values],
        None if readings.weights is None else float(readings.weights[-1]),
    )
