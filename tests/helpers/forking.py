"""Programs that the tests start, forked from a process that has imported what they need.

``python -m ewma_ops.commands.cli check`` takes half a second of a processor, nearly all of it for
an interpreter and its imports, and the tests start hundreds. Here one server for each process of
the tests imports once, and forks for each start.

What is forked is a process as any other: it has its own pid, environment, descriptors, signals and
exit code, and it is a child of the process that asked for it, as the server's own child ends at
once and Linux hands the grandchild on. What differs is what an interpreter reads before the first
line of a program: :func:`can_fork` says where that matters.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

from ewma_ops.lazy import importing

__all__ = ["Forked", "can_fork", "start"]

ROOT = Path(__file__).parents[2]

_IMPORTED = (
    "bytewax.run",
    "ewma_ops.commands.check",
    "ewma_ops.commands.cli",
    "ewma_ops.job.dataflow",
    "ewma_ops.job.launcher",
    "ewma_ops.job.lookups",
)
"""What most programs import."""

_READ_AT_START = ("EWMA_COMPILED", "GLIBC_", "LD_", "MALLOC_", "OPENBLAS_", "PYTHON")
"""Beginnings of variables that are read before a program's first line, or by its imports."""

_INHERITED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""What a child ignores where its parent does."""

_PR_SET_CHILD_SUBREAPER = 36
_MOST_BYTES = 1 << 17
_LINUX = sys.platform == "linux"


def can_fork(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether a command is ``python -m MODULE ...`` in an environment like the server's."""
    named = len(command) > 2 and list(command[:2]) == [sys.executable, "-m"]
    return _LINUX and named and _read_at_start(environment) == _server().read_at_start


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    of_one_thread = {"OPENBLAS_NUM_THREADS": "1", **environment}
    return {k: v for k, v in of_one_thread.items() if k.startswith(_READ_AT_START)}


def start(
    command: Sequence[str], environment: Mapping[str, str], **streams: Any
) -> subprocess.Popen[str]:
    """Start a program at the root of the repository, forked where that makes no difference."""
    kind = Forked if can_fork(command, environment) else subprocess.Popen
    return kind(command, env=environment, cwd=ROOT, text=True, **streams)


class Forked(subprocess.Popen[str]):
    """``subprocess.Popen`` of ``python -m MODULE ...`` at the root of the repository."""

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        environment, pipes = rest[5], rest[9:15]
        theirs = [i if fd == -1 else fd for i, fd in enumerate((pipes[0], pipes[3], pipes[5]))]
        try:
            self.pid = _server().fork(args[2:], environment, theirs)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


class _Server:
    """The process that forks, as those who ask see it."""

    def __init__(self) -> None:
        environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
        self.read_at_start = _read_at_start(environment)
        self._turn = threading.Lock()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.helpers.forking", str(theirs.fileno())],
                cwd=ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._channel.close()
        self._process.wait()

    def fork(self, module: Sequence[str], environment: Mapping[str, str], fds: list[int]) -> int:
        """Start a module with its arguments, on three descriptors, and return its pid."""
        ignored = [int(n) for n in _INHERITED if signal.getsignal(n) == signal.SIG_IGN]
        asked = json.dumps(_Asked(list(module), dict(environment), ignored)).encode()
        with self._turn:
            prctl = ctypes.CDLL(None).prctl
            prctl(_PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self._channel, [asked], fds)
                told = self._channel.recv(64)
            finally:
                prctl(_PR_SET_CHILD_SUBREAPER, 0)
        assert told, "the server that forks has ended"
        return int(told)


@functools.cache
def _server() -> _Server:
    return _Server()


# In the server ------------------------------------------------------------------------------------


class _Asked(NamedTuple):
    """What a child is to be: ``python -m`` of what, in which surroundings."""

    module: list[str]
    environment: dict[str, str]
    ignored: list[int]


def _serve(channel: socket.socket) -> tuple[_Asked, list[int]]:
    """Fork for each request; return in the children."""
    while True:
        asked, fds, _, _ = socket.recv_fds(channel, _MOST_BYTES, 3)
        if not asked:  # who asks has ended
            sys.exit()
        waiting, handed_on = os.pipe()
        between = os.fork()
        if between == 0:
            if os.fork():
                os._exit(0)
            os.close(handed_on)
            os.read(waiting, 1)  # nothing comes: it ends when the new parent is there
            os.close(waiting)
            with channel:
                channel.send(str(os.getpid()).encode())
            return _Asked(*json.loads(asked)), fds
        os.waitpid(between, 0)
        for fd in (waiting, handed_on, *fds):
            os.close(fd)


def _become(asked: _Asked, streams: Sequence[int]) -> None:
    """Be as a new process."""
    for standard, fd in enumerate(streams):
        os.dup2(fd, standard)
        os.close(fd)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    os.environ.clear()
    os.environ.update(asked.environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in asked.ignored:
        signal.signal(number, signal.SIG_IGN)


def _run(module: Sequence[str]) -> None:
    """Do as ``python -m`` does, in a ``__main__`` of the module's own."""
    spec = importlib.util.find_spec(module[0])
    assert spec is not None
    assert isinstance(spec.loader, SourceFileLoader)
    main = types.ModuleType("__main__")
    main.__file__, main.__spec__ = spec.loader.path, spec
    sys.modules["__main__"] = main
    sys.argv = [spec.loader.path, *module[1:]]
    code = spec.loader.get_code(module[0])
    assert code is not None
    exec(code, main.__dict__)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with importing():
        for name in _IMPORTED:
            importlib.import_module(name)
    wanted, standard_streams = _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(wanted, standard_streams)
    _run(wanted.module)
