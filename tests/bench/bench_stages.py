"""Where the time of the flow goes: nanoseconds a message of each step, in one thread, no broker.

python -m tests.bench.bench_stages [--series N ...] [--messages N] [--rounds N]

Batches as a broker hands them out are decoded, read as JSON, smoothed, written as events for four
partitions, and encoded as batches. A round with and a round without the compiled loops alternate;
the best of each counts. The first third of the messages is left out, in which most series are new.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from ewma_ops.columns.readings import Readings
from ewma_ops.compiled import library
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.job.allocator import keep_freed_memory
from ewma_ops.job.decoding import RunDecoder
from ewma_ops.job.steps import DeadLetters, Decode, Encode
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire.batch import decode_batches
from ewma_ops.wire.encode import encode_batch
from ewma_ops.wire.records import ConsumerRecords, ProducerRecords

PARTITIONS = 4
BATCH = 8_000
TIME_MS = 1_700_000_000_000
RUNS_A_BATCH = 3
FORM = '{"series_id":"%s","ts":%d,"value":%s}'


def filled(messages: int, series: int) -> list[bytes]:
    """Return record batches of JSON messages, keyed by series."""
    draw = random.Random(7)
    batches = []
    for first in range(0, messages, BATCH):
        ids = [f"sensor-{draw.randrange(series)}" for _ in range(BATCH)]
        values = [
            (FORM % (name, TIME_MS + first + i, round(draw.gauss(20, 5), 3))).encode()
            for i, name in enumerate(ids)
        ]
        run = ProducerRecords([name.encode() for name in ids], values)
        batch = encode_batch(run, timestamp_ms=TIME_MS)
        batch[:8] = first.to_bytes(8, "big")  # which the CRC does not cover
        batches.append(bytes(batch))
    return batches


def measure(batches: list[bytes]) -> dict[str, float]:
    """Return the nanoseconds that a message of the last two thirds takes in each step."""
    inputs = InputTopics.alone("in", TopicView(None, PARTITIONS))
    options = DecoderOptions(value="value", series_id="series_id", time="ts")
    letters = DeadLetters(inputs, PARTITIONS, 1 << 20)
    decode = Decode(RunDecoder(JsonDecoder(options), inputs), letters, keeps=False)
    table = SeriesTable(Smoothing(Decay(beta=0.9)))
    encode = Encode(JsonEncoder(["mean"]), PARTITIONS)
    spent: dict[str, float] = defaultdict(float)
    queued: dict[str, list[ProducerRecords]] = defaultdict(list)

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        spent[step] += time.thread_time() - began

    skipped = len(batches) // 3
    for number, batch in enumerate(batches):
        if number == skipped:
            spent.clear()
        with timed("batches in"):
            columns = list(decode_batches(batch, 0))
        with timed("JSON in"):
            records = [
                ConsumerRecords("in", 0, c.offsets, c.timestamps_ms, c.keys, c.values, c.headers)
                for c in columns
            ]
            readings = [one for one in decode(records) if isinstance(one, Readings)]
        with timed("table"):
            smoothed = [table.update(run) for run in readings]
        with timed("JSON out"):
            addressed = list(encode(smoothed))
        with timed("batches out"):
            for part, run in addressed:
                queued[part].append(run)
                if len(queued[part]) == RUNS_A_BATCH:
                    encode_batch(queued.pop(part), timestamp_ms=TIME_MS)
    return {step: s * 1e9 / BATCH / (len(batches) - skipped) for step, s in spent.items()}


def best(measured: Callable[[], dict[str, float]], before: dict[str, float]) -> dict[str, float]:
    """Return the least of each step, of this round and those before."""
    return {step: min(ns, before.get(step, ns)) for step, ns in measured().items()}


def main(arguments: list[str] | None = None) -> None:
    """Print a line with compiled loops and one without, for each number of series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="*", default=[1_000, 100_000])
    parser.add_argument("--messages", type=int, default=480_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    for series in options.series:
        batches = filled(options.messages, series)
        compiled: dict[str, float] = {}
        without: dict[str, float] = {}
        for _ in range(options.rounds):
            compiled = best(lambda: measure(batches), compiled)  # noqa: B023
            with patch.object(library, "kernels", None):
                without = best(lambda: measure(batches), without)  # noqa: B023
        print(f"ns a message, {series:,} series{'':9}" + "".join(f"{s:>12}" for s in compiled))
        for name, found in [(library.missing or "compiled", compiled), ("without", without)]:
            total = sum(found.values())
            print(f"{name:38}" + "".join(f"{ns:12.0f}" for ns in found.values()), f"= {total:.0f}")


if __name__ == "__main__":
    main()
