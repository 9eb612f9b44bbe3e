"""The outlook of a series: a straight line through its readings, its forecasts, and their errors.

The line m + b (t - T) is fitted by least squares, each reading counting with its weight (Brown's
discounted least squares). With ages u = now - t >= 0, A the weighted mean age, d = x - m and
e = (t of the reading) - T = A + (ageing) - (own age), both from before the reading, and shares p, r
as in `recurrences`:

    mean age            A <- r (A + ageing) + p (own age)     own age: 0 unless late
    variance of times   C <- r C + r p e^2
    slope               b <- a b + k d       D = C + p e^2, a = C / D, k = p e / D
    level               m + b A              the line now; `h` later: m + b (A + h)

Covariance and variance of the line have the factor r in common: it is divided out of the slope,
which so is right at any gap, has no start to be guessed, and takes late readings exactly. C and b
are of sums, so two states are merged as variances are. Without two times that have a weight
there is no slope, and the line is flat.

With count decay and after the start, the mean age is beta / (1 - beta) and level and slope follow
Holt's linear trend with the gains alpha = 1 - beta^2 of the level and (1 - beta)^2 of the slope,
Brown's double exponential smoothing: Holt's (alpha, beta*) = (1 - beta^2, (1 - beta) / (1 + beta)).
An outlook of the level alone forecasts the mean; its gain is 1 - beta.

Errors of forecasts are averaged over a separate span, because the memory of the level may be too
short for that: W <- q W + 1, share 1 / W, at each forecast that came to be compared. A late reading
was not forecast. `h` readings ahead, the variance of an error is that of one step times 1 +
sum_(j=1)^(h-1) (g + c j)^2, with the gains g of the level and c of the slope (Hyndman et al. 2008,
class 1); by time, `h` is the horizon over the average gap of the forecasts.

With a decay of its own the trend is the slope of the line that fits best by weights of that decay
(S', A', C', m' and b as above), and the level that of a line with this slope by the weights of the
level: m + b A again. The gains are then g = a + c (1 - a) / a, where a is the gain of the mean, and
c = (1 - beta')^2. It is Holt's where both decays are the same; elsewhere it is another filter.

A damped trend fades ahead: it halves every `damping`, so that the line bends to level + b R(h),
R(h) = tau (1 - e^(-h / tau)) in place of h. In the growth of the variance, j and j^2 are lowered by
what R and R^2 have, on average over the horizon, of a straight line's. That affects only forecasts:
the line and its one-step errors are unchanged.

With a season, the line is fitted to readings without it, x' in place of x (see `season`), and a
forecast has the season of its phase: of a phase that was never met it is the mean. Errors at h
readings ahead have the gain gamma of the season too, where its phase comes again in between. Of a
factor, bounds are of readings without the season, times the season.

Sources: R. G. Brown, Smoothing, Forecasting and Prediction (1963), discounted least squares;
C. C. Holt (1957, 2004); D. J. Wright, Management Science 32 (1986), irregular times;
R. J. Hyndman et al., Forecasting with Exponential Smoothing (2008), table 6.2.

Knows formulas of states and statistics; must not know how state is stored or updated.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ewma_ops.stats import season as seasons
from ewma_ops.stats.ahead import Ahead, bent
from ewma_ops.stats.ops import Ops

__all__ = [
    "LARGEST_ERROR",
    "absolute_error_step",
    "adjusted_error_step",
    "age_step",
    "age_variance_step",
    "bound",
    "error_weight_step",
    "forecast",
    "forecast_error",
    "from_mean_time",
    "gap_step",
    "lag",
    "leads",
    "level",
    "mase",
    "mean_error",
    "merged_age",
    "merged_age_variance",
    "merged_slope",
    "naive_error_step",
    "opening",
    "previous_step",
    "root_mean_square",
    "season",
    "slope_step",
    "smoothed_level",
    "squared_error_step",
    "trend",
    "trend_age_step",
    "trend_mean_step",
    "trend_weight_step",
]

_TINY = 1e-300
_AT_HORIZON = ("forecast", "forecast_lower", "forecast_upper")
LARGEST_ERROR = 2.0**510
"""Errors beyond count as this: their squares stay finite."""


# States ---------------------------------------------------------------------------------------


def age_step(m: Any, *_: Any) -> tuple[Any, Any]:
    """Mean age A of the weights, in readings or ticks."""
    return m.r, _aged(m, m.r, m.p)


def _aged(m: Any, rest: Any, share: Any) -> Any:
    aged = rest * m.ageing
    return aged if m.own_age is None else aged + share * m.own_age


def trend_weight_step(m: Any, *_: Any) -> tuple[Any, Any]:
    """Sum of the weights that the trend has of its own."""
    decay, where = m.ahead.trend_decay, m.ops.where
    if decay.by_time:
        retention, _lapse = m.ops.fading(decay)
        m.trend_kept = retention(m.ageing)
        own = 1.0 if m.own_age is None else retention(m.own_age)
        m.trend_added = where(m.observed, own, 0.0)
    else:
        m.trend_kept = where(m.observed | (m.ageing > 0.0), decay.beta, 1.0)
        m.trend_added = where(m.observed, 1.0, 0.0)
    return m.trend_kept, m.trend_added


def trend_age_step(m: Any, *_: Any) -> tuple[Any, Any]:
    """Mean age of those weights, of which it also finds the shares."""
    total = m.ops.maximum(m.trend_weight, 5e-324)  # 0 before the first reading
    m.trend_p = m.trend_added / total
    m.trend_r = m.trend_kept * m.before["trend_weight"] / total
    return m.trend_r, _aged(m, m.trend_r, m.trend_p)


def trend_mean_step(m: Any, i: Any, _: Any) -> tuple[Any, Any]:
    """Mean by those weights."""
    return m.trend_r, m.line_values[i] * m.trend_p


def from_mean_time(m: Any, age: Any) -> Any:
    """Return how much later a reading is than a mean time, which is so old before it."""
    apart = age + m.ageing
    return apart if m.own_age is None else apart - m.own_age


def age_variance_step(m: Any, *_: Any) -> tuple[Any, Any]:
    """C, the weighted variance of the times, by the weights of the trend."""
    m.apart = from_mean_time(m, m.before["mean_age"])
    if m.ahead.trend_decay is None:
        m.trend_p, m.trend_r, m.trend_apart = m.p, m.r, m.apart
    else:
        m.trend_apart = from_mean_time(m, m.before["trend_age"])
    return m.trend_r, m.trend_r * m.trend_p * m.trend_apart * m.trend_apart


def slope_step(m: Any, i: Any, _: Any) -> tuple[Any, Any]:
    """Slope b of the line, per reading or tick."""
    before, where = m.before["age_variance"], m.ops.where
    lever = m.trend_p * m.trend_apart
    total = before + lever * m.trend_apart
    own = m.ahead.trend_decay is not None
    d = m.line_values[i] - m.before["trend_mean"][i] if own else m.line_d[i]
    some = total > 0.0
    if m.ops.all(some):
        return before / total, d * (lever / total)
    total = where(some, total, 1.0)
    return where(some, before / total, 1.0), d * where(some, lever / total, 0.0)


def _shifted(t: Any) -> tuple[Any, Any]:
    """Mean ages of the two states, both as of the later of their ends."""
    one, other = t.one["mean_age"], t.other["mean_age"]
    if "newest_ms" not in t.one:
        return one + t.other["count"], other
    ends = [s["newest_ms"] for s in (t.one, t.other)]
    behind = ends[1] - ends[0]
    both = (t.one["count"] > 0) & (t.other["count"] > 0)
    return one + both * (behind > 0) * behind, other - both * (behind < 0) * behind


def merged_age(t: Any, *_: Any) -> Any:
    """Merge mean ages."""
    one, other = _shifted(t)
    return t.r * one + t.p * other


def merged_age_variance(t: Any, one: Any, other: Any, *_: Any) -> Any:
    """Merge variances of times, by Chan's formula."""
    left, right = _shifted(t)
    return t.r * one + t.p * other + t.r * t.p * (left - right) * (left - right)


def merged_slope(t: Any, one: Any, other: Any, i: Any, _: Any) -> Any:
    """Merge slopes: the covariance of times and values over the variance of the times."""
    left, right = _shifted(t)
    own = t.r * t.one["age_variance"], t.p * t.other["age_variance"]
    lever = t.r * t.p * (left - right)
    total = own[0] + own[1] + lever * (left - right)
    some = total > 0.0
    found = own[0] * one + own[1] * other + lever * t.d[i]
    return found * some / (total + ~some)


def _slope_known(m: Any) -> Any:
    return m.before["age_variance"] > 0.0


def _forecast_came(m: Any) -> Any:
    """Return whether the reading had been forecast: it is not late, and a line was there.

    With a season its phase was met before.
    """
    return m.timely & (_slope_known(m) if m.ahead.sloped else m.seen > 1) & m.season_known


def _error(m: Any, deviation: Any, slope: Any, expected: Any) -> Any:
    """Return the error of a reading's forecast; ``expected`` is its season."""
    off = _off_line(m, deviation, slope)
    season = m.ahead.season
    return off if season is None or not season.multiplicative else expected * off


def _off_line(m: Any, deviation: Any, slope: Any) -> Any:
    """Return x - (m + b e), of the line before the reading: e later than its mean time."""
    if not m.ahead.sloped:
        return deviation
    return deviation - m.apart * m.ops.where(_slope_known(m), slope, 0.0)


def error_weight_step(m: Any, *_: Any) -> tuple[Any, Any]:
    """W, the sum of the weights of the errors."""
    came = _forecast_came(m)
    m.compared = m.ops.where(came, 1.0, 0.0)
    return m.ops.where(came, m.ahead.kept, 1.0), m.compared


def _averaged(m: Any, x: Any) -> tuple[Any, Any]:
    """Step of an average over the forecasts that came to be compared."""
    share = m.compared / m.ops.maximum(m.error_weight, 1.0)
    return 1.0 - share, share * x


def gap_step(m: Any, *_: Any) -> tuple[Any, Any]:
    """Average gap of the forecasts, in ticks."""
    return _averaged(m, m.ageing)


def _size_of_error(m: Any, i: Any) -> Any:
    slope = m.before["trend"][i] if m.ahead.sloped else None
    expected = None if m.ahead.season is None else m.season_before[i]
    return m.ops.minimum(abs(_error(m, m.line_d[i], slope, expected)), LARGEST_ERROR)


def adjusted_error_step(m: Any, i: Any, _: Any) -> tuple[Any, Any]:
    """Mean squared error of the forecasts of readings without the season."""
    slope = m.before["trend"][i] if m.ahead.sloped else None
    size = m.ops.minimum(abs(_off_line(m, m.line_d[i], slope)), LARGEST_ERROR)
    return _averaged(m, size * size)


def squared_error_step(m: Any, i: Any, _: Any) -> tuple[Any, Any]:
    """Mean squared error of the forecasts."""
    size = _size_of_error(m, i)
    return _averaged(m, size * size)


def absolute_error_step(m: Any, i: Any, _: Any) -> tuple[Any, Any]:
    """Mean absolute error of the forecasts."""
    return _averaged(m, _size_of_error(m, i))


def previous_step(m: Any, i: Any, _: Any) -> tuple[Any, Any]:
    """Return the last value on time: the naive forecast."""
    return m.ops.where(m.timely, 0.0, 1.0), m.ops.where(m.timely, m.values[i], 0.0)


def naive_error_step(m: Any, i: Any, _: Any) -> tuple[Any, Any]:
    """Mean absolute error of the naive forecast, of the same readings."""
    return _averaged(m, abs(m.values[i] - m.before["previous"][i]))


# Statistics -----------------------------------------------------------------------------------


def _slope(m: Any) -> Any:
    return m.ops.where(m.age_variance > 0.0, m.trend, 0.0)


def _line(m: Any, ahead: float) -> Any:
    """Return the value of the line this long after now."""
    mean = m.mean if m.ahead.season is None else m.adjusted_mean
    if not m.ahead.sloped:
        return mean
    age = m.mean_age if m.idle_ms is None else m.mean_age + m.idle_ms
    return mean + _slope(m) * (age + ahead)


def _with(m: Any, line: Any, term: Any) -> Any:
    """Return a value of the line with a season, or with its mean."""
    return line * term if m.ahead.season.multiplicative else line + term


def level(m: Any) -> Any:
    """Value of the line now, as of an average phase."""
    return _with_centre(m, _line(m, 0.0))


def _with_centre(m: Any, line: Any) -> Any:
    """Return a value of the line as of an average phase."""
    return line if m.ahead.season is None else _with(m, line, seasons.centre(m))


def lag(m: Any) -> Any:
    """Mean age of the weights, in readings or seconds: how far the mean lags behind a line."""
    return (m.mean_age if m.idle_ms is None else m.mean_age + m.idle_ms) / m.ahead.per_second


def smoothed_level(m: Any) -> Any:
    """Value of the line a fixed lag ago, as of an average phase."""
    return _with_centre(m, _line(m, -m.ahead.fixed_lag))


def trend(m: Any) -> Any:
    """Slope, per reading or per second."""
    known, per = m.age_variance > 0.0, m.ahead.per_second
    if m.ahead.season is not None:
        known = known & m.season_started
        if m.ahead.season.multiplicative:
            per = per * seasons.centre(m)
    return m.ops.where(known, m.trend * per, float("nan"))


def season(m: Any) -> Any:
    """Return what the phase now contributes to the level, which is that of an average phase."""
    value, known = seasons.phase_at(m, 0)
    middle = seasons.centre(m)
    if m.ahead.season.multiplicative:
        return m.ops.where(known, value / middle, float("nan"))
    return m.ops.where(known, value - middle, float("nan"))


def leads(statistics: Collection[str], ahead: Ahead) -> tuple[int, ...]:
    """Return how far ahead of now some statistics ask for the season."""
    horizon = int(ahead.horizon)
    asked = {"season": 0} | dict.fromkeys(_AT_HORIZON, horizon)
    return tuple(sorted({lead for name, lead in asked.items() if name in statistics}))


def forecast(m: Any) -> Any:
    """Value of the line at the horizon, with the season there; of an unknown phase, the mean."""
    line = _line(m, m.ahead.reach)
    if m.ahead.season is None:
        return line
    value, known = seasons.phase_at(m, int(m.ahead.horizon))
    return m.ops.where(known, _with(m, line, value), m.mean)


def forecast_error(m: Any) -> Any:
    """Return the reading minus its forecast from the earlier ones."""
    error = _error(m, m.line_deviation, m.trend_before, m.season_expected)
    return m.ops.where(_forecast_came(m), error, float("nan"))


def mean_error(m: Any) -> Any:
    """Mean absolute error."""
    return m.ops.where(m.error_weight > 0.0, m.absolute_error, float("nan"))


def root_mean_square(m: Any) -> Any:
    """Root of the mean squared error."""
    return m.ops.where(m.error_weight > 0.0, m.ops.sqrt(m.squared_error), float("nan"))


def mase(m: Any) -> Any:
    """Mean absolute error over that of the naive forecast."""
    known = (m.error_weight > 0.0) & (m.naive_error > 0.0)
    scale = m.ops.where(known, m.naive_error, 1.0)
    return m.ops.where(known, m.absolute_error / scale, float("nan"))


def _growth(m: Any) -> Any:
    """Variance of an error at the horizon, over that of one step."""
    ops, ahead = m.ops, m.ahead
    if ahead.lost is not None:
        h, lost, gap = max(ahead.horizon, 1.0), ahead.lost, 1.0
        of_trend = lost if ahead.trend_decay is None else ahead.trend_decay.alpha
    else:
        some = m.mean_gap > 0.0
        gap = ops.where(some, m.mean_gap, 1.0)
        h = ops.maximum(ops.where(some, ahead.horizon / gap, 1.0), 1.0)
        of_trend = lost = ops.lapse(m.mean_gap)
        if ahead.trend_decay is not None:
            of_trend = ops.fading(ahead.trend_decay)[1](m.mean_gap)
    gain, drift = lost, 0.0
    if ahead.sloped:
        gain, drift = lost * (2.0 - lost), of_trend * of_trend
        if ahead.trend_decay is not None:
            gain = lost + drift * (1.0 - lost) / ops.maximum(lost, _TINY)
    gone, squared = ahead.bends
    per_step = gain * gain + gone * gain * drift * h
    per_step = per_step + squared * drift * drift * h * (2.0 * h - 1.0) / 6.0
    growth = 1.0 + (h - 1.0) * per_step
    return growth if ahead.season is None else growth + _growth_by_season(m, h, gap, gain, drift)


def _growth_by_season(m: Any, h: Any, gap: Any, gain: Any, drift: Any) -> Any:
    """Return what the season adds to the growth: the gain of its phase, once a period."""
    season = m.ahead.season
    period = season.phases * season.slot / gap
    gamma = season.gain
    visits = m.ops.maximum(season.slot / gap, 1.0)
    times = (h - 1.0) // m.ops.maximum(period, 1.0)
    others = 2.0 * gamma * (gain + drift * period * (times + 1.0) / 2.0)
    return times * (gamma * gamma / visits + others)


def bound(m: Any, sign: float) -> Any:
    """Lower (-1) or upper (1) bound of the value at the horizon."""
    half = m.ahead.quantile * m.ops.sqrt(_growth(m))
    if m.ahead.season is None:
        return forecast(m) + sign * half * root_mean_square(m)
    value, known = seasons.phase_at(m, int(m.ahead.horizon))
    if m.ahead.season.multiplicative:
        off = m.ops.where(m.error_weight > 0.0, m.ops.sqrt(m.adjusted_error), float("nan")) * value
    else:
        off = root_mean_square(m)
    middle = _with(m, _line(m, m.ahead.reach), value)
    return m.ops.where(known, middle + sign * half * off, float("nan"))


class _Lead(NamedTuple):
    """What the growth of a variance is made of, at one lead."""

    ops: Ops
    ahead: Ahead
    mean_gap: float


def opening(
    ahead: Ahead, ops: Ops, gap: float, shares: Sequence[float]
) -> list[tuple[float, float]]:
    """Return how a forecast and its bounds open on the way to the horizon, as a chart draws them.

    Parameters
    ----------
    ahead, ops
        The options of the outlook, and the operations on numbers of its decay.
    gap
        Average gap of the readings, in ticks; counts for decay by time only.
    shares
        Leads as shares of the horizon, from 0 to 1.

    Returns
    -------
    list
        For each lead, how much of the way from the level to the forecast the line has gone, and
        the distance of a bound over that at the horizon. Bounds nearer than one step are those of
        one step.

    Examples
    --------
    >>> from ewma_ops import Decay, Smoothing
    >>> from ewma_ops.stats.ops import of_numbers
    >>> line = Smoothing(Decay(beta=0.5), horizon=4)
    >>> found = opening(line.ahead, of_numbers(line.decay), 1.0, [0.0, 0.5, 1.0])
    >>> [(way, round(width, 3)) for way, width in found]
    [(0.0, 0.415), (0.5, 0.587), (1.0, 1.0)]
    """

    def growth(share: float) -> tuple[float, float]:
        horizon = share * ahead.horizon
        reach, bends = bent(horizon, ahead.damping)
        part = ahead._replace(horizon=horizon, reach=reach, bends=bends)
        return reach, float(_growth(_Lead(ops, part, gap)))

    reach, whole = growth(1.0)
    leads = map(growth, shares)
    return [(gone / reach, math.sqrt(variance / whole)) for gone, variance in leads]
