"""Rows of series ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ewma_ops import index as module
from ewma_ops.errors import StateError
from ewma_ops.index import SeriesIndex
from ewma_ops.murmur2 import murmur2_column

IDS = st.lists(st.text(max_size=12), max_size=40)


def index_of(*batches: list[str]) -> SeriesIndex:
    index = SeriesIndex()
    for batch in batches:
        index.locate(batch)
    return index


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


@pytest.fixture
def few_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)


@pytest.mark.usefixtures("few_remembered")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(IDS, max_size=6))
def test_rows_are_those_of_a_dictionary(batches: list[list[str]]) -> None:
    index, rows = SeriesIndex(), dict[str, int]()
    for batch in batches:
        known = dict(rows)
        assert [index.find(series_id) for series_id in batch] == list(map(known.get, batch))
        expected = [rows.setdefault(series_id, len(rows)) for series_id in batch]
        assert index.locate(batch).tolist() == expected
        assert [index.find(series_id) for series_id in batch] == expected
    assert index.ids() == list(rows)


def test_ids_with_one_hash_are_told_apart_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hash", lambda _: 7, raising=False)
    monkeypatch.setattr(module, "_REMEMBERED", 0)
    ids = ["", "a", "b", "aa", "aaaaaaaa", "aaaaaaab", "aaaaaaaaa", "été", "a" * 40, "a" * 39 + "b"]
    index = index_of(ids[:5], ids[5:])
    assert index.locate(ids[::-1]).tolist() == list(range(len(ids)))[::-1]
    assert [index.find(series_id) for series_id in ids] == list(range(len(ids)))
    assert index.find("aaaaaaac") is None


def test_many_ids_grow_the_index() -> None:
    ids = [f"sensor-{i}" for i in range(100_000)]
    index = index_of(ids[:10], ids[:70_000], ids)
    assert index.locate(ids[::-1]).tolist() == list(range(100_000))[::-1]
    assert index.find("sensor-99999") == 99_999
    assert index.find("sensor-100000") is None
