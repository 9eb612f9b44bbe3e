"""Every statistic from its definition: weights first, then sums over them. O(n^3), pure Python.

The oracle of the tests. It imports nothing of ours, and shares no recurrence with the kernel.

A series is a list of ``(time_ms, value)``; count decay does not look at the time, and a missing
value is NaN. What is undefined comes out as NaN. Weights are held as 2 ** (ticks * unit + extra),
ticks being an integer, so that a ratio of two is right however small both are.

Definitions, at reading j of the series (from 0), i running over the observed readings up to j:

* count decay: w_i = beta ** steps, the readings after i up to j: all of them under
  ``missing="decay"``, the observed ones under ``"skip"``.
* time decay: w_i = 2 ** (-(T - t_i) / halflife), T the greatest time observed so far; or that of
  the reading itself if it is later, missing, and ``missing="decay"``. Nothing depends on the order
  of arrival, but that what comes more than 1000 half-lives late weighs nothing.
* ``start_up="simple"``: the mean is v, the plain mean of the first n readings, then
  v = (f v + g x) / (f + g). Count decay: f = beta ** steps since the last observed reading,
  g = 1 - beta. Time decay: f = 2 ** (-gap / halflife), g = 1 - f, the gap being to T, and 0 for a
  late reading. The weights are the coefficients of the x in that v. ``"first"`` is n = 1.
* ``start_up="prior"``: one more reading before all, at the time of the first.
* by volume: every w_i times the volume of i; without a volume the reading is missing.
* by duration: the mean of a signal through the readings, weighed by 2 ** (-(T - s) / halflife) ds;
  the late are missing. A gap weighs what that is between its ends.

All but the count are undefined before max(1, min_periods) observed readings, and where
sum w < min_weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

Series = Sequence[tuple[int, float]]
NAN = math.nan


@dataclass(frozen=True)
class Rules:
    """How a series is smoothed: either ``beta`` or ``halflife_ms``."""

    beta: float = math.nan
    halflife_ms: float | None = None
    start_up: str = "corrected"
    missing: str = "skip"
    min_periods: int = 0
    start_n: int = 1
    prior: float = NAN
    prior_weight: float = 0.0
    min_weight: float = 0.0
    weighting: str = "observation"


@dataclass(frozen=True)
class Window:
    """What is seen at one reading: the values so far, and what each of them weighs.

    ``others`` are values of a second field; ``times`` those of the observed readings.
    """

    rules: Rules
    now: int
    times: list[int]
    ticks: list[int]
    extras: list[float]
    values: list[float]
    others: list[float]

    @property
    def weights(self) -> list[float]:
        return [2.0 ** (t * self.unit + e) for t, e in zip(self.ticks, self.extras, strict=True)]

    @property
    def unit(self) -> float:
        """Log2 of what is left of a weight after one tick: a step, or a millisecond."""
        if self.rules.halflife_ms is not None:
            return -1.0 / self.rules.halflife_ms
        return math.log2(self.rules.beta) if self.rules.beta > 0 else NOTHING

    def scaled(self) -> list[float]:
        """Weights over the largest of them."""
        ticks, extra, unit = 0, -math.inf, self.unit
        for t, e in zip(self.ticks, self.extras, strict=True):
            if (t - ticks) * unit + e > extra or extra == -math.inf:
                ticks, extra = t, e
        ratios = zip(self.ticks, self.extras, strict=True)
        return [2.0 ** ((t - ticks) * unit + (e - extra)) for t, e in ratios]


NOTHING = -1e9
"""Log2 of a weight of 0."""


def smooth(
    series: Series,
    rules: Rules,
    statistics: Sequence[str] = ("mean", "n_eff", "settled", "count"),
    volumes: Sequence[float] | None = None,
    others: Sequence[float] | None = None,
) -> dict[str, list[float]]:
    """Return each statistic at each reading; ``others`` is a second field, for pairs."""
    results: dict[str, list[float]] = {name: [] for name in statistics}
    for window in windows(series, rules, volumes, others):
        defined = is_shown(window)
        for name, column in results.items():
            shown = defined or name == "count"
            column.append(STATISTICS[name](window) if shown else NAN)
    return results


def shown(series: Series, rules: Rules, volumes: Sequence[float] | None = None) -> list[bool]:
    """Tell where statistics are defined."""
    return [is_shown(window) for window in windows(series, rules, volumes, None)]


def is_shown(window: Window) -> bool:
    enough = len(window.times) >= max(1, window.rules.min_periods)
    least = window.rules.min_weight
    return enough and (least == 0 or gathered(window) >= least)


def gathered(window: Window) -> float:
    """Return sum w."""
    if window.rules.weighting in ("last", "next", "linear"):
        age = (max(window.times) - min(window.times)) / (window.rules.halflife_ms or NAN)
        return -math.expm1(-math.log(2.0) * age)
    return math.fsum(window.weights)


def windows(
    series: Series,
    rules: Rules,
    volumes: Sequence[float] | None,
    others: Sequence[float] | None,
) -> Iterator[Window]:
    by_volume = rules.weighting == "volume"
    seen = visible(series, rules, volumes if by_volume else None, others)
    for j in range(len(series)):
        yield look_back(seen[: j + 1], rules, volumes, others)


def visible(
    series: Series,
    rules: Rules,
    volumes: Sequence[float] | None,
    others: Sequence[float] | None,
) -> list[tuple[int, float]]:
    """Make missing what counts as missing."""
    seen: list[tuple[int, float]] = []
    newest = -(10**18)
    for i, (time, value) in enumerate(series):
        hidden = volumes is not None and not volumes[i] > 0
        hidden |= others is not None and math.isnan(others[i])
        hidden |= rules.weighting in ("last", "next", "linear") and time < newest
        seen.append((time, NAN if hidden else value))
        if not math.isnan(seen[-1][1]):
            newest = max(newest, time)
    return seen


def look_back(
    past: Series,
    rules: Rules,
    volumes: Sequence[float] | None = None,
    others: Sequence[float] | None = None,
) -> Window:
    """Weigh the observed readings of ``past`` as of its last reading."""
    places = [i for i, (_, value) in enumerate(past) if not math.isnan(value)]
    times = [past[i][0] for i in places]
    now = max(times, default=0)
    if rules.missing == "decay" and times:
        now = max(now, past[-1][0])
    values = [past[i][1] for i in places]
    second = [0.0 if others is None else others[i] for i in places]
    if rules.weighting in ("last", "next", "linear"):
        return over_gaps(rules, now, times, values)
    extras = [0.0] * len(places)
    if rules.start_up in ("first", "simple"):
        ticks, extras = start_weights(past, places, rules)
    elif rules.halflife_ms is not None:
        ticks = [now - t for t in times]
        for k in range(1, len(times)):
            if max(times[:k]) - times[k] > 1000 * rules.halflife_ms:
                extras[k] = NOTHING
    else:
        ticks = [steps(past, i, len(past) - 1, rules) for i in places]
    if rules.weighting == "volume" and volumes is not None:
        extras = [extra + math.log2(volumes[i]) for extra, i in zip(extras, places, strict=True)]
    if rules.start_up == "prior":
        timed = now - times[0] if times else 0
        before = steps(past, -1, len(past) - 1, rules) if rules.halflife_ms is None else timed
        ticks, extras = [before, *ticks], [math.log2(rules.prior_weight), *extras]
        values, second = [rules.prior, *values], [rules.prior, *second]
    return Window(rules, now, times, ticks, extras, values, second)


def over_gaps(rules: Rules, now: int, times: list[int], values: list[float]) -> Window:
    """Take the gaps as readings, each with the value held over it."""
    gaps = [(j - 1, j) for j in range(1, len(times)) if times[j] > times[j - 1]]
    if not gaps:
        return Window(rules, now, times, [0] * bool(times), [0.0] * bool(times), values[:1], [])
    halflife = rules.halflife_ms or NAN
    lapses = [-math.expm1(-math.log(2.0) * (times[j] - times[i]) / halflife) for i, j in gaps]
    if rules.weighting == "linear":
        held = [line(values[i], values[j], (times[j] - times[i]) / halflife) for i, j in gaps]
    else:
        held = [values[i if rules.weighting == "last" else j] for i, j in gaps]
    ticks, extras = [now - times[j] for _, j in gaps], [log2(lapse) for lapse in lapses]
    return Window(rules, now, times, ticks, extras, held, [])


def log2(x: float) -> float:
    return math.log2(x) if x > 0 else NOTHING


def steps(past: Series, i: int, j: int, rules: Rules) -> int:
    """Count the readings after i up to j that are a step."""
    after = past[i + 1 : j + 1]
    if rules.missing == "decay":
        return len(after)
    return sum(not math.isnan(value) for _, value in after)


def start_weights(past: Series, places: list[int], rules: Rules) -> tuple[list[int], list[float]]:
    """Return the coefficients of the x in v, where v <- (f v + g x) / (f + g) after the start."""
    n = rules.start_n
    own: list[float] = []
    ticks: list[int] = []
    kept: list[float] = []
    for k, (i, place) in enumerate(zip([-1, *places], places, strict=False)):
        if k < n:
            own.append(-math.log2(k + 1))
            kept.append(log2(k / (k + 1)))
            ticks.append(0)
            continue
        if rules.halflife_ms is None:
            tick = steps(past, i, place, rules)
            f, g = rules.beta**tick, 1.0 - rules.beta
        else:
            tick = max(0, past[place][0] - max(past[p][0] for p in places[:k]))
            f, g = (
                2.0 ** (-tick / rules.halflife_ms),
                -math.expm1(-math.log(2.0) * tick / rules.halflife_ms),
            )
        own.append(log2(g) - math.log2(f + g))
        kept.append(-math.log2(f + g))
        ticks.append(tick)
    of = range(len(places))
    return [sum(ticks[i + 1 :]) for i in of], [own[i] + math.fsum(kept[i + 1 :]) for i in of]


def mean(window: Window) -> float:
    """Return sum w x / sum w; uncorrected: (1 - beta) sum w x, as if all before had been 0."""
    return weighted(window, window.values)


def weighted(window: Window, values: Sequence[float]) -> float:
    if window.rules.start_up == "uncorrected":
        added_up = zip(window.weights, values, strict=True)
        return (1.0 - window.rules.beta) * math.fsum(w * x for w, x in added_up)
    weights = window.scaled()
    return math.fsum(w * x for w, x in zip(weights, values, strict=True)) / math.fsum(weights)


GAUSS = (
    (0.1252334085114689, 0.2491470458134028),
    (0.3678314989981802, 0.2334925365383548),
    (0.5873179542866175, 0.2031674267230659),
    (0.7699026741943047, 0.1600783285433462),
    (0.9041172563704749, 0.1069393259953184),
    (0.9815606342467192, 0.0471753363865118),
)
"""Nodes and weights of Gauss and Legendre, 12 of them."""


def line(x0: float, x1: float, gap: float) -> float:
    """Weigh a straight line by 2^-u du, u half-lives before its end, piece by piece."""
    end = min(gap, 60.0)
    pieces = max(1, math.ceil(end))
    width = end / pieces
    total: list[float] = []
    weights: list[float] = []
    for k in range(pieces):
        middle = (k + 0.5) * width
        for node, weight in GAUSS:
            for u in (middle - node * width / 2, middle + node * width / 2):
                weights.append(weight * 2.0**-u)
                total.append(weights[-1] * (x1 + (x0 - x1) * u / gap))
    return math.fsum(total) / math.fsum(weights)


def total(window: Window) -> float:
    """Return sum w x."""
    return math.fsum(w * x for w, x in zip(window.weights, window.values, strict=True))


def n_eff(window: Window) -> float:
    """(sum w)^2 / sum w^2: as many equally weighted readings would be as precise."""
    scaled = window.scaled()
    return math.fsum(scaled) ** 2 / math.fsum(w * w for w in scaled)


def settled(window: Window) -> float:
    """How much of the weight of an average without a beginning has been gathered.

    Count decay: such an average has sum w = 1 / (1 - beta). Time decay: readings all the time
    since the first would hold 1 - 2 ** (-(T - t_first) / halflife) of all time's weight. A simple
    start is over after n readings, which stand for all of the past.
    """
    if window.rules.start_up in ("first", "simple"):
        return min(1.0, len(window.times) / window.rules.start_n)
    if window.rules.halflife_ms is None:
        return (1.0 - window.rules.beta) * math.fsum(window.weights)
    age = max(window.times) - min(window.times)
    return -math.expm1(-math.log(2.0) * age / window.rules.halflife_ms)


def count(window: Window) -> float:
    """Observed readings."""
    return float(len(window.times))


def pair_moments(window: Window, *, absolute: bool = False) -> list[float]:
    """Sum over pairs i < j of w_i w_j times: 1, (x_i - x_j)^2, (y_i - y_j)^2, their product.

    Over (sum w)^2, or all scaled alike. The second over (sum w)^2 is sum w (x - m)^2 / sum w; and
    1 - sum w^2 / (sum w)^2 is twice the first over (sum w)^2.
    """
    unit = window.unit
    both = combinations(zip(window.ticks, window.extras, strict=True), 2)
    pairs = [(t + u, e + f) for (t, e), (u, f) in both]
    if absolute or not pairs:
        scaled = window.scaled()
        weights = [v * w / math.fsum(scaled) ** 2 for v, w in combinations(scaled, 2)]
    else:
        ticks, extra = max(pairs, key=lambda pair: pair[0] * unit + pair[1])
        weights = [2.0 ** ((t - ticks) * unit + (e - extra)) for t, e in pairs]
        if extra < NOTHING / 2:
            weights = [0.0] * len(pairs)
    dx = [a - b for a, b in combinations(window.values, 2)]
    dy = [a - b for a, b in combinations(window.others or window.values, 2)]
    rows = list(zip(weights, dx, dy, strict=True))
    return [
        math.fsum(weights),
        math.fsum(w * a * a for w, a, _ in rows),
        math.fsum(w * b * b for w, _, b in rows),
        math.fsum(w * a * b for w, a, b in rows),
    ]


def var(window: Window) -> float:
    """Unbiased: sum w (x - m)^2 / sum w over 1 - sum w^2 / (sum w)^2."""
    pairs, squares, _, _ = pair_moments(window)
    return squares / pairs / 2 if pairs > 0 else NAN


def cov(window: Window) -> float:
    pairs, _, _, products = pair_moments(window)
    return products / pairs / 2 if pairs > 0 else NAN


def corr(window: Window) -> float:
    _, left, right, products = pair_moments(window)
    return products / math.sqrt(left) / math.sqrt(right) if left > 0 and right > 0 else NAN


def var_biased(window: Window) -> float:
    """Return sum w (x - m)^2 / sum w."""
    return pair_moments(window, absolute=True)[1]


def mean_square(window: Window) -> float:
    """Return the mean of the squares, from 0 where that is the start."""
    return weighted(window, [x * x for x in window.values])


def rate(window: Window) -> float:
    """Count readings per second, after the oldest: sum w over the weight of all the time since."""
    halflife_s = (window.rules.halflife_ms or NAN) / 1000
    oldest = window.times.index(min(window.times))
    age = (window.now - min(window.times)) / 1000 / halflife_s
    weights = [w for i, w in enumerate(window.weights) if i != oldest]
    seconds = halflife_s / math.log(2.0) * -math.expm1(-math.log(2.0) * age)
    return math.fsum(weights) / seconds if age > 0 else NAN


STATISTICS: dict[str, Callable[[Window], float]] = {
    "mean": mean,
    "sum": total,
    "count": count,
    "n_eff": n_eff,
    "settled": settled,
    "rate": rate,
    "var": var,
    "std": lambda window: math.sqrt(var(window)),
    "sem": lambda window: math.sqrt(var(window) / n_eff(window)),
    "var_biased": var_biased,
    "std_biased": lambda window: math.sqrt(var_biased(window)),
    "mean_square": mean_square,
    "cov": cov,
    "corr": corr,
}
