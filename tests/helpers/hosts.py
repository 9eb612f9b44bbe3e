"""Hosts of one job: loopback addresses with a directory and a configuration file each."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.helpers.jobs import EWMA, ROOT, Job, wait_until
from tests.helpers.namespaces import Namespace
from tests.helpers.patience import PATIENCE_S

__all__ = ["Hosts", "free_ports"]


class Hosts:
    """The machines of a job: ``127.0.0.1``, ``127.0.0.2`` and so on, each started on its own.

    Parameters
    ----------
    job
        On whose topics they work. Its file and directory are those of place 0.
    directory
        Where those of the others are made, and the logs.
    count
        How many there are.
    workers
        Worker processes on each.
    machines
        Their network namespaces, if they have some, by place.
    """

    def __init__(
        self,
        job: Job,
        directory: Path,
        count: int,
        workers: int = 1,
        machines: Sequence[Namespace] = (),
    ) -> None:
        self.job, self.directory, self.workers = job, directory, workers
        self.machines = list(machines)
        self.port = free_ports(workers + 1)
        self.count = count
        self._replaced: Counter[int] = Counter()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._logs: dict[int, IO[bytes]] = {}
        self.configure()

    def configure(self, **changes: Mapping[str, object]) -> None:
        """Write a configuration file for each host."""
        for place in reversed(range(self.count)):
            self.job.state, self.job.path = self.state(place), self.path(place)
            recovery = {"directory": str(self.state(place)), **changes.get("recovery", {})}
            tables = {"input": {"stop": "never"}, **changes, "recovery": recovery}
            self.job.configure(**tables)

    def state(self, place: int) -> Path:
        return self.directory / f"state-{place}{'-new' * self._replaced[place]}"

    def path(self, place: int) -> Path:
        return self.directory / f"host-{place}.toml"

    @property
    def addresses(self) -> str:
        """What ``--cluster`` is given."""
        hosts = [one.address for one in self.machines] or [f"127.0.0.{i + 1}" for i in range(256)]
        return ";".join(f"{host}:{self.port}" for host in hosts[: self.count])

    def start(self, *places: int, options: Sequence[str] = (), **variables: str) -> None:
        """Start the launchers of some places; of all, if none is named.

        A single host is started as one that has never heard of others.
        """
        for place in places or range(self.count):
            log = self._logs.setdefault(place, (self.directory / f"{place}.log").open("ab"))
            alone = self.count == 1
            cluster = [] if alone else ["--cluster", self.addresses, f"--place={place}"]
            where = self.machines[place].run if self.machines else ()
            line = [f"--workers={self.workers}", *cluster, *options]
            self.processes[place] = subprocess.Popen(
                [*where, *EWMA, "run", str(self.path(place)), *line],
                env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
                stdout=log,
                stderr=log,
            )

    def replace(self, place: int) -> None:
        """Have another machine at a place, with an empty disk."""
        was, path = self.state(place), self.path(place)
        self._replaced[place] += 1
        path.write_text(path.read_text().replace(str(was), str(self.state(place))))

    def told(self, place: int) -> str:
        """Return what a launcher and its workers have said."""
        return (self.directory / f"{place}.log").read_text(errors="replace")

    def await_told(self, place: int, words: str, times: int = 1) -> None:
        """Wait until it has said something so many times."""
        wait_until(lambda: self.told(place).count(words) >= times)

    def kill(self, place: int) -> None:
        """Kill a host's launcher; the kernel kills its workers."""
        self.processes[place].kill()
        self.processes[place].wait(PATIENCE_S)

    def stop(self, *places: int) -> list[int]:
        """Stop launchers gracefully, all at once; return their exit codes."""
        for place in places:
            self.processes[place].send_signal(signal.SIGTERM)
        return [self.processes[place].wait(PATIENCE_S) for place in places]

    def pids(self, place: int) -> list[int]:
        """Return the processes of a host: its launcher first, then its workers."""
        pid = self.processes[place].pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    @contextlib.contextmanager
    def paused(self, place: int) -> Iterator[list[int]]:
        """Let all processes of a host stand still for the length of a ``with`` block."""
        pids = self.pids(place)
        send_all(pids, signal.SIGSTOP)
        try:
            yield pids
        finally:
            send_all(pids, signal.SIGCONT)

    def close(self) -> None:
        """End what runs."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(PATIENCE_S)
        for log in self._logs.values():
            log.close()


def send_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def free_ports(count: int) -> int:
    """Return the first of so many free ports in a row.

    They are none that the kernel gives to connections: a host that is started again needs the same.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as stack:
            try:
                for i in range(count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + i))
            except OSError:
                continue
            return port
