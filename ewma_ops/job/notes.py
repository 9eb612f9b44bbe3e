"""Notes that workers leave for their launcher: a file in memory, which every worker inherits.

Knows file descriptors and lines; must not know what is in a note. Not a pipe: a note is written
when a worker ends, and must not wait for anybody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator

__all__ = ["Notes", "collected_notes", "leave_note"]

_VARIABLE = "EWMA_NOTES_FD"


class Notes:
    """Where the workers of one run leave their notes."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    @property
    def fds(self) -> tuple[int, ...]:
        """What a worker must inherit."""
        return () if self._fd is None else (self._fd,)

    @property
    def environment(self) -> dict[str, str]:
        """What a worker has as its environment: this process's, and where its notes go."""
        own = {name: text for name, text in os.environ.items() if name != _VARIABLE}
        return own if self._fd is None else {**own, _VARIABLE: str(self._fd)}

    def read(self) -> list[bytes]:
        """Return the notes that were left."""
        if self._fd is None:
            return []
        os.lseek(self._fd, 0, os.SEEK_SET)
        with open(os.dup(self._fd), "rb") as file:
            return [line for line in file.read().split(b"\n") if line]


@contextlib.contextmanager
def collected_notes() -> Iterator[Notes]:
    """Yield where notes are left; nowhere, where no file can be had."""
    with contextlib.ExitStack() as stack:
        fd: int | None = None
        with contextlib.suppress(OSError):
            if hasattr(os, "memfd_create"):
                fd = os.memfd_create("ewma-notes")
                stack.callback(os.close, fd)
            else:
                fd = stack.enter_context(tempfile.TemporaryFile()).fileno()
            # The kernel moves the offset that processes share for one at a time, but not in memfd.
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        yield Notes(fd)


def leave_note(note: bytes) -> None:
    """Leave a note, one line, for the launcher of this process, if it has one that reads them."""
    fd = os.environ.get(_VARIABLE, "")
    if fd.isdecimal():
        with contextlib.suppress(OSError):
            os.write(int(fd), note + b"\n")
