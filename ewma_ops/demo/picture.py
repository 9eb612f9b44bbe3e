"""The textbook figure: raw readings against three betas, corrected and uncorrected.

Knows how to draw; must not compute an average itself: that is what the package is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.demo.data import RecordedReading
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curve", "curves", "draw"]

_COLOURS = {0.5: "#E69F00", 0.9: "#0072B2", 0.98: "#8C1D82"}
"""By beta; apart for colour-blind eyes too, by lightness and by hue."""

_RAW = "#8A8A8A"
_INK = "#222222"
_SHADE = "#F4F2EA"
_DASHES = (4, 1.6)
_QUICK = 0.5
"""Up to this beta, curves are drawn thin, and left out of pictures of the start."""
_TITLE = "Seattle's temperature and its exponentially weighted moving averages"
_SOURCE = "Data: NOAA, from vega_datasets. Averages: ewma_ops."
_FROM_FLOW = "The corrected curve of β = {:g} is what the running flow wrote to its topic."
_ZOOM_DAYS = 60
_SHOWN_DAYS = 366
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


_Column = NDArray[np.float64]


class Curve(NamedTuple):
    """The average of a series for one beta; float64[n] each."""

    beta: float
    corrected: _Column
    uncorrected: _Column


def curves(readings: Sequence[RecordedReading], betas: Sequence[float]) -> list[Curve]:
    """Smooth the readings of one series with each beta, corrected and uncorrected."""
    columns = Readings.of([r.series_id for r in readings], [r.value for r in readings])

    def means(smoothing: Smoothing) -> _Column:
        return SeriesTable(smoothing).update(columns).statistics["mean"]

    return [
        Curve(
            beta,
            means(Smoothing(Decay(beta=beta))),
            means(Smoothing(Decay(beta=beta), start_up="uncorrected")),
        )
        for beta in betas
    ]


def draw(
    path: Path, readings: Sequence[RecordedReading], from_flow: Mapping[float, _Column]
) -> None:
    """Draw the daily temperatures of a year with their averages and write them as PNG.

    Parameters
    ----------
    readings
        Of ``seattle-daily-max``, at least a few months, in order of time.
    from_flow
        By beta, corrected averages that a running flow has put out for these readings: drawn in
        place of those computed here.
    """
    shown = readings[:_SHOWN_DAYS]
    drawn = [
        curve._replace(corrected=from_flow.get(curve.beta, curve.corrected))
        for curve in curves(shown, list(_COLOURS))
    ]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 6.43), dpi=140)
        FigureCanvasAgg(figure)
        year, start = figure.subplots(1, 2, width_ratios=(1.6, 1))
        figure.subplots_adjust(left=0.055, right=0.982, top=0.865, bottom=0.125, wspace=0.11)
        days = [_day(reading) for reading in shown]
        values = np.array([reading.value for reading in shown])
        _draw_year(year, days, values, drawn)
        _draw_start(start, days[:_ZOOM_DAYS], values[:_ZOOM_DAYS], drawn)
        figure.text(0.02, 0.945, _TITLE, fontsize=13.5, fontweight="bold", color=_INK)
        sources = [_SOURCE, *(_FROM_FLOW.format(beta) for beta in from_flow)]
        figure.text(0.02, 0.025, " ".join(sources), fontsize=8, color="#666666")
        figure.savefig(path, format="png")


def _draw_year(axes: Axes, days: list[date], values: _Column, drawn: list[Curve]) -> None:
    axes.axvspan(0, _ZOOM_DAYS - 1, color=_SHADE, linewidth=0)
    axes.plot(values, ".", color=_RAW, markersize=3.6, alpha=0.75, label="reading")
    for curve in drawn:
        label = f"β = {curve.beta:g}, about {round(1 / (1 - curve.beta))} days"
        _draw_curve(axes, curve, len(days), 1.8, label)
    axes.plot([], [], color=_INK, linewidth=1.8, dashes=_DASHES, label="uncorrected")
    axes.set_title("The higher β, the smoother and the later")
    axes.set_ylabel("daily highest temperature, °C", labelpad=2)
    axes.set_xlim(-3, len(days) + 2)
    axes.legend(loc="upper left", frameon=False, labelcolor=_INK, handlelength=2.2)
    months = [at for at, day in enumerate(days) if day.day == 1 and day.month % 2 == 1]
    axes.set_xticks(months, [f"{days[at]:%b %Y}" for at in months])


def _draw_start(axes: Axes, days: list[date], values: _Column, drawn: list[Curve]) -> None:
    axes.set_facecolor(_SHADE)
    axes.axhline(0, color="#666666", linewidth=0.8)
    axes.plot(values, ".", color=_RAW, markersize=5, alpha=0.75)
    for curve in drawn:
        if curve.beta > _QUICK:
            _draw_curve(axes, curve, len(days), 2.2)
    slowest, n = drawn[-1], len(days)
    _point_at(axes, n * 4 // 5, slowest.corrected, 5, "corrected: a mean\nfrom the first day on")
    _point_at(axes, n * 4 // 5, slowest.uncorrected, -2.8, "uncorrected: from 0,\ntoo low for long")
    axes.set_title(f"The first {n} days: what the bias correction does")
    axes.set_xlim(-1, n)
    axes.yaxis.set_major_locator(MultipleLocator(5))
    marks = [at for at, day in enumerate(days) if day.day in (1, 15)]
    axes.set_xticks(marks, [f"{days[at].day} {days[at]:%b}" for at in marks])


def _draw_curve(axes: Axes, curve: Curve, n: int, width: float, label: str | None = None) -> None:
    colour, width = _COLOURS[curve.beta], width if curve.beta > _QUICK else width / 2
    axes.plot(curve.uncorrected[:n], color=colour, linewidth=width * 0.9, dashes=_DASHES)
    axes.plot(curve.corrected[:n], color=colour, linewidth=width, label=label)


def _point_at(axes: Axes, at: int, heights: _Column, rise: float, text: str) -> None:
    colour = _COLOURS[max(_COLOURS)]
    axes.annotate(
        text,
        (at, heights[at]),
        xytext=(at, heights[at] + rise),
        ha="center",
        va="center",
        color=colour,
        arrowprops={"arrowstyle": "-", "color": colour, "shrinkB": 3},
    )


def _day(reading: RecordedReading) -> date:
    return datetime.fromtimestamp(reading.time_ms / 1000, ZoneInfo("America/Los_Angeles")).date()
