"""Two states of a series made one, and a reading taken back out of one, or corrected in it.

Knows columns of state; must not know series ids or tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.stats import recurrences
from ewma_ops.stats.composites import Composite
from ewma_ops.stats.recurrences import Floats
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.weights import NEVER

__all__ = [
    "check_mergeable",
    "check_revisable",
    "corrected",
    "depends_on_times",
    "merged",
    "newest_weight",
    "rebased",
    "retracted",
]

State = Mapping[str, NDArray[Any]]

_ALONE = {"concentration": 1.0, "spread": 0.0, "variance": 0.0, "covariance": 0.0}
"""What the state of a single reading is."""

_LEAST_LEFT = 1e-9
"""Of the weight of what is taken back: with less left, rounding is all there would be."""


def check_mergeable(
    smoothing: Smoothing | Composite, what: str = "tables cannot be merged"
) -> None:
    """Refuse what cannot be merged.

    Raises
    ------
    ConfigError
        If the state does not say what the start, a gap or a missing reading would have changed.
    """
    reason = None
    if isinstance(smoothing, Composite):
        reason = f"the stages of {smoothing.name} depend on the whole history"
    elif smoothing.start_up not in ("corrected", "uncorrected"):
        reason = f"start_up {smoothing.start_up!r} leaves each state a start of its own"
    elif smoothing.by_duration:
        reason = f"weighting {smoothing.weighting!r} lacks the gap between the two"
    elif any(smoothing.policies.decays) and not smoothing.decay.by_time:
        reason = "missing readings are not counted, and decay past them"
    if reason is not None:
        raise ConfigError(f"{what}: {reason}")


def check_revisable(smoothing: Smoothing | Composite) -> None:
    """Refuse what readings cannot be taken back from, or corrected in.

    Raises
    ------
    ConfigError
        If the state does not say what a reading weighs now.
    """
    if isinstance(smoothing, Composite) or smoothing.decay.by_time:
        check_mergeable(smoothing, "a reading cannot be retracted or corrected")
    elif any(smoothing.policies.decays):
        raise ConfigError(
            "a reading cannot be retracted or corrected: the weights decay past missing readings, "
            'which are not counted; use "skip" in place of "decay"'
        )


def depends_on_times(smoothing: Smoothing) -> bool:
    """Tell whether a statistic depends on which reading is the newest."""
    names = {"sum", "rate", "settled", "revision"}
    return smoothing.min_weight > 0.0 or not names.isdisjoint(smoothing.statistics)


def merged(smoothing: Smoothing, one: State, other: State, width: int) -> dict[str, NDArray[Any]]:
    """Merge two states by Chan's pairwise formula, both decayed to the later time.

    With p and r the shares of the two sums of weights and d = m_other - m_one:
    m = m_one + p d, C = r C_one + p C_other + r p d_i d_j, U = r^2 U_one + p^2 U_other,
    Q = r^2 Q_one + p^2 Q_other + 2 r p. Unbiased moments, C / Q: see `_blend`.

    Exact to rounding. Only where a state's own earlier readings weigh less than 2^-1022 of its
    newest, and so do those of the other state, does it not tell which of them weigh more.

    Parameters
    ----------
    smoothing
        What both were computed by.
    one, other
        Columns of state, an element a series. Under count decay ``other`` is the later.
    width
        How many fields there are.
    """
    after: dict[str, NDArray[Any]] = {"count": one["count"] + other["count"]}
    if "newest_ms" in one:
        newest = np.maximum(one["newest_ms"], other["newest_ms"])
        fades = [
            smoothing.decay.retention(np.where(s["newest_ms"] == NEVER, 0, newest - s["newest_ms"]))
            for s in (one, other)
        ]
        after["newest_ms"] = newest
        left, right = one["weight"] * fades[0], other["weight"] * fades[1]
    else:
        left = one["weight"] * smoothing.decay.beta ** other["count"].astype(np.float64)
        right = other["weight"]
    after["weight"] = weight = left + right
    total = np.where(weight > 0.0, weight, 1.0)
    r, p = left / total, right / total
    if "oldest_ms" in one:
        after["oldest_ms"] = np.minimum(one["oldest_ms"], other["oldest_ms"])
    if "weighed" in one:
        after["weighed"] = one["weighed"] + other["weighed"]
    if "revision" in one:
        both_read = (one["count"] > 0) & (other["count"] > 0)
        after["revision"] = one["revision"] + other["revision"] + both_read
    if "concentration" in one:
        both = r * r * one["concentration"] + p * p * other["concentration"]
        after["concentration"] = np.where(weight > 0.0, both, 1.0)
    d = other["mean"] - one["mean"]
    after["mean"] = np.where(p > 0.5, other["mean"] - d * r, one["mean"] + d * p)
    a, b, c = r, p, r * p
    if "spread" in one:
        after["spread"] = r * r * one["spread"] + p * p * other["spread"] + 2.0 * r * p
        a, b, c = _blend(r, p, one, other)
    if "variance" in one:
        after["variance"] = a * one["variance"] + b * other["variance"] + c * (d * d)
    if "covariance" in one:
        own = a * one["covariance"] + b * other["covariance"]
        after["covariance"] = own + c * _products(d, width)
    return after


def _blend(r: Floats, p: Floats, one: State, other: State) -> tuple[Floats, Floats, Floats]:
    """Return a, b and c of the unbiased moments, a W_one + b W_other + c d_i d_j.

    With s the smaller of the shares r and p over the greater, and Q of the state that weighs more:

        W = ((1 + s) (s Q_less W_less + Q W) + s d_i d_j) / (s (s Q_less + 2) + Q)

    Where s and Q are next to nothing their ratio counts, so both are divided by the greater of
    them; of a single reading Q is 0, and s cancels, also where it is too small for a float.
    """
    counted = "weighed" if "weighed" in one else "count"
    swapped = r > p
    less, more = _in_turn(swapped, one["spread"], other["spread"])
    n_less, n_more = _in_turn(swapped, one[counted], other[counted])
    greater = np.maximum(r, p)
    ratio = np.minimum(r, p) / np.where(greater > 0.0, greater, 1.0)
    scale = np.maximum(ratio, more)
    lost = scale == 0.0
    scale = np.where(lost, 1.0, scale)
    s = np.where(lost, n_more < 2, ratio / scale)
    q = np.where(lost, n_more >= 2, more / scale)
    s, q = np.where(n_less == 0, 0.0, s), np.where(n_less == 0, 1.0, q)
    divisor = s * (ratio * less + 2.0) + q
    own = (1.0 + ratio) / divisor
    a, b = _in_turn(swapped, own * s * less, own * q)
    return a, b, s / divisor


def _in_turn(swapped: NDArray[np.bool_], first: Any, second: Any) -> tuple[Any, Any]:
    return np.where(swapped, second, first), np.where(swapped, first, second)


def newest_weight(smoothing: Smoothing, one: State, weight: float) -> float:
    """Return the part of the sum of weights that is the newest reading's, under count decay."""
    start_n = {"first": 1, "simple": smoothing.start_n}.get(smoothing.start_up)
    count, total = int(one["count"][0]), float(one["weight"][0])
    if start_n is None:
        return weight
    if smoothing.weighting == "volume":
        return weight if count <= start_n else smoothing.decay.alpha * weight
    return total / max(count, 1) if count <= start_n else total * smoothing.decay.alpha


def rebased(smoothing: Smoothing, one: State, left: float) -> float:
    """Return the sum of weights as of the reading before, once the newest is taken back."""
    start_n = {"first": 1, "simple": smoothing.start_n}.get(smoothing.start_up)
    if start_n is None or smoothing.weighting == "volume":
        return left / smoothing.decay.beta
    count = int(one["count"][0]) - 1
    return 1.0 if count >= start_n else float(count)


def retracted(
    one: State, values: Floats, weight: float, width: int, *, prior: bool = False
) -> dict[str, NDArray[Any]]:
    """Take one reading back: the recurrences with its weight negated.

    With p = -w / (S - w) and r = S / (S - w): m + p d, r (C + p d_i d_j), r^2 U - p^2,
    r^2 Q + 2 p, d = x - m.

    Parameters
    ----------
    one
        Columns of state of the series, one element.
    values
        float64[k], what was observed.
    weight
        Its decayed weight.
    width
        How many fields there are.
    prior
        Whether one reading, with the prior, has a variance.

    Raises
    ------
    ReadingError
        If next to nothing would be left: it was not observed, or it was all there was.
    """
    left = float(one["weight"][0]) - weight
    if int(one["count"][0]) < 2 or not left > _LEAST_LEFT * weight:
        raise ReadingError(
            "the reading cannot be taken back: it is all the series has, or was never observed; "
            "correct it, or give the value, the time and the weight that it came with"
        )
    p, r = -weight / left, (left + weight) / left
    after = {name: column.copy() for name, column in one.items()}
    after["weight"][0] = left
    after["count"][0] -= 1
    if "weighed" in one:
        after["weighed"][0] -= 1
    if "revision" in one:
        after["revision"][0] += 1
    d = values[:, None] - one["mean"]
    after["mean"] = one["mean"] + p * d
    if int(after["weighed" if "weighed" in one else "count"][0]) < 2 and not prior:
        for name, alone in _ALONE.items():
            if name in after:
                after[name][:] = alone
        return after
    if "concentration" in one:
        after["concentration"] = np.minimum(r * r * one["concentration"] - p * p, 1.0)
    spread = scale = np.ones(1)
    if "spread" in one:
        spread = one["spread"]
        scale = after["spread"] = np.maximum(r * r * spread + 2.0 * p, 0.0)
    divisor = np.where(scale > 0.0, scale, 1.0)
    if "variance" in one:
        found = r * (one["variance"] * spread + p * d * d) / divisor
        after["variance"] = np.where(scale > 0.0, np.maximum(found, 0.0), 0.0)
    if "covariance" in one:
        found = r * (one["covariance"] * spread + p * _products(d, width)) / divisor
        after["covariance"] = np.where(scale > 0.0, found, 0.0)
    return after


def corrected(
    one: State, old: Floats, new: Floats, weight: float, width: int
) -> dict[str, NDArray[Any]]:
    """Put another value in the place of one: no weight changes.

    With p = w / S, r = 1 - p, a = x_old - m and d = x_new - x_old:
    m + p d, C + p (a_i d_j + d_i a_j + r d_i d_j).

    Parameters
    ----------
    one
        Columns of state of the series, one element.
    old, new
        float64[k], what was observed, and what should have been.
    weight
        Its decayed weight.
    width
        How many fields there are.

    Raises
    ------
    ReadingError
        If all there is weighs less: it was never observed; or if it outweighs the rest so far that
        an unbiased moment cannot be told.
    """
    total = float(one["weight"][0])
    if not 0.0 < weight <= total * (1.0 + _LEAST_LEFT):
        raise ReadingError(
            "the reading cannot be corrected: all of the series weighs less, so it was never "
            "observed, or long ago; give the value and time it came with"
        )
    after = {name: column.copy() for name, column in one.items()}
    p, r = min(weight / total, 1.0), max(total - weight, 0.0) / total
    several = int(one["weighed" if "weighed" in one else "count"][0]) > 1
    if "spread" in one and several and not r > _LEAST_LEFT:
        raise ReadingError(
            "the reading cannot be corrected: what all others weigh is lost to rounding beside it, "
            "and with it an unbiased variance; leave the unbiased statistics out"
        )
    a, d = old[:, None] - one["mean"], (new - old)[:, None]
    after["mean"] = one["mean"] + p * d
    if "revision" in one:
        after["revision"][0] += 1
    spread = one["spread"] if "spread" in one else np.ones(1)
    divisor = np.where(spread > 0.0, spread, 1.0)
    if "variance" in one:
        gain = np.where(spread > 0.0, p * (2.0 * a * d + r * d * d), 0.0)
        after["variance"] = np.maximum(one["variance"] + gain / divisor, 0.0)
    if "covariance" in one:
        i, j = recurrences.pairs(width)
        gain = p * (a[i] * d[j] + d[i] * a[j] + r * d[i] * d[j])
        after["covariance"] = one["covariance"] + np.where(spread > 0.0, gain, 0.0) / divisor
    return after


def _products(d: Floats, width: int) -> Floats:
    i, j = recurrences.pairs(width)
    return d[i] * d[j]
