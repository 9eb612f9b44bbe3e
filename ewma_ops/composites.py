"""Indicators made of exponentially weighted statistics: one table feeding the next.

Knows formulas over statistics; must not know how a statistic is computed or kept, or any stream.

Each of them takes `Readings` and returns `Smoothed`, and its state is that of its tables: law for
law, what holds for a `SeriesTable` holds for a composite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ewma_ops.decay import Decay
from ewma_ops.errors import ConfigError
from ewma_ops.readings import Readings, Smoothed
from ewma_ops.smoothing import Smoothing
from ewma_ops.table import SeriesTable, TableSnapshot

__all__ = ["Composite", "bollinger", "dema", "macd", "risk_metrics", "tema"]

Columns = dict[str, NDArray[np.float64]]
StartUp = Literal["corrected", "first"]
Stage = Callable[["Composite", Readings], Columns]


class Composite:
    """A chain of tables. Made by `dema`, `tema`, `macd`, `bollinger` and `risk_metrics`.

    Parameters
    ----------
    tables
        What each table of the chain computes, by name.
    stage
        Moves the tables on and joins what they return.
    snapshot
        What an earlier one's :meth:`snapshot` returned, to go on from there.
    """

    def __init__(
        self,
        tables: Mapping[str, Smoothing | Mapping[str, Smoothing]],
        stage: Stage,
        snapshot: Mapping[str, TableSnapshot] | None = None,
    ) -> None:
        kept = {} if snapshot is None else snapshot
        self._tables = {name: SeriesTable(s, kept.get(name)) for name, s in tables.items()}
        self._stage = stage

    def update(self, readings: Readings) -> Smoothed:
        """Take in readings of one field, in order of arrival."""
        return Smoothed(readings, self._stage(self, readings))

    def feed(self, table: str, readings: Readings, values: NDArray[np.float64]) -> Columns:
        """Move one table on by values derived from the readings; NaN is missing."""
        return self._tables[table].update(replace(readings, values=values)).statistics

    def last(self, table: str, series_ids: list[str]) -> dict[str, float]:
        """Return the first statistic of some series as it is; NaN where there is none."""
        step = self._tables[table].step  # a missing reading changes nothing
        return {series_id: step(series_id, np.nan)[0] for series_id in set(series_ids)}

    def snapshot(self) -> dict[str, TableSnapshot]:
        """Copy the state of every table."""
        return {name: table.snapshot() for name, table in self._tables.items()}


def dema(
    decay: Decay,
    start_up: StartUp = "corrected",
    snapshot: Mapping[str, TableSnapshot] | None = None,
) -> Composite:
    """Return the double exponential moving average: 2 e1 - e2, e2 being the average of e1.

    Source: P. G. Mulloy, "Smoothing data with faster moving averages", 1994.

    Examples
    --------
    >>> dema(Decay(span=3)).update(Readings.of(["s"] * 3, [1, 2, 3])).statistics["dema"].round(3)
    array([1.   , 1.889, 2.85 ])
    """

    def stage(chain: Composite, readings: Readings) -> Columns:
        first, second = _averages(chain, readings, 2)
        return {"dema": 2.0 * first - second}

    return Composite(_chained(decay, start_up, 2), stage, snapshot)


def tema(
    decay: Decay,
    start_up: StartUp = "corrected",
    snapshot: Mapping[str, TableSnapshot] | None = None,
) -> Composite:
    """Return the triple exponential moving average: 3 e1 - 3 e2 + e3, each the average before's.

    Source: P. G. Mulloy, as for `dema`.
    """

    def stage(chain: Composite, readings: Readings) -> Columns:
        first, second, third = _averages(chain, readings, 3)
        return {"tema": 3.0 * (first - second) + third}

    return Composite(_chained(decay, start_up, 3), stage, snapshot)


def macd(
    fast: float = 12,
    slow: float = 26,
    signal: float = 9,
    start_up: StartUp = "corrected",
    snapshot: Mapping[str, TableSnapshot] | None = None,
) -> Composite:
    """Return moving average convergence and divergence: ``macd``, ``signal``, ``histogram``.

    macd = average over the fast span - average over the slow one; signal = its own average;
    histogram = macd - signal.

    Raises
    ------
    ConfigError
        If the fast span is not the shorter.
    """
    if not fast < slow:
        raise ConfigError(f"fast = {fast!r} must be less than slow = {slow!r}: swap them")

    def stage(chain: Composite, readings: Readings) -> Columns:
        both = chain.feed("spans", readings, readings.values)
        missing = np.isnan(readings.values)
        difference = both["fast_mean"] - both["slow_mean"]
        line = chain.feed("signal", readings, np.where(missing, np.nan, difference))["mean"]
        return {"macd": difference, "signal": line, "histogram": difference - line}

    spans = {
        "fast": Smoothing(Decay(span=fast), start_up),
        "slow": Smoothing(Decay(span=slow), start_up),
    }
    tables: dict[str, Smoothing | dict[str, Smoothing]] = {
        "spans": spans,
        "signal": Smoothing(Decay(span=signal), start_up),
    }
    return Composite(tables, stage, snapshot)


def bollinger(
    decay: Decay,
    widths: float = 2.0,
    start_up: StartUp = "corrected",
    snapshot: Mapping[str, TableSnapshot] | None = None,
) -> Composite:
    """Return Bollinger bands: ``middle`` = mean, ``lower`` and ``upper`` = mean -+ widths x std.

    Source: J. Bollinger's bands with exponential weights in place of a window; std unbiased.
    """

    def stage(chain: Composite, readings: Readings) -> Columns:
        found = chain.feed("bands", readings, readings.values)
        reach = widths * found["std"]
        middle = found["mean"]
        return {"middle": middle, "lower": middle - reach, "upper": middle + reach}

    smoothing = Smoothing(decay, start_up, statistics=["mean", "std"])
    return Composite({"bands": smoothing}, stage, snapshot)


def risk_metrics(
    decay_factor: float = 0.94, snapshot: Mapping[str, TableSnapshot] | None = None
) -> Composite:
    """Return the volatility of log returns r: sigma^2 = weighted mean of r^2, by 0.94 a reading.

    ``return`` = ln(x_t / x_(t-1)) and ``volatility`` = sigma, per reading. A value that is not
    above 0 is missing. Source: J. P. Morgan, "RiskMetrics Technical Document", 1996, with the
    bias of the start corrected.
    """

    def stage(chain: Composite, readings: Readings) -> Columns:
        values = np.where(readings.values > 0.0, readings.values, np.nan)
        logs = np.log(values)
        returns = logs - _before(chain, readings, logs)
        found = chain.feed("squares", readings, returns)
        return {"return": returns, "volatility": np.sqrt(found["mean_square"])}

    squares = Smoothing(Decay(beta=decay_factor), statistics=["mean", "mean_square"])
    tables = {"last": Smoothing(Decay(beta=0.0)), "squares": squares}
    return Composite(tables, stage, snapshot)


def _chained(decay: Decay, start_up: StartUp, depth: int) -> dict[str, Smoothing]:
    return {str(i): Smoothing(decay, start_up) for i in range(depth)}


def _averages(chain: Composite, readings: Readings, depth: int) -> list[NDArray[np.float64]]:
    missing = np.isnan(readings.values)
    values, averages = readings.values, []
    for i in range(depth):
        average = chain.feed(str(i), readings, values)["mean"]
        averages.append(average)
        values = np.where(missing, np.nan, average)
    return averages


def _before(
    chain: Composite, readings: Readings, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the value before each, of its series; NaN for the first."""
    known = chain.last("last", readings.series_ids)
    latest = chain.feed("last", readings, values)["mean"]
    before = np.empty_like(values)
    for i, (series_id, value) in enumerate(zip(readings.series_ids, latest.tolist(), strict=True)):
        before[i] = known[series_id]
        known[series_id] = value
    return before
