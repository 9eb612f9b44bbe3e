"""The recovery store: where a job keeps what it must not forget between two runs.

Knows the private SQLite schema of one exact Bytewax version, the lock that keeps two runs apart
and the manifest that ties a store to its job. It must not know Kafka, the settings or the flow.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, final

from bytewax.recovery import init_db_dir

from ewma_ops.errors import START_OVER, ConfigError, StateError
from ewma_ops.job.recovery.faults import named_errors, shortage
from ewma_ops.job.recovery.lock import PRIVATE_DIRECTORY, PRIVATE_FILE, lock_directory
from ewma_ops.job.recovery.wal import is_damaged

__all__ = [
    "Begin",
    "Beginning",
    "Identity",
    "RecoveryStore",
    "ResumePoint",
    "open_part",
    "part_files",
    "purge_ghosts",
]

Identity = Mapping[str, str | int]
"""What makes a job this job: topics, partition counts, fingerprints, by readable names."""

Sound = Callable[[object], None]
"""Refuses a snapshot, as Bytewax stored it, that may not be unpickled."""


class Beginning(NamedTuple):
    """Where a job begins: offsets by input partition, and partitions written to by topic."""

    offsets: Mapping[int, int] = MappingProxyType({})
    routed: Mapping[str, int] = MappingProxyType({})


Begin = Callable[[], Beginning]
"""Says where a job that begins now begins."""

BYTEWAX = "0.21.1"
SCHEMA = 5
SQLITE = (3, 37, 0)
FORMAT = 2
FIRST_EPOCH = 1
_MANIFEST = "manifest.json"
_STORE_BYTES = 2 << 20
"""What an empty store takes while it is made."""
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
    def routed(self) -> dict[str, int]:
        """How many partitions the job writes to, by topic, where that was noted."""
        manifest = self.directory / _MANIFEST
        return dict(_read_manifest(manifest).get("routed", {})) if manifest.exists() else {}

    @property
    def claimed(self) -> bool:
        """Whether the store notes whose it is, as one does that was ever prepared."""
        return (self.directory / _MANIFEST).exists()

    @property
    def began(self) -> dict[int, int] | None:
        """Offsets that the job began at, by input partition; None where that was not noted."""
        manifest = self.directory / _MANIFEST
        began = _read_manifest(manifest).get("began", {}) if manifest.exists() else {}
        return {int(partition): int(offset) for partition, offset in began.items()} or None

    def prepare(
        self, identity: Identity, begin: Begin = Beginning, sound: Sound | None = None
    ) -> ResumePoint:
        """Make the store ready for a run: create or check it, and remove ghost snapshots.

        Parameters
        ----------
        identity : mapping of str to str or int
            What must not change between two runs of one job, by names a user understands.
        begin : callable
            Asked when the store is new; the answer is noted in it.
        sound : callable or None
            Given each snapshot as it is stored, before Bytewax unpickles it.

        Raises
        ------
        StateError
            The store belongs to another job, is damaged, or is of another Bytewax version.
        ConfigError
            The directory cannot be written to.
        """
        _ = self.lock_fd
        with named_errors(self.directory):
            created = not self.parts.exists() and not (self.directory / _MANIFEST).exists()
            if created:
                self._create()
            _claim(self.directory, self.parts, identity, begin)
            point = purge_ghosts(self.parts)
            if sound is not None:
                _check_snapshots(self.parts, sound)
        return replace(point, created=created)

    def _create(self) -> None:
        """Create the parts beside their place and move them in: whole, or not at all."""
        _check_version()
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
        _widen_pages(draft)
        _sync_directory(draft)
        draft.rename(self.parts)
        _sync_directory(self.directory)


def _widen_pages(directory: Path) -> None:
    """Give part files larger pages: snapshots are large, and take half the CPU time to write."""
    for path in part_files(directory):
        with contextlib.closing(sqlite3.connect(path)) as part:
            part.execute("PRAGMA journal_mode = DELETE")  # under WAL the size cannot change
            part.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            part.execute("VACUUM")
            part.execute("PRAGMA journal_mode = WAL")


def _claim(directory: Path, parts: Path, identity: Identity, begin: Begin) -> None:
    """Note in the manifest whose parts these are, or refuse them if they are another job's."""
    manifest = directory / _MANIFEST
    if not manifest.exists():
        _refuse_used(parts, manifest)
        _write_manifest(manifest, identity, begin())
    was: dict[str, str | int] = _read_manifest(manifest)["job"]
    keys = [key for key in {**was, **identity} if was.get(key) != identity.get(key)]
    if keys:
        changes = "; ".join(
            f"{key} was {_shown(was.get(key))}, now {_shown(identity.get(key))}" for key in keys
        )
        raise StateError(
            f"the recovery store '{directory}' belongs to another job: {changes}. {_advice(keys)}"
        )


def _advice(keys: Sequence[str]) -> str:
    """Return what helps where these of a job's properties are others than its store knows."""
    recreated = {key.removesuffix(" topic id") for key in keys if key.endswith(" topic id")}
    if not recreated:
        return "Set the old value again, or use another directory to start over"
    written = " and the ".join(sorted(recreated - {"input"}))
    if not written:
        return (
            "The input topic was deleted and created again: to read what it has now, start with a "
            "new recovery directory"
        )
    return (
        f"The {written} topic was deleted and created again, which lost what it had: to write all "
        "of it again and in order, empty the topic and start with a new recovery directory"
    )


def _refuse_used(directory: Path, manifest: Path) -> None:
    """Accept parts without a manifest only when no run has used them."""
    with contextlib.ExitStack() as stack:
        parts = _open_parts(directory, stack)
        if any(part.execute("SELECT 1 FROM exs LIMIT 1").fetchone() for part in parts):
            raise StateError(
                f"'{manifest}' is missing, so that nothing says which job the state in "
                f"'{directory}' belongs to: put the file back, or use another directory"
            )


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
    _check_version()
    purged = 0
    with contextlib.ExitStack() as stack, named_errors(parts_directory):
        parts = _open_parts(parts_directory, stack)
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


def _check_snapshots(parts_directory: Path, sound: Sound) -> None:
    """Have every snapshot looked at that Bytewax may load; call it when ghosts are purged."""
    query = "SELECT step_id, state_key, snap_epoch, ser_change FROM snaps"
    with contextlib.ExitStack() as stack, named_errors(parts_directory):
        for part in _open_parts(parts_directory, stack):
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


def part_files(directory: Path) -> list[Path]:
    """Return the files of the parts in a directory, in order."""
    return sorted(directory.glob("*.sqlite3"))


def open_part(path: Path) -> sqlite3.Connection:
    """Open a part file that exists; ``sqlite3.Error`` if it does not or cannot be written to."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)


def _open_parts(directory: Path, stack: contextlib.ExitStack) -> list[sqlite3.Connection]:
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


def _check_version() -> None:
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


def _write_manifest(path: Path, identity: Identity, beginning: Beginning) -> None:
    """Replace the manifest whole: a reader finds the old one or the new one."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with open(fd, "w", encoding="utf-8") as file:
        content = {
            "format": FORMAT,
            "job": dict(identity),
            "began": {str(partition): offset for partition, offset in beginning.offsets.items()},
            "routed": dict(beginning.routed),
        }
        json.dump({**content, "checksum": _checksum(content)}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_directory(path.parent)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        version = manifest["format"]
        if version == FORMAT:
            sound = manifest.pop("checksum") == _checksum(manifest)
            manifest["job"] = dict(manifest["job"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        version, sound = FORMAT, False
    if version != FORMAT:
        raise StateError(
            f"'{path}' has format {version!r}, not {FORMAT}: run the version of ewma_ops that "
            f"wrote it, or {START_OVER}"
        )
    if not sound:
        raise StateError(f"'{path}' is damaged: restore a copy of it, or {START_OVER}")
    return manifest


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _shown(value: str | int | None) -> str:
    return "not set" if value is None else repr(value)
