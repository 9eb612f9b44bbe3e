"""Notes from workers to their launcher, in an in-memory file that every worker inherits.

Knows file descriptors and lines; must not know what is in a note. Not a pipe: a worker writes a
note when it ends, and must not block.
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
    """The notes of the workers of one run."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    @property
    def fds(self) -> tuple[int, ...]:
        """File descriptors that a worker must inherit."""
        return () if self._fd is None else (self._fd,)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a worker: this process's, with the descriptor for notes."""
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
    """Yield the notes; without a file if none can be created."""
    with contextlib.ExitStack() as stack:
        fd: int | None = None
        with contextlib.suppress(OSError):
            if hasattr(os, "memfd_create"):
                fd = os.memfd_create("ewma-notes")
                stack.callback(os.close, fd)
            else:
                fd = stack.enter_context(tempfile.TemporaryFile()).fileno()
            # Appending: the kernel serializes a shared offset, but not in memfd.
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        yield Notes(fd)


def leave_note(note: bytes) -> None:
    """Leave a note, one line, for the launcher of this process, if it has one that reads them."""
    fd = os.environ.get(_VARIABLE, "")
    if fd.isdecimal():
        with contextlib.suppress(OSError):
            os.write(int(fd), note + b"\n")
