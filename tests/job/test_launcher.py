"""The launcher, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ewma_ops.errors import BrokerError, ConfigError, StateError
from ewma_ops.job.launcher import launch
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.signs import UNAVAILABLE
from ewma_ops.settings.load import load
from tests.helpers.forking import start
from tests.helpers.lookups import Fixed
from tests.helpers.patience import PATIENCE_S, slowness
from tests.helpers.ticking import ENV, await_progress, lines

pytestmark = pytest.mark.slow

CONFIG = """
[kafka]
bootstrap_servers = "127.0.0.1:1"
[input]
topic = "readings"
[smooth]
beta = 0.9
[output]
topic = "smoothed"
[recovery]
directory = "{}"
"""


def configured(directory: Path) -> Path:
    path = directory / "ewma.toml"
    path.write_text(CONFIG.format(directory / "state"))
    return path


@contextmanager
def launcher(
    directory: Path,
    workers: int = 1,
    limit: int = 10**9,
    mode: str = "ok",
    grace_s: float = PATIENCE_S,  # not measured here: the last snapshot waits for the disk
) -> Iterator[subprocess.Popen[str]]:
    options = json.dumps([workers, limit, mode, grace_s])
    line = [sys.executable, "-m", "tests.helpers.ticking", "launcher", str(directory), options]
    child = start(line, ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def told(child: subprocess.Popen[str], limit_s: float = PATIENCE_S) -> list[str]:
    return child.communicate(timeout=limit_s)[1].splitlines()


def worker_pids(child: subprocess.Popen[str]) -> list[int]:
    task = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    return [int(pid) for pid in task.read_text().split()]


def is_gone(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def await_gone(pids: list[int], limit_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + limit_s
    while not all(map(is_gone, pids)):
        assert time.monotonic() < until, "a worker outlived its time"
        time.sleep(0.02)


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_to_the_end_says_two_lines(tmp_path: Path, workers: int) -> None:
    with launcher(tmp_path, workers, limit=50) as child:
        first, last = told(child)
        assert child.returncode == 0
    plural = "s" if workers > 1 else ""
    assert first == f"started {workers} worker{plural}, state in '{tmp_path}/state', epoch 1"
    assert last.startswith("finished after ")
    assert last.endswith(" s; state saved")
    assert lines(tmp_path) == {key: list(range(1, 51)) for key in "012"}


def test_a_stop_keeps_the_state_for_any_number_of_workers(tmp_path: Path) -> None:
    for workers in (2, 1):
        with launcher(tmp_path, workers) as child:
            await_progress(tmp_path, beyond=30 + min(map(len, lines(tmp_path).values())))
            child.send_signal(signal.SIGTERM)
            assert told(child)[-1].startswith("stopped after ")
            assert child.returncode == 0
    limit = max(ns[-1] for ns in lines(tmp_path).values()) + 10
    with launcher(tmp_path, 1, limit=limit) as child:
        told(child)
    assert lines(tmp_path) == {key: list(range(1, limit + 1)) for key in "012"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_during_the_start_is_graceful(tmp_path: Path, number: signal.Signals) -> None:
    with launcher(tmp_path, 2) as child:
        assert child.stdout is not None
        child.stdout.readline()  # the first worker is being started
        child.send_signal(number)
        assert told(child)[-1].endswith("state saved")
        assert child.returncode == 0


@linux
def test_a_crash_is_resumed_without_a_gap_in_the_state(tmp_path: Path) -> None:
    with launcher(tmp_path, 2) as child:
        await_progress(tmp_path)
        pids = worker_pids(child)
        child.kill()
    await_gone(pids)
    limit = max(ns[-1] for ns in lines(tmp_path).values()) + 10
    with launcher(tmp_path, 1, limit=limit) as child:
        assert told(child)[-1].startswith("finished")  # the flow fails on a number out of sequence
    assert {key: ns[-1] for key, ns in lines(tmp_path).items()} == dict.fromkeys("012", limit)


@linux
def test_a_killed_launcher_takes_its_workers_along(tmp_path: Path) -> None:
    with launcher(tmp_path, 2) as child:
        await_progress(tmp_path)
        pids = worker_pids(child)
        assert len(pids) == 2
        child.kill()
        await_gone(pids)


@linux
@pytest.mark.parametrize("place", [0, 1])
def test_a_killed_worker_takes_the_others_along(tmp_path: Path, place: int) -> None:
    with launcher(tmp_path, 2) as child:
        await_progress(tmp_path)
        pids = worker_pids(child)
        os.kill(pids[place], signal.SIGKILL)
        await_gone(pids)
        last = told(child)[-1]
        assert child.returncode == 1
    assert last.startswith(f"worker {place} was killed by SIGKILL after ")
    assert last.endswith("the next start resumes from the last snapshot")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_worker_is_told_once_and_its_code_returned(tmp_path: Path, workers: int) -> None:
    with launcher(tmp_path, workers, mode="broker-fails") as child:
        _, *errors, last = told(child)
        assert child.returncode == UNAVAILABLE
    assert len(errors) == 1
    assert errors[0].endswith(": no broker at example:9092: start one")
    assert " failed after " in last


def test_a_worker_stuck_before_it_is_connected_is_killed(tmp_path: Path) -> None:
    with launcher(tmp_path, 2, mode="first-fails") as child:
        began = time.monotonic()
        assert "worker 0 failed" in told(child)[-1]
        assert child.returncode == 2
        assert time.monotonic() - began < 10 * slowness()


def test_a_stop_is_bounded_in_time(tmp_path: Path) -> None:
    with launcher(tmp_path, 1, mode="deaf", grace_s=0.5) as child:
        await_progress(tmp_path)
        child.send_signal(signal.SIGTERM)
        assert "not stopped within 0.5 s" in told(child)[-1]
        assert child.returncode == 1


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with launcher(tmp_path, 1, mode="deaf") as child:
        await_progress(tmp_path)
        child.send_signal(signal.SIGINT)
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        assert "second signal" in told(child)[-1]
        assert child.returncode == 128 + signal.SIGINT


def test_a_signal_that_is_sent_to_the_process_and_to_its_group_is_one(tmp_path: Path) -> None:
    with launcher(tmp_path) as child:
        await_progress(tmp_path)
        for number in (signal.SIGTERM, signal.SIGINT):
            child.send_signal(number)
        assert told(child)[-1].endswith("state saved")
        assert child.returncode == 0


def test_a_terminal_that_is_closed_stops_the_flow_gracefully(tmp_path: Path) -> None:
    with launcher(tmp_path, 2) as child:
        await_progress(tmp_path)
        for pid in [child.pid, *worker_pids(child), child.pid]:  # the kernel and the shell
            os.kill(pid, signal.SIGHUP)
        assert told(child)[-1].endswith("state saved")
        assert child.returncode == 0


def test_nohup_is_respected(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with launcher(tmp_path) as child:
            await_progress(tmp_path)
            for pid in [child.pid, *worker_pids(child)]:
                os.kill(pid, signal.SIGHUP)
            await_progress(tmp_path, beyond=lines(tmp_path)["0"][-1] + 20)
            child.send_signal(signal.SIGTERM)
            assert told(child)[-1].endswith("state saved")
    finally:
        signal.signal(signal.SIGHUP, before)


def fill(pipe: int) -> None:
    """Fill a pipe, so that the next write to it waits."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, bytes(512))
    os.set_blocking(pipe, True)


@linux
@pytest.mark.parametrize("death", ["worker", "stop"])
def test_a_log_that_nobody_reads_holds_up_nothing(tmp_path: Path, death: str) -> None:
    reader, writer = os.pipe()
    fill(writer)
    options = json.dumps([2, 10**9, "noisy", 30])
    line = [sys.executable, "-m", "tests.helpers.ticking", "launcher", str(tmp_path), options]
    with start(line, ENV, stderr=writer, stdout=subprocess.DEVNULL) as child:
        os.close(writer)
        try:
            await_progress(tmp_path, beyond=300)  # with a line to the log for each
            pids = worker_pids(child)
            if death == "worker":
                os.kill(pids[0], signal.SIGKILL)
            else:
                child.send_signal(signal.SIGTERM)
            await_gone(pids)
            assert child.wait(PATIENCE_S) == (1 if death == "worker" else 0)
        finally:
            child.kill()
            os.close(reader)


def test_a_log_whose_reader_is_gone_ends_nothing(tmp_path: Path) -> None:
    with launcher(tmp_path, mode="noisy") as child:
        await_progress(tmp_path)
        assert child.stderr is not None
        child.stderr.close()
        await_progress(tmp_path, beyond=lines(tmp_path)["0"][-1] + 50)
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 0


def test_a_second_launcher_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with launcher(tmp_path, 1) as child:
        await_progress(tmp_path)
        with pytest.raises(StateError, match=f"in use by process {child.pid}"):
            RecoveryStore(tmp_path / "state").__enter__()
        await_progress(tmp_path, beyond=lines(tmp_path)["0"][-1])
        child.send_signal(signal.SIGTERM)
        assert told(child)[-1].startswith("stopped")


def away() -> Any:
    raise BrokerError("no broker answered")


def test_a_first_start_waits_for_brokers_as_long_as_it_is_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    began = time.monotonic()
    with pytest.raises(BrokerError, match="no broker answered"):
        launch(config, 1, Fixed(identify=away), wait_s=1.0)
    assert 1.0 <= time.monotonic() - began < 20 * slowness()
    assert capsys.readouterr().err.count("ewma: no broker answered") >= 2
    with pytest.raises(BrokerError, match="no broker answered"):
        launch(config, 1, Fixed(identify=away), wait_s=0.0)
    assert "starting again" not in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_stop_is_heard_while_brokers_do_not_answer(tmp_path: Path) -> None:
    silence = threading.Event()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()

    def identify() -> dict[str, str | int]:
        silence.wait(60)
        return {}

    assert launch(configured(tmp_path), 1, Fixed(identify=identify)) == 1
    silence.set()
    assert time.monotonic() - began < 30 * slowness()


def test_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    config = configured(tmp_path)
    lookups = Fixed(identify=load(config).identity)
    with pytest.raises(ConfigError, match="workers = 0: at least 1"):
        launch(config, 0, lookups)
    with pytest.raises(ConfigError, match="no such file"):
        launch(tmp_path / "absent.toml", 1, lookups)
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError, match="name a directory"):
        launch(config, 1, lookups)
    (tmp_path / "state").unlink()
    with RecoveryStore(tmp_path / "state") as store:
        store.prepare({"input topic": "readings"})
    with pytest.raises(StateError, match="smoothing was not set"):
        launch(config, 1, lookups)


def test_workers_that_keep_no_series_are_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path)
    (tmp_path / "state").write_text("")
    for workers in (16, 17):
        with pytest.raises(ConfigError, match="name a directory"):
            launch(config, workers, Fixed(identify=load(config).identity))
    (warned,) = [line for line in capfd.readouterr().err.splitlines() if "shards" in line]
    assert warned.startswith("17 workers for 16 shards: 1 of them keep no series")
