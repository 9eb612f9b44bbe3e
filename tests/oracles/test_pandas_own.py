"""pandas' own tests of ewm, with the numbers computed by a table.

They are installed with pandas, and run here in a process of their own, in which `pandas_by_table`
has put a `SeriesTable` in place of pandas' compiled functions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("test_ewm", "moments.test_moments_consistency_ewm", "test_pairwise", "test_groupby")
SELECTED = "ewm or EWM or pairwise or Pairwise"

REACHED = {"3.1": 1_248}
"""How many tests of a release of pandas reach a table: fewer would be a silent skip."""

NOT_OFFERED: dict[str, int] = {}
"""What a table does not offer, by the reason, and how many tests ask for it."""

OF_PANDAS = {"No op to test", "could not import 'numba': No module named 'numba'"}
"""Reasons for which pandas itself skips a test."""

DECIDED: dict[str, str] = {}
"""Tests in which we differ because exact rational arithmetic gives our value, and where it does."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("pandas") / "report.json"
    arguments = [
        "-q",
        "-n0",
        "-p",
        "tests.oracles.pandas_by_table",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
    ]
    arguments += ["-c", os.devnull, "--rootdir", str(path.parent), "-k", SELECTED, "--pyargs"]
    arguments += [f"pandas.tests.window.{module}" for module in MODULES]
    environment = {**os.environ, "EWMA_PANDAS_REPORT": str(path), "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        env=environment, cwd=path.parent,
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert path.exists(), run.stdout[-4000:] + run.stderr[-4000:]
    return json.loads(path.read_text())


def test_no_test_of_pandas_differs(report: Any) -> None:
    failed = {test: what for test, what in report["found"].items() if what.startswith("failed")}
    unexplained = {test: what for test, what in failed.items() if test not in DECIDED}
    assert not unexplained, "\n\n".join(f"{test}: {what}" for test, what in unexplained.items())
    assert failed.keys() == DECIDED.keys()


def test_no_test_of_pandas_is_skipped_in_silence(report: Any) -> None:
    skipped = Counter(
        what.removeprefix("skipped: ")
        for what in report["found"].values()
        if what.startswith("skipped: ")
    )
    ours = {reason: n for reason, n in skipped.items() if reason not in OF_PANDAS}
    assert ours == NOT_OFFERED
    release = ".".join(pd.__version__.split(".")[:2])
    least = REACHED.get(release)
    reached = len(report["reached"])
    assert reached == least if least else reached > 1_000
    assert min(report["calls"].values()) >= 10
    assert set(report["calls"]) == {"mean", "sum", "var", "var_biased", "cov", "cov_biased"}
