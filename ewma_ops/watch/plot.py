"""`ewma plot`: series in a chart, as one HTML file that needs nothing else, or as a PNG.

Knows what a chart shows, and the files of the page; must not know Kafka.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ewma_ops.errors import ConfigError

__all__ = ["as_html", "as_png"]

_STATIC = Path(__file__).parent / "static"
_MODULES = ("format.js", "ahead.js", "chart.js")
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|function|class|async)", re.MULTILINE)
_FORECAST, _SOFT = "#8a4fb5", "#566273"
_MARGIN = 0.05
_COLOURS = ("#0b5cad", "#b3261e", "#1a7f4b", "#8a4fb5", "#8a5a00", "#0a7c86")


def as_html(charts: list[dict[str, Any]], measure: dict[str, Any], title: str) -> str:
    """Return a page of some charts, as `Looker.charts` returns them, with all that it needs."""
    vendor = _STATIC / "vendor"
    (uplot_js,), (uplot_css,) = vendor.glob("uplot-*.min.js"), vendor.glob("uplot-*.min.css")
    modules = [(_STATIC / name).read_text("utf-8") for name in _MODULES]
    script = "\n".join(_EXPORT.sub("", _IMPORT.sub("", text)) for text in modules)
    data = msgspec.json.encode({"charts": charts, "measure": measure}).decode()
    parts = {
        "title": escape(title),
        "css": uplot_css.read_text("utf-8") + (_STATIC / "page.css").read_text("utf-8"),
        "data": data.replace("<", "\\u003c"),
        "uplot": uplot_js.read_text("utf-8"),
        "chart": script,
    }
    page = (_STATIC / "plot.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


def as_png(charts: list[dict[str, Any]], measure: dict[str, Any], title: str, target: Path) -> bool:
    """Draw charts into a PNG; return whether the font has all characters of the ids.

    Raises
    ------
    ConfigError
        If matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib.figure
    except ModuleNotFoundError:
        raise ConfigError(
            "a PNG needs matplotlib: pip install 'ewma-ops[plot]', or give a file that ends in "
            ".html"
        ) from None
    figure = matplotlib.figure.Figure(figsize=(10, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for chart, colour in zip(charts, _COLOURS, strict=False):
        times = _moments(chart["x"])
        columns = {
            name: [float("nan") if one is None else one for one in chart[name]]
            for name in ("value", "average", "lower", "upper")
        }
        label = _label(chart["id"])
        if len(charts) == 1:
            axes.plot(times, columns["value"], color="#8b96a3", linewidth=0.7, label="value")
            label = measure["average"] or "average"
        if measure["band"] and len(charts) == 1:
            band = {"color": colour, "alpha": 0.18, "linewidth": 0, "label": measure["band"]}
            axes.fill_between(times, columns["lower"], columns["upper"], **band)
        axes.plot(times, columns["average"], color=colour, linewidth=1.8, label=label)
    for chart, colour in zip(charts, _COLOURS, strict=False):
        if chart.get("outlook") is not None:
            _make_room(axes, chart["outlook"])
            _draw_line_ahead(axes, chart["outlook"], colour if len(charts) > 1 else _FORECAST)
    if len(charts) == 1 and charts[0].get("outlook") is not None:
        _draw_forecasts(axes, charts[0], measure["outlook"])
    if len(charts) == 1:
        _mark(axes, charts[0])
    _show_times(axes)
    axes.set_title(_label(title))
    axes.grid(color="#dde2e8")
    axes.legend()
    with warnings.catch_warnings(record=True) as lacking:
        warnings.simplefilter("always")
        try:
            figure.savefig(target)
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror}") from None
    return not any("missing from font" in str(one.message) for one in lacking)


def _show_times(axes: Any) -> None:
    """Write the day and UTC once, below the hours."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    places = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(places)
    once = ["UTC", "%Y UTC", "%b %Y UTC", "%d %b %Y UTC", "%d %b %Y UTC", "%d %b %Y %H:%M UTC"]
    dates = ConciseDateFormatter(places, offset_formats=once)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(dates)


def _moments(seconds: Sequence[float]) -> Any:
    return (1000 * np.array(seconds)).astype("datetime64[ms]")


def _make_room(axes: Any, outlook: dict[str, Any]) -> None:
    """Stretch the axis of values for forecasts, as far as the page does."""
    low, high = axes.get_ylim()  # as it fits the readings
    ends = outlook["axis"] or (low, high)
    margin = _MARGIN * (max(ends[1], high) - min(ends[0], low))
    axes.set_ylim(min(ends[0] - margin, low), max(ends[1] + margin, high))


def _draw_line_ahead(axes: Any, outlook: dict[str, Any], colour: str) -> None:
    if (found := outlook["ahead"]) is not None:
        line = {"color": colour, "linewidth": 1.6, "linestyle": "--"}
        axes.plot(_moments(found["x"]), found["forecast"], **line)


def _draw_forecasts(axes: Any, chart: dict[str, Any], about: dict[str, Any]) -> None:
    """Draw what had been forecast, the bounds of what is, and the words for both."""
    outlook = chart["outlook"]
    axes.set_xlabel("\n".join(textwrap.wrap(outlook["sentence"], 120)), color=_SOFT, fontsize=8)
    if "past_forecast" in chart:
        past = [float("nan") if one is None else one for one in chart["past_forecast"]]
        line: Any = {"color": _FORECAST, "linewidth": 0.9, "linestyle": ":"}
        label = f"forecast {about['horizon']} before"
        axes.plot(_moments(chart["x"]), past, label=label, **line)
    if (found := outlook["ahead"]) is None:
        return
    axes.axvline(_moments([found["from"]])[0], color=_SOFT, linewidth=0.9, linestyle=":")
    times, sides, end = (
        _moments(found["x"]),
        (found["lower"], found["upper"]),
        found["forecast"][-1],
    )
    apart = None
    if all(sides):
        band: Any = {"color": _FORECAST, "alpha": 0.16, "linewidth": 0, "label": about["within"]}
        axes.fill_between(times, *sides, **band)
        apart = [[abs(side[-1] - end)] for side in sides]
    if found["complete"]:
        dot: Any = {"color": _FORECAST, "fmt": "o", "markersize": 4, "capsize": 3}
        axes.errorbar(times[-1:], [end], apart, label=f"in {about['horizon']}", **dot)


def _mark(axes: Any, chart: dict[str, Any]) -> None:
    """Mark the times of alarms, and readings that came late or were corrected."""
    edge = chart["x"][-1] if chart["x"] else 0.0
    for i, (begin, end) in enumerate(map(_span, chart.get("alarms", ()))):
        until = max(edge, begin) if end is None else end
        label = "" if i else "alarm"
        axes.axvspan(*_moments([begin, until]), color="#b3261e", alpha=0.14, lw=0.8, label=label)
    late = chart.get("late_at") or []
    if late:
        times, values = zip(*late, strict=True)
        diamonds = {"marker": "D", "s": 28, "facecolors": "none", "edgecolors": "#8a5a00"}
        axes.scatter(_moments(times), values, zorder=3, label="late or corrected", **diamonds)


def _span(alarm: dict[str, Any]) -> tuple[float, float | None]:
    return alarm["begin"], alarm["end"]


def _label(text: str) -> str:
    """Return a text for a picture: no dollars, which matplotlib takes for formulas."""
    kept = "".join(one if one.isprintable() else "�" for one in text[:80])
    return kept.replace("$", r"\$").lstrip("_") or "-"
