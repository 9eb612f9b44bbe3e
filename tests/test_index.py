"""Rows of series ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert other.rows == index.rows
    assert list(other.rows) == list(dict.fromkeys(first + second))
    assert other.hashes().tolist() == murmur2_column(list(index.rows)).tolist()


@given(IDS, IDS)
def test_hashes_keep_up_with_new_ids(first: list[str], second: list[str]) -> None:
    index = index_of(first)
    index.hashes()
    index.locate(second)
    assert index.hashes().tolist() == murmur2_column(list(index.rows)).tolist()


def test_some_rows_are_encoded_and_kept() -> None:
    index = index_of(["a", "été", "", "\ud800", "bb"])
    ids, sizes = index.encoded(np.array([4, 1, 3]))
    assert (ids, sizes.tolist()) == ("bbété\ud800".encode("utf-8", "surrogatepass"), [2, 5, 3])
    index.keep(np.array([1, 4]))
    assert index.rows == {"été": 0, "bb": 1}
    assert index.locate(["bb", "a"]).tolist() == [1, 2]
    assert index.encoded()[0] == "étébba".encode()
    assert index.hashes().tolist() == murmur2_column(["été", "bb", "a"]).tolist()


@pytest.mark.parametrize("ids", [["b", "a"], ["c", "c"]])
def test_an_id_that_is_there_already_changes_nothing(ids: list[str]) -> None:
    index = index_of(["a"])
    encoded = [series_id.encode() for series_id in ids]
    with pytest.raises(StateError, match="twice"):
        index.extend(b"".join(encoded), np.array([1, 1], np.uint32))
    assert index.rows == {"a": 0}
    assert index.encoded()[0] == b"a"
