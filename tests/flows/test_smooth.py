"""The ready flow under Bytewax's own runner: what ``ewma run`` does, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from ewma_ops.demo.broker import free_port
from tests.helpers.brokers import make_topic, read_all
from tests.helpers.jobs import (
    BYTEWAX,
    Job,
    Reading,
    Watch,
    assert_same,
    assert_told,
    finished,
    made_up,
    pandas_says,
    started,
    wait_until,
)
from tests.helpers.patience import PATIENCE_S, slowness


@pytest.fixture
def job(embedded: str, tmp_path: Path) -> Job:
    return Job(embedded, tmp_path)


@pytest.fixture
def recovery(tmp_path: Path) -> list[str]:
    """Return the flags of a recovery directory made as Bytewax's manual says."""
    directory = tmp_path / "store"
    directory.mkdir(mode=0o700)
    subprocess.run([sys.executable, "-m", "bytewax.recovery", directory, "2"], check=True)
    return ["-r", str(directory), "-s", "1", "-b", "0"]


def bits(job: Job, n: int) -> dict[bytes, list[bytes]]:
    """Return the events of each series as they were written, in order."""
    events: dict[bytes, list[bytes]] = {}
    for record in read_all(job.bootstrap, job.output, n):
        events.setdefault(record.key, []).append(record.value)
    return events


def test_same_bits_as_ewma_run(broker: str, tmp_path: Path, recovery: list[str]) -> None:
    job = Job(broker, tmp_path)
    readings = made_up(2000, series=30)
    job.send(readings)
    job.run()
    by_ewma_run = bits(job, 2000)
    assert_same(job.events(2000), pandas_says(readings))
    for flags in (["-w", "2"], recovery):
        job.output = make_topic(broker, 3)
        job.configure()
        done = finished([*BYTEWAX, *flags], EWMA_CONFIG=str(job.path))
        assert (done.returncode, done.stderr) == (0, "")
        assert bits(job, 2000) == by_ewma_run
    done = finished([*BYTEWAX, *recovery], EWMA_CONFIG=str(job.path))
    assert done.returncode == 0, done.stderr
    assert bits(job, 2000) == by_ewma_run, "a second start at the end repeats nothing"


def test_two_processes_by_bytewaxs_own_flags(job: Job, recovery: list[str]) -> None:
    readings = made_up(1000, series=20)
    job.send(readings)
    with ExitStack() as stack:
        processes = _cluster(job, recovery, 2, stack)
        assert [process.wait(60) for process in processes] == [0, 0]
    assert_same(job.events(1000), pandas_says(readings))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_stops_it_gracefully(job: Job, recovery: list[str], workers: str) -> None:
    job.configure(input={"stop": "never"})
    recovery[recovery.index("-s") + 1] = "60"
    command = [*BYTEWAX, *recovery, "-w", workers]
    readings = made_up(1000, series=20)
    with (
        Watch(job.bootstrap, job.output) as watch,
        started(command, EWMA_CONFIG=str(job.path)) as run,
    ):
        job.send(readings[:500])
        watch.until(500)
        run.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert (run.communicate(timeout=PATIENCE_S)[1], run.returncode) == ("", 0)
        assert time.monotonic() - began < 5 * slowness()
    job.send(readings[500:])
    job.configure()
    assert finished(command, EWMA_CONFIG=str(job.path)).returncode == 0
    assert_same(job.events(1000), pandas_says(readings))


def test_a_recovery_directory_in_use_is_refused(job: Job, recovery: list[str]) -> None:
    job.configure(input={"stop": "never"})
    command = [*BYTEWAX, *recovery]
    with started(command, EWMA_CONFIG=str(job.path)) as run:
        wait_until((Path(recovery[1]) / "lock").exists)
        done = finished(command, EWMA_CONFIG=str(job.path))
        assert_told(done, 2, f"'{recovery[1]}' is in use by process {run.pid}")


def test_ewma_run_and_bytewax_run_do_not_share_a_recovery_directory_at_once(job: Job) -> None:
    job.configure(input={"stop": "never"})
    with job.running() as run:
        wait_until((job.state / "manifest.json").exists)
        flags = ["-r", str(job.state / "parts"), "-s", "1", "-b", "0"]
        done = finished([*BYTEWAX, *flags], EWMA_CONFIG=str(job.path))
        assert_told(done, 2, f"'{job.state}' is in use by process {run.pid}")


@pytest.mark.slow
def test_without_a_configuration() -> None:
    assert_told(finished(BYTEWAX), 2, "EWMA_CONFIG is not set: set it to the path of a")
    assert_told(finished(BYTEWAX, EWMA_CONFIG="no-such.toml"), 2, "no-such.toml: there is no such")


def test_mistakes_in_the_configuration(job: Job) -> None:
    job.configure(smooth={"beta": 2, "start_up": "purple"})
    done = finished(BYTEWAX, EWMA_CONFIG=str(job.path))
    assert_told(done, 2, f"{job.path}: 2 mistakes", "smooth.beta is 2", "purple")


def test_a_missing_recovery_directory_is_told_with_its_mend(job: Job, tmp_path: Path) -> None:
    there = tmp_path / "nowhere"
    done = finished([*BYTEWAX, "-r", str(there), "-s", "1", "-b", "0"], EWMA_CONFIG=str(job.path))
    assert_told(done, 2, f"no recovery directory '{there}'", f"python -m bytewax.recovery {there}")


@pytest.mark.parametrize(
    "table",
    [
        "input",
        "output",
        "dead_letters",
    ],
)
def test_a_missing_topic(job: Job, table: str) -> None:
    job.configure(**{table: {"topic": "no-such"}})
    done = finished(BYTEWAX, EWMA_CONFIG=str(job.path))
    assert_told(done, 2, f"topic 'no-such' does not exist at {job.bootstrap}")


def test_another_decay_on_an_old_recovery_directory(job: Job, recovery: list[str]) -> None:
    command = [*BYTEWAX, *recovery]
    job.send([Reading("s", 0, 1.0)])
    assert finished(command, EWMA_CONFIG=str(job.path)).returncode == 0
    job.configure(smooth={"beta": 0.8})
    assert_told(finished(command, EWMA_CONFIG=str(job.path)), 2, "beta=0.9", "beta=0.8")


@pytest.mark.parametrize("processes", [1, 2])
def test_latest_is_when_the_job_first_began(
    kafka: str, tmp_path: Path, recovery: list[str], processes: int
) -> None:
    """What comes between a kill before the first snapshot and the next start is not lost."""
    job = Job(kafka, tmp_path, partitions=(2, 2, 1))
    readings = made_up(400, series=10)
    job.send(readings[:100])
    recovery[recovery.index("-s") + 1] = "60"
    job.configure(input={"start": "latest", "stop": "never"})
    with Watch(kafka, job.output) as watch, ExitStack() as stack:
        running = _cluster(job, recovery, processes, stack)
        wait_until((Path(recovery[1]) / "manifest.json").exists)
        job.send(readings[100:250])
        watch.until(150)
        for process in running:
            process.kill()
            process.wait()
    job.send(readings[250:])
    job.configure(input={"start": "latest"})
    with ExitStack() as stack:
        assert [p.wait(60) for p in _cluster(job, recovery, processes, stack)] == [0] * processes
    assert_same(job.events(300), pandas_says(readings[100:]))


def _cluster(
    job: Job, recovery: list[str], processes: int, stack: ExitStack
) -> list[subprocess.Popen[str]]:
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
    places = [["-i", str(i), "-a", addresses] for i in range(processes)]
    return [
        stack.enter_context(
            started(
                [*BYTEWAX, *recovery, *(place if processes > 1 else [])],
                EWMA_CONFIG=str(job.path),
            )
        )
        for place in places
    ]
