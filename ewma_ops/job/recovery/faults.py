"""What the file system and SQLite raise of a recovery store, as sentences.

Knows whose fault an error is and what helps; must not know what is in a store.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ewma_ops.errors import START_OVER, ConfigError, DiskError, EwmaError, StateError

__all__ = ["named_errors", "shortage"]

_FOR_NOW = ("is full", "disk I/O error", "locked", "out of memory")
"""What SQLite says where the file is not at fault."""
_FULL = ("is full", "DiskFull", "No space left", "quota exceeded")
"""What SQLite, Bytewax and the system say where there is no room."""
_LEAST_BYTES = 1 << 16
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn what the file system and SQLite raise into sentences about ``path``."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(
            f"the recovery directory '{path}' is, or lies in, a file: name a directory"
        ) from None
    except OSError as error:
        raise _unusable(path, error.strerror or str(error), error.errno in _NOT_ALLOWED) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        not_allowed = any(word in str(error) for word in ("readonly", "unable to open"))
        if not_allowed or any(word in str(error) for word in _FOR_NOW):
            raise _unusable(path, str(error), not_allowed) from error
        raise StateError(
            f"'{path}' is damaged ({error}): restore a copy of the whole directory, or {START_OVER}"
        ) from error


def shortage(
    path: Path, reason: str = "", *, least_bytes: int = _LEAST_BYTES, least_files: int = 1
) -> DiskError | None:
    """Return an error that says what a recovery store's disk lacks, if it lacks anything.

    Parameters
    ----------
    path
        The store, or a file in it.
    reason
        What an operation on it failed of: the disk may have room again meanwhile.
    least_bytes, least_files
        What must be free.
    """
    while not path.exists():
        path = path.parent
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    if any(word in reason for word in _FULL) or free < least_bytes:
        what = f"its disk is full ({free // 1024:,} KiB free)"
    elif disk.f_files and disk.f_favail < least_files:
        what = f"its disk has too few inodes left ({disk.f_favail})"
    else:
        return None
    return DiskError(
        f"the recovery store '{path}' cannot be written to: {what}; make room there: the flow "
        "tries again by itself and goes on from its last snapshot"
    )


def _unusable(path: Path, reason: str, not_allowed: bool) -> EwmaError:
    if (lack := shortage(path, reason)) is not None:
        return lack
    if not_allowed:
        return ConfigError(
            f"the recovery store '{path}' cannot be written to ({reason}): make it writable "
            f"for user id {os.geteuid()}, or name another directory"
        )
    return DiskError(f"the recovery store '{path}' cannot be used now: {reason}")
