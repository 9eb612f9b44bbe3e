"""Some messages of a job, and all that is in them: fields by their paths, and keys.

Knows decoders, documents and paths; must not know brokers, nor what a field is for.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from ewma_ops.job.contents import Contents
from ewma_ops.job.showing import shown_bytes, shown_text
from ewma_ops.serde.documents import found_at
from ewma_ops.serde.format import Refused
from ewma_ops.serde.formats import FORMATS
from ewma_ops.serde.keys import KeyReader
from ewma_ops.serde.outline import outline
from ewma_ops.serde.paths import Path
from ewma_ops.settings.model import Settings
from ewma_ops.wire.records import ConsumerRecords

__all__ = ["FieldFound", "Sample", "key_format", "key_paths"]

_MOST_NAMES = 1_000
_KEY_FORMATS = {4: "int32", 8: "int64", 16: "uuid"}
"""What binary keys may be, by their bytes."""


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


class Sample:
    """Messages, and all that is in those of them that can be read.

    ``rows`` are their readings: the document of each and what encloses it, and the place of its
    message.
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
        contents = Contents(settings, stopping)
        for place, payload in enumerate(self.payloads):
            with contextlib.suppress(Refused):
                self.rows += [(place, levels) for levels in contents.rows(payload)]
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


def key_format(keys: Sequence[bytes]) -> str | None:
    """Return what ``input.key`` reads binary keys with, by their length; ``None`` for text.

    Examples
    --------
    >>> key_format([bytes(4), bytes(3) + b"a"]), key_format(["größer".encode()])
    ('int32', None)
    """
    sizes = {len(key) for key in keys}
    if len(sizes) != 1 or all(map(_is_text, keys)):
        return None
    return _KEY_FORMATS.get(sizes.pop())


def _is_text(key: bytes) -> bool:
    try:
        return not any(one < " " or one == "\x7f" for one in key.decode())
    except UnicodeDecodeError:
        return False


def key_paths(key: bytes) -> list[str]:
    """Return the paths of a key that is an object of JSON; none, if it is none.

    Examples
    --------
    >>> key_paths(b'{"room": 7}'), key_paths(b"7")
    (['room'], [])
    """
    try:
        return [path for path in outline(msgspec.json.decode(key)) if path]
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return []
