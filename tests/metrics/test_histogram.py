"""A histogram of columns counts as Prometheus' own, value by value, does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from ewma_ops.metrics.histogram import ColumnHistogram

BOUNDS_MS = (1, 5, 10, 100, 2_000, 40_000)
COLUMN = st.lists(st.integers(-50, 5_000) | st.integers(32_000, 50_000), max_size=40)


def samples(collector: object) -> dict[tuple[str, str], float]:
    found = [one for family in collector.collect() for one in family.samples]  # type: ignore[attr-defined]
    names = {(one.name, one.labels.get("le", "")): one.value for one in found}
    return {key: value for key, value in names.items() if not key[0].endswith("_created")}


@given(st.lists(COLUMN, max_size=6))
def test_columns_are_counted_as_their_values_are(columns: list[list[int]]) -> None:
    ours = ColumnHistogram("lag_seconds", "Lag.", BOUNDS_MS)
    bounds_s = [bound / 1000 for bound in BOUNDS_MS]
    theirs = Histogram("lag_seconds", "Lag.", buckets=bounds_s, registry=CollectorRegistry())
    for column in columns:
        ours.observe(np.array(column, np.int64))
        for value in column:
            theirs.observe(max(0, value) / 1000)
    counted, expected = samples(ours), samples(theirs)
    assert {(n, f"{float(le):g}" if le else ""): v for (n, le), v in counted.items()} == {
        (n, f"{float(le):g}" if le else ""): pytest.approx(v) for (n, le), v in expected.items()
    }


@given(st.lists(COLUMN, max_size=6), st.booleans())
def test_moments_are_counted_as_their_durations_are(
    columns: list[list[int]], some_unknown: bool
) -> None:
    """Whatever waits for the others, and in whatever unit."""
    now_ms = 1_700_000_000_000
    one = ColumnHistogram("lag_seconds", "Lag.", BOUNDS_MS)
    other = ColumnHistogram("lag_seconds", "Lag.", BOUNDS_MS, some_unknown=some_unknown)
    for i, column in enumerate(columns):
        durations = np.array(column, np.int64)
        one.observe(durations)
        per_ms = (1, 1_000_000)[i % 2]
        other.observe_since(now_ms + i, (now_ms + i - durations) * per_ms, per_ms)
        if some_unknown:
            other.observe_since(now_ms, np.array([-1]))
    assert samples(one) == samples(other)
