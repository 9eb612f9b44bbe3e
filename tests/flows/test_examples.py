"""The example flows, each run as its first lines say, and its output computed by pandas."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ewma_ops.demo.data import recorded_series

pytestmark = pytest.mark.slow

FLOWS = Path(__file__).parents[2] / "flows"
OTHERS = {"__init__", "scale_frames", "smooth"}
"""``scale_frames`` is a format, run by the test of docs/data/formats.md; ``smooth`` needs Kafka."""
EXAMPLES = sorted(path.stem for path in FLOWS.glob("*.py") if path.stem not in OTHERS)


def lines_of(flow: str) -> list[str]:
    """Run a flow under Bytewax's runner, and return what it printed."""
    run = [sys.executable, "-m", "bytewax.run", f"flows.{flow}"]
    done = subprocess.run(
        run, check=False, cwd=FLOWS.parent, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def closes(ticker: str) -> pd.Series[float]:
    return pd.Series([day.value for day in recorded_series()[ticker]])


@pytest.mark.parametrize("flow", EXAMPLES)
def test_an_example_is_short_and_says_how_to_run_it(flow: str) -> None:
    text = (FLOWS / f"{flow}.py").read_text()
    assert f"python -m bytewax.run flows.{flow}" in text.split('"""')[1]
    code = re.sub(r'""".*?"""', "", text, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) < 40


def test_own_source() -> None:
    lines = lines_of("own_source")
    assert len(lines) == 40
    assert lines[0] == "wake-up: 0.000 ms late, smoothed 0.000"


def test_two_fields() -> None:
    lines = [line for line in lines_of("two_fields") if line.startswith("IBM: ")]
    days = recorded_series()["IBM"]
    volumes = pd.Series([float(day.volume or 0) for day in days])
    prices = closes("IBM")
    assert len(lines) == len(days)
    p5, p50, v5, v50 = (
        values.ewm(span=span).mean().iloc[-1] for values in (prices, volumes) for span in (5, 50)
    )
    assert lines[-1] == f"IBM: price {p5:.2f} (slow {p50:.2f}), volume {v5:,.0f} (slow {v50:,.0f})"


def test_macd() -> None:
    prices = closes("MSFT")
    line = prices.ewm(span=12).mean() - prices.ewm(span=26).mean()
    above = (line - line.ewm(span=9).mean()).to_numpy()[1:] > 0  # the first is 0 - 0
    crossings = int(np.count_nonzero(above[1:] != above[:-1]) + above[0])
    lines = lines_of("macd")
    assert len(lines) == crossings
    assert lines[-1] == "MSFT 2013-02-21: 27.49, MACD crosses below its signal"


def test_warm_start() -> None:
    prices = closes("IBM")
    smoothed = prices.ewm(span=200).mean()
    assert lines_of("warm_start") == [
        f"IBM: {price} {ewma:.4f}"
        for price, ewma in zip(prices.iloc[-20:], smoothed.iloc[-20:], strict=True)
    ]


def test_temperatures() -> None:
    readings = recorded_series()["sea-surface"]
    lines = lines_of("temperatures")
    assert len(lines) == len(readings)
    newest = max(reading.time_ms for reading in readings)
    values = np.array([reading.value for reading in readings])
    ages_d = np.array([newest - reading.time_ms for reading in readings]) / 86_400_000
    ewma = float(np.average(values, weights=0.5**ages_d))  # in whatever order they came
    assert lines[-1].startswith(f"sea: {ewma:.3f} +- 0.0")
    assert lines[-1].endswith(f", {len(readings) // 100} late")


def test_after_smoothing() -> None:
    days = recorded_series()["seattle-daily-max"]
    lines = lines_of("after_smoothing")
    assert [line.split(":")[0] for line in lines] == [f"seattle {y}" for y in range(2012, 2016)]
    values = np.array([day.value for day in days])
    times = np.array([day.time_ms for day in days]) / 86_400_000
    unusual = 0
    for i in range(1, len(days)):
        weights = 0.5 ** ((times[i] - times[: i + 1]) / 10)
        mean = np.average(values[: i + 1], weights=weights)
        biased = np.average((values[: i + 1] - mean) ** 2, weights=weights)
        total, squares = weights.sum(), (weights**2).sum()
        std = np.sqrt(biased * total**2 / (total**2 - squares))
        unusual += bool(abs(values[i] - mean) > 2 * std)
    counted = re.findall(r": (\d+) unusual", "\n".join(lines))
    assert sum(map(int, counted)) == unusual
