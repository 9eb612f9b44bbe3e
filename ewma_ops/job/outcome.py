"""The outcome of a run of workers, on one machine and on all machines of a job.

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
"""The reason of another run after a machine was lost, or stopped."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run."""

    code: int
    text: str
    state: str = "the next start resumes from the last snapshot"
    again: str = ""
    """Why another run follows although this one did not fail: "new-input", "clock", "host"."""
    notes: Sequence[bytes] = ()
    """The notes of the workers that were not killed."""

    @property
    def reason(self) -> str:
        """Why another run follows, if one does, in a word."""
        return self.again or ("unavailable" if self.code == UNAVAILABLE else "failed")


def failure(error: EwmaError) -> Outcome:
    """Log what kept a run from beginning, and return that as its outcome."""
    print_line(f"ewma: {error}", logging.ERROR)
    return Outcome(2 if error.fault == "user" else UNAVAILABLE if error.retry else 1, str(error))


def joined(own: Outcome, others: Sequence[Outcome | None]) -> Outcome:
    """Return the outcome of a run on several machines.

    A first-hand failure counts, and a user error most; if workers only lost others, perhaps on a
    machine that is gone, the run is repeated as soon as all are connected.

    Parameters
    ----------
    own
        The outcome on this machine.
    others
        The outcome on each other one; None if unknown.

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
