"""Starts worker processes: as new interpreters, or forked before the launcher has threads.

Knows processes, signals and file descriptors; must not know what a worker does.

A new interpreter imports again what its launcher has imported, which is two fifths of a start. A
forked process has it already, but only a process of a single thread may fork: a lock that another
thread holds at that moment would stay locked in the child. So a process for each worker is forked
before the launcher starts its first thread, and waits for orders. Restarted workers are new
interpreters.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

from ewma_ops.job.signs import STOP_SIGNALS

__all__ = [
    "Process",
    "Program",
    "Start",
    "blocked_signals",
    "exit_now",
    "forked_ahead",
    "set_title",
    "spawn",
]

_LENGTH = struct.Struct(">I")
_MOST_FDS = 16
_ORDERS_S = 1.0
"""How long a forked process may take to accept its orders, which fit the socket's buffer."""
_STDIN, _STDERR = 0, 2


class Process(Protocol):
    """A child process, with the interface of `subprocess.Popen`."""

    @property
    def returncode(self) -> int | None:
        """The last result of `poll`."""

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal that ended it; None while it runs."""

    def wait(self) -> int:
        """Wait for the end; return the exit code."""

    def send_signal(self, sig: int, /) -> None:
        """Send a signal, if it still runs."""

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""


Program = Callable[[Sequence[str]], int]
"""The program of a forked process: takes a command line, and returns the exit code."""


class Start(Protocol):
    """Starts a command line, without standard input."""

    def __call__(
        self,
        command: Sequence[str],
        fds: Sequence[int],
        stderr: int | None,
        environment: Mapping[str, str],
    ) -> Process:
        """Start it with some of our descriptors, under the same numbers; None means our stderr."""


def spawn(
    command: Sequence[str],
    fds: Sequence[int],
    stderr: int | None,
    environment: Mapping[str, str],
) -> Process:
    """Start a program; see `Start`."""
    return subprocess.Popen(
        command, pass_fds=fds, stdin=subprocess.DEVNULL, stderr=stderr, env=environment
    )


@contextlib.contextmanager
def forked_ahead(count: int, load: Callable[[], Program]) -> Iterator[Start]:
    """Fork processes that wait for orders, for the length of a ``with`` block.

    Yields a `Start` that hands its command line to the next of them, or calls `spawn` when all are
    in use. It is just `spawn` if this process already has several threads, or if that is unknown
    (it is known only on Linux). At the end of the block the remaining processes are ended.

    Parameters
    ----------
    count
        How many to fork, >= 0.
    load
        Imports a program, and returns it; called once, before the first fork.
    """
    if not _may_fork():
        yield spawn
        return
    program = load()
    waiting: list[_Waiting] = []
    try:
        for _ in range(count):
            waiting.append(_fork(program, [one.channel for one in waiting]))
        yield _Forks(waiting).start
    finally:
        for one in waiting:
            one.dismiss()


def _may_fork() -> bool:
    try:
        threads = len(os.listdir("/proc/self/task"))  # including threads that are not Python's
    except OSError:
        return False
    # If SIGCHLD is ignored, the kernel discards the exit status of children.
    return threads == 1 and signal.getsignal(signal.SIGCHLD) != signal.SIG_IGN


class _Forked:
    """A child that was forked, as a `Process`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._waited(os.WNOHANG)

    def wait(self) -> int:
        code = self._waited(0)
        assert code is not None
        return code

    def _waited(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:  # its pid is not reused before it is waited for
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Waiting(NamedTuple):
    """A forked process that waits for its orders, and the socket for them."""

    process: _Forked
    channel: socket.socket

    def dismiss(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()


class _Forks:
    def __init__(self, waiting: list[_Waiting]) -> None:
        self._waiting = waiting

    def start(
        self,
        command: Sequence[str],
        fds: Sequence[int],
        stderr: int | None,
        environment: Mapping[str, str],
    ) -> Process:
        """Start a program in the next waiting process; see `Start`."""
        if not self._waiting:
            return spawn(command, fds, stderr, environment)
        one = self._waiting.pop(0)
        try:
            _send_orders(one.channel, command, fds, stderr, environment)
        except OSError:  # it was killed or stopped
            one.dismiss()
            return self.start(command, fds, stderr, environment)
        one.channel.close()
        return one.process


class _Orders(NamedTuple):
    command: list[str]
    numbers: list[int]
    environment: dict[str, str]


def _send_orders(
    channel: socket.socket,
    command: Sequence[str],
    fds: Sequence[int],
    stderr: int | None,
    environment: Mapping[str, str],
) -> None:
    numbers, sent = [*fds], [*fds]
    if stderr is not None:
        numbers.append(_STDERR)
        sent.append(stderr)
    text = json.dumps(_Orders([*command], numbers, dict(environment))).encode()
    channel.settimeout(_ORDERS_S)
    socket.send_fds(channel, [_LENGTH.pack(len(text))], sent)
    channel.sendall(text)


def _fork(program: Program, siblings: Sequence[socket.socket]) -> _Waiting:
    ours, theirs = socket.socketpair()
    _flush()  # or the child would write it again
    with blocked_signals():  # until the program is ready for them
        pid = os.fork()
        if pid == 0:
            for one in (ours, *siblings):
                one.close()
            _follow(theirs, program)
    theirs.close()
    return _Waiting(_Forked(pid), ours)


def _follow(channel: socket.socket, program: Program) -> NoReturn:
    """Run as the child: wait for orders, follow them, and exit without returning to the caller."""
    code = 1
    try:
        received = _received(channel)
        channel.close()
        if received is None:  # the launcher needs no more workers, or is gone
            exit_now(0)
        orders, fds = received
        _become(orders, fds)
        code = program(orders.command)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a program
        sys.excepthook(*sys.exc_info())
    finally:
        exit_now(code)


def _received(channel: socket.socket) -> tuple[_Orders, list[int]] | None:
    """Return the orders and the descriptors that came with them; None if none will come."""
    head, fds, *_ = socket.recv_fds(channel, _LENGTH.size, _MOST_FDS)
    if not head:
        return None
    (length,) = _LENGTH.unpack(head)
    text = b""
    while len(text) < length:
        chunk = channel.recv(length - len(text))
        if not chunk:
            return None
        text += chunk
    return _Orders(*json.loads(text)), fds


def _become(orders: _Orders, fds: Sequence[int]) -> None:
    """Adopt the environment, arguments and descriptors of a new interpreter."""
    _close_inherited(fds)
    _renumber(fds, orders.numbers)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(orders.environment)
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, os.getcwd())  # as `python -m` does


def _close_inherited(but: Sequence[int]) -> None:
    """Close descriptors that the launcher inherited; its own would not survive an exec.

    Descriptors opened by Python are not inheritable, and belong to objects that may close them.
    """
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > _STDERR and fd not in but:
            with contextlib.suppress(OSError):
                if os.get_inheritable(fd):
                    os.close(fd)


def _renumber(fds: Sequence[int], numbers: Sequence[int]) -> None:
    above = max([*fds, *numbers], default=0) + 1
    lifted = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in fds]
    for fd in fds:
        os.close(fd)
    for fd, number in zip(lifted, numbers, strict=True):
        os.dup2(fd, number, inheritable=number == _STDERR)
        os.close(fd)


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Start children with the stop signals blocked until they are ready for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def set_title(title: str) -> None:
    """Set the title of this process in ``ps``, as far as it fits over its command line.

    Linux only; elsewhere nothing changes.
    """
    with contextlib.suppress(OSError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = map(int, fields[45:47])  # arg_start and arg_end, see proc(5)
        room = end - start - 1
        if start and room > 0:
            shown = title.encode(errors="replace")[:room]
            ctypes.memmove(start, shown.ljust(room + 1, b"\0"), room + 1)


def exit_now(code: int) -> NoReturn:
    """Exit this process at once: threads of a failed engine or of a client may never end."""
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None if the descriptor was closed
            stream.flush()
