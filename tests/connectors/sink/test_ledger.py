"""The pure steps of an exactly-once delivery: worked by hand, then killed at every one of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ewma_ops.columns.origins import Origins
from ewma_ops.connectors.sink.ledger import (
    IDENTITY_HEADER,
    Ledger,
    LedgerState,
    identities,
    origins_of,
)
from ewma_ops.errors import StateError
from ewma_ops.wire.records import Headers
from tests.helpers.once import pending

Position = tuple[int, int]


def at(*positions: Position) -> Origins:
    return Origins(
        np.array([partition for partition, _ in positions], np.int32),
        np.array([offset for _, offset in positions], np.int64),
    )


def test_an_identity_goes_there_and_back() -> None:
    positions = at((0, 0), (2, 5), (2**31 - 1, 2**63 - 1))
    headers: list[Any] = [[("h", b"x"), *own] for own in identities(2**32 - 1, positions)]
    assert {len(headers[i][-1][1]) for i in range(3)} == {24}
    places, (partitions, offsets, ordinals) = origins_of(2**32 - 1, headers)
    assert places.tolist() == [0, 1, 2]
    assert partitions.tolist() == [0, 2, 2**31 - 1]
    assert offsets.tolist() == [0, 5, 2**63 - 1]
    assert ordinals is None
    assert len(origins_of(1, headers)[0]) == 0  # of another job


def test_only_the_last_identity_of_a_record_counts() -> None:
    """A dead letter may have been an event of this very job."""
    ((old,),), ((new,),) = identities(7, at((0, 1))), identities(7, at((3, 4)))
    headers: list[Headers] = [
        [old, new],
        [old, ("ewma-cause", b"empty")],
        [(IDENTITY_HEADER, None)],
        [(IDENTITY_HEADER, b"short")],
        [],
    ]
    places, (partitions, offsets, _) = origins_of(7, headers)
    assert (places.tolist(), partitions.tolist(), offsets.tolist()) == ([0, 1], [3, 0], [4, 1])


def test_the_first_run_sends_everything() -> None:
    ledger = Ledger()
    assert ledger.admit(at((0, 0), (0, 1), (1, 0))).all()
    ledger.reached(3)
    assert ledger.close_epoch() == LedgerState(2, 3, {})


def test_what_was_read_back_is_not_sent_again_and_then_forgotten() -> None:
    ledger = Ledger(LedgerState(2, 10, {}))
    ledger.recall(at((0, 5), (1, 2), (0, 7)))
    ledger.reached(13)
    # 0/6 is missing although 0/7 is there: records of different series overtake one another.
    assert ledger.admit(at((0, 5), (0, 6), (1, 2))).tolist() == [False, True, False]
    ledger.reached(14)
    state = ledger.close_epoch()
    assert (state.base, pending(state)) == (14, {0: [7]})
    assert ledger.admit(at((0, 7), (0, 8))).tolist() == [False, True]
    assert pending(ledger.close_epoch()) == {}


def test_what_is_pending_outlives_the_next_crash() -> None:
    ledger = Ledger(LedgerState(2, 14, {0: np.array([7, 9])}))
    ledger.recall(at((0, 8)))
    assert ledger.admit(at((0, 7), (0, 8), (0, 9), (0, 10))).tolist() == [False, False, False, True]


def test_an_epoch_that_was_never_durable_leaves_no_trace() -> None:
    """The state is a copy: what the ledger does later must not change it."""
    ledger = Ledger()
    ledger.recall(at((0, 1), (0, 2)))
    state = ledger.close_epoch()
    ledger.admit(at((0, 1), (0, 2)))
    ledger.close_epoch()
    assert pending(state) == {0: [1, 2]}


def test_what_others_wrote_is_known_or_left_out() -> None:
    """An epoch has made 0 to 4; 3, 4, 5 and 7 are found where this run has written nothing."""
    ledger = Ledger()
    ledger.admit(at((0, 0), (0, 4), (0, 2)))
    found = at((0, 3), (0, 4), (0, 5), (0, 7), (1, 0))
    assert ledger.made(found) == 2
    ledger.recall(found)
    assert pending(ledger.close_epoch()) == {0: [5, 7], 1: [0]}


def test_what_is_from_before_the_beginning_is_not_waited_for() -> None:
    ledger = Ledger(None, {0: 10, 1: 0})
    ledger.recall(at((0, 3), (0, 9), (0, 10), (1, 0), (2, 5)))
    assert len(ledger) == 3
    assert ledger.admit(at((0, 10), (0, 11), (1, 0))).tolist() == [False, True, False]
    assert pending(ledger.close_epoch()) == {2: [5]}


def test_a_state_of_an_unknown_version_is_refused() -> None:
    with pytest.raises(StateError, match="version 1, this release reads 2"):
        Ledger(LedgerState(1, 0, {}))


class World:
    """A source, a log and what is durable; a flow that can be killed between any two steps.

    Each epoch handles a prefix of every source partition, in any order between series, and the
    sends of an epoch may land in the log in any subset until they are acknowledged.
    """

    def __init__(self, rng: random.Random, *, exact: bool = True) -> None:
        self.rng = rng
        self.sources = {0: 12, 1: 9}
        self.log: list[Position] = []
        self.durable: tuple[dict[int, int], LedgerState | None] = (
            dict.fromkeys(self.sources, 0),
            None,
        )
        self.exact = exact

    def finished(self) -> bool:
        return self.durable[0] == self.sources

    def run(self) -> Iterator[str]:
        """Live until the end of the input; killed by whoever stops to iterate."""
        offsets, state = self.durable
        ledger = Ledger(state)
        found = self.log[ledger.base :]
        yield "started"
        if self.exact:
            ledger.recall(at(*found)) if found else None
        else:  # the tempting mistake: the highest offset of each source partition
            for source in self.sources:
                highest = max((o for p, o in found if p == source), default=-1)
                if highest >= 0:
                    ledger.recall(at(*[(source, o) for o in range(highest + 1)]))
        ledger.reached(len(self.log))
        yield "read back"
        while offsets != self.sources:
            offsets, made = self.epoch(offsets)
            yield from self.deliver(ledger, made)
            yield "acknowledged"
            state = ledger.close_epoch()
            yield "snapshot taken, not durable"
            self.durable = (offsets, state)
            yield "durable"

    def epoch(self, offsets: dict[int, int]) -> tuple[dict[int, int], list[Position]]:
        ends = {p: min(self.sources[p], o + self.rng.randrange(4)) for p, o in offsets.items()}
        made = [(p, o) for p in offsets for o in range(offsets[p], ends[p])]
        self.rng.shuffle(made)  # as if each position were a series of its own
        return ends, made

    def deliver(self, ledger: Ledger, made: list[Position]) -> Iterator[str]:
        while made:
            n = self.rng.randint(1, len(made))
            batch, made = made[:n], made[n:]
            new = ledger.admit(at(*batch))
            waiting = [position for position, is_new in zip(batch, new, strict=True) if is_new]
            yield "handed over"
            self.rng.shuffle(waiting)  # a failed send, and a later one that lands
            for position in waiting:
                self.log.append(position)
                yield "in the log"
            ledger.reached(len(self.log))


def lives(world: World, kills: Iterator[int]) -> list[Position]:
    while not world.finished():
        steps = next(kills)
        for i, _ in enumerate(world.run()):
            if i == steps:
                break
    return sorted(world.log)


EVERYTHING = [(p, o) for p, n in ((0, 12), (1, 9)) for o in range(n)]


@pytest.mark.parametrize("seed", range(20))
def test_one_kill_at_each_step(seed: int) -> None:
    steps = sum(1 for _ in World(random.Random(seed)).run())
    for step in range(steps):
        kills = itertools.chain([step], itertools.repeat(10_000))
        assert lives(World(random.Random(seed)), kills) == EVERYTHING, f"{seed=} {step=}"


@pytest.mark.parametrize("seed", range(150))
def test_many_kills(seed: int) -> None:
    rng = random.Random(seed)
    kills = (rng.randrange(30) for _ in itertools.count())
    assert lives(World(rng), kills) == EVERYTHING, f"{seed=}"


def test_the_highest_offset_of_each_partition_would_lose() -> None:
    """Shows that the world above can tell: this is the mistake that it must see."""
    lost = 0
    for seed in range(20):
        rng = random.Random(seed)
        kills = (rng.randrange(30) for _ in itertools.count())
        lost += lives(World(rng, exact=False), kills) != EVERYTHING
    assert lost > 10


@pytest.mark.parametrize("ordinals", [False, True])
def test_few_records_are_noted_and_named_as_many_are(ordinals: bool) -> None:
    """Up to 16 go one by one; the same ones, in one call or in many, come to the same."""
    n = 40
    partitions = np.arange(n) * 7 % 3 | np.arange(n) % 2 << 32
    every = Origins(
        partitions, np.arange(n) * 5, np.arange(n, dtype=np.uint64) if ordinals else None
    )
    apart = [every.take(slice(at, at + 2)) for at in range(0, n, 2)]
    assert b"".join(identities(9, few).contents for few in apart) == identities(9, every).contents
    at_once, one_by_one = Ledger(), Ledger()
    assert at_once.admit(every).tolist() == n * [True]
    assert [new for few in apart for new in one_by_one.admit(few).tolist()] == n * [True]
    at_once.reached(80)
    one_by_one.reached(80)
    assert at_once.made(every) == one_by_one.made(every) == n
    later = every._replace(offsets=every.offsets + 1)
    assert at_once.made(later) == one_by_one.made(later) < n
