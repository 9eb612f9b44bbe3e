"""Messages as lines of text: what ``ewma try`` and users' tests read.

Knows how a message is written in a line; must not know files, settings or what is in a payload.

    {"value": {"id": "a", "value": 21.5}, "key": "k", "headers": {"unit": "C"}, "timestamp": 0}
    {"value": "text as it is on the topic", "partition": 3, "topic": "readings"}
    {"value_base64": "AAAAAAc=", "key_base64": "AAAAAAAAAHs="}

What kcat prints with ``-J`` is read too: ``payload``, ``ts`` and headers in one list.
"""

from __future__ import annotations

import binascii
import difflib
from base64 import b64decode
from typing import Any

import msgspec

from ewma_ops.job.offline import Record
from ewma_ops.settings.moments import moment_ms

__all__ = ["LineError", "parse_line"]

_FIELDS = ("value", "key", "headers", "timestamp", "partition", "topic")
_FROM_KCAT = ("offset", "tstype", "broker")
_ALIASES = {"payload": "value", "ts": "timestamp"}
_Line = dict[str, msgspec.Raw]
_Headers = dict[str, msgspec.Raw] | list[msgspec.Raw] | None


class LineError(ValueError):
    """A line that is not a message; the text says what to write."""


def parse_line(line: bytes, number: int, now_ms: int | None = None) -> Record:
    """Read a line; its number, from 1 on, gives the record's offset, from 0 on.

    ``value`` and ``key`` are text, which is taken verbatim, ``null``, or other JSON, which is kept
    as it is written, to the digit.

    Parameters
    ----------
    line
        UTF-8.
    number
        Of the line.
    now_ms
        The timestamp of a message without one.

    Raises
    ------
    LineError
        If it is invalid.

    Examples
    --------
    >>> record = parse_line(b'{"key": "a", "value": {"t": 1.50}}', 3)
    >>> record.key, record.value, record.offset
    (b'a', b'{"t": 1.50}', 2)
    >>> parse_line(b'{"vals": 1}', 1)
    Traceback (most recent call last):
    ...
    ewma_ops.job.message_lines.LineError: vals is not a field of a message; did you mean value?
    """
    try:
        found = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LineError(
            f'not an object of JSON ({error}); write {{"value": ...}}, or use --values where a '
            "line is the value of a message"
        ) from None
    fields = {_ALIASES.get(name, name): raw for name, raw in found.items()}
    for name in fields:
        if name.removesuffix("_base64") not in (*_FIELDS, *_FROM_KCAT):
            raise LineError(f"{name} is not a field of a message; {_suggestion(name)}")
    if "value" not in fields and "value_base64" not in fields:
        raise LineError('value is missing; write "value": null for a tombstone')
    time_ms = now_ms if "timestamp" not in fields else _moment(fields["timestamp"])
    return Record(
        _bytes("value", fields),
        _bytes("key", fields),
        _headers(fields),
        time_ms,
        _convert("partition", fields, int, 0, "a whole number, 0 or more"),
        _convert("topic", fields, str, None, "text"),
        number - 1,
    )


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, _FIELDS, 1)
    if near:
        return f"did you mean {near[0]}?"
    return (
        'write {"value": {...}, "key": ..., "timestamp": ...}, or use --values where a line is '
        "the value of a message"
    )


def _bytes(name: str, fields: _Line) -> bytes | None:
    if f"{name}_base64" in fields:
        text = _convert(f"{name}_base64", fields, str, None, "text")
        try:
            return b64decode(text, validate=True)
        except binascii.Error as error:
            raise LineError(f"{name}_base64 is not base64: {error}") from None
    return _as_written(fields[name]) if name in fields else None


def _as_written(raw: msgspec.Raw) -> bytes | None:
    """Return the bytes of text, ``None`` for null, and anything else as it is written."""
    written = bytes(raw).strip()
    if written == b"null":
        return None
    if written.startswith(b'"'):
        text: str = msgspec.json.decode(written, type=str)
        return text.encode("utf-8", "surrogatepass")
    return written


def _headers(fields: _Line) -> tuple[tuple[str, bytes | None], ...]:
    if "headers" not in fields:
        return ()
    try:
        found = msgspec.json.decode(fields["headers"], type=_Headers)
        if found is None:
            return ()
        if isinstance(found, dict):
            return tuple((name, _as_written(one)) for name, one in found.items())
        texts = [msgspec.json.decode(one) for one in found]
        if texts and all(isinstance(one, list) for one in texts):
            texts = [part for one in texts for part in one]  # [["a", "1"], ["a", "2"]]
        return tuple(
            (name + "", None if content is None else content.encode())
            for name, content in zip(texts[::2], texts[1::2], strict=True)
        )
    except (ValueError, AttributeError, TypeError):
        raise LineError(
            'headers must be an object, {"name": "text"}, or a list, [["name", "text"]]'
        ) from None


def _moment(raw: msgspec.Raw) -> int | None:
    found = msgspec.json.decode(raw)
    if found is None or (isinstance(found, int) and not isinstance(found, bool)):
        return None if found is None or found < 0 else found
    try:
        return moment_ms(found)
    except (ValueError, AttributeError):
        raise LineError(
            f"timestamp {found!r} must be milliseconds since the epoch, or a time such as "
            '"2026-01-31T00:00:00Z"'
        ) from None


def _convert(name: str, fields: _Line, kind: type[Any], default: Any, bound: str) -> Any:
    if name not in fields:
        return default
    try:
        found = msgspec.json.decode(fields[name], type=kind)
    except msgspec.DecodeError:
        found = None
    if found is None or (kind is int and not 0 <= found < 2**31):
        raise LineError(f"{name} must be {bound}")
    return found
