"""Start the workers of a job, pass signals on, end them all when one fails, and start again.

Knows processes, the lock and the recovery store's life cycle. It must not know Kafka or what a
flow does. Workers are never restarted inside a process: a new run is made of new ones, on a store
that was cleaned, under a lock that is held from the first run to the last.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from ewma_ops.columns.sealed import check_pickle
from ewma_ops.errors import ConfigError, EwmaError
from ewma_ops.job.answers import Lines
from ewma_ops.job.discovery import Discovery
from ewma_ops.job.log import LogFormat, Verbosity, framed, print_line
from ewma_ops.job.measurements import Measurements
from ewma_ops.job.processes import Program, Start, forked_ahead, spawn
from ewma_ops.job.progress import REPORT_EVERY_S, reporting
from ewma_ops.job.recovery.manifest import (
    Beginning,
    ExtendBeginning,
    FindBeginning,
    Identity,
    as_it_was,
)
from ewma_ops.job.recovery.part_files import ResumePoint, Sound
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.relay import relayed_stderr
from ewma_ops.job.report import Counts, Report, total
from ewma_ops.job.signs import UNAVAILABLE
from ewma_ops.job.supervisor import (
    GRACE_S,
    POLL_S,
    Command,
    Overtaken,
    collecting_signals,
    run_once,
)
from ewma_ops.lazy import importing
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings

__all__ = ["WAIT_S", "launch", "once_ready", "workers_ahead"]

WAIT_S = 60.0
"""How long the first start waits for brokers."""

_USER_FAULT = 2
_WORKER = (sys.executable, "-m", "ewma_ops.job.worker")
_BYTEWAX_ENDPOINT = "BYTEWAX_DATAFLOW_API_ENABLED"

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0
_GIVING_UP = "giving up: {} consecutive runs failed without making progress"
_MOST_FAILURES = 5
"""In a row, without a position that moved in between: then it is no accident."""
_LONG_LIFE_S = 60.0
"""A run that lived this long made progress, also where there is no store to show it."""


T = TypeVar("T")


class _StoppedError(Exception):
    """A stop signal came while nothing was running."""


def launch(
    config_path: Path,
    workers: int = 1,
    *,
    identify: Callable[[], Identity] | None = None,
    find_beginning: FindBeginning = Beginning,
    extend_beginning: ExtendBeginning = as_it_was,
    changes: Overtaken | None = None,
    grace_s: float = GRACE_S,
    wait_s: float = WAIT_S,
    log_format: LogFormat = "text",
    verbosity: Verbosity = "normal",
    report_every_s: float = REPORT_EVERY_S,
    start: Start = spawn,
) -> int:
    """Run the job of a configuration file with a number of worker processes; return an exit code.

    A run that fails is followed by another one, from the last snapshot, after a pause that
    doubles up to 30 s. Not where the fault is the user's, and not when five in a row failed
    without making progress; what may recover, such as a broker that is away, is waited for: for
    ``wait_s`` before the first run, indefinitely after it.

    Where topics or partitions come to the input, the workers are stopped gracefully and started
    again, once per ``input.discover`` at most; not without a recovery store, as they would then
    start over.

    Nothing here waits for whoever reads standard error: `ewma_ops.job.relay`.

    Call it from the main thread: signals and the life of the workers depend on that.

    Parameters
    ----------
    config_path : Path
        The TOML file.
    workers : int
        Processes, >= 1.
    identify : callable or None
        Says before each run what the recovery store belongs to; None takes the settings' own.
    find_beginning : callable
        Says where in the input a job begins whose recovery store is new.
    extend_beginning : callable
        Adds what is new in the input to where a job began whose recovery store is not.
    changes : callable or None
        Says what there is in the input that the run does not read; None never asks.
    grace_s : float
        Seconds a graceful stop may take, > 0.
    wait_s : float
        Seconds that brokers may be away at the first start, >= 0.
    log_format, verbosity
        Of the workers' logs; that of this process is its caller's.
    report_every_s
        Seconds between two lines on rate, lag and dead letters, > 0.
    start
        Makes a process of a worker's command line; see `workers_ahead`.

    Returns
    -------
    int
        0 after the end of the input or a graceful stop; 1 when the environment failed, a stop
        took too long, or every message up to the end was a dead letter; 2 for a mistake of the
        user; 128 + n after a second signal n.

    Raises
    ------
    ConfigError, StateError, BrokerError
        Before anything was started.
    """
    if workers < 1:
        raise ConfigError(f"workers = {workers}: at least 1 process must run")
    settings = load(config_path)
    identify = settings.identity if identify is None else identify
    measurements = _measurements(settings)
    with contextlib.ExitStack() as stack:
        stack.enter_context(relayed_stderr(framed))
        stack.enter_context(_serving(settings, measurements))
        stack.enter_context(reporting(measurements, report_every_s))
        signals = stack.enter_context(collecting_signals())
        try:
            identity = once_ready(lambda: _unless_stopped(identify, signals), signals, wait_s)
            store = _locked_store(settings, stack, signals, wait_s)
        except _StoppedError:
            return 1
        endless = settings.input.stop == "never"
        every = settings.input.discover if store is not None and endless else None
        return _keep_running(
            partial(_worker_command, config_path, log_format, verbosity),
            workers,
            store,
            identity,
            identify,
            signals,
            find_beginning,
            grace_s,
            wait_s,
            check_pickle,
            extend_beginning,
            None if changes is None or every is None else partial(Discovery, changes, every),
            until_end=not endless,
            measurements=measurements,
            start=start,
        )


def workers_ahead(workers: int) -> AbstractContextManager[Start]:
    """Fork the processes of the first workers, with all that a worker imports; for `launch`.

    Call it before this process has a second thread: `forked_ahead`.
    """
    return forked_ahead(workers, _worker_program)


def _worker_program() -> Program:
    with importing():
        # The first of them is imported when a worker has its configuration.
        from ewma_ops.job import dataflow  # noqa: F401
        from ewma_ops.job.worker import main
    return lambda command: main(command[len(_WORKER) :])


def _locked_store(
    settings: Settings, stack: contextlib.ExitStack, signals: Sequence[int], wait_s: float
) -> RecoveryStore | None:
    if settings.recovery is None:
        return None
    store = RecoveryStore(settings.recovery.directory)
    return once_ready(partial(stack.enter_context, store), signals, wait_s)


def _worker_command(
    config: Path,
    log_format: LogFormat,
    verbosity: Verbosity,
    process_id: int,
    addresses: Sequence[str],
) -> list[str]:
    place = [f"--process-id={process_id}", f"--addresses={';'.join(addresses)}"]
    log = [f"--log-format={log_format}", f"--verbosity={verbosity}"]
    return [*_WORKER, str(config), *place, *log, f"--launcher={os.getpid()}"]


def _measurements(settings: Settings) -> Measurements:
    interval = None if settings.recovery is None else settings.recovery.interval.total_seconds()
    return Measurements(Lines(), settings.output.delivery, interval)


@contextlib.contextmanager
def _serving(settings: Settings, measurements: Measurements) -> Iterator[None]:
    """Serve the metrics of a job where its configuration says, if it does."""
    if os.environ.pop(_BYTEWAX_ENDPOINT, None) is not None:
        print_line(
            f"ewma: {_BYTEWAX_ENDPOINT} is left out of account, as that endpoint is open to the "
            'network: set bind = "127.0.0.1:9464" in [metrics] for metrics of all workers',
            logging.WARNING,
        )
    if settings.metrics is None:
        yield
        return
    # Here, as it takes a tenth of a second to import.
    from ewma_ops.job.endpoint import serving

    with serving(settings.metrics.bind, measurements) as address:
        print_line(f"metrics at {address}/metrics, health at /healthz and /readyz")
        yield


def _keep_running(
    command: Command,
    workers: int,
    store: RecoveryStore | None,
    identity: Identity,
    identify: Callable[[], Identity],
    signals: Sequence[int],
    find_beginning: FindBeginning = Beginning,
    grace_s: float = GRACE_S,
    wait_s: float = WAIT_S,
    sound: Sound | None = None,
    extend_beginning: ExtendBeginning = as_it_was,
    discovery: Callable[[], Discovery] | None = None,
    *,
    until_end: bool = False,
    measurements: Measurements | None = None,
    start: Start = spawn,
) -> int:
    """Run until the end, a stop, or a failure that another run would not fix."""
    failures, last_positions, report = 0, None, Report()
    measurements = Measurements(Lines(), "") if measurements is None else measurements
    prepared = _preparing(store, signals, find_beginning, extend_beginning, sound)
    prepare_again = partial(_prepared_again, prepared, identify, signals)
    try:
        point = once_ready(lambda: prepared(identity), signals, wait_s)
        while True:
            began = time.monotonic()
            with contextlib.nullcontext() if discovery is None else discovery() as found:
                overtaken = _never if found is None else found.reason
                told = signals, grace_s, overtaken, measurements.lines, start
                outcome = run_once(command, workers, store, point, *told)
            _conclude(outcome.notes, report)
            in_vain = report.nothing_readable and outcome.code == 0 and until_end and not signals
            code = 1 if in_vain or outcome.code == UNAVAILABLE else outcome.code
            if signals or (outcome.code in (0, _USER_FAULT) and not outcome.again):
                return code
            positions = None if point is None else point.positions
            moved = None not in (positions, last_positions) and positions != last_positions
            got_on = moved or time.monotonic() - began > _LONG_LIFE_S
            last_positions = positions
            if not outcome.again:
                failures = 1 if got_on else failures + 1
                if outcome.code != UNAVAILABLE and failures >= _MOST_FAILURES:
                    print_line(_GIVING_UP.format(failures), logging.ERROR)
                    return 1
                _pause(failures, signals)
            measurements.restarted(outcome.reason)
            point = once_ready(prepare_again, signals, failures=failures)
    except _StoppedError:
        return 1


def _prepared_again(
    prepared: Callable[[Identity], ResumePoint | None],
    identify: Callable[[], Identity],
    signals: Sequence[int],
) -> ResumePoint | None:
    return prepared(_unless_stopped(identify, signals))


def _conclude(notes: Sequence[bytes], so_far: Report) -> None:
    """Say what the workers of a run have read and made, and add it to that of the runs before."""
    counts = [msgspec.json.decode(note, type=Counts) for note in notes]
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


def _preparing(
    store: RecoveryStore | None,
    signals: Sequence[int],
    find_beginning: FindBeginning,
    extend_beginning: ExtendBeginning,
    sound: Sound | None,
) -> Callable[[Identity], ResumePoint | None]:
    """Return what prepares the store, where there is one; a stop signal leaves brokers behind."""
    begin = partial(_unless_stopped, find_beginning, signals)

    def extend(noted: Beginning) -> Beginning:
        return _unless_stopped(partial(extend_beginning, noted), signals)

    def prepared(identity: Identity) -> ResumePoint | None:
        return None if store is None else store.prepare(identity, begin, sound, extend)

    return prepared


def _never() -> str:
    return ""


def once_ready(
    make: Callable[[], T],
    signals: Sequence[int],
    wait_s: float = math.inf,
    *,
    failures: int = 0,
) -> T:
    """Call until it no longer fails with a temporary error, for at most ``wait_s`` seconds.

    Raises
    ------
    EwmaError
        A permanent error, or a temporary one that lasted too long.
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
            print_line(f"ewma: {error}", logging.WARNING)
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
        thread.join(POLL_S)
    if errors:
        raise errors[0]
    return answers[0]


def _pause(failures: int, signals: Sequence[int], until: float = math.inf) -> None:
    """Wait before the next try, longer with each failure; `_StoppedError` on a stop signal."""
    pause_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _LONGEST_PAUSE_S)
    pause_s = min(pause_s, max(0.0, until - time.monotonic()))
    print_line(f"starting again in {pause_s:.3g} s")
    end = time.monotonic() + pause_s
    while time.monotonic() < end and not signals:
        time.sleep(POLL_S)
    if signals:
        raise _StoppedError
