"""The table of everything that is done to a job, and what it must do then.

``expects`` is empty where the job must go on and nothing be lost, doubled or wrong; else it is
the sentence, as a regular expression, with which the job must stop. Then its advice is followed,
and nothing must be lost, doubled or wrong after that.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.chaos import cluster, hosts, topics
from tests.chaos.scene import Scene
from tests.helpers.disks import DiskUnavailableError, disk, fill
from tests.helpers.patience import PATIENCE_S

__all__ = ["HURTS", "Hurt", "deal"]

JUMPS_S = (-600.0, -3.0, 3.0, 600.0)
LONG_ID_BYTES = 15_000
"""More than ``input.max_id_bytes``, which is 1,024 by default."""
DISK = "size=256m"
DISK_IS_FULL = "its disk is full"


class Hurt(NamedTuple):
    """One row: ``act`` returns how many processes it killed; None where it could do nothing."""

    does: str
    act: Callable[[Scene, random.Random], int | None]
    expects: str = ""
    beside: bool = False
    """Whether it is of the brokers, and goes on beside what is done to the job meanwhile."""


def deal(name: str, scene: Scene, rng: random.Random) -> bool:
    """Do one thing to the job, and count it; return False where the brokers are still busy."""
    if not HURTS[name].beside:
        _act(name, scene, rng)
        return True
    own = random.Random(rng.random())
    return scene.do_beside(lambda: _act(name, scene, own))


def _act(name: str, scene: Scene, rng: random.Random) -> None:
    kills = HURTS[name].act(scene, rng)
    if kills:
        scene.verdict.kills += kills
        scene.verdict.deaths[f"processes killed: {name}"] += kills
    elif kills is not None:
        scene.verdict.hurts[name] += 1


def _nothing(_: Scene, __: random.Random) -> None:
    """Leave the job to the deaths that its plan has for it."""


def _kill_worker(scene: Scene, rng: random.Random) -> int | None:
    pids = scene.job.worker_pids()
    with contextlib.suppress(ProcessLookupError):
        if pids:
            os.kill(rng.choice(pids), signal.SIGKILL)
            return 1
    return None


def _kill_launcher(scene: Scene, _: random.Random) -> int | None:
    if not scene.job.running():
        return None
    pids = scene.job.worker_pids()
    scene.job.kill()
    return 1 + len(pids)


def _kill_at_start(scene: Scene, rng: random.Random) -> int | None:
    """Kill a launcher within two seconds of its start: imports, lock, purge, first workers."""
    scene.job.kill()
    scene.job.start(rng.choice(list(scene.plan.workers)))
    time.sleep(rng.uniform(0, 2.0))
    return _kill_launcher(scene, rng)


def _stop(scene: Scene, _: random.Random) -> int | None:
    if not scene.job.running():
        return None
    scene.must_stop("SIGTERM")
    return 0


def _hang_up(scene: Scene, _: random.Random) -> int | None:
    if not scene.job.running():
        return None
    scene.must_stop("SIGHUP", signal.SIGHUP)
    return 0


def _pause(scene: Scene, rng: random.Random) -> int | None:
    pids = scene.job.worker_pids()
    with contextlib.suppress(ProcessLookupError):
        if pids:
            pid = rng.choice(pids)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(rng.uniform(0.1, 1.5))
            os.kill(pid, signal.SIGCONT)
            return 0
    return None


def _wake_a_zombie(scene: Scene, _: random.Random) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        if scene.job.worker_pids():
            fenced = scene.job.wake_a_zombie()
            scene.verdict.hurts["zombie, fenced"] += fenced
            return 0
    return None


def _restart_broker(scene: Scene, rng: random.Random) -> int:
    kafka = scene.around.kafka
    assert kafka is not None, "this hurt needs one broker"
    rng.choice([kafka.stop, kafka.kill])()
    time.sleep(rng.uniform(0, 2))
    kafka.start()
    return 0


def _lose_answers(scene: Scene, _: random.Random) -> int:
    assert scene.around.proxy is not None, "this hurt needs a proxy"
    scene.around.proxy.lose_answers()
    return 0


def _jump(scene: Scene, rng: random.Random) -> None:
    """Set the job's clock; by ten minutes, where it is not there already, and by seconds."""
    job = scene.job
    if job.clock is None:
        return
    jump_s = rng.choice([s for s in JUMPS_S if abs(job.clock_ahead_s + s) < 3600])
    job.clock_ahead_s += jump_s
    job.clock.turn(int(job.clock_ahead_s * 1e9))
    scene.verdict.hurts[f"clock {jump_s:+g} s"] += 1
    scene.must_catch_up(f"the clock was set by {jump_s:+g} s")


def _garbage(scene: Scene, rng: random.Random) -> int:
    scene.feeder.send_garbage(rng)
    return 0


def _bomb(scene: Scene, rng: random.Random) -> int:
    scene.feeder.send_bomb(rng)
    return 0


def _long_ids(scene: Scene, rng: random.Random) -> int:
    scene.feeder.send_long_ids(rng, LONG_ID_BYTES)
    return 0


def _blocked_log(scene: Scene, rng: random.Random) -> int | None:
    return _run_with_log(scene, rng, "blocked")


def _closed_log(scene: Scene, rng: random.Random) -> int | None:
    return _run_with_log(scene, rng, "closed")


def _run_with_log(scene: Scene, rng: random.Random, log: str) -> int | None:
    """Nobody reads the log: dead workers are seen all the same, and a stop is graceful."""
    job = scene.job
    scene.must_stop(f"before the log is {log}")
    for _ in range(3):  # a worker may die of the plan's own deaths, and the launcher give up
        job.start(rng.choice(list(scene.plan.workers)), log)
        if job.await_writing(60.0):
            break
        code = None if job.process is None else job.process.poll()
        if code not in (0, 1, -signal.SIGKILL):
            scene.verdict.fail(f"with a {log} log nothing was written (code {code})")
            job.kill()
            return None
    before = set(job.worker_pids())
    killed = _kill_worker(scene, rng)
    until = time.monotonic() + 60
    while job.running() and before & set(job.worker_pids()) and time.monotonic() < until:
        time.sleep(0.05)
    if job.running() and before & set(job.worker_pids()):
        scene.verdict.fail(f"with a {log} log a dead worker was not noticed within 60 s")
    scene.must_stop(f"with a {log} log")
    return killed


def _damage(scene: Scene, rng: random.Random) -> int | None:
    """Flip four bits in the newest snapshots; then start in a new directory, as is advised."""
    job = scene.job
    scene.must_catch_up("before its snapshots are damaged")
    time.sleep(2.0)  # two epochs, where no plan says more than one second
    scene.must_stop("before its snapshots are damaged")
    if not _flip_bits(scene, rng):
        return None
    since = len(job.told())
    job.start(1)
    if scene.must_end(HURTS["damaged snapshot"].expects, since):
        job.use_new_directory()
    return 0


def _flip_bits(scene: Scene, rng: random.Random) -> bool:
    newest = (
        "SELECT step_id, state_key, MAX(snap_epoch) FROM snaps WHERE ser_change IS NOT NULL "
        "GROUP BY step_id, state_key"
    )
    change = "SET ser_change = ? WHERE step_id = ? AND state_key = ? AND snap_epoch = ?"
    rows = []
    for path in sorted(scene.job.state.rglob("*.sqlite3")):
        with contextlib.closing(sqlite3.connect(path)) as part, part:
            rows += [(path, row) for row in part.execute(newest)]
    for path, row in rng.sample(rows, min(4, len(rows))):
        with contextlib.closing(sqlite3.connect(path)) as part, part:
            where = "WHERE step_id = ? AND state_key = ? AND snap_epoch = ?"
            (was,) = part.execute(f"SELECT ser_change FROM snaps {where}", row).fetchone()
            damaged = bytearray(was)
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            part.execute(f"UPDATE snaps {change}", (bytes(damaged), *row))
    return bool(rows)


def _fill_disk(scene: Scene, rng: random.Random) -> int | None:
    """Move the store to a small disk, fill that, make room, and move the store back."""
    scene.must_stop("before its store is moved to a small disk")
    try:
        with disk(scene.directory / "disk", DISK) as small:
            home = scene.job.move_store(small / "state")
            _run_on_full_disk(scene, rng, small)
            scene.job.move_store(home)
    except DiskUnavailableError:
        return None
    return 0


def _run_on_full_disk(scene: Scene, rng: random.Random, small: Path) -> None:
    """Fill it under the flow, which may have room in its files; a new run has none.

    A flow that stops empties its logs, which leaves half a megabyte: enough for minutes.
    """
    job = scene.job
    scene.keep_running(1)
    job.await_writing()
    filler, since = fill(small), len(job.told())
    if not _says_full(scene, since, 10.0):
        scene.must_stop("on a full disk")
        fill(small)
        if not _says_full(scene, since, PATIENCE_S):
            scene.verdict.fail(f"on a full disk there was no word of {DISK_IS_FULL!r}")
    time.sleep(rng.uniform(0, 3))
    filler.unlink()
    scene.must_catch_up("after room was made on a full disk")
    scene.must_stop("after room was made on a full disk")


def _says_full(scene: Scene, since: int, limit_s: float) -> bool:
    """Let it run on a full disk, and start it again where it gave up."""
    job, until = scene.job, time.monotonic() + limit_s
    while DISK_IS_FULL not in job.told()[since:]:
        if time.monotonic() > until or not scene.keep_running(1):
            return False
        time.sleep(0.1)
    return True


HURTS: Mapping[str, Hurt] = {
    "nothing": Hurt("leaves it to the deaths inside its processes", _nothing),
    "worker": Hurt("kills a worker (SIGKILL)", _kill_worker),
    "launcher": Hurt("kills the launcher, and with it its workers", _kill_launcher),
    "start": Hurt("kills the launcher within two seconds of its start", _kill_at_start),
    "stop": Hurt("stops it gracefully (SIGTERM)", _stop),
    "hang-up": Hurt("closes its terminal (SIGHUP)", _hang_up),
    "pause": Hurt("stops a worker for up to 1.5 s (SIGSTOP)", _pause),
    "zombie": Hurt("wakes a run beside its successor, on a copy of the store", _wake_a_zombie),
    "broker": Hurt("restarts or kills the one broker", _restart_broker),
    "answers": Hurt("loses the next answer on every connection", _lose_answers),
    "clock": Hurt("sets the job's clock back or forward by seconds or ten minutes", _jump),
    "garbage": Hurt("sends 200 records that are not readings", _garbage),
    "bomb": Hurt("sends a gzip record of 150 MB of blanks", _bomb),
    "long ids": Hurt("sends readings whose ids are too long", _long_ids),
    "blocked log": Hurt("runs it with a full stderr pipe, kills a worker, stops it", _blocked_log),
    "closed log": Hurt("runs it with a broken stderr pipe, kills a worker, stops it", _closed_log),
    "input partition": Hurt("adds a partition to the input", topics.add_input_partition),
    "output partition": Hurt("adds one to output or dead letters", topics.add_output_partition),
    "input again": Hurt(
        "deletes and creates the input topic", topics.create_input_again, topics.CREATED_AGAIN
    ),
    "output again": Hurt(
        "deletes and creates the output topic", topics.create_output_again, topics.CREATED_AGAIN
    ),
    "letters again": Hurt(
        "deletes and creates the dead-letter topic",
        topics.create_letters_again,
        topics.CREATED_AGAIN,
    ),
    "lower limit": Hurt(
        "lowers max.message.bytes of the output below an event",
        topics.lower_limit,
        topics.LIMIT_LOWERED,
    ),
    "host": Hurt("kills all processes of a host", hosts.kill),
    "host stop": Hurt("stops a host gracefully", hosts.stop),
    "host pause": Hurt("lets a host stand still for up to 9 s", hosts.pause),
    "cut off": Hurt("cuts a host off from the others, not from Kafka", hosts.cut_off),
    "new disk": Hurt("replaces a host by one with an empty disk", hosts.replace),
    "successor": Hurt("wakes a host beside the one in its place", hosts.succeed),
    "leader": Hurt("kills the leader of a partition", cluster.kill_leader, beside=True),
    "controller": Hurt("kills the active controller", cluster.kill_controller, beside=True),
    "rolling restart": Hurt("restarts all brokers in turn", cluster.restart_all, beside=True),
    "reassignment": Hurt("moves a topic's replicas and leaders", cluster.reassign, beside=True),
    "stopped broker": Hurt("stops a broker for up to 12 s", cluster.pause_broker, beside=True),
    "quota": Hurt("throttles all clients for some seconds", cluster.throttle, beside=True),
    "full disk": Hurt("fills the disk of the store, and makes room some seconds later", _fill_disk),
    "damaged snapshot": Hurt("flips four bits in the store", _damage, "damaged"),
}
