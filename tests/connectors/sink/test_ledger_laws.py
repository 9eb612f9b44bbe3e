"""The ledger against a set of (partition, offset, ordinal): the same answers, whatever is done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ewma_ops.columns.origins import Origins
from ewma_ops.connectors.sink.ledger import Ledger, LedgerState, identities, origins_of

Position = tuple[int, int, int]

POSITIONS = st.tuples(
    st.sampled_from([0, 1, 2**31 - 1]),
    st.integers(0, 12),
    st.sampled_from([0, 0, 1, 2, 255, 256, 2**64 - 1]),
)
FLAT = POSITIONS.map(lambda position: (*position[:2], 0))
SOME = st.one_of(st.lists(FLAT, max_size=12), st.lists(POSITIONS, max_size=12))
STEPS = st.lists(
    st.tuples(st.sampled_from(["recall", "admit", "made", "close", "resume", "len"]), SOME),
    max_size=25,
)


def origins(positions: Sequence[Position], *, written: bool = True) -> Origins:
    """Return positions as columns; ordinals that are all 0 may be written out or left out."""
    partitions, offsets, ordinals = zip(*positions, strict=True) if positions else ((), (), ())
    column = np.array(ordinals, np.uint64)
    return Origins(
        np.array(partitions, np.int32),
        np.array(offsets, np.int64),
        column if written or column.any() else None,
    )


class Model:
    """A ledger as plain sets."""

    def __init__(self, start: dict[int, int]) -> None:
        self.recalled: set[Position] = set()
        self.handled = {p: offset - 1 for p, offset in start.items()}

    def ahead(self, position: Position) -> bool:
        return position[1] > self.handled.get(position[0], -1)

    def recall(self, positions: Sequence[Position]) -> None:
        self.recalled |= {one for one in positions if self.ahead(one)}

    def admit(self, positions: Sequence[Position]) -> list[bool]:
        for p, offset, _ in positions:
            self.handled[p] = max(offset, self.handled.get(p, -1))
        return [one not in self.recalled for one in positions]

    def made(self, positions: Sequence[Position]) -> int:
        return sum(not self.ahead(one) for one in positions)

    def close(self) -> None:
        self.recalled = {one for one in self.recalled if self.ahead(one)}


def differs(
    steps: list[tuple[str, list[Position]]],
    start: dict[int, int],
    make: Callable[..., Origins] = origins,
) -> bool:
    """Return whether the ledger and the model answer differently at any step."""
    ledger, model = Ledger(None, start), Model(start)
    for at, (step, positions) in enumerate(steps):
        asked = make(positions, written=at % 2 == 0)
        answers: tuple[object, object] = None, None
        if step == "recall":
            ledger.recall(asked)
            model.recall(positions)
        elif step == "admit":
            answers = ledger.admit(asked).tolist(), model.admit(positions)
        elif step == "made":
            answers = ledger.made(asked), model.made(positions)
        elif step == "len":
            answers = len(ledger), len(model.recalled)
        else:
            sealed = ledger.close_epoch().sealed()
            model.close()
            if step == "resume":
                ledger = Ledger(LedgerState.opened(sealed), start)
                model.handled = {p: offset - 1 for p, offset in start.items()}
        if answers[0] != answers[1]:
            return True
    return False


@pytest.mark.slow
@given(STEPS, st.dictionaries(st.sampled_from([0, 1]), st.integers(0, 6)))
def test_a_ledger_answers_as_a_set_of_pairs_does(
    steps: list[tuple[str, list[Position]]], start: dict[int, int]
) -> None:
    assert not differs(steps, start)


def test_a_ledger_of_offsets_alone_would_lose_readings() -> None:
    """Shows that the law can tell: without ordinals, one reading stands for all of its message."""

    def flattened(positions: Sequence[Position], **_: bool) -> Origins:
        return origins([(p, offset, 0) for p, offset, _ in positions])

    steps = [("recall", [(0, 7, 1)]), ("admit", [(0, 7, 0), (0, 7, 1), (0, 7, 2)])]
    assert differs(steps, {}, flattened)
    assert not differs(steps, {})


@given(st.lists(POSITIONS, max_size=20), st.integers(0, 2**32 - 1))
def test_identities_go_there_and_back(positions: list[Position], job: int) -> None:
    headers = list(identities(job, origins(positions)))
    places, found = origins_of(job, headers)
    ordinals = found.ordinals_or_zeros()
    assert places.tolist() == list(range(len(positions)))
    columns = found.partitions, found.offsets, ordinals
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == positions
    assert len(set(itertools.chain(*headers))) == len(set(positions))
    assert len(origins_of(job ^ 1, headers)[0]) == 0


@given(st.lists(POSITIONS, max_size=20), st.integers(0, 20))
def test_origins_are_cut_and_joined_without_a_trace(positions: list[Position], at: int) -> None:
    whole, halves = origins(positions), [origins(positions[:at]), origins(positions[at:])]
    joined = Origins.concat(
        [
            half._replace(ordinals=None) if not half.ordinals_or_zeros().any() else half
            for half in halves
        ]
    )
    for one, other in ((whole, joined), (whole.take(slice(0, at)), halves[0])):
        assert one.partitions.tolist() == other.partitions.tolist()
        assert one.offsets.tolist() == other.offsets.tolist()
        assert one.ordinals_or_zeros().tolist() == other.ordinals_or_zeros().tolist()
    places = dict(whole.by_partition())
    assert {p: at.tolist() for p, at in places.items()} == {
        p: [i for i, one in enumerate(positions) if one[0] == p] for p, _, _ in positions
    }


@pytest.mark.parametrize("ordinals", [False, True])
def test_recalling_a_lost_store_is_not_quadratic(ordinals: bool) -> None:
    """As many copies of the set as there are stretches would be 400 times the work."""
    ledger, made = Ledger(), []
    for first in range(0, 200_000, 500):
        offsets = np.arange(first, first + 500)
        column = offsets.astype(np.uint64) % 3 if ordinals else None
        made.append(Origins(np.zeros(500, np.int32), offsets // (3 if ordinals else 1), column))
    copied = 0

    def counting(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
        nonlocal copied
        copied += sum(map(len, columns))
        return joined(columns)

    from ewma_ops.connectors.sink import ledger as module

    joined, module._joined = module._joined, counting
    try:
        for one in made:
            ledger.recall(one)
        assert len(ledger) == 200_000
    finally:
        module._joined = joined
    assert copied == 200_000
    assert not any(ledger.admit(one).any() for one in made)
