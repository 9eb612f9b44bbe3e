"""Counts by time: nothing is lost while bins widen, whichever way the time grows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.studies.time_bins import TimeBins

TIMES = st.lists(st.integers(-(10**15), 10**15) | st.integers(0, 5_000), min_size=1, max_size=30)


@given(st.lists(st.tuples(st.integers(0, 2), TIMES), min_size=1, max_size=8))
def test_every_event_is_in_the_bin_of_its_time(batches: list[tuple[int, list[int]]]) -> None:
    bins = TimeBins(3)
    every: list[tuple[int, int]] = []
    for kind, times in batches:
        bins.add(kind, np.array(times))
        every += [(kind, time) for time in times]
    wanted = np.zeros_like(bins.counts)
    for kind, time in every:
        wanted[(time - bins.origin) // bins.width, kind] += 1
    assert (bins.counts == wanted).all()
    assert len(bins.counts) <= 2048
    assert bins.origin % bins.width == 0


def test_a_cut_holds_its_share() -> None:
    bins = TimeBins(1)
    bins.add(0, np.arange(1_000))
    assert bins.cut_at(0, 0.5) == 500
    assert bins.time_of(500) == 500
    assert TimeBins(1).cut_at(0, 0.5) == 0
