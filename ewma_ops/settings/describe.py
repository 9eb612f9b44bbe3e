"""Describes a configuration for people: ``ewma check``.

Knows settings and their layout on one screen; must not know Kafka. Shows no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta, timezone

from ewma_ops.monitor.rules import ChartRule, Rule
from ewma_ops.secrets.masking import masked
from ewma_ops.settings.model import Alarms, Output, Settings, show_value
from ewma_ops.stats.composites import Composite
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingLike, SmoothingSet

__all__ = ["describe"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def describe(settings: Settings) -> str:
    """Return a description of the job on one screen, with secrets masked."""
    reads, recovery = settings.input, settings.recovery
    start: object = reads.start
    if isinstance(start, int):
        start = _EPOCH + timedelta(milliseconds=start)
    lines = [
        ("kafka", ", ".join(f"{key} = {shown}" for key, shown in settings.kafka.shown.items())),
        ("reads", f"{reads.source}, start {start}, stop {reads.stop}, group {reads.group_id}"),
        *([] if settings.registry is None else [("registry", ", ".join(settings.registry.url))]),
        *([] if reads.format == "json" else [("format", reads.format)]),
        *([] if reads.schema is None else [("schema", str(reads.schema))]),
        *([] if reads.records is None else [("records", reads.records)]),
        *([] if not reads.where else [("where", _wanted(reads.where))]),
        ("series id", "record key" if reads.series_id is None else _listed(reads.series_id, "/")),
        ("value", _listed(reads.value, ", ")),
        *([] if reads.weight is None else [("weight", reads.weight)]),
        ("time", "record timestamp" if reads.time is None else reads.time),
        *(line for name, one in settings.smoothing_set.smoothings for line in _smooths(name, one)),
        ("policies", settings.smoothing_set.policies.describe()),
        *_forgets(settings.smoothing_set),
        ("shards", f"{settings.shards} shards"),
        *([] if settings.warm_start is None else [("warm start", str(settings.warm_start))]),
        ("writes", _writes(settings.output)),
        *(
            []
            if not settings.output.include
            else [("includes", ", ".join(settings.output.include))]
        ),
        ("statistics", ", ".join(settings.event_statistics)),
        *([] if settings.alarms is None else _alarms(settings.alarms)),
        ("bad messages", settings.dead_letters.topic),
        *([] if settings.notify is None else [("notifies", settings.notify.receivers)]),
        (
            "recovery",
            "none: after a restart every series starts over"
            if recovery is None
            else f"{recovery.directory}, every {recovery.interval.total_seconds():g} s",
        ),
        *([] if settings.metrics is None else [("metrics", f"http://{settings.metrics.bind}")]),
    ]
    return masked("\n".join(f"{name:<13}{text}" for name, text in lines))


def _forgets(asked: SmoothingSet) -> list[tuple[str, str]]:
    if asked.forget_after is None:
        return []
    after_s = asked.forget_after / asked.tick.per_ms / 1_000
    return [("forgets", f"a series that is idle for more than {after_s:,g} s")]


def _smooths(name: str, asked: SmoothingLike) -> list[tuple[str, str]]:
    if isinstance(asked, Composite):
        stages = [line for stage, one in asked.stages for line in _smooths(f"  {stage}", one)]
        return [(name or "composite", asked.name), *stages]
    smoothing = asked
    weighs = "" if smoothing.weighting == "observation" else f", weighed by {smoothing.weighting}"
    return [
        (name or "smooths", f"{smoothing.decay.describe()}{weighs}"),
        ("start-up", f"{smoothing.start_up}, min_periods {smoothing.min_periods}"),
        ("missing", smoothing.missing),
        *([("outlook", _outlook(smoothing))] if _looks_ahead(smoothing) else []),
    ]


def _looks_ahead(smoothing: Smoothing) -> bool:
    return not smoothing.needs.isdisjoint(("age_variance", "error_weight"))


def _outlook(smoothing: Smoothing) -> str:
    unit = "" if smoothing.decay.by_time else " readings"
    parts: list[str] = [smoothing.outlook]
    if smoothing.trend_halflife is not None:
        parts.append(f"of weights that halve every {smoothing.trend_halflife}{unit}")
    if smoothing.season != "none":
        named = smoothing.season in ("hour", "day", "week")
        period = f"{'the ' if named else ''}{smoothing.season}{unit}"
        kind = "" if smoothing.season_kind == "additive" else "multiplicative "
        parts.append(f"a {kind}season of {period}")
    if smoothing.horizon is not None:
        parts.append(f"{smoothing.horizon}{unit} ahead")
    if smoothing.fixed_lag is not None:
        parts.append(f"level smoothed {smoothing.fixed_lag}{unit} back")
    if smoothing.damping is not None:
        parts.append(f"damped, halving every {smoothing.damping}{unit}")
    if "forecast_lower" in smoothing.statistics or "forecast_upper" in smoothing.statistics:
        parts.append(f"bounds of {smoothing.coverage:.6g}")
    return ", ".join(parts)


def _alarms(asked: Alarms) -> Iterator[tuple[str, str]]:
    yield "alarms", asked.topic
    for name, rule in asked.rules.rules:
        kind = "" if rule.kind == name else f" ({rule.kind})"
        yield "  rule", f"{name}{kind}: {_judges(rule, computed=name in asked.computed)}"


def _judges(rule: Rule, *, computed: bool) -> str:
    """Describe the numbers by which a rule judges, and its series."""
    parts = []
    if isinstance(rule, ChartRule):
        wanted = ", computed for" if computed else ", given; wanted"
        rate = "" if rule.designed is None else f"{wanted} {rule.designed}"
        parts.append(f"limit {rule.limit:.6g}{rate}")
    else:
        common = {"decay", *(field.name for field in fields(Rule))}
        own = {f.name: getattr(rule, f.name) for f in fields(rule) if f.name not in common}
        given = {name: value for name, value in own.items() if value is not None}
        parts += [f"{name} {_plain(value)}" for name, value in given.items()]
    if rule.for_ > 1:
        parts.append(f"for {rule.for_} readings")
    parts.append(rule.severity)
    return "; ".join([*parts, *([f"series {', '.join(rule.series)}"] if rule.series else [])])


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wanted(where: Mapping[str, Sequence[object]]) -> str:
    return ", ".join(
        f"{path} = {' or '.join(show_value(path, one) for one in values)}"
        for path, values in where.items()
    )


def _writes(output: Output) -> str:
    format_ = "" if output.format == "json" else f", {output.format}"
    return f"{output.topic}, {output.delivery}{format_}"


def _listed(paths: str | Sequence[str], by: str) -> str:
    return paths if isinstance(paths, str) else by.join(paths)
