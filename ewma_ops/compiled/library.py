"""Loops in C, where they were compiled: loaded once, called with arrays.

Knows where the library is, and the types of what each kernel takes; must not know what a kernel is
for. Every caller also works without them: `kernels` is ``None`` where there is no library, and
`missing` says why.

A kernel is called with NumPy arrays and numbers. Each array goes as its address and its length, and
is refused if its type or layout is not the kernel's: nothing is converted behind the caller's back.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.compiled.sources import FOLDER, digest, library_path

__all__ = ["DOUBT", "SWITCH", "Kernels", "kernels", "load", "missing"]

SWITCH = "EWMA_COMPILED"
"""The environment variable that leaves the library alone: ``EWMA_COMPILED=off``."""

DOUBT = -1
"""What a kernel returns if its reference has to decide."""

_SIGNATURES = {
    "decode_records": "u1 i8 i8 i8 i8 i8 u1 >i8 >i8 >i8 >i8 >i8 >i8 >i8 >i8 >i8",
    "encode_records": "u1 i8 i8 u1 i8 i8 u1 u1 int i8 u1 i8 i8 >u1 int int",
    "match_shape": "u1 i8 i8 u1 i8 u1 >i8 >i8 >u1",
    "read_decimals": "u1 i8 i8 >f8 >u1",
    "read_integers": "u1 i8 i8 int >i8 >u1",
    "copy_strings": "u1 i8 i8 i8 >u1",
    "count_bytes": "i8 i8",
    "murmur2": "u1 i8 i8 >u4",
    "order_by_partition": "u4 >i8 >i8",
    "probe": "u1 i8 i8 u8 int int u8 int u1 i8 >i8",
    "number_series": "i8 >i8 int >i8 >i8",
    "accumulate": "i8 f8 f8 >f8 >f8",
    "means": "i8 f8 f8 f8 >f8 >f8 >f8",
    "latest": "i8 i8 >i8 >i8",
    "counts": "i8 u1 >i8 >i8",
    "write_events": "i8 u1 i8 int int >u1 >i8 >i8",
    "track_baseline": "i8 f8 f8 f8 f8 f8 int" + 8 * " >f8" + " >u4" + 6 * " >f8" + " >u1",
    "weigh_season": "i8 i8 i8 i8 u1 u1 int int i8 f8 >f8 >f8 >f8 >i8 >f8 >u1" + 3 * " >f8",
    "adjust_season": "i8 i8 int int i8 f8 u1 f8 f8 u1" + 8 * " f8" + 12 * " >f8",
    "write_floats": "f8 >u1 >i8 >i8",
}
"""What each kernel takes: arrays by type, ``>`` before those that it writes; whole numbers."""

_Array = NDArray[Any]


class Kernels:
    """The kernels of a library, as functions of arrays and whole numbers.

    Each returns a whole number >= 0, or `DOUBT`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.decode_records = _bind(library, "decode_records")
        self.encode_records = _bind(library, "encode_records")
        self.match_shape = _bind(library, "match_shape")
        self.read_decimals = _bind(library, "read_decimals")
        self.read_integers = _bind(library, "read_integers")
        self.copy_strings = _bind(library, "copy_strings")
        self.count_bytes = _bind(library, "count_bytes")
        self.murmur2 = _bind(library, "murmur2")
        self.order_by_partition = _bind(library, "order_by_partition")
        self.probe = _bind(library, "probe")
        self.number_series = _bind(library, "number_series")
        self.accumulate = _bind(library, "accumulate")
        self.means = _bind(library, "means")
        self.latest = _bind(library, "latest")
        self.counts = _bind(library, "counts")
        self.track_baseline = _bind(library, "track_baseline")
        self.weigh_season = _bind(library, "weigh_season")
        self.adjust_season = _bind(library, "adjust_season")
        self.write_events = _bind(library, "write_events")
        self.write_floats = _bind(library, "write_floats")


def _bind(library: ctypes.CDLL, name: str) -> Callable[..., int]:
    function = library[f"ewma_{name}"]
    function.restype = ctypes.c_int64
    kinds = _SIGNATURES[name].split()
    types: list[Any] = []
    expected: list[tuple[np.dtype[Any], bool] | None] = []
    for kind in kinds:
        if kind == "int":
            types.append(ctypes.c_uint64)
            expected.append(None)
        else:
            types += [ctypes.c_void_p, ctypes.c_int64]
            expected.append((np.dtype(kind.removeprefix(">")), kind.startswith(">")))
    function.argtypes = types

    def call(*given: _Array | int) -> int:
        arguments: list[int] = []
        for one, due in zip(given, expected, strict=True):
            if due is None:
                arguments.append(one)  # type: ignore[arg-type]  # a number
                continue
            dtype, written = due
            assert isinstance(one, np.ndarray)
            flags = one.flags
            if one.dtype != dtype or not flags.c_contiguous or (written and not flags.writeable):
                raise TypeError(f"{name} takes no {one.dtype} of this layout: give {dtype}")
            arguments += (one.__array_interface__["data"][0], one.size)
        found = int(function(*arguments))
        if found < DOUBT:
            raise ValueError(f"{name}: the arrays do not fit together")
        return found

    return call


def load(
    folder: Path = FOLDER, environment: Mapping[str, str] = os.environ
) -> tuple[Kernels | None, str]:
    """Return the kernels of a folder's library, or ``None`` and why there are none."""
    if environment.get(SWITCH) == "off":
        return None, f"{SWITCH}=off"
    path = library_path(folder)
    if not path.exists():
        return None, "they were not compiled"
    try:
        library = ctypes.CDLL(str(path))
        of = ctypes.string_at(library["ewma_digest"]).decode()
        if of != digest(folder):
            return None, "they were compiled from other sources"
        return Kernels(library), ""
    except (AttributeError, OSError) as error:  # for another platform, or damaged
        return None, str(error)


kernels, missing = load()
