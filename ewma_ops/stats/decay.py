"""`Decay`: how fast weights decay. Every usual parameter, converted to one normal form.

Knows the factor of a weight per reading (count decay) or over a time (time decay), with the same
bits on every machine; must not know states, series or readings.
"""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError
from ewma_ops.stats.durations import duration_ms
from ewma_ops.stats.exact_exp2 import (
    LN2,
    SHORT_GAP,
    Floats,
    exp2,
    exp2_of,
    exp2m1_of,
    in_blocks,
    lapse,
    lean,
    lean_series,
)

__all__ = ["Decay"]

_BOUNDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "beta": ("0 <= beta < 1", lambda x: 0 <= x < 1),
    "alpha": ("0 < alpha <= 1", lambda x: 0 < x <= 1),
    "span": ("span >= 1", lambda x: x >= 1),
    "com": ("com >= 0", lambda x: x >= 0),
    "halflife": ("halflife > 0", lambda x: x > 0),
    "tau": ("tau > 0", lambda x: x > 0),
}


@dataclass(frozen=True, init=False, repr=False)
class Decay:
    """The decay of an exponentially weighted average, given by exactly one parameter.

    With a number, weights decay per reading (count decay): the weight of a reading is multiplied
    by ``beta = 1 - alpha`` with each later reading. With a duration, they decay over time (time
    decay): a weight halves with every half-life between the event times.

    Parameters
    ----------
    beta
        0 <= beta < 1, the retained part of a weight per reading; the effective window is about
        1 / (1 - beta) readings.
    alpha
        0 < alpha <= 1, the weight of the newest reading: 1 - beta.
    span
        >= 1 readings: alpha = 2 / (span + 1).
    com
        >= 0 readings, the centre of mass: alpha = 1 / (1 + com).
    halflife
        > 0: a number of readings, or a time as ``timedelta`` or text such as ``"5min"``.
    tau
        > 0, the time constant halflife / ln 2: a number of readings (beta = exp(-1 / tau)), or a
        time as ``timedelta`` or text.

    Raises
    ------
    ConfigError
        If not exactly one is given, or its value is out of range.

    Examples
    --------
    >>> Decay(beta=0.9).by_time
    False
    >>> Decay(halflife="5min").halflife_ms
    300000.0
    """

    by_time: bool
    _beta: float | None
    _alpha: float | None
    _halflife_ms: float | None
    _ticks_per_ms: int
    _given: tuple[str, object] = field(compare=False)

    def __init__(
        self,
        *,
        beta: float | None = None,
        alpha: float | None = None,
        span: float | None = None,
        com: float | None = None,
        halflife: float | timedelta | str | None = None,
        tau: float | timedelta | str | None = None,
    ) -> None:
        options: dict[str, float | timedelta | str | None] = {
            "beta": beta,
            "alpha": alpha,
            "span": span,
            "com": com,
            "halflife": halflife,
            "tau": tau,
        }
        given = [(name, value) for name, value in options.items() if value is not None]
        if len(given) != 1:
            named = " and ".join(name for name, _ in given) or "none"
            raise ConfigError(f"give exactly one of {', '.join(options)}, not {named}")
        name, value = given[0]
        normal: dict[str, object] = dict.fromkeys(("_beta", "_alpha", "_halflife_ms"))
        by_time = name in ("halflife", "tau") and isinstance(value, (timedelta, str))
        if isinstance(value, (timedelta, str)) and by_time:
            normal["_halflife_ms"] = _halflife_ms(name, value)
        else:
            normal["_beta"], normal["_alpha"] = _per_reading(name, _number(name, value))
        normal |= {"by_time": by_time, "_ticks_per_ms": 1, "_given": given[0]}
        for slot, part in normal.items():
            object.__setattr__(self, slot, part)

    def in_ticks(self, per_ms: int) -> Decay:
        """Return the same decay for gaps in ticks of which ``per_ms`` (>= 1) are a millisecond.

        Examples
        --------
        >>> Decay(halflife="1s").in_ticks(1000).retention(np.array([0, 1_000_000]))
        array([1. , 0.5])
        """
        same = copy.copy(self)
        object.__setattr__(same, "_ticks_per_ms", per_ms)
        return same

    @property
    def ticks_per_ms(self) -> int:
        """How many of the units in which gaps are counted are a millisecond: 1 by default."""
        return self._ticks_per_ms

    def _halflives(self, gap: Any) -> Any:
        """Return a gap (int64[n], or int) in half-lives, negative.

        Whole milliseconds give the same bits in every unit, as their part is exact.
        """
        per_ms = self._ticks_per_ms
        if per_ms > 1:
            whole, rest = divmod(gap, per_ms)
            gap = whole + rest / per_ms
        return gap / -self.halflife_ms

    @property
    def beta(self) -> float:
        """The retained part of a weight per reading (count decay)."""
        return self._normal(self._beta, "beta", by_time=False)

    @property
    def alpha(self) -> float:
        """The weight of the newest reading, 1 - beta (count decay), without cancellation."""
        return self._normal(self._alpha, "alpha", by_time=False)

    @property
    def halflife_ms(self) -> float:
        """The half-life in milliseconds (time decay)."""
        return self._normal(self._halflife_ms, "halflife_ms", by_time=True)

    def retention(self, gap: NDArray[np.int64]) -> Floats:
        """Return the retained part of a weight after a gap: ``2 ** (-gap / halflife)``.

        Parameters
        ----------
        gap
            int64[n], >= 0 milliseconds, or ticks as of `in_ticks`.

        Examples
        --------
        >>> Decay(halflife="1s").retention(np.array([0, 1000, 2000]))
        array([1.  , 0.5 , 0.25])
        """
        return exp2(self._halflives(gap))

    def lapse(self, gap: NDArray[np.int64]) -> Floats:
        """Return the lost part of a weight after a gap: ``1 - retention``, without cancellation.

        Parameters
        ----------
        gap
            int64[n], >= 0 milliseconds, or ticks as of `in_ticks`.

        Examples
        --------
        >>> Decay(halflife="1s").lapse(np.array([0, 1000, 2000]))
        array([0.  , 0.5 , 0.75])
        """
        return in_blocks(lapse, self._halflives(gap))

    def lean(self, gap: NDArray[np.int64]) -> Floats:
        """Return how far the weighted mean of a straight line over a gap leans to its start.

        The weighted mean of a line from a to b over a gap that ends now is ``b - lean (b - a)``:
        with x = gap ln 2 / halflife, lean = 1 / x - 1 / (e^x - 1), from 1/2 down to 0.

        Parameters
        ----------
        gap
            int64[n], >= 0 milliseconds, or ticks as of `in_ticks`.

        Examples
        --------
        >>> Decay(halflife="1s").lean(np.array([0, 1000])).round(3)
        array([0.5  , 0.443])
        """
        return in_blocks(lean, self._halflives(gap))

    def lean_of(self, gap: int) -> float:
        """Return `lean` of one gap, to the same bits: faster than a column of one."""
        halflives: float = self._halflives(gap)
        x = -halflives * LN2
        if x < SHORT_GAP:
            leaning: float = lean_series(x * x)
            return 0.5 - x * leaning
        retained = exp2_of(halflives)
        return 1.0 / x - retained / (1.0 - retained)

    @property
    def tau_s(self) -> float:
        """The time constant halflife / ln 2 in seconds (time decay)."""
        return self.halflife_ms / 1000 / LN2

    def retention_of(self, gap: int) -> float:
        """Return `retention` of one gap, to the same bits: faster than a column of one."""
        halflives: float = self._halflives(gap)
        return exp2_of(halflives)

    def lapse_of(self, gap: int) -> float:
        """Return `lapse` of one gap, to the same bits: faster than a column of one."""
        x: float = self._halflives(gap)
        return 1.0 - exp2_of(x) if x < -0.5 else 0.0 - exp2m1_of(x)

    def describe(self) -> str:
        """Return one line for people: the decay, and what it amounts to."""
        name, value = self._given
        shown = f"{name} = {value}"
        if self.by_time:
            every = f"every {self.halflife_ms / 1000:.6g} s" if name == "tau" else "in that time"
            return f"{shown}: weights halve {every}"
        return (
            f"{shown}: {self.beta:.6g} of a weight is kept per reading, "
            f"window about {1 / self.alpha:.6g} readings"
        )

    def __repr__(self) -> str:
        name, value = self._given
        return f"Decay({name}={value!r})"

    def _normal(self, part: float | None, name: str, *, by_time: bool) -> float:
        if part is None:
            kind, other = ("count", "time") if by_time else ("time", "count")
            raise ConfigError(f"{self!r} is a {kind} decay; only a {other} decay has {name}")
        return part


def _number(name: str, value: object) -> float:
    bound, within = _BOUNDS[name]
    unit = ' or a time such as "5min"' if name in ("halflife", "tau") else ""
    if not isinstance(value, numbers.Real) or isinstance(value, (bool, np.timedelta64)):
        raise ConfigError(f"{name} must be a number{unit}, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and within(number)):
        raise ConfigError(f"{name} is {value!r}: it must be finite, and {bound}")
    return number


def _halflife_ms(name: str, value: timedelta | str) -> float:
    if isinstance(value, str):
        try:
            time_ms = duration_ms(value)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    else:
        time_ms = value / timedelta(milliseconds=1)
    if not time_ms > 0:
        raise ConfigError(f"{name} is {value!r}: it must be a time > 0")
    return time_ms if name == "halflife" else time_ms * LN2


def _per_reading(name: str, number: float) -> tuple[float, float]:
    """Return beta and alpha, each to full precision even if close to 0."""
    if name == "beta":
        return number, 1 - number
    if name == "alpha":
        return 1 - number, number
    if name == "span":
        return (number - 1) / (number + 1), 2 / (number + 1)
    if name == "com":
        return number / (1 + number), 1 / (1 + number)
    steps = np.array([-1 / (number if name == "halflife" else number * LN2)])
    return float(exp2(steps)[0]), float(lapse(steps)[0])
