"""Run the real job, hurt it in every way there is, and hold what it wrote against the truth.

    python -m tests.chaos.harness --seed 7 --kills 30 --broker kafka --directory /tmp/chaos

Everything is drawn from the seed; only the operating system's timing is not. Imports no pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from ewma_ops.connectors.delivery import IDENTITY_HEADER
from ewma_ops.readings import Readings
from ewma_ops.serde.json import JsonEncoder
from ewma_ops.settings import load
from ewma_ops.table import SeriesTable
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
    """

    seed: int
    kills: int = 20
    seconds: float = 600.0
    rate: int = 500
    delivery: str = "exactly-once"
    interval: str = "1s"
    workers: Sequence[int] = (1, 2, 1, 2, 4)
    pause_s: tuple[float, float] = (0.1, 2.5)
    patient: float = 0.8
    p: float = 0.7
    steps: Sequence[str] = ()
    control: str = ""
    lag_s: float = 0.0
    actions: Sequence[str] = ("worker", "worker", "launcher", "stop", "pause")


@dataclass
class Verdict:
    """How the output differs from the truth; all zero but ``kills`` and ``readings`` is right."""

    readings: int = 0
    letters: int = 0
    kills: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    disordered: int = 0
    failed: str = ""
    slowest_stop_s: float = 0.0

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.disordered or self.failed)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.readings} readings and {self.letters} dead letters: "
            f"{self.lost} lost, {self.doubled} doubled, {self.wrong} wrong, "
            f"{self.disordered} out of order{'; ' + self.failed if self.failed else ''}"
        )


Position = tuple[int, int]


class Feeder:
    """Writes readings at a steady rate, and remembers what it wrote and where that landed."""

    def __init__(self, bootstrap: str, topic: str, plan: Plan) -> None:
        self._rng = random.Random(f"{plan.seed} feed")
        self._rate, self._topic = plan.rate, topic
        self._enough = threading.Event()
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._sent: list[tuple[Any, str, float | None]] = []

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        began, n = time.monotonic(), 0
        while not self._enough.is_set():
            while n < (time.monotonic() - began) * self._rate:
                self._send(n)
                n += 1
            time.sleep(0.01)

    def _send(self, n: int) -> None:
        series = self._rng.randrange(SERIES)
        value: float | None = round(self._rng.gauss(20, 5), 3)
        payload = json.dumps({"id": f"s{series}", "value": value}).encode()
        if n % BAD_EVERY == 0:
            payload, value = b"not json", None
        partition = series % PARTITIONS_IN
        future = self._producer.send(
            self._topic, key=b"s%d" % series, value=payload, partition=partition
        )
        self._sent.append((future, f"s{series}", value))

    def written(self) -> dict[Position, tuple[str, float | None]]:
        """Stop, and return the readings by position; None is a bad message."""
        self._enough.set()
        self._thread.join()
        found = {}
        for future, series, value in self._sent:
            landed = future.get(timeout=60)
            found[landed.partition, landed.offset] = (series, value)
        self._producer.close(timeout=10)
        return found


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
        self.configure(bootstrap)
        self.log = (directory / "job.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None
        chaos = {
            "directory": str(directory),
            **{name: getattr(plan, name) for name in ("seed", "p", "steps", "control", "lag_s")},
        }
        path = os.pathsep.join([str(INJECT), str(ROOT)])
        self.env = {
            **os.environ,
            "PYTHONPATH": path,
            "EWMA_CHAOS": json.dumps(chaos),
            "PYTHONDONTWRITEBYTECODE": "",  # many short lives: compile once
            "PYTHONPYCACHEPREFIX": str(directory / "compiled"),
        }

    def configure(self, bootstrap: str) -> None:
        names = {"source": self.source, "target": self.target, "letters": self.letters}
        self.config.write_text(
            CONFIG.format(
                bootstrap=bootstrap,
                directory=self.directory / "state",
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

    def await_writing(self, limit_s: float = 15.0) -> None:
        until = time.monotonic() + limit_s
        while self.running() and time.monotonic() < until:
            if any((self.directory / "writing" / str(pid)).exists() for pid in self.worker_pids()):
                return
            time.sleep(0.02)

    def stop(self, limit_s: float = 60.0) -> float:
        """Stop gracefully; return how long it took."""
        began = time.monotonic()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(limit_s)
        return time.monotonic() - began

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def told(self) -> str:
        self.log.flush()
        return (self.directory / "job.log").read_text(errors="replace")


def run(bootstrap: str, directory: Path, plan: Plan, brutal: Any = None) -> Verdict:
    """Feed, hurt and judge; ``brutal(rng)`` hurts the broker as well, now and then."""
    rng = random.Random(f"{plan.seed} main")
    job = Job(bootstrap, directory, plan)
    feeder = Feeder(bootstrap, job.source, plan)
    verdict = Verdict()
    feeder.start()
    until = time.monotonic() + plan.seconds
    deaths = directory / "deaths"
    try:
        while verdict.kills + len(list(deaths.iterdir())) < plan.kills and time.monotonic() < until:
            if not job.running():
                if job.process is not None and job.process.returncode == 2:
                    verdict.failed = "the job refused to go on: " + job.told()[-600:]
                    break
                job.start(rng.choice(list(plan.workers)))
            if rng.random() < plan.patient:
                job.await_writing()
            time.sleep(rng.uniform(*plan.pause_s))
            verdict.kills += hurt(job, rng, verdict, brutal)
        (directory / "calm").touch()
        finish(job, feeder, rng, verdict)
    finally:
        job.kill()
    verdict.deaths = Counter(mark.read_text() for mark in deaths.iterdir())
    verdict.kills += sum(verdict.deaths.values())
    return verdict


def hurt(job: Job, rng: random.Random, verdict: Verdict, brutal: Any) -> int:
    """Do one thing to the job; return how many processes that killed."""
    action = rng.choice(list(job.plan.actions))
    pids = job.worker_pids()
    if action == "broker" and brutal is not None:
        brutal(rng)
    elif action == "launcher" and job.running():
        job.kill()
        return 1 + len(pids)
    elif action == "stop" and job.running():
        verdict.slowest_stop_s = max(verdict.slowest_stop_s, job.stop())
    elif action == "pause" and pids:
        pid = rng.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(rng.uniform(0.1, 1.5))
            os.kill(pid, signal.SIGCONT)
    elif action == "worker" and pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(pids), signal.SIGKILL)
            return 1
    return 0


def finish(job: Job, feeder: Feeder, rng: random.Random, verdict: Verdict) -> None:
    """Let the job come to the end in peace, and judge."""
    written = feeder.written()
    bad = {position for position, (_, value) in written.items() if value is None}
    verdict.readings, verdict.letters = len(written) - len(bad), len(bad)
    deadline = time.monotonic() + 90
    while not verdict.failed and time.monotonic() < deadline:
        if not job.running():
            if job.process is not None and job.process.returncode == 2:
                verdict.failed = "the job refused to go on: " + job.told()[-600:]
                break
            job.start(rng.choice(list(job.plan.workers)))
        time.sleep(0.3)
        if len(positions(job, job.target)) >= verdict.readings and len(
            positions(job, job.letters)
        ) >= len(bad):
            time.sleep(0.5)
            break
    verdict.slowest_stop_s = max(verdict.slowest_stop_s, job.stop())
    judge(job, written, bad, verdict)


def positions(job: Job, topic: str) -> set[Position]:
    return {position for position, _, _ in events(job, topic)}


def judge(
    job: Job,
    written: dict[Position, tuple[str, float | None]],
    bad: set[Position],
    verdict: Verdict,
) -> None:
    """Compare as multisets of (series, position, value), and the order within each series."""
    truth = expected(job, written)
    got = list(events(job, job.target))
    counted = Counter(position for position, _, _ in got)
    letters = Counter(position for position, _, _ in events(job, job.letters))
    verdict.lost = len(truth.keys() - counted.keys()) + len(bad - letters.keys())
    verdict.doubled = sum(counted.values()) - len(counted) + sum(letters.values()) - len(letters)
    verdict.wrong = sum(truth.get(position) != (key, value) for position, key, value in got)
    verdict.wrong += len(letters.keys() - bad)
    last: dict[bytes, int] = {}
    for (_, offset), key, _ in got:
        verdict.disordered += offset < last.get(key, -1)
        last[key] = max(offset, last.get(key, -1))


def expected(
    job: Job, written: dict[Position, tuple[str, float | None]]
) -> dict[Position, tuple[bytes, bytes]]:
    """Return what an uninterrupted run writes, by position: key and value."""
    settings = load(job.config)
    good = sorted((p, o) for (p, o), (_, value) in written.items() if value is not None)
    table = SeriesTable(settings.smoothing)
    times = record_times(job)
    readings = Readings(
        [written[position][0] for position in good],
        np.array([written[position][1] for position in good], np.float64),
        np.array([times[position] for position in good], np.int64),
    )
    values = JsonEncoder(settings.smoothing.statistics).encode(table.update(readings))
    keys = [series.encode() for series in readings.series_ids]
    return dict(zip(good, zip(keys, values, strict=True), strict=True))


def record_times(job: Job) -> dict[Position, int]:
    return {(r.partition, r.offset): r.timestamp for r in records(job, job.source)}


def events(job: Job, topic: str) -> Iterator[tuple[Position, bytes, bytes]]:
    for record in records(job, topic):
        identity = [content for name, content in record.headers if name == IDENTITY_HEADER][-1]
        partition = int.from_bytes(identity[4:8], "big")
        offset = int.from_bytes(identity[8:], "big")
        yield (partition, offset), record.key, record.value


def records(job: Job, topic: str) -> list[Any]:
    """Read a topic to its end, as a reader of committed records where there are transactions."""
    isolation = "read_committed" if job.plan.delivery == "transactional" else "read_uncommitted"
    consumer = KafkaConsumer(
        bootstrap_servers=job.bootstrap,
        auto_offset_reset="earliest",
        group_id=None,
        isolation_level=isolation,
        max_poll_records=20_000,
    )
    found: list[Any] = []
    try:
        tps = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(tps)
        empty = 0
        while empty < 3:
            polled = consumer.poll(timeout_ms=150)
            empty = 0 if polled else empty + 1
            found += [record for run in polled.values() for record in run]
    finally:
        consumer.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--delivery", default="exactly-once")
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--control", default="")
    parser.add_argument("--step", action="append", default=[], help="only die at these")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--lag", type=float, default=0.0)
    parser.add_argument("--broker", default="embedded", help="embedded, kafka or host:port")
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    plan = Plan(
        options.seed,
        options.kills,
        delivery=options.delivery,
        interval=options.interval,
        control=options.control,
        lag_s=options.lag,
        steps=options.step,
        p=1.0 if options.step else Plan.p,
        workers=options.workers or Plan.workers,
        actions=["nothing"] if options.step else Plan.actions,
    )
    with contextlib.ExitStack() as stack:
        bootstrap = options.broker
        if bootstrap == "embedded":
            from ewma_ops.demo.broker import EmbeddedBroker

            bootstrap = stack.enter_context(EmbeddedBroker()).bootstrap_servers
        elif bootstrap == "kafka":
            from tests.brokers import ApacheKafka

            kafka = ApacheKafka(options.directory / "kafka")
            bootstrap = stack.enter_context(kafka).bootstrap_servers
        verdict = run(bootstrap, options.directory / "run", plan)
    print(f"seed {plan.seed}, {plan.delivery}, interval {plan.interval}: {verdict}")
    for step, n in sorted(verdict.deaths.items()):
        print(f"  {n:4} {step}")
    print(f"  slowest graceful stop {verdict.slowest_stop_s:.1f} s")
    return 0 if verdict.right else 1


if __name__ == "__main__":
    sys.exit(main())
