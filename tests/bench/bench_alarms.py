"""How soon an alarm is on its topic, while readings come at a steady rate.

python -m tests.bench.bench_alarms [--rate N] [--seconds S]

From the broker's append of a reading to its append of the alarm's record, by the broker's own
clock, hence on Apache Kafka. Of 20 readings of each series one is above a bound, of each series
another one: so two readings of 20 have a record, one raised and one cleared, at a steady rate.
Level and spike watch beside it and raise none.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tests.bench.contest import make_topic
from tests.bench.feeding import APPEND_CLOCK, appended, await_events, feed
from tests.bench.running import Flow
from tests.helpers.brokers import ApacheKafka

SERIES = 1_000
MOST_P99_MS = 25
EVERY = 20
_WARM_UP_S = 5.0
_SETTLE_S = 2.0
_ALARMS = """
[alarms]
topic = "alarms"
[alarms.level]
limit = 6
least = 5
[alarms.spike]
limit = 6
least = 5
[alarms.high]
kind = "bounds"
above = 20.5
"""


def latencies_ms(
    bootstrap: str, directory: Path, rate: int, seconds: float
) -> dict[str, list[int]]:
    """Return how long each event and each alarm took, of the readings after the warm-up."""
    for topic in ("in", "out", "alarms"):
        make_topic(bootstrap, topic, APPEND_CLOCK)
    send = partial(feed, bootstrap, "in", a_second=rate, series=SERIES, value=_value)
    with Flow(bootstrap, "in", "out", directory, more=_ALARMS).running():
        started = send(seconds=0.1)
        await_events(bootstrap, "out", started)
        first = send(seconds=_WARM_UP_S, first=started)
        end = send(seconds=seconds, first=first)
        time.sleep(_SETTLE_S)
    came = appended(bootstrap, "in")
    found = {}
    for topic in ("out", "alarms"):
        went = appended(bootstrap, topic)
        found[topic] = [at - came[n] for n, at in went.items() if first <= n < end]
    if len(found["out"]) < end - first or len(found["alarms"]) < (end - first) / EVERY:
        raise RuntimeError(f"{len(found['out'])} events and {len(found['alarms'])} alarms are few")
    return found


def _value(number: int) -> float:
    turn, series = divmod(number, SERIES)
    return 21.0 if (turn + series) % EVERY == 0 else 20.125


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line for events and one for alarms; 1 if alarms are too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=10_000, help="readings a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with ApacheKafka(place / "kafka") as kafka:
            found = latencies_ms(kafka.bootstrap_servers, place, options.rate, options.seconds)
    p99 = 0.0
    for topic, took in found.items():
        p50, p99 = np.percentile(took, [50, 99])
        name = {"out": "events", "alarms": "alarms"}[topic]
        print(f"{name:8}{len(took):>9,} at {options.rate:,}/s: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    return int(p99 > MOST_P99_MS)


if __name__ == "__main__":
    raise SystemExit(main())
