"""Asks the workers for their measurements: a pair of Unix sockets for each worker.

Knows frames and time-outs; must not know what is in an answer. The sockets have no names: a worker
inherits its end, so a killed worker leaves nothing in a directory, and nobody else can ask.

    question: number                      answer: number, length, content

A worker sends an answer numbered 0 as soon as it can take questions. An answer that comes too late
is recognized by its number, and ignored.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence

__all__ = ["Line", "Lines", "answer_questions"]

_VARIABLE = "EWMA_ANSWERS_FD"
_QUESTION = struct.Struct(">I")
_ANSWER = struct.Struct(">II")
_CHUNK_BYTES = 1 << 16
LIMIT_S = 1.0
"""How long a worker may take to answer."""


class Line:
    """The launcher's end of the connection to one worker; not thread-safe."""

    def __init__(self) -> None:
        self.socket, self._theirs = socket.socketpair()
        self.socket.setblocking(False)
        self.is_open, self._is_ready = True, False
        self._number = 0
        self._received = bytearray()

    @property
    def fd(self) -> int:
        """File descriptors that the worker must inherit."""
        return self._theirs.fileno()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for the worker."""
        return {_VARIABLE: str(self.fd)}

    def hand_over(self) -> None:
        """Close the worker's end, which it has inherited: when it ends, the line is closed."""
        self._theirs.close()

    def ask(self) -> bool:
        """Send a question, if the worker can take one; return whether it was sent."""
        self.answer()
        if not (self.is_open and self._is_ready):
            return False
        self._number += 1
        try:
            return self.socket.send(_QUESTION.pack(self._number)) == _QUESTION.size
        except BlockingIOError:  # the worker has not read thousands of earlier ones
            return False
        except OSError:
            self.is_open = False
            return False

    def answer(self) -> bytes | None:
        """Return the answer to the last question, if it is there."""
        with contextlib.suppress(BlockingIOError):
            while self.is_open:
                try:
                    chunk = self.socket.recv(_CHUNK_BYTES)
                except ConnectionError:
                    chunk = b""
                self.is_open = bool(chunk)
                self._received += chunk
        found = None
        while len(self._received) >= _ANSWER.size:
            number, length = _ANSWER.unpack_from(self._received)
            end = _ANSWER.size + length
            if len(self._received) < end:
                break
            self._is_ready = True
            if number and number == self._number:
                found = bytes(self._received[_ANSWER.size : end])
            del self._received[:end]
        return found

    def close(self) -> None:
        """Close the line."""
        self.is_open = False
        self.socket.close()
        self._theirs.close()


class Lines:
    """The lines to the workers of the current run; any thread may ask."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def opened(self, workers: int) -> Iterator[Sequence[Line]]:
        """Open a line for each worker of a run, for the length of a ``with`` block."""
        lines = [Line() for _ in range(workers)]
        try:
            with self._lock:
                self._lines = lines
            yield lines
        finally:
            with self._lock:
                self._lines = []
                for line in lines:
                    line.close()

    def ask(self, limit_s: float = LIMIT_S) -> list[bytes | None]:
        """Ask all workers; return their answers, None for one that has not answered in time.

        Returns
        -------
        list
            In the order of the workers' numbers; empty while none runs.
        """
        with self._lock:
            answers: list[bytes | None] = [None] * len(self._lines)
            with selectors.DefaultSelector() as selector:
                for i, line in enumerate(self._lines):
                    if line.ask():
                        selector.register(line.socket, selectors.EVENT_READ, i)
                until = time.monotonic() + limit_s
                while selector.get_map() and (left_s := until - time.monotonic()) > 0:
                    for key, _ in selector.select(left_s):
                        line = self._lines[key.data]
                        answers[key.data] = line.answer()
                        if answers[key.data] is not None or not line.is_open:
                            selector.unregister(key.fileobj)
            return answers


def answer_questions(answer: Callable[[], bytes]) -> None:
    """Answer the questions of the launcher of this process, if it has one, in a thread."""
    text = os.environ.pop(_VARIABLE, "")
    if not text.isdecimal():
        return
    line = socket.socket(fileno=int(text))
    threading.Thread(
        target=_answer_all, args=(line, answer), name="ewma_ops-answers", daemon=True
    ).start()


def _answer_all(line: socket.socket, answer: Callable[[], bytes]) -> None:
    with contextlib.suppress(OSError):
        line.sendall(_ANSWER.pack(0, 0))
        while len(question := line.recv(_QUESTION.size, socket.MSG_WAITALL)) == _QUESTION.size:
            content = answer()
            line.sendall(_ANSWER.pack(_QUESTION.unpack(question)[0], len(content)) + content)
