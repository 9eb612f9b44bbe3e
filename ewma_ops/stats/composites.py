"""Composites: indicators made of several smoothings, where the output of one feeds the next.

Knows formulas over statistics; must not know how a statistic is computed or kept, or any stream.

A `Composite` is accepted wherever a `Smoothing` is, and its state is in the same table, so the same
guarantees hold. A formula is written once, with operations that give the same bits for a number
and for a column.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ewma_ops.errors import ConfigError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.policies import Policies
from ewma_ops.stats.smoothing import Smoothing

__all__ = ["COMPOSITES", "Composite", "Feed", "bollinger", "dema", "macd", "risk_metrics", "tema"]

Values = Any
"""A float, or float64[n]; NaN is missing."""

_MARGIN = 8
"""Greatest magnitude of a composite, in units of the greatest input value."""


class Feed(Protocol):
    """How a formula feeds its stages. A missing reading is missing for every stage."""

    def __call__(self, stage: str, values: Values) -> tuple[Values, ...]:
        """Feed a stage, once; return its statistics."""

    def before(self, stage: str, values: Values) -> Values:
        """Feed a stage, once; return its mean as it was before each value, 0 before the first."""


@dataclass(frozen=True)
class Composite:
    """Smoothings by name, and the formula that feeds them and joins what they return.

    Made by `dema`, `tema`, `macd`, `bollinger` and `risk_metrics`.
    """

    name: str
    stages: tuple[tuple[str, Smoothing], ...]
    statistics: tuple[str, ...]
    formula: Callable[[Values, Feed], tuple[Values, ...]]

    @property
    def largest(self) -> float:
        """Greatest magnitude of a value with which no stage can overflow."""
        return min(smoothing.largest for _, smoothing in self.stages) / _MARGIN

    @property
    def policies(self) -> Policies:
        """The policies for unusual readings: those of the last stage."""
        return self.stages[-1][1].policies

    def in_ticks(self, per_ms: int) -> Composite:
        """Return the same composite for times in ticks of which ``per_ms`` are a millisecond."""
        return replace(self, stages=tuple((name, s.in_ticks(per_ms)) for name, s in self.stages))

    def fingerprint(self) -> str:
        """Return a short text, equal for composites that can exchange their state."""
        stages = [
            f"{name}: {s.fingerprint()} min_periods={s.min_periods} min_weight={s.min_weight!r}"
            for name, s in self.stages  # the output of a stage is the input of the next
        ]
        return f"{self.name}({', '.join(stages)})"


def dema(smoothing: Smoothing) -> Composite:
    """Return the double exponential moving average: 2 e1 - e2, e2 being the average of e1.

    Source: P. G. Mulloy, "Smoothing data with faster moving averages", 1994. With
    ``Smoothing.like_talib_ema(period)`` it is TA-Lib's ``DEMA``.

    Parameters
    ----------
    smoothing
        Options of both averages; statistics must be the mean alone.

    Examples
    --------
    >>> from ewma_ops import Readings, SeriesTable
    >>> table = SeriesTable(dema(Smoothing(Decay(span=3))))
    >>> table.update(Readings.of(["s"] * 3, [1, 2, 3])).statistics["dema"].round(3)
    array([1.   , 1.889, 2.85 ])
    """
    average = _asking(smoothing, "mean")
    return Composite("dema", (("first", average), ("second", average)), ("dema",), _dema)


def _dema(x: Values, feed: Feed) -> tuple[Values, ...]:
    (first,) = feed("first", x)
    (second,) = feed("second", first)
    return (2.0 * first - second,)


def tema(smoothing: Smoothing) -> Composite:
    """Return the triple exponential moving average: 3 e1 - 3 e2 + e3, each of the one before.

    Source: P. G. Mulloy, as for `dema`. With ``Smoothing.like_talib_ema(period)`` it is TA-Lib's
    ``TEMA``.

    Parameters
    ----------
    smoothing
        Options of the three averages; statistics must be the mean alone.
    """
    average = _asking(smoothing, "mean")
    stages = (("first", average), ("second", average), ("third", average))
    return Composite("tema", stages, ("tema",), _tema)


def _tema(x: Values, feed: Feed) -> tuple[Values, ...]:
    (first,) = feed("first", x)
    (second,) = feed("second", first)
    (third,) = feed("third", second)
    return (3.0 * (first - second) + third,)


def macd(fast: float = 12, slow: float = 26, signal: float = 9, **options: Any) -> Composite:
    """Return the convergence and divergence of two moving averages.

    ``macd`` = average over the fast span - average over the slow one; ``macd_signal`` = its own
    average; ``macd_histogram`` = macd - signal. Source: G. Appel, "Technical Analysis", 2005.

    Parameters
    ----------
    fast, slow, signal
        Spans in readings, >= 1.
    options
        Options of all three smoothings, such as ``start_up="first"``.

    Raises
    ------
    ConfigError
        If the fast span is not the shorter.
    """
    averages = {
        name: _asking(Smoothing(Decay(span=span), **options), "mean")
        for name, span in (("fast", fast), ("slow", slow), ("signal", signal))
    }
    if not fast < slow:
        raise ConfigError(f"fast = {fast!r} must be less than slow = {slow!r}: swap them")
    statistics = ("macd", "macd_signal", "macd_histogram")
    return Composite("macd", tuple(averages.items()), statistics, _macd)


def _macd(x: Values, feed: Feed) -> tuple[Values, ...]:
    (fast,) = feed("fast", x)
    (slow,) = feed("slow", x)
    line = fast - slow
    (signal,) = feed("signal", line)
    return line, signal, line - signal


def bollinger(smoothing: Smoothing, widths: float = 2.0) -> Composite:
    """Return Bollinger bands: ``mean``, and ``lower`` and ``upper`` = mean -+ widths x std.

    Source: J. Bollinger's bands with exponential weights in place of a window; std unbiased.

    Parameters
    ----------
    smoothing
        Options of mean and std; statistics must be the mean alone.
    widths
        Standard deviations from the mean to each band, > 0.
    """
    if isinstance(widths, bool) or not isinstance(widths, int | float) or not 0 < widths <= 1e6:
        raise ConfigError(f"widths = {widths!r}: give a number above 0, at most 1e6")
    stages = (("bands", _asking(smoothing, "mean", "std")),)
    return Composite("bollinger", stages, ("mean", "lower", "upper"), _Bands(float(widths)))


@dataclass(frozen=True)
class _Bands:
    widths: float

    def __call__(self, x: Values, feed: Feed) -> tuple[Values, ...]:
        mean, std = feed("bands", x)
        reach = self.widths * std
        return mean, mean - reach, mean + reach


def risk_metrics(smoothing: Smoothing | None = None) -> Composite:
    """Return the volatility of log returns r: sigma^2 = weighted mean of r^2.

    ``return`` = ln(x_t / x_(t-1)) and ``volatility`` = sigma, per reading. A value that is not
    above 0 is missing. Source: J. P. Morgan, "RiskMetrics Technical Document", 1996, with the
    bias of the start corrected.

    Parameters
    ----------
    smoothing
        Options of the average of squares; statistics must be the mean alone. ``None``: beta = 0.94,
        for daily prices.
    """
    if smoothing is None:
        smoothing = Smoothing(Decay(beta=0.94))
    squares = _asking(smoothing, "mean", "mean_square")
    stages = (("last", Smoothing(Decay(beta=0.0))), ("squares", squares))
    return Composite("risk_metrics", stages, ("return", "volatility"), _risk_metrics)


def _risk_metrics(x: Values, feed: Feed) -> tuple[Values, ...]:
    prices = np.where(x > 0.0, x, np.nan)
    returns = _log_returns(prices, feed.before("last", prices))
    _, square = feed("squares", returns)
    return returns, np.sqrt(square)


def _log_returns(prices: Values, before: Values) -> Values:
    """Return ln(price / before), NaN where either is NaN or not above 0.

    One by one, because NumPy's logarithm may differ in the last bit between column and number.
    """
    pairs = zip(np.ravel(prices).tolist(), np.ravel(before).tolist(), strict=True)
    logs = [math.log(p) - math.log(b) if p > 0.0 and b > 0.0 else math.nan for p, b in pairs]
    return np.array(logs).reshape(np.shape(prices))


COMPOSITES: dict[str, Callable[..., Composite]] = {
    "dema": dema,
    "tema": tema,
    "macd": macd,
    "bollinger": bollinger,
    "risk_metrics": risk_metrics,
}


def _asking(smoothing: Smoothing, *statistics: str) -> Smoothing:
    if smoothing.statistics != ("mean",):
        raise ConfigError(
            f"statistics {list(smoothing.statistics)} do not go with a composite, which has its "
            "own: leave them out"
        )
    return replace(smoothing, statistics=statistics)
