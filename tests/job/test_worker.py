"""The worker, in processes of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ewma_ops.errors import EwmaError
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.signs import LOST_PEER, UNAVAILABLE
from ewma_ops.job.worker import _refuse_taken
from tests.helpers.forking import start
from tests.helpers.patience import PATIENCE_S, slowness
from tests.helpers.ticking import ENV, await_progress, command, lines

pytestmark = pytest.mark.slow


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with RecoveryStore(tmp_path / "state") as store:
        store.prepare({})
    return tmp_path


class Workers:
    """Processes of one cluster, started by hand and gone at the end of the test."""

    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory
        self.addresses = free_addresses(count)
        self.children: list[subprocess.Popen[str]] = []

    def start(self, place: int, **options: str | int) -> subprocess.Popen[str]:
        line = command(self.directory, place, self.addresses, **options)  # type: ignore[arg-type]
        child = start(line, ENV, stderr=subprocess.PIPE)
        self.children.append(child)
        return child

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
            child.communicate()


def free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_gracefully_and_the_next_run_goes_on_exactly(
    directory: Path, number: signal.Signals
) -> None:
    with Workers(directory, 1) as workers:
        child = workers.start(0)
        await_progress(directory)
        child.send_signal(number)
        child.send_signal(number)  # a service manager signals us beside the launcher
        assert child.communicate(timeout=PATIENCE_S)[1] == ""
        assert child.returncode == 0
    seen = lines(directory)
    limit = max(ns[-1] for ns in seen.values()) + 10
    with Workers(directory, 1) as workers:
        assert workers.start(0, limit=limit).wait(30) == 0
    # Bytewax took a last snapshot at the stop: nothing is done again, nothing is left out.
    assert lines(directory) == {key: list(range(1, limit + 1)) for key in seen}


def test_two_processes_stop_gracefully_as_they_wake_and_go_on_as_one(directory: Path) -> None:
    with Workers(directory, 2) as workers:
        children = [workers.start(i) for i in range(2)]
        await_progress(directory)
        for child in children:
            child.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, child.pid, os.WSTOPPED)
            child.send_signal(signal.SIGTERM)  # any thread may be the first to see it
        for child in children:
            child.send_signal(signal.SIGCONT)
        assert [child.communicate(timeout=PATIENCE_S)[1] for child in children] == ["", ""]
        assert [child.returncode for child in children] == [0, 0]
    with Workers(directory, 1) as workers:
        assert workers.start(0, limit=500).wait(30) == 0
    assert lines(directory) == {key: list(range(1, 501)) for key in "012"}


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_ours_is_one_sentence(directory: Path, count: int) -> None:
    with Workers(directory, count) as workers:
        children = [workers.start(i, mode="broker-fails") for i in range(count)]
        told = [child.communicate(timeout=PATIENCE_S)[1] for child in children]
    i = next(i for i, child in enumerate(children) if child.returncode == UNAVAILABLE)
    name = f"ewma worker {i}" if count > 1 else "ewma"
    assert told.pop(i) == f"{name}: no broker at example:9092: start one\n"
    assert told == [""] * (count - 1)
    assert sorted(child.returncode for child in children) == [UNAVAILABLE, LOST_PEER][:count]


def test_a_mistake_of_the_user_is_told_before_anything_runs(directory: Path) -> None:
    with Workers(directory, 1) as workers:
        child = workers.start(0, mode="build-fails")
        assert child.communicate(timeout=PATIENCE_S)[1] == "ewma: value = 'x': not a number\n"
        assert child.returncode == 2


@pytest.mark.parametrize("count", [1, 2])
def test_a_fault_of_the_program_shows_its_traceback(directory: Path, count: int) -> None:
    with Workers(directory, count) as workers:
        children = [workers.start(i, mode="bug") for i in range(count)]
        told = [child.communicate(timeout=PATIENCE_S)[1] for child in children]
    assert 1 in [child.returncode for child in children]
    assert any("a fault in the program" in text and "ZeroDivisionError" in text for text in told)
    assert not any("stack backtrace" in text for text in told)


def test_a_lost_peer_ends_the_other_quickly(directory: Path) -> None:
    with Workers(directory, 2) as workers:
        children = [workers.start(i) for i in range(2)]
        await_progress(directory)
        children[1].kill()
        began = time.monotonic()
        assert children[0].wait(10) == LOST_PEER
        assert time.monotonic() - began < 3 * slowness()


def test_a_worker_leaves_when_its_launcher_is_gone(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "ewma_ops.job.worker", "absent.toml", "--process-id=0"]
    arguments += ["--addresses=127.0.0.1:1", "--launcher=1"]
    if os.getpid() == 1:
        pytest.skip("this process is the one that the worker is told to expect")
    assert (
        subprocess.run(arguments, env=ENV, timeout=PATIENCE_S, check=False).returncode == LOST_PEER
    )


def test_a_port_that_somebody_took_is_a_sentence_and_another_is_tried(directory: Path) -> None:
    with Workers(directory, 2) as workers:
        host, _, port = workers.addresses[0].rpartition(":")
        with socket.create_server((host, int(port))):
            child = workers.start(0)
            _, told = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == UNAVAILABLE  # the launcher starts all of them again, on other ports
    assert f"the port {port} of this worker is not free on {host}" in told
    assert "Traceback" not in told
    assert "panicked" not in told


def test_a_peer_that_ends_while_it_connects_is_a_lost_peer(directory: Path) -> None:
    with Workers(directory, 2) as workers:
        child = workers.start(0)
        host, _, port = workers.addresses[0].rpartition(":")
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((host, int(port))).close()
                break
            time.sleep(0.02)
        _, told = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == LOST_PEER
    assert "the workers were not connected, as one has ended" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_is_free_or_not_with_either_protocol(host: str) -> None:
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    try:
        taken = socket.create_server((host.strip("[]"), 0), family=family)
    except OSError as error:
        pytest.skip(f"no address {host}: {error}")
    port = taken.getsockname()[1]
    with taken, pytest.raises(EwmaError, match=rf"port {port} .* is not free on {re.escape(host)}"):
        _refuse_taken(["127.0.0.1:1", f"{host}:{port}"], 1)
    _refuse_taken(["127.0.0.1:1", f"{host}:{port}"], 1)
