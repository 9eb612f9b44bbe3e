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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ewma_ops.errors import BrokerError, ConfigError, StateError
from ewma_ops.job.launcher import _Failures, _keep_running, launch
from ewma_ops.job.outcome import LOST_HOST, Outcome
from ewma_ops.job.recovery.manifest import Beginning
from ewma_ops.job.recovery.store import RecoveryStore
from ewma_ops.job.report import Counts
from ewma_ops.job.signs import UNAVAILABLE
from tests.helpers.forking import start
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


class Workers:
    """Stands for what the worker program does: a scripted end for each run."""

    def __init__(self, directory: Path, *codes: int) -> None:
        self.codes = directory / "codes"
        self.codes.write_text(" ".join(map(str, codes)))
        self.config = directory / "ewma.toml"
        self.config.write_text(CONFIG.format(directory / "state"))

    def command(self, place: int, addresses: Sequence[str]) -> list[str]:
        program = (
            "import pathlib, sys; path = pathlib.Path(sys.argv[1]); "
            "code, *rest = path.read_text().split() or ['0']; "
            "path.write_text(' '.join(rest)); sys.exit(int(code))"
        )
        return [sys.executable, "-c", program, str(self.codes)]

    def run(self, signals: Sequence[int] = (), identify: Any = dict, begin: Any = Beginning) -> int:
        with RecoveryStore(self.config.parent / "state") as store:
            return _keep_running(self.command, 1, store, identify(), identify, signals, begin)


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ewma_ops.job.waiting._FIRST_PAUSE_S", 0.001)


@pytest.mark.usefixtures("_at_once")
def test_a_run_that_failed_is_followed_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Workers(tmp_path, 1, 1, UNAVAILABLE, 0).run() == 0
    told = capsys.readouterr().err
    assert told.count("started 1 worker") == 4
    assert "starting again in 0.001 s" in told
    assert "starting again in 0.004 s" in told


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    ("first", "code"),
    [(Counts(read=9, readings=9), 0), (Counts(read=9, letters={"empty": 9}), 1), (None, 1)],
)
def test_the_runs_of_a_job_count_together_where_nothing_could_be_read(
    tmp_path: Path, first: Counts | None, code: int
) -> None:
    """A run that resumes after a failure, with one bad message left, has not read nothing."""
    last = Counts(read=1, letters={"empty": 1})
    script = [["", 1] if first is None else [msgspec.json.encode(first).decode(), 1]]
    script.append([msgspec.json.encode(last).decode(), 0])
    program = (
        "import json, pathlib, sys; from ewma_ops.job.notes import leave_note; "
        "path = pathlib.Path(sys.argv[1]); (note, code), *rest = json.loads(path.read_text()); "
        "path.write_text(json.dumps(rest)); note and leave_note(note.encode()); sys.exit(code)"
    )
    path = tmp_path / "script"
    path.write_text(json.dumps(script))

    def command(place: int, addresses: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", program, str(path)]

    with RecoveryStore(tmp_path / "state") as store:
        assert _keep_running(command, 1, store, {}, dict, [], until_end=True) == code


@pytest.mark.usefixtures("_at_once")
def test_five_failures_without_progress_are_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Workers(tmp_path, *[1] * 9).run() == 1
    told = capsys.readouterr().err
    assert told.count("started 1 worker") == 5
    assert "giving up: 5 consecutive runs failed without making progress" in told


class Epochs(Workers):
    """Each run ends an epoch, with a snapshot of a position, and then fails."""

    def __init__(self, directory: Path, *positions: int) -> None:
        super().__init__(directory, *positions)

    def command(self, place: int, addresses: Sequence[str]) -> list[str]:
        program = (
            "import pathlib, sqlite3, sys; path = pathlib.Path(sys.argv[1]); "
            "at, *rest = path.read_text().split(); path.write_text(' '.join(rest)); "
            "part = sqlite3.connect(sys.argv[2]); "
            "n, = part.execute('SELECT COUNT(*) FROM exs').fetchone(); "
            "part.execute('INSERT INTO exs VALUES (0, ?, 1, ?)', (n, n + 1)); "
            "part.execute('INSERT INTO fronts VALUES (0, ?, 0, ?)', (n, n + 2)); "
            "snapshot = ('s', 'k', n + 1, at.encode()); "
            "part.execute('INSERT INTO snaps VALUES (0, ?, ?, ?, ?)', snapshot); "
            "part.commit(); sys.exit(1)"
        )
        part = self.config.parent / "state" / "parts" / "part-0.sqlite3"
        return [sys.executable, "-c", program, str(self.codes), str(part)]


def test_a_host_that_was_lost_is_no_failure() -> None:
    failures, lost = _Failures(), Outcome(1, "killed", again=LOST_HOST)
    for _ in range(20):
        assert not failures.are_enough(lost, None, 1.0)
        assert failures.pause  # shortly: what is lost at once again is not there
    assert failures.count == 0
    assert not failures.are_enough(lost, None, 1_000.0)
    assert not failures.pause


@pytest.mark.usefixtures("_at_once")
def test_an_epoch_in_which_nothing_moved_is_no_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Epochs(tmp_path, *[7] * 12).run() == 1
    assert capsys.readouterr().err.count("started 1 worker") == 6  # the first one got to 7


@pytest.mark.usefixtures("_at_once")
def test_positions_that_move_are_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Epochs(tmp_path, *range(9), *[9] * 9).run() == 1
    assert capsys.readouterr().err.count("started 1 worker") == 15


@pytest.mark.usefixtures("_at_once")
def test_what_may_heal_is_waited_for_without_end(tmp_path: Path) -> None:
    assert Workers(tmp_path, *[UNAVAILABLE] * 8, 0).run() == 0


@pytest.mark.usefixtures("_at_once")
def test_leaders_are_asked_before_each_run_while_no_worker_is_alive(tmp_path: Path) -> None:
    """What workers sent is settled only then; not where workers elsewhere may have sent more."""
    seen, asked = tmp_path / "seen", 0
    program = (
        "import os, pathlib, sys; path = pathlib.Path(sys.argv[1]); "
        "path.open('a').write(f'{os.getpid()} {sys.argv[2:]}\\n'); sys.exit(1)"
    )

    def answered() -> float:
        nonlocal asked
        asked += 1
        pids = [int(line.split()[0]) for line in seen.read_text().splitlines()]
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        return 0.25 * asked

    seen.touch()
    with RecoveryStore(tmp_path / "state") as store:
        (store.directory / "machines.json").write_text('["machine-1"]')
        command = [sys.executable, "-c", program, str(seen)]
        given = lambda place, addresses: command  # noqa: E731
        assert _keep_running(given, 1, store, {}, dict, [], leaders_answered=answered) == 1
    orders = [line.split(maxsplit=1)[1] for line in seen.read_text().splitlines()]
    assert orders == ["[]", *(f"['--answered-at={0.25 * n}']" for n in range(2, 6))]


@pytest.mark.usefixtures("_at_once")
def test_a_broker_that_is_away_between_two_runs_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Any] = [{}, BrokerError("no broker"), BrokerError("no broker"), {}]

    def identify() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Workers(tmp_path, 1, 0).run(identify=identify) == 0
    assert capsys.readouterr().err.count("ewma: no broker") == 2


@pytest.mark.usefixtures("_at_once")
def test_a_broker_that_is_away_when_the_job_begins_is_waited_for(tmp_path: Path) -> None:
    answers: list[Any] = [BrokerError("no broker"), Beginning({0: 7})]

    def begin() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Workers(tmp_path, 0).run(begin=begin) == 0
    noted = RecoveryStore(tmp_path / "state").noted
    assert noted is not None
    assert noted.beginning.offsets == {0: 7}


def away() -> Any:
    raise BrokerError("no broker answered")


def test_a_first_start_waits_for_brokers_as_long_as_it_is_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Workers(tmp_path).config
    began = time.monotonic()
    with pytest.raises(BrokerError, match="no broker answered"):
        launch(config, identify=away, wait_s=1.0)
    assert 1.0 <= time.monotonic() - began < 20 * slowness()
    assert capsys.readouterr().err.count("ewma: no broker answered") >= 2
    with pytest.raises(BrokerError, match="no broker answered"):
        launch(config, identify=away, wait_s=0.0)
    assert "starting again" not in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_stop_is_heard_while_brokers_do_not_answer(tmp_path: Path) -> None:
    silence = threading.Event()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()

    def identify() -> dict[str, str | int]:
        silence.wait(60)
        return {}

    assert launch(Workers(tmp_path).config, identify=identify) == 1
    silence.set()
    assert time.monotonic() - began < 30 * slowness()


@pytest.mark.usefixtures("_at_once")
def test_a_topic_created_anew_between_two_runs_is_refused(tmp_path: Path) -> None:
    answers = [{"input topic id": "a"}, {"input topic id": "b"}]
    with pytest.raises(StateError, match="input topic id was 'a', now 'b'"):
        Workers(tmp_path, 1, 0).run(identify=lambda: answers.pop(0))


def test_a_fault_of_the_user_is_not_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Workers(tmp_path, 2, 0).run() == 2
    assert capsys.readouterr().err.count("started 1 worker") == 1


def test_a_stop_between_two_runs_is_heard(tmp_path: Path) -> None:
    assert Workers(tmp_path, 1, 0).run(signals=[signal.SIGTERM]) == 1


def test_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "ewma.toml"
    config.write_text(CONFIG.format(tmp_path / "taken"))
    with pytest.raises(ConfigError, match="workers = 0: at least 1"):
        launch(config, 0)
    with pytest.raises(ConfigError, match="no such file"):
        launch(tmp_path / "absent.toml")
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="name a directory"):
        launch(config)
    (tmp_path / "taken").unlink()
    with RecoveryStore(tmp_path / "taken") as store:
        store.prepare({"input topic": "readings"})
    with pytest.raises(StateError, match="smoothing was not set"):
        launch(config)
