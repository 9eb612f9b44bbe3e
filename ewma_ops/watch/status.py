"""The state of the job: live, catching up, quiet or silent, judged by its topics.

Knows times and offsets; must not know Kafka, or pages.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import ClassVar

__all__ = ["Health", "Said", "Status", "health"]

_SILENT_S = 3.0
_QUIET_S = 5.0
_AWAY = "the topics cannot be read: where ewma watch runs, its log says why; it tries again"


@dataclass(frozen=True)
class Said:
    """What a flow said: readings that wait, when its last snapshot was, restarts, its workers."""

    lag: int | None
    snapshot_s: float | None
    restarts: int
    workers: int
    workers_up: int


@dataclass
class Status:
    """What the threads that read note; each of them writes its own fields.

    ``ends`` are the offsets at which the input's partitions end, ``reached`` those from which the
    job goes on as far as its output tells, ``committed`` those that it has committed. ``said`` is
    what the flow's metrics say, None where it does not answer; ``asked_s`` when it was asked.
    """

    NO_TOPIC: ClassVar[str] = (
        "the output topic does not exist yet: create it with ewma check CONFIG --create-topics, "
        "and start the flow"
    )
    trouble: str = ""
    is_missing: bool = False
    behind: int = 0
    total: int = 0
    is_caught_up: bool = False
    input_moved_s: float = 0.0
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    reached: dict[tuple[str, int], int] = field(default_factory=dict)
    said: Said | None = None
    asked_s: float = 0.0
    stopping: threading.Event = field(default_factory=threading.Event)

    def lag(self) -> tuple[int | None, bool]:
        """Return how many readings wait to be smoothed, and whether that is exact, not a bound."""
        if self.said is not None and self.said.lag is not None:
            return self.said.lag, True
        if not self.ends:
            return None, False
        lag, exact = 0, True
        for place, end in self.ends.items():
            committed = self.committed.get(place)
            reached = self.reached.get(place)
            known = [at for at in (committed, reached) if at is not None]
            if not known:
                return None, False
            left = max(end - max(known), 0)
            exact &= left == 0 or reached is not None
            lag += left
        return lag, exact


@dataclass(frozen=True)
class Health:
    """One word for how the job is, and a sentence."""

    word: str
    sentence: str


def health(
    status: Status, arrived_s: float, now_s: float | None = None, *, show_brokers: bool = False
) -> Health:
    """Say how the job is.

    Parameters
    ----------
    status
        What was noted.
    arrived_s
        When the last event came, in seconds since the epoch; 0 for never.
    now_s
        The time now.
    show_brokers
        Whether the sentence may name the brokers.

    Examples
    --------
    >>> status = Status(is_caught_up=True, input_moved_s=100.0, ends={("in", 0): 7})
    >>> health(status, 99.5, 100.0).word, health(status, 90.0, 100.0).word
    ('live', 'stopped')
    """
    now = time.time() if now_s is None else now_s
    if status.trouble:
        return Health("no broker", status.trouble if show_brokers else _AWAY)
    if status.is_missing:
        return Health("starting", status.NO_TOPIC)
    if not status.is_caught_up:
        done = max(status.total - status.behind, 0)
        return Health("reading", f"reading what was written before: {done:,} of {status.total:,}")
    since = now - arrived_s
    if status.said is not None and status.said.workers_up < status.said.workers:
        up, of = status.said.workers_up, status.said.workers
        return Health("stopped", f"{up} of {of} workers answer: the flow restarts them")
    lag, _ = status.lag()
    if arrived_s and since <= _SILENT_S:
        return Health("live", "")
    if lag != 0 and status.input_moved_s > arrived_s + _SILENT_S:
        ago = f"nothing came out for {_lasting(since)}" if arrived_s else "nothing came out yet"
        return Health("stopped", f"readings wait, and {ago}: is the flow running?")
    if not arrived_s:
        return Health("starting", "no events yet: start the flow, or send readings")
    if since > _QUIET_S:
        return Health("quiet", f"no readings for {_lasting(since)}")
    return Health("live", "")


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
