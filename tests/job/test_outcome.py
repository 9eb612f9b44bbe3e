"""How a run has ended that several hosts were in."""

from __future__ import annotations

import pytest

from ewma_ops.job.outcome import LOST_HOST, Outcome, joined
from ewma_ops.job.signs import LOST_PEER, UNAVAILABLE

DONE = Outcome(0, "finished", "state saved", notes=[b"own"])
LOST = Outcome(LOST_PEER, "worker 0 lost touch with the others", again=LOST_HOST)
KILLED = Outcome(1, "killed, as place 1 is lost,", again=LOST_HOST)
FAILED = Outcome(1, "worker 3 was killed by SIGKILL")
AWAY = Outcome(UNAVAILABLE, "worker 2 failed")
MISTAKE = Outcome(2, "worker 1 failed")


@pytest.mark.parametrize(
    ("own", "others", "code", "again"),
    [
        (DONE, [DONE, DONE], 0, ""),
        (DONE, [Outcome(0, "stopped", again="clock"), DONE], 0, "clock"),
        (Outcome(0, "stopped", again=LOST_HOST), [DONE], 0, LOST_HOST),
        (LOST, [FAILED, LOST], 1, ""),
        (FAILED, [LOST, None], 1, ""),
        (LOST, [AWAY, LOST], UNAVAILABLE, ""),
        (FAILED, [AWAY, MISTAKE], 2, ""),
        (LOST, [None], LOST_PEER, LOST_HOST),
        (KILLED, [None, LOST], 1, LOST_HOST),
        (DONE, [None], 0, LOST_HOST),
    ],
)
def test_what_failed_first_hand_counts(
    own: Outcome, others: list[Outcome | None], code: int, again: str
) -> None:
    outcome = joined(own, others)
    assert (outcome.code, outcome.again) == (code, again)


def test_what_all_have_read_is_kept() -> None:
    other = Outcome(2, "worker 1 failed", notes=[b"other"])
    assert joined(DONE, [other, None]).notes == [b"own", b"other"]
