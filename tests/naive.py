"""Every statistic from its definition: weights first, then sums over them. O(n^2), pure Python.

The oracle of the tests. It imports nothing of ours, and shares no recurrence with the kernel.

A series is a list of ``(time_ms, value)``; count decay does not look at the time, and a missing
value is NaN. What is undefined comes out as NaN.

Definitions, at reading j of the series (from 0), i running over the observed readings up to j:

* count decay: w_i = beta ** steps, the readings after i up to j: all of them under
  ``missing="decay"``, the observed ones under ``"skip"``.
* time decay: w_i = 2 ** (-(T - t_i) / halflife), T the greatest time observed so far. Nothing
  depends on the order of arrival, and a missing reading changes nothing.
* ``start_up="first"``: the mean is v = x of the first reading, then v = (f v + g x) / (f + g).
  Count decay: f = beta ** steps since the last observed reading, g = 1 - beta. Time decay:
  f = 2 ** (-gap / halflife), g = 1 - f, the gap being to T, and 0 for a late reading. The weights
  are the coefficients of the x in that v; they sum up to 1.

From these follow the statistics, `mean`, `n_eff`, `settled`, `count` below. All but the count are
undefined before max(1, min_periods) observed readings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Series = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Rules:
    """How a series is smoothed: either ``beta`` or ``halflife_ms``."""

    beta: float = math.nan
    halflife_ms: float | None = None
    start_up: str = "corrected"
    missing: str = "skip"
    min_periods: int = 0


@dataclass(frozen=True)
class Window:
    """What is seen at one reading: the observed values so far, and what each of them weighs."""

    rules: Rules
    weights: list[float]
    values: list[float]
    times: list[int]


def smooth(
    series: Series, rules: Rules, statistics: Sequence[str] = ("mean", "n_eff", "settled", "count")
) -> dict[str, list[float]]:
    """Return each statistic at each reading."""
    results: dict[str, list[float]] = {name: [] for name in statistics}
    for j in range(len(series)):
        window = look_back(series[: j + 1], rules)
        settled_enough = len(window.values) >= max(1, rules.min_periods)
        for name, column in results.items():
            defined = settled_enough or name == "count"
            column.append(STATISTICS[name](window) if defined else math.nan)
    return results


def look_back(past: Series, rules: Rules) -> Window:
    """Weigh the observed readings of ``past`` as of its last reading."""
    places = [i for i, (_, value) in enumerate(past) if not math.isnan(value)]
    times = [past[i][0] for i in places]
    if rules.start_up == "first":
        weights = first_value_weights(past, places, rules)
    elif rules.halflife_ms is not None:
        newest = max(times, default=0)
        weights = [2.0 ** (-(newest - t) / rules.halflife_ms) for t in times]
    else:
        weights = [rules.beta ** steps(past, i, len(past) - 1, rules) for i in places]
    return Window(rules, weights, [past[i][1] for i in places], times)


def steps(past: Series, i: int, j: int, rules: Rules) -> int:
    """Count the readings after i up to j that are a step."""
    after = past[i + 1 : j + 1]
    if rules.missing == "decay":
        return len(after)
    return sum(not math.isnan(value) for _, value in after)


def first_value_weights(past: Series, places: list[int], rules: Rules) -> list[float]:
    """Return the coefficients of the x in v, where v <- (f v + g x) / (f + g) from v = x_1 on."""
    if rules.halflife_ms is None:
        retained = [rules.beta ** steps(past, i, j, rules) for i, j in pairwise(places)]
        gained = [1.0 - rules.beta] * len(retained)
    else:
        times = [past[i][0] for i in places]
        gaps = [max(0, times[k] - max(times[:k])) for k in range(1, len(times))]
        retained = [2.0 ** (-gap / rules.halflife_ms) for gap in gaps]
        gained = [-math.expm1(-math.log(2.0) * gap / rules.halflife_ms) for gap in gaps]
    kept = [f / (f + g) for f, g in zip(retained, gained, strict=True)]
    own = [1.0] + [g / (f + g) for f, g in zip(retained, gained, strict=True)]
    return [own[i] * math.prod(kept[i:]) for i in range(len(places))]


def mean(window: Window) -> float:
    """Return sum w x / sum w; uncorrected: (1 - beta) sum w x, as if all before had been 0."""
    weighted = math.fsum(w * x for w, x in zip(window.weights, window.values, strict=True))
    if window.rules.start_up == "uncorrected":
        return (1.0 - window.rules.beta) * weighted
    return weighted / math.fsum(window.weights)


def n_eff(window: Window) -> float:
    """(sum w)^2 / sum w^2: as many equally weighted readings would be as precise."""
    largest = max(window.weights)
    scaled = [w / largest for w in window.weights]
    return math.fsum(scaled) ** 2 / math.fsum(w * w for w in scaled)


def settled(window: Window) -> float:
    """How much of the weight of an average without a beginning has been gathered.

    Count decay: such an average has sum w = 1 / (1 - beta). Time decay: readings all the time
    since the first would hold 1 - 2 ** (-(T - t_first) / halflife) of all time's weight. After a
    first-value start nothing is left to gather: that reading stands for all of the past.
    """
    if window.rules.start_up == "first":
        return 1.0
    if window.rules.halflife_ms is None:
        return (1.0 - window.rules.beta) * math.fsum(window.weights)
    age = max(window.times) - min(window.times)
    return -math.expm1(-math.log(2.0) * age / window.rules.halflife_ms)


def count(window: Window) -> float:
    """Observed readings."""
    return float(len(window.values))


STATISTICS: dict[str, Callable[[Window], float]] = {
    "mean": mean,
    "n_eff": n_eff,
    "settled": settled,
    "count": count,
}
