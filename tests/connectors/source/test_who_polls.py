"""Who polls, by what polls bring and how long they take."""

from __future__ import annotations

import pytest

from ewma_ops.connectors.source.who_polls import WhoPolls


def quiet(who: WhoPolls) -> WhoPolls:
    """Poll until it is the worker who does, and return who it is then."""
    polls = 0
    while not who.is_worker:
        assert polls < 100
        who.polled(1, rest=False, may_be_worker=True)
        who.note_turn()
        polls += 1
    return who


@pytest.mark.parametrize(
    ("records", "rest", "may_be_worker"),
    [(3_000, False, True), (1, True, True), (0, False, False)],
    ids=["much came", "more is there", "a broker is away"],
)
def test_the_thread_polls_where_that_takes_long(
    records: int, rest: bool, may_be_worker: bool
) -> None:
    who = quiet(WhoPolls())
    assert not who.thread_may()
    who.polled(records, rest=rest, may_be_worker=may_be_worker)
    assert who.thread_may()
    who.polled(1, rest=False, may_be_worker=may_be_worker)
    assert not who.is_worker  # not at once
