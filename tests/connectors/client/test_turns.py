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
