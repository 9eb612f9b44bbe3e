"""Every statistic from its definition: weights first, then sums over them. O(n^3), in NumPy.

The oracle of the tests. It imports nothing of ours, and shares no recurrence with the kernel.

A series is a list of ``(time_ms, value)``; count decay does not look at the time, and a missing
value is NaN. What is undefined comes out as NaN. Weights are held as 2 ** (ticks * unit + extra),
ticks being integers, so that a ratio of two is right however small both are.

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
* by volume: every w_i times the volume of i; without a volume the reading is missing. With
  ``start_up="first"``: v = y / z, with y <- f y + g w x and z <- f z + g w from y = w x and z = w
  of the first, so that w_i is g f ... f times the volume, and f ... f times it of the first.
* by duration: the mean of a signal through the readings, weighed by 2 ** (-(T - s) / halflife) ds;
  the late are missing. A gap weighs what that is between its ends. Before the first reading there
  is no signal, or with ``start_up="first"`` its value since ever.

The line of an outlook is m + b (t - t_mean), with the means of values and times, and the slope b
that makes sum w (x - m - b (t - t_mean))^2 least; the times of count decay are steps. A forecast is
what the line before a reading has at its time; there is none for a late one. The errors are
averaged with weights of (1 - 2 / (error_span + 1)) ** (errors since). With ``outlook="level"`` b
is 0.

All but the count are undefined before max(1, min_periods) observed readings, and where
sum w < min_weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Series = Sequence[tuple[int, float]]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = math.nan
LN2 = math.log(2.0)

NEVER = 1 << 62
"""More ticks than there are."""

NOTHING = -1e9
"""Log2 of a weight of 0, as a unit: a tick of it leaves nothing."""


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
    outlook: str = "trend"
    horizon: float = 1.0
    coverage: float = 0.95
    error_span: float = 200.0

    @property
    def by_duration(self) -> bool:
        return self.weighting in ("last", "next", "linear")

    @property
    def unit(self) -> float:
        """Log2 of what is left of a weight after one tick: a step, or a millisecond."""
        if self.halflife_ms is not None:
            return -1.0 / self.halflife_ms
        return math.log2(self.beta) if self.beta > 0 else NOTHING

    def kept(self, ticks: Any) -> Any:
        """Return what is left of a weight after so many ticks."""
        return np.exp2(ticks * self.unit)

    def lost(self, ticks: Any) -> Any:
        return -np.expm1(LN2 * ticks * self.unit)


def smooth(
    series: Series,
    rules: Rules,
    statistics: Sequence[str] = ("mean", "n_eff", "settled", "count"),
    volumes: ArrayLike | None = None,
    others: ArrayLike | None = None,
) -> dict[str, Floats]:
    """Return each statistic at each reading; ``others`` is a second field, for pairs."""
    windows = look_back(series, rules, volumes, others)
    shown = windows.shown
    results = {name: np.full(len(series), NAN) for name in statistics}
    with np.errstate(divide="ignore", invalid="ignore"):  # before the first reading
        for name, column in results.items():
            if name == "count":
                column[:] = windows.count
            elif shown.any():
                column[shown] = STATISTICS[name](windows)[shown]
    return results


def sizes_of_z(series: Series, rules: Rules, volumes: ArrayLike | None = None) -> Floats:
    """Return what errors of ``z`` are relative to: the sizes of x and m in standard errors."""
    windows = look_back(series, rules, volumes)
    if not windows.count.any():
        return np.full(len(series), NAN)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(deviation(windows, 1.0) / standard_error(windows))


def shown(series: Series, rules: Rules, volumes: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Return where statistics are defined."""
    return look_back(series, rules, volumes).shown


@dataclass(frozen=True)
class Windows:
    """What is seen at each reading, row by row: the values so far, and what each of them weighs.

    ``count`` readings are observed; the newest and the oldest of them, and the moment it is seen
    from, are ``newest``, ``oldest`` and ``now``; ``revised`` came late and weighed anything. What
    is not seen yet weighs 2 ** -inf.
    """

    rules: Rules
    count: Ints
    now: Ints
    newest: Ints
    oldest: Ints
    ticks: Ints
    extras: Floats
    values: Floats
    others: Floats
    revised: Ints

    @cached_property
    def weights(self) -> Floats:
        return np.asarray(np.exp2(self.ticks * self.rules.unit + self.extras))

    @cached_property
    def scaled(self) -> Floats:
        """Weights over the largest of the row."""
        return relative(self.ticks, self.extras, self.rules.unit)

    @cached_property
    def products(self) -> Floats:
        """Of the weights of each two, over the largest of the row; 0 of one with itself."""
        n, k = self.ticks.shape
        extras = self.extras[:, :, None] + self.extras[:, None, :]
        extras[:, range(k), range(k)] = -np.inf
        if self.rules.beta == 0.0:  # nothing is left of what is not the newest
            seen = np.isfinite(self.extras)
            newest = np.where(seen, self.ticks, NEVER).min(axis=1, initial=NEVER)
            gone = self.ticks > newest[:, None]
            extras[gone[:, :, None] | gone[:, None, :]] = -np.inf
        ticks = self.ticks[:, :, None] + self.ticks[:, None, :]
        return relative(ticks.reshape(n, -1), extras.reshape(n, -1), self.rules.unit)

    @cached_property
    def lines(self) -> Lines:
        return lines(self)

    @cached_property
    def errors(self) -> Errors:
        return errors(self)

    @property
    def gathered(self) -> Floats:
        """Sum w."""
        if self.rules.by_duration:
            return np.asarray(self.rules.lost(self.newest - self.oldest))
        return np.asarray(self.weights.sum(axis=1))

    @property
    def shown(self) -> NDArray[np.bool_]:
        shown = self.count >= max(1, self.rules.min_periods)
        if self.rules.min_weight > 0.0:
            shown &= self.gathered >= self.rules.min_weight
        return shown


def relative(ticks: Ints, extras: Floats, unit: float) -> Floats:
    """Return weights over the largest of each row: all 0 where there is none."""
    largest = np.argmax(ticks * unit + extras, axis=1)[:, None]
    most = np.take_along_axis(extras, largest, axis=1)
    most[np.isneginf(most)] = 0.0
    ticks = ticks - np.take_along_axis(ticks, largest, axis=1)
    return np.asarray(np.exp2(ticks * unit + (extras - most)))


def look_back(
    series: Series,
    rules: Rules,
    volumes: ArrayLike | None = None,
    others: ArrayLike | None = None,
) -> Windows:
    """Weigh the observed readings as of each reading."""
    times = np.array([time for time, _ in series], np.int64)
    values = np.array([value for _, value in series], np.float64)
    second = np.full(len(values), 1.0) if others is None else np.array(others, np.float64)
    volume = np.ones(len(values))
    if rules.weighting == "volume":
        volume = np.array(volumes, np.float64)
    observed = ~np.isnan(values) & ~np.isnan(second) & (volume > 0)
    if rules.by_duration:
        observed &= times >= np.maximum.accumulate(np.where(observed, times, times.min()))
    count = np.cumsum(observed)
    first = times[observed][0] if observed.any() else 0
    newest = np.maximum.accumulate(np.where(observed, times, times.min()))
    late = observed & (times < newest)
    if rules.start_up in ("first", "simple"):
        late &= count <= rules.start_n
    elif rules.halflife_ms is not None:
        late &= newest - times <= 1000 * rules.halflife_ms
    newest = np.where(count > 0, newest, first)
    oldest = np.minimum.accumulate(np.where(observed, times, times.max()))
    oldest = np.where(count > 0, oldest, first)
    now = newest
    if rules.missing == "decay":
        now = np.where(count > 0, np.maximum(newest, times), first)
    places = np.flatnonzero(observed)
    values, second, times = values[places], second[places], times[places]
    unseen = places > np.arange(len(count))[:, None]
    if rules.by_duration:
        *_, second = over_gaps(rules, count, now, times, second)
        ticks, extras, values = over_gaps(rules, count, now, times, values)
    elif rules.start_up in ("first", "simple"):
        ticks, extras = start_weights(rules, observed, times)
    elif rules.halflife_ms is None:
        steps = np.cumsum(observed | (rules.missing == "decay"))
        ticks, extras = steps[:, None] - steps[places], np.zeros(unseen.shape)
    else:
        ticks = now[:, None] - times
        lateness = np.maximum.accumulate(times) - times if len(times) else times
        extras = np.where(lateness > 1000 * rules.halflife_ms, -np.inf, 0.0) + 0.0 * ticks
    if not rules.by_duration:
        extras = np.where(unseen, -np.inf, extras + np.log2(volume[places]))
    if rules.start_up == "prior":
        before = now - first if rules.halflife_ms is not None else steps
        ticks = np.column_stack([before, ticks])
        extras = np.column_stack([np.full(len(count), math.log2(rules.prior_weight)), extras])
        values, second = (np.concatenate([[rules.prior], x]) for x in (values, second))
    revised = np.cumsum(late)
    return Windows(rules, count, now, newest, oldest, ticks, extras, values, second, revised)


def over_gaps(
    rules: Rules, count: Ints, now: Ints, times: Ints, values: Floats
) -> tuple[Ints, Floats, Floats]:
    """Take the gaps as readings, each with the value held over it; the first is one till then."""
    halflife = rules.halflife_ms or NAN
    ends = 1 + np.flatnonzero(np.diff(times) > 0)
    gaps = times[ends] - times[ends - 1]
    if rules.weighting == "linear":
        held = [line(values[j - 1], values[j], (times[j] - times[j - 1]) / halflife) for j in ends]
    else:
        held = values[ends - (rules.weighting == "last")].tolist()
    ticks = np.column_stack([0 * now, now[:, None] - times[ends]])
    begun = count[:, None] > ends
    alone = (count > 0) & ~begun.any(axis=1)
    extras = np.where(begun, np.log2(rules.lost(gaps)), -np.inf)
    extras = np.column_stack([np.where(alone, 0.0, -np.inf), extras])
    if rules.start_up == "first" and len(times):
        ticks[:, 0] = now - times[0]
        extras[:, 0] = np.where(count > 0, 0.0, -np.inf)
    return ticks, extras, np.array([values[0] if len(values) else NAN, *held])


def start_weights(rules: Rules, observed: NDArray[np.bool_], times: Ints) -> tuple[Ints, Floats]:
    """Return the coefficients of the x in v, where v <- (f v + g x) / (f + g) after the start."""
    k = np.arange(len(times))
    if rules.halflife_ms is None:
        steps = np.cumsum(observed | (rules.missing == "decay"))[observed]
        ticks = np.diff(steps, prepend=0)
        g = np.full(len(times), 1.0 - rules.beta)
    else:
        newest = np.maximum.accumulate(times) if len(times) else times
        ticks = np.diff(newest, prepend=newest[:1])
        g = rules.lost(ticks)
    f = rules.kept(ticks)
    with np.errstate(divide="ignore"):
        starting = k < rules.start_n
        own = np.where(starting, -np.log2(k + 1.0), np.log2(g) - np.log2(f + g))
        kept = np.where(starting, np.log2(np.maximum(k, 1) / (k + 1.0)), -np.log2(f + g))
        if rules.weighting == "volume":
            own, kept = np.where(starting, 0.0, np.log2(g)), np.zeros(len(times))
    after = np.cumsum(np.where(starting, 0, ticks))
    kept_since = np.cumsum(kept)
    last = np.maximum(np.cumsum(observed) - 1, 0)[:, None]
    if len(times) == 0:
        last = last[:, :0]
    return after[last] - after, own + kept_since[last] - kept_since


GAUSS = np.polynomial.legendre.leggauss(24)
"""Nodes and weights of Gauss and Legendre."""


def line(x0: float, x1: float, gap: float) -> float:
    """Weigh a straight line by 2^-u du, u half-lives before its end, piece by piece."""
    end = min(gap, 60.0)
    pieces = max(1, math.ceil(end))
    width = end / pieces
    u = (np.arange(pieces)[:, None] + (1.0 + GAUSS[0]) / 2) * width
    weights = GAUSS[1] * np.exp2(-u)
    return float((weights * (x1 + (x0 - x1) * u / gap)).sum() / weights.sum())


def weighted(windows: Windows, values: Floats) -> Floats:
    """Return sum w x / sum w; uncorrected: (1 - beta) sum w x, as if all before had been 0."""
    if windows.rules.start_up == "uncorrected":
        return np.asarray((1.0 - windows.rules.beta) * (windows.weights * values).sum(axis=1))
    scaled = windows.scaled
    return np.asarray((scaled * values).sum(axis=1) / scaled.sum(axis=1))


def mean(windows: Windows) -> Floats:
    return weighted(windows, windows.values)


def total(windows: Windows) -> Floats:
    """Return sum w x."""
    return np.asarray((windows.weights * windows.values).sum(axis=1))


def n_eff(windows: Windows) -> Floats:
    """(sum w)^2 / sum w^2: as many equally weighted readings would be as precise."""
    scaled = windows.scaled
    return np.asarray(scaled.sum(axis=1) ** 2 / (scaled**2).sum(axis=1))


def settled(windows: Windows) -> Floats:
    """How much of the weight of an average without a beginning has been gathered.

    Count decay: such an average has sum w = 1 / (1 - beta). Time decay: readings all the time
    since the first would hold 1 - 2 ** (-(T - t_first) / halflife) of all time's weight. A simple
    start is over after n readings, which stand for all of the past.
    """
    rules = windows.rules
    if rules.start_up in ("first", "simple"):
        return np.minimum(1.0, windows.count / rules.start_n)
    if rules.halflife_ms is None:
        return np.asarray((1.0 - rules.beta) * windows.weights.sum(axis=1))
    return np.asarray(rules.lost(windows.newest - windows.oldest))


def over_pairs(products: Floats, left: Floats, right: Floats) -> Floats:
    """Sum over pairs i, j of w_i w_j (x_i - x_j) (y_i - y_j)."""
    apart = (left[:, None] - left) * (right[:, None] - right)
    return np.asarray((products * apart.ravel()).sum(axis=1))


def var(windows: Windows) -> Floats:
    """Unbiased: sum w (x - m)^2 / sum w over 1 - sum w^2 / (sum w)^2.

    Both as sums over pairs: of w_i w_j (x_i - x_j)^2 / 2, and of w_i w_j, over (sum w)^2.
    """
    return covariance(windows, windows.values, windows.values)


def z(windows: Windows) -> Floats:
    """Return (x - m) / sqrt(var (1 + 1 / n_eff)), all of them as of before the reading x."""
    return np.asarray(deviation(windows) / standard_error(windows))


def deviation(windows: Windows, sign: float = -1.0) -> Floats:
    """Return x - m before it, or with ``sign`` 1, the size of both; NaN where there is no x."""
    scaled, count = windows.scaled, windows.count
    place = count - 1 + (windows.rules.start_up == "prior")
    came = np.diff(count, prepend=0) > 0
    x, means = np.full(len(count), NAN), (scaled * windows.values).sum(axis=1) / scaled.sum(axis=1)
    weighs = np.isfinite(windows.extras[np.arange(len(count)), place])
    x[came & weighs] = windows.values[place[came & weighs]]
    before = np.concatenate([[NAN], means[:-1]])
    return np.asarray(np.abs(x) + np.abs(before) if sign > 0 else x - before)


def standard_error(windows: Windows) -> Floats:
    """Return sqrt(var (1 + 1 / n_eff)) before the reading; NaN where var is 0, or undefined."""
    spread = var(windows)
    squared = np.concatenate([[NAN], (spread * (1.0 + 1.0 / n_eff(windows)))[:-1]])
    squared[~(squared > 0.0) | np.isnan(spread)] = NAN
    return np.asarray(np.sqrt(squared))


def covariance(windows: Windows, left: Floats, right: Floats) -> Floats:
    products = windows.products
    return np.asarray(over_pairs(products, left, right) / products.sum(axis=1) / 2)


def corr(windows: Windows) -> Floats:
    x, y, products = windows.values, windows.others, windows.products
    left, right = np.sqrt(over_pairs(products, x, x)), np.sqrt(over_pairs(products, y, y))
    flat = (left == 0.0) | (right == 0.0)
    return np.where(flat, NAN, over_pairs(products, x, y) / left / right)


def var_biased(windows: Windows) -> Floats:
    """Return sum w (x - m)^2 / sum w, which is the sum over pairs by the shares of the weight."""
    return covariance_biased(windows, windows.values, windows.values)


def cov_biased(windows: Windows) -> Floats:
    return covariance_biased(windows, windows.values, windows.others)


def covariance_biased(windows: Windows, left: Floats, right: Floats) -> Floats:
    scaled = windows.scaled
    shares = scaled / scaled.sum(axis=1)[:, None]
    products = (shares[:, :, None] * shares[:, None, :]).reshape(len(shares), -1)
    return over_pairs(products, left, right) / 2


def rate(windows: Windows) -> Floats:
    """Count readings per second, after the oldest: sum w over the weight of all the time since."""
    halflife_s = (windows.rules.halflife_ms or NAN) / 1000
    age = windows.now - windows.oldest
    seen = np.arange(len(windows.values)) < windows.count[:, None]
    ages = np.where(seen, windows.ticks, -1)
    weights = windows.weights.copy()
    weights[range(len(age)), np.argmax(ages, axis=1)] = 0.0
    seconds = halflife_s / LN2 * windows.rules.lost(age)
    return np.where(age > 0, weights.sum(axis=1) / seconds, NAN)


def revision(windows: Windows) -> Floats:
    return windows.revised.astype(np.float64)


@dataclass(frozen=True)
class Lines:
    """The line at each reading: mean, age of the mean time, slope; and what errors are relative to.

    ``slope`` is NaN where the times do not differ. ``at`` is the value of the line so much
    later, as of each reading or of one.
    """

    mean: Floats
    age: Floats
    slope: Floats
    size: Floats
    size_of_slope: Floats

    def at(self, ahead: Any, row: Any = slice(None)) -> Any:
        return self.mean[row] + self._slope_or_0[row] * (self.age[row] + ahead)

    def size_at(self, ahead: Any, row: Any = slice(None)) -> Any:
        return self.size[row] + self._size_of_slope_or_0[row] * (self.age[row] + abs(ahead))

    @cached_property
    def _slope_or_0(self) -> Floats:
        return np.asarray(np.nan_to_num(self.slope))

    @cached_property
    def _size_of_slope_or_0(self) -> Floats:
        return np.asarray(np.nan_to_num(self.size_of_slope))


def by_pairs(products: Floats, ages: Ints, right: Floats) -> Floats:
    """Sum over pairs i, j of w_i w_j (u_i - u_j) (y_i - y_j), the halves of them; ages u differ."""
    apart = (ages[:, :, None] - ages[:, None, :]).astype(
        np.float64
    )  # squares are too large for Ints
    other = right[..., :, None] - right[..., None, :]
    return np.asarray((products * (apart * other).reshape(len(ages), -1)).sum(axis=1) / 2)


def lines(windows: Windows) -> Lines:
    scaled = windows.scaled
    shares = scaled / scaled.sum(axis=1)[:, None]
    x, ages = windows.values, windows.ticks
    means, age = (shares * x).sum(axis=1), (shares * ages).sum(axis=1)
    apart = ages.astype(np.float64) - age[:, None]
    known = (shares * apart**2).sum(axis=1) > 0.0  # what else there is weighs too little
    if windows.rules.outlook == "level":
        known[:] = False
    products = windows.products
    variance = np.where(known, by_pairs(products, ages, ages.astype(np.float64)), NAN)
    slopes = -by_pairs(products, ages, x) / variance
    size = (shares * abs(x)).sum(axis=1)
    gaps = abs(ages[:, :, None] - ages[:, None, :]).reshape(len(ages), -1)
    added = (abs(x)[:, None] + abs(x)).ravel()
    sizes = (products * gaps * added).sum(axis=1) / 2 / variance
    return Lines(means, age, slopes, size, sizes)


@dataclass(frozen=True)
class Errors:
    """What each reading was forecast as, NaN where it was not; how it is compared."""

    error: Floats
    size: Floats
    gap: Floats
    naive: Floats
    weights: Floats

    def average(self, x: Floats) -> Floats:
        """Average of x at the readings that had been forecast, as of each reading."""
        known = np.where(np.isnan(self.error), 0.0, x)
        return np.asarray((self.weights * known).sum(axis=1) / self.weights.sum(axis=1))


def errors(windows: Windows) -> Errors:
    rules, line, count = windows.rules, windows.lines, windows.count
    n = len(count)
    found = [np.full(n, NAN) for _ in range(4)]
    previous = NAN
    for j in np.flatnonzero(np.diff(count, prepend=0)):
        x, own = windows.values[count[j] - 1], windows.ticks[j, count[j] - 1]
        if j == 0 or count[j - 1] == 0:
            previous = x
            continue
        by_time = rules.halflife_ms is not None
        gap = windows.now[j] - own - windows.newest[j - 1] if by_time else 1
        since = windows.now[j] - own - windows.now[j - 1] if by_time else 1
        if gap < 0:
            continue
        if rules.outlook == "level" or not math.isnan(line.slope[j - 1]):
            sized = abs(x) + line.size_at(since, j - 1)
            row = x - line.at(since, j - 1), sized, gap, abs(x - previous)
            for column, value in zip(found, row, strict=True):
                column[j] = value
        previous = x
    came = ~np.isnan(found[0])
    order = np.cumsum(came)
    since = order[:, None] - order
    kept = 1.0 - 2.0 / (rules.error_span + 1.0)
    weights = np.where(came & (since >= 0), kept ** np.maximum(since, 0), 0.0)
    return Errors(found[0], found[1], found[2], found[3], weights)


def fixed_lag(rules: Rules) -> float:
    """How far back the smoothed level is: half of how far ahead forecasts are."""
    return rules.horizon / 2.0


def per_time(windows: Windows) -> float:
    return 1000.0 if windows.rules.halflife_ms is not None else 1.0


def bounds(windows: Windows, sign: float) -> Floats:
    """Return the forecast and so many deviations of an error at the horizon."""
    return np.asarray(windows.lines.at(windows.rules.horizon) + sign * halfwidth(windows))


def halfwidth(windows: Windows, sizes: bool = False) -> Floats:
    rules, found = windows.rules, windows.errors
    steps = np.full(len(windows.count), rules.horizon)
    lost = np.full(len(steps), 1.0 - rules.beta)
    if rules.halflife_ms is not None:
        gaps = found.average(found.gap)
        steps, lost = np.where(gaps > 0.0, rules.horizon / gaps, 1.0), rules.lost(gaps)
    steps = np.maximum(steps, 1.0)
    gain, drift = (lost, 0.0 * lost) if rules.outlook == "level" else (lost * (2 - lost), lost**2)
    before = steps - 1.0
    growth = 1.0 + before * gain**2 + gain * drift * before * steps
    growth += drift**2 * before * steps * (2.0 * steps - 1.0) / 6.0
    squared = found.average((found.size if sizes else found.error) ** 2)
    quantile = NormalDist().inv_cdf((1.0 + rules.coverage) / 2.0)
    return np.asarray(quantile * np.sqrt(squared * growth))


def compared(windows: Windows) -> Floats:
    found = windows.errors
    return found.average(abs(found.error)) / found.average(found.naive)


def compared_naively(windows: Windows) -> Floats:
    """MASE; NaN where the naive forecast has no errors."""
    found = compared(windows)
    return np.where(np.isinf(found), NAN, found)


OUTLOOK_SIZES: dict[str, Callable[[Windows], Floats]] = {
    "level": lambda w: w.lines.size_at(0.0),
    "lag": lambda w: w.lines.age / per_time(w),
    "smoothed_level": lambda w: w.lines.size_at(fixed_lag(w.rules)),
    "trend": lambda w: w.lines.size_of_slope * per_time(w),
    "forecast": lambda w: w.lines.size_at(w.rules.horizon),
    "forecast_lower": lambda w: w.lines.size_at(w.rules.horizon) + halfwidth(w, sizes=True),
    "forecast_upper": lambda w: w.lines.size_at(w.rules.horizon) + halfwidth(w, sizes=True),
    "forecast_error": lambda w: w.errors.size,
    "mae": lambda w: w.errors.average(w.errors.size),
    "rmse": lambda w: np.sqrt(w.errors.average(w.errors.size**2)),
    "mase": lambda w: (
        w.errors.average(w.errors.size) * (1.0 + compared(w)) / w.errors.average(w.errors.naive)
    ),
}
"""What errors of the statistics of an outlook are relative to."""


def sizes_of_outlook(
    series: Series, rules: Rules, statistics: Sequence[str], volumes: ArrayLike | None = None
) -> dict[str, Floats]:
    windows = look_back(series, rules, volumes)
    if not windows.count.any():
        return {name: np.full(len(series), NAN) for name in statistics}
    with np.errstate(divide="ignore", invalid="ignore"):
        return {name: OUTLOOK_SIZES[name](windows) for name in statistics}


@dataclass(frozen=True)
class Policies:
    """What is done with readings out of the ordinary, by cause."""

    by_cause: dict[str, str]
    lowest: float
    highest: float
    max_lateness: int


SEVERITY = ("take", "clip", "skip", "decay", "reset", "dead-letter")

Reading = tuple[int, Sequence[float]]
"""The time of a reading, and the value of each of its fields."""


def governed(
    series: Series, rules: Rules, policies: Policies, statistics: Sequence[str]
) -> dict[str, list[float]]:
    """Smooth a series of one field under policies."""
    readings = [(time, [value]) for time, value in series]
    (found,), _ = governed_fields(readings, rules, policies, statistics)
    return found


def governed_fields(
    readings: Sequence[Reading], rules: Rules, policies: Policies, statistics: Sequence[str]
) -> tuple[list[dict[str, list[float]]], list[int]]:
    """Smooth the fields of a series under policies; also return which readings do not enter.

    Of all the causes that the values and the time of a reading have, the one with the most severe
    policy decides about the reading: under "decay" all fields decay that are not observed, under
    any other that is let through, they are left out, and a reset is another series. What is not
    entered (a dead letter) has no result.

    ``rules.missing`` is to be ``"decay"``: what then stays missing does.
    """
    width = len(readings[0][1])
    pasts: list[list[list[tuple[int, float]]]] = [[] for _ in range(width)]
    shown: list[list[tuple[int, int]]] = [[] for _ in range(width)]
    newest, refused = -math.inf, []
    for at, (time, came) in enumerate(readings):
        entering = [amiss_with_value(value, policies) for value in came]
        causes = {cause for cause, _ in entering if cause}
        values = [value for _, value in entering]
        policy = most_severe(causes, policies)
        if policy == "dead-letter":
            refused.append(at)
            continue
        since = -math.inf if policy == "reset" else newest
        untimely = None
        if any(not math.isnan(value) for value in values):
            late = "late" if time < since - policies.max_lateness else None
            untimely = "equal_times" if time == since else late
        timely = policies.by_cause.get(untimely or "", "take")
        if timely == "dead-letter":
            refused.append(at)
            continue
        if untimely and timely != "take":
            policy = most_severe({*causes, untimely}, policies)
            if timely in ("skip", "decay"):
                values = [NAN] * width
            elif timely == "clip":
                time = int(since) - policies.max_lateness
        if policy == "reset":
            since = -math.inf
        if any(not math.isnan(value) for value in values):
            since = max(since, time)
        newest = since
        for field, value in enumerate(values):
            past = pasts[field]
            if policy == "reset" or not past:
                past.append([])
            if not math.isnan(value) or policy == "decay":
                past[-1].append((time, value))
            shown[field].append((len(past) - 1, len(past[-1]) - 1))
    return [read_off(*one, rules, statistics) for one in zip(pasts, shown, strict=True)], refused


def most_severe(causes: Iterable[str], policies: Policies) -> str:
    every = ["take", *(policies.by_cause[cause] for cause in causes)]
    return max(every, key=SEVERITY.index)


def read_off(
    pasts: list[list[tuple[int, float]]],
    shown: list[tuple[int, int]],
    rules: Rules,
    statistics: Sequence[str],
) -> dict[str, list[float]]:
    """Smooth each of the series that followed one another; show them where readings were."""
    found = [smooth(past, rules, statistics) if past else {} for past in pasts]
    return {
        name: [
            float(found[i][name][j]) if j >= 0 else 0.0 if name == "count" else NAN
            for i, j in shown
        ]
        for name in statistics
    }


def amiss_with_value(value: float, policies: Policies) -> tuple[str | None, float]:
    """Return what is amiss with a value, and what is taken in its place."""
    if math.isnan(value):
        return "missing", NAN
    if policies.lowest <= value <= policies.highest:
        return None, value
    cause = "non_finite" if math.isinf(value) else "out_of_range"
    clipped = min(max(value, policies.lowest), policies.highest)
    return cause, clipped if policies.by_cause[cause] == "clip" else NAN


STATISTICS: dict[str, Callable[[Windows], Floats]] = {
    "mean": mean,
    "sum": total,
    "n_eff": n_eff,
    "settled": settled,
    "rate": rate,
    "revision": revision,
    "var": var,
    "std": lambda windows: np.sqrt(var(windows)),
    "sem": lambda windows: np.sqrt(var(windows) / n_eff(windows)),
    "z": z,
    "var_biased": var_biased,
    "std_biased": lambda windows: np.sqrt(var_biased(windows)),
    "mean_square": lambda windows: weighted(windows, windows.values**2),
    "level": lambda windows: windows.lines.at(0.0),
    "lag": lambda windows: windows.lines.age / per_time(windows),
    "smoothed_level": lambda windows: windows.lines.at(-fixed_lag(windows.rules)),
    "trend": lambda windows: windows.lines.slope * per_time(windows),
    "forecast": lambda windows: windows.lines.at(windows.rules.horizon),
    "forecast_lower": lambda windows: bounds(windows, -1.0),
    "forecast_upper": lambda windows: bounds(windows, 1.0),
    "forecast_error": lambda windows: windows.errors.error,
    "mae": lambda windows: windows.errors.average(abs(windows.errors.error)),
    "rmse": lambda windows: np.sqrt(windows.errors.average(windows.errors.error**2)),
    "mase": compared_naively,
    "cov": lambda windows: covariance(windows, windows.values, windows.others),
    "cov_biased": cov_biased,
    "corr": corr,
}
