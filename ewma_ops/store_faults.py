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

__all__ = ["named_errors"]

_FOR_NOW = ("is full", "disk I/O error", "locked", "out of memory")
"""What SQLite says where the file is not at fault."""
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


def _unusable(path: Path, reason: str, not_allowed: bool) -> EwmaError:
    if not_allowed:
        return ConfigError(
            f"the recovery store '{path}' cannot be written to ({reason}): make it writable "
            f"for user id {os.geteuid()}, or name another directory"
        )
    return DiskError(f"the recovery store '{path}' cannot be used now: {reason}")
