"""Standard error that nobody waits for: lines pass through a bounded buffer and a thread.

Knows file descriptors; must not know who writes, nor what.

A pipe holds 64 KiB. If its reader stops reading, whoever writes to it next waits; if its reader is
gone, whoever writes gets an error. Neither may happen to a process that looks after others.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator

__all__ = ["Relay", "relayed_stderr", "write_line"]

_BUFFER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16
_CLOSE_S = 1.0


class Relay(io.TextIOBase):
    """A text stream that writes whole lines to a file descriptor, from a thread of its own.

    ``write`` never waits and never fails. Lines that do not fit into the buffer are dropped, and a
    line says how many as soon as somebody reads again; if the reader is gone, all are dropped.

    Parameters
    ----------
    fd
        Where the lines go; stays open.
    buffer_bytes
        How much is kept for a reader that is slow, > 0.
    framed
        Makes a line of the log of what the relay has to say itself.
    """

    encoding = "utf-8"

    def __init__(
        self,
        fd: int,
        buffer_bytes: int = _BUFFER_BYTES,
        framed: Callable[[str], str] = str,
    ) -> None:
        self._fd = fd
        self._framed = framed
        self._room = buffer_bytes
        self._lines: deque[bytes] = deque()
        self._partial = b""
        self._dropped = 0
        self._broken = self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ewma_ops-stderr", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return the file descriptor behind the stream."""
        return self._fd

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take text; its lines are written when they are complete."""
        with self._changed:
            *lines, self._partial = (self._partial + text.encode(errors="replace")).split(b"\n")
            self._put([line + b"\n" for line in lines])
        return len(text)

    def forward(self, fd: int, wrap: Callable[[bytes], bytes] | None = None) -> threading.Thread:
        """Take lines from a file descriptor until its end, and close it; return the thread.

        ``wrap`` makes of each line, with its end, what is written.
        """
        thread = threading.Thread(target=self._forward, args=(fd, wrap), daemon=True)
        thread.start()
        return thread

    def finish(self, limit_s: float = _CLOSE_S) -> None:
        """Write what is left, for at most ``limit_s`` seconds."""
        with self._changed:
            if self._partial:
                self._put([self._partial + b"\n"])
                self._partial = b""
            self._closing = True
            self._changed.notify()
        self._thread.join(limit_s)

    def _put(self, lines: list[bytes]) -> None:
        for line in lines:
            if self._broken or len(line) > self._room:
                self._dropped += 1
            else:
                self._room -= len(line)
                self._lines.append(line)
        self._changed.notify()

    def _forward(self, fd: int, wrap: Callable[[bytes], bytes] | None) -> None:
        def put(lines: list[bytes]) -> None:
            whole = [line + b"\n" for line in lines]
            if wrap is not None:
                whole = list(map(wrap, whole))
            with self._changed:
                self._put(whole)

        rest = b""
        with open(fd, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _CHUNK_BYTES:
                    lines, rest = [*lines, rest], b""
                put(lines)
        if rest:
            put([rest])

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
                if not self._lines:
                    return
                taken, self._lines = list(self._lines), deque()
                self._room += sum(map(len, taken))
            for line in taken:
                if not self._written(line):
                    return
            with self._changed:
                dropped, self._dropped = self._dropped, 0
            message = f"ewma: {dropped} lines of the log were dropped: its reader was too slow"
            if dropped and not self._written(f"{self._framed(message)}\n".encode()):
                return

    def _written(self, line: bytes) -> bool:
        """Write a line, as long as that takes; return whether there is still a reader."""
        left = memoryview(line)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except OSError:
                with self._changed:
                    self._broken = True
                    self._lines.clear()
                return False
        return True


@contextlib.contextmanager
def relayed_stderr(framed: Callable[[str], str] = str) -> Iterator[None]:
    """Have all that Python writes to ``sys.stderr`` in the block go through a `Relay`."""
    try:
        fd = sys.stderr.fileno()
    except (AttributeError, OSError):  # replaced by something in memory, or none at all
        yield
        return
    relay = Relay(fd, framed=framed)
    try:
        with contextlib.redirect_stderr(relay):
            yield
    finally:
        relay.finish()


def write_line(text: str) -> None:
    """Write a line to standard error; give up after a second if nobody reads there."""
    with relayed_stderr():
        sys.stderr.write(f"{text}\n")
