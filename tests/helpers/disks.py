"""Small disks for the tests: a file system in memory that can be filled up, and freed again."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DiskUnavailableError", "disk", "fill"]


class DiskUnavailableError(Exception):
    """No file system can be mounted here: that takes root."""


@contextlib.contextmanager
def disk(path: Path, options: str) -> Iterator[Path]:
    """Mount a small file system in memory at a new directory.

    Raises
    ------
    DiskUnavailableError
        Where that is not permitted.
    """
    path.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", options, "ewma_ops-test", str(path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        path.rmdir()
        raise DiskUnavailableError("a small file system cannot be mounted here: that takes root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()


def fill(disk: Path) -> Path:
    """Write a file that leaves no room on a disk, or let it grow; return it, to be deleted."""
    filler = disk / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, bytes(4096))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(fd)
    return filler
