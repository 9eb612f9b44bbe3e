"""The real job under test, what it is fed, and what is to be done to it; knows no judgement."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.brokers import make_topic

ROOT = Path(__file__).parents[2]
INJECT = Path(__file__).parent / "inject"
PARTITIONS_IN, PARTITIONS_OUT = 3, 4
SERIES = 50
BAD_EVERY = 97

CONFIG = """
[kafka]
bootstrap_servers = "{bootstrap}"
reconnect_backoff_max_ms = 200
[input]
topic = "{source}"
series_id = "id"
[smooth]
beta = 0.9
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


@dataclass
class Plan:
    """What is done to a run: until ``kills`` processes were killed, for ``seconds`` at most.

    ``patient`` is the share of the blows that wait until the job writes, so that it gets on;
    ``p`` is the share of the workers' lives that end at a named step, one of ``steps``.
    ``late_s`` and ``lag_s`` are what a proxy does to Apache Kafka: appends come late, also those
    of the dead, and high watermarks lag behind.
    """

    seed: int
    kills: int = 20
    broker: str = "embedded"
    seconds: float = 600.0
    rate: int = 500
    delivery: str = "exactly-once"
    interval: str = "1s"
    workers: Sequence[int] = (1, 2, 1, 2, 4)
    pause_s: tuple[float, float] = (0.05, 1.5)
    patient: float = 0.8
    p: float = 0.7
    steps: Sequence[str] = ()
    control: str = ""
    late_s: float = 0.0
    lag_s: float = 0.0
    actions: Sequence[str] = ("worker", "worker", "launcher", "stop", "pause")

    def __str__(self) -> str:
        faults = [f"late {self.late_s:g} s"] * bool(self.late_s)
        faults += [f"lag {self.lag_s:g} s"] * bool(self.lag_s)
        faults += [f"control: {self.control}"] * bool(self.control)
        named = [f"seed {self.seed}", self.broker, self.delivery, f"interval {self.interval}"]
        return ", ".join([*named, *faults])


class Feeder:
    """Writes readings at a steady rate."""

    def __init__(self, bootstrap: str, topic: str, plan: Plan) -> None:
        self._rng = random.Random(f"{plan.seed} feed")
        self._rate, self._topic = plan.rate, topic
        self._enough = threading.Event()
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join()
        self._producer.flush(90)
        self._producer.close(timeout=10)

    def _run(self) -> None:
        began, n = time.monotonic(), 0
        while not self._enough.is_set():
            while n < (time.monotonic() - began) * self._rate:
                self._send(n)
                n += 1
            time.sleep(0.01)

    def _send(self, n: int) -> None:
        series = self._rng.randrange(SERIES)
        reading = {"id": f"s{series}", "value": round(self._rng.gauss(20, 5), 3)}
        payload = b"not json" if n % BAD_EVERY == 0 else json.dumps(reading).encode()
        partition = series % PARTITIONS_IN
        self._producer.send(self._topic, key=b"s%d" % series, value=payload, partition=partition)


class Job:
    """``ewma run`` on topics of its own, started again whenever it is gone."""

    def __init__(self, bootstrap: str, directory: Path, plan: Plan) -> None:
        self.plan, self.directory, self.bootstrap = plan, directory, bootstrap
        for name in ("lives", "deaths", "writing"):
            (directory / name).mkdir(parents=True)
        self.source = make_topic(bootstrap, PARTITIONS_IN, "source")
        self.target = make_topic(bootstrap, PARTITIONS_OUT, "target")
        self.letters = make_topic(bootstrap, 2, "letters")
        self.config = directory / "job.toml"
        self.state = directory / "state"
        self.configure()
        self.log = (directory / "job.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None
        self._consumer: Any = None
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
            "PYTHONPYCACHEPREFIX": str(directory / "compiled"),
        }

    def configure(self) -> None:
        names = {"source": self.source, "target": self.target, "letters": self.letters}
        self.config.write_text(
            CONFIG.format(
                bootstrap=self.bootstrap,
                directory=self.state,
                delivery=self.plan.delivery,
                interval=self.plan.interval,
                **names,
            )
        )

    def start(self, workers: int) -> None:
        line = [sys.executable, "-m", "ewma_ops.cli", "run", str(self.config)]
        self.process = subprocess.Popen(
            [*line, f"--workers={workers}"], env=self.env, stdout=self.log, stderr=self.log
        )

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

    def wake_a_zombie(self, alive_s: float) -> bool:
        """Let a run sleep, start its successor as if on another machine, and wake it.

        The successor has a copy of the recovery store, so that no lock keeps the two apart.
        Returns whether the zombie's workers died by themselves when it was awake.
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
            self.await_writing()
            for pid in reversed(sleepers[1:]):
                os.kill(pid, signal.SIGCONT)
            until = time.monotonic() + alive_s
            while time.monotonic() < until and any(map(_is_alive, pids)):
                time.sleep(0.05)
            return not any(map(_is_alive, pids))
        finally:
            old.kill()  # its workers go with it
            old.wait()

    def stop(self, limit_s: float = 60.0) -> float:
        """Stop gracefully; return how long it took."""
        began = time.monotonic()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(limit_s)
        return time.monotonic() - began

    def lag(self) -> int:
        """Return how many readings have no event and no letter; of transactions it is too low."""
        if self._consumer is None:
            self._consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=None)
        topics = {self.source: PARTITIONS_IN, self.target: PARTITIONS_OUT, self.letters: 2}
        tps = [TopicPartition(topic, p) for topic, n in topics.items() for p in range(n)]
        ends = self._consumer.end_offsets(tps)
        return sum(end if tp.topic == self.source else -end for tp, end in ends.items())

    def await_no_lag(self, limit_s: float = 60.0) -> float:
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

    def told(self) -> str:
        self.log.flush()
        return (self.directory / "job.log").read_text(errors="replace")


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"
