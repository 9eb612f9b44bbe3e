"""Whatever a peer sends, a launcher takes it for a message or refuses it, and never fails of it."""

from __future__ import annotations

import contextlib
import socket
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.job.cluster.messages import (
    Answer,
    Beat,
    Ended,
    Hello,
    ProtocolError,
    Run,
    receive,
    send,
)
from ewma_ops.job.coordinated import _as_outcome
from ewma_ops.job.measurements import RESTARTS
from ewma_ops.job.outcome import Outcome, joined
from ewma_ops.job.report import Counts, Report
from ewma_ops.job.runs import _conclude

WHOLE = msgspec.json.encode(Counts(read=3, readings=3, events=3))
MESSAGES = [
    Hello("1.0", 1, ["a:1", "b:1"], 2, {"smoothing": "beta"}, "machine", 7, Beat("r"), "start"),
    Beat("run", "stops", Ended("run", 1, "killed", "host", [WHOLE])),
    Answer("", Run("run", b"manifest", "4000:17"), "stops", "killed", 2, ["place 1"]),
]


def received(content: bytes) -> Hello | Beat | Answer:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack(">I", len(content)) + content)
        return receive(ours)


@given(st.sampled_from(MESSAGES), st.integers(0), st.binary(max_size=9), st.integers(0, 9))
def test_what_was_damaged_is_a_message_or_refused(
    message: Hello | Beat | Answer, at: int, other: bytes, cut: int
) -> None:
    content = msgspec.msgpack.encode(message)
    assert received(content) == message
    at %= len(content)
    with contextlib.suppress(ProtocolError):
        received(content[:at] + other + content[at + cut :])


@pytest.mark.parametrize(
    "message",
    [
        Beat(ended=Ended("run", 256, "")),
        Beat(ended=Ended("run", -9, "")),
        Beat(ended=Ended("run", 0, "", "weather")),
        Answer(exit_code=1_000),
        Answer(start=Run("run", b"", "4000:17\0")),
    ],
)
def test_what_a_launcher_cannot_act_on_is_no_message(message: Beat | Answer) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(theirs, message)
        with pytest.raises(ProtocolError):
            receive(ours)


@pytest.mark.parametrize("again", ["", "new-input", "clock", "host"])
def test_every_end_of_a_run_elsewhere_has_a_consequence(
    again: str, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = [WHOLE, b"\xff", b"[]", b'{"read": "x"}', b'{"letters": {"\xff": 1}}', WHOLE]
    outcome = joined(
        Outcome(0, "finished"), [_as_outcome(Ended("run", 0, "stopped", again, notes))]
    )
    assert outcome.reason in RESTARTS
    report = Report()
    _conclude(outcome.notes, report)
    assert report.read == 6
    assert "the counts of 4 workers cannot be read" in capsys.readouterr().err
