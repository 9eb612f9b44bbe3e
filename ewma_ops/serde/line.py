r"""InfluxDB's line protocol: messages of one or more points, each on a line.

Knows the protocol; must not know which tag or field means what.

    measurement,tag=text,tag=text field=value,field=value timestamp

The document of a point is ``{"measurement": text, "tags": {...}, "fields": {...}, "time": int}``,
without ``time`` where a point has none. A comma, a blank and an equals sign in a name or a tag have
a backslash before them, and so have a quote and a backslash in a text. A value is a float, an
integer (``5i``, ``5u``), true or false (``t``, ``f``, or written out), or a text in quotes, which
may hold line breaks. Blank lines and comments (``#``) are ignored.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ewma_ops.serde.format import Refused, text_of
from ewma_ops.serde.line_columns import PointColumns
from ewma_ops.serde.lines import LinesDecoder
from ewma_ops.serde.numbers import shown
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.paths import Paths
from ewma_ops.serde.several import MOST_READINGS

__all__ = ["LineDecoder"]

# A backslash escapes only what would end a name; before anything else it is a character. No line
# matches in two ways, so the time for a mismatch is linear in its length.
_MEASUREMENT = r"(?![, \n#]|\Z)[^\\, \n]*(?:\\(?:[, ]|(?![, ]))[^\\, \n]*)*"
_NAME = r"(?![,= \n]|\Z)[^\\,= \n]*(?:\\(?:[,= ]|(?![,= ]))[^\\,= \n]*)*"
_TEXT = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_INTEGER = r"-?[0-9]{1,19}i|[0-9]{1,20}u"
_BOOLEAN = r"[tTfF]|true|True|TRUE|false|False|FALSE"
_VALUE = rf"(?:{_INTEGER}|{_NUMBER}|{_BOOLEAN}|{_TEXT})"
_POINT = re.compile(
    rf"""({_MEASUREMENT})((?:,{_NAME}={_NAME})*)
    [ ]+({_NAME}={_VALUE}(?:,{_NAME}={_VALUE})*)
    (?:[ ]+(-?[0-9]{{1,19}}))?[ ]*\r?(?:\n|\Z)""".replace("\n    ", ""),
    re.DOTALL,
)
_NOTHING = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
_TAG = re.compile(rf",({_NAME})=({_NAME})")
_FIELD = re.compile(rf",?({_NAME})=({_VALUE})", re.DOTALL)
_ESCAPED = re.compile(r"\\([,= ])")
_ESCAPED_IN_TEXT = re.compile(r'\\(["\\])')
_EXAMPLE = "cpu,host=a usage=1.5 1700000000000000000"


class LineDecoder(LinesDecoder):
    r"""Decode points of the line protocol into readings.

    Parameters
    ----------
    options
        Where a reading stands: ``measurement``, ``tags.host``, ``fields.usage`` and ``time``, which
        is in nanoseconds without a ``time_unit``.

    Examples
    --------
    >>> options = DecoderOptions(value="fields.load", series_id=["measurement", "tags.host"])
    >>> points = b"cpu,host=a load=2\ncpu,host=b load=3"
    >>> decoded = LineDecoder(options).decode([None], [points], [1])
    >>> decoded.readings.series_ids, decoded.readings.values.tolist(), decoded.ordinals.tolist()
    (['cpu/a', 'cpu/b'], [2.0, 3.0], [0, 1])
    """

    def __init__(self, options: DecoderOptions) -> None:
        if options.time_unit is None:
            options = replace(options, time_unit="ns")
        paths = options.paths()
        columns = PointColumns(paths, options, _POINT)
        super().__init__(_Points(paths), columns if columns.is_quick else None, options)


class _Points:
    """Split a message into points; only fields that ``paths`` need are kept."""

    def __init__(self, paths: Paths) -> None:
        steps = [path.steps for path in paths.every if path.source == "document"]
        named = {at[1] for at in steps if len(at) > 1 and at[0] == "fields"}
        whole = () in steps or ("fields",) in steps
        self._fields = None if whole else named

    def lines(self, payload: bytes) -> list[Any]:
        text = text_of(payload)
        found: list[Any] = []
        at = 0
        while at < len(text) and len(found) <= MOST_READINGS:
            if point := _POINT.match(text, at):
                found.append(self._document(*point.groups()))
                at = point.end()
            elif nothing := _NOTHING.match(text, at):
                at = nothing.end()
            else:
                stop = text.find("\n", at) + 1 or len(text)
                found.append(_no_point(text[at:stop]))
                at = stop
        return found

    def _document(
        self, measurement: str, tags: str, fields: str, time: str | None
    ) -> dict[str, Any]:
        if "\\" in tags:
            found = {_unescaped(name): _unescaped(text) for name, text in _TAG.findall(tags)}
        else:
            found = dict(pair.split("=") for pair in tags[1:].split(",")) if tags else {}
        if "\\" in fields or '"' in fields:
            written = {_unescaped(name): text for name, text in _FIELD.findall(fields)}
        else:
            written = dict(pair.split("=") for pair in fields.split(","))
        names = written if self._fields is None else written.keys() & self._fields
        return {
            "measurement": _unescaped(measurement),
            "tags": found,
            "fields": {name: _value(written[name]) for name in names},
            "time": None if time is None else int(time),
        }


def _value(text: str) -> float | str | bool:
    last = text[-1]
    if last in "0123456789.":
        return float(text)
    if last in "iu":
        return int(text[:-1])
    if last == '"':
        return _ESCAPED_IN_TEXT.sub(r"\1", text[1:-1])
    return text[0] in "tT"


def _unescaped(name: str) -> str:
    return _ESCAPED.sub(r"\1", name) if "\\" in name else name


def _no_point(line: str) -> Refused:
    detail = f"{shown(line.strip())} is not a point of the line protocol, such as {_EXAMPLE}"
    return Refused("not-line", detail)
