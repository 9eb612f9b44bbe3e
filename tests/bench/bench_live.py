"""What a flow costs while it runs: latency at 10,000 messages a second, and CPU while idle.

python -m tests.bench.bench_live [--rounds N]

Latency is from the broker's append of a reading to its append of the event, by the broker's own
clock (LogAppendTime), hence against Apache Kafka; left out where there is none. Contenders take
turns; the percentiles are of each turn, and of those the median.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from ewma_ops.demo.broker import EmbeddedBroker
from tests.bench.contest import fill, make_topic
from tests.bench.feeding import APPEND_CLOCK, appended, feed
from tests.bench.running import Flow
from tests.helpers.brokers import ApacheKafka
from tests.helpers.kafka_jars import KafkaUnavailableError

A_SECOND = 10_000
SERIES = 1_000
WARM_UP_S, MEASURED_S = 6, 10
STARTING_S, IDLE_S = 6, 20
RUN = "ewma run"
CONTENDERS = {
    "ours": "this flow",
    RUN: "this flow, exactly once",
    "bytewax_own": "Bytewax, own connector",
}
_PEERS = Path(__file__).parent / "peers"


@contextmanager
def _running(
    contender: str, python: str, bootstrap: str, source: str, target: str
) -> Iterator[None]:
    if contender == RUN:
        with (
            tempfile.TemporaryDirectory() as directory,
            Flow(bootstrap, source, target, Path(directory)).running(),
        ):
            yield
        return
    command = [python, str(_PEERS / f"{contender}.py"), bootstrap, source, target, "0", "--forever"]
    environment = {**os.environ, "PYTHONPATH": str(_PEERS.parents[2])}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def latency(bootstrap: str, contender: str, python: str, turn: int = 0) -> tuple[float, float]:
    """Return the median and the 99th percentile in milliseconds."""
    source, target = (f"{kind}-{contender.replace(' ', '-')}-{turn}" for kind in ("in", "out"))
    for topic in (source, target):
        make_topic(bootstrap, topic, APPEND_CLOCK)
    with _running(contender, python, bootstrap, source, target):
        seconds = WARM_UP_S + MEASURED_S
        feed(bootstrap, source, a_second=A_SECOND, series=SERIES, seconds=seconds)
        time.sleep(2)
    came, went = appended(bootstrap, source), appended(bootstrap, target)
    if len(went) < len(came):
        raise RuntimeError(f"{contender} wrote {len(went)} of {len(came)} events")
    took = [went[i] - came[i] for i in range(WARM_UP_S * A_SECOND, len(came))]
    p50, p99 = np.percentile(took, [50, 99])
    return float(p50), float(p99)


def latencies(bootstrap: str, peers: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the medians over the rounds of what each contender reached."""
    found: dict[str, list[tuple[float, float]]] = {}
    for turn in range(rounds):
        for contender, named in CONTENDERS.items():
            python = peers if contender == "bytewax_own" else sys.executable
            try:
                found.setdefault(contender, []).append(latency(bootstrap, contender, python, turn))
            except RuntimeError as reason:
                print(f"latency of {named}: left out a turn, {reason}")
    return {
        name: (median(p50 for p50, _ in each), median(p99 for _, p99 in each))
        for name, each in found.items()
        if each
    }


def idle(bootstrap: str, directory: Path) -> float:
    """Return the share of a core that the flow takes while nothing comes, launcher and all."""
    few = fill(bootstrap, "idle", 2_000, 100)
    make_topic(bootstrap, "idled")
    with Flow(bootstrap, few.topic, "idled", directory).running() as flow:
        time.sleep(STARTING_S)
        before = flow.cpu_s()
        time.sleep(IDLE_S)
        return (flow.cpu_s() - before) / IDLE_S


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args(arguments).rounds
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory() as directory:
        share = idle(broker.bootstrap_servers, Path(directory))
        print(f"idle, launcher and worker: {share:.1%} of a core", flush=True)
    try:
        with tempfile.TemporaryDirectory() as directory, ApacheKafka(Path(directory)) as kafka:
            peers = os.environ.get("EWMA_PEERS", sys.executable)
            for name, (p50, p99) in latencies(kafka.bootstrap_servers, peers, rounds).items():
                told = f"{CONTENDERS[name]:24} p50 {p50:.0f} ms, p99 {p99:.0f} ms"
                print(f"{A_SECOND:,} messages/s, {told}", flush=True)
    except KafkaUnavailableError as reason:
        print(f"latency: left out, {reason}")


if __name__ == "__main__":
    main()
