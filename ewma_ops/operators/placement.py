"""The keys of shards, chosen so that Bytewax places shard s on worker s mod W of W workers.

Knows how Bytewax 0.21 places keys and parts; must not know what a shard holds.

Bytewax assigns the parts of a source or sink to the workers in turn, in the order of their names:
input partition p is read by worker p mod W. A key of a stateful step goes to worker
SipHash-1-3(key) mod W. Kafka's default partitioner sends a series to partition h mod P, with h the
31-bit murmur2 of its id, and the shard of a series is h mod S. So if W divides P and S, a reading
that is read on worker h mod W has its state there too, and nothing moves between processes.
Otherwise results are the same, but readings move.

The keys are part of the recovery store: never change them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

__all__ = ["WORKERS", "placed_by", "shard_keys"]

WORKERS = 720
"""Keys are aligned for every number of workers that divides this: 1 to 6, 8, 9, 10, 12, 15, 16."""

_AT_ONCE, _PORTIONS = 16, 18
"""How many shards keys are searched for at once, and into how many portions the endings are split:
sized for the processor's cache."""

_KEY_END = 0xFF
"""Rust appends this byte to text that it hashes."""


@lru_cache(maxsize=32)
def shard_keys(shards: int) -> tuple[str, ...]:
    """Return the key of each shard, from 0: its number, and an ending that places it.

    About 0.2 ms a shard, once in a process.

    Examples
    --------
    >>> keys = shard_keys(3)
    >>> keys, [placed_by(key) % 4 for key in keys]
    (('0000-aax', '0001-deq', '0002-cbh'), [0, 1, 2])
    """
    prefixes = np.frombuffer("".join(f"{n:04d}-\0\0\0" for n in range(shards)).encode(), "<u8")
    found = np.zeros(shards, np.uint64)
    for start in range(0, shards, _AT_ONCE):
        left = np.arange(start, min(start + _AT_ONCE, shards))
        for endings in np.array_split(_endings(), _PORTIONS):
            keys = prefixes[left, None] | endings
            placed = _siphash(keys.ravel()).reshape(keys.shape) % np.uint64(WORKERS)
            fits = placed == (left % WORKERS)[:, None].astype(np.uint64)
            there = fits.any(axis=1)
            found[left[there]] = keys[there, fits[there].argmax(axis=1)]
            left = left[~there]
            if not len(left):
                break
    return tuple(np.ascontiguousarray(found, "<u8").view("S8").astype(str).tolist())


def _endings() -> NDArray[np.uint64]:
    """Return all triples of letters, as the last three bytes of a word."""
    triples = "".join("\0" * 5 + "".join(three) for three in product(ascii_lowercase, repeat=3))
    return np.frombuffer(triples.encode(), "<u8").astype(np.uint64)


def placed_by(key: str) -> int:
    """Return the number that, modulo the workers, gives the worker of an 8-byte key."""
    return int(_siphash(np.frombuffer(key.encode(), "<u8"))[0])


def _siphash(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SipHash-1-3 with the key 0 of texts of 8 bytes each, as Rust hashes them.

    Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.
    """
    a, b, c, d = (
        np.full(len(words), start, np.uint64)
        for start in (
            0x736F6D6570736575,
            0x646F72616E646F6D,
            0x6C7967656E657261,
            0x7465646279746573,
        )
    )
    last = np.full(len(words), 9 << 56 | _KEY_END, np.uint64)
    for word in (words, last):
        d ^= word
        a, b, c, d = _round(a, b, c, d)
        a ^= word
    c ^= np.uint64(0xFF)
    for _ in range(3):
        a, b, c, d = _round(a, b, c, d)
    return a ^ b ^ c ^ d


_Words = NDArray[np.uint64]


def _round(a: _Words, b: _Words, c: _Words, d: _Words) -> tuple[_Words, _Words, _Words, _Words]:
    a, c = a + b, c + d
    b, d = _turned(b, 13) ^ a, _turned(d, 16) ^ c
    a, c = _turned(a, 32) + d, c + b
    b, d = _turned(b, 17) ^ c, _turned(d, 21) ^ a
    return a, b, _turned(c, 32), d


def _turned(words: _Words, bits: int) -> _Words:
    return words << np.uint64(bits) | words >> np.uint64(64 - bits)
