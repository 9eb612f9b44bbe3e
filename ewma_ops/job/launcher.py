"""Starts the workers of a job, passes signals on, ends all when one fails, and restarts them.

Knows processes, the lock and the recovery store's life cycle. It must not know Kafka or what a flow
does. Workers are never restarted inside a process: a new run has new processes, on a cleaned store,
under a lock that is held from the first run to the last.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from ewma_ops.columns.sealed import check_pickle
from ewma_ops.errors import ConfigError
from ewma_ops.job.answers import Lines
from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.coordinated import Coordinated, coordinated, go_on_alone
from ewma_ops.job.discovery import Discovery
from ewma_ops.job.follower import follow
from ewma_ops.job.log import LogFormat, Verbosity, framed, print_line
from ewma_ops.job.measurements import Measurements
from ewma_ops.job.outcome import LOST_HOST, Outcome
from ewma_ops.job.place import epoch_kept, hello, machine_of, member_store, recovery_of
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
from ewma_ops.job.report import Counts, Report, counted, total
from ewma_ops.job.signs import UNAVAILABLE
from ewma_ops.job.supervisor import (
    GRACE_S,
    Command,
    Overtaken,
    collecting_signals,
    run_once,
)
from ewma_ops.job.waiting import StoppedError, once_ready, pause, unless_stopped
from ewma_ops.lazy import importing
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings

__all__ = ["WAIT_S", "launch", "workers_ahead"]

WAIT_S = 60.0
"""How long the first start waits for brokers."""

_USER_FAULT = 2
_WORKER = (sys.executable, "-m", "ewma_ops.job.worker")
_BYTEWAX_ENDPOINT = "BYTEWAX_DATAFLOW_API_ENABLED"

_GIVING_UP = "giving up: {} consecutive runs failed without making progress"
_MOST_FAILURES = 5
"""Consecutive failures without progress in positions: then it is no coincidence."""
_LONG_LIFE_S = 60.0
"""A run that lasted this long made progress, even if there is no store to show it."""


def launch(
    config_path: Path,
    workers: int = 1,
    *,
    identify: Callable[[], Identity] | None = None,
    find_beginning: FindBeginning = Beginning,
    extend_beginning: ExtendBeginning = as_it_was,
    changes: Overtaken | None = None,
    fence: Callable[[], str] = lambda: "",
    leaders_answered: Callable[[], float | None] = lambda: None,
    grace_s: float = GRACE_S,
    wait_s: float = WAIT_S,
    log_format: LogFormat = "text",
    verbosity: Verbosity = "normal",
    report_every_s: float = REPORT_EVERY_S,
    start: Start = spawn,
    cluster: Cluster | None = None,
) -> int:
    """Run the job of a configuration file with a number of worker processes; return an exit code.

    A run that fails is followed by another one, from the last snapshot, after a pause that doubles
    up to 30 s. It is not repeated if the fault is the user's, or after five consecutive failures
    without progress. Temporary failures, such as unreachable brokers, are waited for: for
    ``wait_s`` before the first run, indefinitely after it.

    If topics or partitions are added to the input, the workers are stopped gracefully and started
    again, at most once per ``input.discover``; not without a recovery store, because they would
    start over.

    With a ``cluster`` these are the workers of one of several machines, and a run begins when the
    launchers of all are connected. The first one keeps the state, and does all of the above.

    Nothing here waits for the reader of standard error: see `ewma_ops.job.relay`.

    Call it from the main thread: signals and the lifetime of the workers depend on that.

    Parameters
    ----------
    config_path : Path
        The TOML file.
    workers : int
        Processes, >= 1.
    identify : callable or None
        Returns before each run the identity of the recovery store; None takes the settings' own.
    find_beginning : callable
        Returns where in the input a job with a new recovery store begins.
    extend_beginning : callable
        Adds new input to the beginning of a job whose recovery store is not new.
    changes : callable or None
        Returns which input the run does not read; None never asks.
    fence : callable
        Fences earlier runs off, and returns the fence of the next one; called with a ``cluster``,
        or after a run was cut short.
    leaders_answered : callable
        Asks the leaders of what the workers write to, and says when they had answered; called
        before each run of this machine alone, when no earlier worker is alive.
    grace_s : float
        Seconds a graceful stop may take, > 0.
    wait_s : float
        Seconds to wait for brokers at the first start, >= 0.
    log_format, verbosity
        Of the workers' logs; the caller configures that of this process.
    report_every_s
        Seconds between two lines on rate, lag and dead letters, > 0.
    start
        Starts a process from a worker's command line; see `workers_ahead`.
    cluster
        The machines of the job, with as many ``workers``; None for this one alone.

    Returns
    -------
    int
        0 after the end of the input or a graceful stop; 1 when the environment failed, a stop
        took too long, or every message up to the end was a dead letter; 2 for a mistake of the
        user; 128 + n after a second signal n.

    Raises
    ------
    ConfigError, StateError, BrokerError
        Before anything is started.
    """
    if workers < 1:
        raise ConfigError(f"workers = {workers}: at least 1 process must run")
    settings = load(config_path)
    identify = settings.identity if identify is None else identify
    measurements = _measurements(settings, cluster)
    watched = _watched(settings, measurements, report_every_s)
    with relayed_stderr(framed), watched, collecting_signals() as signals, ExitStack() as stack:
        command = partial(_worker_command, config_path, log_format, verbosity)
        try:
            if cluster is not None and cluster.place:
                own = signals, grace_s, wait_s, measurements.lines, start
                return _follow(settings, cluster, command, *own)
            opened = _opened(stack, settings, cluster, identify, signals, wait_s)
        except StoppedError:
            return 1
        given = signals, find_beginning, grace_s, wait_s, check_pickle, extend_beginning
        return _keep_running(
            partial(command, None),
            workers,
            opened.store,
            opened.identity,
            identify,
            *given,
            None if opened.store is None else _discovery(settings, changes),
            until_end=settings.input.stop == "end",
            measurements=measurements,
            start=start,
            together=opened.together,
            fence=fence,
            leaders_answered=leaders_answered,
        )


def workers_ahead(workers: int) -> AbstractContextManager[Start]:
    """Fork the processes of the first workers, with everything that a worker imports; for `launch`.

    Call it before this process has a second thread: `forked_ahead`.
    """
    return forked_ahead(workers, _worker_program)


def _worker_program() -> Program:
    with importing():
        # The first of them is imported when a worker has its configuration.
        from ewma_ops.job import dataflow  # noqa: F401
        from ewma_ops.job.worker import main
    return lambda command: main(command[len(_WORKER) :])


def _discovery(settings: Settings, changes: Overtaken | None) -> Callable[[], Discovery] | None:
    """Return the search for new topics and partitions, if it is enabled."""
    every = settings.input.discover
    if changes is None or every is None or settings.input.stop == "end":
        return None
    return partial(Discovery, changes, every)


class _Opened(NamedTuple):
    """The state of a job before its first run."""

    store: RecoveryStore | None
    identity: Identity
    together: Coordinated | None


def _opened(
    stack: ExitStack,
    settings: Settings,
    cluster: Cluster | None,
    identify: Callable[[], Identity],
    signals: Sequence[int],
    wait_s: float,
) -> _Opened:
    """Look the job up, lock its store, and begin to coordinate its places, if it has several."""
    identity = once_ready(lambda: unless_stopped(identify, signals), signals, wait_s)
    if settings.recovery is None and cluster is None:
        return _Opened(None, identity, None)
    store = RecoveryStore(recovery_of(settings).directory)
    once_ready(partial(stack.enter_context, store), signals, wait_s)
    if cluster is None:
        return _Opened(store, identity, None)
    enter = partial(coordinated, cluster, hello(settings, cluster), store)
    together = once_ready(lambda: stack.enter_context(enter()), signals, wait_s)
    return _Opened(store, identity, together)


def _follow(
    settings: Settings,
    cluster: Cluster,
    command: Callable[..., Sequence[str]],
    signals: Sequence[int],
    grace_s: float,
    wait_s: float,
    lines: Lines,
    start: Start,
) -> int:
    """Run the workers of a place that keeps no state."""
    kept = RecoveryStore(recovery_of(settings).directory)
    store = member_store(kept)
    with ExitStack() as stack:
        once_ready(partial(stack.enter_context, store), signals, wait_s)
        machine = once_ready(partial(machine_of, store), signals, wait_s)
        own = hello(settings, cluster, machine, epoch_kept(settings, kept))
        command = partial(command, store.directory)
        return follow(cluster, own, command, store, signals, grace_s, wait_s, lines, start)


def _worker_command(
    config: Path,
    log_format: LogFormat,
    verbosity: Verbosity,
    store: Path | None,
    process_id: int,
    addresses: Sequence[str],
) -> list[str]:
    worker = [*_WORKER, str(config), *([] if store is None else [f"--store={store}"])]
    place = [f"--process-id={process_id}", f"--addresses={';'.join(addresses)}"]
    log = [f"--log-format={log_format}", f"--verbosity={verbosity}"]
    return [*worker, *place, *log, f"--launcher={os.getpid()}"]


def _measurements(settings: Settings, cluster: Cluster | None) -> Measurements:
    interval = None if settings.recovery is None else settings.recovery.interval.total_seconds()
    first = 0 if cluster is None else cluster.first_worker
    return Measurements(Lines(), settings.output.delivery, interval, first)


@contextlib.contextmanager
def _watched(settings: Settings, measurements: Measurements, every_s: float) -> Iterator[None]:
    """Serve metrics if asked to, and log a line on progress at intervals."""
    with _serving(settings, measurements), reporting(measurements, every_s):
        yield


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
    # Imported here, because it takes a tenth of a second.
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
    together: Coordinated | None = None,
    fence: Callable[[], str] = lambda: "",
    leaders_answered: Callable[[], float | None] = lambda: None,
) -> int:
    """Run until the end, a stop, or a failure that another run would repeat."""
    failures, report = _Failures(), Report()
    measurements = Measurements(Lines(), "") if measurements is None else measurements
    asks = identify, find_beginning, extend_beginning, sound, fence, leaders_answered
    prepared = _preparing(command, store, signals, together, *asks)
    try:
        _gather(together, signals)
        point, orders = once_ready(lambda: prepared(identity), signals, wait_s)
        while True:
            began = time.monotonic()
            with contextlib.nullcontext() if discovery is None else discovery() as found:
                overtaken = _never if found is None else found.reason
                given = signals, grace_s, overtaken, measurements.lines
                run = partial(run_once, orders, workers, store, point, *given, start=start)
                outcome = run() if together is None else together.run(run, signals, grace_s)
            _conclude(outcome.notes, report)
            in_vain = report.nothing_readable and outcome.code == 0 and until_end and not signals
            code = 1 if in_vain or outcome.code == UNAVAILABLE else outcome.code
            if signals or (outcome.code in (0, _USER_FAULT) and not outcome.again):
                return _ended(together, code, signals)
            if failures.are_enough(outcome, point, time.monotonic() - began):
                print_line(_GIVING_UP.format(failures.count), logging.ERROR)
                return _ended(together, 1, signals)
            if failures.pause:
                pause(max(1, failures.count), signals)
            measurements.restarted(outcome.reason)
            _gather(together, signals)
            point, orders = once_ready(prepared, signals, failures=failures.count)
    except StoppedError:
        return 1


def _orders(command: Command, answered_at: float | None) -> Command:
    """Return what makes the command line of a worker, with what only this run has."""
    if answered_at is None:
        return command
    return lambda place, addresses: [*command(place, addresses), f"--answered-at={answered_at!r}"]


def _ended(together: Coordinated | None, code: int, signals: Sequence[int]) -> int:
    """Return the exit code, which the other places use too, unless only this one stops."""
    if together is not None and not signals:
        together.exit(code)
    return code


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


def _gather(together: Coordinated | None, signals: Sequence[int]) -> None:
    if together is not None and not together.gather(lambda: bool(signals)):
        raise StoppedError


class _Prepared(NamedTuple):
    """Where a run begins, and what makes the command line of a worker of that run."""

    point: ResumePoint | None
    orders: Command


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


def _preparing(
    command: Command,
    store: RecoveryStore | None,
    signals: Sequence[int],
    together: Coordinated | None,
    identify: Callable[[], Identity],
    find_beginning: FindBeginning,
    extend_beginning: ExtendBeginning,
    sound: Sound | None,
    fence: Callable[[], str],
    leaders_answered: Callable[[], float | None],
) -> Callable[..., _Prepared]:
    """Return the preparation of the store, if any; a stop signal does not wait for brokers."""
    begin = partial(unless_stopped, find_beginning, signals)

    def extend(noted: Beginning) -> Beginning:
        return unless_stopped(partial(extend_beginning, noted), signals)

    def prepared(found: Identity | None = None) -> _Prepared:
        identity = unless_stopped(identify, signals) if found is None else found
        answered_at = None
        if together is not None:
            together.check_store()
        elif store is not None:  # whose lock every earlier worker held as long as it lived
            answered_at = unless_stopped(leaders_answered, signals)
        point = None if store is None else store.prepare(identity, begin, sound, extend)
        raised = partial(unless_stopped, fence, signals)
        if together is not None:
            together.raise_fence(raised)
        elif store is not None and go_on_alone(store, raised):
            answered_at = None  # workers elsewhere may have sent something since
        return _Prepared(point, _orders(command, answered_at))

    return prepared


def _never() -> str:
    return ""
