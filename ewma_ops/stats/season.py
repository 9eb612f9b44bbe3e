"""The season of an outlook: how far readings are from the line in each phase of a period.

A period has phases; between two phases the season is a line, and a reading at the share a of the
way from phase h to the next one is of both, by 1 - a and a. A phase keeps W, the sum of the weights
of its readings, and s, how far they are from the line: W halves every `halflife` periods.

    expected         s = (1 - a) s[h] + a s[h + 1]
    adjusted         x' = x - s                    multiplicative: x / s
    level            the line through x', by the weights of the level
    reference        another one, by the weights of the trend
    weight           W[h] <- f^n W[h] + (1 - a)    n periods after its newest reading
    season           s[h] <- s[h] + (1 - a) / W[h] (x' - reference)          and so for h + 1, a
                     multiplicative: (x / reference - s) in place of (x' - reference)

Until a period has passed since the first reading, season and line cannot be told apart: the line
stays where the first reading was, and s is the mean distance of readings of the phase from it. The
same holds for each phase without a reading: its first one says nothing about the line. Only the sum
of level and season is determined then. So the season is shown less its mean over all phases that
have readings, and the level plus that mean, as Roberts (1982) and McKenzie (1986) do it.

Where the weights of the trend are those of the level, reference and line are one, and this is
Holt-Winters' method in error-correction form: alpha = 1 - beta^2, beta* = (1 - beta) / (1 + beta),
and gamma = 1 - f, once the weights have gathered. Beside a fast level that learns slowly: of a
season that is a wave of w radians a reading, the errors of the line have only the share
E = ((1 - z) / (1 - beta z))^2, z = e^(-i w), of what s is off, of which |1 - gamma E| is left after
a period. With beta = 0.2, w = 2 pi / 24 and gamma = 0.1 that is 1.01: what is wrong grows. A
reference that is slower than the season does not follow the wave: E is about 1, and 0.9 is left. So
by default the weights of the trend halve in 6.6 periods, or as slowly as those of the season.

Weights are sums, exact at any gap, and late readings have the weight that they would have by now.
The values depend on the order of arrival, since a season is learned from what it left.

Sources: C. C. Holt (1957, 2004); P. R. Winters, Management Science 6 (1960);
R. J. Hyndman et al., Forecasting with Exponential Smoothing (2008), chapters 2 and 8.

Knows formulas of one series; must not know how state is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

from ewma_ops.stats.exact_exp2 import exp2_of
from ewma_ops.stats.ops import Ops

__all__ = [
    "READS",
    "Placed",
    "Profile",
    "Season",
    "adjust",
    "centre",
    "locate",
    "phase_at",
    "place",
    "weigh",
]

READS = ("adjusted_mean", "trend_mean", "trend")
"""The moments of fields whose values before the reading `adjust` needs."""

_TINY = 1e-300
_LARGEST_FACTOR = 2.0**20


class Placed(NamedTuple):
    """Where in the season a time is.

    ``phase`` and ``next_phase``, the ``period`` (day, week ...) of each, and the ``share`` that
    counts for the next one.
    """

    phase: Any
    next_phase: Any
    period: Any
    next_period: Any
    share: Any

    def parts(self, o: Ops) -> Sequence[tuple[Any, Any, Any]]:
        """Return phase, period and share of both, or of the first, if no time is past it."""
        first = self.phase, self.period, 1.0 - self.share
        if o.all(self.share == 0.0):
            return (first,)
        return first, (self.next_phase, self.next_period, self.share)


def place(time: Any, slot: int, phases: int, offset: int = 0) -> Placed:
    """Find the place of a time (int64[n], or int) in a season of phases of ``slot`` ticks each.

    ``offset`` ticks are added to the time.

    Examples
    --------
    >>> place(90, slot=60, phases=24)
    Placed(phase=1, next_phase=2, period=0, next_period=0, share=0.5)
    """
    ahead, rest = divmod(offset, slot)  # apart from the time, or large ones would overflow
    nth, within = time // slot + ahead, time % slot + rest
    nth, within = nth + within // slot, within % slot
    return Placed(
        nth % phases, (nth + 1) % phases, nth // phases, (nth + 1) // phases, within / slot
    )


class Season(NamedTuple):
    """A season, of an outlook.

    Parameters
    ----------
    phases
        How many it has, >= 2.
    slot
        Ticks of a phase; 1, of a reading, with count decay.
    offset
        By how many ticks local time is ahead of UTC.
    halflife
        In how many periods the weights of a phase halve.
    multiplicative
        Whether it is a factor.
    """

    phases: int
    slot: int
    offset: int
    halflife: float
    multiplicative: bool

    @property
    def neutral(self) -> float:
        """What a phase contributes that was never met."""
        return 1.0 if self.multiplicative else 0.0

    @property
    def gain(self) -> float:
        """Gamma: the weight of a period in the season, once the weights have gathered."""
        return _gain(self.halflife)

    def describe(self) -> str:
        """Return a short text: equal for seasons whose state is the same."""
        kind = "factor" if self.multiplicative else "term"
        return f"{kind}/{self.phases}x{self.slot}+{self.offset}/{self.halflife!r}"

    def place(self, time: Any, ahead: int = 0) -> Placed:
        """Find the place of what is so many ticks or readings after a time."""
        return place(time, self.slot, self.phases, self.offset + ahead)


@cache
def _gain(halflife: float) -> float:
    return 1.0 - exp2_of(-1.0 / halflife)


class Profile(Protocol):
    """The numbers that are kept for each phase, of one series, or of those of a column."""

    def read(self, name: str, phase: Any, i: Any) -> Any:
        """Return a number of a phase, of the field ``i``."""

    def write(self, name: str, phase: Any, i: Any, value: Any) -> None:
        """Set it."""


def locate(m: Any, time: Any) -> None:
    """Set when readings are in the season, and what time it is after them.

    ``time`` is that of the reading, in ticks; with count decay the readings are counted.
    """
    season, o = m.ahead.season, m.ops
    if m.gap_ms is None:
        time = m.now = m.steps
        m.season_started = m.steps > season.phases
    else:
        m.season_started = m.age_ms >= season.phases * season.slot
        passed = o.maximum(m.gap_ms, 0)
        m.now = time - m.gap_ms + o.where(m.observed, passed, 0 if m.idle_ms is None else m.idle_ms)
    m.season_time = time


def weigh(m: Any) -> None:
    """Move the weights of the phases; set whether they were met, and the share of the reading."""
    o, profile, halflife = m.ops, m.profile, m.ahead.season.halflife
    m.season_known, m.season_gains = m.season_started, []
    for phase, period, part in m.ahead.season.place(m.season_time).parts(o):
        weight = profile.read("season_weight", phase, ...)
        last = profile.read("season_period", phase, ...)
        met, counts = weight > 0.0, m.observed & (part > 0.0)
        since = o.where(met, period - last, 0.0)
        fading, on_time = o.exp2(-abs(since) / halflife), since >= 0.0
        own = part * o.where(on_time, 1.0, fading)
        after = weight * o.where(on_time, fading, 1.0) + own
        gain = o.where(counts, own / o.maximum(after, _TINY), 0.0)
        opens = o.where(counts & (weight == 0.0), 1.0, 0.0)
        newest = o.where(met, o.maximum(period * 1.0, last), period)
        profile.write("season_weight", phase, ..., o.where(counts, after, weight))
        profile.write("season_period", phase, ..., o.where(counts, newest, last))
        m.season_known = m.season_known & (met | (part == 0.0))
        m.season_gains.append((phase, part, gain, opens))
    m.season_opened = sum(opens for *_, opens in m.season_gains)


def adjust(m: Any, i: Any) -> None:
    """Learn the season from the reading of a field; set what is left without it, and how it moved.

    Of the lines the moments before the reading are used.
    """
    o, profile, season = m.ops, m.profile, m.ahead.season
    x, known, opens = m.values[i], m.season_known, m.seen <= 1
    kept = [profile.read("season", phase, i) for phase, *_ in m.season_gains]
    expected = sum(part * one for (_, part, *_), one in zip(m.season_gains, kept, strict=True))
    mean, slow = m.before["adjusted_mean"][i], m.before["trend_mean"][i]
    line, reference = mean, slow
    if m.ahead.sloped:
        slope = o.where(m.before["age_variance"] > 0.0, m.before["trend"][i], 0.0)
        line, reference = mean + m.apart * slope, slow + m.trend_apart * slope
    line = o.where(opens, x, line)
    base = o.where(known, reference, line)
    if season.multiplicative:
        left = x / expected
        some = base > 0.0
        factor = o.where(some, x / o.where(some, base, 1.0), expected)
        off = o.minimum(o.maximum(factor, 1.0 / _LARGEST_FACTOR), _LARGEST_FACTOR) - expected
    else:
        left = x - expected
        off = left - base
    moved = m.season_opened * season.neutral
    for (phase, _, gain, _), one in zip(m.season_gains, kept, strict=True):
        profile.write("season", phase, i, one + gain * off)
        moved = moved + gain * off
    left = o.where(known, left, line)
    m.season_moved[i], m.season_before[i] = moved, expected
    m.line_values[i], m.line_d[i] = left, left - mean


def phase_at(m: Any, ahead: int) -> tuple[Any, Any]:
    """Return the season so much after now, not centred, and whether its phases were met."""
    if ahead in m.season_ahead:
        found: tuple[Any, Any] = m.season_ahead[ahead]
        return found
    placed = m.ahead.season.place(m.now, ahead)
    value, known = 0.0, m.season_started
    for phase, _, part in placed.parts(m.ops):
        value = value + part * m.profile.read("season", phase, m.field)
        known = known & ((m.profile.read("season_weight", phase, ...) > 0.0) | (part == 0.0))
    return value, known


def centre(m: Any) -> Any:
    """Return the mean of the season over all phases that were met."""
    some = m.season_count > 0.0
    count = m.ops.where(some, m.season_count, 1.0)
    return m.ops.where(some, m.season_sum / count, m.ahead.season.neutral)
