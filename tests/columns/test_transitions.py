"""Transitions as columns: taken and joined."""

from __future__ import annotations

import numpy as np

from ewma_ops.columns.origins import Origins
from ewma_ops.columns.transitions import EVIDENCE, Transitions


def some(n: int, first: int) -> Transitions:
    numbers = np.arange(first, first + n)
    codes = numbers.astype(np.uint8)
    origins = Origins(np.zeros(n, np.int32), numbers)
    return Transitions(
        [f"s{k}" for k in numbers.tolist()], numbers.astype(np.uint32), numbers * 1000, origins,
        codes, codes % 4, codes % 5, codes % 3, (codes % 3).astype(np.int8) - 1,
        Origins(origins.partitions, numbers - first), numbers * 10,
        {name: np.array(numbers + i, np.float64) for i, name in enumerate(EVIDENCE)},
    )  # fmt: skip


def assert_alike(got: Transitions, expected: Transitions) -> None:
    assert list(got.series_ids) == list(expected.series_ids)
    for name in ("hashes", "times_ms", "rules", "transitions", "by", "severities", "highs"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), name)
    np.testing.assert_array_equal(got.since_ms, expected.since_ms)
    for origins, others in ((got.origins, expected.origins), (got.raised, expected.raised)):
        assert origins is not None
        assert others is not None
        np.testing.assert_array_equal(origins.offsets, others.offsets)
    for name in EVIDENCE:
        np.testing.assert_array_equal(got.evidence[name], expected.evidence[name])


def test_parts_that_were_taken_join_into_the_whole() -> None:
    whole = some(9, 0)
    parts = [whole.take(np.arange(at, at + 3)) for at in (0, 3, 6)]
    assert_alike(Transitions.concat([*parts, Transitions.of_none()]), whole)


def test_without_times_and_origins() -> None:
    bare = Transitions.of_none()
    assert len(Transitions.concat([bare, bare])) == 0
    assert bare.take(np.zeros(0, np.intp)).origins is None
