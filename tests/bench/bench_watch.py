"""What a million series cost the live page: memory, taking events in, search, sorts, a frame.

python -m tests.bench.bench_watch [--series N] [--forecasts] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from ewma_ops import Decay, Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.watch.book import Book
from ewma_ops.watch.looker import Looker
from ewma_ops.watch.measures import measures
from ewma_ops.watch.outlook import NAMES
from ewma_ops.watch.status import Status
from ewma_ops.watch.view import View

_BATCH = 20_000
_ROUNDS = 3


def measure(series: int, *, forecasts: bool) -> dict[str, float]:
    """Return megabytes of the whole process, then and at its most, and milliseconds."""
    import ewma_ops.watch.pages  # noqa: F401 - what the server has loaded counts too

    statistics = ["mean", "std", "sem", "settled", *(NAMES if forecasts else ())]
    asked = Smoothing(Decay(beta=0.9), statistics=statistics, horizon=10)
    book = Book(measures(SmoothingSet.of(asked)))
    rng = np.random.default_rng(1)
    took = 0.0
    for turn in range(2):
        for first in range(0, series, _BATCH):
            numbers = range(first, min(first + _BATCH, series))
            ids = [f"plant{i % 7}/line{i % 13}/sensor{i:07}" for i in numbers]
            n = len(ids)
            at = np.arange(n, dtype=np.float64) + (1.7e9 + turn)
            values = rng.normal(size=(n, 1 + len(statistics)))
            began = time.perf_counter()
            book.take(ids, at, at, values, first + np.arange(n), 0, is_live=True)
            took += time.perf_counter() - began
    looker = Looker(book, Status(), lambda *_: None)
    found = {"events a second": 2 * series / took}
    views = {
        "search, one": View(q=f"sensor{series - 1:07}", rows=60),
        "search, many": View(q="line7/", rows=60),
        "search, pattern": View(q="plant3/*", rows=60),
        "frame by name": View(rows=60),
        "frame by z": View(sort="z", desc=True, rows=60),
        "frame by change": View(sort="change", desc=True, rows=60),
    }
    for name, view in views.items():
        times = []
        for _ in range(_ROUNDS):
            fresh = Looker(book, Status(), lambda *_: None) if name.startswith("search") else looker
            began = time.perf_counter()
            frame = fresh.table(view)
            msgspec.json.encode(frame)
            times.append(time.perf_counter() - began)
        found[f"{name}, ms"] = 1000 * min(times)
    with open("/proc/self/statm") as pages:
        found["MB"] = int(pages.read().split()[1]) * resource.getpagesize() / 2**20
    found["MB, at most"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in a process of its own, whose memory nobody else has used, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--forecasts", action="store_true", help="events that have forecasts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help="in this process, as JSON")
    options = parser.parse_args(arguments)
    if options.here:
        json.dump(measure(options.series, forecasts=options.forecasts), sys.stdout)
        return
    command = [sys.executable, "-m", "tests.bench.bench_watch", "--here"]
    command += [f"--series={options.series}", *(["--forecasts"] * options.forecasts)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    if options.json:
        print(done.stdout)
        return
    print(f"the live page, {options.series:,} series")
    for name, number in json.loads(done.stdout).items():
        print(f"  {name:<24}{number:>12,.0f}")


if __name__ == "__main__":
    main()
