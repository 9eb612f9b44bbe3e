"""Every column of state, once: when it is kept, and how each operation changes it.

The state of a series is a row of these columns. `STATES` defines for each how a reading updates it,
how two states of a series are merged, and how a reading is retracted or corrected:

============== ======= ======================================================================
weight         float64 S, the sum of weights as of the last reading; 0 before the first
count          int64   readings observed
newest_ms      int64   greatest event time (decay by time)
mean           float64 m, the weighted mean; always properly weighted, whatever the start-up
held           float64 the previous value (weighting ``last`` and ``linear``)
weighed        int64   readings with a weight > 0 on arrival (unbiased, decay by time)
concentration  float64 U = (sum of squared weights) / S^2, 1 before the first (``n_eff``)
oldest_ms      int64   smallest event time (``rate``, ``settled``, a season; decay by time)
spread         float64 Q = 1 - U (unbiased)
variance       float64 W where there is a ``spread``, unbiased; else C, biased; 0 before
covariance     float64 the same of each two fields
revision       int64   how often earlier output was revised (``revision``)
mean_age       float64 A, the weighted mean age, in readings or ticks (line, ``lag``)
trend_weight   float64 sum of the weights of the trend (line with a decay of its own)
trend_age      float64 their mean age (the same)
trend_mean     float64 the mean by them (the same)
age_variance   float64 C, the weighted variance of the times (line)
trend          float64 b, the slope of the line, per reading or tick (line)
error_weight   float64 sum of the weights of errors of forecasts (errors)
mean_gap       float64 average gap of the forecasts, in ticks (errors, decay by time)
squared_error  float64 mean squared error of the forecasts (errors)
absolute_error float64 mean absolute error of the forecasts (errors)
adjusted_error float64 the same of readings without the season, squared (bounds, a factor)
previous       float64 the last value that was not late (``mase``)
naive_error    float64 mean absolute error of the naive forecast (``mase``)
steps          int64   readings that the season has passed (a season, count decay)
season_weight  float64 of each phase of the season, the sum of its weights
season_period  float64 of each phase, the newest period in which it was met
season         float64 of each phase, what it contributes, not centred
season_count   float64 phases that were met (a season)
season_sum     float64 sum of the season over them (a season)
adjusted_mean  float64 the mean of readings without the season (a season)
============== ======= ======================================================================

The steppers update the columns up to ``held`` themselves, since all others depend on them. The
others are *tallies*, n <- n + 1 if a condition holds, or *moments*, y <- a y + g. The formulas are
those at the head of `recurrences`, and of `outlook`. They have only operations that give the same
bits for a number and for a column, so `by_reading` and `by_column` share them.

To add a moment, add an entry to `STATES`, after the moments whose values before the reading its
step depends on, and an attribute of its name to `Moments`.

Must not know statistics, series ids, or tables.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from ewma_ops.stats import outlook
from ewma_ops.stats.moments import Moments, Options, starting_readings
from ewma_ops.stats.state import Correction, Join, Retraction, State

__all__ = [
    "ALWAYS",
    "NEVER",
    "STATES",
    "Column",
    "columns_of",
    "read_before",
    "set_second_moment_factors",
]

NEVER = int(np.iinfo(np.int64).min)
"""The newest time of a series without a reading."""

ALWAYS = int(np.iinfo(np.int64).max)
"""The oldest time of a series without a reading."""

_LARGEST_SQUARED = 2.0**510
_ONE = np.ones(1)


def set_second_moment_factors(m: Moments) -> None:
    """Set ``a`` and ``b``, of C <- a C + b d_i d_j, or of W where there is a spread."""
    r, p = m.r, m.p
    if "spread" not in m.before:
        m.a, m.b = r, r * p
        return
    spread, where = m.before["spread"], m.ops.where
    every = m.ops.all(m.weighs)
    divisor = r * spread
    divisor += 2.0 * p
    if not every:
        divisor = where(m.weighs, divisor, 1.0)
    if m.ops.all(divisor):
        a, b = spread / divisor, p / divisor
    else:
        # The share underflowed to 0. After one earlier reading it cancels: W = d_i d_j / 2.
        lost = divisor == 0.0
        divisor = where(lost, 1.0, divisor)
        second = m.weighed == m.least_unbiased
        a = where(lost, where(second, 0.0, 1.0), spread / divisor)
        b = where(lost, where(second, 0.5, 0.0), p / divisor)
    m.a, m.b = (a if every else where(m.weighs, a, 1.0)), b


def _sum(_: Join, one: Any, other: Any, *__: Any) -> Any:
    return one + other


def _merged_revision(t: Join, one: Any, other: Any, *__: Any) -> Any:
    return one + other + ((t.one["count"] > 0) & (t.other["count"] > 0))


def _merged_mean(t: Join, one: Any, other: Any, *__: Any) -> Any:
    return np.where(t.p > 0.5, other - t.d * t.r, one + t.d * t.p)


def _merged_concentration(t: Join, one: Any, other: Any, *__: Any) -> Any:
    return np.where(t.weight > 0.0, t.r * t.r * one + t.p * t.p * other, 1.0)


def _merged_spread(t: Join, one: Any, other: Any, *__: Any) -> Any:
    return t.r * t.r * one + t.p * t.p * other + 2.0 * t.r * t.p


def _second_step(m: Moments, i: Any, j: Any) -> tuple[Any, Any]:
    return m.a, m.d[i] * m.d[j] * m.b


def _merged_second(t: Join, one: Any, other: Any, i: Any, j: Any) -> Any:
    return t.a * one + t.b * other + t.c * (t.d[i] * t.d[j])


def _left_second(t: Retraction, one: Any, gain: Any) -> Any:
    scale = t.after.get("spread", _ONE)
    found = t.r * (one * t.one.get("spread", _ONE) + gain) / np.where(scale > 0.0, scale, 1.0)
    return np.where(scale > 0.0, found, 0.0)


def _corrected_second(t: Correction, one: Any, i: Any, j: Any) -> Any:
    a, d, spread = t.a, t.d, t.one.get("spread", _ONE)
    gain = t.p * (a[i] * d[j] + d[i] * a[j] + t.r * d[i] * d[j])
    return one + np.where(spread > 0.0, gain, 0.0) / np.where(spread > 0.0, spread, 1.0)


def _if_sloped(name: str) -> Callable[[Options, Collection[str]], bool]:
    return lambda options, needs: name in needs and options.ahead.sloped


def _if_own_trend(options: Options, needs: Collection[str]) -> bool:
    return "trend" in needs and options.ahead.trend_decay is not None


def _if_seasonal(options: Options, needs: Collection[str]) -> bool:
    return "trend" in needs and options.ahead.season is not None


def _if_counted_season(options: Options, needs: Collection[str]) -> bool:
    return _if_seasonal(options, needs) and not options.decay.by_time


def _if_factor(options: Options, needs: Collection[str]) -> bool:
    season = options.ahead.season
    return "mean_gap" in needs and season is not None and season.multiplicative


def _neutral(options: Options) -> float:
    return 0.0 if options.ahead.season is None else options.ahead.season.neutral


STATES = {
    state.name: state
    for state in (
        State(
            "weight",
            initial=lambda o: o.prior_weight or 0.0,
            kept=lambda *_: True,
            merge=lambda t, *_: t.weight,
            retract=lambda t, *_: np.full(1, t.left),
        ),
        State(
            "count",
            whole=True,
            kept=lambda *_: True,
            merge=_sum,
            retract=lambda _, one, *__: one - 1,
        ),
        State(
            "newest_ms",
            whole=True,
            initial=NEVER,
            kept=lambda o, _: o.decay.by_time,
            merge=lambda _, one, other, *__: np.maximum(one, other),
        ),
        State(
            "mean",
            of="field",
            initial=lambda o: o.prior or 0.0,
            kept=lambda *_: True,
            merge=_merged_mean,
            retract=lambda t, one, i, _: one + t.p * t.d[i],
            correct=lambda t, one, i, _: one + t.p * t.d[i],
        ),
        State("held", of="field", kept=lambda o, _: o.weighting in ("last", "linear")),
        State(
            "weighed",
            whole=True,
            kept=lambda o, needs: o.decay.by_time and "spread" in needs,
            tally=lambda m: m.weighs,
            merge=_sum,
            retract=lambda _, one, *__: one - 1,
        ),
        State(
            "concentration",
            initial=1.0,
            option="n_eff",
            step=lambda m, *_: (m.r * m.r, m.p * m.p),
            merge=_merged_concentration,
            retract=lambda t, one, *_: np.minimum(t.r * t.r * one - t.p * t.p, 1.0),
        ),
        State(
            "oldest_ms",
            whole=True,
            initial=ALWAYS,
            kept=lambda o, needs: (
                ("oldest_ms" in needs or _if_seasonal(o, needs))
                and o.decay.by_time
                and starting_readings(o) is None
            ),
            option="settled",
            merge=lambda _, one, other, *__: np.minimum(one, other),
        ),
        State(
            "spread",
            option="unbiased",
            step=lambda m, *_: (m.r * m.r, 2.0 * m.p * m.r),
            merge=_merged_spread,
            retract=lambda t, one, *_: np.maximum(t.r * t.r * one + 2.0 * t.p, 0.0),
        ),
        State(
            "variance",
            of="field",
            option="squares",
            largest=_LARGEST_SQUARED,
            step=_second_step,
            reads=("spread",),
            merge=_merged_second,
            retract=lambda t, one, i, j: np.maximum(
                _left_second(t, one, t.p * t.d[i] * t.d[j]), 0.0
            ),
            correct=lambda t, one, i, j: np.maximum(_corrected_second(t, one, i, j), 0.0),
        ),
        State(
            "covariance",
            of="pair",
            option="pairs",
            largest=_LARGEST_SQUARED,
            step=_second_step,
            reads=("spread",),
            merge=_merged_second,
            retract=lambda t, one, i, j: _left_second(t, one, t.p * (t.d[i] * t.d[j])),
            correct=_corrected_second,
        ),
        State(
            "revision",
            whole=True,
            option="revision",
            tally=lambda m: (m.gap_ms < 0) & m.weighs,
            merge=_merged_revision,
            retract=lambda _, one, *__: one + 1,
            correct=lambda _, one, *__: one + 1,
        ),
        State(
            "steps",
            whole=True,
            kept=_if_counted_season,
            tally=lambda m: m.observed | ((m.ageing > 0.0) & (m.seen > 0)),
        ),
        State("season_weight", phased=True, kept=_if_seasonal),
        State("season_period", phased=True, kept=_if_seasonal),
        State("season", of="field", phased=True, initial=_neutral, kept=_if_seasonal),
        State("season_count", kept=_if_seasonal, step=lambda m, *_: (1.0, m.season_opened)),
        State(
            "mean_age",
            option="age",
            step=outlook.age_step,
            merge=lambda t, *_: outlook.merged_age(t),
        ),
        State("trend_weight", kept=_if_own_trend, step=outlook.trend_weight_step),
        State(
            "trend_age",
            kept=_if_own_trend,
            step=outlook.trend_age_step,
            reads=("trend_weight",),
        ),
        State(
            "age_variance",
            kept=_if_sloped("age_variance"),
            option="line",
            step=outlook.age_variance_step,
            reads=("mean_age", "trend_age"),
            merge=outlook.merged_age_variance,
        ),
        State(
            "season_sum",
            of="field",
            kept=_if_seasonal,
            step=lambda m, i, _: (1.0, m.season_moved[i]),
        ),
        State(
            "adjusted_mean",
            of="field",
            kept=_if_seasonal,
            step=lambda m, i, _: (m.r, m.line_values[i] * m.p),
        ),
        State(
            "trend_mean",
            of="field",
            kept=_if_own_trend,
            largest=_LARGEST_SQUARED,
            step=outlook.trend_mean_step,
        ),
        State(
            "trend",
            of="field",
            kept=_if_sloped("trend"),
            largest=_LARGEST_SQUARED,
            step=outlook.slope_step,
            reads=("age_variance", "trend_mean"),
            merge=outlook.merged_slope,
        ),
        State(
            "error_weight",
            option="errors",
            step=outlook.error_weight_step,
            reads=("age_variance",),
        ),
        State(
            "mean_gap",
            kept=lambda o, needs: "mean_gap" in needs and o.decay.by_time,
            option="gaps",
            step=outlook.gap_step,
        ),
        State(
            "squared_error",
            of="field",
            option="squared",
            largest=_LARGEST_SQUARED,
            step=outlook.squared_error_step,
            reads=("trend",),
        ),
        State(
            "absolute_error",
            of="field",
            option="absolute",
            largest=_LARGEST_SQUARED,
            step=outlook.absolute_error_step,
            reads=("trend",),
        ),
        State(
            "adjusted_error",
            of="field",
            kept=_if_factor,
            largest=_LARGEST_SQUARED,
            step=outlook.adjusted_error_step,
            reads=("trend",),
        ),
        State("previous", of="field", step=outlook.previous_step),
        State(
            "naive_error",
            of="field",
            option="naive",
            step=outlook.naive_error_step,
            reads=("previous",),
        ),
    )
}
"""Every column of state by name; each depends only on those before it."""


class Column(NamedTuple):
    """Layout of a column: dtype, value before any reading, and values per series (0: one, flat).

    ``phases`` of them follow each other for each field, if it has a number for each phase.
    """

    dtype: type[Any]
    initial: float | int
    depth: int = 0
    phases: int = 0


def read_before(names: Collection[str]) -> frozenset[str]:
    """Return those of the named columns that the step of another one reads before its own step."""
    return frozenset(read for name in names for read in STATES[name].reads).intersection(names)


def columns_of(options: Options, needs: Collection[str], width: int) -> dict[str, Column]:
    """Return the layout of each column that exists for ``width`` fields, by name."""
    depths = {"reading": 0, "field": width, "pair": width * (width - 1) // 2}
    columns: dict[str, Column] = {}
    for name, state in STATES.items():
        if state.is_kept(options, needs):
            initial = state.initial(options) if callable(state.initial) else state.initial
            dtype = np.int64 if state.whole else np.float64
            season = options.ahead.season
            phases = season.phases if state.phased and season is not None else 0
            depth = max(depths[state.of], 1) * phases if phases else depths[state.of]
            columns[name] = Column(dtype, initial, depth, phases)
    return columns
