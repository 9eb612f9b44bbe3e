"""Hashes of series ids, which nobody can choose ids for: of one, and of a column.

Knows the UTF-8 of ids; must not know rows, or what a hash is for.

The hash is Dietzfelbinger's multiply-shift: the upper 31 bits of b + a_1 x_1 + a_2 x_2 + ..., the x
being the 4-byte words of an id and its size, the a and b 64 random bits each. Two ids, whatever
they are, collide with a probability of 2^-31, so nobody can choose ids that collide. (Woelfel,
"Efficient strongly universal and optimally universal hashing", 1999; Thorup, "High speed hashing
for integers and strings", 2015, section 3.)
"""

from __future__ import annotations

from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import TextColumn, utf8_of, words_at

__all__ = [
    "AT_ONCE",
    "FACTORS",
    "HASH_BITS",
    "STEP",
    "bytes_of_id",
    "hash_one",
    "hashes_of",
    "heads_of",
]

HASH_BITS = 31
"""One less than fits, so that no hash equals that of a free slot."""
_HASH = (1 << HASH_BITS) - 1
_WORD = 8
STEP = 2
"""How many words of an id are processed together."""
AT_ONCE = STEP * _WORD
_KEPT = np.array(
    [
        [(1 << 8 * min(max(n - at, 0), _WORD)) - 1 for at in range(0, AT_ONCE, _WORD)]
        for n in range(AT_ONCE + 1)
    ],
    np.uint64,
)
"""Masks of words by how many of their bytes belong to the id."""
_LONGEST = 256
"""Bytes of an id that there are factors for; of longer ones Python's own hash is taken."""
_LOWER, _UPPER = np.uint64(2**32 - 1), np.uint64(32)
"""The two halves of a word."""
_UINT64 = 2**64 - 1

# Python's hash of text differs in each process, so nobody can prepare ids that collide.
# Not by numpy.random, which takes as long to import as all modules of this room.
_RANDOM = np.array(
    [hash(f"ewma_ops.table.index {i}") & _UINT64 for i in range(_LONGEST // 4 + 2)], np.uint64
)
_PLAIN_OF_WORDS, (_PLAIN_OF_SIZE, _PLAIN_ADDED) = _RANDOM[:-2].tolist(), _RANDOM[-2:].tolist()
_OF_SIZE, _ADDED = _RANDOM[-2:]
_OF_WORDS = _RANDOM[:-2].reshape(-1, STEP, 2).swapaxes(1, 2)
"""By step, lower and upper half of a word, and word of the step."""
FACTORS: tuple[NDArray[np.uint64], int, int] = _RANDOM[:-2], _PLAIN_OF_SIZE, _PLAIN_ADDED
"""Those of the words of an id (uint64[64]), that of its size, and what is added."""


def bytes_of_id(left: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return what masks the bytes of ids in `STEP` words, given the number of bytes left."""
    return _KEPT.take(np.minimum(left, AT_ONCE), axis=0)


def heads_of(texts: TextColumn) -> NDArray[np.uint64]:
    """Return the first `STEP` words of each id, uint64[n, STEP], zeros behind its end."""
    return words_at(texts.utf8.data, texts.utf8.starts, STEP) & bytes_of_id(texts.utf8.sizes)


def hashes_of(texts: TextColumn, heads: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the hash of each id, given its first words: uint64[n], of `HASH_BITS` bits."""
    left, at = texts.utf8.sizes, texts.utf8.starts
    long = np.flatnonzero(left > _LONGEST)
    total = left.astype(np.uint64) * _OF_SIZE + _ADDED
    total += _products(heads, 0)
    on = rows = np.flatnonzero(left > AT_ONCE)
    for step in range(1, len(_OF_WORDS)):
        if not len(rows):
            break
        left, at = left[on] - AT_ONCE, at[on] + AT_ONCE
        words = words_at(texts.utf8.data, at, STEP) & bytes_of_id(left)
        total[rows] += _products(words, step)
        on = np.flatnonzero(left > AT_ONCE)
        rows = rows[on]
    hashes: NDArray[np.uint64] = _mixed(total >> np.uint64(64 - HASH_BITS))
    for row in long.tolist():
        hashes[row] = hash_one(utf8_of(texts[row]))
    return hashes


def _products(words: NDArray[np.uint64], step: int) -> NDArray[np.uint64]:
    of_lower, of_upper = _OF_WORDS[step]
    products = (words & _LOWER) * of_lower + (words >> _UPPER) * of_upper
    summed: NDArray[np.uint64] = products[:, 0] + products[:, 1]
    return summed


def hash_one(utf8: bytes) -> int:
    """Do as `hashes_of`, for one id in plain Python."""
    if len(utf8) > _LONGEST:
        return hash(utf8) & _HASH
    words = memoryview(utf8 + bytes(4 - len(utf8) % 4)).cast("I")
    total = sum(map(mul, words, _PLAIN_OF_WORDS), len(utf8) * _PLAIN_OF_SIZE + _PLAIN_ADDED)
    return int(_mixed((total & _UINT64) >> 64 - HASH_BITS))


def _mixed(hashed: Any) -> Any:
    """Mix the bits: sequential ids would otherwise land in neighbouring slots."""
    hashed = (hashed ^ hashed >> 16) * 0x7FEB352D & _HASH
    return hashed ^ hashed >> 15
