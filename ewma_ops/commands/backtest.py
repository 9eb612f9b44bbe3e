"""``ewma backtest``: the alarms that a job's rules would have raised in a history, as text or JSON.

Knows arguments and layout; `studies.backtest` does the counting.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ewma_ops.columns.ticks import shown_duration
from ewma_ops.commands.past import FileColumns, Past, Span, open_past
from ewma_ops.commands.progress_bar import with_progress
from ewma_ops.commands.terminal import table
from ewma_ops.errors import ConfigError
from ewma_ops.job.report import counted
from ewma_ops.job.showing import shown_text
from ewma_ops.monitor.rates import readings_per_false_alarm
from ewma_ops.monitor.rules import AlarmRules, ChartRule
from ewma_ops.settings.edit import write_number
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.studies.backtest import FEW, Backtest, Calibrated, Count, RuleFindings

__all__ = ["backtest"]

_DAY_MS = 86_400_000
_MEMORY = 0.3
"""Beyond this correlation the theory of independent readings does not hold."""
_SEASON = 0.2
"""Beyond this share explained by the hour, a season is worth a try."""
_MORE = 0.1
"""How much more the hour of the week has to explain to be chosen as the season."""
_ROWS_ABOUT = 4
"""How many limits of the grid are shown on each side of one that matters."""


def backtest(
    config: Path,
    file: Path | None,
    columns: FileColumns,
    span: Span,
    *,
    false_alarms: str | None = None,
    write: bool = False,
    as_json: bool = False,
) -> int:
    """Print what the rules would have done; return an exit code.

    Parameters
    ----------
    config
        Of a job with ``[alarms]``; its input is read, unless there is a ``file``.
    file, columns, span
        As for ``ewma tune``.
    false_alarms
        The rate to calibrate for, of each rule: ``"1 per 500 readings"``, or by time, such as
        ``"1 per week"``, converted by the number of readings in the history. ``None``:
        the rate of each rule.
    write
        Whether calibrated limits are written into the file.

    Raises
    ------
    EwmaError
        If the past cannot be read, or there are no rules.
    """
    settings = load(config)
    if settings.alarms is None:
        raise ConfigError(
            f"{config} has no rules to test; add [alarms] with one, such as level, or "
            "give --forecast to test forecasts"
        )
    past = open_past(settings, file, columns, span)
    rules = settings.alarms.rules
    study = Backtest(settings.smoothing_set, rules)
    for readings in with_progress(past):
        study.take(readings)
    every = _wanted(settings, rules, false_alarms, study)
    found = study.result(every)
    written = _write(config, found) if write else {}
    if as_json:
        print(msgspec.json.encode(_document(settings, past, study, found, written)).decode())
        return 0
    for line in _lines(settings, past, study, found):
        print(line)
    for name, limit in written.items():
        print(f"{config}: [alarms.{name}] limit = {limit:g}")
    if write and not written:
        print(f"{config}: left as it was, as no limit could be calibrated")
    return 0


def _wanted(
    settings: Settings, rules: AlarmRules, false_alarms: str | None, study: Backtest
) -> Mapping[str, float]:
    """Return the readings per false alarm of each rule about a score, where that is known."""
    charts = [(name, rule) for name, rule in rules.rules if isinstance(rule, ChartRule)]
    if false_alarms is None:
        return {name: rule.run_length() for name, rule in charts if rule.false_alarms is not None}
    readings = None
    days = _days(settings, study)
    if days:
        readings = f"{study.readings / days:.9f} per day"
    every = readings_per_false_alarm(false_alarms, readings)
    return dict.fromkeys((name for name, _ in charts), every)


def _days(settings: Settings, study: Backtest) -> float | None:
    if study.first is None or study.last is None or study.last <= study.first:
        return None
    return (study.last - study.first) / settings.input.tick.per_ms / _DAY_MS


def _write(config: Path, found: Sequence[RuleFindings]) -> dict[str, float]:
    limits = {one.name: one.calibrated.limit for one in found if one.calibrated is not None}
    for name, limit in limits.items():
        write_number(config, f"alarms.{name}", "limit", limit)
    return limits


def _document(
    settings: Settings,
    past: Past,
    study: Backtest,
    found: Sequence[RuleFindings],
    written: Mapping[str, float],
) -> dict[str, Any]:
    habits, per_ms = study.habits, settings.input.tick.per_ms
    gap = habits.gap(0.5)
    return {
        "source": past.name,
        "readings": study.readings,
        "rejected": past.rejected + study.rejected,
        "series": study.series,
        "first": study.first,
        "last": study.last,
        "days": _days(settings, study),
        "usual_gap_ms": None if gap is None else gap / per_ms,
        "longest_gap_ms": habits.longest_gap / per_ms,
        "longest_equal_run": habits.longest_run,
        "lag_1_correlation": habits.correlation,
        "share_of_hour": {one: habits.of_the_hour(one) for one in ("day", "week")},
        "rules": [_rule_document(one) for one in found],
        "written": dict(written),
    }


def _rule_document(one: RuleFindings) -> dict[str, Any]:
    calibrated = one.calibrated
    return {
        "rule": one.name,
        "kind": one.kind,
        "judged": one.judged,
        "readings_per_false_alarm": one.every,
        "limit": _number(one.own.limit),
        "raised": one.own.raised,
        "expected": one.expected,
        "chance": one.chance,
        "calibrated": None if calibrated is None else calibrated._asdict(),
        "grid": [count._asdict() for count in one.counts],
        "worst_series": dict(one.worst),
        "worst_series_at": _number(one.worst_at),
        "series_with_alarms": one.series_with_alarms,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lines(
    settings: Settings, past: Past, study: Backtest, found: Sequence[RuleFindings]
) -> Iterator[str]:
    days = _days(settings, study)
    span = ""
    if days:
        span = f", {days:,.1f} days" if days >= 2 else f", {shown_duration(days * _DAY_MS)}"
    yield f"{past.name}: {counted(study.readings, 'reading')} of {study.series:,} series{span}"
    if rejected := past.rejected + study.rejected:
        yield f"  left out: {rejected:,} not readings, or rejected by a policy"
    yield from _habit_lines(settings, study)
    width = shutil.get_terminal_size().columns
    for one in found:
        yield ""
        yield from _rule_lines(one, days, width)


def _habit_lines(settings: Settings, study: Backtest) -> Iterator[str]:
    habits, per_ms = study.habits, settings.input.tick.per_ms
    gap, most = habits.gap(0.5), habits.gap(0.99)
    if gap is not None and most is not None:
        usual, rare = (shown_duration(one / per_ms) for one in (gap, most))
        longest = shown_duration(habits.longest_gap / per_ms)
        yield f"  usual gap {usual}; 99 % are up to {rare}, the longest is {longest}"
    if habits.longest_run > 1:
        series = shown_text(study.series_of_longest_run or "", 60)
        quiet = f"; a flat rule with repeats = {3 * habits.longest_run} would have been quiet"
        line = f"  most equal values in a row: {habits.longest_run:,} ({series})"
        yield line + quiet
    of_day, of_week = habits.of_the_hour("day") or 0.0, habits.of_the_hour("week") or 0.0
    season, share = ("week", of_week) if of_week > of_day + _MORE else ("day", of_day)
    if share > _SEASON:
        yield (
            f"  the hour of the {season} says {share:.0%} of how readings deviate from what is "
            f'expected: try season = "{season}"'
        )
    if habits.correlation is not None and abs(habits.correlation) > _MEMORY:
        yield (
            f"  a reading predicts the next one (correlation {habits.correlation:.2f}): "
            "theory, which assumes independence, raises too many alarms; calibrate"
        )


def _rule_lines(one: RuleFindings, days: float | None, width: int) -> Iterator[str]:
    if one.kind == "stale" and not one.judged:
        yield f"rule {one.name} (stale): no series has enough readings with times to be judged"
        return
    if not one.counts:
        rate = f", {one.own.raised / days:.3g} a day" if days else ""
        yield f"rule {one.name} ({one.kind}): {counted(one.own.raised, 'alarm')}{rate}"
        yield from _worst_lines(one)
        return
    yield f"rule {one.name} ({one.kind}): {one.judged:,} readings judged"
    yield f"  limit {one.own.limit:g}: {_against(one.own.raised, one.expected, one.chance)}"
    if one.calibrated is not None:
        yield from _calibrated_lines(one.calibrated)
    elif one.every is None:
        yield '  there is no rate to calibrate for: give --false-alarms, such as "1 per week"'
    elif one.counts[0].first < one.judged / 2 / one.every:
        yield (
            f"  even limit {one.counts[0].limit:g} raises fewer alarms than are wanted: there is "
            "nothing to calibrate"
        )
    else:
        yield f"  no limit up to {one.counts[-1].limit:g} raises as few alarms as are wanted"
    yield ""
    rows = [
        [
            f"{count.limit:g}",
            f"{count.raised:,}",
            *([f"{count.raised / days:.3g}"] if days else []),
            f"{count.first:,}",
            f"{count.second:,}",
            _remark(count, one),
        ]
        for count in _shown(one)
    ]
    heads = ["limit", "alarms", *(["a day"] if days else []), "1st half", "2nd half", ""]
    yield from (f"  {line}" for line in table(heads, rows, width - 2, right=range(len(heads) - 1)))
    yield from _worst_lines(one)


def _against(raised: int, expected: float | None, chance: float | None) -> str:
    if expected is None or chance is None:
        return counted(raised, "alarm")
    verdict = f"{counted(raised, 'alarm')} where {expected:,.1f} are expected"
    if chance < 0.025:
        verdict += f": the theory does not hold here (p = {chance:.1g})"
    return verdict


def _calibrated_lines(one: Calibrated) -> Iterator[str]:
    low, high = one.within
    yield (
        f"  limit {one.limit:g} from the first half ({one.first:,} where {one.wanted_first:,.1f} "
        f"are wanted): in the second half {counted(one.second, 'alarm')} where {one.wanted:,.1f} "
        f"are wanted; {low:,} to {high:,} would be chance (95 %)"
    )
    if one.second > high:
        yield f"  more than chance (p = {one.chance:.1g}): the second half is not like the first"
    if one.wanted_first < FEW:
        yield (
            "  few alarms are wanted in so short a history, so the limit is a rough one: give a "
            "longer history, or calibrate for a higher rate"
        )


def _remark(count: Count, one: RuleFindings) -> str:
    remarks = ["now"] if count.limit == one.own.limit else []
    if one.calibrated is not None and count.limit == one.calibrated.limit:
        remarks.append("calibrated")
    return "<- " + ", ".join(remarks) if remarks else ""


def _shown(one: RuleFindings) -> list[Count]:
    """Return the limits about those that matter, and some of the others."""
    limits = [count.limit for count in one.counts]
    matter = {limits.index(one.own.limit)}
    if one.calibrated is not None:
        matter.add(limits.index(one.calibrated.limit))
    first = max(0, min(matter) - _ROWS_ABOUT)
    last = min(len(limits), max(matter) + _ROWS_ABOUT + 1)
    step = max(1, (last - first) // 14)
    places = sorted({*range(first, last, step), *matter})
    return [one.counts[place] for place in places]


def _worst_lines(one: RuleFindings) -> Iterator[str]:
    if one.series_with_alarms < 2:
        return
    total = sum(n for _, n in one.worst)
    at = f" at limit {one.worst_at:g}" if one.counts else ""
    yield f"  series with alarms{at}: {one.series_with_alarms:,}; these have {total:,}:"
    yield from (f"    {n:>8,}  {shown_text(series, 60)}" for series, n in one.worst)
