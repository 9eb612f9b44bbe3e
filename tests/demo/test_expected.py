"""The plain loop that the flow is held against."""

from __future__ import annotations

import math

import pytest

from ewma_ops.demo.data import RecordedReading
from ewma_ops.demo.expected import Expected


def sent(expected: Expected, series_id: str, *values: float) -> None:
    readings = [RecordedReading(series_id, k, value) for k, value in enumerate(values)]
    assert list(expected.entering(readings)) == readings


def test_average_is_the_seed_formula_corrected() -> None:
    expected = Expected(beta=0.5)
    sent(expected, "s", 1, 2, 3, 4, 5)
    assert expected.average("s") == pytest.approx(4.03125 / (1 - 0.5**5))
    expected = Expected(beta=0.9)
    sent(expected, "s", 30, 17)
    assert expected.average("s") == pytest.approx(4.4 / 0.19)
    assert expected.readings == {"s": 2}


def test_differences_are_relative_and_a_missing_series_is_one() -> None:
    expected = Expected(beta=0.9)
    sent(expected, "right", 20)
    sent(expected, "wrong", 20)
    sent(expected, "missing", 20)
    found = expected.differences({"right": 20.0, "wrong": 22.0})
    assert found == {
        "right": pytest.approx(0, abs=1e-12),
        "wrong": pytest.approx(0.1),
        "missing": math.inf,
    }


def test_each_event_is_timed_once_against_its_reading() -> None:
    expected = Expected(beta=0.9)
    assert expected.arrived("s") is None
    sent(expected, "s", 1, 2)
    first, second = expected.arrived("s"), expected.arrived("s")
    assert first is not None
    assert second is not None
    assert 0 <= first < 5
    assert 0 <= second < 5
    assert expected.arrived("s") is None
