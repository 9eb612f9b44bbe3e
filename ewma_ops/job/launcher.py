"""Start the workers of a job, pass signals on, end them all when one fails, and start again.

Knows processes, the lock and the recovery store's life cycle. It must not know Kafka or what a
flow does. Workers are never restarted inside a process: a new run is made of new ones, on a store
that was cleaned, under a lock that is held from the first run to the last.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from ewma_ops.columns.sealed import check_pickle
from ewma_ops.errors import ConfigError, EwmaError
from ewma_ops.job.recovery.checkpoints import checkpointing
from ewma_ops.job.recovery.store import (
    Begin,
    Beginning,
    Identity,
    RecoveryStore,
    ResumePoint,
    Sound,
)
from ewma_ops.job.relay import Relay, relayed_stderr
from ewma_ops.job.worker import LOST_PEER, STOP_SIGNALS, UNAVAILABLE, caught_signals, say
from ewma_ops.settings.load import load

__all__ = ["GRACE_S", "WAIT_S", "launch", "supervise"]

GRACE_S = 20.0
"""How long a graceful stop may take before the workers are killed: less than Kubernetes' 30 s."""
WAIT_S = 60.0
"""How long the first start waits for brokers."""

_SETTLE_S = 1.0
_POLL_S = 0.05
_USER_FAULT = 2

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0
_MOST_FAILURES = 5
"""In a row, without a position that moved in between: then it is no accident."""
_LONG_LIFE_S = 60.0
"""A run that lived this long got on, also where no store can tell."""
_CLOCK_STEP_S = 5.0
"""What the wall clock may be set back by: Bytewax delays the next snapshot by as much."""

Command = Callable[[int, Sequence[str]], Sequence[str]]
"""Makes the command line of one worker from its place and the addresses of all."""

T = TypeVar("T")


class _StoppedError(Exception):
    """A stop signal came while nothing was running."""


def launch(
    config_path: Path,
    workers: int = 1,
    *,
    identify: Callable[[], Identity] | None = None,
    begin: Begin = Beginning,
    grace_s: float = GRACE_S,
    wait_s: float = WAIT_S,
) -> int:
    """Run the job of a configuration file with a number of worker processes; return an exit code.

    A run that fails is followed by another one, from the last snapshot, after a pause that
    doubles up to 30 s. Not where the fault is the user's, and not when five in a row failed
    without getting on; what may heal, such as a broker that is away, is waited for: for
    ``wait_s`` before the first run, indefinitely after it.

    Nothing here waits for whoever reads standard error: `ewma_ops.job.relay`.

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
    grace_s : float
        Seconds a graceful stop may take, > 0.
    wait_s : float
        Seconds that brokers may be away at the first start, >= 0.

    Returns
    -------
    int
        0 after the end of the input or a graceful stop; 1 when the environment failed, or a stop
        took too long; 2 for a mistake of the user; 128 + n after a second signal n.

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
        worker = [sys.executable, "-m", "ewma_ops.job.worker", str(config_path)]
        place = [f"--process-id={process_id}", f"--addresses={';'.join(addresses)}"]
        return [*worker, *place, f"--launcher={os.getpid()}"]

    with contextlib.ExitStack() as stack:
        stack.enter_context(relayed_stderr())
        signals = stack.enter_context(_caught_signals())
        try:
            identity = _once_ready(lambda: _unless_stopped(identify, signals), signals, wait_s)
            store = None
            if settings.recovery is not None:
                store = RecoveryStore(settings.recovery.directory)
                _once_ready(partial(stack.enter_context, store), signals, wait_s)
        except _StoppedError:
            return 1
        return _keep_running(
            command,
            workers,
            store,
            identity,
            identify,
            signals,
            begin,
            grace_s,
            wait_s,
            check_pickle,
        )


def _keep_running(
    command: Command,
    workers: int,
    store: RecoveryStore | None,
    identity: Identity,
    identify: Callable[[], Identity],
    signals: Sequence[int],
    begin: Begin = Beginning,
    grace_s: float = GRACE_S,
    wait_s: float = WAIT_S,
    sound: Sound | None = None,
) -> int:
    """Run until the end, a stop, or a failure that another run would not mend."""
    failures, last_positions = 0, None

    def prepared(identity: Identity) -> ResumePoint | None:
        if store is None:
            return None
        return store.prepare(identity, lambda: _unless_stopped(begin, signals), sound)

    def prepared_again() -> ResumePoint | None:
        return prepared(_unless_stopped(identify, signals))

    try:
        point = _once_ready(lambda: prepared(identity), signals, wait_s)
        while True:
            began = time.monotonic()
            outcome = _run_once(command, workers, store, point, signals, grace_s)
            code = 1 if outcome.code == UNAVAILABLE else outcome.code
            if signals or (code in (0, _USER_FAULT) and not outcome.again):
                return code
            positions = None if point is None else point.positions
            moved = None not in (positions, last_positions) and positions != last_positions
            got_on = moved or time.monotonic() - began > _LONG_LIFE_S
            last_positions = positions
            if not outcome.again:
                failures = 1 if got_on else failures + 1
                if outcome.code != UNAVAILABLE and failures >= _MOST_FAILURES:
                    say(f"giving up: {failures} consecutive runs failed without making progress")
                    return 1
                _pause(failures, signals)
            point = _once_ready(prepared_again, signals, failures=failures)
    except _StoppedError:
        return 1


def _once_ready(
    make: Callable[[], T],
    signals: Sequence[int],
    wait_s: float = math.inf,
    *,
    failures: int = 0,
) -> T:
    """Call until it does not fail of what may heal, for at most ``wait_s`` seconds.

    Raises
    ------
    EwmaError
        What does not heal, or has not healed in time.
    _StoppedError
        On a stop signal.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            return make()
        except EwmaError as error:
            if not error.retry or time.monotonic() >= until:
                raise
            say(f"ewma: {error}")
        failures += 1
        _pause(failures, signals, until)


def _unless_stopped(ask: Callable[[], T], signals: Sequence[int]) -> T:
    """Ask brokers something in a thread of its own, which a stop signal leaves behind."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="ewma_ops-asking", daemon=True)
    thread.start()
    while thread.is_alive():
        if signals:
            raise _StoppedError
        thread.join(_POLL_S)
    if errors:
        raise errors[0]
    return answers[0]


def _pause(failures: int, signals: Sequence[int], until: float = math.inf) -> None:
    """Wait before the next try, longer with each failure; `_StoppedError` on a stop signal."""
    pause_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
    pause_s = min(pause_s, max(0.0, until - time.monotonic()))
    say(f"starting again in {pause_s:.3g} s")
    end = time.monotonic() + pause_s
    while time.monotonic() < end and not signals:
        time.sleep(_POLL_S)
    if signals:
        raise _StoppedError


def supervise(
    command: Command,
    workers: int,
    store: RecoveryStore | None = None,
    point: ResumePoint | None = None,
    *,
    grace_s: float = GRACE_S,
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
    grace_s : float
        Seconds a graceful stop may take, > 0.

    Returns
    -------
    int
        0 after the end of the input or a graceful stop; a failed worker's own code; 1 when one was
        killed or did not stop in time; 128 + n after a second signal n.
    """
    with relayed_stderr(), _caught_signals() as signals:
        return _run_once(command, workers, store, point, signals, grace_s).code


@dataclass(frozen=True)
class _Outcome:
    code: int
    text: str
    state: str = "the next start resumes from the last snapshot"
    again: bool = False
    """Whether another run is to follow although this one did not fail."""


def _run_once(
    command: Command,
    workers: int,
    store: RecoveryStore | None,
    point: ResumePoint | None,
    signals: Sequence[int],
    grace_s: float,
) -> _Outcome:
    began = time.monotonic()
    addresses = _free_addresses(workers)
    lock = () if store is None else (store.lock_fd,)
    children: list[subprocess.Popen[bytes]] = []
    clock = None if store is None else _WallClock()
    try:
        with _blocked_signals(), _worker_stderr() as stderr:
            for i in range(workers):
                line = command(i, addresses)
                child = subprocess.Popen(
                    line, pass_fds=lock, stdin=subprocess.DEVNULL, stderr=stderr
                )
                children.append(child)
        say(_start_line(workers, store, point))
        with contextlib.nullcontext() if store is None else checkpointing(store.parts):
            outcome = _watch(children, signals, grace_s, clock)
    finally:
        _kill(children)
    saved = "no state is kept" if store is None else outcome.state
    say(f"{outcome.text} after {time.monotonic() - began:.1f} s; {saved}")
    return outcome


@contextlib.contextmanager
def _worker_stderr() -> Iterator[int | None]:
    """Yield what workers write their log to: a pipe into the relay, where there is one."""
    relay = sys.stderr
    if not isinstance(relay, Relay):
        yield None
        return
    ours, theirs = os.pipe()
    relay.forward(ours)
    try:
        yield theirs
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


def _watch(
    children: Sequence[subprocess.Popen[bytes]],
    signals: Sequence[int],
    grace_s: float,
    clock: _WallClock | None = None,
) -> _Outcome:
    """Wait until all have ended by themselves, or until there is a reason to kill them."""
    kill_at: float | None = None
    again = False
    while _running(children):
        if _failed(children):
            _wait_all(children, _SETTLE_S)
            break
        if len(signals) > 1:
            return _Outcome(128 + signals[1], "killed by a second signal")
        if clock is not None and not again and (set_back_s := clock.set_back_s()) > _CLOCK_STEP_S:
            say(f"the clock was set back by {set_back_s:.0f} s: starting the workers again")
            again = True
        if (signals or again) and kill_at is None:
            kill_at = time.monotonic() + grace_s
            for child in children:
                child.send_signal(signal.SIGTERM)
        if kill_at is not None and time.monotonic() > kill_at:
            return _Outcome(1, f"killed, not stopped within {grace_s:g} s,")
        time.sleep(_POLL_S)
    failed = _failed(children)
    if failed:
        return _blame(failed)
    return _Outcome(0, "stopped" if signals or again else "finished", "state saved", again)


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
    """Collect the stop signals instead of dying of them.

    A terminal that is closed sends SIGHUP twice, as the kernel and the shell both do: of that one
    the second is not a second wish.
    """
    caught: list[int] = []

    def catch(number: int, _: object) -> None:
        if not (caught and number == signal.SIGHUP):
            caught.append(number)

    before = [(number, signal.signal(number, catch)) for number in caught_signals()]
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
