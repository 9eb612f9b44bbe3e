"""How fast the past is forgotten: every usual parameter, brought to one normal form.

Knows what a weight decays by per reading (count decay) or over a time (time decay), to the bit on
every machine; must not know states, series or readings.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError

__all__ = ["Decay", "duration_ms", "exp2"]

Floats = NDArray[np.float64]

_LN2 = 0.6931471805599453

# (2**r - 1) / r on [-1/2, 1/2], highest power first: interpolated at the Chebyshev nodes.
_COEFFICIENTS = (
    4.4549605981865186e-10,
    7.072585949269223e-09,
    1.0178062445845774e-07,
    1.321544258792169e-06,
    1.525273382983612e-05,
    0.0001540353044173605,
    0.0013333558146416936,
    0.009618129107606888,
    0.0555041086648216,
    0.24022650695910097,
    0.6931471805599453,
)
_UNDERFLOW = -1100.0

# 1 / x - 1 / (e^x - 1) = 1/2 - x (1/12 - x^2 / 720 + ...): Bernoulli numbers, highest power first.
_LEANING = (
    1.3382536530684679e-11,
    -5.284190138687493e-10,
    2.08767569878681e-08,
    -8.267195767195767e-07,
    3.306878306878307e-05,
    -0.001388888888888889,
    0.08333333333333333,
)
_SHORT = 0.5
_BLOCK = 8192

_UNITS_MS = {
    "ms": 1,
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1_000),
    **dict.fromkeys(("min", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000),
    **dict.fromkeys(("w", "week", "weeks"), 604_800_000),
}
_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-z]+)\s*")

_BOUNDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "beta": ("0 <= beta < 1", lambda x: 0 <= x < 1),
    "alpha": ("0 < alpha <= 1", lambda x: 0 < x <= 1),
    "span": ("span >= 1", lambda x: x >= 1),
    "com": ("com >= 0", lambda x: x >= 0),
    "halflife": ("halflife > 0", lambda x: x > 0),
    "tau": ("tau > 0", lambda x: x > 0),
}


def exp2(x: Floats) -> Floats:
    """Return ``2 ** x`` for ``x <= 0``, the same bits on every machine.

    Only additions, multiplications and scaling by powers of two are used, each of them rounded as
    IEEE 754 says, so that the bits depend neither on the C library nor on the length or alignment
    of the array. The largest error found against 60-digit arithmetic is 1.09 units in the last
    place; exact at integers; what is below the smallest float becomes 0.

    Parameters
    ----------
    x
        float64[n], from -inf to 0.

    Examples
    --------
    >>> exp2(np.array([0.0, -1.0, -1074.0, -np.inf]))
    array([1.e+000, 5.e-001, 5.e-324, 0.e+000])
    """
    return _in_blocks(_exp2, x)


def _in_blocks(function: Callable[[Floats], Floats], x: Floats) -> Floats:
    """Apply an elementwise function to pieces that stay in the cache: four times as fast."""
    result = np.empty_like(x)
    for lo in range(0, len(x), _BLOCK):
        result[lo : lo + _BLOCK] = function(x[lo : lo + _BLOCK])
    return result


def _exp2(x: Floats) -> Floats:
    x = np.maximum(x, _UNDERFLOW)
    whole = np.rint(x)
    return np.ldexp(1.0 + _exp2m1(x - whole), whole.astype(np.int32))


def _exp2m1(r: Floats) -> Floats:
    """Return ``2 ** r - 1`` for ``|r| <= 1/2``, without cancellation near 0."""
    total = r * _COEFFICIENTS[0]
    for coefficient in _COEFFICIENTS[1:]:
        total += coefficient
        total *= r
    return total


def _lapse(x: Floats) -> Floats:
    """Return ``1 - 2 ** x`` for ``x <= 0``, without cancellation."""
    return np.where(x < -0.5, 1.0 - _exp2(x), 0.0 - _exp2m1(np.maximum(x, -0.5)))


def _lean(x: Floats) -> Floats:
    """Return `Decay.lean` for ``x = -gap / halflife``."""
    scaled = -x * _LN2
    short = scaled < _SHORT
    near, far = np.where(short, scaled, 0.0), np.where(short, 1.0, scaled)
    retained = np.where(short, 0.5, _exp2(x))
    return np.where(
        short, 0.5 - near * _leaning(near * near), 1.0 / far - retained / (1.0 - retained)
    )


def _leaning(square: Any) -> Any:
    total = square * _LEANING[0]
    for coefficient in _LEANING[1:-1]:
        total = (total + coefficient) * square
    return total + _LEANING[-1]


def _exp2_of(x: float) -> float:
    """Return ``2 ** x`` for one ``x``: the operations of `exp2`, so the same bits."""
    x = max(x, _UNDERFLOW)
    whole = round(x)
    return math.ldexp(1.0 + _exp2m1_of(x - whole), whole)


def _exp2m1_of(r: float) -> float:
    total = r * _COEFFICIENTS[0]
    for coefficient in _COEFFICIENTS[1:]:
        total = (total + coefficient) * r
    return total


def duration_ms(text: str) -> float:
    """Return a duration such as ``"5min"``, ``"1h30min"`` or ``"2 days"`` in milliseconds.

    Units: ms, s, min, h, d, w, and their names in full.

    Raises
    ------
    ConfigError
        If the text is not a duration, or a number stands without its unit.

    Examples
    --------
    >>> duration_ms("1h30min")
    5400000.0
    """
    total = Fraction(0)
    at = 0
    while at < len(text) or at == 0:
        found = _QUANTITY.match(text, at)
        if found is None or found[2] not in _UNITS_MS:
            raise ConfigError(
                f"{text!r} is not a duration: write numbers with the units ms, s, min, h, d or w, "
                'such as "250ms", "90s", "1h30min" or "2 days"'
            )
        total += Fraction(found[1]) * _UNITS_MS[found[2]]
        at = found.end()
    return float(total)


@dataclass(frozen=True, init=False, repr=False)
class Decay:
    """What an exponentially weighted average remembers, given in exactly one way.

    With a number, weights decay per reading (count decay): the weight of a reading is multiplied
    by ``beta = 1 - alpha`` with each later reading. With a duration, they decay over time (time
    decay): a weight halves with every half-life between the event times.

    Parameters
    ----------
    beta
        0 <= beta < 1, what is kept of a weight per reading; the effective window is about
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
        for slot, part in {"by_time": by_time, "_given": given[0], **normal}.items():
            object.__setattr__(self, slot, part)

    @property
    def beta(self) -> float:
        """What is kept of a weight per reading (count decay)."""
        return self._normal(self._beta, "beta", by_time=False)

    @property
    def alpha(self) -> float:
        """The weight of the newest reading, 1 - beta (count decay), without cancellation."""
        return self._normal(self._alpha, "alpha", by_time=False)

    @property
    def halflife_ms(self) -> float:
        """The half-life in milliseconds (time decay)."""
        return self._normal(self._halflife_ms, "halflife_ms", by_time=True)

    def retention(self, gap_ms: NDArray[np.int64]) -> Floats:
        """Return what is left of a weight after a gap: ``2 ** (-gap_ms / halflife_ms)``.

        Parameters
        ----------
        gap_ms
            int64[n], >= 0 milliseconds.

        Examples
        --------
        >>> Decay(halflife="1s").retention(np.array([0, 1000, 2000]))
        array([1.  , 0.5 , 0.25])
        """
        return exp2(gap_ms / -self.halflife_ms)

    def lapse(self, gap_ms: NDArray[np.int64]) -> Floats:
        """Return what is gone of a weight after a gap: ``1 - retention``, without cancellation.

        Parameters
        ----------
        gap_ms
            int64[n], >= 0 milliseconds.

        Examples
        --------
        >>> Decay(halflife="1s").lapse(np.array([0, 1000, 2000]))
        array([0.  , 0.5 , 0.75])
        """
        return _in_blocks(_lapse, gap_ms / -self.halflife_ms)

    def lean(self, gap_ms: NDArray[np.int64]) -> Floats:
        """Return how far towards its start a straight line over a gap is weighed.

        The weighted mean of a line from a to b over a gap that ends now is ``b - lean (b - a)``:
        with x = gap ln 2 / halflife, lean = 1 / x - 1 / (e^x - 1), from 1/2 down to 0.

        Parameters
        ----------
        gap_ms
            int64[n], >= 0 milliseconds.

        Examples
        --------
        >>> Decay(halflife="1s").lean(np.array([0, 1000])).round(3)
        array([0.5  , 0.443])
        """
        return _in_blocks(_lean, gap_ms / -self.halflife_ms)

    def lean_of(self, gap_ms: int) -> float:
        """Return `lean` of one gap, to the same bits: quicker than a column of one."""
        x = gap_ms / self.halflife_ms * _LN2
        if x < _SHORT:
            leaning: float = _leaning(x * x)
            return 0.5 - x * leaning
        retained = _exp2_of(gap_ms / -self.halflife_ms)
        return 1.0 / x - retained / (1.0 - retained)

    @property
    def tau_s(self) -> float:
        """The time constant halflife / ln 2 in seconds (time decay)."""
        return self.halflife_ms / 1000 / _LN2

    def retention_of(self, gap_ms: int) -> float:
        """Return `retention` of one gap, to the same bits: quicker than a column of one."""
        return _exp2_of(gap_ms / -self.halflife_ms)

    def lapse_of(self, gap_ms: int) -> float:
        """Return `lapse` of one gap, to the same bits: quicker than a column of one."""
        x = gap_ms / -self.halflife_ms
        return 1.0 - _exp2_of(x) if x < -0.5 else 0.0 - _exp2m1_of(x)

    def describe(self) -> str:
        """Return one line for people: the decay, and what it amounts to."""
        name, value = self._given
        shown = f"{name} = {value}"
        if self.by_time:
            return f"{shown}: weights halve every {self.halflife_ms / 1000:.6g} s"
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
    return time_ms if name == "halflife" else time_ms * _LN2


def _per_reading(name: str, number: float) -> tuple[float, float]:
    """Return beta and alpha, each to full precision however close to 0 it is."""
    if name == "beta":
        return number, 1 - number
    if name == "alpha":
        return 1 - number, number
    if name == "span":
        return (number - 1) / (number + 1), 2 / (number + 1)
    if name == "com":
        return number / (1 + number), 1 / (1 + number)
    steps = np.array([-1 / (number if name == "halflife" else number * _LN2)])
    return float(exp2(steps)[0]), float(_lapse(steps)[0])
