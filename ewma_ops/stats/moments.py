"""`Moments`: what the formulas of states and of statistics read, which the steppers set.

Knows the options on which formulas depend; must not know formulas, or how state is stored.
"""

from __future__ import annotations

from typing import Any, Protocol

from ewma_ops.stats.ahead import Ahead
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.ops import Ops

__all__ = ["Moments", "Options", "starting_readings"]


class Options(Protocol):
    """The options of a `Smoothing` on which statistics and states depend."""

    @property
    def decay(self) -> Decay:
        """How fast the past is forgotten."""

    @property
    def start_up(self) -> str:
        """How the average starts."""

    @property
    def start_n(self) -> int | None:
        """Number of readings of a simple start."""

    @property
    def prior(self) -> float | None:
        """Value of the prior."""

    @property
    def prior_weight(self) -> float | None:
        """Weight of the prior."""

    @property
    def weighting(self) -> str:
        """Which weight a reading has."""

    @property
    def horizon(self) -> object:
        """How far ahead a forecast is, as given."""

    @property
    def fixed_lag(self) -> object:
        """How far back the smoothed level is, as given."""

    @property
    def ahead(self) -> Ahead:
        """What the options of an outlook come to."""


def starting_readings(options: Options) -> int | None:
    """Return how many readings at the start have equal weights; ``None``: no such start."""
    return {"first": 1, "simple": options.start_n}.get(options.start_up)


class Moments:
    """State and weights after a reading (numbers), or after each reading of a batch (columns).

    The steppers set its attributes; formulas of statistics and of states read them.

    Parameters
    ----------
    options
        What to compute.
    ops
        Operations on columns, or on numbers.

    Attributes
    ----------
    alpha, start_n, tau_s
        1 - beta (count decay), the number of readings of the start (``None``: no such start), and
        the time constant in seconds (decay by time).
    least_unbiased
        How many weighted readings an unbiased statistic needs: 2, or 1 beside a prior.
    from_zero
        Whether the average starts from 0, uncorrected.
    seen, weighed
        Number of observed readings so far, and of those with a weight > 0 on arrival.
    weight
        f S + w, the sum of weights.
    p, r
        The reading's share of the weight, and the rest, 1 - p; 0 and 1 for a reading without
        weight.
    weighs
        Whether the weight of the reading is > 0.
    gap_ms, idle_ms, age_ms
        Time since the newest earlier reading (< 0: late); from the newest reading to this missing
        one; from the oldest to the newest. ``None`` if not needed.
    before
        Moments before the reading, by name: those that the step of another one needs, or a
        statistic (``reads``).
    d
        Of each field, x - m before the reading.
    field
        The current field; for columns, an index of all.
    deviation, variance_before, trend_before, line_deviation, season_expected
        Of the current field: x - m, the variance, the slope, x' less the mean of the line, and the
        season, before the reading; for statistics that read them.
    line_values, line_d
        Of each field, what the line is fitted to (x, or with a season x', what is left without it),
        and that less the mean of the line before the reading.
    profile, steps, season_time, now, season_started, season_gains, season_opened, season_known
        With a season: its numbers, the readings so far (count decay), the time of the reading,
        what time it is after it, whether a period has passed since the first, what `season.weigh`
        found of each phase, how many of them were met for the first time, and whether the season
        of the reading was known before it.
    season_before, season_moved, season_ahead
        Of each field, the season as it was expected, and how much the sum of the season moved;
        and by how far ahead of now, what `season.phase_at` returns, if it is found already.
    ahead, values, observed, timely
        The options of an outlook; x, of each field; whether the reading is observed, and whether
        it is not late either.
    trend_kept, trend_added, trend_p, trend_r, trend_apart
        By the weights of the trend: the retained part of earlier ones, that of the reading, its
        share and the rest, and its distance from their mean time.
    ageing, own_age, apart
        By how much earlier readings have aged with the reading, its own age (``None``: none is
        late), and its distance from the mean time, in readings or ticks.
    compared
        1 where the reading had been forecast, 0 where not.
    a, b
        Factors of a second moment: y <- a y + b d_i d_j.
    mean, variance, covariance, concentration, spread, revision, mean_age, age_variance, trend,
    trend_weight, trend_age, trend_mean, adjusted_mean, season_count, season_sum, error_weight,
    mean_gap, squared_error, absolute_error, adjusted_error, naive_error
        State after the reading, of the current field or pair; ``None`` if not kept.
    left_std, right_std
        The square roots of the variances of the fields of a pair.
    """

    def __init__(self, options: Options, ops: Ops) -> None:
        decay = options.decay
        self.ops = ops
        self.alpha = 1.0 if decay.by_time else decay.alpha
        self.tau_s = decay.tau_s if decay.by_time else 0.0
        self.start_n = starting_readings(options)
        self.least_unbiased = 1 if options.start_up == "prior" else 2
        self.from_zero = options.start_up == "uncorrected"
        self.seen: Any = 0
        self.weighed: Any = 0
        self.weight: Any = 0.0
        self.p: Any = 0.0
        self.r: Any = 1.0
        self.weighs: Any = False
        self.gap_ms: Any = None
        self.idle_ms: Any = None
        self.age_ms: Any = None
        self.before: dict[str, Any] = {}
        self.d: Any = ()
        self.deviation: Any = None
        self.variance_before: Any = None
        self.a: Any = 1.0
        self.b: Any = 0.0
        self.mean: Any = None
        self.variance: Any = None
        self.covariance: Any = None
        self.concentration: Any = None
        self.spread: Any = None
        self.revision: Any = None
        self.left_std: Any = None
        self.right_std: Any = None
        self._prepare_outlook(options)
        self._prepare_season()

    def _prepare_outlook(self, options: Options) -> None:
        self.trend_before: Any = None
        self.ahead = options.ahead
        self.values: Any = ()
        self.timely: Any = False
        self.ageing: Any = 0.0
        self.own_age: Any = None
        self.apart: Any = 0.0
        self.compared: Any = 0.0
        self.observed: Any = False
        self.trend_kept: Any = 1.0
        self.trend_added: Any = 0.0
        self.trend_p: Any = 0.0
        self.trend_r: Any = 1.0
        self.trend_apart: Any = 0.0
        self.mean_age: Any = None
        self.age_variance: Any = None
        self.trend_weight: Any = None
        self.trend_age: Any = None
        self.trend_mean: Any = None
        self.trend: Any = None
        self.error_weight: Any = None
        self.mean_gap: Any = None
        self.squared_error: Any = None
        self.absolute_error: Any = None
        self.naive_error: Any = None
        self.line_values: Any = ()
        self.line_d: Any = ()
        self.line_deviation: Any = None

    def _prepare_season(self) -> None:
        self.field: Any = ...
        self.profile: Any = None
        self.steps: Any = 0
        self.now: Any = 0
        self.season_started: Any = False
        self.season_time: Any = 0
        self.season_ahead: dict[int, tuple[Any, Any]] = {}
        self.season_gains: Any = ()
        self.season_opened: Any = 0.0
        self.season_known: Any = True
        self.season_before: Any = ()
        self.season_moved: Any = ()
        self.season_expected: Any = None
        self.adjusted_mean: Any = None
        self.adjusted_error: Any = None
        self.season_count: Any = None
        self.season_sum: Any = None

    def gathered(self) -> Any:
        """(1 - beta) S: 1 - beta^t after t readings without a gap."""
        return self.alpha * self.weight

    def uncorrected(self, average: Any) -> Any:
        """Return an average, with the bias of a start from 0 if the options ask for it."""
        return self.gathered() * average if self.from_zero else average

    def standing(self) -> Any:
        """Sum of weights decayed to the time of the reading, also of a missing one."""
        if self.idle_ms is None:
            return self.weight
        return self.weight * self.ops.retention(self.idle_ms)

    def biased(self, moment: Any) -> Any:
        """Return the biased form of a second moment; with a spread it is kept unbiased."""
        return moment if self.spread is None else moment * self.spread
