"""Workers are asked over inherited sockets: in order, in time, and however they behave."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from ewma_ops.job.answers import Line, Lines, answer_questions
from tests.helpers.jobs import wait_until


def serve(monkeypatch: pytest.MonkeyPatch, line: Line, answer: Callable[[], bytes]) -> None:
    """Answer as a worker that has inherited its end would."""
    for name in line.environment:
        monkeypatch.setenv(name, str(os.dup(line.fd)))
    line.hand_over()
    answer_questions(answer)


def asked_until(lines: Lines, wanted: Sequence[bytes | None]) -> None:
    wait_until(lambda: lines.ask(0.2) == wanted, 20)


def test_all_are_asked_and_a_long_answer_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, long = Lines(), os.urandom(3 << 20)
    with lines.opened(2) as opened:
        serve(monkeypatch, opened[0], lambda: b"zero")
        serve(monkeypatch, opened[1], lambda: long)
        asked_until(lines, [b"zero", long])
    assert lines.ask() == []


def test_one_that_is_late_is_left_out_and_its_old_answer_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, numbers, held = Lines(), iter(range(1_000_000)), threading.Event()
    held.set()

    def answer() -> bytes:
        number = next(numbers)
        held.wait(30)
        return b"%d" % number

    with lines.opened(2) as opened:
        serve(monkeypatch, opened[0], lambda: b"quick")
        serve(monkeypatch, opened[1], answer)
        wait_until(lambda: None not in lines.ask(0.2), 20)
        held.clear()
        began = time.monotonic()
        assert lines.ask(0.2) == [b"quick", None]
        assert time.monotonic() - began < 5
        last = next(numbers)
        held.set()
        wait_until(lambda: lines.ask(1.0)[1] is not None, 20)
        assert int(lines.ask(5.0)[1] or 0) > last


def test_one_that_starts_or_has_ended_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines()
    with lines.opened(2) as opened:
        serve(monkeypatch, opened[0], lambda: b"up")
        asked_until(lines, [b"up", None])  # the second has said nothing yet
        began = time.monotonic()
        lines.ask(30)
        opened[1].hand_over()  # nobody holds its end any more: the worker is gone
        assert lines.ask(30) == [b"up", None]
        assert time.monotonic() - began < 15


@pytest.mark.slow
def test_one_that_takes_no_questions_does_not_hold_up_the_launcher() -> None:
    line = Line()
    theirs = socket.socket(fileno=os.dup(line.fd))
    theirs.sendall(struct.pack(">II", 0, 0))
    began = time.monotonic()
    sent = sum(
        line.ask() for _ in range(1_000_000) if line.is_open and time.monotonic() - began < 5
    )
    assert 0 < sent < 1_000_000
    assert not line.ask()
    theirs.close()
    line.close()
