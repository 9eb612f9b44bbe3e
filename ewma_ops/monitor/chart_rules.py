"""The kinds of rules about standard errors: level, spike, spread; and the design of their limits.

Knows run lengths; must not know series, state or how a score is computed (`scores`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.chart_rule import ChartRule
from ewma_ops.monitor.run_lengths import limit_for, spike_limit
from ewma_ops.monitor.spread_run_lengths import highest_spread_limit, spread_limit_for
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import NS_PER_MS, whole_ticks

__all__ = ["Level", "Spike", "Spread"]


@dataclass(frozen=True, kw_only=True)
class _AverageRule(ChartRule):
    """A rule about an average, whose limit depends on how fast that forgets."""

    gap: timedelta | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gap is not None and not whole_ticks("gap", self.gap, NS_PER_MS):
            raise ConfigError(f'gap is {self.gap!r}: it must be a duration > 0, such as "10s"')

    def _alpha(self, decay: Decay) -> float:
        """Return the weight of the newest reading."""
        if not decay.by_time:
            return decay.alpha
        if self.gap is None:
            raise ConfigError(
                f"the {self.kind} rule has false_alarms, and its decay is by time: add the usual "
                'time between two readings of a series, such as gap = "10s", or give limit'
            )
        of_ns = decay.in_ticks(NS_PER_MS)
        return of_ns.lapse_of(whole_ticks("gap", self.gap, NS_PER_MS))


@dataclass(frozen=True, kw_only=True)
class Level(_AverageRule):
    """A lasting shift: the EWMA is too far from a slower one.

    A shift that stays becomes the expected level after some hundred readings, and the alarm is
    cleared by ``adopted``.

    Parameters
    ----------
    gap
        The usual time between two readings of a series, such as ``"10s"``; needed to design the
        limit where the decay is by time.

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> from ewma_ops.stats.smoothing import Smoothing
    >>> Level(false_alarms="1 per 500 readings").with_limit(Smoothing(Decay(beta=0.9))).limit
    2.81431
    """

    kind: ClassVar[str] = "level"

    def _limit_for(self, run_length: float, decay: Decay) -> float:
        return limit_for(self._of_both_sides(run_length), self._alpha(decay))


@dataclass(frozen=True, kw_only=True)
class Spike(ChartRule):
    """A single reading that is too far from the slow EWMA before it.

    The limit is that of a normal reading; as the standard deviation is estimated, the score is
    corrected by Student's t for it.

    Examples
    --------
    >>> from ewma_ops.stats.smoothing import Smoothing
    >>> rule = Spike(false_alarms="1 per 10000 readings")
    >>> round(rule.with_limit(Smoothing(Decay(beta=0.9))).limit, 4)
    3.8906
    """

    kind: ClassVar[str] = "spike"

    def _limit_for(self, run_length: float, decay: Decay) -> float:  # noqa: ARG002 - of no decay
        return spike_limit(self._of_both_sides(run_length))


@dataclass(frozen=True, kw_only=True)
class Spread(_AverageRule):
    """A series that varies more than it usually does: the EWMA of squared deviations is too large.

    Each deviation counts in its own standard errors, up to 5. The score is how many standard errors
    that EWMA is above 1; ``least`` is about the standard deviation, in units of the readings.

    There is only an upper limit. One as far below 1 would be negative for most decays, and quiet
    stretches are common in real series: `Flat` finds a stuck sensor.

    Parameters
    ----------
    gap
        As for `Level`.

    Raises
    ------
    ConfigError
        If a value is out of its range, or ``direction`` is not ``"high"``.

    Examples
    --------
    >>> Spread(limit=6.0).direction
    'high'
    """

    kind: ClassVar[str] = "spread"

    direction: str = "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction != "high":
            raise ConfigError(
                f"direction is {self.direction!r}: the spread rule has an upper limit only; leave "
                "direction out, and use a flat rule for a series that is stuck"
            )

    def _limit_for(self, run_length: float, decay: Decay) -> float:
        return spread_limit_for(run_length, self._alpha(decay))

    def highest(self) -> float:
        """Return the limit of `with_limit` that no score reaches; infinite if unknown.

        It is unknown if the decay is by time and ``gap`` is not given.
        """
        assert self.decay is not None
        if self.decay.by_time and self.gap is None:
            return math.inf
        return highest_spread_limit(self._alpha(self.decay))
