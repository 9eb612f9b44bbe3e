"""Starts a job from its configuration: opens its store and metrics, then keeps its workers running.

Knows settings, the lock and the command line of a worker. It must not know Kafka or what a flow
does. Which run follows which is known by `ewma_ops.job.runs`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ewma_ops.columns.sealed import check_pickle
from ewma_ops.errors import ConfigError
from ewma_ops.job.answers import Lines
from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.coordinated import Coordinated, coordinated
from ewma_ops.job.discovery import Discovery
from ewma_ops.job.follower import follow
from ewma_ops.job.log import LogFormat, Verbosity, framed, print_line
from ewma_ops.job.measurements import Measurements
from ewma_ops.job.place import epoch_kept, hello, machine_of, member_store, recovery_of
from ewma_ops.job.processes import Program, Start, forked_ahead, spawn
from ewma_ops.job.progress import REPORT_EVERY_S, reporting
from ewma_ops.job.recovery.manifest import (
    Identity,
)
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.relay import relayed_stderr
from ewma_ops.job.runs import WAIT_S, Lookups, Runs
from ewma_ops.job.supervisor import (
    GRACE_S,
    collecting_signals,
)
from ewma_ops.job.waiting import StoppedError, once_ready, unless_stopped
from ewma_ops.lazy import importing
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings

__all__ = ["launch", "workers_ahead"]

_WORKER = (sys.executable, "-m", "ewma_ops.job.worker")
_BYTEWAX_ENDPOINT = "BYTEWAX_DATAFLOW_API_ENABLED"


def launch(
    config_path: Path,
    workers: int,
    lookups: Lookups,
    *,
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
    lookups : Lookups
        What is looked up before each run, and during it.
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
    settings = load(config_path)
    measurements = _measurements(settings, cluster)
    watched = _watched(settings, measurements, report_every_s)
    with relayed_stderr(framed), watched, collecting_signals() as signals, ExitStack() as stack:
        _check_count(workers if cluster is None else len(cluster.worker_addresses), settings.shards)
        command = partial(_worker_command, config_path, log_format, verbosity)
        try:
            if cluster is not None and cluster.place:
                lines = measurements.lines
                return _follow(settings, cluster, command, signals, grace_s, wait_s, lines, start)
            opened = _opened(stack, settings, cluster, lookups, signals, wait_s)
        except StoppedError:
            return 1
        runs = Runs(
            partial(command, None),
            workers,
            lookups,
            signals,
            opened.store,
            sound=check_pickle,
            together=opened.together,
            discovery=None if opened.store is None else _discovery(settings, lookups),
            until_end=settings.input.stop == "end",
            grace_s=grace_s,
            start=start,
            measurements=measurements,
        )
        return runs.keep_running(opened.identity, wait_s)


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


def _discovery(settings: Settings, lookups: Lookups) -> Callable[[], Discovery] | None:
    """Return the search for new topics and partitions, if it is enabled."""
    every = settings.input.discover
    if every is None or settings.input.stop == "end":
        return None
    return partial(Discovery, lookups.changes, every)


class _Opened(NamedTuple):
    """The state of a job before its first run."""

    store: RecoveryStore | None
    identity: Identity
    together: Coordinated | None


def _check_count(workers: int, shards: int) -> None:
    if workers < 1:
        raise ConfigError(f"workers = {workers}: at least 1 process must run")
    if workers > shards:
        print_line(
            f"{workers} workers for {shards} shards: {workers - shards} of them keep no series; "
            "start no more workers than smooth.shards",
            logging.WARNING,
        )


def _opened(
    stack: ExitStack,
    settings: Settings,
    cluster: Cluster | None,
    lookups: Lookups,
    signals: Sequence[int],
    wait_s: float,
) -> _Opened:
    """Look the job up, lock its store, and begin to coordinate its places, if it has several."""
    identity = once_ready(lambda: unless_stopped(lookups.identify, signals), signals, wait_s)
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
