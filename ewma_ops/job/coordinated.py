"""Runs of a job on several machines, led by place 0: all places begin a run, and all end it.

Knows the recovery store, which lies at place 0, and the coordinator; must not know sockets, nor
how workers are started.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ewma_ops.errors import EwmaError, StateError
from ewma_ops.job.cluster.coordinator import Coordinator
from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.cluster.messages import Ended, Hello
from ewma_ops.job.log import print_line
from ewma_ops.job.outcome import LOST_HOST, Outcome, failure, joined
from ewma_ops.job.recovery.faults import named_errors
from ewma_ops.job.recovery.files import replace_file
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.signs import LOST_PEER
from ewma_ops.job.waiting import POLL_S, Deadline, Waits

__all__ = ["Coordinated", "coordinated", "go_on_alone"]

_SLOW_END_S = 5.0
_FIRST_HAND_S = 1.0
"""How long a place whose workers failed may take to say so, before it has to kill the rest."""
_MACHINES = "machines.json"


class Coordinated:
    """Begins the runs of all places together, and combines their outcomes.

    Parameters
    ----------
    coordinator
        The coordinator, in its ``with`` block.
    store
        The locked store of this job, which lies here.
    """

    def __init__(self, coordinator: Coordinator, store: RecoveryStore) -> None:
        self._coordinator = coordinator
        self._store = store
        self._fence = ""

    def gather(self, stopped: Callable[[], bool]) -> bool:
        """Wait until all places are there and free; return False if it is stopped before that."""
        waits = Waits()
        while waits_for := self._coordinator.waits_for():
            if stopped():
                return False
            waits.say(", ".join(waits_for))
            time.sleep(POLL_S)
        if waits.said:
            print_line(f"all {len(self._coordinator.cluster.addresses)} places are there")
        return True

    def check_store(self) -> None:
        """Refuse to run if another place has a newer store of this job.

        Raises
        ------
        StateError
            If another place has one, for example because the order of the hosts was changed.
        """
        holding = self._coordinator.holding()
        own = self._store.epoch
        newer = [(epoch, place) for place, epoch in holding.items() if epoch > own]
        if newer:
            epoch, place = max(newer)
            name = self._coordinator.cluster.name(place)
            has = f"one of epoch {own}" if own else "none"
            raise StateError(
                f"the recovery directory of {name} has a store of this job of epoch {epoch}, and "
                f"place 0, which keeps the state, has {has}: move that directory to the host of "
                "place 0, or put that host first in --cluster; to continue without it, delete it"
            )

    def raise_fence(self, fence: Callable[[], str]) -> None:
        """Fence earlier runs off, and keep the fence of the next one; errors as of ``fence``."""
        self._fence = fence()

    def run(self, run: Callable[..., Outcome], signals: Sequence[int], grace_s: float) -> Outcome:
        """Make all places begin a run, and return how it ended at all of them."""
        coordinator = self._coordinator
        if coordinator.waits_for():
            return Outcome(1, "a place was lost before the run began", again=LOST_HOST)
        try:
            _note_machines(self._store.directory, coordinator.machines())
        except EwmaError as error:
            return failure(error)
        coordinator.begin(self._store.manifest, self._fence)
        outcome = Outcome(1, "killed")
        try:
            outcome = run(others=coordinator)
        finally:
            self._end(outcome, signals, grace_s)
            ended = coordinator.over()
        if None not in ended.values():
            with contextlib.suppress(EwmaError):  # what stays noted delays the next start a little
                _note_machines(self._store.directory, [])
        return joined(
            outcome, [None if one is None else _as_outcome(one) for one in ended.values()]
        )

    def exit(self, code: int) -> None:
        """Make all places exit too, because the job has ended."""
        self._coordinator.exit(code)

    def _end(self, outcome: Outcome, signals: Sequence[int], grace_s: float) -> None:
        """Wait until the run has ended at all connected places; kill what does not end."""
        patience_s = (
            _FIRST_HAND_S if outcome.code == LOST_PEER else 0.0 if outcome.code else grace_s
        )
        patience, waits = Deadline(patience_s), Waits(patience_s + _SLOW_END_S)
        while unfinished := self._coordinator.unfinished():
            if len(signals) > 1:
                return
            if patience.has_passed():
                self._coordinator.kill(self._coordinator.lost() or outcome.text.rstrip(","))
            waits.say(f"the end of the workers of {', '.join(unfinished)}")
            time.sleep(POLL_S / 5)


def _as_outcome(ended: Ended) -> Outcome:
    return Outcome(ended.code, ended.text, again=ended.again, notes=ended.notes)


@contextlib.contextmanager
def coordinated(cluster: Cluster, own: Hello, store: RecoveryStore) -> Iterator[Coordinated]:
    """Coordinate the places of a cluster from place 0, for the length of a ``with`` block."""
    machines = _noted_machines(store.directory)
    with Coordinator(cluster, own, machines) as coordinator:
        print_line(f"place 0 of {len(cluster.addresses)}, listening on {cluster.addresses[0]}")
        yield Coordinated(coordinator, store)


def go_on_alone(store: RecoveryStore, fence: Callable[[], str]) -> bool:
    """Fence off the hosts of the last run, if none of them is in the next one.

    Their workers may still be alive; errors as of ``fence``. Returns
    whether there were any.
    """
    if not _noted_machines(store.directory):
        return False
    fence()
    _note_machines(store.directory, [])
    return True


def _noted_machines(directory: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = json.loads((directory / _MACHINES).read_bytes())
        return [str(one) for one in found]
    return []


def _note_machines(directory: Path, machines: Sequence[str]) -> None:
    """Record which machines may have workers of a run, before it begins."""
    with named_errors(directory):
        replace_file(directory / _MACHINES, json.dumps(list(machines)).encode())
