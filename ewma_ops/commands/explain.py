"""``ewma explain``: which readings raised an alarm, with which weights, as text or JSON.

Knows the parts of an alarm's id, topics and layout; the mathematics is in `studies.explanation`.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ewma_ops.columns.murmur2 import murmur2
from ewma_ops.columns.origins import topic_of
from ewma_ops.columns.readings import Readings
from ewma_ops.columns.ticks import shown_duration
from ewma_ops.commands.series_past import SeriesPast
from ewma_ops.commands.terminal import table
from ewma_ops.connectors.inputs import InputTopics
from ewma_ops.connectors.resend import read_topic
from ewma_ops.errors import ConfigError, shown
from ewma_ops.job.identity import identify
from ewma_ops.job.showing import shown_text
from ewma_ops.monitor.chart_rules import HOURS
from ewma_ops.monitor.rules import ChartRule, Frozen, Rule, Stale
from ewma_ops.settings.load import load
from ewma_ops.settings.model import Settings
from ewma_ops.stats.ahead import SEASON_KEPT
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.studies.explanation import Explanation, Share, explain
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
"""Weight of the readings of the baseline that need not be read."""
_MOST_READ = 200_000
_MOST_GAPS = 1_000
"""Readings from which on the usual gap is known: earlier ones hardly weigh, or no longer matter."""
_ROWS = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


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
        If it is none.

    Examples
    --------
    >>> parse_alarm_id("level-0-18231-9f3a51c2")
    AlarmId(rule='level', partition=0, offset=18231, ordinal=0, job=2671399362)
    """
    found = _ID.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{shown(text)} is not the id of an alarm: give what stands in alarm_id on the alarms "
            "topic, such as level-0-18231-9f3a51c2"
        )
    numbers = int(found["partition"]), int(found["offset"]), int(found["ordinal"] or 0)
    if numbers[1] >= _NO_OFFSET:
        raise ConfigError(f"{shown(text)} is not the id of an alarm: no offset is so large")
    return AlarmId(found["rule"], *numbers, int(found["job"], 16))


@dataclass(frozen=True)
class _Found:
    """What was found of an alarm: its record, its readings, and what the rule saw."""

    alarm: str
    series_id: str
    rule: Rule
    record: dict[str, Any] | None
    same_rules: bool
    readings: Readings
    whole: bool
    place: int
    explanation: Explanation | None
    silence: Silence | None = None
    per_ms: int = 1


def explain_alarm(alarm_id: str, config: Path, *, as_json: bool = False) -> int:
    """Print which readings raised an alarm; return an exit code.

    Raises
    ------
    ConfigError
        If the id is none, there is no such rule, or the reading is gone.
    BrokerError
        If no broker answers.
    """
    asked = parse_alarm_id(alarm_id)
    settings = load(config)
    if settings.alarms is None:
        raise ConfigError(f"{config} has no rules; give the configuration that raised the alarm")
    identity = identify(settings, {}, letters=False)
    rule = _rule(settings, asked.rule)
    topic, same_rules = _place(identity.inputs, asked, murmur2(identity.alarms.encode()))
    record = _record(settings, alarm_id.strip())
    past = SeriesPast(settings, topic, asked.partition, asked.offset)
    try:
        series_id = _series_of(past.message(), asked, topic)
        readings = past.of_series(
            series_id, lambda one: _is_enough(one, rule, settings.input.tick.per_ms)
        )
    finally:
        past.close()
    readings = _admitted(settings, readings, asked)
    place = 0 if rule.field is None else settings.smoothing_set.fields.index(rule.field)
    found, silence, per_ms = None, None, settings.input.tick.per_ms
    if isinstance(rule, ChartRule):
        values, gaps, times = _observed(readings, place)
        found = explain(rule, values, gaps, times, per_ms) if values else None
    elif isinstance(rule, Stale):
        silence = explain_silence(rule, _logged(readings, place, per_ms).tolist(), per_ms)
    every = _Found(
        *(alarm_id.strip(), series_id, rule, record, same_rules, readings, past.whole, place),
        *(found, silence, per_ms),
    )
    if as_json:
        print(msgspec.json.encode(_document(every)).decode())
        return 0
    for line in _lines(every, settings):
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
    """Return the topic of the reading, and whether the alarm is of this very configuration."""
    numbers = [
        number for number in inputs.numbers() if inputs.place(number).partition == asked.partition
    ]
    for number in numbers:
        if job ^ topic_of(number) == asked.job:
            return inputs.place(number).topic, True
    if len(inputs.names) > 1:
        raise ConfigError(
            "the alarm was raised with another configuration, and which of the topics its reading "
            "is on is not known: give the configuration that raised it"
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
        "the topic was created again, or the configuration reads it otherwise now"
    )


def _is_enough(readings: Readings, rule: Rule, per_ms: int) -> bool:
    """Tell whether what lies before the readings hardly weighs."""
    if isinstance(rule, Stale):
        return len(readings) > max(rule.warm_up, _MOST_GAPS)
    if not isinstance(rule, ChartRule):
        return len(readings) > rule.for_
    n = len(readings)
    if n >= _MOST_READ:
        return True
    if n <= rule.warm_up or isinstance(rule.baseline, Frozen):  # frozen: of the first readings
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
    """Return the readings up to the alarm's that policies let in, since the series was reset."""
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


def _observed(readings: Readings, place: int) -> tuple[list[float], list[int], list[int] | None]:
    """Return the values that are not missing, the time since the newest before, and the times."""
    column = _column(readings, place)
    at = np.flatnonzero(~np.isnan(column))
    times = readings.times_ms
    if times is None or not len(at):
        return column[at].tolist(), [0] * len(at), None
    own = times[at]
    newest = np.maximum.accumulate(own)
    gaps = np.append(0, own[1:] - newest[:-1])
    return column[at].tolist(), gaps.tolist(), own.tolist()


def _document(found: _Found) -> dict[str, Any]:
    explanation = found.explanation
    document: dict[str, Any] = {
        "alarm_id": found.alarm,
        "series_id": found.series_id,
        "kind": found.rule.kind,
        "same_rules": found.same_rules,
        "record": found.record,
        "readings_read": len(found.readings),
        "whole_history": found.whole,
    }
    if found.silence is not None:
        usual, reach, due = found.silence
        per_ms = found.per_ms
        told = {"usual_gap_ms": usual / per_ms, "limit_ms": reach / per_ms, "silent_from": due}
        return {**document, "explanation": told}
    if explanation is None:
        return {**document, "explanation": None}
    names = ("measured", "expected", "lower", "upper", "score", "std", "n_eff")
    document["explanation"] = {name: getattr(explanation, name) for name in names}
    document["explanation"]["shares"] = [
        {**_where(found, share), **share._asdict()} for share in explanation.shares
    ]
    return document


def _column(readings: Readings, place: int) -> NDArray[np.float64]:
    return readings.values if readings.values.ndim == 1 else readings.values[:, place]


def _where(found: _Found, share: Share) -> dict[str, Any]:
    readings = found.readings
    at = int(np.flatnonzero(~np.isnan(_column(readings, found.place)))[share.place])
    assert readings.origins is not None
    time = None if readings.times_ms is None else int(readings.times_ms[at])
    return {"offset": int(readings.origins.offsets[at]), "time": time}


def _lines(found: _Found, settings: Settings) -> Iterator[str]:
    yield f"{found.alarm}: rule {found.alarm.split('-')[0]} on {shown_text(found.series_id, 80)}"
    if found.record is not None:
        yield f"  {shown_text(str(found.record.get('summary', '')), 400)}"
    else:
        yield "  the alarms topic has no record of it any more"
    if not found.same_rules:
        yield "  it was raised with another configuration; what follows is by this one"
    explanation = found.explanation
    if isinstance(found.rule, Stale):
        yield from _silence_lines(found, settings)
        return
    if explanation is None:
        yield from _plain_lines(found, settings)
        return
    one = explanation
    yield (
        f"  computed again: {one.measured:.6g}, expected {one.expected:.6g} ({one.lower:.6g} to "
        f"{one.upper:.6g}), {one.score:.3g} standard errors off"
    )
    if not found.whole:
        yield f"  from the last {len(found.readings):,} readings; earlier ones hardly weigh"
    if len(one.shares) > 1:
        newest = ", ".join(f"{share.share:.0%}" for share in one.shares[:3])
        yield (
            f"  the last {min(_ROWS, len(one.shares))} readings hold {one.newest(_ROWS):.0%} of "
            f"the deviation, the newest {newest}; half of it came in {one.needed(0.5)} readings"
        )
    yield ""
    yield from _table(found, one, settings)


def _plain_lines(found: _Found, settings: Settings) -> Iterator[str]:
    column = _column(found.readings, found.place)
    if isinstance(found.rule, ChartRule):
        n, which = len(found.readings), "all" if found.whole else "the last"
        yield f"  by {which} {n:,} readings up to there the rule does not judge it; the newest:"
    else:
        kind = found.rule.kind
        yield f"  a rule {kind} looks at the reading itself; the last ones of the series:"
    for at in range(len(found.readings) - 1, max(-1, len(found.readings) - 6), -1):
        times = found.readings.times_ms
        when = "" if times is None else _moment(int(times[at]), settings)
        yield f"    {when}  {column[at]:.6g}"


def _silence_lines(found: _Found, settings: Settings) -> Iterator[str]:
    per_ms = settings.input.tick.per_ms
    if (silence := found.silence) is None:
        yield "  computed again: too few readings are left of the series (warm_up)"
    else:
        usual, reach = (shown_duration(one / per_ms) for one in silence[:2])
        yield (
            f"  computed again: usually a reading every {usual}; nothing for {reach} is too long: "
            f"from {_moment(silence.due, settings)} on, by the timestamps of the records"
        )
    times = _logged(found.readings, found.place, per_ms)
    yield "  the last readings before the silence, and the gaps before them:"
    for at in range(len(times) - 1, max(-1, len(times) - 6), -1):
        gap = "" if not at else shown_duration(max(int(times[at] - times[at - 1]), 0) / per_ms)
        yield f"    {_moment(int(times[at]), settings)}  {gap}"


def _logged(readings: Readings, place: int, per_ms: int) -> NDArray[np.int64]:
    """Return the timestamps of readings with a value, in ticks: what the log's clock showed."""
    assert readings.appended_ms is not None
    return readings.appended_ms[~np.isnan(_column(readings, place))] * per_ms


def _table(found: _Found, one: Explanation, settings: Settings) -> Iterator[str]:
    rows: list[Sequence[str]] = []
    for share in one.shares[:_ROWS]:
        where = _where(found, share)
        clipped = f"{share.used:.6g}" if share.used != share.value else ""
        rows.append([
            f"{where['offset']:,}",
            "" if where["time"] is None else _moment(where["time"], settings),
            f"{share.value:.6g}", clipped, f"{share.weight:.1%}", f"{share.share:.1%}",
        ])  # fmt: skip
    heads = ["offset", "time", "value", "clipped to", "weight", "share"]
    width = shutil.get_terminal_size().columns
    yield from (f"  {line}" for line in table(heads, rows, width - 2, right={0, 2, 3, 4, 5}))


def _moment(ticks: int, settings: Settings) -> str:
    ms = ticks // settings.input.tick.per_ms
    try:
        moment = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return str(ticks)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
