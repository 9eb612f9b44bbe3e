"""Recovery stores under Bytewax's own runner, whose command line names the part files alone.

Knows how such a store is found, locked and prepared by one process of a run, and awaited by the
others; must not know Kafka, the settings or the flow.
"""

from __future__ import annotations

import time
from pathlib import Path

from ewma_ops.errors import ConfigError, StateError
from ewma_ops.job.recovery.manifest import (
    Beginning,
    ExtendBeginning,
    FindBeginning,
    Identity,
    as_it_was,
)
from ewma_ops.job.recovery.part_files import PARTITIONS, ResumePoint, Sound
from ewma_ops.job.recovery.store import RecoveryStore

__all__ = ["guard_parts", "guarded_store"]


def guard_parts(
    directory: Path | str,
    identity: Identity,
    find_beginning: FindBeginning = Beginning,
    sound: Sound | None = None,
    extend: ExtendBeginning = as_it_was,
) -> ResumePoint:
    """Lock and clean part files that Bytewax's own command line will use, for this process's life.

    Parameters
    ----------
    directory : Path or str
        What ``bytewax.run -r`` is given. The ``parts`` of a ``RecoveryStore`` share its lock and
        its manifest.
    identity, find_beginning, sound, extend
        As for ``RecoveryStore.prepare``.

    Raises
    ------
    ConfigError, StateError
        As ``RecoveryStore``, and when there is no such directory.
    """
    parts = Path(directory)
    if not parts.is_dir():
        raise ConfigError(
            f"there is no recovery directory '{parts}': make one with "
            f"`mkdir -p -m 700 {parts} && python -m bytewax.recovery {parts} {PARTITIONS}`"
        )
    store = _store_of(parts)
    store.__enter__()  # locked until the process ends
    return store.prepare(identity, find_beginning, sound, extend)


def guarded_store(directory: Path | str, patience_s: float = 30.0) -> RecoveryStore:
    """Return the store of part files that a process of this run guards, as soon as it does.

    Parameters
    ----------
    directory : Path or str
        As for ``guard_parts``, which one process of the run calls.
    patience_s : float
        How long that process may take.

    Raises
    ------
    StateError
        It has not prepared the store in time.
    """
    parts, until = Path(directory), time.monotonic() + patience_s
    while (store := _store_of(parts)).noted is None:
        if time.monotonic() > until:
            raise StateError(
                f"process 0 of this run has not prepared the recovery directory '{parts}' within "
                f"{patience_s:g} s: see what it says; it must use the same directory as this one"
            )
        time.sleep(0.05)
    return store


def _store_of(parts: Path) -> RecoveryStore:
    """Return the store that part files belong to, or else a store in their own directory."""
    whole = parts.resolve()
    store = RecoveryStore(whole.parent)
    return (
        store if store.parts == whole and store.noted is not None else RecoveryStore(parts, parts)
    )
