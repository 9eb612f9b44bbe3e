"""Series as plain text: their table, and the forecast of one.

Knows what a table shows; must not know terminals. Control characters in text of others, which a
terminal would obey, are written as escapes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ewma_ops.job.showing import shown_text
from ewma_ops.watch.outlook import Outlook

__all__ = ["cells", "head_line", "heads", "sentence"]

_BARS = "▁▂▃▄▅▆▇█"
_LONGEST_ID = 40
_MARKS = {"live": "●", "settling": "◐", "stale": "○", "alarm": "◆", "alarm low": "▼"}


def head_line(head: dict[str, Any]) -> str:
    """Return how a job is, on one line."""
    lag = "-" if head["lag"] is None else f"{'' if head['exact'] else '≤ '}{head['lag']:,}"
    parts = [
        f"{head['rate']:,.0f}/s",
        f"{'lag' if head['exact'] or head['lag'] is None else 'uncommitted'} {lag}",
        f"{head['series']:,} series",
        f"{head['letters']:,} dead letters",
    ]
    why = f"   {shown_text(head['why'], 200)}" if head["why"] else ""
    return f"{shown_text(head['state'], 40)}   {'   '.join(parts)}{why}"


def heads(table: dict[str, Any]) -> dict[str, bool]:
    """Return the heads of a table, as `Looker.table` returns it, and which are over numbers.

    Examples
    --------
    >>> ahead = {"trend": [0.5], "trend_unit": "h", "forecast": [21.0], "horizon": "15 min"}
    >>> [*heads(ahead)][3:6]
    ['z', 'trend /h', 'in 15 min']
    """
    trend = {} if table["trend"] is None else {f"trend /{table['trend_unit']}": True}
    forecast = {} if table["forecast"] is None else {f"in {table['horizon']}": True}
    numbers = {"value": True, "average": True, "z": True, **trend, **forecast, "last": True}
    return {"series": False, **numbers, "readings": False, "state": False}


def cells(table: dict[str, Any]) -> list[list[str]]:
    """Return the rows of a table, as `Looker.table` returns it, as texts under its `heads`."""
    now, rows = time.time(), []
    for i, series_id in enumerate(table["ids"]):
        kind, words = table["state"][i]
        size = table["average"][i] if table["average"][i] is not None else table["value"][i]
        rows.append(
            [
                shown_text(series_id, _LONGEST_ID),
                _number(table["value"][i], size),
                _number(table["average"][i], size),
                "-" if table["z"][i] is None else f"{table['z'][i]:+.1f}",
                *([] if table["trend"] is None else [_trend(table["trend"][i], size)]),
                *([] if table["forecast"] is None else [_number(table["forecast"][i], size)]),
                _ago(now - table["seen"][i]),
                _bars(table["spark"][i]),
                f"{_MARKS.get(kind, '▲')} {shown_text(words, _LONGEST_ID)}",
            ]
        )
    return rows


def sentence(outlook: Outlook, newest: Mapping[str, float | None], came: tuple[int, int]) -> str:
    """Return where a series is going, and how good its forecasts are, with a verdict.

    Parameters
    ----------
    outlook
        What its events have.
    newest
        The newest of `outlook.NAMES`; ``None`` for one that is not known.
    came
        For how many readings there had been bounds, and how many came within them.

    Examples
    --------
    >>> from ewma_ops import Decay, Smoothing
    >>> asked = Smoothing(Decay(beta=0.5), statistics=["mean", "forecast"], horizon=3)
    >>> sentence(Outlook({"forecast": 2}, asked), {"forecast": 21.5}, (0, 0))
    'Forecast in 3 readings: 21.500.'
    >>> sentence(Outlook({"mase": 2}, asked), {"mase": 1.2}, (0, 0))
    'For the next reading it is worse than the last value (mase 1.20).'
    """
    said = []
    forecast, mase = newest.get("forecast"), newest.get("mase")
    if forecast is not None:
        low, high = newest.get("forecast_lower"), newest.get("forecast_upper")
        numbers = [_number(one, forecast) for one in (forecast, low, high)]
        apart = "" if low is None or high is None else ", {0} between {2} and {3}"
        text = f"Forecast in {outlook.horizon}: {{1}}{apart}."
        said.append(text.format(outlook.within.removesuffix(" within"), *numbers))
    if mase is not None:
        sign = round(mase, 2) - 1.0
        verdict = "worse than" if sign > 0 else "better than" if sign < 0 else "as good as"
        said.append(f"For the next reading it is {verdict} the last value (mase {mase:.2f}).")
    if came[0]:
        share = f"{100 * came[1] / came[0]:.0f} %"
        before = f"the bounds forecast {outlook.horizon} before"
        said.append(f"Of {came[0]:,} readings {share} came within {before}.")
    return " ".join(said)


def _bars(heights: Sequence[int]) -> str:
    return "".join(" " if h < 0 else _BARS[min(h * len(_BARS) // 101, 7)] for h in heights)


def _number(number: float | None, size: float | None) -> str:
    if number is None:
        return "-"
    if abs(number) >= 1e12 or 0 < abs(number) < 1e-6:
        return f"{number:.3e}"
    whole = len(f"{abs(int(size or 0))}")
    return f"{number:,.{max(5 - whole, 0)}f}"


def _trend(trend: float | None, size: float | None) -> str:
    """Return a trend with an arrow; what is 0 in the digits of the average goes nowhere."""
    text = _number(trend, size)
    if trend is None:
        return text
    if not any(one in "123456789" for one in text):
        return f"→ {text.lstrip('-')}"
    return f"↗ +{text}" if trend > 0 else f"↘ {text}"


def _ago(seconds: float) -> str:
    if seconds < 1.5:
        return "now"
    for size, unit in ((86_400, "d"), (3_600, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / (60 if unit == 'min' else size):.0f} {unit}"
    return f"{seconds:.0f} s"
