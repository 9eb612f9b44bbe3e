"""Every statistic, once: its formula, the state it needs, and when it is defined.

To add a statistic of existing moments, add an entry to `STATISTICS`. Its formula is a
function of `Moments`, with operations only that give the same bits for a number and for a column:
arithmetic, and what `ops` has.

Knows formulas; must not know how state is stored or updated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ewma_ops.stats import outlook
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.ops import Ops

__all__ = [
    "OF_READING",
    "PAIRED",
    "STATISTICS",
    "Moments",
    "Options",
    "Statistic",
    "needs_of",
    "reads_of",
    "starting_readings",
]

_EVERY = ("observation", "volume", "last", "next", "linear")
_COUNTED = ("observation", "volume")
_NOT_LINEAR = ("observation", "volume", "last", "next")


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
    def ahead(self) -> outlook.Ahead:
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
    deviation, variance_before, trend_before
        Of the current field: x - m, the variance and the slope, before the reading; for statistics
        that read them.
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
    trend_weight, trend_age, trend_mean, error_weight, mean_gap, squared_error, absolute_error,
    naive_error
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
    "trend": _outlook(outlook.trend, _LINE, refusal=_no_trend),
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
