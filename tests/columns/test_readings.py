"""The columns that flow: what is taken, what is refused and how, cutting and joining."""

from __future__ import annotations

import math
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ewma_ops.columns.origins import Origins
from ewma_ops.columns.readings import (
    EARLIEST_MS,
    LARGEST_VALUE,
    LATEST_MS,
    Readings,
    SmoothedReading,
)
from ewma_ops.errors import ReadingError


def test_any_sequences_become_columns() -> None:
    readings = Readings.of(("a", "b"), [1, None], range(2))
    assert readings.series_ids == ["a", "b"]
    assert readings.values.dtype == np.float64
    assert readings.values[0] == 1.0
    assert math.isnan(readings.values[1])
    assert readings.times_ms is not None
    assert readings.times_ms.dtype == np.int64


def test_decimals_and_fractions_are_numbers() -> None:
    values: Any = [Decimal("1.5"), Fraction(1, 4), None, Decimal("0.1")]
    column = Readings.of(["a"] * 4, values).values
    np.testing.assert_array_equal(column, [1.5, 0.25, np.nan, 0.1])
    signaling: Any = [Decimal("snan")]
    with pytest.raises(ReadingError):
        Readings.of(["a"], signaling)


def test_the_bounds_themselves_are_taken() -> None:
    readings = Readings.of(["a", "a"], [LARGEST_VALUE, -LARGEST_VALUE], [EARLIEST_MS, LATEST_MS])
    assert len(readings) == 2


@pytest.mark.parametrize(
    ("ids", "values", "times", "says"),
    [
        (["a"], [1.0, 2.0], None, "columns differ in length: 1 series ids, 2 values"),
        (["a"], [1.0], [0, 1], "columns differ in length: 1 series ids, 1 values, 2 times"),
        ([1], [1.0], None, "series ids must be str"),
        (["a"], ["1.5"], None, "values must be numbers: '1.5' is not a number"),
        (["a"], [True], None, "values must be numbers: True is not a number"),
        (["a"], [1j], None, "values must be numbers"),
        (["a"], [[[1.0]]], None, "one-dimensional, not of shape (1, 1, 1)"),
        (["a"], [math.inf], None, "value inf of series 'a' is out of bounds"),
        (["a", "b"], [0.0, -1e308], None, "value -1e+308 of series 'b' is out of bounds"),
        (["a"], [10**400], None, "values must be numbers"),
        (["a"], [1.0], [1.5], "times_ms must be numbers"),
        (["a"], [1.0], [None], "times_ms must be numbers: None is not a number"),
        (["a"], [1.0], [LATEST_MS + 1], "time 253402300800000 of series 'a' is out of bounds"),
        (["a"], [1.0], [EARLIEST_MS - 1], "time -62135596800001 of series 'a' is out of bounds"),
    ],
)
def test_what_cannot_be_used_is_named(ids: Any, values: Any, times: Any, says: str) -> None:
    with pytest.raises(ReadingError) as raised:
        Readings.of(ids, values, times)
    assert says in str(raised.value)


def test_taking_and_joining_keep_every_column() -> None:
    whole = Readings(
        ["a", "b", "c"],
        np.array([1.0, 2.0, 3.0]),
        np.array([10, 20, 30]),
        Origins(np.zeros(3, np.int32), np.array([5, 6, 7])),
        np.array([1, 2, 3], np.uint32),
    )
    assert whole.origins is not None
    joined = Readings.concat([whole.take(np.array([2])), whole.take(np.array([0, 1]))])
    assert joined.series_ids == ["c", "a", "b"]
    assert joined.values.tolist() == [3.0, 1.0, 2.0]
    assert joined.times_ms is not None
    assert joined.times_ms.tolist() == [30, 10, 20]
    assert joined.origins is not None
    assert joined.origins.offsets.tolist() == [7, 5, 6]
    assert joined.hashes is not None
    assert joined.hashes.tolist() == [3, 1, 2]
    unhashed = Readings(["d"], np.array([4.0]), np.array([40]), whole.origins.take(slice(1)))
    assert Readings.concat([whole, unhashed]).hashes is None


def test_joining_timed_and_untimed_readings_is_refused() -> None:
    with pytest.raises(ReadingError, match=r"a column .* that others lack"):
        Readings.concat([Readings.of(["a"], [1.0]), Readings.of(["a"], [1.0], [0])])


def test_both_forms_travel_between_processes() -> None:
    reading = SmoothedReading(1.0, 2.0, 3, {"n_eff": 4.0})
    assert pickle.loads(pickle.dumps(reading)) == reading
    readings = pickle.loads(pickle.dumps(Readings.of(["a"], [1.5], [7])))
    assert (readings.series_ids, readings.values.tolist()) == (["a"], [1.5])
