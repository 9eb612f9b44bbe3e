"""A job at a steady rate: moved between numbers of processes, or killed once a minute for long.

Both print times: how long it takes to stop, and until every reading has its event again.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.job import Job
from tests.chaos.judge import Verdict
from tests.chaos.plan import Plan
from tests.chaos.scene import Scene, Surroundings
from tests.helpers.patience import PATIENCE_S

Tell = Callable[[str], None]

ROUND_TRIP = (1, 2, 4, 1)
LONGEST_STOP_S = 15.0
LONGEST_GAP_S = 45.0
"""On two busy cores; on idle ones a third of it."""


@contextmanager
def flowing(around: Surroundings, directory: Path, plan: Plan) -> Iterator[tuple[Job, Verdict]]:
    """Yield a job that is fed; it is brought to its end, and judged, at the end of the block."""
    scene = Scene(around, directory, plan)
    scene.feeder.start()
    try:
        yield scene.job, scene.verdict
        scene.finish()
    finally:
        scene.close()


def rescale(
    around: Surroundings, directory: Path, plan: Plan, tell: Tell, to: Sequence[int] = ROUND_TRIP
) -> Verdict:
    """Stop gracefully and go on with other numbers of processes; the same number is a restart."""
    with flowing(around, directory, plan) as (job, verdict):
        job.start(to[0])
        assert job.await_writing(PATIENCE_S)
        job.await_no_lag()
        for before, after in itertools.pairwise(to):
            stop_s = job.stop()
            began = time.monotonic()
            job.start(after)
            assert job.await_writing(PATIENCE_S)
            first_s = time.monotonic() - began
            job.await_no_lag()
            gap_s = stop_s + time.monotonic() - began
            verdict.slowest_stop_s = max(verdict.slowest_stop_s, stop_s)
            verdict.longest_gap_s = max(verdict.longest_gap_s, gap_s)
            tell(
                f"{before} -> {after} processes: stopped in {stop_s:.1f} s, first event after "
                f"{first_s:.1f} s, no lag {gap_s:.1f} s after the signal"
            )
    return verdict


def soak(around: Surroundings, directory: Path, plan: Plan, tell: Tell, minutes: float) -> Verdict:
    """Kill once a minute; memory must stay flat, and the lag go back to zero each time."""
    rng = random.Random(f"{plan.seed} soak")
    memory: list[int] = []
    with flowing(around, directory, plan) as (job, verdict):
        job.start(2)
        ends = time.monotonic() + 60 * minutes
        while time.monotonic() < ends:
            minute = time.monotonic() + min(60.0, ends - time.monotonic())
            assert job.await_writing(PATIENCE_S)
            job.await_no_lag()
            time.sleep(max(0.0, minute - time.monotonic()))
            memory.append(sum(map(_resident, job.worker_pids())))
            store = sum(file.stat().st_size for file in job.state.rglob("*") if file.is_file())
            lag = job.lag()
            os.kill(rng.choice(job.worker_pids()), signal.SIGKILL)
            verdict.kills += 1
            time.sleep(0.5)
            back_s = 0.5 + job.await_no_lag()
            verdict.longest_gap_s = max(verdict.longest_gap_s, back_s)
            tell(
                f"kill {verdict.kills}: lag {lag} before it, none again after {back_s:.1f} s; "
                f"memory {memory[-1] >> 20} MiB, recovery store {store >> 10} KiB"
            )
    half = len(memory) // 2
    if half and max(memory[half:]) > 1.2 * max(memory[:half]):
        verdict.failed += f"memory grew: {[size >> 20 for size in memory]} MiB"
    return verdict


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
