"""Two tables merge into what one table gives: where little is left of one of them, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.table import SeriesTable
from tests.oracles import exact

law = settings(max_examples=100, deadline=None, derandomize=True)

FIELDS = ("x", "y")
NAMES = [
    "mean",
    "sum",
    "n_eff",
    "var",
    "std",
    "sem",
    "var_biased",
    "mean_square",
    "cov",
    "cov_biased",
]
LEAST = Fraction(1, 1 << 1000)
"""What a state tells of its own readings' weights: less than this of its weight is lost."""


class One(NamedTuple):
    """A reading of two fields: when, in half-lives, and its weight."""

    time: int
    weight: float
    x: float
    y: float


def table_of(smoothing: Smoothing, readings: Sequence[One]) -> SeriesTable:
    table = SeriesTable(smoothing, fields=FIELDS)
    for time, weight, x, y in readings:
        table.step("s", [x, y], time * 1000, weight)
    return table


def shown(table: SeriesTable, time: int) -> dict[str, float]:
    """Return the statistics of a table as of the newest reading."""
    found = table.step("s", [math.nan, math.nan], time * 1000, 1.0)
    return dict(zip(table.smoothing_set.names, found, strict=True))


def whole(weights: Sequence[Fraction]) -> tuple[list[int], int]:
    one = math.lcm(*(w.denominator for w in weights))
    return [int(w * one) for w in weights], one


def assert_exact(
    got: dict[str, float], weights: Sequence[Fraction], readings: Sequence[One], why: str
) -> None:
    units, one = whole(weights)
    columns = {"x": [r.x for r in readings], "y": [r.y for r in readings]}
    moments = {name: exact.moments(units, column, one) for name, column in columns.items()}
    sizes = {name: exact.moments(units, list(map(abs, c)), one) for name, c in columns.items()}
    for field, m in moments.items():
        scales = {
            "mean": abs(sizes[field].mean), "sum": abs(sizes[field].sum), "n_eff": m.n_eff,
            "mean_square": m.mean_square, "var": m.var * m.condition,
            "var_biased": m.var_biased * m.condition,
        }  # fmt: skip
        for name, scale in scales.items():
            close(got[f"{field}_{name}"], getattr(m, name), scale, f"{field}_{name} {why}")
        for name, root in {"std": math.sqrt(m.var), "sem": math.sqrt(m.var / m.n_eff)}.items():
            close(got[f"{field}_{name}"], root, root * m.condition, f"{name} {why}", 1e-150)
    unbiased, biased = exact.covariances(units, columns["x"], columns["y"])
    x, y = moments["x"], moments["y"]
    condition = x.condition * y.condition
    close(got["x_y_cov"], unbiased, math.sqrt(x.var) * math.sqrt(y.var) * condition, f"cov {why}")
    scale = math.sqrt(x.var_biased) * math.sqrt(y.var_biased) * condition
    close(got["x_y_cov_biased"], biased, scale, f"cov_biased {why}")


def close(got: float, wanted: float, scale: float, what: str, floor: float = 1e-300) -> None:
    if math.isnan(wanted):
        assert math.isnan(got), what
    else:
        # Below the floor float64 has fewer digits.
        assert abs(got - wanted) <= 1e-12 * scale + floor, f"{what}: {got!r}, not {wanted!r}"


def told(weights: Sequence[Fraction]) -> bool:
    """Whether a state of readings of such weights tells what they are among each other."""
    total = sum(weights)
    return len(weights) < 2 or 1 - sum(w * w for w in weights) / total**2 >= LEAST


gaps = st.sampled_from([0, 1, 3, 40, 60, 300, 500])
extreme_gaps = st.sampled_from([0, 1, 53, 900, 1000, 1022, 1050, 1074, 1075, 1100, 2000, 9000])
values = st.integers(-1000, 1000).map(float)
short_gaps = st.sampled_from([0, 1, 3, 40])
volumes = st.sampled_from([1.0, 2.5, 1e-3, 1e150, 1e-180])
"""With short gaps only: what is left of a sum of weights below 2^-1022 is lost."""


@st.composite
def series(draw: st.DrawFn, start: int, *, by_volume: bool) -> list[One]:
    readings, time, offset = [], start, draw(st.sampled_from([0.0, 1e6]))
    for _ in range(draw(st.integers(1, 5))):
        weight = draw(volumes) if by_volume else 1.0
        readings.append(One(time, weight, offset + draw(values), draw(values)))
        time += draw(short_gaps if by_volume else gaps)
    return readings


@pytest.mark.slow
@law
@given(st.data(), st.booleans(), st.booleans())
def test_by_time_a_merge_is_exact_at_any_gap_and_weights(
    data: st.DataObject, by_volume: bool, later_first: bool
) -> None:
    weighting: Any = "volume" if by_volume else "observation"
    smoothing = Smoothing(Decay(halflife="1s"), statistics=NAMES, weighting=weighting)
    one = data.draw(series(0, by_volume=by_volume))
    between = data.draw(short_gaps if by_volume else extreme_gaps)
    other = data.draw(series(one[-1].time + between, by_volume=by_volume))
    newest = other[-1].time
    weights = [Fraction(r.weight) / (1 << (newest - r.time)) for r in (*one, *other)]
    assume(told(weights[: len(one)]) and told(weights[len(one) :]))
    early, late = table_of(smoothing, one), table_of(smoothing, other)
    merged, twin = (late, early) if later_first else (early, late)
    merged.merge(twin)
    assert_exact(shown(merged, newest), weights, (*one, *other), "merged")
    alone = shown(table_of(smoothing, (*one, *other)), newest)
    if all(told(weights[:n]) for n in range(2, len(weights))):
        assert_exact(alone, weights, (*one, *other), "in one table")


@pytest.mark.slow
@law
@given(st.data(), st.sampled_from([0.9, 0.5, 2.0**-40, 2.0**-100]), st.booleans())
def test_by_count_a_merge_is_exact_at_any_beta_and_weights(
    data: st.DataObject, beta: float, by_volume: bool
) -> None:
    weighting: Any = "volume" if by_volume else "observation"
    smoothing = Smoothing(Decay(beta=beta), statistics=NAMES, weighting=weighting)
    one, other = (data.draw(series(0, by_volume=by_volume)) for _ in range(2))
    n = len(one) + len(other)
    weights = [
        Fraction(r.weight) * Fraction(beta) ** (n - 1 - i) for i, r in enumerate((*one, *other))
    ]
    assume(told(weights[: len(one)]) and told(weights[len(one) :]))
    merged = table_of(smoothing, one)
    merged.merge(table_of(smoothing, other))
    assert_exact(shown(merged, 0), weights, (*one, *other), "merged")


@pytest.mark.parametrize(
    ("first", "second", "right"), [(1.0, 5.0, 8.0), (1e6, 1e6 + 1, 0.5), (1e150, -1e150, 2e300)]
)
@pytest.mark.parametrize("gap_ms", [1000, 60_000, 1_022_000, 1_075_000, 10**12])
@pytest.mark.parametrize("later_first", [False, True])
def test_two_readings_merge_to_their_variance_at_any_gap(
    first: float, second: float, right: float, gap_ms: int, later_first: bool
) -> None:
    smoothing = Smoothing(Decay(halflife="1s"), statistics=["mean", "var", "std", "cov", "corr"])
    early, late = (SeriesTable(smoothing, fields=FIELDS) for _ in range(2))
    early.step("s", [first, 2 * first], 0)
    late.step("s", [second, 2 * second], gap_ms)
    one, other = (late, early) if later_first else (early, late)
    one.merge(other)
    found = shown(one, gap_ms // 1000)
    assert found["x_var"] == pytest.approx(right, rel=1e-15)
    assert found["x_std"] == pytest.approx(math.sqrt(right), rel=1e-15)
    assert found["x_y_cov"] == pytest.approx(2 * right, rel=1e-15)
    assert found["x_y_corr"] == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("weights", [(1e-180, 1e150), (1e150, 1e-180)])
@pytest.mark.parametrize("decay", [Decay(beta=0.5), Decay(halflife="1s")])
def test_two_readings_of_weights_far_apart_have_their_variance(
    weights: tuple[float, float], decay: Decay
) -> None:
    names = ["mean", "var", "cov"]
    smoothing = Smoothing(decay, statistics=names, weighting="volume")
    readings = [One(0, weights[0], 1.0, 3.0), One(0, weights[1], 5.0, 4.0)]
    merged = table_of(smoothing, readings[:1])
    merged.merge(table_of(smoothing, readings[1:]))
    for table in (merged, table_of(smoothing, readings)):
        found = shown(table, 0)
        assert (found["x_var"], found["y_var"], found["x_y_cov"]) == (8.0, 0.5, 2.0)


def test_a_series_that_only_one_table_has_keeps_its_bits() -> None:
    smoothing = Smoothing(Decay(halflife="1s"), statistics=NAMES)
    readings = [One(0, 1.0, 1.0, 2.0), One(3, 1.0, 5.0, -2.0), One(4, 1.0, 7.0, 1.0)]
    wanted = shown(table_of(smoothing, readings), 4)
    empty = SeriesTable(smoothing, fields=FIELDS)
    empty.merge(table_of(smoothing, readings))
    assert shown(empty, 4) == wanted
    full = table_of(smoothing, readings)
    full.merge(SeriesTable(smoothing, fields=FIELDS))
    assert shown(full, 4) == wanted
