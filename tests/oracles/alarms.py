"""Alarms from their definitions: every weight of every reading, summed anew at each of them.

O(n^2), plain Python, and nothing of ``ewma_ops`` in it. One series; times in any unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Chart", "Scored", "Season", "chart", "normal_score", "seasonal", "spread", "walk"]


@dataclass(frozen=True)
class Chart:
    """What a level and a spike rule go by; half-lives in readings, or in time."""

    fast: float
    slow: float
    by_time: bool
    warm_up: int
    clip: float = 4.0
    least_n_eff: float = 20.0


@dataclass(frozen=True)
class Scored:
    """What is known about a reading; scores are NaN where it is not judged."""

    fast: float
    slow: float
    level: float
    t: float
    degrees: float


def chart(values: Sequence[float], times: Sequence[float], by: Chart) -> list[Scored]:
    """Score readings, none of which is missing."""
    charted = _Charted(by)
    return [charted.add(value, time)[0] for value, time in zip(values, times, strict=True)]


class _Charted:
    """The readings of a series so far."""

    def __init__(self, by: Chart) -> None:
        self.by = by
        self.clipped: list[float] = []
        self.at: list[float] = []
        self.seen = 0
        self.u_before = 1.0

    def add(self, value: float, time: float) -> tuple[Scored, float]:
        """Score the next reading; return that, and what it was clipped to."""
        by, clipped, u_before = self.by, self.clipped, self.u_before
        before = _weights(self.at, by.slow)
        self.at.append(time if by.by_time else float(len(self.at)))
        mean = _mean(before, clipped)
        variance = _variance(before, clipped, mean)
        slow = _weights(self.at, by.slow)
        fast = _weights(self.at, by.fast)
        u = _squares(slow, slow)
        judged = (
            self.seen >= by.warm_up
            and max(u, u_before) <= 1.0 / by.least_n_eff
            and variance > 2.0**-72 * mean * mean
        )
        reach = by.clip * math.sqrt(variance) if judged else math.inf
        clipped.append(min(max(value, mean - reach), mean + reach))
        m_fast, m_slow = _mean(fast, clipped), _mean(slow, clipped)
        level = t = math.nan
        excess = math.fsum((f - s) ** 2 for f, s in zip(_shares(fast), _shares(slow), strict=True))
        if judged:
            t = (value - mean) / math.sqrt(variance * (1.0 + u_before))
            level = (m_fast - m_slow) / math.sqrt(variance * excess)
        self.seen = 1 if u > 0.75 else self.seen + 1
        self.u_before = u
        return Scored(m_fast, m_slow, level, t, 1.0 / u_before - 1.0), clipped[-1]


@dataclass(frozen=True)
class Season:
    """A season of full hours; times in milliseconds."""

    hours: int
    ahead_ms: int = 0
    kept: float = 0.9
    least: int = 3
    forgotten: int = 14


def seasonal(
    values: Sequence[float], times: Sequence[int], by: Chart, season: Season
) -> list[tuple[float, Scored | None]]:
    """Return what is expected at the hour of each reading, and its score without that.

    ``None`` and 0 for readings whose hour has not been met often enough.
    """
    charted = _Charted(by)
    met: dict[int, list[tuple[float, float, int]]] = {}  # by hour: x', its share, its period
    counts: dict[int, int] = {}
    found: list[tuple[float, Scored | None]] = []
    for value, time in zip(values, times, strict=True):
        hour, within = divmod(time + season.ahead_ms, 3_600_000)
        share = within / 3_600_000
        near = [(one, part) for one, part in ((hour, 1 - share), (hour + 1, share)) if part > 0.0]
        usual = 0.0
        known = all(counts.get(one % season.hours, 0) >= season.least for one, _ in near)
        for one, part in near if known else []:
            readings = met[one % season.hours]
            weights = [own * season.kept ** (readings[-1][2] - of) for _, own, of in readings]
            usual += part * _mean(weights, [x for x, _, _ in readings])
        scored, clipped = None, value
        if known:
            scored, left = charted.add(value - usual, float(time))
            clipped = usual + left
        found.append((usual, scored))
        for one, part in near:
            place, period = one % season.hours, one // season.hours
            readings = met.setdefault(place, [])
            since = period - readings[-1][2] if readings else 0
            if since >= season.forgotten:
                counts[place] = 1
            elif since > 0 or not readings:
                counts[place] = counts.get(place, 0) + 1
            readings.append((clipped, part, period if since >= 0 else readings[-1][2]))
    return found


def normal_score(t: float, degrees: float) -> float:
    """Return the normal deviation that is exceeded as rarely as Student's t, by integration."""
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    scale -= 0.5 * math.log(degrees * math.pi)
    steps, size = 20_000, abs(t)

    def density(s: float) -> float:
        return math.exp(scale - (degrees + 1) / 2 * math.log1p(s * s / degrees))

    inside = sum(density(size * (k + 0.5) / steps) for k in range(steps)) * size / steps
    return math.copysign(NormalDist().inv_cdf(0.5 + inside), t)


def spread(z: Sequence[float], times: Sequence[float], by: Chart) -> list[float]:
    """Return the scores of a spread rule; ``z`` are those of a spike rule, NaN where not judged.

    What the errors of the standardised squares do to their EWMA is summed reading by reading: each
    is divided by a variance of earlier ones. Before the first reading it is as if one was known.
    """
    at = list(times) if by.by_time else [float(n) for n in range(len(z))]
    slow: list[list[float]] = [[1.0]]  # of what came before, of reading 0, 1 ...
    found = []
    for n in range(len(z)):
        fast = _shares(_weights(at[: n + 1], by.fast))
        excess = math.fsum(
            f * (min(one * one, 25.0) - 1.0)
            for f, one in zip(fast, z, strict=False)
            if not math.isnan(one)
        )
        errors = [0.0, *fast]
        for f, shares in zip(fast, slow, strict=True):
            for j, share in enumerate(shares):
                errors[j] -= f * share
        scale = math.sqrt(2.0 * math.fsum(error * error for error in errors))
        found.append(math.nan if math.isnan(z[n]) else excess / scale)
        slow.append([0.0, *_shares(_weights(at[: n + 1], by.slow))])
    return found


def walk(
    scores: Sequence[float],
    limit: float,
    *,
    clear: float,
    in_a_row: int = 1,
    back_in_a_row: int = 1,
) -> list[tuple[int, str, int]]:
    """Return (place, what, side) of the transitions that a series of scores brings about."""
    found = []
    alarm = 0
    history: list[float] = []
    for place, score in enumerate(scores):
        if math.isnan(score):
            continue
        history.append(score)

        back = [abs(one) <= clear * limit for one in history[-back_in_a_row:]]
        if alarm and len(back) == back_in_a_row and all(back):
            found.append((place, "cleared", alarm))
            alarm, history = 0, []
            continue
        last = history[-in_a_row:]
        for side in (1, -1):
            beyond = len(last) == in_a_row and all(one * side > limit for one in last)
            if beyond and alarm != side:
                found.append((place, "changed" if alarm else "raised", side))
                alarm, history = side, []
                break
    return found


def _weights(times: Sequence[float], halflife: float) -> list[float]:
    newest = max(times, default=0.0)
    return [2.0 ** ((time - newest) / halflife) for time in times]


def _shares(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _mean(weights: Sequence[float], values: Sequence[float]) -> float:
    total = math.fsum(weights)
    if total == 0.0:
        return 0.0
    return math.fsum(w * x for w, x in zip(weights, values, strict=True)) / total


def _squares(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(_shares(one), _shares(other), strict=True))


def _variance(weights: Sequence[float], values: Sequence[float], mean: float) -> float:
    """Unbiased weighted variance; 0 if there are fewer than two weights."""
    if len(values) < 2:
        return 0.0
    u = _squares(weights, weights)
    if u >= 1.0:
        return 0.0
    biased = math.fsum(s * (x - mean) ** 2 for s, x in zip(_shares(weights), values, strict=True))
    return biased / (1.0 - u)
