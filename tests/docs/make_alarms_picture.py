"""Draw the picture of docs/alarms.md: ``python -m tests.docs.make_alarms_picture``.

Real sea temperatures with their level, what is expected of it, and the alarms that a calibrated
limit raises. The limit is calibrated on the first half, and the picture is of the second.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.columns.transitions import TRANSITIONS, Transitions
from ewma_ops.demo.data import recorded_series
from ewma_ops.monitor.rules import AlarmRules, Level
from ewma_ops.studies.backtest import Backtest
from ewma_ops.table.smoothing_set import SmoothingSet

__all__ = ["EVERY", "Sea", "draw", "sea"]

PICTURE = Path(__file__).parents[2] / ".github" / "alarms.png"
EVERY = 500
"""Readings per false alarm."""
_DECAY = Decay(beta=0.9)
_FROM, _DAYS = datetime(2016, 9, 3, tzinfo=timezone.utc), 75
_DAY_S = 86_400
_READINGS, _LEVEL, _BAND, _ALARM, _INK = "#9A9A9A", "#0072B2", "#CFE3F2", "#D55E00", "#222222"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "grid.color": "#ECECEC",
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
}


class Sea(NamedTuple):
    """The temperatures, what a level rule with the limit saw, and when alarms were on."""

    limit: float
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    level: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    alarms: list[tuple[int, int, int]]
    """From when to when in milliseconds, and +1 for high or -1 for low."""


def sea() -> Sea:
    """Return what a calibrated rule makes of the sea temperatures."""
    rows = recorded_series()["sea-surface"]
    times = np.array([one.time_ms for one in rows])
    values = np.array([one.value for one in rows])
    readings = Readings(["sea"] * len(rows), values, times)
    smoothing = Smoothing(_DECAY)
    wanted = AlarmRules.of({"level": Level(false_alarms=f"1 per {EVERY} readings")})
    study = Backtest(SmoothingSet.of(smoothing), wanted.with_limits(Smoothing(_DECAY)))
    study.take(readings)
    (found,) = study.result({"level": float(EVERY)})
    assert found.calibrated is not None
    limit = found.calibrated.limit
    rules = AlarmRules.of({"level": Level(limit=limit)}, in_events=True)
    smoothed = SeriesTable(smoothing, alarms=rules).update(readings)
    own = smoothed.statistics
    columns = own["mean"], own["level_lower"], own["level_upper"]
    return Sea(limit, times, values, *columns, _alarms(smoothed.transitions))


def _alarms(transitions: Transitions | None) -> list[tuple[int, int, int]]:
    assert transitions is not None
    assert transitions.times_ms is not None
    raised, cleared = TRANSITIONS.index("raised"), TRANSITIONS.index("cleared")
    found, open_ = [], (0, 0)
    for became, time, high in zip(
        transitions.transitions.tolist(), transitions.times_ms.tolist(), transitions.highs.tolist(),
        strict=True,
    ):  # fmt: skip
        if became == raised:
            open_ = time, high
        elif became == cleared:
            found.append((open_[0], time, open_[1]))
    return found


def draw(path: Path) -> None:
    """Draw the picture."""
    seen = sea()
    begin_ms = int(_FROM.timestamp() * 1_000)
    end_ms = begin_ms + _DAYS * _DAY_S * 1_000
    shown = (seen.times >= begin_ms) & (seen.times < end_ms)
    when: Any = seen.times[shown].astype("datetime64[ms]")  # matplotlib knows times
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 4.1), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.fill_between(when, seen.lower[shown], seen.upper[shown], color=_BAND, lw=0,
                          label=f"expected: ± {seen.limit:g} standard errors")  # fmt: skip
        axes.plot(when, seen.values[shown], color=_READINGS, lw=0.6, label="readings, every 30 min")
        axes.plot(when, seen.level[shown], color=_LEVEL, lw=1.3, label="level, beta = 0.9")
        label: str | None = "alarm"
        for since, until, high in seen.alarms:
            if not begin_ms <= since < end_ms:
                continue
            span: Any = np.array([since, until], "datetime64[ms]")
            axes.axvspan(*span, color=_ALARM, alpha=0.18, lw=0)
            at = int(np.searchsorted(seen.times, since))
            axes.plot(span[:1], [seen.level[at]], "^" if high > 0 else "v", color=_ALARM, ms=7,
                      label=label)  # fmt: skip
            label = None
        axes.set_title(
            f"A limit calibrated for one alarm in {EVERY} readings, on temperatures it has not seen"
        )
        axes.set_ylabel("sea temperature (°C)", color=_INK)
        axes.margins(x=0.01)
        axes.legend(loc="upper right", frameon=False, ncols=2, fontsize=8.5)
        axes.tick_params(axis="x", labelsize=8.5)
        figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    draw(PICTURE)
