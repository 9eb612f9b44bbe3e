"""``ewma tune``: the decay that would have predicted a history best, as text or JSON.

Knows arguments and layout; `studies.tuning` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ewma_ops.columns.readings import Readings
from ewma_ops.columns.ticks import Tick, shown_duration
from ewma_ops.commands.past import FileColumns, Past, Span, open_past, with_usual_gap
from ewma_ops.commands.progress_bar import with_progress
from ewma_ops.commands.terminal import table
from ewma_ops.errors import ConfigError
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.studies.tuning import MOST_SERIES, Optimum, Tuned, Tuning

__all__ = ["first_smoothing", "tune"]

_EVERY = 4


def tune(
    config: Path | None,
    file: Path | None,
    columns: FileColumns,
    span: Span,
    *,
    by_time: bool = False,
    as_json: bool = False,
) -> int:
    """Print which decay predicts best; return an exit code.

    Parameters
    ----------
    config
        Of a job: its input is read, unless there is a ``file``; its policies are used.
    file
        A Parquet or CSV file.
    columns
        Of the file; with a configuration what it does not name is taken from there.
    span
        From when to when.
    by_time
        Whether decays by time are tried; with a configuration if its decay is by time.

    Raises
    ------
    EwmaError
        If the past cannot be read, or there is nothing to tune.
    """
    if config is None and file is None:
        raise ConfigError("give a configuration file, or --file with a Parquet or CSV file")
    settings = None if config is None else load(config)
    if settings is None:
        smoothing = Smoothing(Decay(halflife="1min") if by_time else Decay(beta=0.9))
    else:
        smoothing = _smoothing(settings, by_time=by_time)
    fields = () if settings is None else settings.smoothing_set.fields
    past = open_past(settings, file, columns, span)
    tick = columns.tick if settings is None else settings.input.tick
    found = _tuned(past, smoothing, fields, tick)
    if as_json:
        print(msgspec.json.encode(_document(past, found)).decode())
        return 0
    given = None if settings is None else smoothing.decay
    for one in found:
        print("\n".join(_lines(past, one, given, named=len(found) > 1)))
    return 0


def first_smoothing(settings: Settings, command: str) -> Smoothing:
    """Return the first smoothing of a job, which a command examines.

    Raises
    ------
    ConfigError
        If it is a composite.
    """
    (_, first), *_ = settings.smoothing_set.smoothings
    if not isinstance(first, Smoothing):
        raise ConfigError(
            f'[smooth] asks for {first.name}, which has several decays: give "ewma {command}" a '
            "configuration with a plain smoothing"
        )
    return first


def _smoothing(settings: Settings, *, by_time: bool) -> Smoothing:
    first = first_smoothing(settings, "tune")
    if by_time and not first.decay.by_time:
        raise ConfigError(
            "--by-time goes with a decay by time: [smooth] has one by reading; leave it out"
        )
    return first


def _tuned(past: Past, smoothing: Smoothing, fields: Sequence[str], tick: Tick) -> list[Tuned]:
    batches: Iterator[Readings] = with_progress(past)
    gap = None
    if smoothing.decay.by_time:
        gap, batches = with_usual_gap(batches, past.name)
    tuning = Tuning(smoothing, fields, None if gap is None else gap / tick.per_ms, tick)
    for readings in batches:
        tuning.take(readings)
    return tuning.result()


def _document(past: Past, found: Sequence[Tuned]) -> dict[str, Any]:
    return {
        "source": past.name,
        "rejected": past.rejected,
        "fields": [
            {
                "field": one.field,
                "predicted_by": "line" if one.of_line else "mean",
                "readings": one.readings,
                "series": one.series,
                "readings_left_out": one.unseen,
                "cost_of_given": one.given,
                "cost_of_last_value": one.last_value,
                **_optimum(one.decay, partial(_decay, one)),
                **_season(one),
            }
            for one in found
        ],
    }


def _halflife(one: Tuned, halflife: float) -> dict[str, float]:
    return {"halflife_ms" if one.by_time else "halflife": halflife}


def _decay(one: Tuned, halflife: float) -> dict[str, float]:
    beta = {} if one.by_time else {"beta": 0.5 ** (1.0 / halflife)}
    return {**_halflife(one, halflife), **beta}


def _season(one: Tuned) -> dict[str, Any]:
    """Return what was found of the season, if there is one."""
    return {} if one.season is None else {"season": _optimum(one.season, partial(_halflife, one))}


def _optimum(found: Optimum, shown: Callable[[float], dict[str, float]]) -> dict[str, Any]:
    return {
        "suggested": shown(found.suggested),
        "best": shown(found.best),
        "within_1_percent": [shown(end) for end in found.interval],
        "at_edge": found.at_edge,
        "candidates": [{**shown(halflife), "cost": cost} for halflife, cost in found.candidates],
    }


def _season_lines(one: Tuned) -> Iterator[str]:
    if one.season is None:
        return
    found = one.season.suggested
    written = f'"{shown_duration(found)}"' if one.by_time else f"{found:.3g}"
    yield f"  season, with the decay as it is: take season_halflife = {written}"
    yield _best(one, one.season)
    if one.season.at_edge == "longest":
        yield "  the season has not changed in this time: any slow half-life will do"
    if one.season.at_edge == "shortest":
        yield "  the newest period predicts best: the season changes from one period to the next"


def _lines(past: Past, one: Tuned, given: Decay | None, *, named: bool) -> Iterator[str]:
    of = f"{one.field} of {past.name}" if named else past.name
    how = "by a line through those before" if one.of_line else "from those before"
    how += "" if one.season is None else ", with a season"
    yield f"{of}: {one.readings:,} readings of {one.series:,} series predicted {how}"
    if past.rejected:
        yield f"  left out: {past.rejected:,} messages that are not readings"
    if one.unseen:
        yield f"  left out: {one.unseen:,} readings of series beyond the first {MOST_SERIES:,}"
    if one.decay.at_edge != "shortest":
        yield f"  take: {_key(one, one.decay.suggested)}"
    yield _best(one, one.decay)
    compared = (
        [(f"{given.describe().partition(':')[0]} (now)", one.given)] if given is not None else []
    )
    for name, cost in [*compared, ("the last value, not smoothed", one.last_value)]:
        more = f"{cost - 1:.1%} more" if cost >= 1 else f"{1 - cost:.1%} less"
        yield f"  {name}: {more} error than the best"
    if one.decay.at_edge == "shortest":
        best = (
            "the line through the newest two predicts"
            if one.of_line
            else "the newest reading predicts"
        )
        yield f"  {best} best: the level moves more than readings scatter, and"
        yield "  smoothing costs accuracy; choose the decay by how long what you look for lasts"
    if one.decay.at_edge == "longest":
        moved = "trend has not changed" if one.of_line else "level has not moved"
        yield f"  the {moved} in this time: any slow decay will do"
    yield from _season_lines(one)
    if one.of_line and one.last_value < 1.0:
        yield '  no line predicts as well as the last value: outlook = "level" does better here'
    yield ""
    rows = [
        [
            _shown(one, halflife),
            "" if one.by_time else f"{0.5 ** (1 / halflife):.6f}",
            f"{cost:.4f}",
        ]
        for halflife, cost in one.decay.candidates[::_EVERY]
    ]
    heads = ["half-life", "beta", "error (best = 1)"]
    yield from (f"  {line}" for line in table(heads, rows, 78, right={0, 1, 2}))


def _best(one: Tuned, found: Optimum) -> str:
    low, high = (_shown(one, end) for end in found.interval)
    return f"  best: {_shown(one, found.best)}; from {low} to {high} costs at most 1 %"


def _key(one: Tuned, halflife: float) -> str:
    """Return the line of a configuration file."""
    if one.by_time:
        return f'halflife = "{shown_duration(halflife)}"'
    return f"beta = {0.5 ** (1.0 / halflife):.4g}  # half-life {halflife:.3g} readings"


def _shown(one: Tuned, halflife: float) -> str:
    if one.by_time:
        return shown_duration(halflife)
    return f"{halflife:,.0f} readings" if halflife >= 100 else f"{halflife:.3g} readings"
