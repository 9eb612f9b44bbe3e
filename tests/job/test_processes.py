"""Processes of workers: forked ahead by an interpreter of a single thread, or started anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.patience import PATIENCE_S
from tests.helpers.ticking import ENV

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks ahead on Linux only")

PROLOGUE = """
import json, os, signal, sys, time
from contextlib import ExitStack
from ewma_ops.job.processes import forked_ahead, set_title

def show(pipe, **found):
    os.write(pipe, (json.dumps(found) + "\\n").encode())

def program(command):  # in the child
    pipe = int(os.environ["PIPE"])
    what, *rest = command
    if what == "look":
        signals = [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        fds = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2]
        fds = [fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}")]
        show(pipe, parent=os.getppid(), rest=rest, blocked=signals, fds=fds, path=sys.path[0],
             environment=dict(os.environ), stdin=os.readlink("/proc/self/fd/0"))
        sys.stderr.write("said by the child\\n")
    elif what == "raise":
        1 / 0
    elif what == "end of file":
        raise EOFError("a file is cut short")
    elif what == "leave":
        sys.exit(int(rest[0]))
    elif what == "wait":
        show(pipe, pid=os.getpid())
        signal.signal(signal.SIGTERM, lambda *_: show(pipe, stopped=True))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        time.sleep(60)
    elif what == "title":
        set_title(rest[0])
        with open("/proc/self/cmdline") as shown:
            show(pipe, title=shown.read())
    return 3

def spawned(code):
    return [sys.executable, "-c", code]

def start(stack, count):
    return stack.enter_context(forked_ahead(count, lambda: program))

read, write = os.pipe()
lines = os.fdopen(read)
told = lambda: json.loads(lines.readline())
environment = {**os.environ, "PIPE": str(write)}
"""


def done(script: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROLOGUE + script],
        env=ENV,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
        **options,
    )


@linux
def test_a_forked_process_has_what_it_is_given_and_nothing_of_others(tmp_path: Path) -> None:
    mine, own = os.pipe()
    script = f"""
assert os.get_inheritable({mine})
with ExitStack() as stack:
    make = start(stack, 2)
    secret, log = os.open("/dev/null", os.O_RDWR), os.open("log", os.O_CREAT | os.O_WRONLY)
    child = make(["look", "a", "\\udcff"], [secret, write], log, environment)
    found = told()
    assert child.wait() == child.poll() == child.returncode == 3
    child.kill()  # which is nothing, as it has ended
print(json.dumps({{**found, "launcher": os.getpid(), "given": [read, write, secret]}}))
"""
    found = json.loads(done(script, cwd=tmp_path, pass_fds=[mine]).stdout)
    os.close(mine)
    os.close(own)
    assert found["parent"] == found["launcher"]
    assert found["rest"] == ["a", "\udcff"]
    assert found["fds"] == sorted(found["given"])
    assert found["environment"].keys() == {*ENV, "PIPE"}
    assert found["stdin"] == "/dev/null"
    assert found["path"] == str(tmp_path)
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} <= set(found["blocked"])
    assert (tmp_path / "log").read_text() == "said by the child\n"


@linux
def test_a_stop_before_the_orders_is_delivered_after_them() -> None:
    script = """
with ExitStack() as stack:
    make = start(stack, 1)
    (child,) = map(int, open(f"/proc/self/task/{os.getpid()}/children").read().split())
    os.kill(child, signal.SIGTERM)
    process = make(["wait"], [write], None, environment)
    print(told() == {"pid": child}, told() == {"stopped": True})
    process.kill()
    print(process.wait() == -signal.SIGKILL)
"""
    assert set(done(script).stdout.split()) == {"True"}


@linux
@pytest.mark.parametrize(
    ("command", "code"),
    [(["raise"], 1), (["end of file"], 1), (["leave", "75"], 75), ([""], 3)],
)
def test_a_program_ends_as_it_would_by_itself(command: list[str], code: int) -> None:
    script = f"""
with ExitStack() as stack:
    print(start(stack, 1)({command}, [write], None, environment).wait())
"""
    ended = done(script)
    assert ended.stdout == f"{code}\n"  # and once: nothing that was buffered is written twice
    assert ("ZeroDivisionError" in ended.stderr) == (command == ["raise"])


@linux
@pytest.mark.parametrize("hurt", ["SIGKILL", "SIGSTOP", None])
def test_another_interpreter_is_started_where_no_fork_is_left(hurt: str | None) -> None:
    """Also in the place of one that somebody has killed, or that does not accept its orders."""
    script = f"""
with ExitStack() as stack:
    make = start(stack, {0 if hurt is None else 1})
    for child in map(int, open(f"/proc/self/task/{{os.getpid()}}/children").read().split()):
        os.kill(child, signal.Signals[{hurt!r}])
        os.waitid(os.P_PID, child, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
    long = {{name: "x" * 100_000 for name in "ABCDEFGH"}}  # more than fits into a socket
    code = "import os, sys; sys.exit(len(os.environ['H']) // 10_000)"
    print(make(spawned(code), [write], None, {{**environment, **long}}).wait())
"""
    assert done(script).stdout == "10\n"


@linux
def test_a_title_is_shown_as_far_as_it_fits() -> None:
    script = """
with ExitStack() as stack:
    make = start(stack, 2)
    for title in ("ewma worker-0", "x" * 100_000):
        make(["title", title], [write], None, environment)
        print(told()["title"].rstrip("\\0"))
"""
    short, long = done(script).stdout.split("\n")[:2]
    assert short == "ewma worker-0"
    assert set(long) == {"x"}
    assert len(long) > 100


@contextmanager
def waiting() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Yield a launcher that waits in the block of two forks, and their process ids."""
    script = """
with ExitStack() as stack:
    start(stack, 2)
    print(open(f"/proc/self/task/{os.getpid()}/children").read(), flush=True)
    sys.stdin.readline()
"""
    pipe = subprocess.PIPE
    line = [sys.executable, "-c", PROLOGUE + script]
    with subprocess.Popen(line, env=ENV, stdin=pipe, stdout=pipe, text=True) as launcher:
        try:
            assert launcher.stdout is not None
            yield launcher, list(map(int, launcher.stdout.readline().split()))
        finally:
            launcher.kill()


@linux
@pytest.mark.parametrize("end", ["at its end", "killed"])
def test_no_fork_outlives_its_launcher(end: str) -> None:
    with waiting() as (launcher, pids):
        assert len(pids) == 2
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        if end == "killed":
            launcher.kill()
        else:
            os.kill(pids[0], signal.SIGSTOP)
            launcher.communicate("\n", timeout=PATIENCE_S)
            assert launcher.returncode == 0
        until = time.monotonic() + PATIENCE_S
        while any(map(is_alive, pids)):
            assert time.monotonic() < until
            time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_of_several_threads_forks_nothing() -> None:
    script = """
import threading
ended = threading.Event()
threading.Thread(target=ended.wait).start()
with ExitStack() as stack:
    make = stack.enter_context(forked_ahead(1, lambda: 1 / 0))
    print(make(spawned("import sys; sys.exit(5)"), [], None, environment).wait())
ended.set()
"""
    assert done(script).stdout == "5\n"


@linux
def test_children_whose_ends_nobody_would_learn_of_are_not_forked() -> None:
    script = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with forked_ahead(1, lambda: 1 / 0) as make:
    print(make.__name__)
"""
    assert done(script).stdout == "spawn\n"
