"""What ``[metrics]`` costs in bulk, and how long a scrape of four workers takes.

python -m tests.bench.bench_metrics [--records N] [--rounds N] [--json]

Decode, table and encode as ``ewma run`` joins them, and the acknowledgement, on the same records;
what Kafka's client costs is left out, so that the share is that of a flow is smaller. CPU time of
this thread. The workers that are scraped are those of ``ewma run`` on an embedded broker, while
they work through a million readings, and at rest.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.columns.ticks import MILLISECOND
from ewma_ops.connectors.client.connect import TopicView
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.demo.broker import EmbeddedBroker, free_port
from ewma_ops.job.builders import build_decoder, build_encoder
from ewma_ops.job.decoding import RunDecoder
from ewma_ops.job.measurements import gathered
from ewma_ops.job.steps import DeadLetters, Decode, Encode
from ewma_ops.metrics.families import acknowledged
from ewma_ops.table.table import SeriesTable
from ewma_ops.wire.records import ConsumerRecords
from tests.bench.contest import fill, make_topic
from tests.bench.peers.ours import settings
from tests.bench.running import Flow

_RUN = 10_000
_PIECE = 4
"""Runs at a time: in fewer, what histograms count together would fall on some of them only."""
_GATHERED = 20
_PARTITIONS = 4
_PATIENCE_S, _LOOK_S, _SETTLE_S = 60.0, 0.05, 2.0


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
    decoder = RunDecoder(build_decoder(configured), inputs)
    decode = Decode(decoder, letters, keeps=False, measured=measured)
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

    return take


def costs_ns(runs: list[ConsumerRecords], rounds: int) -> tuple[float, float]:
    """Return nanoseconds a reading of the stages without metrics, and how many more with them.

    Both ways take turns at every few runs, some ten milliseconds: what else the machine does falls
    on both, and the median of the differences leaves out what falls on one. Beside it what it
    takes to gather the metrics once for each million readings.
    """
    flows = {"off": flow(measured=False), "on": flow(measured=True)}
    pieces = [runs[at : at + _PIECE] for at in range(0, len(runs), _PIECE)]
    taken: dict[str, list[float]] = {name: [] for name in flows}
    for turn in range(rounds + 1):
        for i, piece in enumerate(pieces):
            for name in sorted(flows, reverse=bool((turn + i) % 2)):
                began = time.thread_time()
                flows[name](piece)
                if turn:  # the first is the warm-up
                    took = time.thread_time() - began
                    taken[name].append(took / (len(piece) * _RUN) * 1e9)
    differences = [on - off for off, on in zip(taken["off"], taken["on"], strict=True)]
    began = time.thread_time()
    for _ in range(_GATHERED):
        gathered()
    gathering = (time.thread_time() - began) / _GATHERED / 1e6 * 1e9
    return median(taken["off"]), median(differences) + gathering


class Scrapes(NamedTuple):
    """How long answers of ``/metrics`` take, milliseconds, while the flow works and at rest."""

    at_work: list[float]
    at_rest: list[float]


def scrapes(workers: int = 4, times: int = 50, readings: int = 1_000_000) -> Scrapes:
    """Scrape a flow that works through its input, and has worked through it."""
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory() as directory:
        made = fill(broker.bootstrap_servers, "scraped", readings, 1_000)
        make_topic(broker.bootstrap_servers, "scraped-out")
        url = f"http://127.0.0.1:{free_port()}/metrics"
        bind = url.removeprefix("http://").removesuffix("/metrics")
        flow = Flow(
            broker.bootstrap_servers,
            made.topic,
            "scraped-out",
            Path(directory),
            more=f'metrics.bind = "{bind}"\n',
            options=[f"--workers={workers}"],
        )
        with flow.running():
            _wait(lambda: _scraped(url, "worker_up") == workers, flow)
            at_work = [_scrape_ms(url, workers) for _ in range(times)]
            _wait(lambda: _scraped(url, "events_total") == readings, flow)
            time.sleep(_SETTLE_S)
            return Scrapes(at_work, [_scrape_ms(url, workers) for _ in range(times)])


def _wait(is_so: Callable[[], bool], flow: Flow) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the flow does not get on\n{flow.said}")
        time.sleep(_LOOK_S)


def _scrape_ms(url: str, workers: int) -> float:
    time.sleep(_LOOK_S)
    began = time.monotonic()
    up = _scraped(url, "worker_up")
    if up != workers:
        raise RuntimeError(f"{up:g} of {workers} workers answer")
    return 1000 * (time.monotonic() - began)


def _scraped(url: str, name: str) -> float:
    """Return the sum of a family over all workers."""
    try:
        with urlopen(url, timeout=_PATIENCE_S) as answer:
            text = answer.read().decode()
    except OSError:
        return 0.0
    found = re.findall(rf"^ewma_ops_{name}{{.*}} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def main(arguments: list[str] | None = None) -> None:
    """Print the share of the CPU that metrics take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    off, extra = costs_ns(runs_of(options.records), options.rounds)
    ratio = 1 + extra / off
    found = scrapes()
    work, rest = (np.percentile(each, [50, 95]).tolist() for each in found)
    if options.json:
        costs = {"off_ns": off, "extra_ns": extra, "ratio": ratio}
        print(json.dumps({**costs, "scrape_at_work_ms": work, "scrape_at_rest_ms": rest}))
        return
    print(f"metrics: {off:,.0f} ns a reading without, {extra:,.1f} more with: {ratio:.3f}")
    for what, (half_ms, most_ms) in (("at work", work), ("at rest", rest)):
        print(f"a scrape of four workers {what}: {half_ms:.0f} ms, 95 % within {most_ms:.0f} ms")


if __name__ == "__main__":
    main()
