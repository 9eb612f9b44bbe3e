"""Table ``[smooth]`` of the configuration file: one smoothing or composite, or several by name.

Knows the keys and which of them apply to all; must not know the rest of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

from ewma_ops.errors import ConfigError
from ewma_ops.stats.checks import refused_word
from ewma_ops.stats.composites import COMPOSITES, Composite, macd
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingLike

__all__ = ["KEYS", "read_smoothings"]

_DECAYS = ("beta", "alpha", "span", "com", "halflife", "tau")
_SEASON = ("season", "season_phases", "season_kind", "season_halflife", "utc_offset")
_TIMES = ("horizon", "fixed_lag", "trend_halflife", "damping")
_OUTLOOK = ("outlook", *_TIMES, "coverage", "error_span", *_SEASON)
_TOGETHER = ("start_n", "prior", "prior_weight", *_TIMES, *_SEASON)
"""Options whose bounds depend on others: they are only tried together."""
_OPTIONS = (
    "start_up",
    "start_n",
    "prior",
    "prior_weight",
    "missing",
    "non_finite",
    "out_of_range",
    "lowest",
    "highest",
    "late",
    "max_lateness",
    "equal_times",
    "min_periods",
    "min_weight",
    "weighting",
    "statistics",
    *_OUTLOOK,
)
_OF_COMPOSITES = {
    "fast": "macd",
    "slow": "macd",
    "signal": "macd",
    "widths": "bollinger",
}
KEYS = (*_DECAYS, *_OPTIONS, "composite", *_OF_COMPOSITES)
_NEEDS: dict[object, dict[str, Any]] = {
    "simple": {"start_n": 1},
    "prior": {"prior": 0, "prior_weight": 1},
    "clip": {"lowest": 0, "highest": 1},
}
_BOUNDS = ("forecast_lower", "forecast_upper")
_ERRORS = ("mae", "rmse", "mase", *_BOUNDS)
_EVERY = ("level", "smoothed_level", "trend", "season", "forecast", "forecast_error", *_ERRORS)
_OF_FORECASTS = {
    "horizon": ("forecast", *_BOUNDS),
    "fixed_lag": ("smoothed_level",),
    "trend_halflife": (
        "trend",
        "level",
        "smoothed_level",
        "season",
        "forecast",
        "forecast_error",
        *_ERRORS,
    ),
    "damping": ("forecast", *_BOUNDS),
    "coverage": _BOUNDS,
    "error_span": _ERRORS,
    "outlook": _EVERY,
    **dict.fromkeys(_SEASON, ("forecast", *(name for name in _EVERY if name != "forecast"))),
}
"""The statistics that use an option of an outlook; without any of them it has no effect."""

_DEFAULTS = {field.name: field.default for field in fields(Smoothing)}

_BY_TIME = ("min_periods", "min_weight", "weighting", "statistics")
"""Options that are tried with decay by time, which allows all; the others allow both decays."""


def read_smoothings(
    values: Mapping[str, Any],
    mistakes: list[str],
    nearest: Callable[[str, Iterable[str]], str],
    used: Collection[str] = (),
) -> dict[str, SmoothingLike] | None:
    """Read the keys of ``[smooth]`` and of the tables in it, such as ``[smooth.fast]``.

    Keys in ``[smooth]`` itself apply to all of its tables that do not set them.

    Parameters
    ----------
    values
        The table as it was parsed.
    mistakes
        Mistakes are added here.
    nearest
        Suggests a known word for an unknown one.
    used
        Options of an outlook that something other than the statistics depends on.

    Returns
    -------
    dict
        Smoothings by name, a single one by the name ``""``; ``None`` if there are mistakes.
    """
    inner = {name: table for name, table in values.items() if isinstance(table, dict)}
    common = {key: value for key, value in values.items() if key in KEYS and key not in inner}
    if not inner:
        smoothing = _read("smooth", common, mistakes)
        if smoothing is None or _refuse_unused("smooth", common, [smoothing], used, mistakes):
            return None
        return {"": smoothing}
    found: dict[str, SmoothingLike | None] = {}
    for name, table in inner.items():
        unknown = [key for key in table if key not in KEYS]
        mistakes.extend(
            f"smooth.{name}.{key} is not known; {nearest(key, KEYS)}" for key in unknown
        )
        composite = table.get("composite", common.get("composite"))
        own = composite == "macd" or any(key in table for key in _DECAYS)
        shared = {key: value for key, value in common.items() if not (own and key in _DECAYS)}
        known = {key: value for key, value in table.items() if key in KEYS}
        found[name] = _read(f"smooth.{name}", {**shared, **known}, mistakes)
    read = {name: smoothing for name, smoothing in found.items() if smoothing is not None}
    if len(read) < len(found):
        return None
    unused = [
        _refuse_unused("smooth", common, read.values(), used, mistakes),
        *(
            _refuse_unused(f"smooth.{name}", inner[name], [one], used, mistakes)
            for name, one in read.items()
        ),
    ]
    return None if any(unused) else read


def _read(name: str, values: Mapping[str, Any], mistakes: list[str]) -> SmoothingLike | None:
    composite = values.get("composite")
    own = {key: values[key] for key in _OF_COMPOSITES if key in values}
    for key in own:
        if composite != _OF_COMPOSITES[key]:
            mistakes.append(f'{name}.{key} goes with composite = "{_OF_COMPOSITES[key]}"')
            return None
    if composite is None:
        return _read_smoothing(name, values, mistakes)
    if not isinstance(composite, str) or composite not in COMPOSITES:
        why = refused_word(composite, [*COMPOSITES])
        mistakes.append(f"{name}.composite is {composite!r}: {why}")
        return None
    decays = [key for key in _DECAYS if key in values]
    if composite == "macd" and decays:
        mistakes.append(f'{name}.{decays[0]} does not go with "macd": give fast, slow and signal')
        return None
    default = {"macd": {"beta": 0.5}, "risk_metrics": {"beta": 0.94}}.get(composite, {})
    if "statistics" not in values:  # a common outlook may be meant for others
        values = {key: value for key, value in values.items() if key not in _OUTLOOK}
    smoothing = _read_smoothing(name, values if decays else {**values, **default}, mistakes)
    if smoothing is None:
        return None
    try:
        if composite == "macd":
            return macd(**own, **{key: values[key] for key in _OPTIONS if key in values})
        return COMPOSITES[composite](smoothing, **own)
    except ConfigError as error:
        mistakes.append(f"{name}.{error}")
        return None


def _read_smoothing(name: str, values: Mapping[str, Any], mistakes: list[str]) -> Smoothing | None:
    """Try the options one by one on the classes that know their bounds, then all together."""
    known = len(mistakes)
    decays = {key: values[key] for key in _DECAYS if key in values}
    options = {key: values[key] for key in _OPTIONS if key in values}
    decay = Decay(beta=0.5)
    try:
        decay = Decay(**decays)
    except ConfigError as error:
        mistakes.append(f"{name}.{error}" if len(decays) == 1 else f"[{name}] {error}")
    for key, value in options.items():
        if key in _TOGETHER:
            continue
        needs = _NEEDS.get(value, {}) if isinstance(value, str) else {}
        clock = Decay(halflife="1s") if key in _BY_TIME else Decay(beta=0.5)
        if key == "statistics":
            needs = {**needs, "horizon": "1s", "fixed_lag": "1s", "season": "day"}
        try:
            Smoothing(clock, **{key: value}, **needs)
        except ConfigError as error:
            mistakes.append(f"{name}.{error}")
    if len(mistakes) > known:
        return None
    try:
        return Smoothing(decay, **options)
    except ConfigError as error:
        mistakes.append(f"{name}.{error}")
        return None


def _refuse_unused(
    name: str,
    given: Mapping[str, Any],
    read: Iterable[SmoothingLike],
    used: Collection[str],
    mistakes: list[str],
) -> bool:
    """Refuse options of an outlook that none of their smoothings uses."""
    asked = list(read)
    statistics = {statistic for one in asked for statistic in one.statistics}
    has_own = all(isinstance(one, Composite) for one in asked)
    unused = [
        f"{name}.{key} does not go with a composite, which forecasts nothing: leave it out"
        if has_own
        else f'{name}.{key} is not used; add "{asking[0]}" to statistics'
        for key, asking in _OF_FORECASTS.items()
        if given.get(key, _DEFAULTS[key]) != _DEFAULTS[key]
        and statistics.isdisjoint(asking)
        and key not in used
    ]
    mistakes.extend(unused)
    return bool(unused)
