"""Every block of the guide runs, and prints what the guide says."""

from __future__ import annotations

import doctest
from pathlib import Path


def test_the_guide_is_true() -> None:
    guide = Path(__file__).parents[1] / "ewma_ops" / "guide.md"
    found = doctest.testfile(str(guide), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0
