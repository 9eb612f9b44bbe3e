"""A job on several hosts, and what is done to those: network namespaces, where they are permitted.

Without them hosts are addresses of the loopback interface, and cannot be cut off.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.chaos.job import Job, is_alive
from tests.chaos.plan import Plan
from tests.chaos.scene import Scene
from tests.helpers.hosts import free_ports, send_all
from tests.helpers.namespaces import Namespace, NamespacesUnavailableError, namespaces
from tests.helpers.patience import PATIENCE_S

__all__ = ["JobOnHosts", "cut_off", "kill", "pause", "replace", "stop", "succeed"]

OUTAGE_S = (0.3, 9.0)
"""Shorter and longer than the lease of a host."""


class JobOnHosts(Job):
    """A launcher on each host, and a worker of it; each is started again when it is gone."""

    def __init__(self, bootstrap: str, directory: Path, plan: Plan) -> None:
        self.launchers: dict[int, subprocess.Popen[bytes]] = {}
        self.disks = dict.fromkeys(range(1, plan.hosts), 0)
        self.machines: list[Namespace] = []
        self._stack = contextlib.ExitStack()
        with contextlib.suppress(NamespacesUnavailableError):
            made = self._stack.enter_context(namespaces(bootstrap, [*range(plan.hosts), 1]))
            self.machines, self.spare = made[:-1], made[-1]
            for machine in self.machines:
                machine.join()
        hosts = [one.address for one in self.machines]
        hosts = hosts or [f"127.0.0.{i + 1}" for i in range(plan.hosts)]
        port = free_ports(2)
        self.addresses = ";".join(f"{host}:{port}" for host in hosts)
        super().__init__(bootstrap, directory, plan)

    def configure(self) -> None:
        super().configure()
        names = {"target": self.target, "letters": self.letters, "alarms": self.alarms}
        for place in self.disks:
            text = self.configuration(self.disk(place), **names)
            self.file(place).write_text(text)

    def disk(self, place: int) -> Path:
        """Return the recovery directory of a host."""
        return self.directory / f"disk-{place}-{self.disks[place]}" if place else self.state

    def file(self, place: int) -> Path:
        return self.directory / f"host-{place}.toml" if place else self.config

    def start(self, workers: int, log: str = "file") -> None:
        """Start the hosts that are gone."""
        for place in range(self.plan.hosts):
            if not self.is_up(place):
                self.start_host(place)

    def start_host(self, place: int) -> None:
        where = self.machines[place].run if self.machines else ()
        line = [*where, sys.executable, "-m", "ewma_ops.commands.cli", "run", str(self.file(place))]
        self.launchers[place] = subprocess.Popen(
            [*line, f"--cluster={self.addresses}", f"--place={place}"],
            env=self.env,
            stdout=self.log,
            stderr=self.log,
        )
        self.process = self.launchers.get(0)

    def is_up(self, place: int) -> bool:
        return place in self.launchers and self.launchers[place].poll() is None

    def running(self) -> bool:
        return all(map(self.is_up, range(self.plan.hosts)))

    def pids(self, place: int) -> list[int]:
        """Return the processes of a host, its launcher first; none if it is gone."""
        if not self.is_up(place):
            return []
        pid = self.launchers[place].pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:
            return []
        return [pid, *map(int, children.split())]

    def worker_pids(self) -> list[int]:
        return [pid for place in self.launchers for pid in self.pids(place)[1:]]

    def stop(self, limit_s: float = 60.0, number: int = signal.SIGTERM) -> float:
        began = time.monotonic()
        for process in self.launchers.values():
            process.send_signal(number)
        for process in self.launchers.values():
            try:
                process.wait(max(0.1, began + limit_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill()
        return time.monotonic() - began

    def kill(self) -> None:
        for place in self.launchers:
            self.kill_host(place)

    def kill_host(self, place: int) -> int:
        """Kill a launcher, and with it its workers; return how many processes that were."""
        pids = self.pids(place)
        self.launchers[place].kill()
        self.launchers[place].wait()
        return len(pids)

    def close(self) -> None:
        super().close()
        self._stack.close()


def kill(scene: Scene, rng: random.Random) -> int | None:
    job = _job(scene)
    place = rng.randrange(scene.plan.hosts)
    if not job.is_up(place):
        return None
    killed = job.kill_host(place)
    _take_over(scene, "a host was killed")
    return killed


def stop(scene: Scene, rng: random.Random) -> int | None:
    job = _job(scene)
    place = rng.randrange(scene.plan.hosts)
    if not job.is_up(place):
        return None
    job.launchers[place].send_signal(signal.SIGTERM)
    job.launchers[place].wait(PATIENCE_S)
    _take_over(scene, "a host was stopped")
    return 0


def pause(scene: Scene, rng: random.Random) -> int | None:
    """Let a host stand still, shorter or longer than its lease."""
    job = _job(scene)
    pids = job.pids(rng.randrange(scene.plan.hosts))
    if not pids:
        return None
    send_all(pids, signal.SIGSTOP)
    time.sleep(rng.uniform(*OUTAGE_S))
    send_all(pids, signal.SIGCONT)
    _take_over(scene, "a host stood still")
    return 0


def cut_off(scene: Scene, rng: random.Random) -> int | None:
    """Cut a host off from the others, and not from Kafka."""
    job = _job(scene)
    if not job.machines:
        return None
    machine = rng.choice(job.machines)
    machine.cut_off()
    time.sleep(rng.uniform(*OUTAGE_S))
    machine.join()
    _take_over(scene, "a host was cut off")
    return 0


def replace(scene: Scene, rng: random.Random) -> int | None:
    """Kill a host that keeps no state, and have one with an empty disk in its place."""
    job = _job(scene)
    place = rng.randrange(1, scene.plan.hosts)
    if not job.is_up(place):
        return None
    killed = job.kill_host(place)
    shutil.rmtree(job.disk(place), ignore_errors=True)
    job.disks[place] += 1
    job.configure()
    _take_over(scene, "a host was replaced by one with an empty disk")
    return killed


def succeed(scene: Scene, _: random.Random) -> int | None:
    """Wake a host beside the one that has taken its place, and cut off from it."""
    job = _job(scene)
    pids = job.pids(1)
    if not job.machines or len(pids) < 2:
        return None
    send_all(pids, signal.SIGSTOP)
    job.machines[1].cut_off()
    was, job.machines[1], job.spare = job.launchers.pop(1), job.spare, job.machines[1]
    job.disks[1] += 1
    job.configure()
    job.machines[1].join()
    job.start(1)
    try:
        if not _await_writing(scene, 1):
            return None
        send_all(pids[:0:-1], signal.SIGCONT)  # its launcher would end the workers at once
        # Without a fence it goes on: so long it may write what the other one has written.
        until = time.monotonic() + (3.0 if scene.plan.control else PATIENCE_S)
        while any(map(is_alive, pids[1:])) and time.monotonic() < until:
            time.sleep(0.05)
        scene.verdict.hurts["host that woke, ended by itself"] += not any(map(is_alive, pids[1:]))
    finally:
        was.kill()
        was.wait()
    return 0


def _await_writing(scene: Scene, place: int) -> bool:
    """Wait until the worker of a host writes; hosts that are gone meanwhile are started again."""
    job, until = _job(scene), time.monotonic() + PATIENCE_S
    while scene.keep_running(1) and time.monotonic() < until:
        if any((job.directory / "writing" / str(pid)).exists() for pid in job.pids(place)[1:]):
            return True
        time.sleep(0.02)
    return False


def _take_over(scene: Scene, what: str) -> None:
    """Note how long it takes from now until something is written again."""
    with _measured(partial(scene.verdict.note_gap, what)):
        before = scene.job.written()
        until = time.monotonic() + PATIENCE_S
        while scene.job.written() == before and time.monotonic() < until:
            if not scene.keep_running(1):
                return
            time.sleep(0.02)


@contextlib.contextmanager
def _measured(note: Callable[[float], None]) -> Iterator[None]:
    began = time.monotonic()
    yield
    note(time.monotonic() - began)


def _job(scene: Scene) -> JobOnHosts:
    assert isinstance(scene.job, JobOnHosts), "this hurt needs a plan with hosts"
    return scene.job
