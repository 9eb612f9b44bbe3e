"""What ``ewma verify`` keeps of positions, against plain sets and dictionaries."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ewma_ops.columns.origins import packed
from ewma_ops.commands.positions import Order, Pending, shown

Pair = tuple[int, int]

PAIRS = st.tuples(st.integers(0, 9), st.sampled_from([0, 0, 1, 2**64 - 1]))
RUNS = st.lists(st.lists(PAIRS, max_size=8), max_size=6)


def column(pairs: list[Pair]) -> NDArray[Any]:
    offsets = np.array([offset for offset, _ in pairs], np.int64)
    return packed(offsets, np.array([ordinal for _, ordinal in pairs], np.uint64))


@given(st.sets(PAIRS), RUNS)
def test_each_position_is_found_once(added: set[Pair], runs: list[list[Pair]]) -> None:
    pending, model = Pending(), set[Pair]()
    ordered = sorted(added)
    for part in (ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]):
        pending.add(column(part), np.array([hash(pair) for pair in part], np.int64))
        model |= set(part)
    for run in runs:
        places, there = pending.find(column(run))
        firsts = [pair not in run[:i] and pair in model for i, pair in enumerate(run)]
        assert there.tolist() == firsts
        found = [pair for pair, is_there in zip(run, firsts, strict=True) if is_there]
        assert pending.digests[places[there]].tolist() == [hash(pair) for pair in found]
        pending.remove(places[there])
        model -= set(found)
        assert len(pending) == len(model)


@given(st.lists(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), PAIRS), min_size=1), max_size=5))
def test_an_event_is_late_after_a_later_one_of_its_series(
    runs: list[list[tuple[bytes, Pair]]],
) -> None:
    order, newest = Order(), dict[bytes, Pair]()
    for run in runs:
        late, latest = [], dict(newest)
        for key, pair in run:
            late.append(pair <= latest.get(key, (-1, 0)))
            latest[key] = pair  # within a run each is compared with the one before it
            newest[key] = max(pair, newest.get(key, pair))
        keys = [key for key, _ in run]
        assert order.check(3, keys, column([pair for _, pair in run])).tolist() == late
    assert not order.spread


def test_a_series_in_two_partitions_is_spread() -> None:
    order = Order()
    order.check(0, [b"a", b"b"], np.array([1, 2]))
    order.check(1, [b"b"], np.array([1]))
    assert len(order.spread) == 1


def test_a_position_is_shown_as_it_is_found_in_a_letter() -> None:
    assert shown(column([(7, 0)])) == "7"
    assert shown(column([(7, 2)])) == "7/2"
