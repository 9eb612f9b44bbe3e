"""What the fields of a configuration find in some messages, and what to write where nothing fits.

Knows settings, decoders and documents; must not know brokers, or how a survey is printed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

import msgspec

from ewma_ops.columns.ticks import MILLISECOND, Tick
from ewma_ops.job.advice import advise
from ewma_ops.job.builders import build_decoder
from ewma_ops.job.decoding import decode_runs
from ewma_ops.job.sample import FieldFound, Sample
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.paths import KEY, TIMESTAMP, Path, parse_path
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["Reading", "Survey", "survey"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


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
