"""`Smoothing`: what to compute for a series. Its decay, start-up, policies and statistics, checked.

Knows which options are compatible; must not know how anything is computed or stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Literal

from ewma_ops.errors import ConfigError
from ewma_ops.stats.ahead import Ahead, ahead_of, check_ahead
from ewma_ops.stats.checks import number, one_of, whole
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.policies import Policies
from ewma_ops.stats.states import STATES
from ewma_ops.stats.statistics import STATISTICS, needs_of

__all__ = ["Smoothing"]

_START_UPS = ("corrected", "uncorrected", "first", "simple", "prior")
_WEIGHTINGS = ("observation", "volume", "last", "next", "linear")
_LARGEST_PRIOR = 2.0**510


@dataclass(frozen=True)
class Smoothing:
    """What to compute for a series, and by which rules.

    Parameters
    ----------
    decay
        How fast the past is forgotten.
    start_up
        ``"corrected"``: the properly weighted mean from the first reading on (pandas
        ``adjust=True``). ``"uncorrected"``: starts from 0, so it is too low at first; count decay
        only. ``"first"``: starts from the first reading, which counts as the whole past (pandas
        ``adjust=False``). ``"simple"``: the first ``start_n`` readings weigh alike, and their
        mean counts as the whole past. ``"prior"``: ``prior`` counts as a reading of weight
        ``prior_weight`` before the first.
    missing
        Policy for a reading without a value (``None``, NaN). ``"skip"``: ignore it (pandas
        ``ignore_na=True``). ``"decay"``: weights decay past it (pandas ``ignore_na=False``).
        ``"reset"``: the series starts from scratch with it. ``"dead-letter"``: reject it, with an
        error; a job sends it to the dead-letter topic.
    min_periods
        >= 0: statistics are undefined before this many observed readings.
    statistics
        Which to compute, in the order of the output, ``"mean"`` among them:

        ``"mean"``, and ``"sum"``, of the weighted values; ``"count"``, the number of observed
        readings; ``"n_eff"``, the number of equally weighted readings that would be as precise;
        ``"settled"``, the share (0 to 1) of the full weight that has been gathered.

        ``"var"`` and ``"std"``, unbiased for weighted observations (pandas ``bias=False``);
        ``"var_biased"`` and ``"std_biased"``; ``"z"``, how many standard errors a reading is from
        the mean before it, from the third on; ``"sem"``, std / sqrt(n_eff), the standard error of
        the mean; ``"mean_square"``, the mean of the squared values; ``"cov"`` (unbiased),
        ``"cov_biased"`` (pandas ``bias=True``) and ``"corr"``, for each pair of fields. Unbiased
        statistics are undefined while only one reading has a weight, so with beta = 0.

        ``"rate"``, readings per second; decay by time only. The first reading opens the
        observation and is not counted, so it is unbiased from the second on.

        ``"revision"``, how often earlier output has been revised: by late, retracted, corrected or
        merged readings; decay by time only.

        ``"level"`` and ``"trend"``, of the straight line that fits the weighted readings best: its
        value now, and its slope per second, or with count decay per reading, from the second time
        on. ``"forecast"``, its value ``horizon`` later, and ``"forecast_lower"`` and
        ``"forecast_upper"``, between which a reading will then be in a share ``coverage`` of all
        cases. ``"forecast_error"``, the reading less what had been forecast for its time.
        ``"mae"`` and ``"rmse"``, the mean absolute and the root of the mean squared error of those
        forecasts, and ``"mase"``, their mean absolute error over that of the forecast "as last
        time": below 1 they are better. ``"season"``, what the phase of the season contributes now.
        ``"lag"``, the average age of the weights in seconds, or with count decay in readings: how
        far the mean lags behind a line. ``"smoothed_level"``, the value of the line ``fixed_lag``
        ago, by all readings until now (a fixed-lag smoother). With start_up ``"corrected"`` only.
    start_n
        >= 1 readings, with ``start_up="simple"``.
    prior, prior_weight
        A finite value, and what it weighs (> 0, where a reading weighs 1), with
        ``start_up="prior"``.
    min_weight
        >= 0: statistics are undefined where the sum of weights has decayed below it.
    weighting
        ``"observation"``: every reading has weight 1. ``"volume"``: the weight that comes with it.
        By duration, with decay by time only: ``"last"``, a value is held until the next reading;
        ``"next"``, it held since the previous reading; ``"linear"``, it changed in a straight line.

        With ``start_up="first"``: by volume, the mean is the average of value times weight over the
        average of the weights, both started from the first reading and updated with
        y <- f y + (1 - f) g, f being the retained part of a weight. By duration, the value was that
        of the first reading at all times before it: v <- f v + (1 - f) h, h being the mean of the
        held or interpolated value over the gap.
    non_finite
        Policy for an infinite value: as for ``missing``, or ``"clip"``: replace it with the nearer
        bound.
    out_of_range
        The same for a finite value below ``lowest``, above ``highest``, or too large to compute
        with.
    lowest, highest
        Bounds of the values, of every field; ``None`` for none.
    late
        Policy for a reading that is more than ``max_lateness`` older than the newest of its
        series: as for ``missing``, or ``"take"``: use it, or ``"clip"``: use it with the oldest
        time that is not late. The default is ``"take"``; with ``max_lateness``, ``"dead-letter"``.
    max_lateness
        A duration as ``timedelta`` or text such as ``"10min"``; 0 if left out.
    equal_times
        Policy for a reading at the newest time of its series: ``"take"``: use it, or as for
        ``missing``.
    outlook
        What forecasts are made of. ``"trend"``: the line (Brown's discounted least squares; with
        count decay Holt's linear trend with alpha = 1 - beta^2 and beta* = (1 - beta)/(1 + beta)).
        ``"level"``: the mean (simple exponential smoothing); there is no trend.
    horizon
        How far ahead forecasts are: a duration as ``timedelta`` or text such as ``"15min"``; with
        count decay a number of readings, >= 1.
    fixed_lag
        How far back ``"smoothed_level"`` is, > 0: a duration; with count decay, readings.
    trend_halflife
        ``None``: the trend is found by the weights of the level. A half-life as a duration, with
        count decay as a number of readings: by weights that decay so; usually longer.
    damping
        ``None``, or a duration, with count decay a number of readings, > 0: the trend halves with
        every such time ahead, so that forecasts bend to a level (damped trend).
    coverage
        Share of all cases in which a reading is between the bounds of its forecast, > 0,
        < 1 - 1e-9.
    error_span
        >= 1: how many forecasts the averages of their errors span.
    season
        ``"none"``. ``"hour"``, ``"day"``, ``"week"`` or a duration, with count decay a number of
        readings, >= 2: the period of a season, which is learned and part of every forecast
        (Holt-Winters). Level and trend are then those of the readings without it.
    season_phases
        2 to 10,080: into how many parts the period is divided, between which the season is a line;
        60 of an hour, 24 of a day, 168 of a week, and 24 of other durations if left out. With
        count decay every reading is one.
    season_kind
        ``"additive"``, or ``"multiplicative"``: a factor; ``lowest`` must be > 0 then.
    season_halflife
        In what time, or number of readings, the weights of the season halve; about 6.6 periods if
        left out, so that each weighs 0.9 of the next one. The weights of the trend halve as fast,
        but not in less than 6.6 periods, without a ``trend_halflife``.
    utc_offset
        By how much the hours of a season are ahead of UTC, such as ``"+05:30"``; UTC, if not given.

    Raises
    ------
    ConfigError
        If an option is unknown, or two options are incompatible.

    Examples
    --------
    >>> Smoothing(Decay(beta=0.9), statistics=["mean", "n_eff"]).statistics
    ('mean', 'n_eff')
    """

    decay: Decay
    start_up: Literal["corrected", "uncorrected", "first", "simple", "prior"] = "corrected"
    missing: Literal["skip", "decay", "reset", "dead-letter"] = "skip"
    min_periods: int = 0
    statistics: Sequence[str] = ("mean",)
    start_n: int | None = None
    prior: float | None = None
    prior_weight: float | None = None
    min_weight: float = 0.0
    weighting: Literal["observation", "volume", "last", "next", "linear"] = "observation"
    non_finite: Literal["dead-letter", "skip", "decay", "reset", "clip"] = "dead-letter"
    out_of_range: Literal["dead-letter", "skip", "decay", "reset", "clip"] = "dead-letter"
    lowest: float | None = None
    highest: float | None = None
    late: Literal["take", "skip", "decay", "reset", "clip", "dead-letter"] | None = None
    max_lateness: timedelta | str | None = None
    equal_times: Literal["take", "skip", "decay", "reset", "dead-letter"] = "take"
    outlook: Literal["level", "trend"] = "trend"
    horizon: float | timedelta | str | None = None
    fixed_lag: float | timedelta | str | None = None
    trend_halflife: float | timedelta | str | None = None
    damping: float | timedelta | str | None = None
    coverage: float = 0.95
    error_span: float = 200.0
    season: int | str | timedelta = "none"
    season_phases: int | None = None
    season_kind: Literal["additive", "multiplicative"] = "additive"
    season_halflife: float | timedelta | str | None = None
    utc_offset: str | None = None

    def __post_init__(self) -> None:
        decay: object = self.decay
        if not isinstance(decay, Decay):
            raise ConfigError(f"decay must be a Decay, such as Decay(beta=0.9), not {decay!r}")
        one_of("start_up", self.start_up, _START_UPS)
        one_of("weighting", self.weighting, _WEIGHTINGS)
        if self.start_up == "uncorrected" and decay.by_time:
            raise ConfigError(
                f'start_up "uncorrected" needs a decay per reading, and {decay!r} is per '
                'time: use "corrected" or "first", or give beta, alpha, span or com'
            )
        whole("min_periods", self.min_periods, 0)
        number("min_weight", self.min_weight, ">= 0", lambda x: x >= 0)
        if self.min_weight > 0 and self.start_up in ("first", "simple"):
            raise ConfigError(
                f"min_weight has no meaning with start_up {self.start_up!r}, where the weights "
                'always add up to 1: use "corrected"'
            )
        self._check_start()
        policies = self.policies  # refuses incompatible policies, and bounds that are none
        check_ahead(self)
        if self.by_duration and any(policies.decays):
            raise ConfigError(
                f'weighting "{self.weighting}" holds a value over missing readings: use "skip" in '
                'place of "decay"'
            )
        object.__setattr__(self, "statistics", _checked(self.statistics))
        for name in self.statistics:
            reason = STATISTICS[name].refusal(self)
            if reason is not None:
                raise ConfigError(reason)
        if self.weighting != "observation":
            self._check_weighting()

    def _check_start(self) -> None:
        for name, start_up in (
            ("start_n", "simple"),
            ("prior", "prior"),
            ("prior_weight", "prior"),
        ):
            given = getattr(self, name) is not None
            if given and self.start_up != start_up:
                raise ConfigError(
                    f'{name} = {getattr(self, name)!r} goes with start_up "{start_up}", '
                    f"not {self.start_up!r}: leave one of them out"
                )
            if not given and self.start_up == start_up:
                raise ConfigError(f'start_up "{start_up}" needs {name}: give it')
        if self.start_up == "simple":
            whole("start_n", self.start_n, 1)
        if self.start_up == "prior":
            bound = _LARGEST_PRIOR
            number("prior", self.prior, f"within +-{bound:.3g}", lambda x: abs(x) <= bound)
            number("prior_weight", self.prior_weight, "> 0, <= 1e15", lambda x: 0 < x <= 1e15)

    def _check_weighting(self) -> None:
        weighting = self.weighting
        if self.by_duration and not self.decay.by_time:
            raise ConfigError(
                f'weighting "{weighting}" needs decay by time: give a half-life such as "5min"'
            )
        start_ups = ("corrected", "first", *(() if self.by_duration else ("prior",)))
        if self.start_up not in start_ups:
            raise ConfigError(
                f'weighting "{weighting}" does not go with start_up "{self.start_up}": '
                f"use {' or '.join(start_ups)}"
            )
        for name in self.statistics:
            if weighting not in STATISTICS[name].weightings:
                raise ConfigError(
                    f'statistic "{name}" is not defined with weighting "{weighting}": leave it out'
                )

    @property
    def policies(self) -> Policies:
        """The policies for unusual readings."""
        return Policies.of(
            missing=self.missing,
            non_finite=self.non_finite,
            out_of_range=self.out_of_range,
            late=self.late,
            equal_times=self.equal_times,
            lowest=self.lowest,
            highest=self.highest,
            max_lateness=self.max_lateness,
            by_time=self.decay.by_time,
            ticks_per_ms=self.decay.ticks_per_ms,
        )

    def in_ticks(self, per_ms: int) -> Smoothing:
        """Return the same smoothing for times in ticks of which ``per_ms`` are a millisecond."""
        return replace(self, decay=self.decay.in_ticks(per_ms))

    @property
    def by_duration(self) -> bool:
        """Whether the weight of a reading is the time that it stands for."""
        return self.weighting in ("last", "next", "linear")

    @cached_property
    def ahead(self) -> Ahead:
        """What the options of an outlook come to."""
        return ahead_of(self)

    @property
    def needs(self) -> frozenset[str]:
        """The states that the statistics need, beyond the weights and the mean."""
        return needs_of(self.statistics)

    @property
    def unbiased(self) -> bool:
        """Whether an unbiased second moment is needed."""
        return "spread" in self.needs

    @property
    def squares(self) -> bool:
        """Whether a variance of each field is needed."""
        return "variance" in self.needs

    @property
    def pairs(self) -> bool:
        """Whether a covariance of each two fields is needed."""
        return "covariance" in self.needs

    @property
    def largest(self) -> float:
        """Greatest magnitude of a value: 2**1022, or 2**510 where values are squared."""
        return min(STATES[name].largest for name in ("mean", *self.needs))

    def fingerprint(self) -> str:
        """Return a short text: two smoothings can exchange state if and only if theirs are equal.

        It names the decay, the rules, and the state that statistics and policies need.
        ``min_periods``, ``min_weight`` and the order of the statistics change the output only,
        bounds only what is admitted: they are not in it.
        """
        decay = self.decay
        rate = (
            f"halflife_ms={decay.halflife_ms!r}"
            if decay.by_time
            else f"beta={decay.beta!r} alpha={decay.alpha!r}"
        )
        start_up = f"start_up={self.start_up}"
        if self.start_n is not None:
            start_up += f"({self.start_n})"
        if self.prior is not None:
            start_up += f"({float(self.prior)!r}, {self.prior_weight!r})"
        needs, trend, season = self.needs, self.ahead.trend_decay, self.ahead.season
        names = [
            *([f"weighting={self.weighting}"] if self.weighting != "observation" else []),
            *(s.option for s in STATES.values() if s.option and s.name in needs),
            *(["outlook=level"] if not self.ahead.sloped and "age_variance" in needs else []),
            *(
                [f"trend={trend.halflife_ms if trend.by_time else trend.beta!r}"]
                if trend and "age_variance" in needs
                else []
            ),
            *([f"season={season.describe()}"] if season and "age_variance" in needs else []),
            *([f"error_span={self.error_span!r}"] if "error_weight" in needs else []),
            *(["watch"] if self.policies.watches else []),
        ]
        return " ".join([rate, start_up, f"missing={self.missing}", *names])

    @classmethod
    def like_pandas(
        cls,
        *,
        com: float | None = None,
        span: float | None = None,
        halflife: float | timedelta | str | None = None,
        alpha: float | None = None,
        min_periods: int = 0,
        adjust: bool = True,
        ignore_na: bool = False,
        statistics: Sequence[str] = ("mean",),
    ) -> Smoothing:
        """Return the smoothing of ``pandas.DataFrame.ewm`` with the same options.

        ``adjust=True``: sum((1 - alpha)^i x_(t-i)) / sum((1 - alpha)^i). ``adjust=False``:
        y_t = (1 - alpha) y_(t-1) + alpha x_t from y_0 = x_0. A half-life in time decays by the
        event time, where pandas is given ``times``.

        Examples
        --------
        >>> Smoothing.like_pandas(span=10, adjust=False).start_up
        'first'
        """
        decay = Decay(com=com, span=span, halflife=halflife, alpha=alpha)
        return cls(
            decay,
            "corrected" if adjust else "first",
            "skip" if ignore_na else "decay",
            min_periods,
            statistics,
        )

    @classmethod
    def like_adam(cls, beta: float, statistics: Sequence[str] = ("mean",)) -> Smoothing:
        """Return Adam's moment estimates, bias-corrected: v / (1 - beta^t).

        v_t = beta v_(t-1) + (1 - beta) g_t from v_0 = 0. ``"mean"`` is the first moment;
        ``"mean_square"`` the second, from v_t = beta v_(t-1) + (1 - beta) g_t^2.

        Examples
        --------
        >>> Smoothing.like_adam(0.999, ["mean", "mean_square"]).decay
        Decay(beta=0.999)
        """
        return cls(Decay(beta=beta), statistics=statistics)

    @classmethod
    def like_talib_ema(cls, period: int) -> Smoothing:
        """Return TA-Lib's ``EMA``: y_t = y_(t-1) + 2 / (period + 1) (x_t - y_(t-1)).

        It begins with the simple mean of the first ``period`` readings; none before.

        Examples
        --------
        >>> Smoothing.like_talib_ema(12).start_n
        12
        """
        return cls(Decay(span=period), "simple", min_periods=period, start_n=period)

    @classmethod
    def like_polars_by(cls, half_life: timedelta | str) -> Smoothing:
        """Return polars' ``ewm_mean_by``: y_t = f y_(t-1) + (1 - f) x_t from y_0 = x_0.

        f = 2^(-gap / half_life), of the time since the reading before.

        Examples
        --------
        >>> Smoothing.like_polars_by("4d").decay
        Decay(halflife='4d')
        """
        return cls(Decay(halflife=half_life), "first")


def _checked(statistics: object) -> tuple[str, ...]:
    if isinstance(statistics, str) or not isinstance(statistics, Sequence):
        raise ConfigError(f"statistics must be a list of names, not {statistics!r}")
    for name in statistics:
        one_of("statistics: a name", name, tuple(STATISTICS))
    if len(set(statistics)) != len(statistics):
        raise ConfigError(f"statistics {list(statistics)} has a name twice: leave one out")
    if "mean" not in statistics:
        raise ConfigError(f'statistics {list(statistics)} lacks "mean": add it')
    return tuple(statistics)
