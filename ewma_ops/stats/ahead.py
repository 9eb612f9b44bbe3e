"""The options of an outlook: checked, and converted to readings or ticks.

Knows options; must not know formulas of states or statistics.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from statistics import NormalDist
from typing import NamedTuple, Protocol

from ewma_ops.errors import ConfigError
from ewma_ops.stats.checks import number, one_of, whole
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import whole_ticks
from ewma_ops.stats.season import Season

__all__ = ["SEASON_KEPT", "Ahead", "ahead_of", "bent", "check_ahead", "utc_offset_ms"]

Duration = float | timedelta | str | None
"""A time, or with count decay a number of readings; ``None`` if not given."""

_LONGEST_MS = 100_000 * 86_400_000
_SEASONS = {"hour": (3_600_000, 60), "day": (86_400_000, 24), "week": (604_800_000, 7 * 24)}
"""Milliseconds and usual phases of a season, by its name."""
_USUAL_PHASES = 24
_MOST_PHASES = 10_080
SEASON_KEPT = 0.9
"""The weight of a period relative to the next one, by default."""
_USUAL_HALFLIFE = -math.log(2.0) / math.log(SEASON_KEPT)
_LENGTHS = ("fixed_lag", "trend_halflife", "damping", "season_halflife")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")


class Options(Protocol):
    """The options of a `Smoothing` that concern its outlook."""

    @property
    def decay(self) -> Decay:
        """How fast the past is forgotten."""

    @property
    def weighting(self) -> str:
        """Which weight a reading has."""

    @property
    def lowest(self) -> float | None:
        """The least value that is in range."""

    @property
    def outlook(self) -> str:
        """The model of forecasts."""

    @property
    def horizon(self) -> Duration:
        """How far ahead they are."""

    @property
    def fixed_lag(self) -> Duration:
        """How far back the smoothed level is."""

    @property
    def trend_halflife(self) -> Duration:
        """The half-life of the weights of the trend."""

    @property
    def damping(self) -> Duration:
        """The time ahead in which the trend halves."""

    @property
    def coverage(self) -> float:
        """Share of all cases within the bounds of a forecast."""

    @property
    def error_span(self) -> float:
        """How many forecasts the averages of errors span."""

    @property
    def season(self) -> int | str | timedelta:
        """The period of the season."""

    @property
    def season_phases(self) -> int | None:
        """How many phases it has."""

    @property
    def season_kind(self) -> str:
        """Whether it is added or a factor."""

    @property
    def season_halflife(self) -> Duration:
        """The half-life of the weights of the season."""

    @property
    def utc_offset(self) -> str | None:
        """How far local time is ahead of UTC."""


class Ahead(NamedTuple):
    """The converted options of an outlook.

    Parameters
    ----------
    sloped
        Whether the line has a slope.
    horizon
        How far ahead, in readings (count decay) or ticks.
    reach
        The same for the line, which may bend: how far its trend leads.
    bends
        Average of the damped reach over that of a straight line, and of their squares.
    quantile
        How many standard deviations a bound is from the forecast.
    kept
        What is retained of the weight of an error per later error.
    lost
        1 - beta, the gain of a mean (count decay).
    per_second
        Ticks per second (decay by time), or 1.
    trend_decay
        The decay of the trend's own weights; ``None``: those of the level.
    damping
        In which time ahead the trend halves, in readings or ticks; ``None``: it does not.
    season
        ``None``: there is none.
    fixed_lag
        How far back the smoothed level is, in readings or ticks.
    """

    sloped: bool
    horizon: float
    reach: float
    bends: tuple[float, float]
    quantile: float
    kept: float
    lost: float | None
    per_second: float
    trend_decay: Decay | None = None
    damping: float | None = None
    season: Season | None = None
    fixed_lag: float = 0.0


def bent(horizon: float, damping: float | None) -> tuple[float, tuple[float, float]]:
    """Return the reach and the bends of a trend that halves every ``damping``; ``None``: never.

    With x = horizon / tau, the averages are 2 (x - u) / x^2 and 3 (x - 2 u + v / 2) / x^3 with u =
    1 - e^-x and v = 1 - e^-2x, which lose digits by cancellation if x is small: then their series
    are used.

    Examples
    --------
    >>> reach, (linear, square) = bent(60.0, 60.0)
    >>> round(reach, 3), round(linear, 3), round(square, 3)
    (43.281, 0.804, 0.614)
    """
    if damping is None or horizon == 0.0:
        return horizon, (1.0, 1.0)
    tau = damping / math.log(2.0)
    x = horizon / tau
    u = -math.expm1(-x)
    if x > 1.0:
        v = -math.expm1(-2.0 * x)
        return tau * u, (2.0 * (x - u) / x**2, 3.0 * (x - 2.0 * u + v / 2.0) / x**3)
    powers = [(-x) ** k / math.factorial(k + 2) for k in range(20)]
    linear = 2.0 * sum(powers)
    square = 3.0 * sum(p * (2.0 ** (k + 2) - 2.0) / (k + 3) for k, p in enumerate(powers))
    return tau * u, (linear, square)


def ahead_of(options: Options) -> Ahead:
    """Return the converted options, checked."""
    decay = options.decay
    horizon, damping = _in_units(options, "horizon") or 0.0, _in_units(options, "damping")
    reach, bends = bent(horizon, damping)
    season = _season(options)
    return Ahead(
        sloped=options.outlook == "trend",
        horizon=horizon,
        reach=reach,
        bends=bends,
        quantile=NormalDist().inv_cdf(0.5 + options.coverage / 2.0),
        kept=1.0 - 2.0 / (options.error_span + 1.0),
        lost=None if decay.by_time else decay.alpha,
        per_second=1000.0 * decay.ticks_per_ms if decay.by_time else 1.0,
        trend_decay=_trend_decay(options, season),
        damping=damping,
        season=season,
        fixed_lag=_in_units(options, "fixed_lag") or 0.0,
    )


def _in_units(options: Options, name: str) -> float | None:
    """Return a time ahead, or back, in readings or ticks."""
    given = getattr(options, name)
    if given is None or not options.decay.by_time:
        return None if given is None else float(given)
    return float(whole_ticks(name, given, options.decay.ticks_per_ms))


def _trend_decay(options: Options, season: Season | None) -> Decay | None:
    """Return the decay of the weights of the trend; with a season they span some periods."""
    decay = options.decay
    if options.trend_halflife is not None:
        return Decay(halflife=options.trend_halflife).in_ticks(decay.ticks_per_ms)
    if season is None:
        return None
    periods = max(season.halflife, _USUAL_HALFLIFE)
    halflife = periods * season.phases * season.slot / decay.ticks_per_ms
    asked = f"{halflife:.6f}ms" if decay.by_time else halflife
    return Decay(halflife=asked).in_ticks(decay.ticks_per_ms)


def _season(options: Options) -> Season | None:
    if options.season == "none":
        return None
    period, phases = _period(options)
    given = _in_units(options, "season_halflife")
    return Season(
        phases=phases,
        slot=period // phases,
        offset=utc_offset_ms(options.utc_offset) * options.decay.ticks_per_ms,
        halflife=_USUAL_HALFLIFE if given is None else given / period,
        multiplicative=options.season_kind == "multiplicative",
    )


def _period(options: Options) -> tuple[int, int]:
    """Return the period of a season, in ticks or readings, and the number of its phases."""
    season, given = options.season, options.season_phases
    if not options.decay.by_time:
        assert isinstance(season, int)
        return season, season
    per_ms = options.decay.ticks_per_ms
    if isinstance(season, str) and season in _SEASONS:
        period_ms, phases = _SEASONS[season]
        return period_ms * per_ms, phases if given is None else given
    return whole_ticks("season", season, per_ms), _USUAL_PHASES if given is None else given


def utc_offset_ms(given: str | None) -> int:
    """Return by how many milliseconds local time is ahead of UTC.

    Raises
    ------
    ConfigError
        If the text is no such offset.

    Examples
    --------
    >>> utc_offset_ms("-08:00")
    -28800000
    """
    if given is None:
        return 0
    found = _OFFSET.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ConfigError(
            f"utc_offset is {given!r}: write how far local time is ahead of UTC, "
            'such as "+05:30" or "-08:00"; time zones with daylight saving are not supported'
        )
    minutes = 60 * int(found[2]) + int(found[3])
    return int(f"{found[1]}1") * minutes * 60_000


def check_ahead(options: Options) -> None:
    """Refuse options of an outlook that are out of range, or incompatible.

    Raises
    ------
    ConfigError
        Naming the option, its value, the bound and the fix.
    """
    one_of("outlook", options.outlook, ("level", "trend"))
    number("coverage", options.coverage, "> 0, < 1 - 1e-9", lambda x: 0 < x < 1 - 1e-9)
    number("error_span", options.error_span, ">= 1, <= 1e9", lambda x: 1 <= x <= 1e9)
    lengths = {"horizon": 1.0, **dict.fromkeys(_LENGTHS, 1e-3)}
    for name, least in lengths.items():
        _check_length(options.decay, name, getattr(options, name), least)
    for name in ("trend_halflife", "damping"):
        given = getattr(options, name)
        if given is not None and options.outlook == "level":
            raise ConfigError(f'{name} is {given!r}: outlook "level" has no trend; leave it out')
    for name, is_given in (
        ("trend_halflife", options.trend_halflife is not None),
        ("season", options.season != "none"),
    ):
        if is_given and options.weighting != "observation":
            raise ConfigError(
                f'{name} does not go with weighting "{options.weighting}": leave one out'
            )
    _check_season(options)


def _check_length(decay: Decay, name: str, given: Duration, least: float) -> None:
    """Check a time; with count decay it is a number of readings."""
    if given is None:
        return
    per_ms = decay.ticks_per_ms
    if not decay.by_time:
        bound = f">= {least:g}, of readings, because the decay is per reading"
        number(name, given, bound, lambda x: least <= x <= 1e9)
    elif not 0 < whole_ticks(name, given, per_ms) <= _LONGEST_MS * per_ms:
        raise ConfigError(f"{name} is {given!r}: it must be > 0 and at most 100000 days")


def _check_season(options: Options) -> None:
    one_of("season_kind", options.season_kind, ("additive", "multiplicative"))
    if options.season == "none":
        usual = {"season_phases": None, "season_kind": "additive", "season_halflife": None}
        for name, nothing in {**usual, "utc_offset": None}.items():
            given = getattr(options, name)
            if given != nothing:
                raise ConfigError(
                    f"{name} is {given!r}, but there is no season: add season, or leave it out"
                )
        return
    utc_offset_ms(options.utc_offset)
    if options.decay.by_time:
        _check_period(options)
    else:
        _check_readings(options)
    if options.season_kind == "multiplicative" and not (options.lowest or 0.0) > 0.0:
        raise ConfigError(
            f'season_kind "multiplicative" needs values > 0, and lowest is {options.lowest!r}: '
            'give a bound > 0, such as lowest = 0.001, or use "additive"'
        )


def _check_period(options: Options) -> None:
    """Check the period of a season in time, and that each phase is a whole number of ticks."""
    season, phases = options.season, options.season_phases
    names = ", ".join(f'"{name}"' for name in _SEASONS)
    if not isinstance(season, (str, timedelta)):
        raise ConfigError(
            f"season is {season!r}: because the decay is by time, it must be {names}, or a "
            "duration such "
            'as "8h"'
        )
    if phases is not None:
        whole("season_phases", phases, 2, _MOST_PHASES)
    if not (isinstance(season, str) and season in _SEASONS):
        try:
            _check_length(options.decay, "season", season, 0.0)
        except ConfigError as error:
            raise ConfigError(f"{error}; or one of {names}") from None
    period, phases = _period(options)
    if period % phases or period < phases:
        raise ConfigError(
            f"season = {season!r} has {phases} phases, which are not whole numbers of "
            "milliseconds: give another number of season_phases"
        )


def _check_readings(options: Options) -> None:
    """Check the period of a season in readings."""
    if isinstance(options.season, (str, timedelta)):
        raise ConfigError(
            f"season is {options.season!r}: because the decay is per reading it must be a number "
            "of "
            'readings, such as 24; or give a decay by time, such as halflife = "1h"'
        )
    whole("season", options.season, 2, _MOST_PHASES)
    for name in ("season_phases", "utc_offset"):
        given = getattr(options, name)
        if given is not None:
            raise ConfigError(
                f"{name} is {given!r}, but each of the {options.season} readings of the season is "
                "a phase, because the decay is per reading: leave it out"
            )
    horizon = options.horizon
    if horizon is not None and float(horizon) != int(horizon):  # type: ignore[arg-type]
        raise ConfigError(f"horizon is {horizon!r}: with a season it must be a whole number")
