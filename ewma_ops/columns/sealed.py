"""Arrays as bytes with a checksum: the form in which the recovery store keeps the state of a step.

Knows numbers and arrays by name; must not know their meaning.

    "EWMA"  format u32  crc32c u32  header size u32  size of all u64
    header: JSON {"kind", "numbers", "columns": [[name, dtype, shape], ...]}, blanks up to 8 bytes
    columns: little-endian, each padded with zeros to 8 bytes

All numbers are little-endian; the checksum is of everything behind it, and is verified before
anything is decoded. The bytes name no code: Bytewax pickles them as bytes, and `check_pickle`
refuses any other pickle.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from ewma_ops.errors import START_OVER, StateError

__all__ = ["Contents", "check_pickle", "open_sealed", "seal"]

FORMAT = 1
_MAGIC = b"EWMA"
_HEAD = struct.Struct("<4sIIIQ")
_CRC_FROM = 12
_STEP = 8
_KINDS = "fiub"
"""Kinds of allowed dtypes: floats, signed and unsigned integers, booleans."""


class Contents(NamedTuple):
    """The contents of sealed bytes: numbers and text, and arrays, which are read-only."""

    numbers: dict[str, Any]
    columns: dict[str, NDArray[Any]]


def seal(kind: str, numbers: Mapping[str, Any], columns: Mapping[str, Any] | None = None) -> bytes:
    """Return numbers and arrays as sealed bytes.

    Parameters
    ----------
    kind
        Name of the step or part whose state it is; `open_sealed` must be given the same.
    numbers
        Anything that JSON can encode.
    columns
        Arrays of floats, integers or booleans, of any shape; or bytes, as ``uint8[n]``.

    Examples
    --------
    >>> open_sealed(seal("sink", {"base": 7}, {"pending": np.arange(3)}), "sink")
    Contents(numbers={'base': 7}, columns={'pending': array([0, 1, 2])})
    """
    parts: list[Any] = [b"", b""]
    described = []
    for name, column in (columns or {}).items():
        array = np.frombuffer(column, np.uint8) if isinstance(column, bytes) else column
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        described.append([name, array.dtype.str, list(array.shape)])
        parts += [array.reshape(-1).view(np.uint8).data, bytes(-array.nbytes % _STEP)]
    text = json.dumps({"kind": kind, "numbers": dict(numbers), "columns": described}).encode()
    text += b" " * (-len(text) % _STEP)
    parts[1] = text
    size = _HEAD.size + sum(map(len, parts))
    crc = crc32c(_HEAD.pack(_MAGIC, FORMAT, 0, len(text), size)[_CRC_FROM:])
    for part in parts:
        crc = crc32c(part, crc)
    parts[0] = _HEAD.pack(_MAGIC, FORMAT, crc, len(text), size)
    return b"".join(parts)


def open_sealed(data: object, kind: str) -> Contents:
    """Return the contents of sealed bytes.

    Raises
    ------
    StateError
        If they are damaged, of another release, or of another kind.
    """
    header, columns_at, view = _checked(data)
    if header["kind"] != kind:
        raise StateError(
            f"the snapshot is that of a {header['kind']}, not of a {kind}: the recovery files do "
            f"not belong together; restore a consistent copy, or {START_OVER}"
        )
    return Contents(header["numbers"], dict(_columns(header["columns"], columns_at, view)))


def check_pickle(pickled: object) -> None:
    """Check the pickle that Bytewax stored for a step, without unpickling it.

    Raises
    ------
    StateError
        If it is not the pickle of sealed bytes, or of None.
    """
    if pickled == pickle.dumps(None):
        return
    if not isinstance(pickled, bytes):
        raise _damaged("there is none")
    at = pickled.find(_MAGIC, 0, 32)
    if at < 0 or len(pickled) < at + _HEAD.size:
        raise StateError(
            "a snapshot is damaged, or of a release of ewma_ops that pickled its state: resume "
            f"with the release that wrote it, restore a copy, or {START_OVER}"
        )
    size = _HEAD.unpack_from(pickled, at)[-1]
    sealed = pickled[at : at + size]
    _checked(sealed)
    if pickled != pickle.dumps(sealed):
        raise _damaged("what is around it differs")


def _checked(data: object) -> tuple[dict[str, Any], int, memoryview]:
    if not isinstance(data, bytes) or len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise StateError(
            "a snapshot is damaged, or of a release of ewma_ops that pickled its state: resume "
            f"with the release that wrote it, restore a copy, or {START_OVER}"
        )
    _, version, crc, header_size, size = _HEAD.unpack_from(data)
    view = memoryview(data)
    if version != FORMAT:
        raise StateError(
            f"a snapshot has format {version}, and this release reads {FORMAT}: it is damaged, or "
            f"of another release; resume with the release that wrote it, or {START_OVER}"
        )
    if size != len(data):
        raise _damaged(f"it has {len(data)} bytes, not {size}")
    if crc32c(view[_CRC_FROM:]) != crc:
        raise _damaged("its checksum is wrong")
    columns_at = _HEAD.size + header_size
    return json.loads(data[_HEAD.size : columns_at]), columns_at, view


def _columns(described: list[Any], at: int, view: memoryview) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, dtype_name, shape in described:
        dtype = np.dtype(dtype_name)
        if dtype.kind not in _KINDS:
            raise _damaged(f"column {name!r} has the type {dtype_name!r}")
        count = math.prod(shape)
        column = np.frombuffer(view, dtype, count, at) if count else np.empty(0, dtype)
        yield name, column.astype(dtype.newbyteorder("="), copy=False).reshape(shape)
        at += count * dtype.itemsize
        at += -at % _STEP


def _damaged(how: str) -> StateError:
    return StateError(
        f"a snapshot is damaged ({how}): restore a copy of the whole recovery directory, "
        f"or {START_OVER}"
    )
