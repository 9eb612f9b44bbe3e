"""``ewma backtest --forecast``: how good forecasts of a history would have been, as text or JSON.

Knows arguments and layout; `studies.forecasting` makes the comparison.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ewma_ops.columns.readings import Readings
from ewma_ops.columns.ticks import shown_duration
from ewma_ops.commands.past import FileColumns, Past, Span, open_past, with_usual_gap
from ewma_ops.commands.progress_bar import with_progress
from ewma_ops.commands.terminal import table
from ewma_ops.commands.tune import first_smoothing
from ewma_ops.errors import ConfigError
from ewma_ops.job.report import counted
from ewma_ops.job.showing import shown_text
from ewma_ops.monitor.chart_rule import HOURS
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.studies.forecast_errors import METHODS, Horizon, HorizonForecasts
from ewma_ops.studies.forecasting import (
    MOST_SERIES,
    FieldForecasts,
    Forecasting,
    horizon_of,
)

__all__ = ["WARM_UP", "backtest_forecasts"]

WARM_UP = 50
"""Default number of readings of a series before the first forecast that is judged."""
_AHEAD = (1, 2, 3, 6, 12, 24)
_MOST_SHOWN = 10
_SHOWN = {"last_value": "last value", "season_before": "season ago", "mean_so_far": "mean"}
_IN_FULL = {
    "last_value": "the last value",
    "season_before": "the value of a season ago",
    "mean_so_far": "the mean of all readings so far",
}


def backtest_forecasts(
    config: Path,
    file: Path | None,
    columns: FileColumns,
    span: Span,
    *,
    horizons: str | None = None,
    season: str | None = None,
    warm_up: int = WARM_UP,
    as_json: bool = False,
) -> int:
    """Print how good forecasts would have been, by horizon; return an exit code.

    Parameters
    ----------
    config
        Of a job, whose first smoothing forecasts; its input is read, unless there is a ``file``.
    file, columns, span
        As for ``ewma tune``.
    horizons
        How far ahead, with commas between: durations, or with decay per reading numbers of
        readings. ``None``: 1, 2, 3, 6, 12 and 24 readings, or as many usual gaps, and the
        ``horizon`` of the configuration.
    season
        ``"day"``, ``"week"``, a duration, or with decay per reading a number of readings; ``None``:
        that of the forecasts, if they have one.
    warm_up
        Readings of a series, >= 3, before the first forecast that is judged.

    Raises
    ------
    EwmaError
        If the past cannot be read, or a horizon or the season is invalid.
    """
    settings = load(config)
    smoothing, tick = first_smoothing(settings, "backtest --forecast"), settings.input.tick
    if warm_up < 3:
        raise ConfigError(f"--warm-up is {warm_up}: it must be at least 3, for a first error")
    past = open_past(settings, file, columns, span)
    batches: Iterator[Readings] = with_progress(past)
    gap = None
    if smoothing.decay.by_time:
        gap, batches = with_usual_gap(batches, past.name)
    texts = _own_horizons(smoothing, gap, tick.per_ms) if horizons is None else horizons.split(",")
    asked = [horizon_of(text.strip(), smoothing, tick) for text in texts]
    ahead = {one.ahead: one for one in asked}  # "6 h" is "6h"
    compared = _season(season, smoothing, settings)
    study = Forecasting(
        smoothing,
        [one for _, one in sorted(ahead.items())],
        settings.smoothing_set.fields,
        compared,
        warm_up,
        tick,
    )
    for readings in batches:
        study.take(readings)
    found = study.result()
    if as_json:
        document = _document(past, study, found, smoothing, compared, warm_up)
        print(msgspec.json.encode(document).decode())
        return 0
    for place, one in enumerate(found):
        print("\n".join(_lines(past, study, place, one, smoothing, warm_up)))
    return 0


def _own_horizons(smoothing: Smoothing, gap: float | None, per_ms: int) -> list[str]:
    """Return the horizons where none are given."""
    given = smoothing.horizon
    if not smoothing.decay.by_time:
        own = [] if given is None else [f"{float(given):.0f}"]  # type: ignore[arg-type]
        return [*map(str, _AHEAD), *own]
    if not gap:
        raise ConfigError(
            "no series has two readings at different times, so there is no usual gap: give "
            '--horizons, such as "15min,1h"'
        )
    own = [given] if isinstance(given, str) else []
    return [*(shown_duration(n * gap / per_ms) for n in _AHEAD), *own]


def _season(text: str | None, smoothing: Smoothing, settings: Settings) -> Horizon | None:
    """Return the length of a season: as it is given, or as that of the forecasts."""
    if text is None:
        own = smoothing.ahead.season
        return None if own is None else Horizon(str(smoothing.season), own.phases * own.slot)
    if text in HOURS and smoothing.decay.by_time:
        return horizon_of(f"{HOURS[text]}h", smoothing, settings.input.tick)._replace(text=text)
    try:
        return horizon_of(text, smoothing, settings.input.tick)
    except ConfigError as error:
        named = str(error).replace("horizon", "--season", 1)
        raise ConfigError(named) from None


def _document(
    past: Past,
    study: Forecasting,
    found: Sequence[FieldForecasts],
    smoothing: Smoothing,
    season: Horizon | None,
    warm_up: int,
) -> dict[str, Any]:
    return {
        "source": past.name,
        "rejected": past.rejected + study.rejected,
        "readings": found[0].readings,
        "series": found[0].series,
        "readings_left_out": found[0].unseen,
        "forecast_by": _forecast_by(smoothing),
        "coverage": smoothing.coverage,
        "season": None if season is None else season.text,
        "warm_up": warm_up,
        "fields": [
            {
                "field": one.field,
                "horizons": [_horizon_document(each) for each in one.horizons],
                "by_series": {
                    series: [_horizon_document(each) for each in horizons]
                    for series, horizons in study.by_series(place)
                },
            }
            for place, one in enumerate(found)
        ],
    }


def _horizon_document(one: HorizonForecasts) -> dict[str, Any]:
    return {
        "horizon": one.horizon.text,
        "compared": one.compared,
        "missed": one.missed,
        "within_bounds": one.within,
        **{name: each and each._asdict() for name, each in one.methods.items()},
        "series_better_than_last_value": one.better,
    }


def _forecast_by(smoothing: Smoothing) -> str:
    ahead, asked = smoothing.ahead, "age_variance" in smoothing.needs
    season = " and the season" if asked and ahead.season is not None else ""
    return ("line" if asked and ahead.sloped else "mean") + season


def _lines(
    past: Past,
    study: Forecasting,
    place: int,
    one: FieldForecasts,
    smoothing: Smoothing,
    warm_up: int,
) -> Iterator[str]:
    of = f"{one.field} of {past.name}" if len(study.fields) > 1 else past.name
    yield f"{of}: {counted(one.readings, 'reading')} of {one.series:,} series"
    if rejected := past.rejected + study.rejected:
        yield f"  left out: {rejected:,} not readings, or rejected by a policy"
    if one.unseen:
        yield f"  left out: {one.unseen:,} readings of series beyond the first {MOST_SERIES:,}"
    yield (
        f"  forecast by the {_forecast_by(smoothing)} of [smooth], each by the readings before it "
        f"alone; the first {warm_up:,} of a series are not judged"
    )
    if not any(each.compared for each in one.horizons):
        yield "  no forecast met a reading: the history is too short, or --season too long"
        return
    yield (
        "  MASE, of [smooth] and of other forecasts: mean absolute error, over that of the last "
        "value one reading ahead"
    )
    yield ""
    named = [name for name in METHODS[1:] if name in one.horizons[0].methods]
    several = one.series > 1
    heads = [
        *("ahead", "forecasts", "MAE", "RMSE", "MASE"),
        *(_SHOWN[name] for name in named),
        f"in {100 * smoothing.coverage:.4g} %",
        *(["series better"] if several else []),
    ]
    rows = [_row(each, named, several=several) for each in one.horizons]
    width = shutil.get_terminal_size().columns
    yield from (f"  {line}" for line in table(heads, rows, width - 2, right=range(1, len(heads))))
    yield ""
    yield from _verdicts(one.horizons)
    if several:
        yield from _worst_lines(study, place, one.horizons[0].horizon.text)


def _row(one: HorizonForecasts, named: Sequence[str], *, several: bool) -> list[str]:
    own = one.methods["outlook"]
    if own is None or one.within is None or one.better is None:
        return [one.horizon.text, "0", *([""] * (4 + len(named) + several))]
    others = [one.methods[name] for name in named]
    scaled = ["" if each is None or each.mase is None else f"{each.mase:.3g}" for each in others]
    return [
        one.horizon.text,
        f"{one.compared:,}",
        f"{own.mae:.4g}",
        f"{own.rmse:.4g}",
        "" if own.mase is None else f"{own.mase:.3g}",
        *scaled,
        f"{one.within:.1%}",
        *([f"{one.better:.0%}"] if several else []),
    ]


def _verdicts(horizons: Sequence[HorizonForecasts]) -> Iterator[str]:
    """Say at which horizons a forecast without a model is better."""
    for name, text in _IN_FULL.items():
        better = [one.horizon.text for one in horizons if _worse_than(one, name)]
        if better:
            every = len(better) == sum(one.compared > 0 for one in horizons)
            yield f"  {text} is better {'at every horizon' if every else 'at ' + ', '.join(better)}"
    missed = sum(one.missed for one in horizons)
    if missed:
        yield f"  {missed:,} forecasts were not compared: no reading came near enough to their time"


def _worse_than(one: HorizonForecasts, name: str) -> bool:
    own, other = one.methods["outlook"], one.methods.get(name)
    if own is None or other is None:
        return False
    if own.mase is None or other.mase is None:
        return own.mae > other.mae
    return own.mase > other.mase


def _worst_lines(study: Forecasting, place: int, text: str) -> Iterator[str]:
    """Name the series whose forecasts are worst against the last value, at the first horizon."""
    ratios = []
    for series, (first, *_) in study.by_series(place):
        own, last = first.methods["outlook"], first.methods["last_value"]
        if own is not None and last is not None and last.mae > 0.0 and own.mae > last.mae:
            ratios.append((own.mae / last.mae, series))
    if not ratios:
        return
    yield f"  series where the last value is better, {text} ahead: {len(ratios):,}; by how much:"
    ratios.sort(reverse=True)
    yield from (
        f"    {ratio:>8.3g} times  {shown_text(one, 60)}" for ratio, one in ratios[:_MOST_SHOWN]
    )
