"""Which readings raised an alarm: their weights, and the share of each in the deviation.

Knows one series and a rule; must not know where readings are from.

The fast EWMA is a weighted mean of clipped readings, m = sum of w x', where the w add up to 1. So
m - expected is the sum of w (x' - expected): each reading has its share of it. So it is with the
squares of a spread rule, of which 1 is expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ewma_ops.monitor.baseline import CLIP
from ewma_ops.monitor.rules import ChartRule
from ewma_ops.monitor.scores import KINDS, Read, read_of
from ewma_ops.monitor.season import Seasonal, Seasoned
from ewma_ops.monitor.tracking import LARGEST, NUMBERS, Tracker
from ewma_ops.table.alarm_state import Tracked

__all__ = ["Explanation", "Share", "explain"]

_Floats = NDArray[np.float64]


class Share(NamedTuple):
    """A reading: its place, its value, that value as it counted, its weight, and its share.

    ``share`` is a part of the deviation: all of them together are 1.
    """

    place: int
    value: float
    used: float
    weight: float
    share: float


@dataclass(frozen=True)
class Explanation:
    """What a rule saw at the newest of some readings.

    ``measured`` was compared with ``expected``; between ``lower`` and ``upper`` there would have
    been no alarm. ``shares`` begin with the newest reading.
    """

    measured: float
    expected: float
    lower: float
    upper: float
    score: float
    std: float
    n_eff: float
    shares: tuple[Share, ...]

    def newest(self, n: int) -> float:
        """Return the share of the newest readings together."""
        return float(sum(one.share for one in self.shares[:n]))

    def needed(self, share: float) -> int:
        """Return how many of the newest readings hold a share of the deviation."""
        reached = np.cumsum([one.share for one in self.shares])
        return int(np.argmax(reached >= share)) + 1 if len(reached) else 0


def explain(
    rule: ChartRule,
    values: Sequence[float],
    gaps: Sequence[int],
    times: Sequence[int] | None = None,
    ticks_per_ms: int = 1,
) -> Explanation | None:
    """Return what a rule saw at the last of a series' readings; ``None`` if it did not judge it.

    Parameters
    ----------
    rule
        With its limit and its decays, in ticks.
    values
        The readings, in order of arrival, none missing.
    gaps
        Ticks since the newest reading before; not used under decay by reading.
    times, ticks_per_ms
        In ticks; of a rule with a season.

    Examples
    --------
    >>> from ewma_ops.monitor.rules import Level
    >>> from ewma_ops import Decay, Smoothing
    >>> rule = Level(limit=3.0, warm_up=40).with_limit(Smoothing(Decay(beta=0.5))).in_ticks(1)
    >>> found = explain(rule, [0.0, 1.0] * 100 + [3.0] * 3, [0] * 203)
    >>> round(found.newest(3), 2), [round(one.weight, 3) for one in found.shares[:3]]
    (1.01, [0.5, 0.25, 0.125])
    """
    kind = KINDS[rule.kind]
    tracker = kind.tracker(rule, ticks_per_ms)
    assert tracker is not None
    tracked = _track(tracker, values, gaps, times)
    read = tracked.reads[-1]
    scored = kind.score(read, NUMBERS)
    if math.isnan(scored.score):
        return None
    evidence = kind.evidence(read, rule, NUMBERS)
    shares = _shares(rule, values, tracked)
    return Explanation(
        values[-1] if rule.kind == "spike" else evidence["ewma"],
        evidence["expected"],
        evidence["lower"],
        evidence["upper"],
        scored.score,
        evidence["std"],
        evidence["n_eff"],
        shares,
    )


class _Tracked(NamedTuple):
    """What a tracker knows of each reading, its weight in the fast EWMA, and the last state."""

    reads: list[Read]
    weights: _Floats
    state: Mapping[str, float]


def _track(
    tracker: Tracker, values: Sequence[float], gaps: Sequence[int], times: Sequence[int] | None
) -> _Tracked:
    one = Tracked(tracker, 0)
    one.bind(one.fresh(1))
    kept, added, found = np.empty(len(values)), np.empty(len(values)), []
    moments = [None] * len(values) if times is None else times
    for i, (value, gap, time) in enumerate(zip(values, gaps, moments, strict=True)):
        known = one.step(0, min(max(value, -LARGEST), LARGEST), gap, time)
        kept[i], added[i] = _factors(tracker, known, gap)
        found.append(read_of(value, known))
    names = (name for name, _, _ in tracker.columns)
    state = {name: column[0] for name, column in zip(names, one.numbers, strict=True)}
    return _Tracked(found, _weights(kept, added), state)


def _factors(tracker: Tracker, known: Any, gap: int) -> tuple[float, float]:
    """Return f and w of a reading for the fast EWMA, which may not have seen it."""
    if isinstance(known, Seasoned):
        assert isinstance(tracker, Seasonal)
        if not known.known:
            return 1.0, 0.0
        tracker, gap = tracker.inner, known.gap
    by: Any = tracker.factors(gap, columns=False)
    return by.fast_kept, by.fast_added


def _shares(rule: ChartRule, values: Sequence[float], tracked: _Tracked) -> tuple[Share, ...]:
    """Return the share of each reading, the newest first."""
    if rule.kind == "spike":
        return (Share(len(values) - 1, values[-1], values[-1], 1.0, 1.0),)
    if rule.kind == "spread":
        used = list(values)
        deviations = np.array([one.seen.square for one in tracked.reads]) - 1.0
    else:
        used = [_clipped(one) for one in tracked.reads]
        foreseen = [getattr(one.seen, "foreseen", 0.0) + one.offset for one in tracked.reads]
        state = tracked.state
        deviations = np.array(used) - foreseen - state["slow" if "slow" in state else "mean"]
    parts = tracked.weights * deviations
    parts = parts / parts.sum()
    rows = zip(range(len(values)), values, used, tracked.weights.tolist(), parts.tolist(),
               strict=True)  # fmt: skip
    return tuple(Share(*row) for row in rows)[::-1]


def _clipped(read: Read) -> float:
    """Return a reading as it counted."""
    seen, middle = read.seen, read.seen.before + read.offset
    x = min(max(read.value, -LARGEST), LARGEST)
    reach = CLIP * seen.variance**0.5 if seen.judged else math.inf
    return float(min(max(x, middle - reach), middle + reach))


def _weights(kept: _Floats, added: _Floats) -> _Floats:
    """Return the weight of each reading in the EWMA after the last one."""
    later = np.append(np.cumprod(kept[::-1])[::-1][1:], 1.0)
    weights = added * later
    return np.asarray(weights / weights.sum())
