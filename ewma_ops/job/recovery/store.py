"""The recovery store: where a job keeps what it must not forget between two runs.

Knows the private SQLite schema of one exact Bytewax version, the lock that keeps two runs apart
and the manifest that ties a store to its job. It must not know Kafka, the settings or the flow.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import final

from bytewax.recovery import init_db_dir

from ewma_ops.errors import StateError
from ewma_ops.job.recovery.faults import named_errors, shortage
from ewma_ops.job.recovery.files import sync_path
from ewma_ops.job.recovery.lock import PRIVATE_DIRECTORY, PRIVATE_FILE, lock_directory
from ewma_ops.job.recovery.manifest import (
    MANIFEST,
    Beginning,
    ExtendBeginning,
    FindBeginning,
    Identity,
    Noted,
    as_it_was,
    noted_in,
    read_manifest,
    refuse_other_job,
    write_manifest,
)
from ewma_ops.job.recovery.part_files import (
    PARTITIONS,
    ResumePoint,
    Sound,
    check_snapshots,
    check_version,
    open_parts,
    part_files,
    purge_ghosts,
    resume_epoch,
    widen_pages,
)

__all__ = ["RecoveryStore"]

_STORE_BYTES = 2 << 20
"""What an empty store takes while it is made."""


@final
class RecoveryStore:
    """The directory of one job's recovery state, locked while the ``with`` block runs.

    The lock belongs to the open file, not to the process: pass ``lock_fd`` on to the worker
    processes, and the store stays locked until the last of them is gone.

    Parameters
    ----------
    directory : Path
        Made if it is absent. Holds ``lock``, ``manifest.json`` and ``parts/`` (Bytewax's files).
    parts : Path or None
        Where Bytewax's files are, if not there.

    Raises
    ------
    ConfigError
        On entering: the directory cannot be made or written to.
    StateError
        On entering: another process holds the lock.

    Examples
    --------
    >>> import tempfile
    >>> with RecoveryStore(Path(tempfile.mkdtemp()) / "state") as store:
    ...     store.prepare({"input topic": "readings"})
    ResumePoint(epoch=1, purged=0, created=True)
    """

    def __init__(self, directory: Path, parts: Path | None = None) -> None:
        self.directory = directory
        self.parts = directory / "parts" if parts is None else parts
        self._lock_fd: int | None = None

    @property
    def lock_fd(self) -> int:
        """File descriptor of the lock; ``ValueError`` outside the ``with`` block."""
        if self._lock_fd is None:
            raise ValueError("the recovery store is not locked: use it in a with block")
        return self._lock_fd

    def __enter__(self) -> RecoveryStore:
        self._lock_fd = lock_directory(self.directory)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closed, never unlocked: LOCK_UN would also free it under a worker that still runs.
        fd, self._lock_fd = self.lock_fd, None
        os.close(fd)

    @property
    def noted(self) -> Noted | None:
        """Whose store this is, and where that job began; None if it was never prepared."""
        return noted_in(self.directory)

    @property
    def manifest(self) -> bytes:
        """The manifest as it stands in its file; ``FileNotFoundError`` before it was prepared."""
        return (self.directory / MANIFEST).read_bytes()

    @property
    def epoch(self) -> int:
        """Where the next run would begin; 0 for a store that is not there: errors as `prepare`."""
        return resume_epoch(self.parts) if self.parts.exists() else 0

    def prepare(
        self,
        identity: Identity,
        find_beginning: FindBeginning = Beginning,
        sound: Sound | None = None,
        extend: ExtendBeginning = as_it_was,
    ) -> ResumePoint:
        """Make the store ready for a run: create or check it, and remove ghost snapshots.

        Parameters
        ----------
        identity : mapping of str to str or int
            What must not change between two runs of one job, by names a user understands.
        find_beginning : callable
            Asked when the store is new; the answer is noted in it.
        sound : callable or None
            Given each snapshot as it is stored, before Bytewax unpickles it.
        extend : callable
            Asked when the store is not new: what it adds to the beginning is noted too.

        Raises
        ------
        StateError
            The store belongs to another job, is damaged, or is of another Bytewax version.
        ConfigError
            The directory cannot be written to.
        """
        _ = self.lock_fd
        with named_errors(self.directory):
            created = not self.parts.exists() and not (self.directory / MANIFEST).exists()
            if created:
                self._create()
            _claim(self.directory, self.parts, identity, find_beginning, extend)
            point = purge_ghosts(self.parts)
            if sound is not None:
                check_snapshots(self.parts, sound)
        return replace(point, created=created)

    def _create(self) -> None:
        """Create the parts beside their place and move them in: whole, or not at all."""
        check_version()
        draft = self.directory / "parts.new"
        shutil.rmtree(draft, ignore_errors=True)
        # Bytewax ends with a Rust backtrace on a disk without room.
        room = shortage(draft, least_bytes=_STORE_BYTES, least_files=4 * PARTITIONS)
        if room is not None:
            raise room
        draft.mkdir(mode=PRIVATE_DIRECTORY)
        init_db_dir(draft, PARTITIONS)
        for path in part_files(draft):
            path.chmod(PRIVATE_FILE)  # SQLite gives the same to the logs beside it
        widen_pages(draft)
        sync_path(draft)
        draft.rename(self.parts)
        sync_path(self.directory)


def _claim(
    directory: Path,
    parts: Path,
    identity: Identity,
    find_beginning: FindBeginning,
    extend: ExtendBeginning,
) -> None:
    """Note in the manifest whose parts these are, or refuse them if they are another job's."""
    manifest = directory / MANIFEST
    if not manifest.exists():
        _refuse_used(parts, manifest)
        write_manifest(manifest, identity, find_beginning())
        return
    noted = read_manifest(manifest)
    refuse_other_job(directory, noted.job, identity)
    extended = extend(noted.beginning)
    if noted != (dict(identity), extended):
        write_manifest(manifest, identity, extended)


def _refuse_used(directory: Path, manifest: Path) -> None:
    """Accept parts without a manifest only when no run has used them."""
    with contextlib.ExitStack() as stack:
        parts = open_parts(directory, stack)
        if any(part.execute("SELECT 1 FROM exs LIMIT 1").fetchone() for part in parts):
            raise StateError(
                f"'{manifest}' is missing, so that nothing says which job the state in "
                f"'{directory}' belongs to: put the file back, or use another directory"
            )
