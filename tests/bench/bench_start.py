"""What a start costs: CPU and wall-clock seconds of commands, and from a start to the first event.

python -m tests.bench.bench_start [--rounds N] [--apache] [--json]

``ewma run`` is started on a topic that has readings, without a recovery directory and then again
with that of the run before, and measured until its first event can be read; its CPU seconds are
those of launcher and worker up to then. The commands take turns; of each the least and the median.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from kafka import TopicPartition

from ewma_ops.connectors.client.connect import connect_reader
from ewma_ops.demo.broker import EmbeddedBroker
from tests.bench.contest import PARTITIONS, fill, make_topic
from tests.bench.feeding import feed
from tests.bench.running import Flow
from tests.helpers.brokers import ApacheKafka
from tests.helpers.kafka_jars import KafkaUnavailableError

SERIES, READINGS = 100, 1_000
_TIMEOUT_S, _SNAPSHOT_S = 60.0, 2.0
_ROOT = Path(__file__).parents[2]


class Cost(NamedTuple):
    """CPU and wall-clock seconds of a start."""

    cpu_s: float
    wall_s: float


def command(*arguments: str) -> Cost:
    """Run one command of ``ewma`` to its end."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "ewma_ops.commands.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"ewma {' '.join(arguments)} failed:\n{said.decode()[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - began)


@contextlib.contextmanager
def _events(bootstrap: str, topic: str) -> Iterator[Callable[[int], None]]:
    """Yield what waits until a topic has had so many records in all."""
    consumer = connect_reader({"bootstrap_servers": bootstrap, "fetch_max_wait_ms": 20})
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    consumer.assign(tps)
    consumer.seek_to_beginning(*tps)

    came = 0

    def wait(count: int) -> None:
        nonlocal came
        until = time.monotonic() + _TIMEOUT_S
        while came < count:
            came += sum(map(len, consumer.poll(timeout_ms=20).values()))
            if time.monotonic() > until:
                raise RuntimeError(f"{came} of {count} events in {topic} after {_TIMEOUT_S:g} s")

    try:
        yield wait
    finally:
        consumer.close()


def starts(bootstrap: str, turn: int) -> dict[str, Cost]:
    """Return what it takes to start a new job, and the same job again after it was killed."""
    source, target = f"start-{turn}", f"started-{turn}"
    make_topic(bootstrap, target)
    make_topic(bootstrap, source)
    sent, found = 0, {}
    with tempfile.TemporaryDirectory() as directory, _events(bootstrap, target) as wait:
        flow = Flow(bootstrap, source, target, Path(directory), interval_s=1)
        for name in ("run, a new job", "run, again"):
            sent = feed(bootstrap, source, a_second=READINGS, series=SERIES, seconds=1, first=sent)
            began = time.monotonic()
            with flow.running():
                wait(sent - READINGS + 1)
                found[name] = Cost(flow.cpu_s(), time.monotonic() - began)
                wait(sent)
                time.sleep(_SNAPSHOT_S)
    return found


def measure(bootstrap: str, rounds: int) -> dict[str, list[Cost]]:
    """Return what each start took in each round."""
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as directory:
        fill(bootstrap, "start", READINGS, SERIES)
        make_topic(bootstrap, "checked")
        Flow(bootstrap, "start", "checked", Path(directory))
        for turn in range(rounds):
            costs.setdefault("--help", []).append(command("--help"))
            costs.setdefault("check", []).append(command("check", f"{directory}/flow.toml"))
            for name, cost in starts(bootstrap, turn).items():
                costs.setdefault(name, []).append(cost)
    return costs


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--apache", action="store_true", help="on Apache Kafka")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        if options.apache:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            try:
                broker: ApacheKafka | EmbeddedBroker = ApacheKafka(Path(directory))
            except KafkaUnavailableError as reason:
                print(f"start: left out, {reason}")
                return
        else:
            broker = EmbeddedBroker()
        stack.enter_context(broker)
        costs = measure(broker.bootstrap_servers, options.rounds)
    if options.json:
        print(json.dumps({name: [cost._asdict() for cost in each] for name, each in costs.items()}))
        return
    print(f"{'':20}{'CPU s: least':>14}{'median':>9}{'wall s: least':>16}{'median':>9}")
    for name, each in costs.items():
        cpu, wall = ([cost[at] for cost in each] for at in (0, 1))
        print(f"{name:20}{min(cpu):14.2f}{median(cpu):9.2f}{min(wall):16.2f}{median(wall):9.2f}")


if __name__ == "__main__":
    main()
