"""Documents of any format to columns: the fields at paths, and the errors in them.

Knows paths, and plain Python objects (dict, list, str, int, float, None, Decimal, datetime ...);
must not know bytes of payloads, bounds, topics or sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from ewma_ops.serde.fields import Fields, RecordFields
from ewma_ops.serde.format import Reasons, Refused, not_utf8
from ewma_ops.serde.include import IncludeWriter
from ewma_ops.serde.keys import KeyReader
from ewma_ops.serde.moments import MomentReader
from ewma_ops.serde.numbers import NumberReader, shown
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Path, Paths
from ewma_ops.serde.where import Where

__all__ = ["DocumentReader", "found_at"]

_DEFAULTS = DecoderOptions()


class DocumentReader:
    """Reads the fields of documents of any format.

    Parameters
    ----------
    paths
        The position of each field in a document, or in the record beside it.
    options
        Which types are read as numbers, times and keys.

    Examples
    --------
    >>> import numpy as np
    >>> from ewma_ops.serde.options import DecoderOptions
    >>> paths = DecoderOptions(value="p[0]", series_id=["@topic", "id"]).paths()
    >>> record = RecordFields([None], np.array([5]), topics=["t"])
    >>> rejected: Reasons = {}
    >>> DocumentReader(paths).read([[{"id": 7, "p": [1.5]}]], [0], record, rejected)[:3]
    (['t/7'], None, [array([1.5])])
    """

    def __init__(self, paths: Paths, options: DecoderOptions = _DEFAULTS) -> None:
        self._paths = paths
        self._numbers, self._moments = NumberReader(options), MomentReader(options)
        self._keys = KeyReader(options.key, options.key_format)
        self._where = Where(options)
        self._include = IncludeWriter(paths.include) if paths.include else None

    def read(
        self,
        levels: Sequence[Sequence[object]],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
        broken: Mapping[int, tuple[str, str]] | None = None,
    ) -> Fields:
        """Return the fields of documents, of which the i-th belongs to ``places[i]`` of a run.

        Parameters
        ----------
        levels
            The documents, followed by the enclosing ones, from the inside out.
        places
            The place of each in the run.
        record
            The parts of the records besides payloads.
        rejected
            Cause and detail by place of records that are not read: their documents and results are
            arbitrary. Unreadable ones are added.
        broken
            Cause and detail by place of items without an innermost document; added to ``rejected``,
            unless ``where`` excludes the enclosing document.
        """
        broken = {} if broken is None else broken
        paths = self._paths
        for path, wanted in self._where.wanted.items():
            found = self._find(path, levels, places, record, rejected, skip=True)
            inner = path.source == "document" and path.up < len(levels) - 1
            self._where.skip(wanted, found, places, rejected, broken if inner else ())
        for place, why in broken.items():
            rejected.setdefault(place, why)
        ids = times_ms = None
        if paths.ids:
            parts = [self._ids(path, levels, places, record, rejected) for path in paths.ids]
            ids = parts[0] if len(parts) == 1 else list(map("/".join, zip(*parts, strict=True)))
        if paths.time is not None:
            found = self._find(paths.time, levels, places, record, rejected)
            times_ms = self._moments.column(paths.time.text, found, places, rejected)
        numbers = []
        for path in paths.numbers:
            found = self._find(path, levels, places, record, rejected)
            as_text = path.source in ("key", "header")
            column = self._numbers.column(path.text, found, places, rejected, as_text=as_text)
            numbers.append(column)
        included = None
        if self._include is not None:
            through = [
                self._find(path, levels, places, record, rejected, skip=True)
                for path in paths.include
            ]
            included = self._include.column(through, places, rejected)
        return Fields(ids, times_ms, numbers, included=included)

    def _find(
        self,
        path: Path,
        levels: Sequence[Sequence[object]],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
        *,
        skip: bool = False,
    ) -> list[Any]:
        """Return the value at a path in each document; ``None`` if it is absent.

        With ``skip`` a path that leads nowhere counts as absent.
        """
        if path.source != "document":
            return self._beside(path, record, places, rejected)
        documents = levels[path.up]
        if not path.steps:
            return list(documents)
        if len(path.steps) == 1 and isinstance(path.steps[0], str):
            name = path.steps[0]
            try:
                return [document.get(name) for document in documents]  # type: ignore[attr-defined]
            except AttributeError:
                pass
        found: list[Any] = []
        for place, document in zip(places, documents, strict=True):
            if place in rejected:
                found.append(None)
                continue
            try:
                found.append(found_at(document, path))
            except Refused as refused:
                found.append(None)
                if not skip:
                    rejected[place] = refused.args
        return found

    def _ids(
        self,
        path: Path,
        levels: Sequence[Sequence[object]],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
    ) -> list[str]:
        found = self._find(path, levels, places, record, rejected)
        if set(map(type, found)) <= {str} and all(found):
            return found
        return _each(as_id, path.text, found, places, rejected, "-")

    def _beside(
        self, path: Path, record: RecordFields, places: Sequence[int], rejected: Reasons
    ) -> list[Any]:
        """Return a part of the record beside the payload."""
        if path.source == "partition":
            assert record.partitions is not None
            return [int(partition) for partition in record.partitions]
        if path.source == "topic":
            assert record.topics is not None
            return list(record.topics)
        if path.source == "timestamp":
            return [None if time_ms < 0 else time_ms for time_ms in record.timestamps_ms.tolist()]
        if path.source == "key":
            keys = self._keys.found(record.keys, places, rejected, nested=bool(path.steps))
            return _each(
                lambda key, _: found_at(key, path), path.text, keys, places, rejected, None
            )
        return _each(_header_text, path.text, _headers(path, record), places, rejected, None)


def as_id(found: object, name: str) -> str:
    """Return a value as a part of an id, or refuse it."""
    if isinstance(found, (str, int)) and not isinstance(found, bool):
        try:
            text = str(found)
        except ValueError:  # more digits than Python writes out
            raise Refused("id-too-long", f"{name} is an integer of thousands of digits") from None
        if text:
            return text
        raise Refused("no-series-id", f"{name} is empty")
    if found is None:
        raise Refused("no-series-id", f"{name} is absent or null")
    if isinstance(found, UUID):
        return str(found)
    raise Refused("wrong-type", f"{name} is {shown(found)}: not text or an integer")


def _each(
    convert: Callable[[object, str], Any],
    name: str,
    found: Sequence[object],
    places: Sequence[int],
    rejected: Reasons,
    blank: Any,
) -> list[Any]:
    """Convert one by one; if a value is refused, record why, and use a blank."""
    column = []
    for place, one in zip(places, found, strict=True):
        if place in rejected:  # its error is already recorded
            column.append(blank)
            continue
        try:
            column.append(convert(one, name))
        except Refused as refused:
            column.append(blank)
            rejected.setdefault(place, refused.args)
    return column


def found_at(document: object, path: Path) -> Any:
    """Return the value at a path, ``None`` if it is absent; `Refused` if it leads nowhere.

    Examples
    --------
    >>> from ewma_ops.serde.paths import parse_path
    >>> found_at({"p": [1.5]}, parse_path("p[0]")), found_at({}, parse_path("p[0]"))
    (1.5, None)
    """
    found: Any = document
    for step in path.steps:
        if found is None:
            return None
        if isinstance(step, str):
            if not isinstance(found, Mapping):
                raise Refused(
                    "wrong-type", f"{path.text} cannot be read: {shown(found)} is not an object"
                )
            found = found.get(step)
            continue
        if not isinstance(found, (list, tuple)):
            raise Refused(
                "wrong-type", f"{path.text} cannot be read: {shown(found)} is not an array"
            )
        found = found[step] if step < len(found) else None
    return found


def _headers(path: Path, record: RecordFields) -> list[bytes | None]:
    headers = [()] * len(record.keys) if record.headers is None else record.headers
    # If a header occurs twice, the last one counts.
    return [dict(own).get(str(path.steps[0])) for own in headers]


def _header_text(content: Any, name: str) -> str | None:
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError as error:
        raise Refused("not-utf8", f"{name} is {not_utf8(error)}") from None
