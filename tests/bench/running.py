"""A flow as its users run it, ``ewma run`` with its launcher, and what it takes of the machine.

Knows a process and its children; must not know what is measured with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.contest import make_topic

ROOT = Path(__file__).parents[2]
_CONFIG = """
kafka.bootstrap_servers = "{bootstrap}"
input = {{ topic = "{source}", series_id = "series_id", time = "ts", value = "value" }}
smooth.beta = 0.9
output = {{ topic = "{target}", delivery = "{delivery}" }}
dead_letters.topic = "{target}-dead"
recovery = {{ directory = "{directory}/state", interval = "{interval_s}s" }}
"""


class Flow:
    """One flow, to be started and killed any number of times.

    Parameters
    ----------
    bootstrap, source, target
        The broker and two topics that exist.
    directory
        Where its configuration and its state are.
    interval_s
        Seconds between two snapshots.
    delivery
        As for the output.
    root
        Whose code: this repository, or another copy of it to compare with.
    more
        Further tables of its configuration.
    options
        Of its command line.
    """

    def __init__(
        self,
        bootstrap: str,
        source: str,
        target: str,
        directory: Path,
        interval_s: int = 10,
        *,
        delivery: str = "exactly-once",
        root: Path = ROOT,
        more: str = "",
        options: Sequence[str] = (),
    ) -> None:
        make_topic(bootstrap, f"{target}-dead")
        self._config = directory / "flow.toml"
        self._config.write_text(
            _CONFIG.format(
                bootstrap=bootstrap,
                source=source,
                target=target,
                directory=directory,
                interval_s=interval_s,
                delivery=delivery,
            )
            + more
        )
        self._said = directory / "said"
        self._root, self._options = root, options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return at once."""
        command = [sys.executable, "-m", "ewma_ops.commands.cli", "run", str(self._config)]
        command += self._options
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(
                command,
                cwd=self._root,  # what is there is found before all else
                env={**os.environ, "PYTHONPATH": str(self._root)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def kill(self) -> None:
        """Kill launcher and worker, as a power cut would."""
        if self._process is not None:
            for pid in self._pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Flow]:
        """Run it for the length of a ``with`` block."""
        self.start()
        try:
            yield self
        finally:
            self.kill()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold all its processes for the length of a ``with`` block."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """The process id of the launcher."""
        assert self._process is not None
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the CPU seconds that launcher and worker have used together."""
        assert self._process is not None
        assert self._process.poll() is None, self.said
        return sum(map(_cpu_s, self._pids()))

    def memory_mb(self) -> tuple[float, float]:
        """Return the resident megabytes of launcher and worker together, and at their peaks."""
        sizes = [memory_mb(pid) for pid in self._pids()]
        return sum(now for now, _ in sizes), sum(peak for _, peak in sizes)

    @property
    def said(self) -> str:
        """What it has said of itself."""
        return self._said.read_text()[-2000:]

    def _pids(self) -> list[int]:
        assert self._process is not None
        launcher = self._process.pid
        parents = {int(p.name): _stat(int(p.name))[1:2] for p in Path("/proc").glob("[0-9]*")}
        return [launcher, *(pid for pid, parent in parents.items() if parent == [str(launcher)])]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: parent, process group, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_s(pid: int) -> float:
    stat = _stat(pid)
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> tuple[float, float]:
    """Return the resident megabytes of a process, and those at its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    sizes = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Vm"))
    return int(sizes["VmRSS"].split()[0]) / 1e3, int(sizes["VmHWM"].split()[0]) / 1e3
