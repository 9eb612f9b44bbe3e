"""The lock of a recovery store's directory, and who else may look into it.

Knows files and processes; must not know what is in a store.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import time
from pathlib import Path

from ewma_ops.errors import StateError
from ewma_ops.job.recovery.faults import named_errors

__all__ = ["PRIVATE_DIRECTORY", "PRIVATE_FILE", "lock_directory"]

_log = logging.getLogger(__name__)

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600
_ORPHAN_GRACE_S = 3.0


def lock_directory(directory: Path) -> int:
    """Take the lock of a directory, made if absent; return the open file that holds it."""
    with contextlib.ExitStack() as undo, named_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        _warn_if_open(directory)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        undo.callback(os.close, fd)
        patient_until = time.monotonic() + _ORPHAN_GRACE_S
        while not _try_lock(fd):
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            # Workers outlive a launcher that was killed by a moment.
            orphans = holder.isdigit() and not _is_alive(int(holder))
            if not orphans or time.monotonic() > patient_until:
                raise StateError(_held_by(directory, holder))
            time.sleep(0.05)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        undo.pop_all()
    return fd


def _warn_if_open(directory: Path) -> None:
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o077:
        _log.warning(
            "the recovery directory '%s' is open to other users (mode %04o), and whoever can write "
            "to it can run code as this one: close it with `chmod -R go= %s`",
            directory,
            mode,
            directory,
        )


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _held_by(directory: Path, holder: str) -> str:
    text = f"the recovery store '{directory}' is in use by process {holder or 'unknown'}"
    if holder.isdigit() and not _is_alive(int(holder)):
        return (
            f"{text}, which is gone while a worker it started is still alive: wait until "
            f"that has ended (`fuser {directory / 'lock'}` names it)"
        )
    return f"{text}: stop that run first, or give this one another directory"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
