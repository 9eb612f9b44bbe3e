"""What workers leave for their launcher: whole, in any number, and not if they were killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from ewma_ops.job.notes import Notes, collected_notes, leave_note

pytestmark = pytest.mark.slow

LEAVE = "import sys; from ewma_ops.job.notes import leave_note; leave_note(sys.argv[1].encode())"


def run(notes: Notes, text: str, then: str = "") -> None:
    subprocess.run(
        [sys.executable, "-c", LEAVE + then, text],
        pass_fds=notes.fds,
        env=notes.environment,
        check=False,
    )


def test_every_worker_leaves_its_own() -> None:
    with collected_notes() as notes:
        assert notes.read() == []
        for text in ("one", "two" * 10_000, "three"):
            run(notes, text)
        run(notes, "killed after", "; import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        assert notes.read() == [b"one", b"two" * 10_000, b"three", b"killed after"]
        assert notes.read() == notes.read(), "reading takes nothing away"


def test_workers_that_end_together_leave_whole_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads stand for workers: what they share is the offset of the file."""
    texts = [b"%d" % n * 500 for n in range(4)]

    def leave(text: bytes) -> None:
        for _ in range(2_000):
            leave_note(text)

    with collected_notes() as notes:
        monkeypatch.setenv("EWMA_NOTES_FD", notes.environment["EWMA_NOTES_FD"])
        with ThreadPoolExecutor(len(texts)) as workers:
            list(workers.map(leave, texts))
        assert Counter(notes.read()) == dict.fromkeys(texts, 2_000)


def test_without_a_launcher_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EWMA_NOTES_FD", raising=False)
    leave_note(b"nobody reads it")
    monkeypatch.setenv("EWMA_NOTES_FD", "987654")
    leave_note(b"a descriptor that is closed")


def test_a_launcher_within_a_worker_has_notes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EWMA_NOTES_FD", "987654")
    with collected_notes() as notes:
        assert notes.environment["EWMA_NOTES_FD"] == str(notes.fds[0])
    assert "EWMA_NOTES_FD" not in Notes(None).environment


@pytest.mark.parametrize("missing", [("memfd_create",), ()])
def test_where_there_is_no_file_in_memory_it_is_one_on_disk(
    monkeypatch: pytest.MonkeyPatch, missing: Sequence[str]
) -> None:
    for name in missing:
        monkeypatch.delattr(os, name)
    with collected_notes() as notes:
        run(notes, "x")
        assert notes.read() == [b"x"]


def test_where_no_file_can_be_had_there_are_no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.TemporaryFile", _no_room)
    with collected_notes() as notes:
        run(notes, "x")
        assert notes.read() == []


def _no_room() -> None:
    raise FileNotFoundError("no usable temporary directory")
