"""Payloads to columns, one by one, by structs made for the paths.

Knows JSON; must not know bounds, topics or sockets.

Usual payloads are decoded straight into structs. Any other is read separately as a document, which
decides: it accepts what the structs are too strict for, and explains what is wrong with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, defstruct

from ewma_ops.columns.byte_columns import taken
from ewma_ops.serde.documents import DocumentReader
from ewma_ops.serde.fields import Fields, RecordFields
from ewma_ops.serde.format import Reasons, Refused
from ewma_ops.serde.include import IncludeWriter
from ewma_ops.serde.json.documents import JsonFormat
from ewma_ops.serde.moments import MomentReader
from ewma_ops.serde.numbers import NumberReader
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Paths

__all__ = ["RowReader"]


class RowReader:
    """Read payloads one by one.

    Parameters
    ----------
    paths
        What to read: names in objects, joined with dots.
    options
        Which types are read as numbers and times.
    json, documents
        Read what the structs refuse.
    """

    def __init__(
        self, paths: Paths, options: DecoderOptions, json: JsonFormat, documents: DocumentReader
    ) -> None:
        self._paths, self._json, self._documents = paths, json, documents
        self._ids = [path.text for path in paths.ids]
        self._time = None if paths.time is None else paths.time.text
        self._numbers = [path.text for path in paths.numbers]
        leaves: dict[str, tuple[Any, ...]] = dict.fromkeys(self._ids, (str | int,))
        if self._time is not None:
            leaves[self._time] = (Any,)
        self._number_reader, self._moments = NumberReader(options), MomentReader(options)
        leaves |= dict.fromkeys(self._numbers, (Any, np.nan))
        self._include = [path.text for path in paths.include]
        self._writer = IncludeWriter(paths.include)
        leaves |= dict.fromkeys(self._include, (Any, None))
        self._row, where = _row_type(leaves)
        self._get = {path: attrgetter(names) for path, names in where.items()}
        # Of a float field msgspec itself takes 100 times as long to read 1e300 as 1.5.
        self._decode = msgspec.json.Decoder(self._row, float_hook=float).decode
        self._nested = any(len(path.steps) > 1 for path in paths.every)

    def read(
        self,
        payloads: Sequence[bytes | None],
        places: Sequence[int],
        record: RecordFields,
        rejected: Reasons,
    ) -> Fields:
        """Return the fields of payloads, of which the i-th is at ``places[i]`` of a run.

        Cause and detail of unreadable ones are recorded by place; their rows are arbitrary.
        """
        pieces = list(payloads)
        rows: list[Any] = []
        slow: list[int] = []
        documents: list[object] = []
        left = map(self._decode, pieces)  # type: ignore[arg-type]  # None raises, as it should
        while True:
            try:
                rows.extend(left)  # keeps results from before an error, and continues after it
                break
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
                at = len(rows) + len(slow)
                slow.append(at)
                settled = self._json.settles(error, nested=self._nested)
                try:
                    documents.append(self._json.document(pieces[at], error if settled else None))
                except Refused as refused:
                    documents.append({})
                    rejected.setdefault(places[at], refused.args)
        if not slow:
            return self._fields(rows, places, rejected)
        others = np.array(slow, np.intp)
        theirs = [places[at] for at in slow]
        found = self._documents.read([documents], theirs, record.take(others), rejected)
        if not rows:
            return found
        usual = np.setdiff1d(np.arange(len(pieces)), others, assume_unique=True)
        own = self._fields(rows, taken(places, usual), rejected)
        return own.merged(usual, found, others)

    def _fields(self, rows: list[Any], places: Sequence[int], rejected: Reasons) -> Fields:
        ids = self._read_ids(rows, places, rejected) if self._ids else None
        times_ms = None
        if self._time is not None:
            column = self._column(self._time, rows)
            times_ms = self._moments.column(self._time, column, places, rejected)
        numbers = [
            self._number_reader.column(path, self._column(path, rows), places, rejected)
            for path in self._numbers
        ]
        included = None
        if self._include:
            through = [self._column(path, rows) for path in self._include]
            included = self._writer.column(through, places, rejected)
        return Fields(ids, times_ms, numbers, included=included)

    def _column(self, path: str, rows: list[Any]) -> list[Any]:
        return list(map(self._get[path], rows))

    def _read_ids(self, rows: list[Any], places: Sequence[int], rejected: Reasons) -> list[str]:
        columns = [_as_text(self._column(path, rows)) for path in self._ids]
        for path, column in zip(self._ids, columns, strict=True):
            if not all(column):
                for i in (places[at] for at, part in enumerate(column) if not part):
                    rejected.setdefault(i, ("no-series-id", f"{path} is empty"))
        return columns[0] if len(columns) == 1 else list(map("/".join, zip(*columns, strict=True)))


def _row_type(leaves: Mapping[str, tuple[Any, ...]]) -> tuple[type[Struct], dict[str, str]]:
    """Make the struct for some paths; return it and the attribute each path is found at."""
    inside: dict[str, dict[str, tuple[Any, ...]]] = {}
    for path, leaf in leaves.items():
        head, _, rest = path.partition(".")
        inside.setdefault(head, {})[rest] = leaf
    fields: list[tuple[Any, ...]] = []
    where: dict[str, str] = {}
    for i, (head, inner) in enumerate(inside.items()):
        name = f"f{i}"
        if "" in inner:
            fields.append((name, *inner[""]))
            where[head] = name
            continue
        kind, below = _row_type(inner)
        optional = all(len(leaf) > 1 for leaf in inner.values())
        fields.append((name, kind, kind()) if optional else (name, kind))
        where |= {f"{head}.{rest}": f"{name}.{names}" for rest, names in below.items()}
    rename = {f"f{i}": head for i, head in enumerate(inside)}
    row = defstruct("Row", fields, rename=rename, kw_only=True, frozen=True, gc=False)
    return row, where


def _as_text(parts: list[Any]) -> list[str]:
    try:
        "".join(parts)  # the fastest test whether all are text
        return parts
    except TypeError:
        return list(map(str, parts))
