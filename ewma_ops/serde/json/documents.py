"""JSON payloads to documents, and the errors of invalid ones.

Knows JSON, and what makes a payload unusable; must not know paths inside a field, nor bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from json import loads
from typing import Any, TypedDict

import msgspec
import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde.format import Format, Reasons, Refused, empty, not_utf8, tombstone
from ewma_ops.serde.paths import Paths

__all__ = ["JsonFormat", "without_schema_ids"]

_SCHEMA_ID = 5
"""Bytes before the JSON of a Schema Registry: a zero, and the id of the schema."""
_SAMPLES = 3


def without_schema_ids(payloads: Sequence[bytes | None]) -> Sequence[bytes | None]:
    """Return the payloads of a run without the schema's id before them, if the first ones have it.

    Examples
    --------
    >>> without_schema_ids([None, bytes([0, 0, 0, 0, 7]) + b"{}", b"[]"])
    [None, b'{}', b'[]']
    """
    first = next((payload for payload in payloads[:_SAMPLES] if payload), b"")
    if first[:1] != b"\0":  # a single one among others is read as a document
        return payloads
    if isinstance(payloads, BytesColumn):
        there = payloads.stops - payloads.starts >= _SCHEMA_ID
        there &= np.frombuffer(payloads.data, np.uint8)[np.where(there, payloads.starts, 0)] == 0
        return BytesColumn(payloads.data, payloads.starts + _SCHEMA_ID * there, payloads.stops)
    return [payload if payload is None else _without_schema_id(payload) for payload in payloads]


def _without_schema_id(payload: bytes) -> bytes:
    """Return a payload without the schema's id before it: no JSON begins with a zero byte."""
    has_one = len(payload) >= _SCHEMA_ID and payload[0] == 0
    return payload[_SCHEMA_ID:] if has_one else payload


class JsonFormat(Format):
    """Parse JSON.

    Parameters
    ----------
    paths
        The needed paths. If all are fields of one object, other fields are skipped; otherwise a
        payload may be any JSON.
    infinite
        Whether the words ``Infinity``, ``-Infinity`` and ``NaN`` are read, and numbers that are
        too large for a float64.
    """

    def __init__(self, paths: Paths, *, infinite: bool = False) -> None:
        heads = paths.heads()
        kind: Any = Any
        if heads is not None:
            fields = dict.fromkeys(heads, Any)
            kind = TypedDict("Document", fields, total=False)  # type: ignore[misc,no-redef]
        self._kind = kind
        self._decode = msgspec.json.Decoder(kind, float_hook=float).decode
        self._infinite = infinite

    def documents(
        self, payloads: Sequence[bytes | None], places: Sequence[int], rejected: Reasons
    ) -> list[Any]:
        """Return the document of each payload; ``{}`` if cause and detail are recorded."""
        pieces = list(payloads)
        found: list[Any] = []
        left = map(self._decode, pieces)  # type: ignore[arg-type]  # None raises, as it should
        while True:
            try:
                found.extend(left)  # keeps results from before an error, and continues after it
                return found
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
                at = len(found)
                try:
                    found.append(self.document(pieces[at]))
                except Refused as refused:
                    found.append({})
                    rejected.setdefault(places[at], refused.args)

    def document(self, payload: bytes | None, error: Exception | None = None) -> Any:
        """Return the document of a payload.

        Parameters
        ----------
        payload
            The bytes.
        error
            The error of a stricter reader, if it shows that this one will fail too.

        Raises
        ------
        Refused
            If it is invalid.
        """
        if payload is None:
            raise tombstone()
        if payload[:1] == b"\0" and len(payload) >= _SCHEMA_ID:
            payload, error = _without_schema_id(payload), None
        if not payload.strip():
            raise empty()
        try:
            if error is not None:
                raise error
            return self._decode(payload)
        except msgspec.MsgspecError as error:
            if self._infinite:
                with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                    found = loads(payload.decode())
                    msgspec.json.encode(found)  # refuses lone surrogates, as when reading
                    return msgspec.convert(found, self._kind)
            raise _refused(payload, error) from None
        except RecursionError:
            raise Refused("too-deep", "the value is nested too deeply") from None
        except UnicodeDecodeError as error:
            raise Refused("not-utf8", not_utf8(error)) from None

    def settles(self, error: Exception, *, nested: bool) -> bool:
        """Return whether a struct's error is final: not JSON, or not an object.

        In nested objects this reads fields that structs skip.
        """
        if self._infinite or nested or not isinstance(error, msgspec.DecodeError):
            return False
        if isinstance(error, msgspec.ValidationError):
            text = str(error)
            return text.startswith("Expected `object`, got ") and "$" not in text
        return True


def _refused(payload: bytes, error: msgspec.MsgspecError) -> Refused:
    """Say why a payload cannot be decoded."""
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        if "out of range" in text:
            return Refused("out-of-range", text)
        if text.startswith("Expected `object`, got `array`") and "$" not in text:
            text += '; records = "[]" in [input] reads each item of an array'
        return Refused("wrong-type", text)
    try:
        payload.decode()
    except UnicodeDecodeError as undecodable:
        return Refused("not-utf8", not_utf8(undecodable))
    bom = " (it begins with a byte order mark)" if payload[:3] == b"\xef\xbb\xbf" else ""
    return Refused("not-json", f"{error}{bom}")
