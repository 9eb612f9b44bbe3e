"""Keys of records: text, integers, UUIDs, JSON, or with a schema.

Knows bytes of keys; must not know payloads, nor which series a key names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID

import msgspec
import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.serde.format import Format, Reasons, Refused, not_utf8
from ewma_ops.serde.formats import KeyKind

__all__ = ["KeyReader"]

_SIZES = {"int32": 4, "int64": 8, "uuid": 16}
_LIKELY = {4: '"int32"', 8: '"int64"', 16: '"uuid"'}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class KeyReader:
    """Read the keys of records.

    Parameters
    ----------
    kind
        Their type; ``None`` for text, with keys that look binary rejected.
    format_
        Reads keys with a schema.

    Examples
    --------
    >>> KeyReader("int32").found([bytes([0, 0, 1, 0]), None], [0, 1], {}, nested=False)
    [256, None]
    """

    def __init__(self, kind: KeyKind | None, format_: Format | None = None) -> None:
        self._kind, self._format = kind, format_

    def ids(self, keys: Sequence[bytes | None], rejected: Reasons, *, many: bool) -> Sequence[str]:
        """Return keys as series ids, all of a run; many of plain text as a column."""
        if many and self._kind in (None, "text") and isinstance(keys, BytesColumn):
            packed = keys.packed()
            if (keys.stops > keys.starts).all() and packed.isascii() and self._is_clean(packed):
                return TextColumn(keys)
        found = self.found(keys, range(len(keys)), rejected, nested=False)
        for place in (i for i, one in enumerate(found) if one is None or one == ""):
            rejected.setdefault(place, ("no-series-id", "the record has no key"))
            found[place] = "-"
        if not all(isinstance(one, str) for one in found):
            for place, one in enumerate(found):
                if not isinstance(one, (str, int)) or isinstance(one, bool):
                    detail = 'the key is no text or integer; write series_id = "@key.name"'
                    rejected.setdefault(place, ("wrong-type", detail))
            return [str(one) if isinstance(one, (str, int)) else "-" for one in found]
        return [str(one) for one in found]

    def found(
        self,
        keys: Sequence[bytes | None],
        places: Sequence[int],
        rejected: Reasons,
        *,
        nested: bool,
    ) -> list[object]:
        """Return the values of keys, ``None`` for none; ``nested`` for fields inside them: JSON."""
        if self._format is not None:
            return _by_format(self._format, keys, places, rejected)
        kind = "json" if nested and self._kind is None else self._kind
        found: list[object] = []
        for place, key in zip(places, keys, strict=True):
            try:
                found.append(None if key is None else _read(key, kind))
            except Refused as refused:
                found.append(None)
                rejected.setdefault(place, refused.args)
        return found

    def _is_clean(self, packed: bytes) -> bool:
        if self._kind == "text" or not packed:
            return True
        return bool(np.frombuffer(packed, np.uint8).min() >= ord(" "))


def _by_format(
    format_: Format, keys: Sequence[bytes | None], places: Sequence[int], rejected: Reasons
) -> list[object]:
    found: list[object] = [None] * len(keys)
    there = [at for at, key in enumerate(keys) if key is not None]
    refused: Reasons = {}
    own = format_.documents([keys[at] for at in there], [places[at] for at in there], refused)
    for at, document in zip(there, own, strict=True):
        found[at] = document
    for place, (cause, detail) in refused.items():
        rejected.setdefault(place, (cause, f"of the key: {detail}"))
    return found


def _read(key: bytes, kind: str | None) -> object:
    if kind is None or kind == "text":
        return _text(key, is_certain=kind == "text")
    if kind == "json":
        if not key:
            return None
        try:
            return msgspec.json.decode(key)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            _text(key, is_certain=True)  # bytes that are not text are reported as such
            raise Refused("not-json", f"the key is not JSON: {error}") from None
    if not key:
        return None
    if len(key) != _SIZES[kind]:
        detail = f"the key has {len(key)} bytes, and {kind} has {_SIZES[kind]} (input.key)"
        raise Refused("binary-key", detail)
    if kind == "uuid":
        return str(UUID(bytes=key))
    return int.from_bytes(key, "big", signed=True)


def _text(key: bytes, *, is_certain: bool) -> str:
    try:
        text = key.decode()
        if is_certain or not _CONTROL.search(text):
            return text
    except UnicodeDecodeError as error:
        if is_certain or len(key) not in _LIKELY:
            raise Refused("not-utf8", f"the key is {not_utf8(error)}") from None
    likely = _LIKELY.get(len(key), '"int32", "int64" or "uuid"')
    raise Refused(
        "binary-key",
        f"the key is {len(key)} bytes that look binary: write key = {likely} in [input], or "
        'key = "text" if it is text nevertheless',
    )
