"""Small files beside a recovery store, replaced whole: a reader finds the old one or the new one.

Knows the file system; must not know what is in a file.
"""

from __future__ import annotations

import os
from pathlib import Path

from ewma_ops.job.recovery.lock import PRIVATE_FILE

__all__ = ["replace_file", "sync_path"]


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, durable when this returns.

    Raises
    ------
    OSError
        If it cannot be written; then the old one is as it was.
    """
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Make a file durable, or the names in a directory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
