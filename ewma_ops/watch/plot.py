"""`ewma plot`: series in a chart, as one HTML file that needs nothing else, or as a PNG.

Knows what a chart shows, and the files of the page; must not know Kafka.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ewma_ops.errors import ConfigError

__all__ = ["as_html", "as_png"]

_STATIC = Path(__file__).parent / "static"
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|function|class|async)", re.MULTILINE)
_COLOURS = ("#0b5cad", "#b3261e", "#1a7f4b", "#8a4fb5", "#8a5a00", "#0a7c86")


def as_html(charts: list[dict[str, Any]], measure: dict[str, Any], title: str) -> str:
    """Return a page of some charts, as `Looker.charts` returns them, with all that it needs."""
    vendor = _STATIC / "vendor"
    (uplot_js,), (uplot_css,) = vendor.glob("uplot-*.min.js"), vendor.glob("uplot-*.min.css")
    modules = [(_STATIC / name).read_text("utf-8") for name in ("format.js", "chart.js")]
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


def as_png(charts: list[dict[str, Any]], measure: dict[str, Any], title: str, target: Path) -> None:
    """Draw charts into a PNG.

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
        times: Any = (1000 * np.array(chart["x"])).astype("datetime64[ms]")
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
    if len(charts) == 1:
        _mark(axes, charts[0])
    axes.set_title(_label(title))
    axes.grid(color="#dde2e8")
    axes.legend()
    try:
        figure.savefig(target)
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}") from None


def _mark(axes: Any, chart: dict[str, Any]) -> None:
    """Mark the times of alarms, and readings that came late or were corrected."""

    def moments(seconds: Sequence[float]) -> Any:
        return (1000 * np.array(seconds)).astype("datetime64[ms]")

    edge = chart["x"][-1] if chart["x"] else 0.0
    for i, (begin, end) in enumerate(map(_span, chart.get("alarms", ()))):
        until = max(edge, begin) if end is None else end
        label = "" if i else "alarm"
        axes.axvspan(*moments([begin, until]), color="#b3261e", alpha=0.14, lw=0.8, label=label)
    late = chart.get("late_at") or []
    if late:
        times, values = zip(*late, strict=True)
        diamonds = {"marker": "D", "s": 28, "facecolors": "none", "edgecolors": "#8a5a00"}
        axes.scatter(moments(times), values, zorder=3, label="late or corrected", **diamonds)


def _span(alarm: dict[str, Any]) -> tuple[float, float | None]:
    return alarm["begin"], alarm["end"]


def _label(text: str) -> str:
    """Return a text for a picture: no dollars, which matplotlib takes for formulas."""
    kept = "".join(one if one.isprintable() else "�" for one in text[:80])
    return kept.replace("$", r"\$").lstrip("_") or "-"
