"""Start worker processes: as new interpreters, or forked before the launcher has threads.

Knows processes, signals and file descriptors; must not know what a worker does.

A new interpreter imports again what its launcher has imported, which is two fifths of a start. A
forked process has it already, but only a process of a single thread may fork: a lock that another
thread holds at that moment would stay locked in the child. So as many processes as there
will be workers are forked before the launcher starts its first thread, and wait for their orders.
Workers that start again are new interpreters.
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
"""How long a forked process may take to accept its orders, which fit into the socket's buffer."""
_STDIN, _STDERR = 0, 2


class Process(Protocol):
    """A child process, as `subprocess.Popen` shows it."""

    @property
    def returncode(self) -> int | None:
        """What `poll` has returned last."""

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal that ended it; None while it runs."""

    def wait(self) -> int:
        """Wait for the end; return the exit code."""

    def send_signal(self, sig: int, /) -> None:
        """Send a signal, if it still runs."""

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""


Program = Callable[[Sequence[str]], int]
"""What runs in a forked process: given a command line, it returns the exit code."""


class Start(Protocol):
    """Starts a command line, without standard input."""

    def __call__(
        self,
        command: Sequence[str],
        fds: Sequence[int],
        stderr: int | None,
        environment: Mapping[str, str],
    ) -> Process:
        """Start it with some of our descriptors, under the same numbers; None is our stderr."""


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
    """Fork processes that wait for what to do, for the length of a ``with`` block.

    Yields a `Start` that hands its command line to the next of them, or calls `spawn` when all are
    in use. It is nothing but `spawn` where this process has several threads already, or where that
    is not known (on Linux only it is). At the end of the block those that are left are ended.

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
        threads = len(os.listdir("/proc/self/task"))  # also those that are not Python's
    except OSError:
        return False
    # Where it is ignored, the kernel forgets how a child has ended.
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
        if self.poll() is None:  # until it is waited for, no other process gets its number
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
        """Start a program in the next process that waits; see `Start`."""
        if not self._waiting:
            return spawn(command, fds, stderr, environment)
        one = self._waiting.pop(0)
        try:
            _send_orders(one.channel, command, fds, stderr, environment)
        except OSError:  # somebody has killed or stopped it
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
    """Be the child: wait for orders, follow them, and end without a return to the parent's code."""
    code = 1
    try:
        received = _received(channel)
        channel.close()
        if received is None:  # the launcher needs no more, or is gone
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
    """Return the orders and what descriptors came with them; None where none will come."""
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
    """Take on what a new interpreter would have been given."""
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
    """Close what the launcher was given by whoever started it; its own does not survive an exec.

    What Python opens is not inheritable, and belongs to an object that may close it later.
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
    """Let children start with the stop signals held back until they are ready for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def set_title(title: str) -> None:
    """Show this process by a title in ``ps``, as far as it fits over its command line.

    Only Linux does; elsewhere nothing changes.
    """
    with contextlib.suppress(OSError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = map(int, fields[45:47])  # arg_start and arg_end, of which proc(5) tells
        room = end - start - 1
        if start and room > 0:
            shown = title.encode(errors="replace")[:room]
            ctypes.memmove(start, shown.ljust(room + 1, b"\0"), room + 1)


def exit_now(code: int) -> NoReturn:
    """End this process at once: threads of a failed engine or of a client may never end."""
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # which it is where the descriptor was closed
            stream.flush()
