"""One process of the cluster: ``python -m ewma_ops.job.worker``, started by the launcher.

Knows how Bytewax is run, stopped and how it hands back errors. It must not know how many
processes should run or what to do when one fails: that is the launcher's.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from ewma_ops.compiled import library
from ewma_ops.errors import DeliveryError, EwmaError, ReadingError
from ewma_ops.job.allocator import keep_freed_memory
from ewma_ops.job.answers import answer_questions
from ewma_ops.job.cluster.addresses import bound
from ewma_ops.job.log import configured, print_line
from ewma_ops.job.measurements import gathered
from ewma_ops.job.notes import leave_note
from ewma_ops.job.processes import exit_now, set_title
from ewma_ops.job.recovery.faults import shortage
from ewma_ops.job.signs import LOST_PEER, UNAVAILABLE, caught_signals
from ewma_ops.lazy import importing
from ewma_ops.secrets.masking import masked_traceback
from ewma_ops.threads import widen_timer_slack_later

if TYPE_CHECKING:
    from ewma_ops.job.dataflow import Job

__all__ = ["die_with_parent", "main", "run_worker", "stop_on_signals"]

_PR_SET_PDEATHSIG = 1
_STARTING_S = 3.0
"""Longer than the engine takes to start; where it is not, the engine starts 0.05 s later."""

_ENDS_S = 20.0
"""After its flow has failed; longer than sinks take to close. The engine ends when its peers have
taken what they were sent, which one that is cut off from this worker never does."""

_UNCONNECTED = "building timely communication pipeline"
"""What the engine says where it could not listen, or a peer ended while it connected."""


class _PortError(EwmaError):
    """A port that a worker was given is no longer free."""

    retry = True


def run_worker(
    build: Callable[[threading.Event], Dataflow],
    *,
    process_id: int,
    addresses: Sequence[str],
    interval: timedelta,
    parts: Path | None,
) -> int:
    """Run one process of a dataflow until its sources end, and return an exit code.

    SIGTERM, SIGINT and SIGHUP only set the event that ``build`` is given; a source that then
    reports its end makes Bytewax take a last snapshot, which is a graceful stop.

    Parameters
    ----------
    build : callable
        Makes the dataflow; its sources must end soon after the event is set.
    process_id : int
        Place of this process among ``addresses``, from 0.
    addresses : sequence of str
        ``host:port`` of every process. With one, nothing listens.
    interval : timedelta
        Time between two snapshots.
    parts : Path or None
        Bytewax's part files; None keeps no state.

    Returns
    -------
    int
        0 at the end of the sources; 2 for what the user can fix, ``UNAVAILABLE`` for a temporary
        error, 1 for other failures (all logged to stderr), ``LOST_PEER`` when another process was
        lost.
    """
    stopping = stop_on_signals()
    recovery = parts and RecoveryConfig(parts)
    peer_id = process_id if len(addresses) > 1 else None

    def give_up() -> None:
        exit_now(_report(noted[-1], peer_id, parts))

    with _noted_errors(None if peer_id is None else give_up) as noted:
        try:
            _refuse_taken(addresses, process_id)
            flow = build(stopping)
            _await_listening(_of_this_host(addresses[:process_id], addresses[process_id]))
            # Bytewax prints a Rust backtrace when it runs without addresses, even for one process.
            cli_main(
                flow,
                process_id=process_id,
                addresses=list(addresses),
                epoch_interval=interval,
                recovery_config=recovery,
            )
        except BaseException as error:  # noqa: BLE001  # an engine panic is no Exception
            # A cluster raises "Send thread panic" without its cause: the noted errors have it.
            cause = noted[-1] if noted and _first_of_ours(error) is None else error
            return _report(cause, peer_id, parts)
    return 0


def stop_on_signals() -> threading.Event:
    """Return an event that the stop signals set from now on; call it from the main thread.

    All threads that this one starts block the signals, but for one that waits for them: a thread of
    the engine that is interrupted while it reads what a peer sends takes that peer for lost.
    """
    stopping = threading.Event()
    numbers = caught_signals()
    # The launcher blocks all of them until here, so that a stop during the imports is graceful too.
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:  # for threads that were there before
        signal.signal(number, lambda *_: stopping.set())

    def wait() -> None:
        signal.sigwait(numbers)
        stopping.set()

    threading.Thread(target=wait, name="ewma_ops-signals", daemon=True).start()
    return stopping


@contextlib.contextmanager
def _noted_errors(give_up: Callable[[], None] | None) -> Iterator[deque[BaseException]]:
    """Collect our own errors and those that wrap them on their way out: Bytewax loses some.

    ``give_up`` is called where the block has not ended in time after one that ends the flow: the
    engine wraps it only when it comes out, which it may never do.
    """
    noted: deque[BaseException] = deque(maxlen=8)
    late = None if give_up is None else threading.Timer(_ENDS_S, give_up)
    if late is not None:
        late.daemon = True

    def note(self: BaseException, *arguments: object) -> None:
        BaseException.__init__(self, *arguments)
        if not isinstance(self, ReadingError):  # that ends no flow
            noted.append(self)
        if late is not None and isinstance(self, (BytewaxRuntimeError, DeliveryError)):
            with contextlib.suppress(RuntimeError):  # it runs already
                late.start()

    BytewaxRuntimeError.__init__ = note  # type: ignore[method-assign]
    EwmaError.__init__ = note  # type: ignore[method-assign]
    try:
        yield noted
    finally:
        del BytewaxRuntimeError.__init__, EwmaError.__init__
        if late is not None:
            late.cancel()


def _refuse_taken(addresses: Sequence[str], process_id: int) -> None:
    """Refuse a port that another program has taken since it was chosen: the engine would panic."""
    if len(addresses) == 1:  # nothing listens
        return
    try:
        bound(addresses[process_id]).close()
    except OSError as error:
        host, _, port = addresses[process_id].rpartition(":")
        raise _PortError(
            f"the port {port} of this worker is not free on {host} ({error.strerror}): the "
            "workers start again, without --cluster with other ports"
        ) from None


def _of_this_host(addresses: Sequence[str], own: str) -> list[str]:
    """Return the addresses that are on the host of one's own; of IPv6 none, for its table."""
    host = own.rpartition(":")[0]
    return [one for one in addresses if one.rpartition(":")[0] == host and "[" not in one]


def _await_listening(addresses: Sequence[str], limit_s: float = 10.0) -> None:
    """Wait for the peers we connect to: one not there yet costs a complaint and a second."""
    table = Path("/proc/net/tcp")
    ports = [f":{int(a.rpartition(':')[2]):04X} 00000000:0000 0A" for a in addresses]
    until = time.monotonic() + limit_s
    while table.exists() and time.monotonic() < until:
        listening = table.read_text()
        if all(port in listening for port in ports):
            return
        time.sleep(0.01)


def _first_of_ours(error: BaseException | None) -> EwmaError | None:
    while error is not None and not isinstance(error, EwmaError):
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return error


def _report(error: BaseException, process_id: int | None, parts: Path | None) -> int:
    """Say on stderr what went wrong; return the exit code."""
    name = "ewma" if process_id is None else f"ewma worker {process_id}"
    ours = _first_of_ours(error)
    if ours is None and parts is not None:
        ours = shortage(parts, str(error))
    if ours is not None:
        if not ours.logged:
            print_line(f"{name}: {ours}", logging.ERROR)
        return 2 if ours.fault == "user" else UNAVAILABLE if ours.retry else 1
    if process_id is not None and type(error).__name__ == "PanicException":
        return LOST_PEER
    if process_id is not None and _UNCONNECTED in str(error):
        print_line(f"{name}: the workers were not connected, as one has ended or a port was taken")
        return LOST_PEER
    print_line(f"{name}: a fault in the program\n{masked_traceback(error)}", logging.ERROR)
    return 1


def die_with_parent(launcher_pid: int) -> None:
    """Have the kernel kill this process when its launcher dies; leave if that has happened.

    Linux only; elsewhere a worker outlives a launcher that was killed, and keeps the lock.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher_pid:
        sys.exit(LOST_PEER)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker that the command line describes; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m ewma_ops.job.worker", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--process-id", type=int, required=True)
    parser.add_argument("--addresses", required=True, help="host:port of each, joined by ';'")
    parser.add_argument("--store", type=Path, help="the store, if not where the file says")
    parser.add_argument("--fence", default="", help="producer id and epoch that records get")
    parser.add_argument("--answered-at", type=float, help="when all leaders of outputs answered")
    parser.add_argument("--launcher", type=int, required=True, help="process id of the parent")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--verbosity", choices=("quiet", "normal", "verbose"), default="normal")
    options = parser.parse_args(arguments)
    name = f"worker-{options.process_id}"
    set_title(f"ewma {name} {options.config}")
    with configured(name, options.log_format, options.verbosity):
        die_with_parent(options.launcher)
        keep_freed_memory()
        answer_questions(gathered)
        return _run_configured(options)


def _say_what_is_missing() -> None:
    if library.kernels is None:
        print_line(
            f"ewma: without compiled loops ({library.missing}): the same results at two to three "
            "times the CPU; python -m ewma_ops.compiled compiles them"
        )


def _run_configured(options: argparse.Namespace) -> int:
    with importing():
        from ewma_ops.connectors.client.fencing import Fence
        from ewma_ops.job.dataflow import build_job
        from ewma_ops.job.recovery.store import RecoveryStore
        from ewma_ops.metrics.families import INPUT_PARTITIONS
        from ewma_ops.settings.load import load

    if options.process_id == 0:
        _say_what_is_missing()
    settings = load(options.config)
    addresses = options.addresses.split(";")
    recovery = settings.recovery
    store = None
    if recovery is not None:
        store = RecoveryStore(recovery.directory if options.store is None else options.store)
    jobs: list[Job] = []

    def build(stopping: threading.Event) -> Dataflow:
        jobs.append(
            build_job(
                settings,
                stopping,
                store,
                only_worker=len(addresses) == 1,
                fence=Fence.parsed(options.fence) if options.fence else None,
                answered_at=options.answered_at,
            )
        )
        parts = jobs[0].source.list_parts()  # which the engine gives to the workers in turn
        INPUT_PARTITIONS.set(len(parts[options.process_id :: len(addresses)]))
        return jobs[0].flow

    # All that the engine lets this thread do is look, each millisecond, whether the flow has ended.
    # Not at once: the engine's own threads inherit it, and sleep a dozen times while they resume.
    widen_timer_slack_later(_STARTING_S)
    code = run_worker(
        build,
        process_id=options.process_id,
        addresses=addresses,
        interval=timedelta(seconds=10) if recovery is None else recovery.interval,
        parts=None if store is None else store.parts,
    )
    if jobs:
        _conclude(jobs[0], code)
    return code


def _conclude(job: Job, code: int) -> None:
    """Leave the counts of a run for the launcher, and commit what it has read, unless it failed."""
    job.report.close()
    leave_note(msgspec.json.encode(job.report.counts()))
    if code == 0:
        try:
            job.source.commit()
        except EwmaError as error:
            print_line(f"the consumer group is behind by an epoch: {error}", logging.WARNING)


if __name__ == "__main__":
    exit_now(main())
