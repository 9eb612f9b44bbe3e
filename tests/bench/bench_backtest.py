"""How fast ``ewma backtest`` goes through a history: readings a CPU second, of the level rule.

python -m tests.bench.bench_backtest [--readings N] [--json]

In order: the table that only smooths, with the level rule too, the study of 187 limits on top, and
the whole command on a Parquet file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ewma_ops.columns.readings import Readings
from ewma_ops.commands.backtest import backtest
from ewma_ops.commands.past import FileColumns, Span
from ewma_ops.monitor.rules import AlarmRules, Level
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.studies.backtest import Backtest
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable
from tests.helpers.minimal import MINIMAL

LEAST = 500_000
"""Readings a second that are asked for, with 1,000 series."""
_BATCH = 8_192
_DECAY = Decay(beta=0.9)
_RULE = Level(false_alarms="1 per 500 readings")
_CONFIG = f"""{MINIMAL}
[alarms.level]
false_alarms = "1 per 500 readings"
"""


def history(n: int, series: int) -> Readings:
    random = np.random.default_rng(1)
    ids = [f"line{i % 13}/sensor{i:05}" for i in range(series)]
    who = random.integers(0, series, n).tolist()
    return Readings([ids[i] for i in who], random.normal(20, 2, n), np.arange(n) * 10)


def rate(readings: Readings, take: Callable[[Readings], object]) -> float:
    """Return readings a CPU second."""
    parts = [readings.take(np.arange(i, min(i + _BATCH, len(readings))))
             for i in range(0, len(readings), _BATCH)]  # fmt: skip
    began = time.process_time()
    for part in parts:
        take(part)
    return len(readings) / (time.process_time() - began)


def figures(readings: Readings) -> dict[str, float]:
    smoothing = SmoothingSet.of(Smoothing(_DECAY))
    rules = AlarmRules.of({"level": _RULE}).with_limits(Smoothing(_DECAY))
    quiet = AlarmRules.of({"level": Level(limit=1e5)})
    return {
        "smoothing": rate(readings, SeriesTable(smoothing).update),
        "with scores": rate(readings, SeriesTable(smoothing, alarms=quiet).update),
        "backtest": rate(readings, Backtest(smoothing, rules).take),
        "ewma backtest": whole(readings),
    }


def whole(readings: Readings) -> float:
    """Return readings a CPU second of the command, on a Parquet file."""
    with tempfile.TemporaryDirectory() as directory:
        config, file = Path(directory, "job.toml"), Path(directory, "past.parquet")
        config.write_text(_CONFIG)
        ids = pa.array(list(readings.series_ids)).dictionary_encode()
        columns = {"series_id": ids, "value": readings.values, "time": readings.times_ms}
        pq.write_table(pa.table(columns), file)
        began = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            backtest(config, file, FileColumns(), Span())
        return len(readings) / (time.process_time() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found = {series: figures(history(options.readings, series)) for series in (1_000, 10)}
    if options.json:
        print(json.dumps(found))
        return
    for series, rates in found.items():
        told = ", ".join(f"{name} {rate_ / 1e3:,.0f}" for name, rate_ in rates.items())
        print(f"backtest, {series:,} series, thousand readings a CPU second: {told}")
    least = found[1_000]["backtest"]
    print(f"asked for {LEAST / 1e3:,.0f} with 1,000 series: {least / LEAST:.1f} times as many")


if __name__ == "__main__":
    main()
