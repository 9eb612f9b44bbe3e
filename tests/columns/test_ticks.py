"""The units in which times are counted: their bounds, and what is out of them."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest

from ewma_ops.columns.ticks import MICROSECOND, MILLISECOND, NANOSECOND, Tick


@pytest.mark.parametrize("tick", [MILLISECOND, MICROSECOND, NANOSECOND])
def test_the_bounds_are_the_whole_years_that_are_said(tick: Tick) -> None:
    first, last = (int(year) for year in tick.years.split(" to "))
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    per_s = 1_000 * tick.per_ms
    to_first = datetime(first, 1, 1, tzinfo=timezone.utc) - epoch
    to_last = datetime(last, 12, 31, 23, 59, 59, tzinfo=timezone.utc) - epoch
    assert tick.earliest == (to_first.days * 86_400 + to_first.seconds) * per_s
    assert tick.latest == (to_last.days * 86_400 + to_last.seconds + 1) * per_s - 1


@pytest.mark.parametrize("tick", [MILLISECOND, MICROSECOND, NANOSECOND])
def test_the_gap_of_any_two_times_is_an_int64(tick: Tick) -> None:
    anywhere = np.array([-(2**63), -1, 0, 2**63 - 1])
    ahead = np.array([tick.earliest, tick.latest])[:, None] - tick.of_ms(anywhere)
    expected = [
        [time - near for near in tick.of_ms(anywhere).tolist()]
        for time in (tick.earliest, tick.latest)
    ]
    assert ahead.tolist() == expected
    assert tick.latest - tick.earliest < 2**63


@pytest.mark.parametrize("tick", [MILLISECOND, MICROSECOND, NANOSECOND])
def test_what_is_out_of_bounds_stays_out_of_them(tick: Tick) -> None:
    for time in (tick.earliest - 1, tick.latest + 1, -(10**40), 10**40):
        cut = np.int64(tick.cut(time))
        assert not tick.earliest <= cut <= tick.latest
    assert [tick.cut(time) for time in (tick.earliest, 0, tick.latest)] == [
        tick.earliest, 0, tick.latest,
    ]  # fmt: skip
