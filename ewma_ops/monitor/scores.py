"""The table of kinds of rules: how each scores a reading, and which scores are beyond.

Knows formulas, using only operations that give the same bits for a number and for a column; must
not know series, state, or how alarms come and go (`machine`).

To add a kind of rule: its class in `rules`, and an entry in `KINDS`, here. Its memory of a series
is a `Tracker`; the machine handles consecutive readings, times and severities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ewma_ops.monitor.baseline import Baseline
from ewma_ops.monitor.chart_rule import Outlook
from ewma_ops.monitor.forecast import Forecast
from ewma_ops.monitor.machine import Machine, Scored, Thresholds
from ewma_ops.monitor.memory import Memory
from ewma_ops.monitor.reference import Reference
from ewma_ops.monitor.rules import Bounds, Change, ChartRule, Flat, Frozen, Given
from ewma_ops.monitor.season import Seasonal, Seasoned
from ewma_ops.monitor.silence import Silences, usual_gap
from ewma_ops.monitor.stale_rule import Stale
from ewma_ops.monitor.standard import (
    inverse_degrees,
    ratio,
    reading_ratio,
    reading_scale,
    reading_z,
)
from ewma_ops.monitor.steps import Changes, Repeats
from ewma_ops.monitor.student import t_of_normal
from ewma_ops.monitor.tracking import ChartTracker, Tracker
from ewma_ops.monitor.variance_chart import VarianceChart
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.stats.line import Line
from ewma_ops.stats.ops import Ops

__all__ = ["KINDS", "Kind", "Read", "read_of"]

_LEAST_EXCESS = 1e-9
"""Below this difference the fast and the slow EWMA have the same weights."""
_NAN = math.nan
_TINY = 1e-300
_PER_MS = 1_000_000


class Read(NamedTuple):
    """A reading (numbers), or each of a batch (columns): its value, and what its tracker says.

    ``offset`` is the usual level at its hour, which the tracker did not see.
    """

    value: Any
    seen: Any
    offset: Any = 0.0

    def take(self, at: Any) -> Read:
        """Return some of a batch: those at places intp[m]."""
        seen = None if self.seen is None else type(self.seen)(*(one[at] for one in self.seen))
        offset = self.offset if isinstance(self.offset, float) else self.offset[at]
        return Read(self.value[at], seen, offset)

    def single(self, at: int) -> Read:
        """Return one reading of a batch, in numbers."""
        value, seen, offset = self.take(at)
        seen = None if seen is None else type(seen)(*(one.item() for one in seen))
        return Read(float(value), seen, float(offset))


@dataclass(frozen=True)
class Kind:
    """A kind of rule.

    Parameters
    ----------
    tracker
        (rule, ticks in a millisecond) -> the tracker of a series; ``None`` for none.
    score
        (read, ops) -> the score of the reading, and its deviation.
    thresholds
        (rule) -> from which scores on a reading is beyond, back, and critical.
    evidence
        (read, rule, ops) -> numbers for people by name, as `Transitions` has them.
    rough
        (read, ops) -> an upper bound of the score's magnitude that is cheaper to compute; ``None``
        for the score's own.
    machine
        Turns scores into alarms.
    """

    tracker: Callable[[Any, int], Tracker | None]
    score: Callable[[Read, Ops], Scored]
    thresholds: Callable[[Any], Thresholds]
    evidence: Callable[[Read, Any, Ops], Mapping[str, Any]]
    rough: Callable[[Read, Ops], Any] | None = None
    machine: type[Machine] = Machine


def _baseline(rule: ChartRule) -> ChartTracker:
    assert rule.decay is not None  # `with_limits` names both
    slow, fast = rule.baseline, rule.decay
    if isinstance(slow, Given):
        return Reference(fast, rule.warm_up, mean=slow.mean, std=slow.std)
    if isinstance(slow, Frozen):
        return Reference(fast, rule.warm_up, learned=slow.readings)
    assert isinstance(slow, (Decay, Outlook))
    errors = slow.errors if isinstance(slow, Outlook) else slow
    plain = Baseline(fast, errors, rule.warm_up)
    inner = plain if rule.memory == "none" else Memory(plain, rule.memory_span, rule.warm_up)
    return Forecast(inner, Line(slow.smoothing)) if isinstance(slow, Outlook) else inner


def _seasonal(rule: ChartRule, ticks_per_ms: int) -> Tracker:
    return _of_season(rule, _baseline(rule), ticks_per_ms)


def _of_season(rule: ChartRule, inner: ChartTracker, ticks_per_ms: int) -> Tracker:
    if rule.season == "none":
        return inner
    return Seasonal.of(inner, rule.season, rule.offset_ms(), ticks_per_ms)


def read_of(value: Any, known: Any) -> Read:
    """Return a reading, or a batch, with the evaluation of its tracker."""
    if isinstance(known, Seasoned):
        return Read(value, known.inner, known.offset)
    return Read(value, known)


def _chart(rule: ChartRule) -> Thresholds:
    assert rule.limit is not None  # `with_limits` computes it
    found = _two_sided(rule.limit, rule.clear, rule.critical, rule.direction)
    return found._replace(least=rule.least, least_back=rule.clear * rule.least)


def _two_sided(limit: float, clear: float, critical: float | None, direction: str) -> Thresholds:
    """Return thresholds on both sides of 0 symmetrically, or on one side."""
    most = math.inf if critical is None else critical * limit
    high, low = (math.inf if direction == other else 1.0 for other in ("low", "high"))
    return Thresholds(
        *(limit * high, -limit * low), *(clear * limit * high, -clear * limit * low),
        *(most * high, -most * low),
    )  # fmt: skip


def _level_scale(read: Read, o: Ops) -> Any:
    scale = o.sqrt(read.seen.variance * o.maximum(read.seen.excess, 0.0))
    return scale * getattr(read.seen, "gain", 1.0)


def _level(read: Read, o: Ops) -> Scored:
    seen = read.seen
    deviation = seen.fast - seen.slow
    judged = seen.judged & (seen.excess > _LEAST_EXCESS)
    score = ratio(deviation, _level_scale(read, o), judged, o)
    return Scored(score, deviation, seen.slow)


def _level_evidence(read: Read, rule: ChartRule, o: Ops) -> Mapping[str, Any]:
    seen, scale = read.seen, _level_scale(read, o)
    return _charted(read, seen.slow, scale, rule.limit, o)


def _spike_rough(read: Read, o: Ops) -> Any:
    return abs(reading_ratio(read.value - read.offset, read.seen, o))


def _spike(read: Read, o: Ops) -> Scored:
    value = read.value - read.offset
    return Scored(reading_z(value, read.seen, o), value - read.seen.before, read.seen.before)


def _spike_evidence(read: Read, rule: ChartRule, o: Ops) -> Mapping[str, Any]:
    limit = t_of_normal(rule.limit, inverse_degrees(read.seen, o))
    return _charted(read, read.seen.before, reading_scale(read.seen, o), limit, o)


def _variance(rule: ChartRule, ticks_per_ms: int) -> Tracker:
    return _of_season(rule, VarianceChart(_baseline(rule)), ticks_per_ms)


def _observed_std(read: Read, o: Ops) -> Any:
    return o.sqrt(read.seen.variance * o.maximum(1.0 + read.seen.excess, 0.0))


def _spread(read: Read, o: Ops) -> Scored:
    seen, std = read.seen, o.sqrt(read.seen.variance)
    score = ratio(seen.excess, seen.scale, seen.judged, o)
    return Scored(score, _observed_std(read, o) - std, std)


def _spread_evidence(read: Read, rule: ChartRule, o: Ops) -> Mapping[str, Any]:
    seen, std = read.seen, o.sqrt(read.seen.variance)
    assert rule.limit is not None
    return {
        "value": read.value,
        "ewma": _observed_std(read, o),
        "expected": std,
        "lower": o.where(seen.judged, 0.0, _NAN),
        "upper": o.where(seen.judged, std * o.sqrt(1.0 + rule.limit * seen.scale), _NAN),
        "std": std,
        "n_eff": _n_eff(seen, o),
    }


def _charted(read: Read, expected: Any, scale: Any, limit: Any, o: Ops) -> Mapping[str, Any]:
    seen, middle = read.seen, expected + read.offset
    return {
        "value": read.value,
        "ewma": seen.fast + read.offset,
        "expected": middle,
        "lower": o.where(seen.judged, middle - limit * scale, _NAN),
        "upper": o.where(seen.judged, middle + limit * scale, _NAN),
        "std": o.sqrt(seen.variance),
        "n_eff": _n_eff(seen, o),
    }


def _n_eff(seen: Any, o: Ops) -> Any:
    known = seen.concentration
    return o.where(known > 0.0, 1.0 / o.maximum(known, _TINY), _NAN)


def _value(read: Read, _: Ops) -> Scored:
    return Scored(read.value, 0.0, 0.0)


def _bounds(rule: Bounds) -> Thresholds:
    high = math.inf if rule.above is None else rule.above
    low = -math.inf if rule.below is None else rule.below
    back_high = high if rule.clear_above is None else rule.clear_above
    return Thresholds(high, low, back_high, low if rule.clear_below is None else rule.clear_below)


def _bounds_evidence(read: Read, rule: Bounds, _: Ops) -> Mapping[str, Any]:
    bounds = {"lower": rule.below, "upper": rule.above}
    return {"value": read.value} | {
        name: bound for name, bound in bounds.items() if bound is not None
    }


def _changes(rule: Change, ticks_per_ms: int) -> Changes:
    per_ms = 0.0 if rule.per is None else whole_ticks("per", rule.per, _PER_MS) / _PER_MS
    return Changes(per_ms, ticks_per_ms)


def _change(read: Read, o: Ops) -> Scored:
    return Scored(o.where(read.seen.judged, read.seen.rate, _NAN), 0.0, 0.0)


def _change_thresholds(rule: Change) -> Thresholds:
    return _two_sided(rule.limit, rule.clear, rule.critical, rule.direction)


def _change_evidence(read: Read, rule: Change, o: Ops) -> Mapping[str, Any]:
    numbers = {"value": read.value, "expected": read.seen.before, "limit": rule.limit}
    return {**numbers, "score": _change(read, o).score}


def _repeats(read: Read, _: Ops) -> Scored:
    return Scored(read.seen.run * 1.0, 0.0, 0.0)


def _flat_thresholds(rule: Flat) -> Thresholds:
    most = rule.repeats - 0.5
    return Thresholds(high=most, back_high=most, sided=False)


def _flat_evidence(read: Read, rule: Flat, _: Ops) -> Mapping[str, Any]:
    return {"value": read.value, "score": read.seen.run * 1.0, "limit": float(rule.repeats)}


def _heard(read: Read, _: Ops) -> Scored:
    return Scored(read.value * 0.0, 0.0, 0.0)


def _stale_thresholds(_: Stale) -> Thresholds:
    return Thresholds(sided=False)


def _stale_evidence(read: Read, _: Stale, __: Ops) -> Mapping[str, Any]:
    return {"value": read.value, "expected": read.seen.usual, "limit": read.seen.reach}


KINDS: dict[str, Kind] = {
    "level": Kind(_seasonal, _level, _chart, _level_evidence),
    "spike": Kind(_seasonal, _spike, _chart, _spike_evidence, _spike_rough),
    "spread": Kind(_variance, _spread, _chart, _spread_evidence),
    "bounds": Kind(lambda *_: None, _value, _bounds, _bounds_evidence),
    "change": Kind(_changes, _change, _change_thresholds, _change_evidence),
    "flat": Kind(lambda *_: Repeats(), _repeats, _flat_thresholds, _flat_evidence),
    "stale": Kind(usual_gap, _heard, _stale_thresholds, _stale_evidence, machine=Silences),
}
"""How each kind of rule in `rules.KINDS` scores."""
