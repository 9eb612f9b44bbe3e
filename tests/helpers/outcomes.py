"""What decoders of different formats came to: for oracles by another format, and for fuzzers."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import strategies as st

from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.format import CAUSES

ROWS = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
        st.integers(0, 2**42),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=20,
)
"""Readings that each format can hold: id, time in milliseconds, and value or none."""


def assert_same_bits(found: Decoded, expected: Decoded) -> None:
    """Check that two decoders have read the same ids, times and values."""
    assert list(found.readings.series_ids) == list(expected.readings.series_ids)
    assert found.readings.values.tobytes() == expected.readings.values.tobytes()
    assert np.array_equal(found.readings.times_ms, expected.readings.times_ms)  # type: ignore[arg-type]


def outcomes_of(decoded: Decoded) -> Counter[str]:
    """Count outcomes; each rejection has a known cause and a detail that fits on some lines."""
    for one in decoded.rejected:
        assert one.cause in CAUSES
        assert len(one.detail) < 400, one.detail
    outcomes = Counter(one.cause for one in decoded.rejected)
    outcomes["readings"] = len(decoded.readings)
    outcomes["skipped"] = decoded.skipped
    return outcomes
