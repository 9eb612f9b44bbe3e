"""SQLite's write-ahead log, checked before SQLite reads it.

Knows the format of the log (sqlite.org/fileformat2.html, section 4); must not know what is in it.

SQLite reads a log up to the first frame that is not as its checksum says, and takes the rest for a
write that was cut short. So a bit that flips takes back all that was committed after it, in
silence. A write that was cut short has at most one commit behind the break, since each commit waits
for the disk: where there are more, the log is damaged.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_damaged"]

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = {0x377F0682: "<u4", 0x377F0683: ">u4"}
"""And the order of bytes in which the checksum reads words."""
_WORD = 2**32
_MOST_LOST = 1

_Sum = tuple[int, int]


def is_damaged(log: Path) -> bool:
    """Return whether committed frames of a log are lost to damage; False where there is no log.

    Reads the log whole. What it cannot tell from a write that was cut short is damage to the last
    commit.
    """
    data = log.read_bytes() if log.exists() else b""
    if len(data) < _HEADER.size:
        return False
    magic, _, page_size, _, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack_from(data)
    order = _MAGIC.get(magic)
    header_words = np.frombuffer(data, order or "<u4", 6)
    if order is None or _after((0, 0), header_words) != (sum_1, sum_2):
        return len(data) > _HEADER.size
    size = _FRAME.size + page_size
    n = (len(data) - _HEADER.size) // size
    if n == 0:
        return False
    frames = np.frombuffer(data, np.uint8, n * size, _HEADER.size).reshape(n, size)
    heads = [_FRAME.unpack(head) for head in frames[:, : _FRAME.size].copy()]
    valid = _valid(frames, heads, (salt_1, salt_2), (sum_1, sum_2), order)
    lost = [head for head in heads[valid:] if head[1] and head[2:4] == (salt_1, salt_2)]
    return len(lost) > _MOST_LOST


def _valid(
    frames: NDArray[np.uint8], heads: list[tuple[int, ...]], salts: _Sum, before: _Sum, order: str
) -> int:
    """Return how many frames from the first on are as they were written."""
    summed = np.concatenate([frames[:, :8], frames[:, _FRAME.size :]], axis=1).view(order)
    for i, head in enumerate(heads):
        before = _after(before, summed[i])
        if head[2:4] != salts or head[4:6] != before:
            return i
    return len(heads)


def _after(before: _Sum, words: NDArray[np.uint32]) -> _Sum:
    """Return the checksum after some words: s += x + t, t += y + s for each pair x, y of them.

    That is linear, so that each pair counts with a power of a matrix.
    """
    pairs = len(words) // 2
    powers = _powers(pairs)
    x = words[0::2].astype(np.uint32)
    y = x + words[1::2].astype(np.uint32)
    of_s, of_both, of_t = (column[pairs - 1 :: -1] for column in powers[:, :pairs])
    s, t = before
    a, b, c = (int(column[pairs]) for column in powers)
    return (
        (a * s + b * t + int(np.dot(of_s, x)) + int(np.dot(of_both, y))) % _WORD,
        (b * s + c * t + int(np.dot(of_both, x)) + int(np.dot(of_t, y))) % _WORD,
    )


_known = np.array([[1], [0], [1]], np.uint32)


def _powers(n: int) -> NDArray[np.uint32]:
    """Return the entries of the powers 0 to n of ((1, 1), (1, 2)), modulo 2^32."""
    global _known  # noqa: PLW0603 - the same for all
    if _known.shape[1] <= n:
        entries = [(1, 0, 1)]
        for _ in range(n):
            a, b, c = entries[-1]
            entries.append(((a + b) % _WORD, (b + c) % _WORD, (b + 2 * c) % _WORD))
        _known = np.array(entries, np.uint32).T.copy()
    return _known
