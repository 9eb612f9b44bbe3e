"""The figures of docs/alarms.md: computed here from the real sea and Seattle, and compared.

Acceptance: what a calibrated limit raises in the half of the history that it has not seen lies
within the Poisson interval of what was wanted, for the recommended settings. Where it does not,
the page says so.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ewma_ops import Decay, Readings, Smoothing
from ewma_ops.demo.data import recorded_series
from ewma_ops.monitor.rules import AlarmRules, Level, Spike, Spread
from ewma_ops.studies.backtest import Backtest, Calibrated, RuleFindings
from ewma_ops.table.smoothing_set import SmoothingSet
from tests.docs import make_alarms_picture

PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"
EVERY = 500
KINDS = {one.kind: one for one in (Level, Spike, Spread)}


class Row(NamedTuple):
    """A row of the page's table: a history, a decay, and whether it is a recommended one."""

    series: str
    name: str
    beta: float
    recommended: bool
    season: str = "none"
    kind: str = "level"
    outlook: float | None = None
    """Beta of the line that forecasts; ``beta`` is that of the rule then."""

    @property
    def settings(self) -> str:
        """What the page says of them."""
        season = "" if self.season == "none" else f', season = "{self.season}"'
        of_line = f', baseline = "outlook" of beta = {self.outlook:g}' if self.outlook else ""
        return f"`{self.kind}`, beta = {self.beta:g}{season}{of_line}"


ROWS = [
    Row("sea-surface", "sea, half-hourly, 400 days", 0.9, True),
    Row("sea-surface", "sea, half-hourly, 400 days", 0.95, True),
    Row("seattle-hourly", "Seattle, hourly, a year", 0.9, False),
    Row("seattle-hourly", "Seattle, hourly, a year", 0.98, True),
    Row("seattle-hourly", "Seattle, hourly, a year", 0.9, True, "day"),
    Row("seattle-hourly", "Seattle, hourly, a year", 0.95, True, "day"),
    Row("sea-surface", "sea, half-hourly, 400 days", 0.9, True, "day"),
    Row("seattle-hourly", "Seattle, hourly, a year", 0.9, False, "day", "spike"),
    Row("seattle-hourly", "Seattle, hourly, a year", 0.9, True, "day", "spread"),
    Row("sea-surface", "sea, half-hourly, 400 days", 0.9, True, "none", "spread"),
    Row("sea-surface", "sea, half-hourly, 400 days", 0.9, True, outlook=0.2),
]


@lru_cache
def found(row: Row) -> tuple[RuleFindings, Calibrated]:
    rows = recorded_series()[row.series]
    values = np.array([one.value for one in rows])
    readings = Readings([row.series] * len(rows), values, np.array([r.time_ms for r in rows]))
    decay, rate = Decay(beta=row.beta), f"1 per {EVERY} readings"
    smoothing = Smoothing(decay)
    options: dict[str, Any] = {"season": row.season}
    if row.outlook is not None:
        smoothing = Smoothing(Decay(beta=row.outlook))
        options |= {"baseline": "outlook", "decay": decay}
    rules = AlarmRules.of({"level": KINDS[row.kind](false_alarms=rate, **options)})
    study = Backtest(SmoothingSet.of(smoothing), rules.with_limits(smoothing))
    study.take(readings)
    (level,) = study.result({"level": float(EVERY)})
    assert level.calibrated is not None
    return level, level.calibrated


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row.kind}-{row.series}-{row.beta}-{row.season}-{row.outlook}"
)
def test_the_page_has_the_figures_that_are_computed(row: Row) -> None:
    level, calibrated = found(row)
    low, high = calibrated.within
    line = (
        f"| {row.name} | {row.settings} | {level.expected:.1f} | {level.own.raised} "
        f"| {calibrated.limit:g} | {calibrated.wanted:.1f} ({low} to {high}) "
        f"| {calibrated.second} |"
    )
    print(line)
    assert line in PAGE.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row.kind}-{row.series}-{row.beta}-{row.season}-{row.outlook}"
)
def test_a_calibrated_limit_holds_where_the_page_recommends_it(row: Row) -> None:
    _, calibrated = found(row)
    low, high = calibrated.within
    assert (low <= calibrated.second <= high) == row.recommended


@pytest.mark.slow
def test_the_picture_shows_what_is_computed(tmp_path: Path) -> None:
    """Where it was drawn: the sea's second half; the file is drawn by the committed script."""
    seen = make_alarms_picture.sea()
    _, calibrated = found(ROWS[0])
    assert seen.limit == calibrated.limit
    path = tmp_path / "alarms.png"
    make_alarms_picture.draw(path)
    committed = make_alarms_picture.PICTURE.stat().st_size
    assert committed == pytest.approx(path.stat().st_size, rel=0.3)
