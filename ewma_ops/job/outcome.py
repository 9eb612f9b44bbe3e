"""How a run of workers ended, here and on all machines of a job.

Knows exit codes; must not know processes, nor how other machines report.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ewma_ops.errors import EwmaError
from ewma_ops.job.log import print_line
from ewma_ops.job.signs import UNAVAILABLE

__all__ = ["LOST_HOST", "Outcome", "failure", "joined"]

LOST_HOST = "host"
"""Why another run follows where a machine was lost, or stops."""


@dataclass(frozen=True)
class Outcome:
    """How a run has ended."""

    code: int
    text: str
    state: str = "the next start resumes from the last snapshot"
    again: str = ""
    """Why another run is to follow although this one did not fail: "new-input", "clock", "host"."""
    notes: Sequence[bytes] = ()
    """What the workers that ended by themselves have left."""

    @property
    def reason(self) -> str:
        """Why another run follows, if one does, in a word."""
        return self.again or ("unavailable" if self.code == UNAVAILABLE else "failed")


def failure(error: EwmaError) -> Outcome:
    """Say what kept a run from beginning, and return that as its outcome."""
    print_line(f"ewma: {error}", logging.ERROR)
    return Outcome(2 if error.fault == "user" else UNAVAILABLE if error.retry else 1, str(error))


def joined(own: Outcome, others: Sequence[Outcome | None]) -> Outcome:
    """Return how a run has ended that several machines were in.

    What failed first-hand counts, and a mistake of the user most; where workers only lost others,
    one of which may be on a machine that is gone, the run is repeated as soon as all are there.

    Parameters
    ----------
    own
        How it has ended on this machine.
    others
        How it has ended on each other one; None where that is not known.

    Examples
    --------
    >>> from ewma_ops.job.signs import LOST_PEER
    >>> lost = Outcome(LOST_PEER, "worker 0 lost touch with the others", again=LOST_HOST)
    >>> joined(lost, [Outcome(2, "worker 1 failed")]).code
    2
    >>> joined(lost, [None]).again
    'host'
    """
    known = [own, *(one for one in others if one is not None)]
    notes = [note for one in known for note in one.notes]
    failed = [one for one in known if one.code and one.again != LOST_HOST]
    if failed:
        worst = min(failed, key=lambda one: (one.code != 2, one is not own))
        return replace(worst, notes=notes)
    if None in others or any(one.code for one in known):
        return replace(own, again=LOST_HOST, notes=notes)
    again = next((one.again for one in known if one.again), "")
    return replace(own, again=again, notes=notes)
