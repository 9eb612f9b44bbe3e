"""The line stepped by itself: what the table has of the same readings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.monitor.tracking import NUMBERS
from ewma_ops.stats.line import Line


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"decay": Decay(beta=0.8)},
        {"decay": Decay(beta=0.8), "trend_halflife": 20},
        {"decay": Decay(beta=0.8), "outlook": "level"},
        {"decay": Decay(halflife="20s")},
        {"decay": Decay(halflife="20s"), "trend_halflife": "1min"},
        {"decay": Decay(halflife="20s"), "outlook": "level"},
    ],
    ids=str,
)
def test_errors_and_line_are_those_of_the_table(options: dict[str, Any], late: bool) -> None:
    random = np.random.default_rng(1)
    n = 300
    values = np.cumsum(random.normal(0.3, 1, n))
    steps = random.integers(100, 3_000, n)
    steps[150] = 200_000
    if late:
        steps[random.random(n) < 0.1] *= -1
    times = 1_700_000_000_000 + np.cumsum(steps)
    smoothing = Smoothing(statistics=["mean", "level", "forecast_error"], **options)
    found = SeriesTable(smoothing).update(Readings.of(["a"] * n, values, times)).statistics

    line = Line(smoothing)
    y: tuple[float, ...] = (0.0,) * len(line.names)
    newest = int(times[0])
    means, errors = [], []
    for value, time in zip(values.tolist(), times.tolist(), strict=True):
        by = line.aged(time - newest, columns=False)
        newest = max(newest, time)
        errors.append(value - line.forecast(NUMBERS, y, by))
        y = line.step(NUMBERS, y, value, by)
        means.append(y[line.names.index("mean")])
    np.testing.assert_array_equal(means, found["mean"])
    known = np.isfinite(found["forecast_error"])
    assert known.sum() > 200
    np.testing.assert_allclose(
        np.array(errors)[known], found["forecast_error"][known], rtol=1e-9, atol=1e-9
    )
