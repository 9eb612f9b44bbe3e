"""Forecasts of a history, by horizon: worked numbers, and a plain definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.errors import ConfigError
from ewma_ops.studies import forecasts_due
from ewma_ops.studies.forecast_errors import Horizon, HorizonForecasts
from ewma_ops.studies.forecasting import Forecasting, horizon_of

Floats = NDArray[np.float64]
OUTLOOK = ["mean", "forecast"]
BY_TIME = Smoothing(Decay(halflife="20s"), statistics=OUTLOOK, horizon="10s")
BY_READING = Smoothing(Decay(beta=0.7), statistics=OUTLOOK, horizon=1, damping=4)
LAST_VALUE = Smoothing(Decay(beta=0.0), statistics=["mean", "level"], outlook="level")


def found(
    smoothing: Smoothing,
    readings: Readings,
    texts: str,
    season: str | None = None,
    warm_up: int = 5,
    cut: int = 10_000,
) -> list[HorizonForecasts]:
    study = Forecasting(
        smoothing,
        [horizon_of(text, smoothing) for text in texts.split(",")],
        season=None if season is None else horizon_of(season, smoothing),
        warm_up=warm_up,
    )
    for first in range(0, len(readings), cut):
        study.take(readings.take(np.arange(first, min(first + cut, len(readings)))))
    (one,) = study.result()
    assert one.readings == len(readings)
    return list(one.horizons)


def test_worked_numbers() -> None:
    """The last value of 1, 2, 4, 7, 11: errors 1, 2, 3, 4 a reading ahead, of which 3, 4 count."""
    (one, two) = found(
        LAST_VALUE, Readings(["a"] * 5, np.array([1.0, 2, 4, 7, 11])), "1,2", None, 3
    )
    own = one.methods["outlook"]
    assert one.compared == 2
    assert own == one.methods["last_value"] == pytest.approx((3.5, math.sqrt(12.5), 1.4))
    mean = one.methods["mean_so_far"]  # 7 - 7/3, 11 - 14/4
    assert mean is not None
    assert mean.mae == pytest.approx((14 / 3 + 7.5) / 2)
    assert two.compared == 1
    assert two.methods["outlook"] == pytest.approx((7.0, 7.0, 2.8))
    assert (one.missed, two.missed) == (0, 0)


def test_a_season_is_known_before() -> None:
    """Of season 4: three readings ahead the value is that of one before; six, of two before."""
    values = np.arange(1.0, 41.0) ** 2
    three, six = found(LAST_VALUE, Readings(["a"] * 40, values), "3,6", "4", 8)
    for one, ahead, back in ((three, 3, 4), (six, 6, 8)):
        errors = [values[t] - values[t - back] for t in range(7 + ahead, 40)]
        season = one.methods["season_before"]
        assert season is not None
        assert one.compared == len(errors)
        assert season.mae == pytest.approx(np.mean(errors))


def history(n: int = 900, *, jitter: int = 300, seed: int = 1) -> Readings:
    """Three series, a reading about every second of one of them; some missing, some late."""
    random = np.random.default_rng(seed)
    times = 1_000 * np.arange(1, n + 1) + random.integers(-jitter, jitter + 1, n)
    late = random.random(n) < 0.05
    times[late] -= random.integers(1_000, 20_000, n)[late]
    values = np.cumsum(random.normal(0, 1, n)) + random.normal(0, 2, n)
    values[random.random(n) < 0.03] = np.nan
    return Readings([f"s{i}" for i in random.integers(0, 3, n)], values, times)


def plainly(
    smoothing: Smoothing, readings: Readings, horizon: Horizon, season: int, warm_up: int
) -> dict[str, Any]:
    """Return counts, and mean errors of each method: reading by reading, by what is written."""
    by_time = smoothing.decay.by_time
    asked = Smoothing(
        smoothing.decay,
        statistics=["mean", "forecast", "forecast_lower", "forecast_upper"],
        horizon=horizon.text if by_time else horizon.ahead,
        damping=smoothing.damping,
    )
    table = SeriesTable(asked)
    came: dict[str, list[tuple[int, float]]] = {}
    every: dict[str, list[float]] = {}
    made: list[tuple[str, int, int, tuple[float, ...]]] = []
    times = [0] * len(readings) if readings.times_ms is None else readings.times_ms.tolist()
    for one, value, time in zip(readings.series_ids, readings.values.tolist(), times, strict=True):
        row = table.step(one, value, time)
        if not math.isnan(value):
            every.setdefault(one, []).append(value)
        own = came.setdefault(one, [])
        clock = time if by_time else len(own)
        if math.isnan(value) or (by_time and own and clock <= own[-1][0]):
            continue
        window = max(horizon.ahead // 20, 1)
        fresh = not own or not by_time or own[-1][0] // window != clock // window
        own.append((clock, value))
        if len(own) >= warm_up and fresh:
            mean = sum(every[one]) / len(every[one])  # of late ones too
            made.append((one, len(own) - 1, clock, (*row[1:], mean)))
    errors, missed, within = [], 0, 0
    for one, at, clock, (forecast, low, high, mean) in made:
        own = came[one]
        due = clock + horizon.ahead
        if own[-1][0] < due:
            continue
        reach = horizon.ahead // 10 if by_time else 0
        near = [(abs(c - due), c, x) for c, x in own[at + 1 :] if abs(c - due) <= reach]
        if not near:
            missed += 1
            continue
        back = -(-horizon.ahead // season) * season - horizon.ahead
        reach = min(max(reach, season // 1440), season // 10) if by_time else 0
        before = [
            (abs(c - clock + back), c, x)
            for c, x in own[: at + 1]
            if abs(c - clock + back) <= min(reach, back)
        ]
        if not before:
            continue
        x = min(near)[2]
        errors.append([forecast - x, own[at][1] - x, min(before)[2] - x, mean - x])
        within += low <= x <= high
    each = np.array(errors)
    return {
        "compared": len(errors),
        "missed": missed,
        "within": within / len(errors),
        "mae": np.abs(each).mean(axis=0),
        "rmse": np.sqrt((each * each).mean(axis=0)),
    }


@pytest.mark.parametrize("cut", [7, 100, 10_000])
@pytest.mark.parametrize(
    ("smoothing", "texts", "season"),
    [(BY_READING, "1,2,5,12", "6"), (BY_TIME, "2s,10s,45s", "30s"), (BY_TIME, "70s", "30s")],
)
def test_what_was_compared_is_what_is_written(
    smoothing: Smoothing, texts: str, season: str, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same however the history is cut, also where forecasts wait for later batches."""
    monkeypatch.setattr(forecasts_due, "_TOGETHER", 40)
    readings = history()
    for one in found(smoothing, readings, texts, season, 5, cut):
        length = horizon_of(season, smoothing).ahead
        expected = plainly(smoothing, readings, one.horizon, length, 5)
        assert (one.compared, one.missed) == (expected["compared"], expected["missed"])
        assert one.compared > 20
        assert one.within == pytest.approx(expected["within"], rel=1e-12)
        for k, method in enumerate(one.methods.values()):
            assert method is not None
            assert method.mae == pytest.approx(expected["mae"][k], rel=1e-9)
            assert method.rmse == pytest.approx(expected["rmse"][k], rel=1e-9)


def test_scales_of_series_do_not_matter_to_mase() -> None:
    random = np.random.default_rng(3)
    walk = np.cumsum(random.normal(0, 1, 2_000))
    ids = ["small", "large"] * 2_000
    values = np.column_stack([walk, 1e6 * walk]).reshape(-1)
    (both,) = found(LAST_VALUE, Readings(ids, values), "3")
    (alone,) = found(LAST_VALUE, Readings(["a"] * 2_000, walk), "3")
    own, of_one = both.methods["outlook"], alone.methods["outlook"]
    assert own is not None
    assert of_one is not None
    assert own.mase is not None
    assert own.mase == pytest.approx(of_one.mase, rel=1e-12)
    assert own.mase == pytest.approx(math.sqrt(3), rel=0.1)  # of a random walk
    assert own.mae == pytest.approx(of_one.mae * 1_000_001 / 2)


def test_bounds_cover_what_they_say() -> None:
    """A line with noise about it, forecast by a line: a share 0.8 of readings is within."""
    random = np.random.default_rng(5)
    values = 0.3 * np.arange(6_000) + random.normal(0, 1, 6_000)
    smoothing = Smoothing(Decay(beta=0.98), statistics=OUTLOOK, horizon=1, coverage=0.8)
    for one in found(smoothing, Readings(["a"] * 6_000, values), "1,6,24", warm_up=300):
        assert one.within == pytest.approx(0.8, abs=0.03)
        own, last = one.methods["outlook"], one.methods["last_value"]
        assert own is not None
        assert last is not None
        assert own.mae < last.mae


@pytest.mark.slow
@pytest.mark.parametrize("outlook", ["level", "trend"])
def test_a_season_is_forecast_better_than_by_the_reading_a_period_before(outlook: Any) -> None:
    random = np.random.default_rng(6)
    k = np.arange(3_000)
    values = 0.01 * k + 9 * np.sin(2 * np.pi * k / 12) + random.normal(0, 1, 3_000)
    asked = Smoothing(Decay(beta=0.98), statistics=OUTLOOK, horizon=1, outlook=outlook, season=12)
    for one in found(asked, Readings(["a"] * 3_000, values), "1,6,30", "12", warm_up=500):
        own, before = one.methods["outlook"], one.methods["season_before"]
        assert own is not None
        assert before is not None
        assert own.mae < 0.9 * before.mae  # whose noise is that of two readings
        assert one.within == pytest.approx(0.95, abs=0.03)


def test_until_the_season_is_known_no_forecast_is_compared() -> None:
    """It is the mean, without bounds, so it would count as one that they do not cover."""
    k = np.arange(300)
    values = 9 * np.sin(2 * np.pi * k / 60) + np.random.default_rng(6).normal(0, 1, 300)
    asked = Smoothing(Decay(beta=0.98), statistics=OUTLOOK, horizon=1, outlook="level", season=60)
    (one,) = found(asked, Readings(["a"] * 300, values), "1", warm_up=5)
    assert one.compared == 300 - 60 - 1  # from the first after a period on
    assert one.missed == 0
    assert one.within == pytest.approx(0.95, abs=0.05)


def test_the_mean_forecasts_where_no_outlook_is_asked_for() -> None:
    values = np.random.default_rng(2).normal(0, 1, 500)
    plain = Smoothing(Decay(beta=0.9))
    level = Smoothing(Decay(beta=0.9), statistics=["mean", "level"], outlook="level")
    readings = Readings(["a"] * 500, values)
    assert found(plain, readings, "1,4") == found(level, readings, "1,4")


def test_each_series_by_itself() -> None:
    random = np.random.default_rng(4)
    each = {"a": random.normal(0, 1, 300), "b": np.cumsum(random.normal(0, 1, 300))}
    ids = ["a", "b"] * 300
    study = Forecasting(LAST_VALUE, [horizon_of("2", LAST_VALUE)], warm_up=5)
    study.take(Readings(ids, np.column_stack(list(each.values())).reshape(-1)))
    for name, horizons in study.by_series(0):
        alone = found(LAST_VALUE, Readings([name] * 300, each[name]), "2")
        assert list(horizons) == alone


@pytest.mark.parametrize(
    ("text", "smoothing"),
    [("0", BY_READING), ("1.5", BY_READING), ("1h", BY_READING), ("6", BY_TIME), ("0s", BY_TIME)],
)
def test_a_horizon_that_is_none_is_refused(text: str, smoothing: Smoothing) -> None:
    with pytest.raises(ConfigError, match="horizon"):
        horizon_of(text, smoothing)


def test_few_readings_are_not_compared() -> None:
    (one,) = found(BY_READING, Readings(["a"] * 4, np.arange(4.0)), "1")
    assert one.compared == one.missed == 0
    assert one.within is None
    assert set(one.methods.values()) == {None}
