"""Columns of byte strings and texts: each is as the list that it was laid out of."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import (
    SPARE,
    BytesColumn,
    TextColumn,
    copy_into,
    lay_out,
    windows,
    words_at,
)

Pieces = list[bytes | None]
Lay = Callable[[Pieces], BytesColumn]

PIECES = st.lists(st.none() | st.binary(max_size=70), max_size=20)
TEXTS = st.lists(st.text(st.characters() | st.sampled_from("\0\ud800\udfffaé€😀")), max_size=20)
UNTOUCHED = 0xEE


def scattered(pieces: Pieces) -> BytesColumn:
    """Lay byte strings backwards into a buffer that may change, with others between them."""
    data, starts, stops = bytearray(b"\xff"), list[int](), list[int]()
    for piece in pieces[::-1]:
        starts.append(len(data))
        stops.append(len(data) + (-1 if piece is None else len(piece)))
        data += (piece or b"") + b"\xff"
    return BytesColumn(
        data + SPARE, np.array(starts[::-1], np.int64), np.array(stops[::-1], np.int64)
    )


def in_an_array(pieces: Pieces) -> BytesColumn:
    """Lay byte strings into a buffer of NumPy."""
    spans = scattered(pieces)
    return BytesColumn(np.frombuffer(spans.data, np.uint8), spans.starts, spans.stops)


def utf8_of(texts: list[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def joined(pieces: Pieces) -> bytes:
    return b"".join(piece or b"" for piece in pieces)


in_any_buffer = pytest.mark.parametrize("lay", [BytesColumn.of, scattered, in_an_array])


@in_any_buffer
def test_byte_strings_are_cut_out_when_asked_for(lay: Lay) -> None:
    spans = lay([b"ab", None, b"", b"c"])
    assert (spans[0], spans[1], spans[2], spans[-1]) == (b"ab", None, b"", b"c")
    assert (len(spans), spans.sizes.tolist(), spans.nbytes) == (4, [2, -1, 0, 1], 3)
    assert spans[1:] == [None, b"", b"c"]
    assert spans[::-2] == [b"c", None]
    assert spans.take(np.array([3, 0, 3])) == [b"c", b"ab", b"c"]
    assert repr(spans) == "[b'ab', None, b'', b'c']"


def test_they_lie_end_to_end_before_spare_bytes() -> None:
    spans = BytesColumn.of([b"ab", None, b"", b"c"])
    assert spans.data == b"abc" + SPARE
    assert BytesColumn.of(spans) is spans


def test_a_column_equals_what_holds_the_same() -> None:
    spans = BytesColumn.of([b"a", None])
    assert spans == scattered([b"a", None])
    assert spans != [b"a", b""]
    assert spans != BytesColumn.of([b"a"])
    with pytest.raises(TypeError, match="unhashable"):
        hash(spans)


@pytest.mark.parametrize("at", [2, -3])
@pytest.mark.parametrize("column", [BytesColumn.of([b"a", None]), TextColumn.of(["a", "b"])])
def test_there_is_nothing_beyond_the_ends(column: BytesColumn | TextColumn, at: int) -> None:
    with pytest.raises(IndexError):
        column[at]


def test_what_stops_before_it_starts_is_null_however_far() -> None:
    spans = BytesColumn(b"abcdef" + SPARE, np.array([5, 1, 2]), np.array([0, 0, 4]))
    assert spans == [None, None, b"cd"]
    assert (spans.sizes.tolist(), spans.nbytes) == ([-1, -1, 2], 2)
    assert spans.packed() == b"cd"


@in_any_buffer
@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [None],
        [b""],
        [b"ab", None],
        [None, b"ab"],
        [None, b"a", None],
        [b"a", b"b", None, b"c", b"dd"],
        [b"abc", None, None, b"d", b""],
    ],
)
def test_nulls_have_no_bytes_wherever_they_stand(lay: Lay, pieces: Pieces) -> None:
    spans = lay(pieces)
    assert spans.packed() == joined(pieces)
    assert pickle.loads(pickle.dumps(spans)) == pieces
    assert BytesColumn.concat([spans, spans]) == pieces * 2


def test_a_null_before_what_ends_where_it_stands_takes_nothing_away() -> None:
    spans = BytesColumn.of([b"abc", b"d", None]).take(np.array([2, 1]))
    assert spans == [None, b"d"]
    assert spans.packed() == b"d"


@in_any_buffer
@given(PIECES)
def test_a_column_is_as_its_list(lay: Lay, pieces: Pieces) -> None:
    spans = lay(pieces)
    assert list(spans) == pieces == [spans[i] for i in range(len(spans))]
    assert spans.sizes.tolist() == [-1 if piece is None else len(piece) for piece in pieces]
    assert spans.nbytes == len(joined(pieces))
    assert all(type(piece) is bytes for piece in spans if piece is not None)


@in_any_buffer
@given(PIECES, st.slices(20), st.lists(st.integers(-20, 19)))
def test_taking_and_slicing_are_those_of_a_list(
    lay: Lay, pieces: Pieces, where: slice, places: list[int]
) -> None:
    at = [place for place in places if -len(pieces) <= place < len(pieces)]
    taken = lay(pieces).take(np.array(at, np.intp))
    assert taken == [pieces[i] for i in at]
    assert taken.packed() == joined([pieces[i] for i in at])
    assert lay(pieces)[where] == pieces[where]
    assert lay(pieces)[where].packed() == joined(pieces[where])


@in_any_buffer
@given(st.lists(PIECES, min_size=1, max_size=4))
def test_joining_is_that_of_lists(lay: Lay, parts: list[Pieces]) -> None:
    spans = BytesColumn.concat([lay(part) for part in parts])
    assert spans == [piece for part in parts for piece in part]
    assert bytes(spans.data).endswith(SPARE)


@in_any_buffer
@given(PIECES)
def test_a_pickle_gives_the_same_column(lay: Lay, pieces: Pieces) -> None:
    spans = pickle.loads(pickle.dumps(lay(pieces)))
    assert spans == pieces
    assert spans.data == joined(pieces) + SPARE


@in_any_buffer
def test_what_is_joined_or_pickled_leaves_the_rest_of_the_buffer(lay: Lay) -> None:
    some = lay([b"a", bytes(1_000_000), b"b", None]).take(np.array([2, 0, 3]))
    assert len(pickle.dumps(some)) < 1000
    assert BytesColumn.concat([some, some]).data == b"baba" + SPARE
    assert len(pickle.dumps(TextColumn(some[:2]))) < 1000


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["", ""],
        ["a"],
        ["", "a", ""],
        ["\0"],
        ["\0", ""],
        ["a\0", "\0b", "c"],
        ["été", "漢", "😀"],
        ["\ud800"],
        ["\ud83d", "\ude00", "\ud83d\ude00", "😀"],
        ["\ud800\0", "\udfff"],
    ],
)
def test_any_texts_become_a_column_of_utf8(texts: list[str]) -> None:
    column = TextColumn.of(texts)
    assert list(column) == texts
    assert column == texts
    assert len(column) == len(texts)
    assert column.utf8 == utf8_of(texts)
    assert bytes(column.utf8.data).endswith(SPARE)
    assert TextColumn.of(column) is column


def test_texts_are_decoded_when_asked_for() -> None:
    texts = TextColumn.of(("a", "été", ""))
    assert (texts[1], texts[-1]) == ("été", "")
    assert texts[1:] == ["été", ""]
    assert texts != TextColumn.of(["a", "été"])
    assert repr(texts) == "['a', 'été', '']"


def test_what_is_not_text_does_not_become_a_column_of_it() -> None:
    wrong: Any = ["a", b"b"]
    with pytest.raises(TypeError):
        TextColumn.of(wrong)


@given(TEXTS)
def test_a_column_of_texts_is_as_its_list(texts: list[str]) -> None:
    column = TextColumn.of(texts)
    assert list(column) == texts == [column[i] for i in range(len(column))]
    assert column.utf8 == utf8_of(texts)
    assert pickle.loads(pickle.dumps(column)) == texts
    for lay in (scattered, in_an_array):
        assert list(TextColumn(lay([*utf8_of(texts)]))) == texts


@given(TEXTS, TEXTS, st.slices(20), st.randoms(use_true_random=False))
def test_texts_are_taken_cut_and_joined_as_in_a_list(
    first: list[str], second: list[str], where: slice, draw: random.Random
) -> None:
    column = TextColumn.concat([TextColumn.of(first), TextColumn.of(second)])
    texts = first + second
    assert column == texts
    assert column[where] == texts[where]
    at = draw.choices(range(len(texts)), k=5) if texts else []
    assert column.take(np.array(at, np.intp)) == [texts[i] for i in at]


def test_a_window_opens_at_every_byte() -> None:
    assert windows(b"abcd", 2).tolist() == [b"ab", b"bc", b"cd"]
    assert windows(b"abcd", 4).tolist() == [b"abcd"]


def test_words_are_read_at_any_place() -> None:
    words = words_at(b"\1\2" + SPARE, np.array([1, 0]), 2)
    assert words.dtype == np.uint64
    assert words.tolist() == [[2, 0], [0x0201, 0]]
    assert words_at(SPARE, np.empty(0, np.int64), 2).shape == (0, 2)


@given(st.binary(max_size=50), st.integers(1, 8), st.lists(st.integers(0, 50), max_size=9))
def test_words_are_the_little_endian_numbers_of_8_bytes(
    content: bytes, count: int, places: list[int]
) -> None:
    data = content + SPARE
    at = [min(place, len(content)) for place in places]
    expected = [
        [int.from_bytes(data[i + 8 * k : i + 8 * k + 8], "little") for k in range(count)]
        for i in at
    ]
    assert words_at(data, np.array(at, np.int64), count).tolist() == expected
    assert words_at(bytearray(data), np.array(at, np.int64), count).tolist() == expected


def copied(pieces: Pieces, gaps: list[int], order: list[int]) -> tuple[bytes, bytes]:
    """Copy byte strings into a buffer in some order, so far from each other.

    Returns what `copy_into` and what plain slicing makes of the buffer.
    """
    size, at = gaps[-1], [0] * len(pieces)
    for i, gap in zip(order, gaps, strict=False):
        at[i] = size + gap
        size = at[i] + len(pieces[i] or b"")
    into = np.full(size + gaps[-1], UNTOUCHED, np.uint8)
    expected = bytearray(into)
    for place, piece in zip(at, pieces, strict=True):
        if piece is not None:
            expected[place : place + len(piece)] = piece
    copy_into(into, np.array(at, np.int64), scattered(pieces))
    return into.tobytes(), bytes(expected)


def test_any_size_is_copied_and_no_byte_beside_it() -> None:
    for size in range(301):
        made, expected = copied([random.Random(size).randbytes(size)] * 2, [1, 0, 3], [1, 0])
        assert made == expected, size


def test_many_sizes_are_copied_together() -> None:
    draw = random.Random(1)
    pieces: Pieces = [draw.randbytes(size) for size in [*range(301), 5000]]
    order = draw.sample(range(len(pieces)), len(pieces))
    made, expected = copied(pieces, draw.choices([0, 0, 1, 9], k=len(pieces) + 1), order)
    assert made == expected


@given(PIECES, st.randoms(use_true_random=False))
def test_copying_is_as_plain_slicing(pieces: Pieces, draw: random.Random) -> None:
    order = draw.sample(range(len(pieces)), len(pieces))
    made, expected = copied(pieces, draw.choices(range(4), k=len(pieces) + 1), order)
    assert made == expected


Columns = list[bytes | list[bytes]]


def check_laid_out(columns: Columns, n: int, lay: Lay) -> None:
    pieces = [column if isinstance(column, bytes) else lay([*column]) for column in columns]
    spans = lay_out(pieces, n)
    assert spans == [
        b"".join(column if isinstance(column, bytes) else column[i] for column in columns)
        for i in range(n)
    ]
    assert bytes(spans.data).endswith(SPARE)


@in_any_buffer
@pytest.mark.parametrize(
    ("columns", "n"),
    [
        ([b"<", [b"a", b"bcd"], b">"], 2),
        ([b"<", [b"bcd", b"a"], b">"], 2),
        ([[b"bcd", b"a"], b"", [b"", b"ef"], b""], 2),
        ([[b"", b""], b"x"], 2),
        ([[b"", b""]], 2),
        ([b"x" * 300, [b"y" * 64, b"y"], [b"z", b"z" * 65], b"x" * 64, [b"", b"y"]], 2),
        ([b"x"], 3),
        ([b""], 3),
        ([], 3),
        ([[b"a"]], 1),
    ],
)
def test_pieces_are_laid_end_to_end(lay: Lay, columns: Columns, n: int) -> None:
    check_laid_out(columns, n, lay)


def test_pieces_may_lie_in_any_order_and_more_than_once() -> None:
    words = BytesColumn.of([b"a", b"bcd", b"ef"]).take(np.array([1, 1, 2, 0]))
    laid = lay_out([words, b"-", words[::-1]], 4)
    assert laid == [b"bcd-a", b"bcd-ef", b"ef-bcd", b"a-bcd"]
    assert bytes(laid.data).endswith(SPARE)


def test_pieces_of_any_size_are_laid_out() -> None:
    draw = random.Random(1)
    for size in range(301):
        some = [draw.randbytes(size), draw.randbytes(draw.randrange(size + 1)), b""]
        fixed = draw.randbytes(size)
        check_laid_out([draw.sample(some, 3), fixed, draw.sample(some, 3), b"x"], 3, scattered)
        check_laid_out([fixed, draw.sample(some, 3)], 3, scattered)


@in_any_buffer
@given(
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.lists(pieces_of(n), max_size=5)))
)
def test_laying_out_is_as_joining(lay: Lay, some: tuple[int, Columns]) -> None:
    n, columns = some
    check_laid_out(columns, n, lay)


def pieces_of(n: int) -> st.SearchStrategy[bytes | list[bytes]]:
    piece = st.binary(max_size=20) | st.builds(
        bytes.__mul__, st.binary(max_size=4), st.integers(0, 75)
    )
    return piece | st.lists(piece, min_size=n, max_size=n)


def test_what_is_little_of_a_buffer_gets_one_of_its_own() -> None:
    spans = BytesColumn.of([b"abc", None, *[bytes(100)] * 9])
    little, much = spans[:2], spans[2:]
    assert little.lean() == little
    assert len(little.lean().data) == 3 + len(SPARE)
    assert much.lean() is much


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda data: np.frombuffer(data, np.uint8)])
def test_strings_are_cut_out_of_any_part_of_any_buffer(kind: Callable[[bytes], Any]) -> None:
    pieces = [b"a", b"", None, b"bcd", None]
    whole = BytesColumn.of(pieces)
    spans = BytesColumn(kind(bytes(whole.data)), whole.starts, whole.stops)
    for start in range(len(pieces) + 1):
        for stop in range(start, len(pieces) + 1):
            assert list(spans[start:stop]) == pieces[start:stop]
    assert list(TextColumn(spans.take(np.array([3, 0, 1])))) == ["bcd", "a", ""]
