"""Offsets are committed only up to the first record that somebody still has to be told of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.notify.progress import Progress


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_what_is_reached_is_done(needs: list[int], random_: object) -> None:
    progress, left = Progress(), list(needs)
    for offset, n in enumerate(needs):
        progress.add(0, offset, n)
    calls = [offset for offset, n in enumerate(needs) for _ in range(n)]
    random_.shuffle(calls)  # type: ignore[attr-defined]
    reached = progress.reached().get(0, 0)
    for offset in calls:
        progress.done([(0, offset)])
        left[offset] -= 1
        reached = progress.reached().get(0, reached)
        assert reached == next((i for i, n in enumerate(left) if n), len(left))
    assert reached == len(needs)


def test_partitions_do_not_wait_for_each_other() -> None:
    progress = Progress()
    progress.add(0, 10, 1)
    progress.add(1, 20, 1)
    progress.done([(1, 20)])
    assert progress.reached() == {1: 21}
    progress.done([(0, 10)])
    assert progress.reached() == {0: 11}
