"""Run worker processes once: start them, watch them, stop or kill them, and say how it ended.

Knows processes and signals; must not know the configuration, Kafka or what a worker does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from ewma_ops.job.answers import Lines
from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.log import MARKED, print_line, wrapper
from ewma_ops.job.notes import collected_notes
from ewma_ops.job.outcome import LOST_HOST, Outcome
from ewma_ops.job.processes import Process, Start, blocked_signals, spawn
from ewma_ops.job.recovery.checkpoints import checkpointing
from ewma_ops.job.recovery.part_files import ResumePoint
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.relay import Relay
from ewma_ops.job.signs import LOST_PEER, caught_signals
from ewma_ops.job.waiting import POLL_S, Deadline

__all__ = [
    "GRACE_S",
    "Command",
    "Others",
    "Overtaken",
    "collecting_signals",
    "run_once",
]


GRACE_S = 20.0
"""How long a graceful stop may take before the workers are killed: less than Kubernetes' 30 s."""

_FAILURE_GRACE_S = 1.0
_CLOCK_STEP_S = 5.0
_SAME_SIGNAL_S = 0.1
"""What the wall clock may be set back by: Bytewax delays the next snapshot by as much."""

Overtaken = Callable[[], str]
"""Says why the workers should stop gracefully and start again; "" while there is no reason."""

Command = Callable[[int, Sequence[str]], Sequence[str]]
"""Makes the command line of one worker from its number and the addresses of all."""


class Others(Protocol):
    """The machines beside this one that run workers of the same job."""

    @property
    def cluster(self) -> Cluster:
        """All machines, and which of them this one is."""

    @property
    def fence(self) -> str:
        """What the workers of the run write with; "" for ids of their own."""

    def stop(self, reason: str) -> None:
        """Tell them that the workers here are being stopped gracefully."""

    def stopping(self) -> str:
        """Say why the workers here should stop gracefully too, and start again; or ""."""

    def lost(self) -> str:
        """Say why the workers here must be killed; or ""."""


def run_once(
    command: Command,
    workers: int,
    store: RecoveryStore | None,
    point: ResumePoint | None,
    signals: Sequence[int],
    grace_s: float,
    overtaken: Overtaken = lambda: "",
    lines: Lines | None = None,
    others: Others | None = None,
    start: Start = spawn,
) -> Outcome:
    """Run worker processes from start to end, and say how that came about.

    Parameters
    ----------
    command : callable
        Command line of one worker.
    workers : int
        Processes, >= 1.
    store : RecoveryStore or None
        Locked store, whose lock every worker inherits.
    point : ResumePoint or None
        Where the run begins, for the first line printed.
    signals : sequence of int
        Stop signals as they come: see `collecting_signals`.
    grace_s : float
        Seconds a graceful stop may take, > 0.
    overtaken : callable
        If it returns a reason, the workers are stopped gracefully, to start again.
    lines : Lines or None
        Through which the workers can be asked meanwhile.
    others : Others or None
        With whose workers these form one flow.
    start : callable
        Makes a process of a command line.

    Returns
    -------
    Outcome
        Its code is 0 after the end of the input or a graceful stop; a failed worker's own; 1 when
        one was killed or did not stop in time; 128 + n after a second signal n.
    """
    began = time.monotonic()
    addresses, first = _places(workers, others)
    fence = [f"--fence={others.fence}"] if others is not None and others.fence else []
    lock = () if store is None else (store.lock_fd,)
    children: list[Process] = []
    clock = None if store is None else _WallClock()
    try:
        opened = (Lines() if lines is None else lines).opened(workers)
        with collected_notes() as notes, opened as own_lines:
            with blocked_signals():
                for i, line in enumerate(own_lines, first):
                    fds = (*lock, *notes.fds, line.fd)
                    with _worker_stderr(i) as (stderr, marked):
                        environment = {**notes.environment, **line.environment, **marked}
                        orders = [*command(i, addresses), *fence]
                        child = start(orders, fds, stderr, environment)
                    children.append(child)
                    line.hand_over()
            print_line(_start_line(workers, store, point, others))
            with contextlib.nullcontext() if store is None else checkpointing(store.parts):
                outcome = _watch(children, signals, grace_s, clock, overtaken, others, first)
            outcome = replace(outcome, notes=notes.read())
    finally:
        _kill(children)
    saved = "no state is kept" if store is None else outcome.state
    level = logging.ERROR if outcome.code and not outcome.again else logging.INFO
    print_line(f"{outcome.text} after {time.monotonic() - began:.1f} s; {saved}", level)
    return outcome


@contextlib.contextmanager
def _worker_stderr(number: int) -> Iterator[tuple[int | None, dict[str, str]]]:
    """Yield what a worker writes its log to, a pipe into the relay, and its variables for that."""
    relay = sys.stderr
    if not isinstance(relay, Relay):
        yield None, {}
        return
    ours, theirs = os.pipe()
    wrap = wrapper(f"worker-{number}")
    relay.forward(ours, wrap)
    try:
        yield theirs, {} if wrap is None else {MARKED: "1"}
    finally:
        os.close(theirs)


class _WallClock:
    """Notices that the wall clock was set back."""

    def __init__(self) -> None:
        self._highest = time.time() - time.monotonic()

    def set_back_s(self) -> float:
        """Return by how many seconds it is behind where it was."""
        ahead = time.time() - time.monotonic()
        self._highest = max(self._highest, ahead)
        return self._highest - ahead

    def overtaken(self) -> str:
        """Return why the workers should start again, or ""."""
        set_back_s = self.set_back_s()
        return f"the clock was set back by {set_back_s:.0f} s" if set_back_s > _CLOCK_STEP_S else ""


def _watch(
    children: Sequence[Process],
    signals: Sequence[int],
    grace_s: float,
    clock: _WallClock | None = None,
    overtaken: Overtaken = lambda: "",
    others: Others | None = None,
    first: int = 0,
) -> Outcome:
    """Wait until all have ended by themselves, or until there is a reason to kill them."""
    grace: Deadline | None = None
    again = ""
    while _running(children):
        if _failed(children):
            _wait_all(children, _FAILURE_GRACE_S)
            break
        if len(signals) > 1:
            return Outcome(128 + signals[1], "killed by a second signal")
        if others is not None and (reason := others.lost()):
            return Outcome(1, f"killed, as {reason},", again=LOST_HOST)
        if not (again or signals):
            again = _restart(overtaken, clock, others)
        if (signals or again) and grace is None:
            grace = Deadline(grace_s)
            if others is not None:
                others.stop("stops" if signals else "starts its workers again")
            for child in children:
                child.send_signal(signal.SIGTERM)
        if grace is not None and grace.has_passed():
            return Outcome(1, f"killed, not stopped within {grace_s:g} s,")
        time.sleep(POLL_S)
    failed = _failed(children)
    if failed:
        outcome = _blame(failed, first)
        if outcome.code == LOST_PEER:  # beside others, one of those may know why
            lost = {"code": 1} if others is None else {"again": LOST_HOST}
            return replace(outcome, **lost)
        return outcome
    return Outcome(0, "stopped" if signals or again else "finished", "state saved", again)


def _restart(overtaken: Overtaken, clock: _WallClock | None, others: Others | None) -> str:
    """Say that the workers are to start again, if so, and return why in a word."""
    kind, reason = "new-input", overtaken()
    if not reason and clock is not None:
        kind, reason = "clock", clock.overtaken()
    if not reason and others is not None:
        kind, reason = LOST_HOST, others.stopping()
    if not reason:
        return ""
    print_line(f"{reason}: starting the workers again")
    return kind


def _running(children: Sequence[Process]) -> int:
    return sum(child.poll() is None for child in children)


def _failed(children: Sequence[Process]) -> dict[int, int]:
    codes = {i: child.returncode for i, child in enumerate(children)}
    return {i: code for i, code in codes.items() if code}


def _blame(failed: dict[int, int], first: int) -> Outcome:
    """Name the worker that failed first-hand, not those that only lost it."""
    at, code = min(failed.items(), key=lambda item: (item[1] == LOST_PEER, item[1] < 0, item[0]))
    i = first + at
    if code < 0:
        return Outcome(1, f"worker {i} was killed by {signal.Signals(-code).name}")
    if code == LOST_PEER:
        return Outcome(LOST_PEER, f"worker {i} lost touch with the others")
    return Outcome(code, f"worker {i} failed")


def _wait_all(children: Sequence[Process], limit_s: float) -> None:
    limit = Deadline(limit_s)
    while _running(children) and not limit.has_passed():
        time.sleep(POLL_S)


def _kill(children: Sequence[Process]) -> None:
    for child in children:
        child.kill()
    for child in children:
        child.wait()


@contextlib.contextmanager
def collecting_signals() -> Iterator[list[int]]:
    """Collect the stop signals instead of dying of them.

    A terminal that is closed sends SIGHUP twice, as the kernel and the shell both do: of that one
    the second is not a second wish. Nor is one that comes at once: timeout(1) and other programs
    that pass a signal on send it to the process and to its group.
    """
    caught: list[int] = []
    first_s = 0.0

    def catch(number: int, _: object) -> None:
        nonlocal first_s
        if not caught:
            first_s = time.monotonic()
        elif number == signal.SIGHUP or time.monotonic() - first_s < _SAME_SIGNAL_S:
            return
        caught.append(number)

    before = [(number, signal.signal(number, catch)) for number in caught_signals()]
    try:
        yield caught
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _places(workers: int, others: Others | None) -> tuple[Sequence[str], int]:
    """Return where all workers of the job listen, and the number of the first one here."""
    if others is None:
        return _free_addresses(workers), 0
    return others.cluster.worker_addresses, others.cluster.first_worker


def _free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def _start_line(
    workers: int, store: RecoveryStore | None, point: ResumePoint | None, others: Others | None
) -> str:
    line = f"started {workers} worker{'s' if workers > 1 else ''}"
    if others is not None:
        cluster = others.cluster
        line += f" of {len(cluster.worker_addresses)} at place {cluster.place}"
    if store is None or point is None:
        return line
    line += f", state in '{store.directory}', epoch {point.epoch}"
    return f"{line} ({point.purged} ghost snapshots removed)" if point.purged else line
