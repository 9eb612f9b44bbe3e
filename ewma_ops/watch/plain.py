"""The table of series as plain text, for terminals and pipes.

Knows what a table shows; must not know terminals. Text of others is shown as it is, but for what a
terminal would obey.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ewma_ops.job.showing import shown_text

__all__ = ["HEADS", "cells", "head_line"]

HEADS = ("series", "value", "average", "z", "last", "readings", "state")
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


def cells(table: dict[str, Any]) -> list[list[str]]:
    """Return the rows of a table, as `Looker.table` returns it, as texts under `HEADS`."""
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
                _ago(now - table["seen"][i]),
                _bars(table["spark"][i]),
                f"{_MARKS.get(kind, '▲')} {shown_text(words, _LONGEST_ID)}",
            ]
        )
    return rows


def _bars(heights: Sequence[int]) -> str:
    return "".join(" " if h < 0 else _BARS[min(h * len(_BARS) // 101, 7)] for h in heights)


def _number(number: float | None, size: float | None) -> str:
    if number is None:
        return "-"
    if abs(number) >= 1e12 or 0 < abs(number) < 1e-6:
        return f"{number:.3e}"
    whole = len(f"{abs(int(size or 0))}")
    return f"{number:,.{max(5 - whole, 0)}f}"


def _ago(seconds: float) -> str:
    if seconds < 1.5:
        return "now"
    for size, unit in ((86_400, "d"), (3_600, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / (60 if unit == 'min' else size):.0f} {unit}"
    return f"{seconds:.0f} s"
