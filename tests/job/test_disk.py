"""A disk without room: sentences, and a flow that goes on by itself once there is some."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import disks
from tests.helpers.jobs import Job, Watch, assert_same, assert_told, ewma, made_up, pandas_says
from tests.helpers.patience import PATIENCE_S


@contextlib.contextmanager
def disk(path: Path, options: str) -> Iterator[Path]:
    """Mount a small file system in memory; skip where that is not permitted."""
    with contextlib.ExitStack() as stack:
        try:
            small = stack.enter_context(disks.disk(path, options))
        except disks.DiskUnavailableError as error:
            pytest.skip(str(error))
        yield small


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_stops_nothing_for_good(
    embedded: str, tmp_path: Path, workers: int
) -> None:
    readings = made_up(3000, 1500)
    with disk(tmp_path / "disk", "size=24m") as small:
        job = Job(embedded, tmp_path, (2, 2, 1))
        directory = str(small / "state")
        job.configure(input={"stop": "never"}, recovery={"directory": directory})
        with job.running(workers) as run, Watch(embedded, job.output) as watch:
            job.send(readings[:500])
            watch.until(500)
            filler = disks.fill(small)
            job.send(readings[500:2000])
            assert run.stderr is not None
            said = ""
            while "its disk is full" not in said:
                line = run.stderr.readline()
                assert line, said
                said += line
            time.sleep(1)
            filler.unlink()
            job.send(readings[2000:])
            watch.until(3000, limit_s=60)
            run.send_signal(signal.SIGTERM)
            said += run.communicate(timeout=PATIENCE_S)[1]
            assert run.returncode == 0, said
        assert "Traceback" not in said
        assert "panicked" not in said
        assert_same(job.events(len(readings)), pandas_says(readings))


@pytest.mark.parametrize("options", ["size=1m", "size=24m,nr_inodes=4"])
def test_a_store_that_finds_no_room_is_told_and_made_later(
    embedded: str, tmp_path: Path, options: str
) -> None:
    with disk(tmp_path / "disk", options) as small:
        job = Job(embedded, tmp_path)
        job.configure(recovery={"directory": str(small / "state")})
        word = "too few inodes left" if "inodes" in options else "its disk is full"
        assert_told(ewma("run", "--wait=0", str(job.path)), 1, word, "make room")
        roomy = ["mount", "-o", "remount,size=24m,nr_inodes=100", str(small)]
        subprocess.run(roomy, check=True)
        job.run()
