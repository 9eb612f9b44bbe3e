"""The readings that the demo replays: recorded ones from data packages, and a made-up tick feed.

Knows the files of ``vega_datasets`` and ``bokeh_sampledata`` and what their columns mean; must not
know of Kafka, payloads or flows.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import importlib.util
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone, tzinfo
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ewma_ops.errors import ConfigError

__all__ = ["SERIES", "RecordedReading", "recorded_readings", "recorded_series", "synthetic_ticks"]

_PACIFIC = "America/Los_Angeles"
_EASTERN = "America/New_York"
_UTC = timezone.utc

SERIES = {
    "seattle-hourly": "temperature, deg F, hourly 2010 (NOAA's 30-year averages)",
    "seattle-daily-max": "highest temperature of the day, deg C, 2012-2015 (NOAA)",
    "sea-surface": "Gulf of Maine, deg C, half-hourly 2016-2017 (NERACOOS)",
    "AAPL": "Apple, daily close in US dollars, with volume, 2000-2013",
    "FB": "Facebook, the same, 2012-2013",
    "GOOG": "Google, the same, 2004-2013",
    "IBM": "IBM, the same, 2000-2013",
    "MSFT": "Microsoft, the same, 2000-2013",
}
"""What each recorded series is."""

_SYNTHETIC_SERIES = 4


class RecordedReading(NamedTuple):
    """One reading; ``time_ms`` is milliseconds since the epoch, UTC."""

    series_id: str
    time_ms: int
    value: float
    volume: int | None = None


def recorded_readings() -> Iterator[RecordedReading]:
    """Yield all recorded readings, each series in order of time.

    The series cover different years and differ in length, so they are interleaved by progress:
    each is half through when the others are. The order is the same on every call.

    Raises
    ------
    ConfigError
        If a data package is not installed.
    """

    def by_progress(order: int, series: list[RecordedReading]) -> Iterator[_Placed]:
        for k, reading in enumerate(series):
            yield (k + 0.5) / len(series), order, reading

    runs = [by_progress(order, series) for order, series in enumerate(recorded_series().values())]
    for _, _, reading in heapq.merge(*runs):
        yield reading


def recorded_series() -> dict[str, list[RecordedReading]]:
    """Return the recorded readings of each series of ``SERIES``, in order of time."""
    return {series_id: list(readings) for series_id, readings in _recorded().items()}


@cache
def _recorded() -> Mapping[str, Sequence[RecordedReading]]:
    """Read the files, once: they have 45,000 times to parse."""
    series = {series_id: list[RecordedReading]() for series_id in SERIES}
    for reading in (*_seattle_hourly(), *_seattle_daily_max(), *_sea_surface(), *_stocks()):
        series[reading.series_id].append(reading)
    return series


def synthetic_ticks(clock: Callable[[], int], seed: int = 1) -> Iterator[RecordedReading]:
    """Yield made-up ticks for ever: random walks named ``synthetic-01`` and so on, in turn.

    Parameters
    ----------
    clock
        Returns the time of a tick, milliseconds since the epoch, UTC.
    seed
        Of the random walk: the same seed walks the same way.
    """
    chance = random.Random(seed)
    prices = [100.0] * _SYNTHETIC_SERIES
    while True:
        for at, price in enumerate(prices):
            prices[at] = round(price * (1 + chance.gauss(0, 0.002)), 4)
            volume = chance.randrange(1, 1000)
            yield RecordedReading(f"synthetic-{at + 1:02}", clock(), prices[at], volume)


_Placed = tuple[float, int, RecordedReading]


def _seattle_hourly() -> Iterator[RecordedReading]:
    # Assumed: wall times of Seattle. The file leaves out 03:00 on the day the clocks go forward
    # and has a single 01:00 on the day they go back: one hour of real time is missing there.
    for row in _rows("vega_datasets", "seattle-temps.csv"):
        time_ms = _time_ms(row["date"], "%Y/%m/%d %H:%M", ZoneInfo(_PACIFIC))
        yield RecordedReading("seattle-hourly", time_ms, float(row["temp"]))


def _seattle_daily_max() -> Iterator[RecordedReading]:
    # Assumed: the day of the date begins at midnight in Seattle; that is its time.
    for row in _rows("vega_datasets", "seattle-weather.csv"):
        time_ms = _time_ms(row["date"], "%Y/%m/%d", ZoneInfo(_PACIFIC))
        yield RecordedReading("seattle-daily-max", time_ms, float(row["temp_max"]))


def _sea_surface() -> Iterator[RecordedReading]:
    # Half-hourly, with a gap of 12 hours, one of an hour, and one time that comes twice.
    for row in _rows("bokeh_sampledata", "sea_surface_temperature.csv.gz"):
        time_ms = _time_ms(row["time (UTC)"], "%Y-%m-%dT%H:%M:%SZ", _UTC)
        yield RecordedReading("sea-surface", time_ms, float(row["temperature (celsius)"]))


def _stocks() -> Iterator[RecordedReading]:
    # Assumed: the close is at 16:00 in New York. Prices as quoted that day: splits are jumps.
    for row in _rows("bokeh_sampledata", "stocks.csv.gz"):
        time_ms = _time_ms(f"{row['Date']} 16", "%Y-%m-%d %H", ZoneInfo(_EASTERN))
        yield RecordedReading(row["Ticker"], time_ms, float(row["Close"]), int(row["Volume"]))


def _time_ms(text: str, layout: str, zone: tzinfo) -> int:
    """Return the moment at which clocks in ``zone`` showed ``text``; of two, the earlier."""
    return int(datetime.strptime(text, layout).replace(tzinfo=zone).timestamp()) * 1000


def _rows(package: str, name: str) -> Iterator[dict[str, str]]:
    path = _data_file(package, name)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _data_file(package: str, name: str) -> Path:
    """Return the path of a package's data file without importing it (and pandas with it)."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ConfigError(
            f"the data package {package!r} is not installed: pip install 'ewma-ops[demo]'"
        )
    path = Path(found.origin).parent / "_data" / name
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist: this version of {package!r} has no {name}; "
            "pip install 'ewma-ops[demo]' installs one that has it"
        )
    return path
