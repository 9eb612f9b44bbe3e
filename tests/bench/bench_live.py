"""What a flow costs while it runs: latency and CPU at several rates, and CPU while idle.

python -m tests.bench.bench_live [--rates N ...] [--rounds N] [--seconds S] [--against DIR]
    [--only PEER ...] [--json]

Latency is from the broker's append of a reading to its append of the event, by the broker's own
clock (LogAppendTime), hence against Apache Kafka; left out where there is none. Contenders take
turns, each after 200,000 readings that warm it up; of the turns, the medians. CPU is that of all
processes of a contender, without the compilers of a JVM. ``--against`` names
another copy of this repository, whose flow takes turns too: what counts is the ratio, since a
machine's speed moves.
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
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from ewma_ops.demo.broker import EmbeddedBroker
from tests.bench.contenders import CONTENDERS, available
from tests.bench.contest import make_topic
from tests.bench.feeding import await_events, feed
from tests.bench.live import LiveScore, Start, measure
from tests.bench.running import ROOT, Flow
from tests.helpers.brokers import ApacheKafka
from tests.helpers.kafka_jars import KafkaUnavailableError

RATES = (100, 1_000, 10_000)
SETTLING_S, IDLE_S = 6, 20
DELIVERIES = {"at-least-once": "this flow", "exactly-once": "this flow, exactly once"}
PEERS = ("go", "flink", "streams", "bytewax_own")
WARM_UP = 200_000


@contextlib.contextmanager
def run_flow(
    bootstrap: str, source: str, target: str, *, delivery: str, root: Path = ROOT
) -> Iterator[int]:
    """Run this flow as its users do, with its launcher and a recovery directory."""
    with tempfile.TemporaryDirectory() as directory:
        options = {"delivery": delivery, "root": root}
        flow = Flow(bootstrap, source, target, Path(directory), **options)  # type: ignore[arg-type]
        with flow.running():
            yield flow.pid


@contextlib.contextmanager
def run_peer(bootstrap: str, source: str, target: str, *, command: Sequence[str]) -> Iterator[int]:
    """Run a peer by the beginning of its command line."""
    command = [*command, bootstrap, source, target, "0", "--forever"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def contenders(against: Path | None = None, only: Sequence[str] = ()) -> dict[str, Start]:
    """Return what starts each contender, by its name; ``only`` some peers."""
    found: dict[str, Start] = {}
    for delivery, name in DELIVERIES.items():
        found[name] = partial(run_flow, delivery=delivery)
        if against is not None:
            found[f"{name}, {against.name}"] = partial(run_flow, delivery=delivery, root=against)
    if against is None:
        python = os.environ.get("EWMA_PEERS", sys.executable)
        for name, command in available(python, only or PEERS, apache=True).items():
            found[CONTENDERS[name].label] = partial(run_peer, command=command)
    return found


def table(
    bootstrap: str, starts: Mapping[str, Start], rates: list[int], rounds: int, seconds: float
) -> dict[str, list[LiveScore]]:
    """Return the medians of what each contender reached at each rate; they take turns."""
    found: dict[str, list[list[LiveScore]]] = {}
    for _ in range(rounds):
        for name, start in starts.items():
            try:
                scores = measure(bootstrap, start, rates, seconds=seconds, warm_up_readings=WARM_UP)
            except RuntimeError as reason:
                print(f"{name}: left out a turn, {reason}", file=sys.stderr)
            else:
                found.setdefault(name, []).append(scores)
    return {name: [_median(at) for at in zip(*turns, strict=True)] for name, turns in found.items()}


def _median(turns: tuple[LiveScore, ...]) -> LiveScore:
    rate, *rest = map(median, zip(*turns, strict=True))
    return LiveScore(int(rate), *rest)


def text(scores: Mapping[str, list[LiveScore]]) -> str:
    """Return the scores as lines: the milliseconds of the median and of the 99th percentile."""
    rates = [score.a_second for score in next(iter(scores.values()), [])]
    heads = "".join(f"{f'{rate:,}/s':>28}" for rate in rates)
    lines = [f"{'p50 / p99 ms, of a core':34}{heads}"]
    for name, each in scores.items():
        cells = (f"{one.p50_ms:.0f} / {one.p99_ms:.0f}, {one.core_share:.2f}" for one in each)
        lines.append(f"{name:34}" + "".join(f"{cell:>28}" for cell in cells))
    return "\n".join(lines)


def idle(bootstrap: str, directory: Path) -> float:
    """Return the share of a core that the flow takes while nothing comes, launcher and all."""
    for topic in ("idle", "idled"):
        make_topic(bootstrap, topic)
    with Flow(bootstrap, "idle", "idled", directory).running() as flow:
        sent = feed(bootstrap, "idle", a_second=1_000, series=100, seconds=2)
        await_events(bootstrap, "idled", sent)  # the start alone would be 6 % of what follows
        time.sleep(SETTLING_S)
        before = flow.cpu_s()
        time.sleep(IDLE_S)
        return (flow.cpu_s() - before) / IDLE_S


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="*", default=list(RATES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", nargs="*", choices=PEERS, default=(), help="of the peers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {}
    if options.against is None:
        with EmbeddedBroker() as broker, tempfile.TemporaryDirectory() as directory:
            share = idle(broker.bootstrap_servers, Path(directory))
        found["idle"] = share
        if not options.json:
            print(f"idle, launcher and worker: {share:.1%} of a core", flush=True)
    try:
        with tempfile.TemporaryDirectory() as directory, ApacheKafka(Path(directory)) as kafka:
            scores = table(
                kafka.bootstrap_servers,
                contenders(options.against, options.only),
                options.rates,
                options.rounds,
                options.seconds,
            )
    except KafkaUnavailableError as reason:
        print(f"latency: left out, {reason}", file=sys.stderr)
    else:
        found["live"] = {name: [one._asdict() for one in each] for name, each in scores.items()}
        if not options.json:
            print(text(scores), flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
