"""The recipe of docs/architecture.md, followed: a statistic with a moment of its own.

An entry in the table of states and one in the table of statistics are all that the skewness takes.
Columns, single readings, snapshots, separate weights, merging and retracting follow from them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ewma_ops.columns.readings import Readings
from ewma_ops.stats import states
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.moments import Moments
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.state import Join, Retraction, State
from ewma_ops.stats.states import STATES
from ewma_ops.stats.statistics import STATISTICS, Statistic
from ewma_ops.table.table import SeriesTable

N = 300
SKEWED = np.random.default_rng(2).exponential(3.0, N)
TIMES = np.cumsum(np.random.default_rng(3).integers(1, 900, N))
DECAYS = [Decay(beta=0.95), Decay(halflife="20s")]
ASKED = (["mean", "skew"], ["mean", "var", "skew"])  # kept biased, and kept unbiased


def gain(r: Any, p: Any, d: Any, variance: Any) -> Any:
    """T <- r T + r p d ((r - p) d^2 - 3 C), of the third central moment T."""
    return r * p * d * ((r - p) * d * d - 3.0 * variance)


def biased(state: Any, i: Any) -> Any:
    return state["variance"][i] * state.get("spread", 1.0)


def step(m: Moments, i: Any, _: Any) -> tuple[Any, Any]:
    return m.r, gain(m.r, m.p, m.d[i], biased(m.before, i))


def merge(t: Join, one: Any, other: Any, i: Any, _: Any) -> Any:
    return t.r * one + t.p * other + gain(t.r, t.p, t.d[i], biased(t.one, i) - biased(t.other, i))


def retract(t: Retraction, one: Any, i: Any, _: Any) -> Any:
    return t.r * one + gain(t.r, t.p, t.d[i], biased(t.one, i))


def skew(m: Any) -> Any:
    variance = m.biased(m.variance)
    flat = variance == 0.0
    cubed = m.ops.where(flat, 1.0, variance * m.ops.sqrt(variance))
    return m.ops.where(flat, float("nan"), m.third / cubed)


@pytest.fixture(autouse=True)
def _entries(monkeypatch: pytest.MonkeyPatch) -> None:
    third = State(
        "third",
        of="field",
        option="cubes",
        largest=2.0**300,
        step=step,
        reads=("variance", "spread"),
        merge=merge,
        retract=retract,
    )
    monkeypatch.setitem(STATES, "third", third)
    monkeypatch.setitem(STATISTICS, "skew", Statistic(skew, needs=("variance", "third")))


def smoothing(decay: Decay, *more: str, asked: list[str]) -> Smoothing:
    return Smoothing(decay, statistics=[*asked, *more])


def readings(decay: Decay, values: NDArray[np.float64], at: slice = slice(None)) -> Readings:
    times = TIMES[at] if decay.by_time else None
    return Readings.of(["s"] * len(values[at]), values[at], times)


def defined(decay: Decay, k: int, drop: int | None = None) -> float:
    """Return the skewness after the k-th reading, from its definition."""
    ages = (TIMES[k] - TIMES[: k + 1]) / 20_000 if decay.by_time else k - np.arange(k + 1.0)
    weights = 2.0**-ages if decay.by_time else decay.beta**ages
    if drop is not None:
        weights[drop] = 0.0
    weights /= weights.sum()
    d = SKEWED[: k + 1] - (weights * SKEWED[: k + 1]).sum()
    return float((weights * d**3).sum() / (weights * d**2).sum() ** 1.5)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("decay", DECAYS, ids=repr)
def test_a_moment_of_its_own_is_as_defined_and_has_the_same_bits(
    decay: Decay, asked: list[str]
) -> None:
    made = smoothing(decay, asked=asked)
    columns = SeriesTable(made).update(readings(decay, SKEWED)).statistics["skew"]
    np.testing.assert_allclose(
        columns[2:], [defined(decay, k) for k in range(2, N)], rtol=1e-12, atol=1e-14
    )
    table = SeriesTable(made)
    for k, (value, time_ms) in enumerate(zip(SKEWED.tolist(), TIMES.tolist(), strict=True)):
        if k == N // 2:
            table = SeriesTable(made, table.snapshot())
        found = table.step("s", value, time_ms if decay.by_time else None)[-1]
        np.testing.assert_array_equal(found, columns[k])


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("decay", DECAYS, ids=repr)
def test_a_moment_of_its_own_is_merged(decay: Decay, asked: list[str]) -> None:
    one, other = (SeriesTable(smoothing(decay, asked=asked)) for _ in range(2))
    one.update(readings(decay, SKEWED, slice(0, 200)))
    other.update(readings(decay, SKEWED, slice(200, N - 1)))
    one.merge(other)
    found = one.update(readings(decay, SKEWED, slice(N - 1, N))).statistics["skew"][0]
    assert found == pytest.approx(defined(decay, N - 1), rel=1e-12)


@pytest.mark.parametrize("asked", ASKED)
def test_a_moment_of_its_own_is_retracted(asked: list[str]) -> None:
    decay = DECAYS[1]
    table = SeriesTable(smoothing(decay, asked=asked))
    table.update(readings(decay, SKEWED))
    table.retract("s", float(SKEWED[N - 9]), int(TIMES[N - 9]))
    found = table.step("s", float("nan"), int(TIMES[-1]))[-1]
    assert found == pytest.approx(defined(decay, N - 1, drop=N - 9), rel=1e-12)


@pytest.mark.parametrize("decay", DECAYS, ids=repr)
def test_each_field_takes_a_moment_of_its_own_along(decay: Decay) -> None:
    values = np.column_stack([SKEWED[::-1], SKEWED])
    values[50, 0] = np.nan
    both = SeriesTable(smoothing(decay, "cov", asked=ASKED[1]), fields=["a", "b"])
    found = both.update(readings(decay, values)).statistics["b_skew"]
    alone = SeriesTable(smoothing(decay, asked=ASKED[1])).update(readings(decay, SKEWED))
    np.testing.assert_array_equal(found, alone.statistics["skew"])


def test_it_is_in_the_fingerprint_and_bounds_the_values() -> None:
    made = smoothing(DECAYS[0], asked=ASKED[0])
    assert made.fingerprint().endswith("squares cubes")
    assert made.largest == 2.0**300
    assert "third" in states.columns_of(made, made.needs, 1)
