from __future__ import annotations

import threading

from ewma_ops.connectors.client import turns


def test_what_is_due_is_called_once_when_the_turn_ends() -> None:
    called: list[str] = []

    def one() -> None:
        called.append("one")

    def other() -> None:
        called.append("other")
        assert turns.at_end(one)  # due again, within the same end

    turns.tell()
    try:
        assert turns.at_end(one)
        assert turns.at_end(one)
        turns.end()
        assert called == ["one"]
        assert turns.at_end(other)
        turns.end()
        assert called == ["one", "other", "one"]
        assert turns.at_end(one)
    finally:
        turns.tell_no_more()
    assert called == ["one", "other", "one", "one"]
    assert not turns.at_end(one)


def test_each_thread_has_its_own_turns() -> None:
    called: list[str] = []
    turns.tell()
    try:
        assert turns.at_end(lambda: called.append("here"))
        there: list[bool] = []

        def elsewhere() -> None:
            there.append(turns.at_end(lambda: called.append("there")))
            turns.end()

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert there == [False]
        assert called == []
    finally:
        turns.tell_no_more()
    assert called == ["here"]


def test_what_is_to_be_called_again_is_called_when_the_next_turn_ends() -> None:
    called: list[int] = []

    def again() -> None:
        called.append(len(called))
        if len(called) < 3:
            turns.at_next_end(again, soon=len(called) == 2)

    turns.tell()
    try:
        assert turns.at_end(again)
        turns.end()
        assert (called, turns.is_awaited()) == ([0], False)
        turns.end()
        assert (called, turns.is_awaited()) == ([0, 1], True)
        turns.end()
        turns.end()
        assert (called, turns.is_awaited()) == ([0, 1, 2], False)
    finally:
        turns.tell_no_more()
