"""What ``[metrics]`` costs in bulk: the stages of the flow with and without, in turns.

python -m tests.bench.bench_metrics [--records N] [--rounds N] [--json]

Decode, table and encode as ``ewma run`` joins them, and the acknowledgement, on the same records;
what Kafka's client costs is left out, so that the share is that of a flow is smaller. CPU time of
this thread, medians over rounds that interleave. With metrics, they are also gathered once for each
million readings, as they are when they are scraped each second.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.columns.ticks import MILLISECOND
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.job.builders import build_decoder, build_encoder
from ewma_ops.job.measurements import gathered
from ewma_ops.job.steps import DeadLetters, Decode, Encode
from ewma_ops.metrics.families import acknowledged
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire.records import ConsumerRecords
from tests.bench.peers.ours import settings

_RUN = 10_000
_PARTITIONS = 4


def runs_of(records: int, series: int = 1_000) -> list[ConsumerRecords]:
    """Return runs of JSON records, each appended within 200 ms, as where a lag is worked off."""
    draw, now_ms = np.random.default_rng(7), time.time_ns() // 1_000_000
    runs = []
    for start in range(0, records, _RUN):
        ids = draw.integers(0, series, _RUN).tolist()
        times = (now_ms - draw.integers(0, 200, _RUN)).astype(np.int64)
        numbers = draw.normal(20, 5, _RUN).round(3).tolist()
        values = [
            b'{"series_id":"sensor-%d","ts":%d,"value":%s}' % (i, t, str(x).encode())
            for i, t, x in zip(ids, times.tolist(), numbers, strict=True)
        ]
        keys = [b"sensor-%d" % i for i in ids]
        offsets = np.arange(start, start + _RUN)
        columns = BytesColumn.of(keys), BytesColumn.of(values)
        runs.append(ConsumerRecords("readings", 0, offsets, np.sort(times), *columns))
    return runs


def flow(*, measured: bool) -> Callable[[list[ConsumerRecords]], None]:
    """Return what takes runs through the stages."""
    configured = settings("none:1", "readings", "smoothed", forever=True, once=False)
    inputs = InputTopics.alone("readings", TopicView(None, 1))
    letters = DeadLetters(inputs, 1, 1_000_000)
    decode = Decode(build_decoder(configured), letters, keeps=False, measured=measured)
    tick = MILLISECOND if measured else None
    encode = Encode(build_encoder(configured), _PARTITIONS, measured=tick)
    table = SeriesTable(configured.smoothing_set)

    def take(runs: list[ConsumerRecords]) -> None:
        for run in runs:
            for readings in decode([run]):
                smoothed = list(table.update_in_order(readings))  # type: ignore[arg-type]
                for _, records in encode(smoothed):
                    if records.appended_ms is not None:
                        acknowledged(records.appended_ms)
        if measured:
            gathered()

    return take


def main(arguments: list[str] | None = None) -> None:
    """Print the share of the CPU that metrics take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    runs = runs_of(options.records)
    flows = {"off": flow(measured=False), "on": flow(measured=True)}
    taken: dict[str, list[float]] = {name: [] for name in flows}
    for turn in range(options.rounds + 1):
        for name in sorted(flows, reverse=bool(turn % 2)):
            began = time.thread_time()
            flows[name](runs)
            if name == "on" and turn % max(1, 1_000_000 // options.records) == 0:
                gathered()
            if turn:  # the first is the warm-up
                taken[name].append((time.thread_time() - began) / options.records)
    off, on = (median(taken[name]) for name in ("off", "on"))
    ratio = median(b / a for a, b in zip(taken["off"], taken["on"], strict=True))
    if options.json:
        print(json.dumps({"off_ns": off * 1e9, "on_ns": on * 1e9, "ratio": ratio}))
        return
    print(f"metrics: {off * 1e9:,.0f} ns a reading without, {on * 1e9:,.0f} with: {ratio:.3f}")


if __name__ == "__main__":
    main()
