"""What alarms cost, and how soon one is on its topic, while readings come at a steady rate.

python -m tests.bench.bench_alarms [--rate N] [--seconds S] [--bulk] [--every N]

In bulk: CPU time of this thread for decode, table and encode as ``ewma run`` joins them, of 1,000
series whose rules are on and raise nothing; medians over rounds that interleave. Kafka's client is
left out, so the share of a whole flow is about half of it. ``--bulk`` measures that alone.

Live: events with and without rules that raise nothing, CPU of launcher and worker; then alarms.

From the broker's append of a reading to its append of the alarm's record, by the broker's own
clock, hence on Apache Kafka. Of 200 readings of each series one is above a bound, of each series
another one: so two readings of 200 have a record, one raised and one cleared, at a steady rate,
which at 10,000 readings a second is 100 records a second. Level and spike watch beside it and
raise none. ``--every`` says after how many readings instead: 20 for ten times as many records.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from ewma_ops.columns.log_clocks import LogClocks
from ewma_ops.columns.readings import Readings
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.job.builders import build_decoder, build_encoder
from ewma_ops.job.decoding import RunDecoder
from ewma_ops.job.steps import DeadLetters, Decode, Encode
from ewma_ops.monitor import AlarmRules, Level, Spike, Spread, Stale
from ewma_ops.monitor.rules import Rule
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.alarms import Alarms, Batch
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire.records import ConsumerRecords
from tests.bench.bench_metrics import runs_of
from tests.bench.contest import make_topic
from tests.bench.feeding import APPEND_CLOCK, appended, await_events, feed
from tests.bench.peers.ours import settings
from tests.bench.running import Flow
from tests.helpers.brokers import ApacheKafka

SERIES = 1_000
MOST_P99_MS = 25
MOST_CPU = 1.30
MOST_ADDED_MS = 10
EVERY = 200
DECAY = Decay(beta=0.9)
RULES: dict[str, Mapping[str, Rule]] = {
    "no rules": {},
    "level, spike": {"level": Level(limit=9.0), "spike": Spike(limit=9.0)},
    "spread": {"spread": Spread(limit=30.0)},
    "stale": {"stale": Stale(least="1h")},
    "level, spike by the day": {
        "level": Level(limit=9.0, season="day"),
        "spike": Spike(limit=9.0, season="day"),
    },
}
_WARM_UP_S = 5.0
_SETTLE_S = 2.0
_QUIET = """
[alarms]
topic = "alarms"
[alarms.level]
limit = 6
least = 5
[alarms.spike]
limit = 6
least = 5
"""
_ALARMS = f"""{_QUIET}[alarms.high]
kind = "bounds"
above = 20.5
"""


class Live(NamedTuple):
    """How long each event and each alarm took, and the CPU of a reading, in microseconds."""

    took_ms: dict[str, list[int]]
    cpu_us: float


def bulk(records: int = 200_000, rounds: int = 7) -> dict[str, list[float]]:
    """Return nanoseconds a reading of each round, by the name of the rules."""
    runs = runs_of(records, SERIES)
    flows = {name: _Stages(rules) for name, rules in RULES.items()}
    found: dict[str, list[float]] = {name: [] for name in RULES}
    for turn in range(rounds + 1):
        for name in sorted(flows, reverse=bool(turn % 2)):
            began = time.thread_time()
            flows[name].take(runs)
            if turn:  # the first is the warm-up
                found[name].append(1e9 * (time.thread_time() - began) / records)
    return found


def small(sizes: Sequence[int] = (8, 16, 32, 64), times: int = 100) -> Mapping[int, list[float]]:
    """Return microseconds of level and spike for a batch of some readings: one by one, as columns.

    That is what a live flow brings; `table.alarms` chooses by the number of readings.
    """
    draw = np.random.default_rng(7)
    alarms = Alarms(AlarmRules.of(RULES["level, spike"]), SmoothingSet.of(Smoothing(DECAY)))
    alarms.state.grow(SERIES)
    found: dict[int, list[float]] = {}
    for size in sizes:
        rows = [draw.integers(0, SERIES, size) for _ in range(times)]
        batches = [
            Batch(
                Readings([f"s{row}" for row in own.tolist()], values, np.zeros(size, np.int64)),
                *(values, np.zeros(size, np.int64), own, {}),
            )
            for own, values in zip(rows, draw.normal(20, 1, (times, size)), strict=True)
        ]
        found[size] = []
        for way in (alarms.one_by_one, alarms.by_columns):
            began = time.thread_time()
            for batch in batches:
                way(batch)
            found[size].append(1e6 * (time.thread_time() - began) / times)
    return found


class _Stages:
    """Decode, table and encode of a flow with rules."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        configured = settings("none:1", "readings", "smoothed", forever=True, once=False)
        inputs = InputTopics.alone("readings", TopicView(None, 1))
        letters = DeadLetters(inputs, 1, 1_000_000)
        alarms = AlarmRules.of(rules) if rules else None
        log = LogClocks() if alarms is not None and alarms.by_log else None
        decoder = RunDecoder(build_decoder(configured), inputs, log=log)
        self._decode = Decode(decoder, letters, keeps=False)
        self._encode = Encode(build_encoder(configured), 4)
        self._table = SeriesTable(configured.smoothing_set, alarms=alarms)

    def take(self, runs: Sequence[ConsumerRecords]) -> None:
        """Take runs of records through them."""
        for run in runs:
            for readings in self._decode([run]):
                smoothed = list(self._table.update_in_order(readings))  # type: ignore[arg-type]
                if any(one.transitions is not None for one in smoothed):
                    raise RuntimeError("an alarm was raised: limits are to be out of reach")
                for _ in self._encode(smoothed):
                    pass


def live(
    bootstrap: str,
    directory: Path,
    rate: int,
    seconds: float,
    rules: str = _ALARMS,
    every: int = EVERY,
) -> Live:
    """Return what the readings after the warm-up took."""
    for topic in ("in", "out", "alarms"):
        make_topic(bootstrap, topic, APPEND_CLOCK)
    send = partial(
        feed, bootstrap, "in", a_second=rate, series=SERIES, value=partial(_value, every)
    )
    with Flow(bootstrap, "in", "out", directory, more=rules).running() as flow:
        started = send(seconds=0.1)
        await_events(bootstrap, "out", started)
        first = send(seconds=_WARM_UP_S, first=started)
        before = flow.cpu_s()
        end = send(seconds=seconds, first=first)
        time.sleep(_SETTLE_S)
        cpu_us = 1e6 * (flow.cpu_s() - before) / (end - first)
    came = appended(bootstrap, "in")
    found: dict[str, list[int]] = {}
    for topic in ("out", "alarms"):
        went = appended(bootstrap, topic)
        found[topic] = [at - came[n] for n, at in went.items() if first <= n < end]
    least = (end - first) / every if rules == _ALARMS else 0
    if len(found["out"]) < end - first or len(found["alarms"]) < least:
        raise RuntimeError(f"{len(found['out'])} events and {len(found['alarms'])} alarms are few")
    return Live(found, cpu_us)


def _value(every: int, number: int) -> float:
    turn, series = divmod(number, SERIES)
    return 21.0 if (turn + series) % every == 0 else 20.125


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each; 1 if alarms are too slow, or cost too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=10_000, help="readings a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--every", type=int, default=EVERY, help="readings from alarm to alarm")
    parser.add_argument("--bulk", action="store_true", help="no live flows")
    options = parser.parse_args(arguments)
    costs = bulk()
    (plain, *_) = costs.values()
    shares = {
        name: median(b / a for a, b in zip(plain, cost, strict=True))
        for name, cost in costs.items()
    }
    for name, cost in costs.items():
        print(f"{name:26}{median(cost):8,.0f} ns of CPU a reading: {shares[name]:.2f}")
    for size, (single, columns) in small().items():
        print(f"{size:3} readings: {single:6,.0f} us one by one, {columns:6,.0f} us as columns")
    return 0 if options.bulk else int(_live(options.rate, options.seconds, options.every))


def _live(rate: int, seconds: float, every: int) -> bool:
    """Print what live flows take; return whether alarms are too slow, or cost too much."""
    p99: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for name, rules in {"no rules": "", "quiet rules": _QUIET, "alarms": _ALARMS}.items():
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            with ApacheKafka(place / "kafka") as kafka:
                found = live(kafka.bootstrap_servers, place, rate, seconds, rules, every)
        cpu[name] = found.cpu_us
        for topic, took in found.took_ms.items():
            if took:
                p50, at = np.percentile(took, [50, 99])
                p99[f"{name} {topic}"] = float(at)
                print(
                    f"{name:12}{topic:7}{len(took):>9,} at {rate:,}/s: p50 {p50:.0f} ms, p99 "
                    f"{at:.0f} ms, {found.cpu_us:.0f} us of CPU a reading"
                )
    added = p99["quiet rules out"] - p99["no rules out"]
    share = cpu["quiet rules"] / cpu["no rules"]
    print(f"rules that raise nothing: {share:.2f} of the CPU, p99 {added:+.0f} ms")
    return p99["alarms alarms"] > MOST_P99_MS or added > MOST_ADDED_MS or share > MOST_CPU


if __name__ == "__main__":
    raise SystemExit(main())
