"""Rows of series ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.columns.murmur2 import murmur2_column
from ewma_ops.compiled import library
from ewma_ops.errors import StateError
from ewma_ops.table import id_hashes
from ewma_ops.table import index as module
from ewma_ops.table.index import SeriesIndex

Lay = Callable[[list[str]], Sequence[str]]

IDS = st.lists(st.text(max_size=12), max_size=40)
ANY_TEXT = st.text(st.characters() | st.sampled_from("\0\ud800aé€😀"), max_size=20)
LONG_TEXT = st.builds("".join, st.lists(ANY_TEXT.map(lambda text: text * 9), max_size=4))
SIZES = [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1000]
FEW_HASHES = [0, 1, 2**31 - 1]


def index_of(*batches: list[str]) -> SeriesIndex:
    index = SeriesIndex()
    for batch in batches:
        index.locate(batch)
    return index


def utf8_of(series_id: str) -> bytes:
    return series_id.encode("utf-8", "surrogatepass")


def abutting(ids: list[str]) -> TextColumn:
    """Lay ids so that another one follows on each."""
    return TextColumn(BytesColumn.of(list(map(utf8_of, ids))))


def alike(size: int) -> list[str]:
    """Return ids of so many bytes that differ in one of them, or in how many end them."""
    plain, at = "a" * size, {0, size // 2, size - 1} if size else set()
    ends = [plain[: size - n] + "\0" * n for n in (1, 2, 8, size) if n <= size]
    wide = ["é" * (size // 2) + "a" * (size % 2)]
    changed = [plain[:i] + "b" + plain[i + 1 :] for i in sorted(at)]
    return list(dict.fromkeys([plain, *changed, *wide, *ends]))


in_any_column = pytest.mark.parametrize("lay", [list, TextColumn.of, abutting])


def test_rows_are_given_in_order() -> None:
    index = SeriesIndex()
    assert index.locate(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert index.locate(["c", "a"]).tolist() == [2, 1]
    assert len(index) == 3


@given(IDS, IDS)
def test_what_is_encoded_extends_another_to_the_same(first: list[str], second: list[str]) -> None:
    index = index_of(first, second)
    other = SeriesIndex()
    other.extend(*index.encoded())
    assert other.ids() == index.ids() == list(dict.fromkeys(first + second))
    assert other.hashes().tolist() == murmur2_column(index.ids()).tolist()


@given(IDS, IDS)
def test_hashes_keep_up_with_new_ids(first: list[str], second: list[str]) -> None:
    index = index_of(first)
    index.hashes()
    index.locate(second)
    assert index.hashes().tolist() == murmur2_column(index.ids()).tolist()


def test_some_rows_are_encoded_and_kept() -> None:
    index = index_of(["a", "été", "", "\ud800", "bb"])
    ids, sizes = index.encoded(np.array([4, 1, 3]))
    assert (ids, sizes.tolist()) == ("bbété\ud800".encode("utf-8", "surrogatepass"), [2, 5, 3])
    index.keep(np.array([1, 4]))
    assert index.ids() == ["été", "bb"]
    assert index.locate(["bb", "a"]).tolist() == [1, 2]
    assert index.encoded()[0] == "étébba".encode()
    assert index.hashes().tolist() == murmur2_column(["été", "bb", "a"]).tolist()


@pytest.mark.parametrize("ids", [["b", "a"], ["c", "c"]])
def test_an_id_that_is_there_already_changes_nothing(ids: list[str]) -> None:
    index = index_of(["a"])
    encoded = [series_id.encode() for series_id in ids]
    with pytest.raises(StateError, match="twice"):
        index.extend(b"".join(encoded), np.array([1, 1], np.uint32))
    assert index.ids() == ["a"]
    assert index.encoded()[0] == b"a"


def hashes_of(texts: TextColumn) -> NDArray[np.uint64]:
    return id_hashes.hashes_of(texts, id_hashes.heads_of(texts))


@pytest.fixture
def few_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)


@pytest.fixture(params=[1, 3])
def few_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give all ids one of so many hashes, and all of these the first slot or the last."""
    of = FEW_HASHES[-request.param :]

    def hash_one(utf8: bytes) -> int:
        return of[sum(utf8) % len(of)]

    def hashes(texts: TextColumn, _: object) -> NDArray[np.uint64]:
        return np.array([hash_one(utf8_of(text)) for text in texts], np.uint64)

    monkeypatch.setattr(id_hashes, "hash_one", hash_one)
    monkeypatch.setattr(id_hashes, "hashes_of", hashes)
    monkeypatch.setattr(library, "kernels", None)  # they have hashes of their own


def rows_are_those_of_a_dictionary(batches: list[list[str]], lay: Lay) -> None:
    index, rows = SeriesIndex(), dict[str, int]()
    for batch in batches:
        known = dict(rows)
        assert [index.find(series_id) for series_id in batch] == list(map(known.get, batch))
        expected = [rows.setdefault(series_id, len(rows)) for series_id in batch]
        assert index.locate(lay(batch)).tolist() == expected
        assert [index.find(series_id) for series_id in batch] == expected
    assert index.ids() == list(rows)
    assert index.locate(lay(list(rows))).tolist() == list(range(len(rows)))


@in_any_column
@pytest.mark.usefixtures("few_remembered")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(ANY_TEXT, max_size=30), max_size=4))
def test_rows_are_those_of_a_dictionary(lay: Lay, batches: list[list[str]]) -> None:
    rows_are_those_of_a_dictionary(batches, lay)


@pytest.mark.slow
@in_any_column
@pytest.mark.usefixtures("few_remembered", "few_hashes")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(LONG_TEXT, max_size=10), max_size=4))
def test_rows_of_ids_that_share_a_hash_are_too(lay: Lay, batches: list[list[str]]) -> None:
    rows_are_those_of_a_dictionary(batches, lay)


@pytest.mark.slow
@given(IDS, IDS, st.data())
def test_rows_go_up_when_some_are_kept(
    first: list[str], second: list[str], data: st.DataObject
) -> None:
    index = index_of(first)
    ids = index.ids()
    rows = data.draw(st.lists(st.sampled_from(range(len(ids))), unique=True)) if ids else []
    index.keep(np.array(rows, np.intp))
    kept = [ids[row] for row in rows]
    assert index.ids() == kept
    assert [index.find(series_id) for series_id in kept] == list(range(len(kept)))
    assert all(index.find(series_id) is None for series_id in set(ids) - set(kept))
    expected = list(dict.fromkeys(kept + second))
    assert index.locate(second).tolist() == [expected.index(series_id) for series_id in second]


@in_any_column
@pytest.mark.usefixtures("few_remembered")
@pytest.mark.parametrize("size", SIZES)
def test_ids_of_any_size_that_differ_in_a_byte_have_rows_of_their_own(lay: Lay, size: int) -> None:
    ids = alike(size)
    index = SeriesIndex()
    assert [index.find(series_id) for series_id in ids] == [None] * len(ids)
    assert index.locate(lay(ids)).tolist() == list(range(len(ids)))
    assert index.locate(lay(ids[::-1])).tolist() == list(range(len(ids)))[::-1]
    assert [index.find(series_id) for series_id in ids] == list(range(len(ids)))
    assert index.find("c" * size + "c") is None


@in_any_column
@pytest.mark.usefixtures("few_remembered")
def test_ids_of_many_sizes_have_rows_of_their_own(lay: Lay) -> None:
    ids = list(dict.fromkeys(series_id for size in SIZES for series_id in alike(size)))
    index = SeriesIndex()
    assert index.locate(lay(ids)).tolist() == list(range(len(ids)))
    for series_id in ids:
        assert index.locate(lay([series_id])).tolist() == [index.find(series_id)]
    assert index.locate(lay(ids * 2)).tolist() == list(range(len(ids))) * 2


@in_any_column
@pytest.mark.usefixtures("few_remembered")
def test_zeros_at_the_end_count(lay: Lay) -> None:
    ids = ["a" * size + "\0" * zeros for size in (0, 1, 7, 8) for zeros in range(20)]
    index = index_of(ids[::2])
    rows = index.locate(lay(ids)).tolist()
    assert rows[::2] == list(range(40))
    assert rows[1::2] == list(range(40, 80))
    assert [index.find(series_id) for series_id in ids] == rows


@in_any_column
@pytest.mark.usefixtures("few_remembered", "few_hashes")
def test_ids_that_share_a_hash_have_rows_of_their_own(lay: Lay) -> None:
    ids = list(dict.fromkeys(series_id for size in SIZES for series_id in alike(size)))
    index = index_of(ids[:20])
    assert index.locate(lay(ids[::-1])).tolist() == [*range(20, len(ids)), *range(20)[::-1]]
    ids[20:] = ids[:19:-1]
    assert index.ids() == ids
    assert index.locate(lay(ids)).tolist() == list(range(len(ids)))
    assert [index.find(series_id) for series_id in ids] == list(range(len(ids)))
    assert index.find("b" * 1000) is None
    assert index.find("\0" * 21) is None


@in_any_column
@pytest.mark.usefixtures("few_hashes")
@pytest.mark.parametrize("size", SIZES)
def test_an_id_is_not_taken_for_one_that_shares_its_hash(lay: Lay, size: int) -> None:
    first, *others = alike(size)
    for other in others:
        index = index_of([first])
        assert index.find(other) is None
        assert index.locate(lay([other, first])).tolist() == [1, 0]


@pytest.mark.usefixtures("few_remembered", "few_hashes")
def test_ids_that_share_a_hash_are_kept_encoded_and_put_back() -> None:
    ids = [f"s{i}" for i in range(40)]
    index = index_of(ids)
    index.keep(np.arange(39, -1, -3))
    kept = ids[::-3]
    assert index.ids() == kept
    assert index.find("s38") is None
    assert index.locate(["s38", "s39", "s0"]).tolist() == [14, 0, 13]
    other = index_of(["t"])
    other.extend(*index.encoded())
    assert other.ids() == ["t", *kept, "s38"]
    assert other.locate(kept).tolist() == list(range(1, 15))
    with pytest.raises(StateError, match="twice"):
        other.extend(*index.encoded(np.array([14])))


@in_any_column
@pytest.mark.usefixtures("few_remembered", "few_hashes")
def test_ids_that_share_a_hash_grow_the_index(lay: Lay) -> None:
    ids = [f"s{i}" for i in range(600)]
    index = index_of(ids[:500])
    assert index.locate(lay(ids)).tolist() == list(range(600))
    assert index.find("s600") is None


@pytest.mark.slow
@given(st.lists(LONG_TEXT, max_size=20))
def test_an_id_has_one_hash_alone_and_in_any_column(ids: list[str]) -> None:
    alone = [id_hashes.hash_one(utf8_of(series_id)) for series_id in ids]
    assert hashes_of(TextColumn.of(ids)).tolist() == alone
    assert hashes_of(abutting(ids)).tolist() == alone
    assert all(0 <= hashed < 2**31 for hashed in alone)


@pytest.mark.parametrize("lay", [TextColumn.of, abutting])
@pytest.mark.parametrize("size", SIZES)
def test_ids_of_any_size_have_one_hash(lay: Callable[[list[str]], TextColumn], size: int) -> None:
    ids = alike(size)
    alone = [id_hashes.hash_one(utf8_of(series_id)) for series_id in ids]
    assert hashes_of(lay(ids)).tolist() == alone
    assert hashes_of(lay(["a" * 40, *ids, ""])).tolist()[1:-1] == alone


def test_every_byte_and_its_place_tell_in_the_hash() -> None:
    changed = ["a" * i + "b" + "a" * (255 - i) for i in range(256)]
    zeros = ["\0" * size for size in range(257)]
    assert len(set(hashes_of(TextColumn.of(changed)).tolist())) > 250  # of 256 but for chance
    assert len(set(hashes_of(abutting(zeros)).tolist())) > 250


@in_any_column
def test_many_ids_grow_the_index(lay: Lay) -> None:
    ids = [f"sensor-{i}" for i in range(100_000)]
    index = index_of(ids[:10])
    index.locate(lay(ids[:70_000]))
    index.locate(lay(ids))
    assert index.locate(lay(ids[::-1])).tolist() == list(range(100_000))[::-1]
    assert index.find("sensor-99999") == 99_999
    assert index.find("sensor-100000") is None


@in_any_column
def test_an_index_that_doubles_stays_at_most_half_full(lay: Lay) -> None:
    ids = [f"sensor-{i}" for i in range(10_000)]
    index = SeriesIndex()
    for at in range(0, len(ids), 250):
        assert index.locate(lay(ids[at : at + 250])).tolist() == list(range(at, at + 250))
        assert 2 * len(index) <= len(index._slots)
        assert np.count_nonzero(index._slots != module._FREE) == len(index)
        assert index.find(ids[at // 2]) == at // 2
    assert index.locate(lay(ids)).tolist() == list(range(len(ids)))
    assert index.ids() == ids


def test_ids_that_are_not_as_long_as_told_are_refused() -> None:
    with pytest.raises(StateError, match="damaged state"):
        SeriesIndex().extend(b"abab", np.array([5, 10], np.uint8))
