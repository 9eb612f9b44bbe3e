"""Fields of a reading that are copied into its event, as JSON members.

Knows plain Python objects and JSON; must not know events, nor other fields of a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import defstruct

from ewma_ops.columns.byte_columns import BytesColumn, split
from ewma_ops.serde.format import Reasons
from ewma_ops.serde.numbers import shown
from ewma_ops.serde.paths import Path

__all__ = ["IncludeWriter", "reject_long"]

_LINE_BREAK = ord("\n")


class IncludeWriter:
    """Writes values found in documents as members of objects.

    Parameters
    ----------
    paths
        The included fields; each is a member named after its path.

    Examples
    --------
    >>> from ewma_ops.serde.paths import parse_path
    >>> writer = IncludeWriter([parse_path("unit"), parse_path("site.name")])
    >>> writer.column([["C", None], [7, {"a": [1.5]}]], [0, 1], {})
    [b'"unit":"C","site_name":7', b'"unit":null,"site_name":{"a":[1.5]}']
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        rename = {f"f{i}": path.name for i, path in enumerate(paths)}
        self._members = defstruct("Members", list(rename), gc=False, rename=rename)
        self._encoder = msgspec.json.Encoder()

    def column(
        self, found: Sequence[Sequence[Any]], places: Sequence[int], rejected: Reasons
    ) -> BytesColumn:
        """Return the members of n readings, given the values at each path.

        Values that JSON cannot hold become ``null``, with cause and detail recorded by place.
        """
        rows = list(map(self._members, *found))
        try:
            return self._written(rows)
        except Exception:  # noqa: BLE001 - objects of a user's own format may raise anything
            columns = [
                [
                    self._json_or_none(one, path, place, rejected)
                    for one, place in zip(column, places, strict=True)
                ]
                for column, path in zip(found, self._paths, strict=True)
            ]
            return self._written(list(map(self._members, *columns)))

    def _written(self, rows: list[Any]) -> BytesColumn:
        lines = split(self._encoder.encode_lines(rows), _LINE_BREAK)[:-1]
        return BytesColumn(lines.data, lines.starts + 1, lines.stops - 1)  # without the braces

    def _json_or_none(self, one: Any, path: Path, place: int, rejected: Reasons) -> Any:
        try:
            return msgspec.Raw(self._encoder.encode(one))
        except Exception:  # noqa: BLE001 - as above
            detail = f"{path.text} is {shown(one)}: it cannot be written as JSON (output.include)"
            rejected.setdefault(place, ("wrong-type", detail))
            return None


def reject_long(column: BytesColumn, most: int, rejected: Reasons) -> None:
    """Reject readings whose members have more bytes than allowed."""
    sizes = column.sizes
    for place in np.flatnonzero(sizes > most).tolist():
        detail = f"the included fields have {sizes[place]} bytes, at most {most}"
        rejected.setdefault(place, ("include-too-long", f"{detail} (output.max_include_bytes)"))
