"""The runs of a job, one after another: what each needs, and whether another one follows it.

Knows the recovery store's life cycle and how a run ends; must not know Kafka, nor where a
configuration says what. Workers are never restarted inside a process: a new run has new processes,
on a cleaned store, under a lock that is held from the first run to the last.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from ewma_ops.job.answers import Lines
from ewma_ops.job.coordinated import Coordinated, go_on_alone
from ewma_ops.job.discovery import Discovery
from ewma_ops.job.log import print_line
from ewma_ops.job.measurements import Measurements
from ewma_ops.job.outcome import LOST_HOST, Outcome
from ewma_ops.job.processes import Start, spawn
from ewma_ops.job.recovery.manifest import Beginning, Identity
from ewma_ops.job.recovery.part_files import ResumePoint, Sound
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.report import Counts, Report, counted, total
from ewma_ops.job.signs import UNAVAILABLE
from ewma_ops.job.supervisor import GRACE_S, Command, run_once
from ewma_ops.job.waiting import StoppedError, once_ready, pause, unless_stopped

__all__ = ["WAIT_S", "Lookups", "Runs"]

WAIT_S = 60.0
"""How long the first start waits for brokers."""

_USER_FAULT = 2

_GIVING_UP = "giving up: {} consecutive runs failed without making progress"
_MOST_FAILURES = 5
"""Consecutive failures without progress in positions: then it is no coincidence."""
_LONG_LIFE_S = 60.0
"""A run that lasted this long made progress, even if there is no store to show it."""


class Lookups(Protocol):
    """What is looked up before each run of a job, and during it.

    Each may raise `BrokerError`, which is waited for, or another error of ours, which ends the job.
    """

    def identify(self) -> Identity:
        """Return the identity of the recovery store; called first before each run."""

    def find_beginning(self) -> Beginning:
        """Return where in the input a job with a new recovery store begins."""

    def extend_beginning(self, noted: Beginning) -> Beginning:
        """Add new input to the beginning of a job whose recovery store is not new."""

    def changes(self) -> str:
        """Return which input the run does not read, "" for none; called from a thread."""

    def fence(self) -> str:
        """Fence earlier runs off, and return the fence of the next one.

        Called for a job on several hosts, or after such a run was cut short.
        """

    def leaders_answered(self) -> float | None:
        """Ask the leaders of what the workers write to; return when (monotonic) they had answered.

        Called before each run of this host alone, when no earlier worker is alive.
        """


class _Prepared(NamedTuple):
    """Where a run begins, and what makes the command line of a worker of that run."""

    point: ResumePoint | None
    command: Command


@dataclass(frozen=True)
class Runs:
    """The runs of a job on this host, or of one that its first host coordinates.

    Parameters
    ----------
    command, workers, start
        What makes the command line of a worker; how many there are; what starts one.
    lookups
        What is looked up between runs.
    signals
        The stop signals that were received; grows.
    store
        The recovery store, locked; None for a job without one.
    sound
        Checks a snapshot of the store before it is used; None for no check.
    together
        The other hosts of the job; None for this one alone.
    discovery
        Opens the search for new input during a run; None for none.
    until_end
        Whether a run is over at the end of its input.
    grace_s
        Seconds a graceful stop may take, > 0.
    measurements
        Collects what the workers measure.
    """

    command: Command
    workers: int
    lookups: Lookups
    signals: Sequence[int]
    store: RecoveryStore | None = None
    sound: Sound | None = None
    together: Coordinated | None = None
    discovery: Callable[[], AbstractContextManager[Discovery]] | None = None
    until_end: bool = False
    grace_s: float = GRACE_S
    start: Start = spawn
    measurements: Measurements = field(default_factory=lambda: Measurements(Lines(), ""))

    def keep_running(self, identity: Identity, wait_s: float = WAIT_S) -> int:
        """Run until the end, a stop, or a failure that another run would repeat; return the code.

        The first run waits ``wait_s`` for brokers, the others as long as it takes.
        """
        failures, report = _Failures(), Report()
        try:
            self._gather()
            prepared = once_ready(lambda: self._prepared(identity), self.signals, wait_s)
            while True:
                began = time.monotonic()
                outcome = self._run(prepared)
                _conclude(outcome.notes, report)
                if self._is_last(outcome):
                    return self._ended(self._code(outcome, report))
                if failures.are_enough(outcome, prepared.point, time.monotonic() - began):
                    print_line(_GIVING_UP.format(failures.count), logging.ERROR)
                    return self._ended(1)
                if failures.pause:
                    pause(max(1, failures.count), self.signals)
                self.measurements.restarted(outcome.reason)
                self._gather()
                prepared = once_ready(self._prepared, self.signals, failures=failures.count)
        except StoppedError:
            return 1

    def _gather(self) -> None:
        if self.together is not None and not self.together.gather(lambda: bool(self.signals)):
            raise StoppedError

    def _prepared(self, identity: Identity | None = None) -> _Prepared:
        """Look the job up, and prepare its store, if any; a stop signal does not wait for brokers.

        The identity is looked up where it is not given.
        """
        lookups, store, together = self.lookups, self.store, self.together
        if identity is None:
            identity = unless_stopped(lookups.identify, self.signals)
        if store is None:
            return _Prepared(None, self.command)
        answered_at = None
        if together is not None:
            together.check_store()
        else:  # every earlier worker held the lock as long as it lived
            answered_at = unless_stopped(lookups.leaders_answered, self.signals)

        def extend(noted: Beginning) -> Beginning:
            return unless_stopped(partial(lookups.extend_beginning, noted), self.signals)

        begin = partial(unless_stopped, lookups.find_beginning, self.signals)
        point = store.prepare(identity, begin, self.sound, extend)
        fence = partial(unless_stopped, lookups.fence, self.signals)
        if together is not None:
            together.raise_fence(fence)
        elif go_on_alone(store, fence):
            answered_at = None  # workers elsewhere may have sent something since
        return _Prepared(point, _answered(self.command, answered_at))

    def _run(self, prepared: _Prepared) -> Outcome:
        """Run the workers once, while new input is searched for."""
        with contextlib.nullcontext() if self.discovery is None else self.discovery() as found:
            run = partial(
                run_once,
                prepared.command,
                self.workers,
                self.store,
                prepared.point,
                self.signals,
                self.grace_s,
                _never if found is None else found.reason,
                self.measurements.lines,
                start=self.start,
            )
            if self.together is None:
                return run()
            return self.together.run(run, self.signals, self.grace_s)

    def _is_last(self, outcome: Outcome) -> bool:
        return bool(self.signals) or (outcome.code in (0, _USER_FAULT) and not outcome.again)

    def _code(self, outcome: Outcome, report: Report) -> int:
        in_vain = report.nothing_readable and self.until_end and not self.signals
        if outcome.code == UNAVAILABLE or (in_vain and outcome.code == 0):
            return 1
        return outcome.code

    def _ended(self, code: int) -> int:
        """Return the exit code, which the other places use too, unless only this one stops."""
        if self.together is not None and not self.signals:
            self.together.exit(code)
        return code


def _answered(command: Command, at: float | None) -> Command:
    """Return what makes the command line of a worker, with what only this run has."""
    if at is None:
        return command
    return lambda place, addresses: [*command(place, addresses), f"--answered-at={at!r}"]


def _never() -> str:
    return ""


class _Failures:
    """How many consecutive runs have failed without progress."""

    def __init__(self) -> None:
        self.count = 0
        self.pause = False
        """Whether to wait before the next run."""
        self._last: int | None = None

    def are_enough(self, outcome: Outcome, point: ResumePoint | None, lived_s: float) -> bool:
        """Count a run before it is repeated; return whether to give up."""
        positions = None if point is None else point.positions
        moved = None not in (positions, self._last) and positions != self._last
        got_on = moved or lived_s > _LONG_LIFE_S
        self._last = positions
        self.pause = not outcome.again or (outcome.again == LOST_HOST and not got_on)
        if not outcome.again:
            self.count = 1 if got_on else self.count + 1
        elif got_on:
            self.count = 0
        for_good = not outcome.again and outcome.code != UNAVAILABLE
        return for_good and self.count >= _MOST_FAILURES


def _conclude(notes: Sequence[bytes], so_far: Report) -> None:
    """Log what the workers of a run have read and written, added to the earlier runs."""
    counts = []
    for note in notes:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            counts.append(msgspec.json.decode(note, type=Counts))
    if unreadable := len(notes) - len(counts):
        missing = counted(unreadable, "worker")
        print_line(
            f"ewma: the counts of {missing} cannot be read, and are missing", logging.WARNING
        )
    if not counts:
        return
    report, unfound = total(counts)
    so_far.include(report)
    for notice in unfound:
        print_line(f"ewma: {notice}", logging.WARNING)
    print_line(report.summary())
    if so_far.nothing_readable:
        print_line(
            "ewma: no message could be read; ewma check shows what is in them, and what to write",
            logging.WARNING,
        )
