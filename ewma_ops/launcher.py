"""Start the workers of a job, pass signals on, end them all when one fails, and start again.

Knows processes, the lock and the recovery store's life cycle. It must not know Kafka or what a
flow does. Workers are never restarted inside a process: a new run is made of new ones, on a store
that was cleaned, under a lock that is held from the first run to the last.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ewma_ops.checkpoints import checkpointing
from ewma_ops.errors import ConfigError, EwmaError
from ewma_ops.recovery import Begin, Identity, RecoveryStore, ResumePoint
from ewma_ops.settings import load
from ewma_ops.worker import LOST_PEER, STOP_SIGNALS, UNAVAILABLE, say

__all__ = ["launch", "supervise"]

PATIENCE_S = 30.0
"""How long a graceful stop may take before the workers are killed."""

_SETTLE_S = 1.0
_POLL_S = 0.05
_USER_FAULT = 2

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0
_MOST_FAILURES = 5
"""In a row, without an epoch in between: then it is no accident."""
_LONG_LIFE_S = 60.0
"""A run that lived this long got on, also where no store can tell."""

Command = Callable[[int, Sequence[str]], Sequence[str]]
"""Makes the command line of one worker from its place and the addresses of all."""


def launch(
    config_path: Path,
    workers: int = 1,
    *,
    identify: Callable[[], Identity] | None = None,
    begin: Begin = dict,
) -> int:
    """Run the job of a configuration file with a number of worker processes; return an exit code.

    A run that fails is followed by another one, from the last snapshot, after a pause that
    doubles up to 30 s. Not where the fault is the user's, and not when five in a row failed
    without getting on; what may heal, such as a broker that is away, is waited for without end.

    Call it from the main thread: signals and the life of the workers hang on that.

    Parameters
    ----------
    config_path : Path
        The TOML file.
    workers : int
        Processes, >= 1.
    identify : callable or None
        Says before each run what the recovery store belongs to; None takes the settings' own.
    begin : callable
        Says where in the input a job begins whose recovery store is new.

    Raises
    ------
    ConfigError, StateError, BrokerError
        Before anything was started.
    """
    if workers < 1:
        raise ConfigError(f"workers = {workers}: at least 1 process must run")
    settings = load(config_path)
    identify = settings.identity if identify is None else identify

    def command(process_id: int, addresses: Sequence[str]) -> list[str]:
        worker = [sys.executable, "-m", "ewma_ops.worker", str(config_path)]
        place = [f"--process-id={process_id}", f"--addresses={';'.join(addresses)}"]
        return [*worker, *place, f"--launcher={os.getpid()}"]

    with contextlib.ExitStack() as stack:
        identity = identify()
        store = None
        if settings.recovery is not None:
            store = stack.enter_context(RecoveryStore(settings.recovery.directory))
        signals = stack.enter_context(_caught_signals())
        return _keep_running(command, workers, store, identity, identify, signals, begin)


def _keep_running(
    command: Command,
    workers: int,
    store: RecoveryStore | None,
    identity: Identity,
    identify: Callable[[], Identity],
    signals: Sequence[int],
    begin: Begin = dict,
) -> int:
    """Run until the end, a stop, or a failure that another run would not mend."""
    failures, last_epoch = 0, 0
    while True:
        point = None if store is None else store.prepare(identity, begin)
        began = time.monotonic()
        code = _run_once(command, workers, store, point, signals, PATIENCE_S)
        if code in (0, _USER_FAULT) or signals:
            return code
        epoch = 0 if point is None else point.epoch
        got_on = epoch > last_epoch or time.monotonic() - began > _LONG_LIFE_S
        failures, last_epoch = 1 if got_on else failures + 1, epoch
        while True:
            if code != UNAVAILABLE and failures >= _MOST_FAILURES:
                say(f"given up: {failures} runs in a row have failed without getting on")
                return 1
            if not _pause(failures, signals):
                return 1 if code == UNAVAILABLE else code
            try:
                identity = identify()
                break
            except EwmaError as error:
                if not error.retry:
                    raise
                say(f"ewma: {error}")
                code, failures = UNAVAILABLE, failures + 1


def _pause(failures: int, signals: Sequence[int]) -> bool:
    """Wait before the next run; return whether there is to be one."""
    pause_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
    say(f"starting again in {pause_s:g} s")
    until = time.monotonic() + pause_s
    while time.monotonic() < until and not signals:
        time.sleep(_POLL_S)
    return not signals


def supervise(
    command: Command,
    workers: int,
    store: RecoveryStore | None = None,
    point: ResumePoint | None = None,
    *,
    patience_s: float = PATIENCE_S,
) -> int:
    """Start processes, wait for their end and say how it came about.

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
    patience_s : float
        Seconds a graceful stop may take, > 0.

    Returns
    -------
    int
        0 after the end of the input or a graceful stop; a failed worker's own code; 1 when one was
        killed or did not stop in time; 128 + n after a second signal n.
    """
    with _caught_signals() as signals:
        return _run_once(command, workers, store, point, signals, patience_s)


def _run_once(
    command: Command,
    workers: int,
    store: RecoveryStore | None,
    point: ResumePoint | None,
    signals: Sequence[int],
    patience_s: float,
) -> int:
    began = time.monotonic()
    addresses = _free_addresses(workers)
    lock = () if store is None else (store.lock_fd,)
    children: list[subprocess.Popen[bytes]] = []
    try:
        with _blocked_signals():
            for i in range(workers):
                line = command(i, addresses)
                child = subprocess.Popen(line, pass_fds=lock, stdin=subprocess.DEVNULL)
                children.append(child)
        say(_start_line(workers, store, point))
        with contextlib.nullcontext() if store is None else checkpointing(store.parts):
            outcome = _watch(children, signals, patience_s)
    finally:
        _kill(children)
    saved = "no state is kept" if store is None else outcome.state
    say(f"{outcome.text} after {time.monotonic() - began:.1f} s; {saved}")
    return outcome.code


@dataclass(frozen=True)
class _Outcome:
    code: int
    text: str
    state: str = "the next start resumes from the last snapshot"


def _watch(
    children: Sequence[subprocess.Popen[bytes]], signals: Sequence[int], patience_s: float
) -> _Outcome:
    """Wait until all have ended by themselves, or until there is a reason to kill them."""
    kill_at: float | None = None
    while _running(children):
        if _failed(children):
            _wait_all(children, _SETTLE_S)
            break
        if len(signals) > 1:
            return _Outcome(128 + signals[1], "killed by a second signal")
        if signals and kill_at is None:
            kill_at = time.monotonic() + patience_s
            for child in children:
                child.send_signal(signal.SIGTERM)
        if kill_at is not None and time.monotonic() > kill_at:
            return _Outcome(1, f"killed, not stopped within {patience_s:g} s,")
        time.sleep(_POLL_S)
    failed = _failed(children)
    if failed:
        return _blame(failed)
    return _Outcome(0, "stopped" if signals else "finished", "state saved")


def _running(children: Sequence[subprocess.Popen[bytes]]) -> int:
    return sum(child.poll() is None for child in children)


def _failed(children: Sequence[subprocess.Popen[bytes]]) -> dict[int, int]:
    codes = {i: child.returncode for i, child in enumerate(children)}
    return {i: code for i, code in codes.items() if code}


def _blame(failed: dict[int, int]) -> _Outcome:
    """Name the worker that failed first-hand, not those that only lost it."""
    i, code = min(failed.items(), key=lambda item: (item[1] == LOST_PEER, item[1] < 0, item[0]))
    if code < 0:
        return _Outcome(1, f"worker {i} was killed by {signal.Signals(-code).name}")
    if code == LOST_PEER:
        return _Outcome(1, f"worker {i} lost touch with the others")
    return _Outcome(code, f"worker {i} failed")


def _wait_all(children: Sequence[subprocess.Popen[bytes]], limit_s: float) -> None:
    until = time.monotonic() + limit_s
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))


def _kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
    for child in children:
        child.wait()


@contextlib.contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """Collect the stop signals instead of dying of them."""
    caught: list[int] = []
    before = [
        (number, signal.signal(number, lambda n, _: caught.append(n))) for number in STOP_SIGNALS
    ]
    try:
        yield caught
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Let children start with the stop signals held back until they are ready for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def _start_line(workers: int, store: RecoveryStore | None, point: ResumePoint | None) -> str:
    line = f"started {workers} worker{'s' if workers > 1 else ''}"
    if store is None or point is None:
        return line
    line += f", state in '{store.directory}', epoch {point.epoch}"
    return f"{line} ({point.purged} ghost snapshots removed)" if point.purged else line
