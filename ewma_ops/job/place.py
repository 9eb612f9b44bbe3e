"""The identity of one place in a cluster, and the files that hold it.

Knows settings and the recovery directory; must not know sockets or processes.
"""

from __future__ import annotations

import os

from ewma_ops import __version__
from ewma_ops.errors import ConfigError, StateError
from ewma_ops.job.cluster.layout import Cluster
from ewma_ops.job.cluster.messages import Hello
from ewma_ops.job.recovery.faults import named_errors
from ewma_ops.job.recovery.files import replace_file
from ewma_ops.job.recovery.manifest import refuse_other_job
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.settings.model import Recovery, Settings

__all__ = ["epoch_kept", "hello", "machine_of", "member_store", "recovery_of"]

_MACHINE = "machine"


def hello(settings: Settings, cluster: Cluster, machine: str = "", holds: int = -1) -> Hello:
    """Return the description of a place, with what must be the same at all places."""
    alarms = settings.alarms
    job = {
        **settings.identity(),
        "recovery.interval": str(recovery_of(settings).interval),
        "input.stop": settings.input.stop,
        "alarms": "none" if alarms is None else f"{alarms.topic} {alarms.rules.fingerprint()}",
    }
    return Hello(
        __version__,
        cluster.place,
        list(cluster.addresses),
        cluster.workers,
        job,
        machine,
        holds,
        launcher=os.urandom(8).hex(),
    )


def recovery_of(settings: Settings) -> Recovery:
    """Return the table ``[recovery]``, without which there is no cluster.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if settings.recovery is None:
        raise ConfigError("a cluster keeps its state at place 0: add the table [recovery]")
    return settings.recovery


def member_store(kept: RecoveryStore) -> RecoveryStore:
    """Return where a place other than 0 keeps its lock, and what it learns of the job.

    It has no part files: the engine's state is kept by workers at place 0.
    """
    return RecoveryStore(kept.directory / "member")


def machine_of(store: RecoveryStore) -> str:
    """Return the id of this machine, which lasts as long as the store's directory.

    Raises
    ------
    EwmaError
        If it can be neither read nor written.
    """
    path = store.directory / _MACHINE
    _ = store.lock_fd
    with named_errors(store.directory):
        if not path.exists():
            replace_file(path, os.urandom(8).hex().encode())
        return path.read_text()


def epoch_kept(settings: Settings, store: RecoveryStore) -> int:
    """Return the epoch of a store of this job at a place other than 0; -1 for none.

    Raises
    ------
    StateError
        If it is damaged.
    """
    noted = store.noted
    if noted is None:
        return -1
    own = settings.identity()
    try:
        refuse_other_job(store.directory, {key: noted.job.get(key, "") for key in own}, own)
    except StateError:
        return -1
    return store.epoch
