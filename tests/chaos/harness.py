"""Run the real job, hurt it in every way there is, and hold what it wrote against the truth.

    python -m tests.chaos.harness --seed 7 --kills 30 --broker kafka --directory /tmp/chaos

Everything is drawn from the seed; only the operating system's timing is not. Imports no pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from ewma_ops.demo.broker import EmbeddedBroker
from tests.brokers import ApacheKafka
from tests.chaos.job import PARTITIONS_OUT, Feeder, Job, Plan
from tests.chaos.judge import Verdict, expected, judge, positions
from tests.chaos.proxy import Proxy

ROUGH = (*Plan.actions, "broker", "answers", "answers")
"""What can be done to a job on Apache Kafka."""

Hurt = Callable[[random.Random], None]


@dataclass
class Surroundings:
    """Where a job runs: the broker's address, and further ways to hurt, by name."""

    bootstrap: str
    hurts: Mapping[str, Hurt] = field(default_factory=dict)
    proxy: Proxy | None = None


def run(around: Surroundings, directory: Path, plan: Plan) -> Verdict:
    """Feed, hurt and judge."""
    rng = random.Random(f"{plan.seed} main")
    job = Job(around.bootstrap, directory, plan)
    feeder = Feeder(around.bootstrap, job.source, plan)
    verdict = Verdict()
    feeder.start()
    until = time.monotonic() + plan.seconds
    deaths = directory / "deaths"
    with _faults(around.proxy, job):
        try:
            while (
                verdict.kills + len(list(deaths.iterdir())) < plan.kills
                and time.monotonic() < until
                and keep_running(job, rng, verdict)
            ):
                if rng.random() < plan.patient:
                    job.await_writing()
                time.sleep(rng.uniform(*plan.pause_s))
                verdict.kills += hurt(job, rng, verdict, around.hurts)
        except BaseException:
            job.kill()
            raise
    (directory / "calm").touch()
    try:
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
    elif action == "zombie" and pids:
        with contextlib.suppress(ProcessLookupError):
            verdict.hurts["zombie, fenced" if job.wake_a_zombie(5.0) else "zombie"] += 1
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


@contextlib.contextmanager
def surroundings(plan: Plan, directory: Path) -> Iterator[Surroundings]:
    """Run a broker; Apache Kafka behind a bad network, and one that can be hurt."""
    if plan.broker == "embedded":
        with EmbeddedBroker() as embedded:
            yield Surroundings(embedded.bootstrap_servers)
        return
    with ApacheKafka(directory / "kafka") as kafka, behind(kafka, plan.seed) as around:
        yield around


@contextlib.contextmanager
def behind(kafka: ApacheKafka, seed: int) -> Iterator[Surroundings]:
    """Put a proxy before a broker; ``broker`` restarts it."""

    def restart(rng: random.Random) -> None:
        rng.choice([kafka.stop, kafka.kill])()
        time.sleep(rng.uniform(0, 2))
        kafka.start()

    with Proxy(kafka.bootstrap_servers, seed) as proxy:
        hurts = {"broker": restart, "answers": lambda _: proxy.lose_answers()}
        yield Surroundings(proxy.address, hurts, proxy)


@contextlib.contextmanager
def _faults(proxy: Proxy | None, job: Job) -> Iterator[None]:
    """Have a proxy do to a job what the plan says."""
    if proxy is None:
        yield
        return
    proxy.late_s = job.plan.late_s
    enough = threading.Event()
    lagging = threading.Thread(target=_lag, args=(proxy, job, enough), daemon=True)
    if job.plan.lag_s:
        lagging.start()
    try:
        yield
    finally:
        enough.set()
        if job.plan.lag_s:
            lagging.join()
        proxy.late_s, proxy.marks = 0.0, {}


def _lag(proxy: Proxy, job: Job, enough: threading.Event) -> None:
    """Tell readers of the output where it ended some time ago."""
    direct = "{}:{}".format(*proxy.target)
    consumer = KafkaConsumer(bootstrap_servers=direct, group_id=None)
    topics = {job.target: PARTITIONS_OUT, job.letters: 2}
    tps = [TopicPartition(topic, p) for topic, n in topics.items() for p in range(n)]
    seen: deque[tuple[float, dict[TopicPartition, int]]] = deque()
    while not enough.wait(0.05):
        seen.append((time.monotonic(), consumer.end_offsets(tps)))
        while seen and seen[0][0] < time.monotonic() - job.plan.lag_s:
            proxy.marks = seen.popleft()[1]
    consumer.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--delivery", default="exactly-once")
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--control", default="")
    parser.add_argument("--action", action="append", help="only do these")
    parser.add_argument("--step", action="append", default=[], help="only die at these")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--lag", type=float, default=0.0, help="of the high watermark, seconds")
    parser.add_argument("--late", type=float, default=0.0, help="appends of the dead, seconds")
    parser.add_argument("--broker", choices=["embedded", "kafka"], default="embedded")
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    usual = ROUGH if options.broker == "kafka" else Plan.actions
    plan = Plan(
        options.seed,
        options.kills,
        options.broker,
        delivery=options.delivery,
        interval=options.interval,
        control=options.control,
        late_s=options.late,
        lag_s=options.lag,
        steps=options.step,
        p=1.0 if options.step else Plan.p,
        workers=options.workers or Plan.workers,
        actions=["nothing"] if options.step else options.action or usual,
    )
    with surroundings(plan, options.directory) as around:
        verdict = run(around, options.directory / "run", plan)
    print(f"{plan}: {verdict}\n{verdict.details()}", flush=True)
    return 0 if verdict.right else 1


if __name__ == "__main__":
    sys.exit(main())
