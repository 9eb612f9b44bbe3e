"""An outlook with a season from its definition: weights first, then sums over them. O(n^2).

The oracle of the tests. It imports nothing of ours, and shares no recurrence with the kernel: the
weight of a phase, the level, and the line of the trend are sums over all readings so far. Only what
a phase is off the line is moved reading by reading, as it is defined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

NAN = math.nan


@dataclass(frozen=True)
class Rules:
    """Times and half-lives in one unit: of time, or, with ``by_count``, in readings.

    ``kept_trend`` is the half-life of the trend, ``season_halflife`` in periods.
    """

    halflife: float
    trend_halflife: float
    season_halflife: float
    period: float
    phases: int
    offset: float = 0.0
    horizon: float = 0.0
    sloped: bool = True
    factor: bool = False
    by_count: bool = False
    passed_by_missing: bool = False


@dataclass
class Phase:
    value: float
    readings: list[tuple[int, float]] = field(default_factory=list)
    """Period and share of each."""

    def weight(self, halflife: float) -> float:
        """Sum of the weights, as of the newest period."""
        if not self.readings:
            return 0.0
        newest = max(period for period, _ in self.readings)
        return math.fsum(
            part * 2.0 ** (-(newest - period) / halflife) for period, part in self.readings
        )


def place(rules: Rules, time: float) -> list[tuple[int, int, float]]:
    """Return phase, period and share of both phases of a time."""
    slot = rules.period / rules.phases
    nth = math.floor((time + rules.offset) / slot)
    share = (time + rules.offset) / slot - nth
    return [
        (at % rules.phases, at // rules.phases, part)
        for at, part in ((nth, 1.0 - share), (nth + 1, share))
        if part > 0.0
    ]


def line(
    rules: Rules, seen: Sequence[tuple[float, float]], now: float, at: float
) -> tuple[float, float, float]:
    """Return the line of the level and of the trend at a time, and the slope, as of ``now``."""

    def mean(weights: Sequence[float], numbers: Sequence[float]) -> float:
        total = math.fsum(weights)
        return math.fsum(w * n for w, n in zip(weights, numbers, strict=True)) / total

    times, values = [t for t, _ in seen], [x for _, x in seen]
    fast = [2.0 ** (-(now - t) / rules.halflife) for t in times]
    slow = [2.0 ** (-(now - t) / rules.trend_halflife) for t in times]
    middle, average = mean(slow, times), mean(slow, values)
    slope = 0.0
    variance = mean(slow, [(t - middle) ** 2 for t in times])
    if rules.sloped and variance > 0.0:
        apart = [(t - middle) * (x - average) for t, x in zip(times, values, strict=True)]
        slope = mean(slow, apart) / variance
    level = mean(fast, values) + slope * (at - mean(fast, times))
    return level, average + slope * (at - middle), slope


def outlook(readings: Sequence[tuple[float, float]], rules: Rules) -> dict[str, list[float]]:
    """Return statistics at each reading (time, value); NaN is a missing value."""
    phases = [Phase(1.0 if rules.factor else 0.0) for _ in range(rules.phases)]
    seen: list[tuple[float, float]] = []
    raw: list[tuple[float, float]] = []
    found: dict[str, list[float]] = {
        name: [] for name in ("level", "trend", "season", "forecast", "forecast_error")
    }
    newest, first, steps = -math.inf, math.inf, 0
    for time, x in readings:
        came = not math.isnan(x)
        if rules.by_count:
            steps += came or (rules.passed_by_missing and bool(seen))
            time = float(steps)
        late, error, now = time < newest, NAN, newest
        if came:
            raw.append((time, x))
            before, newest = newest, max(newest, time)
            now, first = newest, min(first, time)
            began = now - first >= rules.period
            error = learn(rules, phases, seen, (time, x), before, began=began)
        elif rules.passed_by_missing and seen:
            now = max(newest, time)
        found["forecast_error"].append(NAN if late else error)
        last = now if rules.by_count else newest
        show(rules, phases, (seen, raw), now, found, began=last - first >= rules.period)
    return found


def learn(
    rules: Rules,
    phases: list[Phase],
    seen: list[tuple[float, float]],
    reading: tuple[float, float],
    before: float,
    *,
    began: bool,
) -> float:
    """Take a reading in; return what it was off its forecast, NaN if there was none."""
    time, x = reading
    parts = place(rules, time)
    expected = math.fsum(part * phases[phase].value for phase, _, part in parts)
    known = began and all(phases[phase].readings for phase, *_ in parts)
    level, reference, _ = line(rules, seen, before, time) if seen else (x, x, 0.0)
    base = reference if known else level
    off = x / base - expected if rules.factor else x - expected - base
    left = x / expected if rules.factor else x - expected
    for phase, period, part in parts:
        one = phases[phase]
        one.readings.append((period, part))
        newest = max(p for p, _ in one.readings)
        share = part * 2.0 ** (-(newest - period) / rules.season_halflife)
        one.value += share / one.weight(rules.season_halflife) * off
    several = len({t for t, _ in seen}) > 1 if rules.sloped else bool(seen)
    seen.append((time, left if known else level))
    if not (known and several):
        return NAN
    return x - level * expected if rules.factor else x - level - expected


def show(
    rules: Rules,
    phases: list[Phase],
    series: tuple[list[tuple[float, float]], list[tuple[float, float]]],
    now: float,
    found: dict[str, list[float]],
    *,
    began: bool,
) -> None:
    seen, raw = series
    if not seen:
        for name in ("level", "trend", "season", "forecast"):
            found[name].append(NAN)
        return
    met = [one.value for one in phases if one.readings]
    centre = math.fsum(met) / len(met)
    level, _, slope = line(rules, seen, now, now)

    def season(time: float) -> float:
        parts = place(rules, time)
        if not began or not all(phases[phase].readings for phase, *_ in parts):
            return NAN
        return math.fsum(part * phases[phase].value for phase, _, part in parts)

    def joined(value: float, term: float) -> float:
        return value * term if rules.factor else value + term

    found["level"].append(joined(level, centre))
    found["trend"].append((slope * centre if rules.factor else slope) if began else NAN)
    own, then = season(now), season(now + rules.horizon)
    found["season"].append(own / centre if rules.factor else own - centre)
    ahead = joined(level + slope * rules.horizon, then)
    weights = [2.0 ** (-(now - t) / rules.halflife) for t, _ in raw]
    mean = math.fsum(w * x for w, (_, x) in zip(weights, raw, strict=True)) / math.fsum(weights)
    found["forecast"].append(mean if math.isnan(ahead) else ahead)
