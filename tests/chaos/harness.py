"""Run the real job, hurt it in every way there is, and hold what it wrote against the truth.

    python -m tests.chaos.harness --seed 7 --blows 30 --broker kafka --directory /tmp/chaos

Everything is drawn from the seed; only the operating system's timing is not. Imports no pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from ewma_ops.demo.broker import EmbeddedBroker
from tests.chaos.hosts import JobOnHosts
from tests.chaos.hurts import HURTS, deal
from tests.chaos.job import PARTITIONS_LETTERS, PARTITIONS_OUT, Job
from tests.chaos.judge import Verdict
from tests.chaos.plan import Plan
from tests.chaos.proxy import Proxy
from tests.chaos.scene import Scene, Surroundings
from tests.helpers.brokers import ApacheKafka, KafkaCluster

__all__ = ["BROKERS", "CLUSTERED", "HOSTED", "ROUGH", "behind", "run", "surroundings"]

ROUGH = (*Plan.actions, "start", "broker", "answers", "answers")
"""What can be done to a job on one Apache Kafka."""

BROKERS = ("leader", "controller", "rolling restart", "reassignment", "stopped broker", "quota")
"""What can be done to three brokers, beside what is done to the job."""
HOSTED = ("worker", "host", "host", "host stop", "host pause", "cut off", "new disk", "successor")
"""What can be done to a job on several hosts."""
CLUSTERED = (*Plan.actions, "start", "hang-up", "clock", "garbage", *BROKERS)
"""What can be done to a job on three brokers, as often as one likes."""

Tell = Callable[[str], None]


def run(around: Surroundings, directory: Path, plan: Plan, tell: Tell = lambda _: None) -> Verdict:
    """Feed, hurt and judge."""
    rng = random.Random(f"{plan.seed} main")
    scene = Scene(around, directory, plan, JobOnHosts if plan.hosts > 1 else Job)
    scene.feeder.start()
    deaths = directory / "deaths"
    try:
        with _faults(around.proxy, scene.job):
            _hurt(scene, rng, tell)
        scene.finish()
    finally:
        scene.close()
    marks = Counter(mark.read_text() for mark in deaths.iterdir())
    scene.verdict.deaths += marks
    scene.verdict.kills += marks.total()
    return scene.verdict


def _hurt(scene: Scene, rng: random.Random, tell: Tell) -> None:
    plan, verdict = scene.plan, scene.verdict
    once = deque(plan.once)
    spread = plan.blows / (len(once) + 1)
    next_once, next_check = spread, plan.check_every
    until = time.monotonic() + plan.seconds
    while not verdict.failed and time.monotonic() < until:
        blows = verdict.blows + len(list((scene.directory / "deaths").iterdir()))
        if blows >= plan.blows and not once:
            break
        if not scene.keep_running(rng.choice(list(plan.workers))):
            break
        if plan.check_every and blows >= next_check:
            next_check = blows + plan.check_every
            scene.check()
            tell(f"after {blows} kills and hurts: {verdict}")
            if not verdict.right:
                break
        if rng.random() < plan.patient:
            scene.job.await_writing()
        time.sleep(rng.uniform(*plan.pause_s))
        if once and blows >= next_once and deal(once[0], scene, rng):
            next_once += spread
            once.popleft()
        else:
            deal(rng.choice(list(plan.actions)), scene, rng)
        scene.feeder.check()


@contextlib.contextmanager
def surroundings(plan: Plan, directory: Path) -> Iterator[Surroundings]:
    """Run a broker; Apache Kafka behind a bad network, and one that can be hurt."""
    if plan.broker == "embedded":
        with EmbeddedBroker() as embedded:
            yield Surroundings(embedded.bootstrap_servers)
        return
    if plan.broker == "cluster":
        with KafkaCluster(directory / "kafka") as cluster:
            yield Surroundings(cluster.bootstrap_servers, cluster=cluster)
        return
    with ApacheKafka(directory / "kafka") as kafka, behind(kafka, plan.seed) as around:
        yield around


@contextlib.contextmanager
def behind(kafka: ApacheKafka | str, seed: int) -> Iterator[Surroundings]:
    """Put a proxy before a broker, given by its address where it must not be restarted."""
    address = kafka if isinstance(kafka, str) else kafka.bootstrap_servers
    with Proxy(address, seed) as proxy:
        yield Surroundings(proxy.address, None if isinstance(kafka, str) else kafka, proxy)


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
    topics = {job.target: PARTITIONS_OUT, job.letters: PARTITIONS_LETTERS}
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
    parser.add_argument("--blows", type=int, default=20, help="kills and hurts")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="for them, at most")
    parser.add_argument("--rate", type=int, default=Plan.rate, help="readings a second")
    parser.add_argument("--check-every", type=int, default=0, help="kills and hurts")
    parser.add_argument("--delivery", default="exactly-once")
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--control", default="")
    parser.add_argument("--action", action="append", choices=list(HURTS), help="only do these")
    parser.add_argument("--once", action="append", choices=list(HURTS), default=[])
    parser.add_argument("--step", action="append", default=[], help="only die at these")
    parser.add_argument("--p", type=float, default=Plan.p, help="share of lives that die at a step")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--lag", type=float, default=0.0, help="of the high watermark, seconds")
    parser.add_argument("--late", type=float, default=0.0, help="appends of the dead, seconds")
    parser.add_argument("--broker", choices=["embedded", "kafka", "cluster"], default="embedded")
    parser.add_argument("--alarms", action="store_true", help="with rules of alarms")
    parser.add_argument("--hosts", type=int, default=1, help="on which it runs")
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    usual = {"kafka": ROUGH, "cluster": CLUSTERED}.get(options.broker, Plan.actions)
    usual = HOSTED if options.hosts > 1 else usual
    plan = Plan(
        options.seed,
        options.blows,
        options.broker,
        options.seconds,
        options.rate,
        check_every=options.check_every,
        delivery=options.delivery,
        interval=options.interval,
        control=options.control,
        late_s=options.late,
        lag_s=options.lag,
        steps=options.step,
        p=1.0 if options.step else options.p,
        workers=options.workers or Plan.workers,
        actions=options.action or usual,
        once=options.once,
        alarms=options.alarms,
        hosts=options.hosts,
    )
    with surroundings(plan, options.directory) as around:
        verdict = run(around, options.directory / "run", plan, print)
    print(f"{plan}: {verdict}\n{verdict.details()}", flush=True)
    return 0 if verdict.right else 1


if __name__ == "__main__":
    sys.exit(main())
