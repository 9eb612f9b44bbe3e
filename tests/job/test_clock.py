"""A wall clock that is set back: nothing waits until it has caught up."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import pytest

from ewma_ops.job.recovery.part_files import open_part, part_files
from tests.helpers.clocks import Clock, compiler
from tests.helpers.jobs import (
    BYTEWAX,
    EWMA,
    Job,
    Watch,
    assert_same,
    made_up,
    pandas_says,
    started,
    wait_until,
)
from tests.helpers.patience import PATIENCE_S

MINUTES_NS = 60 * 10**9


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if compiler() is None:
        pytest.skip("no C compiler: what shifts a clock cannot be compiled")
    return Clock(tmp_path)


def newest_epoch(job: Job) -> int:
    """Return the newest epoch that a worker has ended, also while the job runs."""
    newest = 0
    for path in part_files(job.state / "parts"):
        with contextlib.closing(open_part(path)) as part:
            (frontier,) = part.execute("SELECT MAX(worker_frontier) FROM fronts").fetchone()
            newest = max(newest, frontier or 0)
    return newest


def test_a_clock_set_back_stalls_nothing(embedded: str, tmp_path: Path, clock: Clock) -> None:
    job = Job(embedded, tmp_path)
    job.configure(input={"stop": "never"})
    readings = made_up(400, 20)
    command = [*EWMA, "run", str(job.path), "--workers=2"]
    with started(command, **clock.environment) as run, Watch(embedded, job.output) as watch:
        job.send(readings[:100])
        watch.until(100)
        time.sleep(0.5)  # idle, so that the parts wait
        for at, minutes in enumerate((-10, -30, 0), 1):
            clock.turn(minutes * MINUTES_NS)
            job.send(readings[100 * at : 100 * (at + 1)])
            watch.until(100 * (at + 1))
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=PATIENCE_S)[1]
        assert run.returncode == 0, said
    assert said.count("the clock was set back by 600 s: starting the workers again") == 1
    assert "Traceback" not in said
    assert_same(job.events(len(readings)), pandas_says(readings))


def test_the_source_reads_on_by_itself(embedded: str, tmp_path: Path, clock: Clock) -> None:
    """Set back while readings come, as a part that has just been read waits in another way."""
    job = Job(embedded, tmp_path)
    job.configure(input={"stop": "never"})
    variables = {**clock.environment, "EWMA_CONFIG": str(job.path)}
    with started(BYTEWAX, **variables) as run, Watch(embedded, job.output) as watch:
        with job.sending(20, 200) as sent:
            watch.until(100)
            for jump in range(1, 11):
                clock.turn(-10 * jump * MINUTES_NS)
                watch.until(len(sent) + 20)
        watch.until(len(sent))
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=PATIENCE_S)
        assert run.returncode == 0


def test_snapshots_go_on_after_a_clock_was_set_back(
    embedded: str, tmp_path: Path, clock: Clock
) -> None:
    job = Job(embedded, tmp_path)
    job.configure(input={"stop": "never"})
    command = [*EWMA, "run", str(job.path)]
    with started(command, **clock.environment) as run, Watch(embedded, job.output) as watch:
        job.send(made_up(100, 20))
        watch.until(100)
        clock.turn(-10 * MINUTES_NS)
        before = newest_epoch(job)
        wait_until(lambda: newest_epoch(job) > before + 20)
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=PATIENCE_S)
        assert run.returncode == 0
