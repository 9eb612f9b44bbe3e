"""Search over series ids: against the standard library's patterns, and for very many ids."""

from __future__ import annotations

import fnmatch
import random
import time

import pytest

from ewma_ops.columns.byte_columns import TextColumn
from ewma_ops.watch.search import Search, by_name, matching
from tests.helpers.patience import slowness


@pytest.mark.slow
def test_texts_and_patterns_match_as_in_the_standard_library() -> None:
    chance = random.Random(1)
    made = (
        "".join(chance.choice("ab/\u00e9*B") for _ in range(chance.randrange(9)))
        for _ in range(3000)
    )
    ids = list(dict.fromkeys(made))
    column = TextColumn.of(ids)
    for _ in range(400):
        asked = "".join(chance.choice("ab\u00e9?*/") for _ in range(chance.randrange(1, 5)))
        pattern = asked if set(asked) & set("*?") else f"*{asked}*"
        if not asked.strip("*"):
            pattern = "*"
        right = [i for i, one in enumerate(ids) if fnmatch.fnmatchcase(one.lower(), pattern)]
        assert matching(column, asked).tolist() == right, asked


def test_a_text_does_not_reach_from_one_id_into_the_next() -> None:
    assert matching(TextColumn.of(["ab", "cd", "bc"]), "bc").tolist() == [2]
    assert matching(TextColumn.of([]), "bc").tolist() == []


def test_names_are_in_the_order_of_their_bytes() -> None:
    chance = random.Random(2)
    made = (
        "".join(chance.choice("ab\u00e9\U0001f600\0") for _ in range(chance.randrange(20)))
        for _ in range(2000)
    )
    ids = list(dict.fromkeys(made))
    right = sorted(ids, key=lambda one: (one.encode(), ids.index(one)))
    found = [ids[i] for i in by_name(TextColumn.of(ids)).tolist()]
    assert [one.rstrip("\0") for one in found] == [one.rstrip("\0") for one in right]


def test_of_ids_that_come_later_only_those_are_looked_through() -> None:
    search, ids = Search("b"), ["ab", "c"]
    assert search.rows(TextColumn.of(ids), 0).tolist() == [0]
    assert search.looked == 2
    assert search.rows(TextColumn.of(["b"]), 2).tolist() == [0, 2]


@pytest.mark.slow
def test_a_million_ids_are_searched_in_a_fifth_of_a_second() -> None:
    ids = TextColumn.of([f"plant{i % 7}/line{i % 13}/sensor{i:07}" for i in range(1_000_000)])
    for asked, many in [("sensor0999999", 1), ("line7/", 76_923), ("plant3/*", 142_857)]:
        took = []
        for _ in range(3):
            began = time.perf_counter()
            assert len(matching(ids, asked)) == many
            took.append(time.perf_counter() - began)
        assert min(took) < 0.2 * slowness(), (asked, took)
