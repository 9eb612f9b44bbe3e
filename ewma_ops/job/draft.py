"""A first ``[input]`` for a topic, guessed from its messages.

Knows formats, paths and common names of fields; must not know brokers, or how a file is written. A
guess is meant to be corrected: the fields that it does not use are named too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from ewma_ops.job.advice import arrays_of
from ewma_ops.job.sample import Sample, key_format, key_paths
from ewma_ops.serde.formats import FORMATS
from ewma_ops.serde.moments import likely_unit
from ewma_ops.serde.outline import outline
from ewma_ops.serde.sniff import Guess, sniff
from ewma_ops.serde.times import read_time
from ewma_ops.settings.load import load_tables
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["Draft", "draft", "settings_for"]


def _names(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_TIMES = _names(
    r"(event_?|sensor_?)?(ts|ts_ms|time|timestamp|timestamp_ms|at|when|date|datetime|epoch)",
    r"created(_?at)?|time_?ms|t",
)
_THINGS = (
    "series|sensor|device|entity|meter|machine|node|host|station|tag|item|asset|equipment|thing"
)
_IDS = _names(
    rf"({_THINGS})?[_.-]?(id|name|uuid|key|code|serial)",
    _THINGS,
    r"sym(bol)?|ticker|pair|channel|source|instrument|s",
)
_VALUES = _names(
    r"values?|val|v|reading|measurement|price|p|last|close|temp(erature)?|usage.*|amount|level",
    r"kwh|power",
)
_COUNTERS = _names(r".*(id|seq|sequence|offset|version|count|lsn|linkquality|battery)")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_COMMA_NUMBER = re.compile(r"[+-]?[0-9]+,[0-9]+")
_MISSING = (
    "",
    "unavailable",
    "unknown",
    "null",
    "None",
    "NaN",
    "nan",
    "N/A",
    "-",
    "none",
    "offline",
)
_MOST_OTHERS = 8


@dataclass
class Draft:
    """Keys of ``[input]``, in order; a note for some of them; and the alternatives.

    ``guess`` is the format; ``None`` where the topic has no messages.
    """

    keys: dict[str, object]
    guess: Guess | None = None
    notes: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def settings_for(
    client: Mapping[str, object],
    reads: Mapping[str, object],
    registry: str | None = None,
) -> dict[str, Any]:
    """Return the tables of a job that reads with these keys."""
    topic = str(reads["topic"])
    return {
        "kafka": dict(client),
        **({} if registry is None else {"registry": {"url": registry}}),
        "input": dict(reads),
        "smooth": {"beta": 0.9},
        "output": {"topic": f"{topic[:230]}-smoothed"},
        "dead_letters": {"topic": f"{topic[:230]}-dead-letters"},
        "recovery": {"directory": "state"},
    }


def draft(topic: str, runs: Sequence[ConsumerRecords], registry: str | None = None) -> Draft:
    """Guess the ``[input]`` of a job from a topic.

    Parameters
    ----------
    topic
        Its name.
    runs
        Some of its messages; none if it is empty.
    registry
        The address of a Schema Registry, if there is one.

    Raises
    ------
    EwmaError
        If messages need a registry that does not answer, or an extra that is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> payloads = [b'{"sensor": "a", "ts": 1700000000, "celsius": 21.5}']
    >>> run = ConsumerRecords("t", 0, np.arange(1), np.zeros(1, np.int64), [None], payloads)
    >>> draft("t", [run]).keys
    {'topic': 't', 'series_id': 'sensor', 'time': 'ts', 'time_unit': 's', 'value': 'celsius'}
    """
    payloads = [value for run in runs for value in run.values]
    guess = sniff(payloads)
    keys: dict[str, object] = {"topic": topic}
    found = Draft(keys, guess)
    if guess is not None and guess.format is not None:
        if guess.format != "json":
            keys["format"] = guess.format
            found.notes["format"] = guess.words
        keys |= guess.keys
    name = str(keys.get("format", "json"))
    entry = FORMATS[name]
    if entry.is_bare:
        _of_record(found, runs)
        return found
    if entry.has_schema and registry is None:
        keys["value"] = "value"
        found.notes["value"] = "the field with the number, by its name in the schema"
        _of_record(found, runs)
        return found
    # Formats that require input.value need one before messages can be decoded.
    sample = _sample(keys, runs, registry)
    if name == "json" and (records := _records(sample)) is not None:
        keys["records"] = records
        found.notes["records"] = "a message holds several readings"
        sample = _sample(keys, runs, registry)
    _Fields(found, sample, runs, name).choose()
    return found


def _sample(
    keys: Mapping[str, object], runs: Sequence[ConsumerRecords], registry: str | None
) -> Sample:
    reads = {"value": _any_value(keys), **keys}
    tables = settings_for({"bootstrap_servers": "127.0.0.1:9092"}, reads, registry)
    settings: Settings = load_tables(tables)
    return Sample(settings, runs)


def _any_value(keys: Mapping[str, object]) -> str:
    """Return a path that is valid in the format, as a placeholder."""
    columns = keys.get("columns")
    if isinstance(columns, list):
        return _quoted(columns[-1])
    return "fields.value" if keys.get("format") == "line" else "value"


def _quoted(name: str) -> str:
    return next(iter(outline({name: 0})), "value")


def _records(sample: Sample) -> str | None:
    found = Counter(map(arrays_of, sample.documents))
    records, n = found.most_common(1)[0] if found else (None, 0)
    return records if 2 * n > len(sample.documents) else None


def _of_record(found: Draft, runs: Sequence[ConsumerRecords]) -> None:
    """Use the record's key as the series' id, or the whole topic as one series."""
    keys = [key for run in runs for key in run.keys]
    present = [key for key in keys if key]
    if keys and not present:
        found.keys["series_id"] = "@topic"
        found.notes["series_id"] = "the records have no keys: the whole topic is one series"
        return
    if (kind := key_format(present)) is not None:
        found.keys["key"] = kind
        found.notes["key"] = "the series' ids are the records' keys, which are not text"
    elif present and all(key[:1] == b"{" for key in present):
        names = key_paths(present[-1])
        if names:
            found.keys["key"] = "json"
            found.keys["series_id"] = f"@key.{_best(names, _IDS) or names[0]}"


def _is_within(path: object, outer: str) -> bool:
    """Return whether a path is another one, or leads to a part of what that has."""
    return isinstance(path, str) and (path == outer or path.startswith((f"{outer}.", f"{outer}[")))


def _last(path: str) -> str:
    return re.sub(r"\[\d+\]$", "", path).rpartition(".")[2].strip('"')


def _best(paths: Iterable[str], names: re.Pattern[str]) -> str | None:
    """Return the shortest path whose last name is among the given ones."""
    named = [path for path in paths if names.fullmatch(_last(path))]
    return min(named, key=lambda path: (path.count("."), len(path))) if named else None


class _Fields:
    """Chooses among the fields of the documents of a sample."""

    def __init__(
        self, found: Draft, sample: Sample, runs: Sequence[ConsumerRecords], name: str
    ) -> None:
        self._draft, self._runs, self._format = found, runs, name
        self._values: dict[str, list[Any]] = {}
        for document in sample.documents:
            for path, value in outline(document).items():
                self._values.setdefault(path, []).append(value)
        self._n = len(sample.documents)
        paths = list(self._values)
        if any(path.startswith("payload.") for path in paths):
            paths = [path for path in paths if not path.startswith("schema.")]
        self._paths = self._of_changes(paths)

    def choose(self) -> None:
        """Write the keys."""
        keys, taken = self._draft.keys, set[str]()
        time = self._time()
        own_id = self._id(time)
        if own_id is None:
            _of_record(self._draft, self._runs)
        else:
            keys["series_id"] = own_id
            self._note("series_id", own_id)
        if time is not None:
            self._write_time(time)
        taken |= {path for path in (time, own_id) if path is not None}
        value = self._value(taken)
        if value is None:
            self._leave_open()
        else:
            keys["value"] = value
            self._note("value", value)
            self._write_types(value)
        self._draft.others = [
            f"{path} ({self._example(path)})"
            for path in self._paths
            if path not in taken and path != value
        ][:_MOST_OTHERS]

    def _leave_open(self) -> None:
        """Write a place for the value, which nothing else that was found may have."""
        keys = self._draft.keys
        keys["value"] = placeholder = _any_value(keys)
        self._draft.notes["value"] = "no field with numbers was found: write its path here"
        if _is_within(keys.get("time"), placeholder):
            del keys["time"], self._draft.notes["time"]
            keys.pop("time_unit", None)
        if _is_within(keys.get("series_id"), placeholder):
            del keys["series_id"], self._draft.notes["series_id"]
            _of_record(self._draft, self._runs)

    def _of_changes(self, paths: list[str]) -> list[str]:
        """For changes of a table, as Debezium writes them, keep the new row."""
        for ahead in ("", "payload."):
            rows = [path for path in paths if path.startswith(f"{ahead}after.")]
            if not rows or f"{ahead}op" not in paths:
                continue
            keys = self._draft.keys
            keys["where"] = {f"{ahead}op": ["c", "u", "r"]}
            keys["tombstones"] = "skip"
            self._draft.notes["where"] = "changes of a table: a delete has no new row"
            return [*rows, *(path for path in paths if path == f"{ahead}source.ts_ms")]
        return paths

    def _there(self, path: str) -> list[Any]:
        return [value for value in self._values.get(path, ()) if value is not None]

    def _example(self, path: str) -> str:
        there = self._there(path)
        return repr(there[-1])[:40] if there else "null"

    def _note(self, key: str, path: str) -> None:
        there = len(self._there(path))
        of = "readings" if "records" in self._draft.keys else "messages"
        self._draft.notes[key] = f"in {there:,} of {self._n:,} {of}, such as {self._example(path)}"

    def _time(self) -> str | None:
        often = [path for path in self._paths if 2 * len(self._there(path)) >= self._n]
        times = [path for path in often if self._are_times(path)]
        named = _best(times, _TIMES)
        if named is not None:
            return named
        certain = [path for path in times if not isinstance(self._there(path)[0], (int, float))]
        return certain[0] if certain else (times[0] if times else None)

    def _are_times(self, path: str) -> bool:
        values = self._there(path)
        return bool(values) and 10 * sum(map(_is_time, values)) >= 9 * len(values)

    def _write_time(self, path: str) -> None:
        self._draft.keys["time"] = path
        self._note("time", path)
        unit = _unit([value for value in self._there(path) if not isinstance(value, datetime)])
        default = "ns" if self._format == "line" else "ms"
        is_text = isinstance(self._there(path)[-1], str) and self._format not in ("csv", "line")
        if unit is not None and (unit != default or is_text):
            self._draft.keys["time_unit"] = unit

    def _id(self, time: str | None) -> str | None:
        keyed = any(key for run in self._runs for key in run.keys)
        texts = [path for path in self._paths if path != time and self._are_ids(path, keyed=keyed)]
        if self._format == "line":
            return next((path for path in texts if path.startswith("tags.")), "measurement")
        named = _best(texts, _IDS)
        if named is not None or keyed:
            return named if not keyed or self._is_everywhere(named) else None
        return texts[0] if texts else None

    def _is_everywhere(self, path: str | None) -> bool:
        return path is not None and len(self._there(path)) == self._n

    def _are_ids(self, path: str, *, keyed: bool) -> bool:
        """Return whether all values are ids, or nearly all where the name is one of an id."""
        named = _IDS.fullmatch(_last(path)) is not None
        fit = sum(_is_id(value, named=named) for value in self._there(path))
        return fit > 0 and (10 * fit >= 9 * self._n if named and not keyed else fit == self._n)

    def _value(self, taken: set[str]) -> str | None:
        numbers = [
            path for path in self._paths if path not in taken and self._there(path)
            and 2 * sum(_is_number(value) for value in self._there(path)) >= len(self._there(path))
            and not self._are_times(path)
        ]  # fmt: skip
        if self._format == "line":
            numbers = [path for path in numbers if path.startswith("fields.")]
        named = _best(numbers, _VALUES)
        if named is not None:
            return named
        plain = [path for path in numbers if not _COUNTERS.fullmatch(_last(path))]
        fractions = [path for path in plain if any(map(_has_fraction, self._there(path)))]
        return next(iter([*fractions, *plain, *numbers]), None)

    def _write_types(self, path: str) -> None:
        texts = [value for value in self._there(path) if isinstance(value, str)]
        keys = self._draft.keys
        numeric = [text for text in texts if _is_number(text)]
        if numeric and self._format == "json":
            keys["numbers"] = "text"
        if any(_COMMA_NUMBER.fullmatch(text.strip()) for text in numeric):
            keys["decimal"] = ","
        missing = sorted({text for text in texts if text in _MISSING})
        if missing:
            keys["missing_values"] = missing
            self._draft.notes["missing_values"] = "words that were found in place of a number"


def _is_id(value: object, *, named: bool) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= 200 and (not _is_number(value) or (named and value.isdigit()))
    return named and type(value) is int


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        bare = value.strip()
        return bool(_NUMBER.fullmatch(bare) or _COMMA_NUMBER.fullmatch(bare))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _has_fraction(value: object) -> bool:
    if isinstance(value, str):
        return "." in value or "," in value
    return isinstance(value, float)


def _is_time(value: object) -> bool:
    if isinstance(value, (datetime, date)):
        return True
    if isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return likely_unit(value) is not None
    if not isinstance(value, str):
        return False
    if _NUMBER.fullmatch(value.strip()):
        return likely_unit(float(value)) is not None
    return len(value) >= len("20260131") and read_time(value.strip()) is not None


def _unit(values: Sequence[object]) -> str | None:
    """Return the unit of times that are numbers, or digits in text."""
    numbers = [
        float(value)
        for value in values
        if isinstance(value, (int, float))
        or (isinstance(value, str) and _NUMBER.fullmatch(value.strip()))
    ]
    return likely_unit(sorted(numbers)[len(numbers) // 2]) if numbers else None
