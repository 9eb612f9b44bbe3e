"""Recovery directories of earlier versions resume to the bit, or are refused with a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import ewma_ops
from ewma_ops.job.recovery.store import RecoveryStore
from tests.job.make_golden import GOLDEN, IDENTITY, batches, smoothed

VERSIONS = sorted(path.name for path in GOLDEN.iterdir())


def test_this_version_has_a_golden_directory() -> None:
    assert ewma_ops.__version__ in VERSIONS, "run: python -m tests.job.make_golden"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_directory_resumes_to_the_bit(version: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / version, tmp_path / "state")
    with RecoveryStore(tmp_path / "state") as store:
        store.prepare(IDENTITY)
        resumed = smoothed(batches(), store)
    whole = smoothed(batches(), None)
    n = sum(len(one.readings) for one in resumed)
    assert n == len(batches()[1])
    for name in whole[0].statistics:
        found, wanted = (
            np.concatenate([one.statistics[name] for one in some]) for some in (resumed, whole)
        )
        order = _by_series(resumed, n), _by_series(whole, 2 * n)[-n:]
        assert found[order[0]].tobytes() == wanted[order[1]].tobytes()


def _by_series(some: list[ewma_ops.Smoothed], n: int) -> list[int]:
    """Return places in order of time, as runs of several shards come in any order."""
    times = [t for one in some for t in one.readings.times_ms.tolist()]  # type: ignore[union-attr]
    assert len(times) == n
    return sorted(range(n), key=times.__getitem__)
