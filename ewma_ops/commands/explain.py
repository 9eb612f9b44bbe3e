"""``ewma explain``: which readings raised an alarm, with which weights, as text or JSON.

Knows the parts of an alarm's id, and how far to read back; the mathematics is in
`studies.explanation`, what is printed in `explained`.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import topic_of
from ewma_ops.columns.readings import Readings
from ewma_ops.commands.explained import Explained
from ewma_ops.commands.series_past import SeriesPast
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.resend import read_topic
from ewma_ops.errors import ConfigError, shown
from ewma_ops.job.identity import identify
from ewma_ops.monitor.chart_rule import HOURS
from ewma_ops.monitor.rules import ChartRule, Frozen, Rule, Stale
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.stats.ahead import SEASON_KEPT
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.studies.explanation import Explanation, explain
from ewma_ops.studies.silences import Silence, explain_silence
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

__all__ = ["AlarmId", "explain_alarm", "parse_alarm_id"]

_ID = re.compile(
    r"(?P<rule>[A-Za-z][A-Za-z0-9_]{0,63})-(?P<partition>\d{1,10})-(?P<offset>\d{1,19})"
    r"(?:-(?P<ordinal>\d{1,20}))?-(?P<job>[0-9a-f]{8})"
)
_NO_OFFSET = (1 << 63) - 1
_LEFT_OUT = 1e-6
"""Total weight of the readings of the baseline that may be left unread."""
_MOST_READ = 200_000
_MOST_GAPS = 1_000
"""How many readings determine the usual gap: earlier ones hardly weigh, or do not matter."""


class AlarmId(NamedTuple):
    """The parts of an alarm's id."""

    rule: str
    partition: int
    offset: int
    ordinal: int
    job: int


def parse_alarm_id(text: str) -> AlarmId:
    """Return the parts of an alarm's id.

    Raises
    ------
    ConfigError
        If it is invalid.

    Examples
    --------
    >>> parse_alarm_id("level-0-18231-9f3a51c2")
    AlarmId(rule='level', partition=0, offset=18231, ordinal=0, job=2671399362)
    """
    found = _ID.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{shown(text)} is not the id of an alarm: give the alarm_id of a record on the alarms "
            "topic, such as level-0-18231-9f3a51c2"
        )
    numbers = int(found["partition"]), int(found["offset"]), int(found["ordinal"] or 0)
    if numbers[1] >= _NO_OFFSET:
        raise ConfigError(f"{shown(text)} is not the id of an alarm: its offset is too large")
    return AlarmId(found["rule"], *numbers, int(found["job"], 16))


def explain_alarm(alarm_id: str, config: Path, *, as_json: bool = False) -> int:
    """Print which readings raised an alarm; return an exit code.

    Raises
    ------
    ConfigError
        If the id is invalid, there is no such rule, or the reading is gone.
    BrokerError
        If no broker answers.
    """
    asked = parse_alarm_id(alarm_id)
    settings = load(config)
    if settings.alarms is None:
        raise ConfigError(f"{config} has no rules; give the configuration that raised the alarm")
    identity = identify(settings, {}, letters=False)
    rule, per_ms = _rule(settings, asked.rule), settings.input.tick.per_ms
    topic, same_rules = _place(identity.inputs, asked, murmur2(identity.alarms.encode()))
    record = _record(settings, alarm_id.strip())
    past = SeriesPast(settings, topic, asked.partition, asked.offset)
    try:
        series_id = _series_of(past.message(), asked, topic)
        readings = past.of_series(series_id, lambda one: _is_enough(one, rule, per_ms))
    finally:
        past.close()
    readings = _admitted(settings, readings, asked)
    values = _column(
        readings, 0 if rule.field is None else settings.smoothing_set.fields.index(rule.field)
    )
    found = Explained(
        alarm_id.strip(),
        series_id,
        rule,
        record,
        same_rules,
        readings,
        values,
        past.whole,
        per_ms,
        _explanation(rule, readings, values, per_ms),
        _silence(rule, readings, values, per_ms),
    )
    if as_json:
        print(msgspec.json.encode(found.document()).decode())
        return 0
    for line in found.lines():
        print(line)
    return 0


def _rule(settings: Settings, name: str) -> Rule:
    assert settings.alarms is not None
    rules = dict(settings.alarms.rules.with_limits(settings.smoothing_set.only).rules)
    if name not in rules:
        raise ConfigError(
            f"there is no rule {name!r} in [alarms]; there are {', '.join(rules)}: give the "
            "configuration that raised the alarm"
        )
    rule = rules[name]
    return rule.in_ticks(settings.input.tick.per_ms)


def _place(inputs: InputTopics, asked: AlarmId, job: int) -> tuple[str, bool]:
    """Return the topic of the reading, and whether this configuration raised the alarm."""
    numbers = [
        number for number in inputs.numbers() if inputs.place(number).partition == asked.partition
    ]
    for number in numbers:
        if job ^ topic_of(number) == asked.job:
            return inputs.place(number).topic, True
    if len(inputs.names) > 1:
        raise ConfigError(
            "the alarm was raised with another configuration, so the topic of its reading is "
            "unknown: give the configuration that raised it"
        )
    if not numbers:
        raise ConfigError(f"topic {inputs} has no partition {asked.partition}")
    return inputs.place(numbers[0]).topic, False


def _record(settings: Settings, alarm_id: str) -> dict[str, Any] | None:
    """Return the record that says that the alarm was raised, from the alarms topic."""
    assert settings.alarms is not None
    needle = alarm_id.encode()
    for record in read_topic(settings.kafka, settings.alarms.topic):
        if needle in (record.value or b""):
            try:
                document = msgspec.json.decode(record.value, type=dict[str, Any])
            except msgspec.MsgspecError:
                continue  # not a record of alarms
            if document.get("alarm_id") == alarm_id and document.get("transition") == "raised":
                return document
    return None


def _series_of(message: Readings, asked: AlarmId, topic: str) -> str:
    assert message.origins is not None
    ordinals = message.origins.ordinals_or_zeros().tolist()
    for series_id, ordinal in zip(message.series_ids, ordinals, strict=True):
        if ordinal == asked.ordinal:
            return series_id
    raise ConfigError(
        f"the message at offset {asked.offset:,} of {topic}/{asked.partition} has no such reading: "
        "the topic was created again, or the configuration now reads it differently"
    )


def _is_enough(readings: Readings, rule: Rule, per_ms: int) -> bool:
    """Return whether readings before these have negligible weight."""
    if isinstance(rule, Stale):
        return len(readings) > max(rule.warm_up, _MOST_GAPS)
    if not isinstance(rule, ChartRule):
        return len(readings) > rule.for_
    n = len(readings)
    if n >= _MOST_READ:
        return True
    if n <= rule.warm_up or isinstance(rule.baseline, Frozen):  # learned from the first readings
        return False
    if rule.memory != "none" and n * 2.0 / (rule.memory_span + 1.0) < -math.log(_LEFT_OUT):
        return False
    times = readings.times_ms
    if rule.season != "none":
        assert times is not None
        hours = int(times[-1] - times[0]) // (3_600_000 * per_ms)
        if hours * -math.log(SEASON_KEPT) < -math.log(_LEFT_OUT) * HOURS[rule.season]:
            return False
    return all(_is_past(decay, n, times) for decay in rule.decays())


def _is_past(decay: Decay, n: int, times: NDArray[np.int64] | None) -> bool:
    """Return whether after ``n`` readings hardly any weight is left of those before them."""
    if not decay.by_time:
        return n * -math.log(max(decay.beta, 1e-300)) > -math.log(_LEFT_OUT)
    assert times is not None
    return bool(decay.retention_of(int(times[-1] - times[0])) < _LEFT_OUT)


def _admitted(settings: Settings, readings: Readings, asked: AlarmId) -> Readings:
    """Return the admitted readings since the series was reset, up to that of the alarm."""
    assert readings.origins is not None
    beyond = (readings.origins.offsets == asked.offset) & (
        readings.origins.ordinals_or_zeros() > asked.ordinal
    )
    readings = readings.take(np.flatnonzero(~beyond))
    own = settings.smoothing_set
    (_, first), *_ = own.smoothings
    policies = first if isinstance(first, Smoothing) else Smoothing(Decay(beta=0.5))
    counting = replace(policies, statistics=("mean", "count"), min_periods=0)
    fields = own.fields or own.width
    table_ = SeriesTable(SmoothingSet.of(counting, fields, tick=own.tick))
    smoothed = table_.update(readings, collect_rejected=True)
    name = next(name for name in smoothed.statistics if name.endswith("count"))
    begins = np.flatnonzero(smoothed.statistics[name] <= 1)
    return smoothed.readings.take(np.arange(begins[-1] if len(begins) else 0, len(smoothed)))


def _explanation(
    rule: Rule, readings: Readings, values: NDArray[np.float64], per_ms: int
) -> Explanation | None:
    """Return what a rule about standard errors saw at the newest reading with a value."""
    at = np.flatnonzero(~np.isnan(values))
    if not isinstance(rule, ChartRule) or not len(at):
        return None
    if readings.times_ms is None:
        return explain(rule, values[at].tolist(), [0] * len(at), None, per_ms)
    times = readings.times_ms[at]
    gaps = np.append(0, times[1:] - np.maximum.accumulate(times)[:-1])  # to the newest before
    return explain(rule, values[at].tolist(), gaps.tolist(), times.tolist(), per_ms)


def _silence(
    rule: Rule, readings: Readings, values: NDArray[np.float64], per_ms: int
) -> Silence | None:
    """Return the silence that a stale rule saw, by what the log's clock showed."""
    if not isinstance(rule, Stale):
        return None
    assert readings.appended_ms is not None
    return explain_silence(
        rule, (readings.appended_ms[~np.isnan(values)] * per_ms).tolist(), per_ms
    )


def _column(readings: Readings, place: int) -> NDArray[np.float64]:
    return readings.values if readings.values.ndim == 1 else readings.values[:, place]
