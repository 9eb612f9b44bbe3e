"""Numbers and marks in columns of text, eight bytes at a time.

Knows ASCII; must not know formats, readings, or what is wrong with a text.

Bytes are found in words as in Warren, "Hacker's Delight", 2nd ed., section 6-1; digits are put
together by twos, fours and eights as in Lemire, "Number parsing at a gigabyte per second", 2021;
and a decimal of at most 15 digits is a quotient of two exact floats, rounded once (Clinger, "How to
read floating point numbers accurately", 1990).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import Buffer, BytesColumn, words_at
from ewma_ops.compiled import library

__all__ = [
    "Mask",
    "any_of",
    "are_plain",
    "behind",
    "equal_to",
    "is_plain",
    "read_floats",
    "read_integers",
    "read_text_floats",
    "special",
    "until",
]

Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]

_WORD = 8
_WINDOW = 64
_LONGEST = 128
_MOST_DIGITS = 15
_HIGHEST_AHEAD = (2**63 - 1) // 10**16
"""What stands before the last 16 digits of an int64 is below it, or may be too large."""


def _each(byte: int | str) -> np.uint64:
    """Return a word of eight times the same byte."""
    return np.uint64((ord(byte) if isinstance(byte, str) else byte) * 0x0101010101010101)


_LOWS, _TOPS, _EVERY_ZERO, _BLANKS = _each(1), _each(0x80), _each("0"), _each(" ")
_QUOTES, _BACKSLASHES, _POINTS = _each('"'), _each("\\"), _each(".")
_FIRST, _ZERO, _MINUS = np.uint64(0xFF), np.uint64(ord("0")), np.uint64(ord("-"))
_ABOVE_NINE = _each(0x80 - 10)
_ONE, _TOP, _HIGHEST = np.uint64(1), np.uint64(7), np.uint64(56)
_JOINS = tuple(  # of neighbours: what the first is times, where the second is, what is kept
    (np.uint64(times), np.uint64(shift), np.uint64(kept))
    for times, shift, kept in (
        (10, 8, 0x00FF00FF00FF00FF),
        (100, 16, 0x0000FFFF0000FFFF),
        (10_000, 32, 0x00000000FFFFFFFF),
    )
)
_POWERS = 10.0 ** np.arange(_MOST_DIGITS + 1)
_decode_floats = msgspec.json.Decoder(list[float | None]).decode
_decode_float = msgspec.json.Decoder(float | None).decode


def is_plain(texts: BytesColumn) -> bool:
    """Return whether texts stand in JSON as they are, and none is long.

    Examples
    --------
    >>> is_plain(BytesColumn.of([b"a", b"b c"])), is_plain(BytesColumn.of([b"a", b'"b"']))
    (True, False)
    """
    return bool(are_plain(texts).all())


def are_plain(texts: BytesColumn) -> Mask:
    """Return which texts stand in JSON as they are, and are not long."""
    ends = until(texts.data, texts.starts, texts.stops, escaped)
    plain: Mask = ends == texts.stops
    return plain


def read_integers(
    spans: BytesColumn, most_digits: int | None = None
) -> tuple[NDArray[np.int64], Mask]:
    """Read whole numbers >= 0; return which of n spans are one.

    Of at most 15 digits, as a float64 holds exactly, or of ``most_digits``, which may be up to 19.

    Examples
    --------
    >>> read_integers(BytesColumn.of([b"1700000000000", b"1.5", b"-1", b"01"]))[0][:1].tolist()
    [1700000000000]
    >>> read_integers(BytesColumn.of([b"1700000000000000001"]), 19)[0].tolist()
    [1700000000000000001]
    """
    most = _MOST_DIGITS if most_digits is None else most_digits
    if library.kernels is not None:
        integers, read = np.empty(len(spans), np.int64), np.empty(len(spans), np.bool_)
        library.kernels.read_integers(*spans.arrays(), most, integers, read.view(np.uint8))
        return integers, read
    data, starts, sizes = spans.data, spans.starts, spans.sizes
    word = words_at(data, starts, 1)[:, 0]
    good = (sizes > 0) & (sizes <= most)
    good &= (word & _FIRST != _ZERO) | (sizes == 1)
    before = np.zeros(len(sizes), np.int64)
    if most > 2 * _WORD and (sizes > 2 * _WORD).any():
        long = np.clip(sizes - 2 * _WORD, 0, _WORD)
        before, fine = _digits(word, long)
        good &= (fine | (long == 0)) & (before < _HIGHEST_AHEAD)
        starts, sizes = starts + long, sizes - long
        word = words_at(data, starts, 1)[:, 0]
    ahead = np.clip(sizes - _WORD, 0, _WORD)
    high, high_good = _digits(word, np.where(ahead > 0, ahead, np.clip(sizes, 0, _WORD)))
    low, low_good = _digits(words_at(data, starts + ahead, 1)[:, 0], np.clip(sizes, 0, _WORD))
    good &= low_good & (high_good | (ahead == 0))
    values = np.where(ahead > 0, high * 10**_WORD + low, low)
    return before * 10 ** (2 * _WORD) + values, good


def read_floats(spans: BytesColumn, asked: Mask) -> tuple[NDArray[np.float64], Mask]:
    """Read the numbers among the spans that are asked for (bool[n]); return which are numbers.

    Null is one, and NaN.

    Examples
    --------
    >>> numbers = BytesColumn.of([b"-1.5", b"1e3", b"null", b"x"])
    >>> read_floats(numbers, np.array([True, True, True, False]))
    (array([  -1.5, 1000. ,    nan,    0. ]), array([ True,  True,  True, False]))
    """
    values, good = _decimals(spans)
    good &= asked
    odd = np.flatnonzero(asked & ~good)
    if len(odd):
        values[odd], good[odd] = _one_by_one([piece or b"" for piece in spans.take(odd)])
    return values, good


def read_text_floats(spans: BytesColumn, asked: Mask) -> tuple[NDArray[np.float64], Mask]:
    """Like `read_floats`, for text without null; -0 is left to other readers.

    JSON's -0 is an integer, and so 0; that of text is a float with a sign.
    """
    values, good = read_floats(spans, asked)
    zeros = good & (values == 0.0)
    if zeros.any():
        zeros &= np.frombuffer(spans.data, np.uint8)[spans.starts] == np.uint8(_MINUS)
        good &= ~zeros
    return values, good & ~np.isnan(values)


def _one_by_one(numbers: list[bytes]) -> tuple[list[float | None], list[bool]]:
    """Do as `read_floats`: all together, or if there is one that is none by itself."""
    with suppress(msgspec.MsgspecError):
        read = _decode_floats(b"[%b]" % b",".join(numbers))
        if len(read) == len(numbers):
            return read, [True] * len(read)
    values: list[float | None] = [0.0] * len(numbers)
    good = [False] * len(numbers)
    for i, number in enumerate(numbers):
        with suppress(msgspec.MsgspecError):
            values[i], good[i] = _decode_float(number), True
    return values, good


def _decimals(spans: BytesColumn) -> tuple[NDArray[np.float64], Mask]:
    """Read numbers of at most 15 digits, 7 of them before the point and 8 behind it."""
    if library.kernels is not None:  # a few more than these
        decimals, read = np.empty(len(spans)), np.empty(len(spans), np.bool_)
        library.kernels.read_decimals(*spans.arrays(), decimals, read.view(np.uint8))
        return decimals, read
    data, starts, sizes = spans.data, spans.starts, spans.sizes
    word = words_at(data, starts, 1)[:, 0]
    negative = word & _FIRST == _MINUS
    if negative.any():
        starts, sizes = starts + negative, sizes - negative
        word = words_at(data, starts, 1)[:, 0]
    whole = np.minimum(_leading(_zeros(word ^ _POINTS)), sizes)
    after = np.maximum(sizes - whole - 1, 0)
    good = (whole > 0) & (after <= _WORD)
    good &= (whole < _WORD) | (sizes == _WORD)
    good &= (after > 0) | (whole == sizes)
    good &= (word & _FIRST != _ZERO) | (whole == 1)
    before, fine = _digits(word, np.clip(whole, 0, _WORD))
    good &= fine
    after = np.clip(after, 0, _WORD)
    word = words_at(data, starts + np.where(after > 0, whole + 1, 0), 1)[:, 0]
    behind, fine = _digits(word, after)
    good &= fine
    scale = _POWERS[after]
    values = (before * scale + behind) / scale
    good &= ~negative | (values != 0.0)
    return np.where(good, np.where(negative, -values, values), 0.0), good


def _digits(words: Words, sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], Mask]:
    """Read the number that the first 0 to 8 bytes of words spell; return which are digits only."""
    half = (_WORD - sizes).astype(np.uint64) << np.uint64(2)  # of the bits, as 64 are too many
    digits = (words ^ _EVERY_ZERO) << half << half
    fine = ((digits + _ABOVE_NINE) | digits) & _TOPS == 0
    for times, shift, kept in _JOINS:
        digits = (digits * times + (digits >> shift)) & kept
    return digits.astype(np.int64), fine


def _stands_at(data: Buffer, at: NDArray[np.int64], text: bytes) -> Mask:
    """Tell at which places up to 64 bytes stand."""
    count = -(-len(text) // _WORD)
    padding = bytes(count * _WORD - len(text))
    own = np.frombuffer(text + padding, "<u8")
    kept = np.frombuffer(b"\xff" * len(text) + padding, "<u8")
    differ = (words_at(data, at, count) ^ own) & kept
    stands: Mask = differ[:, 0] == 0
    for i in range(1, count):
        stands &= differ[:, i] == 0
    return stands


def behind(
    data: Buffer, at: NDArray[np.int64], stops: NDArray[np.int64], text: bytes, matches: Mask
) -> NDArray[np.int64]:
    """Return where a text ends that begins at some places; what has another one does not match."""
    for start in range(0, len(text), _WINDOW):
        piece = text[start : start + _WINDOW]
        matches &= _stands_at(data, np.minimum(at + start, stops), piece)
    return at + len(text)


def until(
    data: Buffer,
    at: NDArray[np.int64],
    stops: NDArray[np.int64],
    ends: Callable[[Words], Words],
) -> NDArray[np.int64]:
    """Return the place of the first byte from ``at`` on that ends what begins there."""
    until: NDArray[np.int64] = np.minimum(at + _leading_of_two(ends(words_at(data, at, 2))), stops)
    rows = np.flatnonzero((until == at + 2 * _WORD) & (until < stops))
    for _ in range(_LONGEST // (2 * _WORD) - 1):
        if not len(rows):
            break
        ahead = _leading_of_two(ends(words_at(data, until[rows], 2)))
        until[rows] = np.minimum(until[rows] + ahead, stops[rows])
        rows = rows[(ahead == 2 * _WORD) & (until[rows] < stops[rows])]
    return until


def escaped(words: Words) -> Words:
    """Mark quotes, backslashes and control characters."""
    marked = (words - _BLANKS) & ~words
    return marked | _zeros(words ^ _QUOTES) | _zeros(words ^ _BACKSLASHES)


def special(words: Words) -> Words:
    """Mark what is escaped, and what is not ASCII."""
    return escaped(words) | words


def equal_to(byte: int) -> Callable[[Words], Words]:
    """Return what marks a byte in words."""
    each = _each(byte)
    return lambda words: _zeros(words ^ each)


def any_of(marks: bytes) -> Callable[[Words], Words]:
    """Return what marks some bytes in words."""
    first, *others = map(_each, dict.fromkeys(marks))

    def ends(words: Words) -> Words:
        marked = _zeros(words ^ first)
        for each in others:
            marked |= _zeros(words ^ each)
        return marked

    return ends


def _zeros(words: Words) -> Words:
    """Mark zero bytes, by their top bit: the first, and what is behind it not reliably."""
    return (words - _LOWS) & ~words


def _leading(marked: Words) -> NDArray[np.int64]:
    """Return how many bytes of each word come before the first whose top bit is set."""
    marked = marked & _TOPS
    ahead = ((marked & -marked) >> _TOP) - _ONE  # of the lowest bit that is set
    counts: NDArray[np.int64] = ((ahead & _LOWS) * _LOWS >> _HIGHEST).astype(np.int64)
    return counts


def _leading_of_two(marked: Words) -> NDArray[np.int64]:
    """Like `_leading`, for two words each, ``[n, 2]``, end to end."""
    first, second = _leading(marked).T
    counts: NDArray[np.int64] = np.where(first == _WORD, first + second, first)
    return counts
