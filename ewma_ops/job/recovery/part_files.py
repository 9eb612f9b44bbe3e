"""Bytewax's part files: opened, checked, and cleaned of snapshots of epochs that never ended.

Knows the private SQLite schema of one exact Bytewax version; must not know jobs.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ewma_ops.errors import START_OVER, ConfigError, StateError
from ewma_ops.job.recovery.faults import named_errors
from ewma_ops.job.recovery.files import sync_path
from ewma_ops.job.recovery.wal import is_damaged

__all__ = [
    "BYTEWAX",
    "FIRST_EPOCH",
    "PARTITIONS",
    "SCHEMA",
    "SQLITE",
    "ResumePoint",
    "Sound",
    "check_snapshots",
    "check_version",
    "open_part",
    "open_parts",
    "part_files",
    "purge_ghosts",
    "resume_epoch",
    "widen_pages",
]


Sound = Callable[[object], None]
"""Refuses a snapshot, as Bytewax stored it, that may not be unpickled."""

BYTEWAX = "0.21.1"
SCHEMA = 5
SQLITE = (3, 37, 0)
FIRST_EPOCH = 1
_SMALL_BYTES = 1_024
_PAGE_BYTES = 16_384
"""Of 4, 16 and 32 kB: 240, 135 and 90 ms of CPU for 42 MB, but 10 % more for many small epochs."""
PARTITIONS = 4
"""Part files of a store. One is fastest (532 epochs/s, 4: 243, 16: 99, interval zero), but only
one worker writes to a part: four let the workers of one machine write at the same time."""


@dataclass(frozen=True)
class ResumePoint:
    """Where the next run begins.

    Parameters
    ----------
    epoch : int
        First epoch of the next run, >= 1; the state is that at the end of the epoch before.
    purged : int
        Ghost snapshots removed, >= 0.
    created : bool
        Whether the store is new.
    positions : int
        A digest of how far the run before got: the same where no position has moved since.
    """

    epoch: int
    purged: int
    created: bool = False
    positions: int = field(default=0, repr=False, compare=False)


def widen_pages(directory: Path) -> None:
    """Give part files larger pages: snapshots are large, and take half the CPU time to write.

    Only for files that are not in use yet: a crash meanwhile leaves them damaged.
    """
    for path in part_files(directory):
        with contextlib.closing(sqlite3.connect(path)) as part:
            part.execute("PRAGMA synchronous = OFF")  # once at the end, not at each step
            part.execute("PRAGMA journal_mode = DELETE")  # under WAL the size cannot change
            part.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            part.execute("VACUUM")
            part.execute("PRAGMA journal_mode = WAL")
        sync_path(path)


def purge_ghosts(parts_directory: Path) -> ResumePoint:
    """Delete the snapshots of epochs that never ended, which Bytewax would load one day.

    Bytewax writes snapshots before it notes that their epoch has ended, and keys them by epoch
    but not by run. After a crash in between, a later run that does not touch the same key in the
    same epoch leaves the old row in place, and the run after that loads it: state of a future that
    never happened. Call this under the lock, before every start.

    Parameters
    ----------
    parts_directory : Path
        Directory of the ``part-*.sqlite3`` files, all of one store.

    Raises
    ------
    StateError
        Parts are missing, damaged, of different ages or of another Bytewax version.
    ConfigError
        A part cannot be written to.
    """
    check_version()
    purged = 0
    with contextlib.ExitStack() as stack, named_errors(parts_directory):
        parts = open_parts(parts_directory, stack)
        epoch = _resume_epoch(parts)
        for part in parts:
            (commit,) = part.execute("SELECT MAX(commit_epoch) FROM commits").fetchone()
            if commit is not None and commit > epoch:
                raise StateError(
                    f"the files in '{parts_directory}' are of different ages: one has dropped "
                    f"what is older than epoch {commit}, another knows of epoch {epoch} only: "
                    f"restore a copy of the whole directory, or {START_OVER}"
                )
        for part in parts:
            with part:
                cursor = part.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,))
            purged += cursor.rowcount
        positions = _digest_positions(parts)
    return ResumePoint(epoch, purged, positions=positions)


def _digest_positions(parts: Sequence[sqlite3.Connection]) -> int:
    """Digest the newest small snapshot of each key.

    The positions of source and sink are among the small ones, and every epoch writes those of the
    source again: also an epoch in which nothing happened. The large ones are state, which does not
    change unless a position does.
    """
    query = (
        "SELECT step_id, state_key, MAX(snap_epoch), ser_change FROM snaps "
        "WHERE LENGTH(ser_change) <= ? GROUP BY step_id, state_key"
    )
    rows = [row for part in parts for row in part.execute(query, (_SMALL_BYTES,))]
    newest = sorted((step, key, change) for step, key, _, change in rows)
    return zlib.crc32(repr(newest).encode())


def check_snapshots(parts_directory: Path, sound: Sound) -> None:
    """Have every snapshot looked at that Bytewax may load; call it when ghosts are purged."""
    query = "SELECT step_id, state_key, snap_epoch, ser_change FROM snaps"
    with contextlib.ExitStack() as stack, named_errors(parts_directory):
        for part in open_parts(parts_directory, stack):
            for step, key, epoch, pickled in part.execute(query):
                try:
                    sound(pickled)
                except StateError as error:
                    raise StateError(
                        f"'{parts_directory}', step {step}, part {key}, epoch {epoch}: {error}"
                    ) from None


def _resume_epoch(parts: Sequence[sqlite3.Connection]) -> int:
    """Epoch at which Bytewax will resume, by the rule of its ``src/recovery.rs``.

    Of the newest execution: the smallest of its workers' frontiers, where each worker's
    frontier is at least the epoch at which that execution itself resumed.
    """
    query = "SELECT ex_num, worker_count, resume_epoch FROM exs"
    executions = [row for part in parts for row in part.execute(query)]
    if not executions:
        return FIRST_EPOCH
    newest, workers, resumed = max(executions)
    frontiers = dict.fromkeys(range(workers), resumed)
    for part in parts:
        for worker, frontier in part.execute(
            "SELECT worker_index, worker_frontier FROM fronts WHERE ex_num = ?", (newest,)
        ):
            frontiers[worker] = max(frontiers.get(worker, frontier), frontier)
    return int(min(frontiers.values()))


def resume_epoch(parts_directory: Path) -> int:
    """Return the epoch at which a run on these part files would begin; errors as `purge_ghosts`."""
    check_version()
    with contextlib.ExitStack() as stack, named_errors(parts_directory):
        return _resume_epoch(open_parts(parts_directory, stack))


def part_files(directory: Path) -> list[Path]:
    """Return the files of the parts in a directory, in order."""
    return sorted(directory.glob("*.sqlite3"))


def open_part(path: Path) -> sqlite3.Connection:
    """Open a part file that exists; ``sqlite3.Error`` if it does not or cannot be written to."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)


def open_parts(directory: Path, stack: contextlib.ExitStack) -> list[sqlite3.Connection]:
    """Open all part files; refuse when one is missing, damaged or of another store."""
    counts: dict[int, int] = {}
    parts: list[sqlite3.Connection] = []
    for path in part_files(directory):
        with named_errors(path):
            if is_damaged(path.with_name(f"{path.name}-wal")):
                raise sqlite3.DatabaseError("its log lacks what was committed to it")
            part = open_part(path)
            parts.append(stack.enter_context(contextlib.closing(part)))
            _check_part(path, part)
            counts.update(part.execute("SELECT part_index, part_count FROM parts"))
    wanted = max(counts.values(), default=PARTITIONS)
    if len(parts) != wanted or sorted(counts.items()) != [(i, wanted) for i in range(wanted)]:
        raise StateError(
            f"'{directory}' holds {len(parts)} part files that do not belong together, not the "
            f"{wanted} of one recovery store: restore a copy of the whole directory, "
            f"or {START_OVER}"
        )
    return parts


def _check_part(path: Path, part: sqlite3.Connection) -> None:
    (version,) = part.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA:
        raise StateError(
            f"'{path}' has schema version {version}, not {SCHEMA} as Bytewax {BYTEWAX} writes it: "
            f"run the version that wrote it, or {START_OVER}"
        )
    (verdict,) = part.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def check_version() -> None:
    """Refuse a Bytewax or an SQLite whose files would be misread."""
    version = importlib.metadata.version("bytewax")
    if version != BYTEWAX:
        raise ConfigError(
            f"bytewax {version} is installed, and the recovery store is understood only as "
            f"bytewax {BYTEWAX} writes it: install bytewax=={BYTEWAX}"
        )
    if sqlite3.sqlite_version_info < SQLITE:
        raise ConfigError(
            f"this Python has SQLite {sqlite3.sqlite_version}, and the recovery store needs "
            f"{'.'.join(map(str, SQLITE))} or newer: use another Python"
        )
