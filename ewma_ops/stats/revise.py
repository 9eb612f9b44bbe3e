"""Merge two states of a series; retract a reading from a state, or correct one in it.

Prepares the terms; the formula of each column is in `states`. Knows columns of state; must not
know series ids or tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ewma_ops.errors import ConfigError, ReadingError
from ewma_ops.stats import recurrences
from ewma_ops.stats.composites import Composite
from ewma_ops.stats.moments import starting_readings
from ewma_ops.stats.recurrences import Floats
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.state import Correction, Join, Retraction
from ewma_ops.stats.states import NEVER, STATES

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

_LEAST_LEFT = 1e-9
"""Least remaining weight, relative to the retracted one: below it only rounding would remain."""


def check_mergeable(
    smoothing: Smoothing | Composite, what: str = "tables cannot be merged"
) -> None:
    """Refuse a smoothing whose states cannot be merged.

    Raises
    ------
    ConfigError
        If the state does not tell how the start, a gap or a missing reading would have changed it.
    """
    reason = None
    if isinstance(smoothing, Composite):
        reason = f"the stages of {smoothing.name} depend on the whole history"
    elif smoothing.start_up not in ("corrected", "uncorrected"):
        reason = f"start_up {smoothing.start_up!r} gives each state a separate start"
    elif smoothing.by_duration:
        reason = f"weighting {smoothing.weighting!r} lacks the gap between the two"
    elif any(smoothing.policies.decays) and not smoothing.decay.by_time:
        reason = "missing readings are not counted, and decay past them"
    elif "age_variance" in smoothing.needs and smoothing.trend_halflife is not None:
        reason = "a trend with a decay of its own has weights that are unknown to the other state"
    elif "age_variance" in smoothing.needs and smoothing.ahead.season is not None:
        reason = "a season is learned from readings in the order in which they came"
    elif "error_weight" in smoothing.needs:
        reason = "the errors of forecasts depend on the order in which readings came"
    if reason is not None:
        raise ConfigError(f"{what}: {reason}")


def check_revisable(smoothing: Smoothing | Composite) -> None:
    """Refuse a smoothing in whose states readings cannot be retracted or corrected.

    Raises
    ------
    ConfigError
        If the state does not tell what weight a reading has now.
    """
    if not isinstance(smoothing, Composite) and "mean_age" in smoothing.needs:
        raise ConfigError(
            "a reading cannot be retracted or corrected: the line of an outlook would need to know "
            'the times of all others; leave "level", "trend" and forecasts out'
        )
    if isinstance(smoothing, Composite) or smoothing.decay.by_time:
        check_mergeable(smoothing, "a reading cannot be retracted or corrected")
    elif any(smoothing.policies.decays):
        raise ConfigError(
            "a reading cannot be retracted or corrected: the weights decay past missing readings, "
            'which are not counted; use "skip" in place of "decay"'
        )


def depends_on_times(smoothing: Smoothing) -> bool:
    """Return whether a statistic depends on which reading is the newest."""
    names = {"sum", "rate", "settled", "revision"}
    return smoothing.min_weight > 0.0 or not names.isdisjoint(smoothing.statistics)


def merged(smoothing: Smoothing, one: State, other: State, width: int) -> dict[str, NDArray[Any]]:
    """Merge two states by Chan's pairwise formula, both decayed to the later time.

    With p and r the shares of the two sums of weights and d = m_other - m_one:
    m = m_one + p d, C = r C_one + p C_other + r p d_i d_j, U = r^2 U_one + p^2 U_other,
    Q = r^2 Q_one + p^2 Q_other + 2 r p. Unbiased moments, C / Q: see `_blend`.

    Exact to rounding, unless in both states the earlier readings weigh less than 2^-1022 of the
    newest: which of them weigh more is lost then.

    Parameters
    ----------
    smoothing
        What both states are of.
    one, other
        Columns of state, one element for each series. With count decay ``other`` is the later one.
    width
        How many fields there are.
    """
    if "newest_ms" in one:
        newest = np.maximum(one["newest_ms"], other["newest_ms"])
        fades = [
            smoothing.decay.retention(np.where(s["newest_ms"] == NEVER, 0, newest - s["newest_ms"]))
            for s in (one, other)
        ]
        left, right = one["weight"] * fades[0], other["weight"] * fades[1]
    else:
        left = one["weight"] * smoothing.decay.beta ** other["count"].astype(np.float64)
        right = other["weight"]
    weight = left + right
    total = np.where(weight > 0.0, weight, 1.0)
    r, p = left / total, right / total
    factors = _blend(r, p, one, other) if "spread" in one else (r, p, r * p)
    join = Join(one, other, weight, r, p, other["mean"] - one["mean"], *factors)
    after: dict[str, NDArray[Any]] = {}
    for name, i, j in _places(one, width):
        merge = STATES[name].merge
        assert merge is not None  # check_mergeable refuses what cannot be merged
        after[name] = merge(join, one[name], other[name], i, j)
    return after


def _places(one: State, width: int) -> list[tuple[str, Any, Any]]:
    """Return the name of each column, and the indices of its fields or pairs of fields."""
    whole = slice(None)
    left, right = recurrences.pairs(width)
    return [
        (name, *((left, right) if state.of == "pair" else (whole, whole)))
        for name, state in STATES.items()
        if name in one
    ]


def _blend(r: Floats, p: Floats, one: State, other: State) -> tuple[Floats, Floats, Floats]:
    """Return a, b and c of the unbiased moments, a W_one + b W_other + c d_i d_j.

    With s the smaller of the shares r and p over the greater, and Q of the state that weighs more:

        W = ((1 + s) (s Q_less W_less + Q W) + s d_i d_j) / (s (s Q_less + 2) + Q)

    If s and Q are close to 0 their ratio matters, so both are divided by the greater of them. For
    a single reading Q is 0 and s cancels, even where it underflows.
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
    """Return the newest reading's part of the sum of weights, with count decay."""
    start_n = starting_readings(smoothing)
    count, total = int(one["count"][0]), float(one["weight"][0])
    if start_n is None:
        return weight
    if smoothing.weighting == "volume":
        return weight if count <= start_n else smoothing.decay.alpha * weight
    return total / max(count, 1) if count <= start_n else total * smoothing.decay.alpha


def rebased(smoothing: Smoothing, one: State, left: float) -> float:
    """Return the sum of weights as of the previous reading, after the newest is retracted."""
    start_n = starting_readings(smoothing)
    if start_n is None or smoothing.weighting == "volume":
        return left / smoothing.decay.beta
    count = int(one["count"][0]) - 1
    return 1.0 if count >= start_n else float(count)


def retracted(
    one: State, values: Floats, weight: float, width: int, *, prior: bool = False
) -> dict[str, NDArray[Any]]:
    """Retract one reading: the recurrences with its weight negated.

    With p = -w / (S - w) and r = S / (S - w): m + p d, r (C + p d_i d_j), r^2 U - p^2,
    r^2 Q + 2 p, d = x - m. `STATES` has the formula of each column.

    Parameters
    ----------
    one
        Columns of state of the series, with one element each.
    values
        float64[k], the values of the reading.
    weight
        Its decayed weight, in the unit of the sum of weights.
    width
        How many fields there are.
    prior
        Whether there is a prior, so that a single reading has a variance.

    Raises
    ------
    ReadingError
        If almost no weight would remain: the reading was not observed, or was the only one.
    """
    left = float(one["weight"][0]) - weight
    if int(one["count"][0]) < 2 or not left > _LEAST_LEFT * weight:
        raise ReadingError(
            "the reading cannot be taken back: it is all the series has, or was never observed; "
            "correct it, or give the value, the time and the weight that it came with"
        )
    p, r = -weight / left, (left + weight) / left
    after: dict[str, NDArray[Any]] = {}
    retraction = Retraction(left, p, r, values[:, None] - one["mean"], one, after)
    for name, i, j in _places(one, width):
        after[name] = np.array(STATES[name].retract(retraction, one[name], i, j))
    if int(after["weighed" if "weighed" in one else "count"][0]) < 2 and not prior:
        for name, column in after.items():
            if STATES[name].step is not None:
                column[:] = STATES[name].initial
    return after


def corrected(
    one: State, old: Floats, new: Floats, weight: float, width: int
) -> dict[str, NDArray[Any]]:
    """Replace the value of a reading: no weight changes.

    With p = w / S, r = 1 - p, a = x_old - m and d = x_new - x_old:
    m + p d, C + p (a_i d_j + d_i a_j + r d_i d_j).

    Parameters
    ----------
    one
        Columns of state of the series, with one element each.
    old, new
        float64[k], the values of the reading, and the right ones.
    weight
        Its decayed weight, in the unit of the sum of weights.
    width
        How many fields there are.

    Raises
    ------
    ReadingError
        If the whole series weighs less than the reading, so that it was never observed; or if the
        rest is lost to rounding beside it, and an unbiased moment with it.
    """
    total = float(one["weight"][0])
    if not 0.0 < weight <= total * (1.0 + _LEAST_LEFT):
        raise ReadingError(
            "the reading cannot be corrected: all of the series weighs less, so it was never "
            "observed, or long ago; give the value and time it came with"
        )
    p, r = min(weight / total, 1.0), max(total - weight, 0.0) / total
    several = int(one["weighed" if "weighed" in one else "count"][0]) > 1
    if "spread" in one and several and not r > _LEAST_LEFT:
        raise ReadingError(
            "the reading cannot be corrected: what all others weigh is lost to rounding beside it, "
            "and with it an unbiased variance; leave the unbiased statistics out"
        )
    correction = Correction(p, r, old[:, None] - one["mean"], (new - old)[:, None], one)
    return {
        name: np.array(STATES[name].correct(correction, one[name], i, j))
        for name, i, j in _places(one, width)
    }
