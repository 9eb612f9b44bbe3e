"""`Forecast`: the expected value of a series with a trend, as forecast by its outlook.

Knows the recurrences of one series, using only operations that give the same bits for a number and
for a column (`stats.ops`); must not know rules, limits or series.

    e = x - forecast      of the outlook before the reading, for its time (`stats.outlook`)
    x' = forecast + e'    e' within the errors' mean +- 4 standard deviations, once judged

The errors of a forecast that fits are independent, with a mean of 0: `Baseline` learns their mean
and variance, and charts of them raise as many false alarms as they are designed for. The outlook
continues with x', not with x: a single outlier would bend it, and make the next readings stand out.
If the errors are still correlated, `Memory` removes the rest of that.

The forecast follows a shift of the level, so the shift shows in the errors until it has caught up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ewma_ops.monitor.baseline import CLIP, Baseline, Factors
from ewma_ops.monitor.memory import Memory, Remembered
from ewma_ops.stats.line import Aged, Line
from ewma_ops.stats.ops import Ops

__all__ = ["Forecast"]


class _Factors(NamedTuple):
    """Those of the baseline, by their names, and those of the line."""

    fast_kept: Any
    fast_added: Any
    slow_kept: Any
    slow_added: Any
    line: Aged

    @property
    def inner(self) -> Factors:
        """Those of the baseline."""
        return Factors(*self[:4])


@dataclass(frozen=True)
class Forecast:
    """A `Baseline`, or a `Memory`, of the errors of forecasts one reading ahead.

    Parameters
    ----------
    inner
        The tracker of the errors.
    line
        The forecasting line.
    """

    inner: Baseline | Memory
    line: Line

    @property
    def columns(self) -> tuple[tuple[str, str, float], ...]:
        """Names of the state, with the dtype and the initial value of each."""
        own = ((f"line_{name}", "float64", 0.0) for name in self.line.names)
        return (*self.inner.columns, *own)

    @property
    def by_time(self) -> bool:
        """Whether it needs the gaps between readings."""
        return self.inner.by_time or self.line.by_time

    def factors(self, gap: Any, *, columns: bool, time: Any = None) -> _Factors:
        """Return the factors of the baseline and of the line."""
        one: Factors = self.inner.factors(gap, columns=columns, time=time)
        two = self.line.aged(gap, columns=columns)
        return _Factors(one.fast_kept, one.fast_added, one.slow_kept, one.slow_added, two)

    def step(
        self, o: Ops, y: Any, x: Any, by: _Factors, taken: Any = 0.0
    ) -> tuple[tuple[Any, ...], Remembered]:
        """Return the state after a reading x, and its evaluation.

        ``taken`` is how large what was subtracted from the reading is.
        """
        inner, line = y[: len(self.inner.columns)], y[len(self.inner.columns) :]
        forecast = o.where(line[0] > 0.0, self.line.forecast(o, line, by.line), x)
        e = x - forecast
        state, found = self.inner.step(o, inner, e, by.inner, taken + abs(forecast))
        reach = o.where(found.judged, o.sqrt(found.variance) * CLIP, float("inf"))
        e = o.minimum(o.maximum(e, found.before - reach), found.before + reach)
        line = self.line.step(o, line, forecast + e, by.line)
        return (*state, *line), Remembered(
            forecast + found.fast,
            forecast + found.slow,
            forecast + found.before,
            found.variance,
            found.concentration,
            found.excess,
            found.judged,
            getattr(found, "gain", found.variance * 0.0 + 1.0),
            forecast + getattr(found, "foreseen", 0.0),
        )

    def compiled(self, *_: Any) -> None:
        """Return None: it is not compiled."""
