"""Transitions of alarms to records: JSON, one for each.

Knows what such a record looks like; must not know topics, sockets or how alarms are judged.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ewma_ops.columns.origins import Origins, partition_of, topic_of
from ewma_ops.columns.transitions import BY, EVIDENCE, SEVERITIES, TRANSITIONS, Transitions
from ewma_ops.serde.json.alarm_summary import AlarmFacts, summary

__all__ = ["AlarmEncoder", "RuleText", "identified"]

_LARGEST_REST = 4_096
"""Bytes of a record without ids and texts of the file: 20 numbers, their names, the sentence, with
at most 100 characters of an id, and the name of the input topic."""

_WHOLE = {"readings", "duration_ms"}
_DURATIONS = {"stale": ("duration_ms", "expected", "limit")}
"""Evidence in ticks, by kind; for the other kinds only ``duration_ms``."""
_NO_TIME = int(np.iinfo(np.int64).min)
_CLEARED = TRANSITIONS.index("cleared")
_HEARTBEAT = (1 << 64) - 1
"""Replaces the ordinal of a reading if a heartbeat was the trigger."""
_DIRECTIONS = {1: "high", -1: "low"}

Place = Callable[[int], tuple[str, int]]
"""Topic and partition of a partition's number, as `InputTopics.place` says."""


class RuleText(NamedTuple):
    """A rule in a record: name, kind, designed rate and runbook, ``""`` for none."""

    name: str
    kind: str
    designed: str = ""
    runbook: str = ""


class AlarmEncoder:
    """Encode transitions as JSON objects, one record each.

    Parameters
    ----------
    rules
        The rules in their order: a transition names one by its number.
    job
        32-bit hash of the alarms' identity, which ends their ids.
    place
        Says topic and partition of an input partition's number.
    ticks_per_ms
        In how many ticks of the job's clock a millisecond is: ``time`` and ``since`` are written in
        ticks, as in events, durations in milliseconds.

    Notes
    -----
    The same transitions give the same bytes on every machine: a number is written in the shortest
    form that reads back the same, and one that is absent (NaN) is left out.
    """

    def __init__(
        self, rules: Sequence[RuleText], job: int, place: Place, ticks_per_ms: int = 1
    ) -> None:
        self._rules = list(rules)
        self._job = job
        self._place = place
        self._ticks_per_ms = ticks_per_ms
        self._encode = msgspec.json.Encoder().encode

    def largest(self, max_id_bytes: int) -> int:
        """Return the most bytes that key and value of a record may have."""
        rules = max(len(self._encode(list(rule))) for rule in self._rules)
        names = max(6 * len(rule.name.encode()) for rule in self._rules)
        escaped = max_id_bytes * len(rb"\u0000")
        return max_id_bytes + escaped + rules + names + _LARGEST_REST

    def encode(self, transitions: Transitions) -> list[bytes]:
        """Encode each transition, in order."""
        return [self._encode(record) for record in self.records(transitions)]

    def records(self, transitions: Transitions) -> list[dict[str, Any]]:
        """Return each transition as the object that is written."""
        found = transitions
        evidence = {
            name: found.evidence[name].tolist() for name in EVIDENCE if name in found.evidence
        }
        at = _positions(found.origins, len(found))
        raised = _positions(found.raised, len(found))
        columns = zip(
            found.series_ids,
            repeat(None) if found.times_ms is None else found.times_ms.tolist(),
            repeat(None) if found.since_ms is None else found.since_ms.tolist(),
            found.rules.tolist(),
            found.transitions.tolist(),
            found.by.tolist(),
            found.severities.tolist(),
            found.highs.tolist(),
            strict=False,  # readings without times have None
        )
        records = []
        for i, (series_id, time, since, rule, *codes, high) in enumerate(columns):
            text, (became, by, severity) = self._rules[rule], codes
            numbers = {name: column[i] for name, column in evidence.items()}
            for name in _DURATIONS.get(text.kind, ("duration_ms",)):
                if name in numbers:
                    numbers[name] /= self._ticks_per_ms
            known = {name: number for name, number in numbers.items() if name in AlarmFacts._fields}
            words = TRANSITIONS[became], BY[by], SEVERITIES[severity]
            facts = AlarmFacts(series_id, text.kind, *words, high, **known)
            moments = {"time": _moment(time), "since": _moment(since)}
            alarm_id = self._alarm_id(text.name, raised[i])
            record = _record(alarm_id, text, facts, moments, numbers, self._where(at[i]))
            records.append({key: value for key, value in record.items() if value is not None})
        return records

    def _alarm_id(self, rule: str, raised: _Position | None) -> str:
        if raised is None:
            return rule
        number, offset, ordinal = raised
        message = f"{offset}-{ordinal}" if ordinal else f"{offset}"
        job = self._job ^ topic_of(number)
        return f"{rule}-{partition_of(number)}-{message}-{job:08x}"

    def _where(self, position: _Position | None) -> dict[str, Any]:
        if position is None:
            return {}
        number, offset, ordinal = position
        topic, partition = self._place(number)
        where = {"topic": topic, "partition": partition, "offset": offset}
        return {**where, "ordinal": ordinal} if ordinal else where


def _record(
    alarm_id: str,
    rule: RuleText,
    facts: AlarmFacts,
    moments: Mapping[str, int | None],
    numbers: Mapping[str, float],
    where: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a record in the order of its keys; ``None`` for missing fields."""
    return {
        "alarm_id": alarm_id,
        "transition": facts.transition,
        "by": facts.by or None,
        "rule": rule.name,
        "kind": rule.kind,
        "severity": facts.severity,
        "direction": _DIRECTIONS.get(facts.high),
        "series_id": facts.series_id,
        **moments,
        **{name: _plain(name, number) for name, number in numbers.items()},
        "designed": rule.designed or None,
        "runbook": rule.runbook or None,
        **where,
        "summary": summary(facts),
    }


_Position = tuple[int, int, int]
"""Number of the input partition, offset and ordinal."""


def _moment(time: int | None) -> int | None:
    return None if time == _NO_TIME else time


def _positions(origins: Origins | None, n: int) -> Sequence[_Position | None]:
    if origins is None:
        return [None] * n
    numbers = origins.partitions.astype(np.int64).tolist()
    ordinals = origins.ordinals_or_zeros().tolist()
    return list(zip(numbers, origins.offsets.tolist(), ordinals, strict=True))


def _plain(name: str, number: float) -> float | int | None:
    if not math.isfinite(number):
        return None
    return int(number) if name in _WHOLE and number == int(number) else number


def identified(transitions: Transitions, rules: Sequence[RuleText], job: int) -> Origins | None:
    """Return the identities of the records of transitions, as positions in the input.

    Partition and offset are those of the reading that triggered it. A reading may trigger several
    rules, and a message hold several readings: so the ordinal is a hash, of 64 bits, of the rule,
    the series, the ordinal of the reading in its message, and the job, as another configuration
    makes other alarms of the same reading. What a heartbeat triggers has the record that moved the
    clock, whose own reading may trigger the same rule for the same series. ``None`` for transitions
    of readings without origins.
    """
    origins = transitions.origins
    if origins is None:
        return None
    rows = zip(
        transitions.rules.tolist(),
        transitions.series_ids,
        origins.ordinals_or_zeros().tolist(),
        (transitions.transitions == _CLEARED).tolist(),
        strict=True,
    )
    ordinals = np.fromiter(
        (
            _ordinal(
                job,
                rules[rule].name,
                series_id,
                ordinal if cleared or rules[rule].kind != "stale" else _HEARTBEAT,
            )
            for rule, series_id, ordinal, cleared in rows
        ),
        np.uint64,
        len(transitions),
    )
    return Origins(origins.partitions, origins.offsets, ordinals)


def _ordinal(job: int, rule: str, series_id: str, ordinal: int) -> int:
    text = f"{job} {ordinal} {len(rule)} {rule} {series_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
