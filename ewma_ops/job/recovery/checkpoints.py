"""Checkpoints of the recovery store beside the run, so that no worker waits for one.

Knows SQLite's write-ahead log; must not know what is in it, nor who writes.

What a worker commits goes to the log. The commit that finds a thousand pages there copies them all
into the database and waits for the disk, and with it the stream: half as long again as the snapshot
itself. Another process may do that at any time, without being in the way of those who write.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from ewma_ops.job.recovery.part_files import open_part, part_files

__all__ = ["checkpointing"]

_log = logging.getLogger(__name__)

_PERIOD_S = 0.5
_CLOSE_S = 5.0


@contextlib.contextmanager
def checkpointing(parts: Path) -> Iterator[None]:
    """Copy what is committed to part files into them, for the length of a ``with`` block.

    Costs a look at each file twice a second, and where it has grown as much as its writer would
    have paid. If it fails, which is logged, the writers do it as before.

    Parameters
    ----------
    parts
        Directory of the ``*.sqlite3`` files; they are in WAL mode.
    """
    stopping = threading.Event()
    thread = threading.Thread(
        target=_keep_short, args=(parts, stopping), name="ewma_ops-checkpoints", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(_CLOSE_S)


def _keep_short(parts: Path, stopping: threading.Event) -> None:
    try:
        with contextlib.ExitStack() as stack:
            opened = {
                path: stack.enter_context(contextlib.closing(open_part(path)))
                for path in part_files(parts)
            }
            seen: dict[Path, int] = {}
            while not stopping.wait(_PERIOD_S):
                for path, part in opened.items():
                    written = _written_ns(path)
                    if written != seen.get(path):
                        seen[path] = written
                        part.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except (sqlite3.Error, OSError) as error:
        _log.warning(
            "the logs of '%s' are left to those who write them, and snapshots take longer: %s",
            parts,
            error,
        )


def _written_ns(path: Path) -> int:
    """Return when the log of a part file was written last; 0 where there is none."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_mtime_ns
    except FileNotFoundError:
        return 0
