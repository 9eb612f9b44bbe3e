"""`ChartRule`: rules about how many standard errors something is from what was expected.

Knows what is expected, and that there is a limit; must not know kinds (`chart_rules`), series,
state or how a score is computed (`scores`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from ewma_ops.errors import ConfigError
from ewma_ops.monitor.rates import readings_per_false_alarm
from ewma_ops.monitor.rule import COUNTED, Rule, check_decay, check_sides
from ewma_ops.monitor.standard import MOST_SCORE
from ewma_ops.stats.ahead import utc_offset_ms
from ewma_ops.stats.checks import number, one_of, whole
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing

__all__ = [
    "HOURS",
    "LEAST_N_EFF",
    "ChartRule",
    "Frozen",
    "Given",
    "Outlook",
]

HOURS = {"day": 24, "week": 7 * 24}
"""The full hours of a season, by its name."""

_SLOWER = 10.0
"""How much slower than the decay of a rule its baseline forgets, by default."""
LEAST_N_EFF = 20.0
"""Effective number of readings from which a baseline is used."""
_LEAST_STEADY = 30.0
"""Least value of that number in the long run: gaps and late readings lower it for a while."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A baseline that is known: the ``mean`` that is expected, and the ``std`` > 0 of a reading.

    Examples
    --------
    >>> from ewma_ops.monitor.rules import Level
    >>> Level(limit=3.0, baseline=Given(mean=21.5, std=0.4)).baseline.mean
    21.5
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        number("baseline: mean", self.mean, "that is finite", lambda _: True)
        number("baseline: std", self.std, "> 0", lambda x: x > 0)


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A baseline that is learned from the first ``readings`` of a series, and kept, >= 20.

    An error from few readings persists: prefer a slow EWMA, which keeps learning.

    Examples
    --------
    >>> from ewma_ops.monitor.rules import Level
    >>> Level(limit=3.0, baseline=Frozen(readings=500)).baseline.readings
    500
    """

    readings: int

    def __post_init__(self) -> None:
        whole("baseline: readings", self.readings, 20, COUNTED)


@dataclass(frozen=True)
class Outlook:
    """The baseline ``"outlook"`` of `ChartRule.with_limit`.

    Parameters
    ----------
    smoothing
        The smoothing whose outlook forecasts the readings.
    errors
        How fast mean and variance of the errors of its forecasts forget.
    """

    smoothing: Smoothing
    errors: Decay

    def __str__(self) -> str:
        """Return its parameters, for fingerprints."""
        return f"outlook({self.smoothing.fingerprint()}, errors={self.errors!r})"


@dataclass(frozen=True, kw_only=True)
class ChartRule(Rule):
    """A rule about a score: how many standard errors something is from what was expected.

    What is expected is by default a slow EWMA of the series itself, whose readings are clipped at 4
    standard deviations. Every reading weighs alike, whatever the weighting of the smoothing.

    Parameters
    ----------
    limit
        The score beyond which an alarm is raised, > 0 and < 1e6, in standard errors. Rounded to 6
        decimals. Scores are cut at 1e6.
    false_alarms
        Instead of a limit: how often independent normal readings may raise a false alarm,
        such as ``"1 per 100000 readings"``, or with ``readings``, ``"1 per week"``.
    readings
        The rate of readings, such as ``"100 per s"``.
    least
        Least deviation for an alarm, in the units of the readings, >= 0.
    direction
        ``"both"``, ``"high"`` or ``"low"``.
    clear
        The share of the limit, 0 < clear <= 1, below which the series has come back.
    critical
        The alarm is critical from so many limits on, >= 1; ``None`` for never.
    warm_up
        Readings of a series before it may raise an alarm, >= 20.
    decay
        The decay of the EWMA that the rule charts: that of the smoothing, if there is just one.
    baseline
        How much slower the expected mean forgets, > 1, or its own `Decay`; or `Given`, or `Frozen`.
        ``"outlook"``, for series with a trend: the forecast of the smoothing's outlook, one reading
        ahead; the rule then charts the errors of these forecasts.
    memory
        ``"none"``; or ``"ar1"`` for series whose readings resemble the one before them, as
        temperatures do: then the rule charts the part of a reading that does not follow from the
        one before. It keeps the rate of false alarms, and finds lasting shifts later.
    memory_span
        About how many readings that resemblance is learned from, >= 100.
    season
        ``"none"``; or ``"day"`` or ``"week"`` for series that follow the hour of the day, or of the
        week: then the rule charts the reading minus the usual level at that hour over about the
        last 19 days, or weeks. Readings need times.
    utc_offset
        By how much the hours of a season are ahead of UTC, such as ``"+05:30"``; UTC, if not given.

    Raises
    ------
    ConfigError
        If a value is out of its range, neither ``limit`` nor ``false_alarms`` is given, or they are
        incompatible with the baseline.
    """

    limit: float | None = None
    false_alarms: str | None = None
    readings: str | None = None
    least: float = 0.0
    direction: str = "both"
    clear: float = 0.5
    critical: float | None = None
    warm_up: int = 100
    decay: Decay | None = None
    baseline: float | Decay | Given | Frozen | Outlook | str = _SLOWER
    memory: str = "none"
    memory_span: int = 1_000
    season: str = "none"
    utc_offset: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sides(self.direction, self.clear, self.critical)
        number("least", self.least, ">= 0", lambda x: x >= 0)
        whole("warm_up", self.warm_up, 0 if isinstance(self.baseline, Given) else 20, COUNTED)
        one_of("memory", self.memory, ("none", "ar1"))
        whole("memory_span", self.memory_span, 100, COUNTED)
        one_of("season", self.season, ("none", *HOURS))
        self.offset_ms()
        if self.limit is not None:
            number("limit", self.limit, "> 0 and < 1e6, in standard errors", _is_score)
            object.__setattr__(self, "limit", round(float(self.limit), 6))
        elif self.false_alarms is None:
            raise ConfigError(
                f"the {self.kind} rule has neither limit nor false_alarms: give one of them, such "
                'as limit = 4.5, or false_alarms = "1 per 100000 readings"'
            )
        else:
            self.run_length()
        check_decay(self.decay)
        self._check_baseline()

    def offset_ms(self) -> int:
        """Return by how many milliseconds the hours of the season are ahead of UTC."""
        offset_ms = utc_offset_ms(self.utc_offset)
        if self.utc_offset is not None and self.season == "none":
            raise ConfigError(
                f"utc_offset is {self.utc_offset!r}, but there is no season: add season, or leave "
                "it out"
            )
        return offset_ms

    def _check_baseline(self) -> None:
        baseline = self.baseline
        if isinstance(baseline, (Given, Frozen)) and self.season != "none":
            raise ConfigError(
                f"season = {self.season!r} goes with a baseline that is learned all the time, not "
                f"with {baseline!r}: leave one of them out"
            )
        if isinstance(baseline, (Given, Frozen)) and self.memory != "none":
            raise ConfigError(
                f"memory = {self.memory!r} goes with a baseline that is learned all the time, not "
                f"with {baseline!r}: leave one of them out"
            )
        if isinstance(baseline, Frozen) and baseline.readings < self.warm_up:
            raise ConfigError(
                f"the baseline of {baseline.readings} readings is shorter than warm_up = "
                f"{self.warm_up}: give a longer one, or a shorter warm_up"
            )
        if isinstance(baseline, str):
            one_of("baseline", baseline, ("outlook",))
        elif not isinstance(baseline, (Decay, Given, Frozen, Outlook)):
            bound = '> 1, "outlook", or a Decay, Given or Frozen'
            number("baseline", baseline, bound, lambda x: x > 1)

    def run_length(self) -> float:
        """Return the wanted number of readings per false alarm."""
        assert self.false_alarms is not None
        return readings_per_false_alarm(self.false_alarms, self.readings)

    @property
    def designed(self) -> str | None:
        """How many false alarms the rule is designed for; ``None`` if its limit was given."""
        return None if self.false_alarms is None else f"1 per {self.run_length():.6g} readings"

    def with_limit(self, smoothing: Smoothing | None) -> ChartRule:
        """Return the rule with its decay, its baseline and its limit as numbers.

        Raises
        ------
        ConfigError
            If there is no decay, the baseline is not slower, there is no outlook, or no limit can
            be computed.
        """
        own = self.decay
        if own is None and smoothing is not None:
            own = smoothing.decay
        if own is None:
            raise ConfigError(
                f"the {self.kind} rule has no decay: name one, such as decay = Decay(beta=0.9), as "
                "there are several smoothings, or a composite"
            )
        baseline = self.baseline
        if isinstance(baseline, str):
            baseline = self._outlook(own, smoothing)
        elif isinstance(baseline, (int, float, Decay)):
            baseline = baseline if isinstance(baseline, Decay) else _slower(own, baseline)
            _check_slower(own, baseline)
        limit = self.limit
        if limit is None:
            limit = round(self._limit_for(self.run_length(), own), 6)
        return replace(self, decay=own, baseline=baseline, limit=limit)

    def _outlook(self, decay: Decay, smoothing: Smoothing | None) -> Outlook:
        if smoothing is None:
            raise ConfigError(
                'baseline = "outlook" is what the outlook of the smoothing forecasts, and there '
                "are several smoothings, or a composite: give it in a job with one, or a number"
            )
        if smoothing.season != "none" and self.season == "none":
            raise ConfigError(
                'baseline = "outlook" is the line of the outlook, and the smoothing has season = '
                f"{smoothing.season!r}, which would be left in: give the rule a season of its own, "
                '"day" or "week", or a number as baseline'
            )
        errors = _slower(decay, _SLOWER)
        _check_slower(decay, errors)
        line = Smoothing(
            smoothing.decay,
            statistics=("mean", "level"),
            outlook=smoothing.outlook,
            trend_halflife=smoothing.trend_halflife,
        )
        return Outlook(line, errors)

    def in_ticks(self, per_ms: int) -> ChartRule:
        """Return the rule of `with_limit` for gaps in ticks, ``per_ms`` to a millisecond."""
        assert self.decay is not None
        baseline = self.baseline
        if isinstance(baseline, Decay):
            baseline = baseline.in_ticks(per_ms)
        elif isinstance(baseline, Outlook):
            baseline = Outlook(
                baseline.smoothing.in_ticks(per_ms), baseline.errors.in_ticks(per_ms)
            )
        return replace(self, decay=self.decay.in_ticks(per_ms), baseline=baseline)

    def decays(self) -> list[Decay]:
        """Return every decay that the rule of `with_limit` uses."""
        assert self.decay is not None
        baseline, own = self.baseline, [self.decay]
        if isinstance(baseline, Decay):
            own.append(baseline)
        elif isinstance(baseline, Outlook):
            line = baseline.smoothing
            trend = line.ahead.trend_decay
            own += [baseline.errors, line.decay, *([] if trend is None else [trend])]
        return own

    def _limit_for(self, run_length: float, decay: Decay) -> float:
        """Return the limit for a run length: of a kind."""
        raise NotImplementedError

    def _of_both_sides(self, run_length: float) -> float:
        """Return the run length of a two-sided chart: one side has half of the alarms."""
        return run_length * (1.0 if self.direction == "both" else 0.5)


def _is_score(x: float) -> bool:
    return 0 < x < MOST_SCORE


def _slower(decay: Decay, times: float) -> Decay:
    """Return a decay that forgets the given number of times slower."""
    if decay.by_time:
        try:
            return Decay(halflife=timedelta(milliseconds=decay.halflife_ms * times))
        except OverflowError:
            raise ConfigError(
                f"baseline is {times:g}: a half-life {times:g} times that of {decay!r} is too long "
                "to be represented; give a smaller number"
            ) from None
    return Decay(alpha=decay.alpha / times)


def _check_slower(fast: Decay, slow: Decay) -> None:
    if fast.by_time != slow.by_time:
        raise ConfigError(
            f"the baseline {slow!r} and the decay {fast!r} must both be by reading, or both by time"
        )
    if fast.by_time and slow.halflife_ms > fast.halflife_ms:
        return
    if not fast.by_time and slow.alpha < fast.alpha:
        if (effective := (2.0 - slow.alpha) / slow.alpha) < _LEAST_STEADY:
            raise ConfigError(
                f"the baseline {slow!r} has an effective number of readings of {effective:.3g}: it "
                f"must be at least {_LEAST_STEADY:g} for a standard deviation to rely on; give a "
                "slower one"
            )
        return
    raise ConfigError(f"the baseline {slow!r} must be slower than the decay {fast!r}")
