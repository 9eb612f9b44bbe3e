"""The plain loop that the flow is held against."""

from __future__ import annotations

import math

import pytest

from ewma_ops.demo.data import RecordedReading
from ewma_ops.demo.expected import Ledger


def sent(ledger: Ledger, series_id: str, *values: float) -> None:
    readings = [RecordedReading(series_id, k, value) for k, value in enumerate(values)]
    assert list(ledger.entering(readings)) == readings


def test_average_is_the_seed_formula_corrected() -> None:
    ledger = Ledger(beta=0.5)
    sent(ledger, "s", 1, 2, 3, 4, 5)
    assert ledger.average("s") == pytest.approx(4.03125 / (1 - 0.5**5))
    ledger = Ledger(beta=0.9)
    sent(ledger, "s", 30, 17)
    assert ledger.average("s") == pytest.approx(4.4 / 0.19)
    assert ledger.readings == {"s": 2}


def test_differences_are_relative_and_a_missing_series_is_one() -> None:
    ledger = Ledger(beta=0.9)
    sent(ledger, "right", 20)
    sent(ledger, "wrong", 20)
    sent(ledger, "missing", 20)
    found = ledger.differences({"right": 20.0, "wrong": 22.0})
    assert found == {
        "right": pytest.approx(0, abs=1e-12),
        "wrong": pytest.approx(0.1),
        "missing": math.inf,
    }


def test_each_event_is_timed_once_against_its_reading() -> None:
    ledger = Ledger(beta=0.9)
    assert ledger.arrived("s") is None
    sent(ledger, "s", 1, 2)
    first, second = ledger.arrived("s"), ledger.arrived("s")
    assert first is not None
    assert second is not None
    assert 0 <= first < 5
    assert 0 <= second < 5
    assert ledger.arrived("s") is None
