"""Every statistic, once: its formula, the state it needs, and when it is defined.

To add a statistic of existing moments, add an entry to `STATISTICS`. Its formula is a
function of `Moments`, with operations only that give the same bits for a number and for a column:
arithmetic, and what `ops` has.

Knows formulas; must not know how state is stored or updated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from ewma_ops.stats import outlook
from ewma_ops.stats.moments import Moments, Options

__all__ = [
    "OF_READING",
    "PAIRED",
    "STATISTICS",
    "Statistic",
    "needs_of",
    "reads_of",
]

_EVERY = ("observation", "volume", "last", "next", "linear")
_COUNTED = ("observation", "volume")
_NOT_LINEAR = ("observation", "volume", "last", "next")


@dataclass(frozen=True)
class Statistic:
    """One statistic.

    Parameters
    ----------
    value
        Its formula.
    of
        ``"field"``, ``"pair"``: a value for each field, or each pair of fields; ``"reading"``: one,
        which all fields share.
    needs
        Names of the states in `STATES` that the formula reads, beyond weights and mean. A
        statistic that needs ``spread`` is unbiased, so it is undefined before the second reading
        with a weight.
    reads
        Those of the states whose value before the reading the formula reads.
    weightings
        The weightings with which it is defined.
    refusal
        (options) -> why the statistic is refused, with the fix; ``None`` if it is not.
    always_defined
        Whether it has a value even where ``min_periods`` or ``min_weight`` blank the others.
    """

    value: Callable[[Moments], Any]
    of: Literal["field", "pair", "reading"] = "field"
    needs: Collection[str] = ()
    reads: Collection[str] = ()
    weightings: Collection[str] = _EVERY
    refusal: Callable[[Options], str | None] = lambda _: None
    always_defined: bool = False

    @property
    def unbiased(self) -> bool:
        """Whether it is undefined while only one reading has a weight."""
        return "spread" in self.needs


def reads_of(names: Collection[str]) -> frozenset[str]:
    """Return the names of the states of which some statistics read the value before the reading.

    Examples
    --------
    >>> sorted(reads_of(["mean", "z"]))
    ['concentration', 'variance']
    """
    return frozenset(read for name in names for read in STATISTICS[name].reads)


def needs_of(names: Collection[str]) -> frozenset[str]:
    """Return the names of the states that some statistics need.

    Examples
    --------
    >>> sorted(needs_of(["mean", "sem"]))
    ['concentration', 'spread', 'variance']
    """
    return frozenset(need for name in names for need in STATISTICS[name].needs)


def _settled(m: Moments) -> Any:
    """Share gathered so far of the weight that an average over an infinite past would have."""
    if m.start_n is not None:
        return m.ops.minimum(m.seen / m.start_n, 1.0)
    return m.gathered() if m.age_ms is None else m.ops.lapse(m.age_ms)


def _rate(m: Moments) -> Any:
    """Count readings per second since the oldest, which opens the time and is not counted."""
    age = m.age_ms if m.idle_ms is None else m.age_ms + m.idle_ms
    readings = m.standing() - m.ops.retention(age)
    some = age > 0
    seconds = m.ops.where(some, m.tau_s * m.ops.lapse(age), 1.0)
    return m.ops.where(some, readings / seconds, float("nan"))


def _z(m: Moments) -> Any:
    """How many standard errors a reading is from what was expected before it.

    The variance of x - m is var (1 + U), U = 1 / n_eff: of the reading, and of the mean.
    """
    squared = m.variance_before * (1.0 + m.before["concentration"])
    known = m.weighs & (m.weighed > m.least_unbiased) & (squared > 0.0)
    scale = m.ops.sqrt(m.ops.where(known, squared, 1.0))
    return m.ops.where(known, m.deviation / scale, float("nan"))


def _corr(m: Moments) -> Any:
    scale = m.left_std * m.right_std
    flat = scale == 0.0
    corr = m.ops.where(flat, float("nan"), m.covariance / m.ops.where(flat, 1.0, scale))
    return m.ops.minimum(m.ops.maximum(corr, -1.0), 1.0)


def _no_sum(options: Options) -> str | None:
    if options.start_up not in ("first", "simple"):
        return None
    return (
        f'statistic "sum" has no meaning with start_up {options.start_up!r}, where the weights '
        'always add up to 1: use "corrected"'
    )


def _no_settled(options: Options) -> str | None:
    if options.start_up == "prior":
        return 'statistic "settled" does not go with a prior: leave it out'
    if options.weighting == "volume" and not options.decay.by_time:
        return 'statistic "settled" is not defined with weighting "volume": leave it out'
    return None


def _no_rate(options: Options) -> str | None:
    if options.decay.by_time and options.start_up == "corrected":
        return None
    return (
        'statistic "rate" needs decay by time and start_up "corrected": give a half-life such as '
        '"5min", or leave it out'
    )


def _no_revision(options: Options) -> str | None:
    if options.decay.by_time:
        return None
    return (
        'statistic "revision" needs decay by time, where late readings change what was emitted: '
        'give a half-life such as "5min", or leave it out'
    )


def _no_outlook(options: Options) -> str | None:
    if options.start_up == "corrected":
        return None
    return (
        f"start_up {options.start_up!r} has no times before the first reading, which level, trend "
        'and forecasts would need: use "corrected", or leave them out'
    )


def _no_trend(options: Options) -> str | None:
    if not options.ahead.sloped:
        return 'statistic "trend" needs outlook "trend": with "level" it is 0'
    return _no_outlook(options)


def _no_season(options: Options) -> str | None:
    if options.ahead.season is None:
        return 'statistic "season" needs a season: give one, such as "day", or leave it out'
    return _no_outlook(options)


def _no_smoothed_level(options: Options) -> str | None:
    if not options.ahead.sloped:
        return 'statistic "smoothed_level" needs outlook "trend": with "level" it is the mean'
    if options.fixed_lag is None:
        how = "a number of readings" if not options.decay.by_time else 'a time such as "5min"'
        return f'fixed_lag is not given, and "smoothed_level" needs it: how far back, {how}'
    return _no_outlook(options)


def _no_forecast(options: Options) -> str | None:
    if options.horizon is None:
        how = (
            'a time ahead such as "15min"'
            if options.decay.by_time
            else "a number of readings ahead"
        )
        return f"horizon is not given, and a forecast needs it: {how}"
    return _no_outlook(options)


_UNBIASED = ("spread", "variance")
_LINE = ("mean_age", "age_variance", "trend")
_ERRORS = (*_LINE, "error_weight")
_BOUNDS = (*_ERRORS, "mean_gap", "squared_error")


def _outlook(
    value: Callable[[Moments], Any],
    needs: Collection[str],
    reads: Collection[str] = (),
    refusal: Callable[[Options], str | None] = _no_outlook,
) -> Statistic:
    return Statistic(value, needs=needs, reads=reads, weightings=_COUNTED, refusal=refusal)


STATISTICS: dict[str, Statistic] = {
    "mean": Statistic(lambda m: m.uncorrected(m.mean)),
    "n_eff": Statistic(
        lambda m: 1.0 / m.concentration,
        of="reading",
        needs=("concentration",),
        weightings=_COUNTED,
    ),
    "settled": Statistic(_settled, of="reading", needs=("oldest_ms",), refusal=_no_settled),
    "count": Statistic(lambda m: m.seen * 1.0, of="reading", always_defined=True),
    "sum": Statistic(lambda m: m.standing() * m.mean, weightings=_COUNTED, refusal=_no_sum),
    "var": Statistic(lambda m: m.variance, needs=_UNBIASED, weightings=_COUNTED),
    "std": Statistic(lambda m: m.ops.sqrt(m.variance), needs=_UNBIASED, weightings=_COUNTED),
    "sem": Statistic(
        lambda m: m.ops.sqrt(m.variance / (1.0 / m.concentration)),
        needs=(*_UNBIASED, "concentration"),
        weightings=_COUNTED,
    ),
    "z": Statistic(
        _z,
        needs=(*_UNBIASED, "concentration"),
        reads=("variance", "concentration"),
        weightings=_COUNTED,
    ),
    "var_biased": Statistic(
        lambda m: m.biased(m.variance), needs=("variance",), weightings=_NOT_LINEAR
    ),
    "std_biased": Statistic(
        lambda m: m.ops.sqrt(m.biased(m.variance)), needs=("variance",), weightings=_NOT_LINEAR
    ),
    "mean_square": Statistic(
        lambda m: m.uncorrected(m.biased(m.variance) + m.mean * m.mean),
        needs=("variance",),
        weightings=_NOT_LINEAR,
    ),
    "rate": Statistic(
        _rate,
        of="reading",
        needs=("oldest_ms",),
        weightings=("observation",),
        refusal=_no_rate,
    ),
    "revision": Statistic(
        lambda m: m.revision * 1.0, of="reading", needs=("revision",), refusal=_no_revision
    ),
    "level": _outlook(outlook.level, _LINE),
    "lag": Statistic(
        outlook.lag,
        of="reading",
        needs=("mean_age",),
        weightings=_COUNTED,
        refusal=_no_outlook,
    ),
    "smoothed_level": _outlook(outlook.smoothed_level, _LINE, refusal=_no_smoothed_level),
    "trend": _outlook(outlook.trend, _LINE, refusal=_no_trend),
    "season": _outlook(outlook.season, _LINE, refusal=_no_season),
    "forecast": _outlook(outlook.forecast, _LINE, refusal=_no_forecast),
    "forecast_lower": _outlook(lambda m: outlook.bound(m, -1.0), _BOUNDS, refusal=_no_forecast),
    "forecast_upper": _outlook(lambda m: outlook.bound(m, 1.0), _BOUNDS, refusal=_no_forecast),
    "forecast_error": _outlook(outlook.forecast_error, _LINE, ("age_variance", "trend")),
    "mae": _outlook(outlook.mean_error, (*_ERRORS, "absolute_error")),
    "rmse": _outlook(outlook.root_mean_square, (*_ERRORS, "squared_error")),
    "mase": _outlook(outlook.mase, (*_ERRORS, "absolute_error", "previous", "naive_error")),
    "cov": Statistic(
        lambda m: m.covariance, of="pair", needs=("spread", "covariance"), weightings=_COUNTED
    ),
    "cov_biased": Statistic(
        lambda m: m.biased(m.covariance),
        of="pair",
        needs=("covariance",),
        weightings=_NOT_LINEAR,
    ),
    "corr": Statistic(_corr, of="pair", needs=(*_UNBIASED, "covariance"), weightings=_COUNTED),
}
"""The statistics by name, in the order of the documentation."""

PAIRED = tuple(name for name, statistic in STATISTICS.items() if statistic.of == "pair")
"""Statistics of two fields."""

OF_READING = tuple(name for name, statistic in STATISTICS.items() if statistic.of == "reading")
"""Statistics of the reading: one value, which all fields share."""
