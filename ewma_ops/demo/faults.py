"""Faults that the demo puts into a copy of a recorded series, and what must be raised for each.

Knows readings, records of alarms and the names of rules; must not know of Kafka, flows or screens,
nor how a rule judges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ewma_ops.demo.data import RecordedReading, recorded_series

__all__ = [
    "FAULTS",
    "FAULTY",
    "READINGS_PER_FALSE_ALARM",
    "WATCHED",
    "Fault",
    "Verdict",
    "fault_at",
    "faulty_series",
    "judge",
    "with_faults",
]

FAULTY = "sea-surface-faulty"
"""A copy frozen: learned from the first readings of the recorded series, with the faults in it."""

WATCHED = "sea-surface*"
"""The series that the rules are for."""

READINGS_PER_FALSE_ALARM = 20_000
"""What the rules are designed for, all of them together."""

_SOURCE = "sea-surface"
_READINGS = 4_000
_AFTERMATH = 100
"""Readings after the end of a fault in which its end is still felt: a return is a jump too."""
_UNLIKELY = 1e-3
_SILENCE = 0.25
"""Part of the demo in which the faulty series is silent."""


class Fault(NamedTuple):
    """A fault of ``n`` readings from the ``first`` on, what is done to them, and who must say so.

    ``rule`` is the name of the rule that has to raise an alarm; ``add`` is added to the values; of
    a sensor that is ``stuck`` they stay what the first one is. Before the first reading of one that
    is ``silent`` nothing comes for a quarter of the demo, and nothing is done to any.
    """

    label: str
    rule: str
    first: int
    n: int
    add: float = 0.0
    stuck: bool = False
    silent: bool = False


FAULTS = (
    Fault("one reading that is 8 degrees too high", "spike", 1_400, 1, add=8.0),
    Fault("a sensor that is stuck for two days", "stuck", 2_100, 96, stuck=True),
    Fault("a sensor that sends nothing for some seconds", "silent", 2_500, 0, silent=True),
    Fault("a sensor that reads 6 degrees too much from then on", "level", 2_800, 1_200, add=6.0),
)
"""In order of time."""


def faulty_series() -> list[RecordedReading]:
    """Return the copy with the faults in it."""
    recorded = recorded_series()[_SOURCE][:_READINGS]
    found = [reading._replace(series_id=FAULTY) for reading in recorded]
    for fault in FAULTS:
        for k in range(fault.first, fault.first + fault.n):
            value = found[fault.first].value if fault.stuck else found[k].value + fault.add
            found[k] = found[k]._replace(value=round(value, 3))
    return found


def with_faults(recorded: Iterable[RecordedReading]) -> Iterator[RecordedReading]:
    """Yield recorded readings, and among them those of the faulty series, by its progress."""
    total, faulty = sum(map(len, recorded_series().values())), faulty_series()
    (silence,) = (fault.first for fault in FAULTS if fault.silent)
    due = 0
    for k, reading in enumerate(recorded, 1):
        yield reading
        while due < len(faulty):
            place = (due + 0.5) / len(faulty) * (1.0 - _SILENCE) + _SILENCE * (due >= silence)
            if place * total > k:
                break
            yield faulty[due]
            due += 1


def fault_at(faulty: Sequence[RecordedReading], time_ms: int) -> Fault | None:
    """Return the fault that an alarm of the faulty series at a time is about, if any is.

    ``faulty`` is the series: an alarm soon after a fault is about its end.
    """
    for fault in (one for one in FAULTS if not one.silent):
        last = min(fault.first + fault.n + _AFTERMATH, len(faulty)) - 1
        if faulty[fault.first].time_ms <= time_ms <= faulty[last].time_ms:
            return fault
    return None


class Verdict(NamedTuple):
    """What the alarms of a run say: the first about each fault, and those about none."""

    found: Mapping[Fault, Mapping[str, Any]]
    by_chance: Sequence[Mapping[str, Any]]
    expected: float
    """Alarms that the design of the rules lets expect without a fault."""
    wrong: Sequence[str]


def judge(alarms: Sequence[Mapping[str, Any]], sent: Mapping[str, int]) -> Verdict:
    """Compare the records of alarms with the faults.

    Parameters
    ----------
    alarms
        Records of transitions, in order for a series.
    sent
        How many readings were sent, by series.
    """
    faulty = faulty_series()[: sent.get(FAULTY, 0)]
    put = [fault for fault in FAULTS if fault.first < len(faulty)]
    found: dict[Fault, Mapping[str, Any]] = {}
    by_chance = []
    for alarm in alarms:
        if alarm["transition"] != "raised":
            continue
        fault = _about(alarm, faulty) if alarm["series_id"] == FAULTY else None
        if fault is None:
            by_chance.append(alarm)
        elif alarm["rule"] == fault.rule:
            found.setdefault(fault, alarm)
    judged = sum(n for series_id, n in sent.items() if series_id.startswith(_SOURCE))
    expected = judged / READINGS_PER_FALSE_ALARM
    wrong = [f"no alarm: {fault.label}" for fault in put if fault not in found]
    if _at_least(len(by_chance), expected) < _UNLIKELY:
        wrong.append(f"{len(by_chance)} alarms without a fault, {expected:.1f} expected by design")
    return Verdict(found, by_chance, expected, wrong)


def _about(alarm: Mapping[str, Any], faulty: Sequence[RecordedReading]) -> Fault | None:
    """Return the fault that an alarm of the faulty series is about, if any is.

    One about a silence has the time of the log, at which no reading was recorded.
    """
    silences = {fault.rule: fault for fault in FAULTS if fault.silent}
    return silences.get(alarm["rule"]) or fault_at(faulty, alarm["time"])


def _at_least(n: int, mean: float) -> float:
    """Return the probability of n or more by chance (Poisson)."""
    fewer = (math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(n))
    return 1.0 - sum(fewer) if mean > 0.0 else float(n == 0)
