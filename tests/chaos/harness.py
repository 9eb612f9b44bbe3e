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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from ewma_ops.connectors.delivery import IDENTITY_HEADER
from ewma_ops.demo.broker import EmbeddedBroker
from ewma_ops.readings import Readings
from ewma_ops.serde.json import JsonEncoder
from ewma_ops.settings import load
from ewma_ops.table import SeriesTable
from ewma_ops.verify import verify
from tests.brokers import ApacheKafka, make_topic
from tests.chaos.proxy import Proxy

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
    hurts: Counter[str] = field(default_factory=Counter)
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
Hurt = Callable[[random.Random], None]


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


def run(
    bootstrap: str, directory: Path, plan: Plan, hurts: Mapping[str, Hurt] | None = None
) -> Verdict:
    """Feed, hurt and judge; ``hurts`` are further actions, by the names they have in the plan."""
    rng = random.Random(f"{plan.seed} main")
    job = Job(bootstrap, directory, plan)
    feeder = Feeder(bootstrap, job.source, plan)
    verdict = Verdict()
    feeder.start()
    until = time.monotonic() + plan.seconds
    deaths = directory / "deaths"
    try:
        while verdict.kills + len(list(deaths.iterdir())) < plan.kills and time.monotonic() < until:
            if not keep_running(job, rng, verdict):
                break
            if rng.random() < plan.patient:
                job.await_writing()
            time.sleep(rng.uniform(*plan.pause_s))
            verdict.kills += hurt(job, rng, verdict, hurts or {})
        (directory / "calm").touch()
        if "calm" in (hurts or {}):
            (hurts or {})["calm"](rng)
        finish(job, feeder, rng, verdict)
    finally:
        job.kill()
    verdict.deaths = Counter(mark.read_text() for mark in deaths.iterdir())
    verdict.kills += sum(verdict.deaths.values())
    return verdict


def keep_running(job: Job, rng: random.Random, verdict: Verdict) -> bool:
    """Start the job where it is gone; return False where it says that it cannot go on."""
    if job.running():
        return True
    if job.process is not None and job.process.returncode == 2:
        verdict.failed = "the job refused to go on: " + job.told()[-400:]
        return False
    job.start(rng.choice(list(job.plan.workers)))
    return True


def hurt(job: Job, rng: random.Random, verdict: Verdict, hurts: Mapping[str, Hurt]) -> int:
    """Do one thing to the job; return how many processes that killed."""
    action = rng.choice(list(job.plan.actions))
    pids = job.worker_pids()
    if action in hurts:
        hurts[action](rng)
        verdict.hurts[action] += 1
    elif action == "launcher" and job.running():
        job.kill()
        return 1 + len(pids)
    elif action == "stop" and job.running():
        verdict.slowest_stop_s = max(verdict.slowest_stop_s, job.stop())
        verdict.hurts[action] += 1
    elif action == "pause" and pids:
        pid = rng.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(rng.uniform(0.1, 1.5))
            os.kill(pid, signal.SIGCONT)
            verdict.hurts[action] += 1
    elif action == "worker" and pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(pids), signal.SIGKILL)
            return 1
    return 0


def finish(job: Job, feeder: Feeder, rng: random.Random, verdict: Verdict) -> None:
    """Let the job come to the end in peace, and judge."""
    feeder.stop()
    truth, bad = expected(job)
    verdict.readings, verdict.letters = len(truth), len(bad)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and keep_running(job, rng, verdict):
        time.sleep(0.3)
        there = positions(job, job.target) >= truth.keys()
        if there and positions(job, job.letters) >= bad:
            time.sleep(0.5)
            break
    verdict.slowest_stop_s = max(verdict.slowest_stop_s, job.stop())
    judge(job, truth, bad, verdict)


def positions(job: Job, topic: str) -> set[Position]:
    return {position for position, _, _ in events(job, topic)}


def judge(
    job: Job, truth: dict[Position, tuple[bytes, bytes]], bad: set[Position], verdict: Verdict
) -> None:
    """Compare as multisets of (series, position, value), and the order within each series."""
    got = list(events(job, job.target))
    counted = Counter(position for position, _, _ in got)
    letters = Counter(position for position, _, _ in events(job, job.letters))
    verdict.lost = len(truth.keys() - counted.keys()) + len(bad - letters.keys())
    verdict.doubled = sum(counted.values()) - len(counted) + sum(letters.values()) - len(letters)
    verdict.wrong = sum(truth.get(position) != (key, value) for position, key, value in got)
    verdict.wrong += len(letters.keys() - bad)
    found = verify(load(job.config), lambda _: None)
    if found.right != (counted.keys() == truth.keys() and len(got) == len(truth)):
        verdict.failed += f"; ewma verify does not agree: {found}"
    last: dict[bytes, int] = {}
    for (_, offset), key, _ in got:
        verdict.disordered += offset < last.get(key, -1)
        last[key] = max(offset, last.get(key, -1))


def expected(job: Job) -> tuple[dict[Position, tuple[bytes, bytes]], set[Position]]:
    """Return what an uninterrupted run writes, key and value by position, and what is bad."""
    settings = load(job.config)
    rows = sorted(records(job, job.source), key=lambda record: (record.partition, record.offset))
    bad = {(r.partition, r.offset) for r in rows if r.value == b"not json"}
    good = [row for row in rows if (row.partition, row.offset) not in bad]
    payloads = [json.loads(row.value) for row in good]
    readings = Readings(
        [payload["id"] for payload in payloads],
        np.array([payload["value"] for payload in payloads], np.float64),
        np.array([row.timestamp for row in good], np.int64),
    )
    smoothed = SeriesTable(settings.family).update(readings)
    values = JsonEncoder(settings.family.names).encode(smoothed)
    keys = [series.encode() for series in readings.series_ids]
    places = [(row.partition, row.offset) for row in good]
    return dict(zip(places, zip(keys, values, strict=True), strict=True)), bad


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
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(tps)
        idle = 0
        while idle < 2:  # some brokers list too low an end, and a slow one is not an idle one
            polled = consumer.poll(timeout_ms=150)
            found += [record for run in polled.values() for record in run]
            marks = {tp: consumer.highwater(tp) for tp in tps}
            ended = all(
                mark is not None and consumer.position(tp) >= max(mark, ends[tp])
                for tp, mark in marks.items()
            )
            idle = idle + 1 if ended and not polled else 0
    finally:
        consumer.close()
    return found


@contextlib.contextmanager
def surroundings(
    broker: str, directory: Path, seed: int, late_s: float = 0.0
) -> Iterator[tuple[str, Mapping[str, Hurt]]]:
    """Run a broker, Apache Kafka behind a bad network; yield its address and how to hurt it."""
    if broker == "embedded":
        with EmbeddedBroker() as embedded:
            yield embedded.bootstrap_servers, {}
        return
    kafka = ApacheKafka(directory / "kafka")
    proxy = Proxy(kafka.bootstrap_servers, seed)
    proxy.late_s = late_s
    advertised = f"advertised.listeners=PLAIN://{kafka.bootstrap_servers}"
    config = directory / "kafka" / "server.properties"
    text = config.read_text()
    assert advertised in text
    config.write_text(text.replace(advertised, f"advertised.listeners=PLAIN://{proxy.address}"))

    def restart(rng: random.Random) -> None:
        rng.choice([kafka.stop, kafka.kill])()
        time.sleep(rng.uniform(0, 2))
        kafka.start()

    def calm(_: random.Random) -> None:
        proxy.late_s = 0.0

    hurts = {"broker": restart, "answers": lambda _: proxy.lose_answers(), "calm": calm}
    with kafka:
        yield proxy.address, hurts
    proxy.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--delivery", default="exactly-once")
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--control", default="")
    parser.add_argument("--step", action="append", default=[], help="only die at these")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--lag", type=float, default=0.0, help="of the high watermark, seconds")
    parser.add_argument("--late", type=float, default=0.0, help="requests of the dead, seconds")
    parser.add_argument("--broker", choices=["embedded", "kafka"], default="embedded")
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    actions = [*Plan.actions, *(["broker", "answers"] if options.broker == "kafka" else [])]
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
        actions=["nothing"] if options.step else actions,
    )
    around = surroundings(options.broker, options.directory, options.seed, options.late)
    with around as (bootstrap, hurts):
        verdict = run(bootstrap, options.directory / "run", plan, hurts)
    print(f"seed {plan.seed}, {plan.delivery}, interval {plan.interval}: {verdict}")
    for what, n in sorted({**verdict.deaths, **verdict.hurts}.items()):
        print(f"  {n:4} {what}")
    print(f"  slowest graceful stop {verdict.slowest_stop_s:.1f} s", flush=True)
    return 0 if verdict.right else 1


if __name__ == "__main__":
    sys.exit(main())
