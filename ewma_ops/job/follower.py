"""A place of a cluster other than 0: runs its workers on orders of place 0, and keeps no state.

Knows the lock and the processes of this machine; must not know Kafka, nor when a run may begin.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from ewma_ops.errors import EwmaError
from ewma_ops.job.answers import Lines
from ewma_ops.job.cluster.errors import ClusterError
from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.cluster.link import Link
from ewma_ops.job.cluster.messages import Ended, Hello, Run
from ewma_ops.job.log import print_line
from ewma_ops.job.outcome import Outcome, failure
from ewma_ops.job.processes import Start, spawn
from ewma_ops.job.recovery.faults import named_errors
from ewma_ops.job.recovery.files import replace_file
from ewma_ops.job.recovery.manifest import MANIFEST
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.supervisor import Command, run_once
from ewma_ops.job.waiting import POLL_S, Deadline, Waits

__all__ = ["follow"]


def follow(
    cluster: Cluster,
    own: Hello,
    command: Command,
    store: RecoveryStore,
    signals: Sequence[int],
    grace_s: float,
    wait_s: float,
    lines: Lines,
    start: Start = spawn,
) -> int:
    """Run the workers of this place again and again, until the job or this launcher is to end.

    Parameters
    ----------
    cluster, own
        All machines, and the description of this one.
    command
        Makes the command line of a worker.
    store
        As for `ewma_ops.job.place.member_store`, locked.
    signals
        Stop signals as they come.
    grace_s, wait_s
        As for `ewma_ops.job.launcher.launch`; the latter is how long place 0 may refuse this one.
    lines
        The lines to the workers.
    start
        Starts a process from a worker's command line.

    Returns
    -------
    int
        An exit code, as of ``launch``.

    Raises
    ------
    ClusterError
        If place 0 refuses this one for longer than that.
    """
    print_line(f"place {cluster.place} of {len(cluster.addresses)}, led by {cluster.name(0)}")
    with Link(cluster, own) as link:
        while True:
            run = _await_run(link, signals, wait_s)
            if run is None:
                code = link.exit_code
                return 1 if code is None else code
            outcome = _adopt(store, run) or run_once(
                command,
                cluster.workers,
                store,
                None,
                signals,
                grace_s,
                lines=lines,
                others=link,
                start=start,
            )
            notes = list(outcome.notes)
            link.end(Ended(run.id, outcome.code, outcome.text, outcome.again, notes))
            if signals:
                link.await_delivery()
                return outcome.code


def _await_run(link: Link, signals: Sequence[int], wait_s: float) -> Run | None:
    """Wait for a run to begin; None if the job has ended, or this launcher should stop."""
    waits, patience = Waits(), Deadline(wait_s)
    while not signals and link.exit_code is None:
        if (run := link.begin()) is not None:
            return run
        refused = link.refused
        if not refused:
            patience = Deadline(wait_s)
        elif patience.has_passed():
            raise ClusterError(refused)
        if waits_for := link.waits_for():
            waits.say(waits_for, logging.WARNING if refused else logging.INFO)
        time.sleep(POLL_S)
    return None


def _adopt(store: RecoveryStore, run: Run) -> Outcome | None:
    """Write place 0's manifest of the job to where the workers here expect it.

    Return the outcome of the run here if that fails.
    """
    try:
        with named_errors(store.directory):
            store.parts.mkdir(mode=0o700, exist_ok=True)
            replace_file(store.directory / MANIFEST, run.manifest)
    except EwmaError as error:
        return failure(error)
    return None
