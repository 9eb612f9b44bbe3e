"""The real job under test: ``ewma run`` on topics of its own, started, stopped and watched."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.chaos.feeder import PARTITIONS_IN
from tests.chaos.plan import Plan
from tests.helpers.brokers import make_topic
from tests.helpers.clocks import Clock, compiler
from tests.helpers.patience import PATIENCE_S

__all__ = ["BETA", "PARTITIONS_LETTERS", "PARTITIONS_OUT", "Job", "is_alive"]

ROOT = Path(__file__).parents[2]
INJECT = Path(__file__).parent / "inject"
PARTITIONS_OUT, PARTITIONS_LETTERS = 4, 2
BETA = 0.9
BESIDE = "another run of this job"
"""What a run says that finds records of another one among its own."""

CONFIG = """
[kafka]
bootstrap_servers = "{bootstrap}"
reconnect_backoff_max_ms = 200
[input]
topic = "{source}"
series_id = "id"
[smooth]
beta = {beta}
shards = 5
[output]
topic = "{target}"
delivery = "{delivery}"
[dead_letters]
topic = "{letters}"
[recovery]
directory = "{directory}"
interval = "{interval}"
"""

ALARMS = """
[alarms]
topic = "{alarms}"
[alarms.level]
limit = 1.5
warm_up = 20
[alarms.spike]
limit = 1.5
warm_up = 20
for = 2
cooldown = "1s"
[alarms.high]
kind = "bounds"
above = 24
clear_above = 21
severity = "critical"
[alarms.low]
kind = "bounds"
below = 16
series = ["s1*", "s2*"]
remind = "10s"
[alarms.silent]
kind = "stale"
gaps = 1
least = "1s"
warm_up = 3
"""
SMALL_BATCHES = "batch_size = 1500\n"
"""Two records of alarms a batch: a kill comes between the alarms of one reading."""


class Job:
    """``ewma run`` on topics of its own, started again whenever it is gone."""

    def __init__(self, bootstrap: str, directory: Path, plan: Plan) -> None:
        self.plan, self.directory, self.bootstrap = plan, directory, bootstrap
        for name in ("lives", "deaths", "writing"):
            (directory / name).mkdir(parents=True)
        topic = partial(make_topic, bootstrap, replication=plan.replication)
        self.source = topic(PARTITIONS_IN, "source")
        self.target = topic(PARTITIONS_OUT, "target", dict(plan.target_configs))
        self.letters = topic(PARTITIONS_LETTERS, "letters")
        self.alarms = topic(PARTITIONS_OUT, "alarms") if plan.alarms else ""
        self.config = directory / "job.toml"
        self.state = directory / "state"
        self.configure()
        self.log = (directory / "job.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None
        self.clock = None if compiler() is None else Clock(directory)
        self.clock_ahead_s = 0.0
        self._consumer: Any = None
        self._unread: list[int] = []
        chaos = {
            "directory": str(directory),
            **{name: getattr(plan, name) for name in ("seed", "p", "steps", "control")},
        }
        path = os.pathsep.join([str(INJECT), str(ROOT)])
        self.env = {
            **os.environ,
            "PYTHONPATH": path,
            "EWMA_CHAOS": json.dumps(chaos),
            "PYTHONDONTWRITEBYTECODE": "",  # many short lives: compile once
            **({} if self.clock is None else self.clock.environment),
        }

    def configure(self) -> None:
        names = {"target": self.target, "letters": self.letters, "alarms": self.alarms}
        self.config.write_text(self.configuration(self.state, **names))

    def configuration(self, state: Path, **names: str) -> str:
        """Return the file of a job with this one's input, that writes to topics of other names."""
        text = CONFIG + (ALARMS if self.plan.alarms else "")
        if self.plan.alarms:
            text = text.replace("[input]\n", SMALL_BATCHES + "[input]\n")
        return text.format(
            bootstrap=self.bootstrap,
            source=self.source,
            directory=state,
            delivery=self.plan.delivery,
            interval=self.plan.interval,
            beta=BETA,
            **names,
        )

    def start(self, workers: int, log: str = "file") -> None:
        """Start it; ``log`` is "file", "blocked" (a full pipe) or "closed" (a broken one)."""
        line = [sys.executable, "-m", "ewma_ops.commands.cli", "run", str(self.config)]
        stderr = self.log.fileno() if log == "file" else self._pipe(closed=log == "closed")
        self.process = subprocess.Popen(
            [*line, f"--workers={workers}"], env=self.env, stdout=self.log, stderr=stderr
        )
        if log != "file":
            os.close(stderr)

    def _pipe(self, *, closed: bool) -> int:
        """Return the end to write to of a pipe that nobody reads: every write blocks, or fails."""
        read, write = os.pipe()
        if closed:
            os.close(read)
            return write
        self._unread.append(read)
        os.write(write, bytes(fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)))
        return write

    def use_new_directory(self) -> None:
        """Do what many errors advise: start with a recovery directory that is not there yet."""
        self.kill()
        self.process = None
        self.state = self.directory / f"state-{time.monotonic_ns()}"
        self.configure()

    def move_store(self, to: Path) -> Path:
        """Move the recovery store of a job that does not run; return where it was."""
        self.kill()
        was, self.state = self.state, to
        if was.exists():
            shutil.copytree(was, to, dirs_exist_ok=True)
            shutil.rmtree(was)
        self.configure()
        return was

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def worker_pids(self) -> list[int]:
        if self.process is None:
            return []
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [int(pid) for pid in task.read_text().split()]
        except OSError:
            return []

    def await_writing(self, limit_s: float = 15.0) -> bool:
        until = time.monotonic() + limit_s
        while self.running() and time.monotonic() < until:
            if any((self.directory / "writing" / str(pid)).exists() for pid in self.worker_pids()):
                return True
            time.sleep(0.02)
        return False

    def await_end(self, limit_s: float) -> int | None:
        """Return the exit code of the launcher, or None if it has not ended by itself."""
        if self.process is None:
            return None
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def wake_a_zombie(self, limit_s: float = PATIENCE_S) -> bool:
        """Let a run sleep, start its successor as if on another machine, and wake it.

        The successor has a copy of the recovery store, so that no lock keeps the two apart.
        Returns whether the zombie's workers died by themselves when it was awake; if not, the two
        run side by side until one of them has said so.
        """
        old, pids = self.process, self.worker_pids()
        if old is None or not pids:
            return False
        sleepers = [old.pid, *pids]
        for pid in sleepers:
            os.kill(pid, signal.SIGSTOP)
        try:
            copy = self.directory / f"state-{old.pid}"
            shutil.copytree(self.state, copy)
            self.state = copy
            self.configure()
            self.start(1)
            self.await_writing(limit_s)
            since = len(self.told())
            for pid in reversed(sleepers[1:]):
                os.kill(pid, signal.SIGCONT)
            until = time.monotonic() + limit_s
            while time.monotonic() < until and any(map(is_alive, pids)):
                if BESIDE in self.told()[since:]:
                    break
                time.sleep(0.05)
            return not any(map(is_alive, pids))
        finally:
            old.kill()  # its workers go with it
            old.wait()

    def stop(self, limit_s: float = 60.0, number: int = signal.SIGTERM) -> float:
        """Stop gracefully; return how long it took: more than ``limit_s`` where it did not."""
        began = time.monotonic()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            if self.await_end(limit_s) is None:
                self.kill()
        return time.monotonic() - began

    def lag(self) -> int:
        """Return how many readings have no event and no letter; of transactions it is too low."""
        return self._end_of(self.source) - self._end_of(self.target) - self._end_of(self.letters)

    def written(self) -> int:
        """Return how many events there are, with the marks of transactions."""
        return self._end_of(self.target)

    def _end_of(self, topic: str) -> int:
        if self._consumer is None:
            self._consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=None)
        partitions = self._consumer.partitions_for_topic(topic) or ()
        return sum(
            self._consumer.end_offsets([TopicPartition(topic, p) for p in partitions]).values()
        )

    def await_no_lag(self, limit_s: float = PATIENCE_S) -> float:
        """Return how long it took until the job was behind by less than half a second."""
        began = time.monotonic()
        while self.lag() > self.plan.rate / 2:
            assert time.monotonic() < began + limit_s, f"still {self.lag()} behind"
            time.sleep(0.05)
        return time.monotonic() - began

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        self.kill()

    def told(self) -> str:
        self.log.flush()
        return (self.directory / "job.log").read_text(errors="replace")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"
