"""Documents of any format to columns: the fields that paths lead to, and what is wrong with them.

Knows paths, and plain Python objects (dict, list, str, int, float, None, Decimal, datetime ...);
must not know bytes of payloads, bounds, topics or sockets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import repeat
from types import NoneType
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.serde.fields import Fields, Paths, Reasons, RecordFields, Refused
from ewma_ops.serde.paths import Path
from ewma_ops.serde.times import ms_of, read_time, times_of

__all__ = ["DocumentReader", "as_time_column", "not_utf8", "shown"]


class DocumentReader:
    """Read the fields of documents, whatever format they had.

    Parameters
    ----------
    paths
        Where in a document, or in the record beside it, each field stands.
    infinite
        Whether infinite numbers are taken, and those too large for a float64 as infinite.

    Examples
    --------
    >>> from ewma_ops.serde.options import DecoderOptions
    >>> paths = Paths.of(DecoderOptions(value="p[0]", series_id=["@topic", "id"]))
    >>> record = RecordFields([None], np.array([5]), topics=["t"])
    >>> rejected: Reasons = {}
    >>> DocumentReader(paths).read([{"id": 7, "p": [1.5]}], [0], record, rejected)
    Fields(ids=['t/7'], times_ms=None, numbers=[array([1.5])])
    """

    def __init__(self, paths: Paths, *, infinite: bool = False) -> None:
        self._paths = paths
        self._infinite = infinite

    def read(
        self,
        documents: Sequence[object],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
    ) -> Fields:
        """Return the fields of documents, of which the i-th belongs to ``places[i]`` of a run.

        ``record`` is what the records of these documents have beside their payloads. Documents of
        places that are rejected already may be anything. Of what cannot be read cause and detail
        are noted, by place; in its row stands something.
        """
        paths = self._paths
        ids = times_ms = None
        if paths.ids:
            parts = [self._ids(path, documents, places, record, rejected) for path in paths.ids]
            ids = parts[0] if len(parts) == 1 else list(map("/".join, zip(*parts, strict=True)))
        if paths.time is not None:
            found = self._find(paths.time, documents, places, record, rejected)
            times_ms = as_time_column(paths.time.text, found, places, rejected)
        numbers = []
        for path in paths.numbers:
            found = self._find(path, documents, places, record, rejected)
            numbers.append(self._numbers(path, found, places, rejected))
        return Fields(ids, times_ms, numbers)

    def _find(
        self,
        path: Path,
        documents: Sequence[object],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
    ) -> list[Any]:
        """Return what a path leads to in each document; ``None`` where it is absent."""
        if path.source != "document":
            return _beside(path, record, places, rejected)
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
                found.append(_at(document, path))
            except Refused as refused:
                found.append(None)
                rejected[place] = refused.args
        return found

    def _ids(
        self,
        path: Path,
        documents: Sequence[object],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
    ) -> list[str]:
        found = self._find(path, documents, places, record, rejected)
        if set(map(type, found)) <= {str} and all(found):
            return found
        return _each(as_id, path.text, found, places, rejected, "-")

    def _numbers(
        self, path: Path, found: list[Any], places: Sequence[int], rejected: Reasons
    ) -> NDArray[np.float64]:
        if set(map(type, found)) <= {float, int, NoneType}:
            try:
                column = np.array(found, np.float64)  # None is NaN
            except OverflowError:
                pass
            else:
                if self._infinite or not np.isinf(column).any():
                    return column
        number = as_number if self._infinite else _as_finite
        return np.array(_each(number, path.text, found, places, rejected, math.nan), np.float64)


def as_time_column(
    name: str, found: list[Any], places: Sequence[int], rejected: Reasons
) -> NDArray[np.float64]:
    """Return what is found as milliseconds since the epoch; note what is no time."""
    kinds = set(map(type, found))
    if str in kinds:
        at = [i for i, one in enumerate(found) if type(one) is str]
        texts = [found[i] for i in at]
        for i, text, time_ms in zip(at, texts, times_of(texts), strict=True):
            if time_ms is None:
                rejected.setdefault(places[i], ("not-a-time", _no_time(name, text)))
            found[i] = time_ms or 0
    if not kinds <= {int, float, str}:
        found = _each(as_time, name, found, places, rejected, 0)
    try:  # every whole number of milliseconds within the bounds is exact as a float
        return np.array(found, np.float64)
    except OverflowError:
        return np.array(list(map(_as_float, found)), np.float64)


def as_id(found: object, name: str) -> str:
    """Return what is found as a part of an id, or refuse it."""
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


def as_time(found: object, name: str) -> float:
    """Return what is found as milliseconds since the epoch, or refuse it."""
    if found is None:
        raise Refused("no-time", f"{name} is absent or null")
    if isinstance(found, (int, float, Decimal)) and not isinstance(found, bool):
        return _as_float(found)
    if isinstance(found, datetime):
        return ms_of(found)
    if isinstance(found, date):
        return ms_of(datetime(found.year, found.month, found.day, tzinfo=timezone.utc))
    if not isinstance(found, str):
        raise Refused("wrong-type", f"{name} is {shown(found)}: not milliseconds, nor ISO 8601")
    time_ms = read_time(found)
    if time_ms is None:
        raise Refused("not-a-time", _no_time(name, found))
    return time_ms


def as_number(found: object, name: str) -> float:
    """Return what is found as a float64, too large a one as infinite, or refuse it."""
    if found is None:
        return math.nan
    if isinstance(found, (int, float, Decimal, Fraction)) and not isinstance(found, bool):
        try:
            return _as_float(found)
        except ValueError:
            raise Refused("wrong-type", f"{name} is a signaling NaN: not a number") from None
    raise Refused("wrong-type", f"{name} is {shown(found)}: not a number")


def _as_finite(found: object, name: str) -> float:
    number = as_number(found, name)
    if math.isinf(number):
        raise Refused("out-of-range", f"{name} is too large for a 64-bit float")
    return number


def _each(
    convert: Callable[[object, str], Any],
    name: str,
    found: Sequence[object],
    places: Sequence[int],
    rejected: Reasons,
    blank: Any,
) -> list[Any]:
    """Convert one by one; where that is refused note why, and put a blank."""
    column = []
    for place, one in zip(places, found, strict=True):
        try:
            column.append(convert(one, name))
        except Refused as refused:
            column.append(blank)
            rejected.setdefault(place, refused.args)
    return column


def _at(document: object, path: Path) -> object:
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


def _beside(
    path: Path, record: RecordFields, places: Sequence[int], rejected: Reasons
) -> list[Any]:
    """Return what stands in the record beside the payload."""
    if path.source == "partition":
        assert record.partitions is not None
        return [int(partition) for partition in record.partitions]
    if path.source == "topic":
        assert record.topics is not None
        return list(record.topics)
    if path.source == "timestamp":
        return [None if time_ms < 0 else time_ms for time_ms in record.timestamps_ms.tolist()]
    found: list[Any] = []
    for place, content in zip(places, _contents(path, record, len(places)), strict=True):
        try:
            found.append(_beside_at(content, path))
        except Refused as refused:
            found.append(None)
            rejected.setdefault(place, refused.args)
    return found


def _contents(path: Path, record: RecordFields, n: int) -> Sequence[bytes | None]:
    if path.source == "key":
        return record.keys
    headers = repeat((), n) if record.headers is None else record.headers
    # Of a header that stands twice the last counts.
    return [dict(own).get(str(path.steps[0])) for own in headers]


def _beside_at(content: bytes | None, path: Path) -> object:
    if content is None:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Refused("not-utf8", f"{path.text} is {not_utf8(error)}") from None
    if path.source == "header" or not path.steps:
        return text
    try:
        document = msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Refused("not-json", f"{path.text} cannot be read: {error}") from None
    return _at(document, path)


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say what is wrong with bytes that are no text."""
    return f"not UTF-8: {error.reason} (byte {error.start})"


def _no_time(name: str, text: str) -> str:
    return f"{name} is {shown(text)}: not ISO 8601"


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def shown(found: object) -> str:
    """Show what was found, cut to a line."""
    try:
        text = repr(found[:50]) if isinstance(found, (str, bytes)) else repr(found)
    except ValueError:  # an integer of more digits than Python writes out
        return "an integer of thousands of digits"
    return text if len(text) <= 60 else text[:59] + "…"
