"""Alarms in the table: the laws, the definitions, and what becomes of odd readings."""

from __future__ import annotations

import itertools
import math
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ewma_ops import Decay, Readings, SeriesTable, Smoothed, Smoothing, bollinger
from ewma_ops.columns.origins import Origins
from ewma_ops.columns.ticks import MILLISECOND, NANOSECOND
from ewma_ops.columns.transitions import BY, EVIDENCE, SEVERITIES, TRANSITIONS, Transitions
from ewma_ops.errors import ConfigError, ReadingError, StateError
from ewma_ops.monitor import (
    AlarmRules,
    Bounds,
    Change,
    Flat,
    Frozen,
    Given,
    Level,
    Spike,
    Spread,
)
from ewma_ops.table.smoothing_set import SmoothingSet
from tests.oracles import alarms as oracle

COUNT = Smoothing(Decay(beta=0.8))
TIME = Smoothing(Decay(halflife="10s"), statistics=["mean", "std"])
RULES = AlarmRules.of(
    {
        "level": Level(limit=2.2, warm_up=20, for_=2, critical=1.5, remind="20s", cooldown="9s"),
        "spike": Spike(limit=2.0, warm_up=20, least=0.5, series=["series-1*", "series-2"]),
        "low": Spike(limit=1.5, warm_up=30, direction="low", clear_for=2),
        "memory": Level(limit=2.5, warm_up=20, memory="ar1", memory_span=100),
        "resembling": Spike(limit=2.5, warm_up=20, memory="ar1", memory_span=100),
        "trending": Level(limit=2.5, warm_up=20, baseline="outlook", memory="ar1"),
        "ahead": Spike(limit=2.5, warm_up=20, baseline="outlook", season="day"),
        "known": Level(limit=2.5, warm_up=20, baseline=Given(mean=0.0, std=2.0)),
        "frozen": Spike(limit=2.5, warm_up=20, baseline=Frozen(readings=40)),
        "varied": Spread(limit=1.5, warm_up=20, for_=2, least=0.1),
        "burst": Spread(limit=2.0, warm_up=20, baseline=Frozen(readings=40)),
        "by_time": Level(limit=1.5, warm_up=20, season="day", decay=Decay(halflife="12h")),
        "local": Spread(limit=1.5, warm_up=20, season="day", utc_offset="-03:30"),
        "jump": Change(limit=3.0, critical=2.0),
        "stuck": Flat(repeats=3),
        "outside": Bounds(above=2.0, clear_above=1.0, below=-3.0, severity="critical"),
    },
    in_events=True,
)
SMOOTHINGS = {
    "count": COUNT,
    "time": TIME,
    "volume": replace(TIME, weighting="volume"),
    "governed": Smoothing(
        Decay(beta=0.8), missing="reset", lowest=-9, out_of_range="reset", highest=9
    ),
    "late": replace(TIME, late="clip", max_lateness="5s", equal_times="skip"),
}
law = settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def streams(draw: st.DrawFn) -> Readings:
    """Draw series with shifts, spikes, gaps, late and missing readings, and constant stretches."""
    n = draw(st.integers(1, 900))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    of = random.integers(0, draw(st.integers(1, 9)), n)
    values = random.normal(0, 1, n) + 4 * (np.arange(n) > draw(st.integers(0, 900)))
    values += np.where(random.random(n) < 0.02, random.normal(0, 1, n) * 100, 0)
    values[(of == 1) & (random.random(n) < 0.9)] = 7.5
    values[random.random(n) < draw(st.sampled_from([0.0, 0.05]))] = math.nan
    gaps = random.integers(0, 2_000, n) * np.where(random.random(n) < 0.1, -1, 1)
    gaps *= draw(st.sampled_from([1, 2_000, 10_000]))
    gaps[random.random(n) < draw(st.sampled_from([0.0, 0.01]))] = 10**9
    times = 1_700_000_000_000 + np.cumsum(gaps)
    weights = 10 ** random.uniform(-2, 2, n) * (random.random(n) < 0.9)
    readings = Readings.of([f"series-{k}" for k in of.tolist()], values, times, weights)
    return replace(readings, origins=Origins(np.zeros(n, np.int32), np.arange(n)))


def table(
    name: str, snapshot: Any = None, rules: AlarmRules | None = RULES, **more: Any
) -> SeriesTable:
    return SeriesTable(SMOOTHINGS[name], snapshot, alarms=rules, **more)


def pick(readings: Readings, at: NDArray[np.bool_] | slice) -> Readings:
    return readings.take(np.arange(len(readings), dtype=np.intp)[at])


def cut(readings: Readings, lengths: Sequence[int]) -> list[Readings]:
    ends = np.minimum(np.cumsum([0, *lengths, len(readings)]), len(readings)).tolist()
    return [pick(readings, slice(lo, hi)) for lo, hi in itertools.pairwise(ends) if lo < hi]


def rows_of(transitions: Transitions | None) -> list[tuple[Any, ...]]:
    """Return every number of transitions, as bits."""
    if transitions is None:
        return []
    columns: list[Any] = [
        list(transitions.series_ids), transitions.hashes, transitions.times_ms, transitions.rules,
        transitions.transitions, transitions.by, transitions.severities, transitions.highs,
        transitions.since_ms,
    ]  # fmt: skip
    for origins in (transitions.origins, transitions.raised):
        if origins is not None:
            columns += [origins.partitions, origins.offsets, origins.ordinals_or_zeros()]
    columns += [transitions.evidence[name].view(np.uint64) for name in EVIDENCE]
    plain = [c.tolist() if isinstance(c, np.ndarray) else c for c in columns if c is not None]
    return list(zip(*plain, strict=True))


def outcome(parts: Sequence[Smoothed]) -> tuple[list[tuple[Any, ...]], dict[str, bytes]]:
    happened = [row for part in parts for row in rows_of(part.transitions)]
    names = parts[0].statistics if parts else {}
    bits = {name: b"".join(part.statistics[name].tobytes() for part in parts) for name in names}
    return happened, bits


def named(transitions: Transitions | None, rules: AlarmRules) -> list[tuple[str, str, str]]:
    if transitions is None:
        return []
    columns = transitions.rules, transitions.transitions, transitions.by
    return [
        (rules.names[rule], TRANSITIONS[what], BY[by])
        for rule, what, by in zip(*(column.tolist() for column in columns), strict=True)
    ]


cuts = st.lists(st.one_of(st.integers(1, 8), st.integers(1, 400)), max_size=60)
kinds = st.sampled_from(list(SMOOTHINGS))


# The laws -------------------------------------------------------------------------------------


@pytest.mark.slow
@law
@given(streams(), kinds, cuts)
def test_cuts_change_no_bit(stream: Readings, name: str, lengths: list[int]) -> None:
    whole, parts = table(name), table(name)
    expected = outcome([whole.update(stream)])
    assert outcome([parts.update(part) for part in cut(stream, lengths)]) == expected


@pytest.mark.slow
@law
@given(streams(), kinds)
def test_single_steps_change_no_bit(stream: Readings, name: str) -> None:
    stream = replace(stream, origins=None)
    whole, stepped = table(name), table(name)
    smoothed = whole.update(stream)
    assert stream.times_ms is not None
    assert stream.weights is not None
    columns = stream.values.tolist(), stream.times_ms.tolist(), stream.weights.tolist()
    rows = [stepped.step(*one) for one in zip(stream.series_ids, *columns, strict=True)]
    for at, column in enumerate(smoothed.statistics.values()):
        np.testing.assert_array_equal(np.array(rows)[:, at], column)
    assert rows_of(stepped.pop_transitions()) == rows_of(smoothed.transitions)
    assert stepped.pop_transitions() is None


@pytest.mark.slow
@law
@given(streams(), kinds, st.sampled_from([1, 2, 7]))
def test_shards_change_no_bit(stream: Readings, name: str, shards: int) -> None:
    shard = np.array([zlib.crc32(name.encode()) % shards for name in stream.series_ids])
    together = rows_of(table(name).update(stream).transitions)
    alone = [table(name).update(pick(stream, shard == k)).transitions for k in range(shards)]
    by_offset = [row for part in alone for row in rows_of(part)]
    assert sorted(by_offset) == sorted(together)


@pytest.mark.slow
@law
@given(streams(), kinds, cuts)
def test_snapshots_change_no_bit(stream: Readings, name: str, lengths: list[int]) -> None:
    one, parts = table(name), []
    for part in cut(stream, lengths):
        parts.append(one.update(part))
        one = table(name, pickle.loads(pickle.dumps(one.snapshot())))
    assert outcome(parts) == outcome([table(name).update(stream)])


@pytest.mark.slow
@law
@given(streams(), st.sampled_from(["count", "time"]), st.integers(0, 900))
def test_absorbing_and_evicting_change_no_bit(stream: Readings, name: str, n: int) -> None:
    """Two tables, each with some of the series, become one; and series that are gone leave."""
    first = np.array([zlib.crc32(name.encode()) % 2 for name in stream.series_ids]) == 0
    early, late = pick(stream, slice(n)), pick(stream, slice(n, None))
    whole = table(name)
    whole.update(early)
    expected = outcome([whole.update(late)])
    one, two = table(name), table(name)
    one.update(pick(early, first[:n]))
    two.update(pick(early, ~first[:n]))
    snapshot = two.snapshot()
    one.absorb(snapshot)
    assert outcome([one.update(late)]) == expected


@pytest.mark.slow
@law
@given(streams(), kinds)
def test_alarms_change_no_statistic(stream: Readings, name: str) -> None:
    without = table(name, rules=None).update(stream)
    with_alarms = table(name).update(stream)
    assert without.transitions is None
    for key, column in without.statistics.items():
        np.testing.assert_array_equal(with_alarms.statistics[key], column)


# The definitions ------------------------------------------------------------------------------


def defined(name: str) -> oracle.Chart:
    """Return the half-lives of a decay and of the baseline that is ten times slower."""
    fast = 10_000.0 if name == "time" else math.log(0.5, 0.8)
    slow = 10 * fast if name == "time" else math.log(0.5, 1 - 0.2 / 10)
    return oracle.Chart(fast, slow, name == "time", warm_up=20)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["count", "time"])
@pytest.mark.parametrize("odd", ["plain", "late", "gap", "constant", "wild"])
def test_scores_are_those_of_the_definitions(name: str, odd: str) -> None:
    random = np.random.default_rng(5)
    n = 400
    values, gaps = random.normal(3, 2, n), random.integers(0, 2_000, n)
    if odd == "late":
        gaps[random.random(n) < 0.2] *= -1
    if odd == "gap":
        gaps[150] = 10_000_000
    if odd == "constant":
        values[:200] = 3.0
    if odd == "wild":
        values[[90, 160, 161]] = [1e6, -1e3, 50]
    times = 1_700_000_000_000 + np.cumsum(gaps)
    by = defined(name)
    expected = oracle.chart(values.tolist(), times.tolist(), by)
    rules = AlarmRules.of(
        {"level": Level(limit=3.0, warm_up=20), "spike": Spike(limit=3.0, warm_up=20)},
        in_events=True,
    )
    found = table(name, rules=rules).update(Readings.of(["s"] * n, values, times)).statistics
    level = np.array([one.level for one in expected])
    assert np.isfinite(level).sum() > 100
    np.testing.assert_allclose(found["level_z"], level, rtol=1e-9, atol=1e-9)
    t = np.array([one.t for one in expected])
    np.testing.assert_array_equal(np.isnan(found["spike_z"]), np.isnan(t))
    for at in np.flatnonzero(np.abs(t) < 6)[::17].tolist():
        wanted = oracle.normal_score(t[at], expected[at].degrees)
        assert found["spike_z"][at] == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("name", ["count", "time"])
@pytest.mark.parametrize("outlook", ["level", "trend"])
def test_of_an_outlook_the_errors_of_its_forecasts_are_charted(name: str, outlook: Any) -> None:
    """Of readings none of which is clipped: the definition of a chart, of `forecast_error`."""
    random = np.random.default_rng(5)
    n = 400
    values = 100 + 0.05 * np.arange(n) + random.normal(0, 2, n)
    times = 1_700_000_000_000 + np.cumsum(random.integers(0, 2_000, n))
    rules = AlarmRules.of(
        {
            one.kind: one
            for one in (
                Level(limit=3.0, warm_up=20, baseline="outlook"),
                Spike(limit=3.0, warm_up=20, baseline="outlook"),
            )
        },
        in_events=True,
    )
    statistics = ["mean", "forecast_error"]
    ahead = replace(SMOOTHINGS[name], statistics=statistics, outlook=outlook)
    readings = Readings.of(["s"] * n, values, times)
    found = SeriesTable(ahead, alarms=rules).update(readings).statistics
    errors = found["forecast_error"].copy()
    errors[0] = 0.0
    if outlook == "trend":
        errors[1] = values[1] - values[0]  # of one reading: no slope
    expected = oracle.chart(errors.tolist(), times.tolist(), defined(name))
    level = np.array([one.level for one in expected])
    assert np.isfinite(level).sum() > 300
    np.testing.assert_allclose(found["level_z"], level, rtol=1e-6, atol=1e-9)
    t = np.array([one.t for one in expected])
    np.testing.assert_array_equal(np.isnan(found["spike_z"]), np.isnan(t))
    spike_middle = (found["spike_lower"] + found["spike_upper"]) / 2
    slow = np.array([0.0, *(one.slow for one in expected[:-1])])
    judged = np.isfinite(spike_middle)
    np.testing.assert_allclose(spike_middle[judged], (values - errors + slow)[judged], rtol=1e-9)


@pytest.mark.parametrize("name", ["count", "time"])
@pytest.mark.parametrize("odd", ["plain", "late", "gap", "constant", "wild"])
def test_the_spread_is_that_of_the_definition(name: str, odd: str) -> None:
    random = np.random.default_rng(6)
    n = 160
    values, gaps = random.normal(3, 2, n), random.integers(0, 2_000, n)
    values[100:] *= 1.5
    if odd == "late":
        gaps[random.random(n) < 0.2] *= -1
    if odd == "gap":
        gaps[110] = 40_000
    if odd == "constant":
        values[:40] = 3.0
    if odd == "wild":
        values[[90, 120, 121]] = [1e6, -1e3, 50]
    times = 1_700_000_000_000 + np.cumsum(gaps)
    by = defined(name)
    rules = AlarmRules.of(
        {"spread": Spread(limit=3.0, warm_up=20), "spike": Spike(limit=3.0, warm_up=20)},
        in_events=True,
    )
    found = table(name, rules=rules).update(Readings.of(["s"] * n, values, times)).statistics
    expected = oracle.spread(found["spike_z"].tolist(), times.tolist(), by)
    assert np.isfinite(expected).sum() > 50
    np.testing.assert_allclose(found["spread_z"], expected, rtol=1e-9, atol=1e-9)
    judged = np.isfinite(found["spread_z"])
    assert (found["spread_lower"][judged] == 0.0).all()
    assert (found["spread_upper"][judged] > 0.0).all()


@pytest.mark.parametrize("name", ["count", "time"])
@pytest.mark.parametrize("odd", ["plain", "hourly", "late", "gap", "absent", "wild"])
def test_a_season_is_that_of_the_definition(name: str, odd: str) -> None:
    random = np.random.default_rng(7)
    n = 420
    gaps = random.integers(0, 3_600_000, n)
    if odd == "hourly":
        gaps[:] = 3_600_000
    if odd == "late":
        gaps[random.random(n) < 0.2] *= -1
    if odd == "gap":
        gaps[[250, 330]] = 40 * 3_600_000
    if odd == "absent":
        gaps[260] = 16 * 86_400_000  # so long that all hours are learned anew
    times = 1_700_006_400_000 + np.cumsum(gaps)
    values = 20 + 8 * np.sin(times / 86_400_000 * 2 * np.pi) + random.normal(0, 1, n)
    if odd == "wild":
        values[[260, 261, 330]] = [1e6, -1e3, 90]
    rules = AlarmRules.of(
        {"level": Level(limit=3.0, warm_up=20, season="day", utc_offset="+05:30"),
         "spike": Spike(limit=3.0, warm_up=20, season="day", utc_offset="+05:30")},
        in_events=True,
    )  # fmt: skip
    halflife = 6.0 * 3_600_000
    smoothing = Smoothing(Decay(halflife="6h")) if name == "time" else COUNT
    fast = halflife if name == "time" else math.log(0.5, 0.8)
    slow = 10 * fast if name == "time" else math.log(0.5, 1 - 0.2 / 10)
    by = oracle.Chart(fast, slow, name == "time", warm_up=20)
    season = oracle.Season(24, ahead_ms=19_800_000)
    expected = oracle.seasonal(values.tolist(), times.tolist(), by, season)
    one = SeriesTable(smoothing, alarms=rules)
    found = one.update(Readings.of(["s"] * n, values, times)).statistics
    level = np.array([math.nan if own is None else own.level for _, own in expected])
    assert np.isfinite(level).sum() > 60
    np.testing.assert_allclose(found["level_z"], level, rtol=1e-8, atol=1e-8)
    judged = np.isfinite(level)
    middle = 0.5 * (found["level_lower"] + found["level_upper"])[judged]
    wanted = [usual + own.slow for usual, own in expected if own is not None]
    wanted = np.array(wanted)[np.isfinite(np.array([o.level for _, o in expected if o]))]
    np.testing.assert_allclose(middle, wanted, rtol=1e-8)


@pytest.mark.parametrize("in_a_row", [1, 3])
@pytest.mark.parametrize("back_in_a_row", [1, 2])
def test_transitions_are_those_of_the_definitions(in_a_row: int, back_in_a_row: int) -> None:
    rule = Level(limit=2.0, clear=0.4, for_=in_a_row, clear_for=back_in_a_row, warm_up=20)
    rules = AlarmRules.of({"level": rule}, in_events=True)
    random = np.random.default_rng(3)
    values = random.normal(0, 1, 5_000) + 3 * (random.integers(0, 5_000, 5_000) < 2).cumsum() % 3
    smoothed = table("count", rules=rules).update(Readings.of(["s"] * 5_000, values))
    wanted = oracle.walk(
        smoothed.statistics["level_z"].tolist(),
        2.0,
        clear=0.4,
        in_a_row=in_a_row,
        back_in_a_row=back_in_a_row,
    )
    transitions = smoothed.transitions
    assert transitions is not None
    scores = smoothed.statistics["level_z"].tolist()
    found = [
        (scores.index(score), TRANSITIONS[what], high)
        for score, what, high in zip(
            transitions.evidence["score"].tolist(),
            transitions.transitions.tolist(),
            transitions.highs.tolist(),
            strict=True,
        )
    ]
    assert len(found) > 20
    assert {what for _, what, _ in found} >= {"raised", "cleared"}
    assert found == wanted


# How often, how soon, how large -----------------------------------------------------------------


def normal(n: int, times: int, seed: int = 1) -> list[Readings]:
    random = np.random.default_rng(seed)
    ids = [f"s{k}" for k in range(n)]
    return [Readings.of(ids * 20, random.normal(5, 3, n * 20)) for _ in range(times // 20)]


@pytest.mark.slow
def test_false_alarms_come_as_often_as_they_are_designed_to() -> None:
    """1,000 series in control: within 15 % of the design, by level, spike and spread."""
    rules = AlarmRules.of(
        {
            "level": Level(false_alarms="1 per 500 readings"),
            "spike": Spike(false_alarms="1 per 500 readings"),
            "spread": Spread(false_alarms="1 per 500 readings"),
        }
    )
    one = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules)
    raised = np.zeros(3)
    for readings in normal(1_000, 1_500):
        transitions = one.update(readings).transitions
        if transitions is not None:
            np.add.at(raised, transitions.rules[transitions.transitions == 0], 1)
    judged = 1_000 * (1_500 - 100)
    assert raised / (judged / 500) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("name", ["count", "volume"])
def test_a_batch_of_which_every_reading_is_rejected_has_all_scores(name: str) -> None:
    one = SeriesTable(SMOOTHINGS[name], alarms=RULES)
    odd = Readings.of(["s"], [math.inf], [0], [1.0], finite=False)
    smoothed = one.update(odd, collect_rejected=True)
    assert len(smoothed) == 0
    assert tuple(smoothed.statistics) == one.names


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Level, Spike, Spread])
def test_a_season_keeps_the_rate_where_series_follow_the_hour(kind: Any) -> None:
    """Days with a swing of 16 standard deviations: within 20 % of the design."""
    rate: dict[str, Any] = {"false_alarms": "1 per 300 readings"}
    rules = AlarmRules.of({"day": kind(season="day", **rate), "none": kind(**rate)})
    one = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules)
    random, n, raised = np.random.default_rng(4), 150, np.zeros(2)
    ids = [f"s{k}" for k in range(n)] * 24
    phases = random.uniform(0, 24, n)
    for day in range(60):
        hours = np.repeat(np.arange(24), n)
        swing = 8 * np.sin((hours + np.tile(phases, 24)) / 24 * 2 * np.pi)
        times = 1_700_006_400_000 + (day * 24 + hours) * 3_600_000
        readings = Readings.of(ids, swing + random.normal(0, 1, len(ids)), times)
        transitions = one.update(readings).transitions
        if transitions is not None:
            np.add.at(raised, transitions.rules[transitions.transitions == 0], 1)
    judged = one.alarm_counts[0].judged
    assert judged == n * 24 * 60 - n * (3 * 24 + 100)
    assert raised[0] / (judged / 300) == pytest.approx(1.0, abs=0.2)
    assert abs(raised[1] / (judged / 300) - 1.0) > 0.4  # too many, or none at all


@pytest.mark.slow
@pytest.mark.parametrize(("phi", "most"), [(0.0, 0.15), (0.8, 0.2), (0.95, 0.3)])
def test_memory_keeps_the_rate_where_readings_resemble_the_ones_before(
    phi: float, most: float
) -> None:
    """An AR(1) series: 490 readings for each alarm, as clear and raise take some of the 500."""
    rate: dict[str, Any] = {"false_alarms": "1 per 500 readings", "warm_up": 500}
    rules = AlarmRules.of({"ar1": Level(memory="ar1", **rate), "none": Level(**rate)})
    one = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules)
    random, n, raised = np.random.default_rng(3), 250, np.zeros(2)
    ids = [f"s{k}" for k in range(n)] * 10
    x = random.normal(0, 1, n)
    for at in range(0, 2_500, 10):
        rows = []
        for _ in range(10):
            x = phi * x + math.sqrt(1 - phi * phi) * random.normal(0, 1, n)
            rows.append(x)
        transitions = one.update(Readings.of(ids, np.concatenate(rows))).transitions
        if transitions is not None and at >= 1_000:
            np.add.at(raised, transitions.rules[transitions.transitions == 0], 1)
    with_memory, without = n * 1_500 / raised
    assert with_memory / 490 == pytest.approx(1.0, abs=most)
    assert phi == 0.0 or without < 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "beta", "raised"), [(0.1, 0.73, (0.85, 1.15)), (0.01, 0.905, (0.9, 1.25))]
)
def test_an_outlook_keeps_the_rate_where_it_fits(
    step: float, beta: float, raised: tuple[float, float]
) -> None:
    """Noise about a level that walks, with the beta that forecasts it best (Muth 1960)."""
    rate: dict[str, Any] = {"false_alarms": "1 per 500 readings"}
    kinds = (Level, Spike, Spread)
    rules = {one.kind: one(baseline="outlook", **rate) for one in kinds}
    rules["slower"] = Level(**rate)
    asked = Smoothing(Decay(beta=beta), outlook="level", statistics=["mean", "level"])
    one = SeriesTable(asked, alarms=AlarmRules.of(rules))
    random, n, counts = np.random.default_rng(3), 250, np.zeros(4)
    ids = [f"s{k}" for k in range(n)] * 10
    level = np.zeros(n)
    for _ in range(0, 1_200, 10):
        rows = []
        for _ in range(10):
            level = level + random.normal(0, math.sqrt(step), n)
            rows.append(level + random.normal(0, 1, n))
        transitions = one.update(Readings.of(ids, np.concatenate(rows))).transitions
        if transitions is not None:
            np.add.at(counts, transitions.rules[transitions.transitions == 0], 1)
    counts /= n * (1_200 - 100) / 500
    low, high = raised
    assert low < counts[0] < high
    assert 0.85 < counts[1] < 1.15
    assert 0.85 < counts[2] < 1.2
    assert counts[3] > 2.0  # the level does walk


@pytest.mark.parametrize("memory", ["none", "ar1"])
def test_rounding_of_a_forecast_is_no_alarm(memory: str) -> None:
    """A meter that counts evenly, for so long that nothing but rounding is left of its errors."""
    values = np.round(20.1 + 0.37 * np.arange(8_000), 2)
    values[7_900:] += 5.0
    rules = AlarmRules.of({"spike": Spike(limit=4.0, baseline="outlook", memory=memory)})
    table = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules)
    readings = Readings.of(["s"] * 8_000, values)
    assert table.update(readings.take(np.arange(7_900))).transitions is None
    assert table.update(readings.take(np.arange(7_900, 8_000))).transitions is not None


def test_a_trend_is_no_alarm_where_the_outlook_follows_it() -> None:
    """A straight line, and then a wild value, which bends nothing, and a jump, which is found."""
    values = 0.5 * np.arange(500) + np.random.default_rng(2).normal(0, 1, 500)
    values[300] += 60.0
    values[400:] += 12.0
    rules = AlarmRules.of(
        {
            "level": Level(limit=4.0, baseline="outlook"),
            "spike": Spike(limit=5.0, baseline="outlook"),
            "plain": Level(limit=4.0),
        }
    )
    found = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules).update(
        replace(
            Readings.of(["s"] * 500, values),
            origins=Origins(np.zeros(500, np.int32), np.arange(500)),
        )
    )
    assert found.transitions is not None
    assert found.transitions.origins is not None
    at = found.transitions.origins.offsets
    raised = {
        name: at[(found.transitions.transitions == 0) & (found.transitions.rules == k)].tolist()
        for k, name in enumerate(rules.names)
    }
    assert raised["spike"] == [300, 400]
    assert [400 <= one < 405 for one in raised["level"]] == [True]
    assert raised["plain"][0] < 300


@pytest.mark.parametrize("options", [{}, {"memory": "ar1"}, {"baseline": "outlook"}])
@pytest.mark.parametrize("kind", [Level, Spike, Spread])
def test_where_a_series_lies_changes_no_score(kind: Any, options: dict[str, Any]) -> None:
    """From the first judged reading on: the first reading of all is no error of 1,000."""
    values = np.random.default_rng(8).normal(0, 1, 600)
    found = []
    for level in (0.0, 1_000.0):
        rules = AlarmRules.of({"own": kind(limit=3.0, **options)}, in_events=True)
        one = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules)
        statistics = one.update(Readings.of(["s"] * 600, level + values)).statistics
        found.append(statistics["own_z"])
    assert np.isfinite(found[0]).sum() == 500
    np.testing.assert_allclose(found[1], found[0], rtol=0.0, atol=1e-6)


def test_a_baseline_that_is_given_or_frozen_is_what_was_said() -> None:
    values = steady(400)
    rules = AlarmRules.of(
        {
            "given": Level(limit=3.0, baseline=Given(mean=10.0, std=1.0), warm_up=0),
            "frozen": Spike(limit=3.0, baseline=Frozen(readings=100)),
        },
        in_events=True,
    )
    found = SeriesTable(COUNT, alarms=rules).update(Readings.of(["s"] * 400, values)).statistics
    weights = 0.8 ** np.arange(399, -1, -1.0)
    fast = float(weights @ np.clip(values, 6, 14) / weights.sum())
    u = float((weights**2).sum() / weights.sum() ** 2)
    assert found["given_z"][399] == pytest.approx((fast - 10) / math.sqrt(u), rel=1e-12)
    assert found["given_z"][0] == pytest.approx(values[0] - 10, rel=1e-12)
    mean, std = np.mean(values[:100]), np.std(values[:100], ddof=1)
    t = (values[399] - mean) / (std * math.sqrt(1.01))
    assert np.isnan(found["frozen_z"][:100]).all()
    assert found["frozen_z"][399] == pytest.approx(oracle.normal_score(float(t), 99.0), abs=1e-3)


@pytest.mark.parametrize(("shift", "within"), [(1.0, 12.5), (2.0, 5.5), (3.0, 3.7)])
def test_a_shift_is_found_as_soon_as_designed(shift: float, within: float) -> None:
    """The delays of `ewma design` for beta = 0.9 are 10.3, 4.4 and 2.9 readings."""
    rules = AlarmRules.of({"level": Level(false_alarms="1 per 500 readings")})
    one = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules)
    random = np.random.default_rng(2)
    n = 400
    ids = [f"s{k}" for k in range(n)]
    for _ in range(300):
        one.update(Readings.of(ids, random.normal(0, 1, n)))
    one.end_alarms()
    delays: dict[str, int] = {}
    for delay in range(1, 60):
        transitions = one.update(Readings.of(ids, random.normal(shift, 1, n))).transitions
        if transitions is not None:
            high = (transitions.transitions == 0) & (transitions.highs == 1)
            for at in np.flatnonzero(high).tolist():
                delays.setdefault(transitions.series_ids[at], delay)
    assert len(delays) >= 0.97 * n
    assert np.mean(list(delays.values())) < within


def test_level_and_spike_take_at_most_120_bytes_a_series() -> None:
    rules = AlarmRules.of({"level": Level(limit=4.0), "spike": Spike(limit=5.0)})
    for smoothing in (COUNT, Smoothing(Decay(halflife="1min"))):
        one = SeriesTable(smoothing, alarms=rules)
        one.update(Readings.of([f"s{k}" for k in range(1_000)], np.zeros(1_000), [0] * 1_000))
        alarms = one.snapshot().alarms
        assert alarms is not None
        assert sum(column.nbytes for column in alarms.values()) <= 120 * 1_000
    without = SeriesTable(COUNT)
    without.update(Readings.of(["a"], [1.0]))
    assert without.snapshot().alarms is None
    assert "rules" not in without.snapshot().plain()[0]


@pytest.mark.parametrize(("season", "most"), [("none", 68), ("day", 580), ("week", 3_604)])
def test_a_profile_takes_21_bytes_for_each_hour(season: str, most: int) -> None:
    rules = AlarmRules.of({"level": Level(limit=4.0, season=season)})
    one = SeriesTable(COUNT, alarms=rules)
    one.update(Readings.of([f"s{k}" for k in range(100)], np.zeros(100), [0] * 100))
    alarms = one.snapshot().alarms
    assert alarms is not None
    assert sum(column.nbytes for column in alarms.values()) == most * 100


# What becomes of odd readings -------------------------------------------------------------------


def steady(n: int, seed: int = 7) -> list[float]:
    return list(map(float, np.random.default_rng(seed).normal(10, 1, n)))


def watched(
    values: Sequence[float], rules: AlarmRules, **options: Any
) -> Sequence[tuple[str, ...]]:
    one = SeriesTable(Smoothing(Decay(beta=0.8), **options), alarms=rules)
    readings = Readings.of(["s"] * len(values), values, finite=False)
    return named(one.update(readings).transitions, rules)


def test_a_shift_that_stays_is_adopted_and_one_that_goes_is_back() -> None:
    rules = AlarmRules.of({"level": Level(limit=4.0)})
    shifted = [x + 6 for x in steady(400, 8)]
    raised, cleared = ("level", "raised", ""), ("level", "cleared", "adopted")
    assert watched(steady(300) + shifted, rules) == [raised, cleared]
    back = ("level", "cleared", "back")
    assert watched(steady(300) + shifted[:15] + steady(60, 9), rules)[:2] == [raised, back]


def seasonal(days: int, *, minutes: int = 60, seed: int = 3) -> tuple[Any, Any]:
    """Return times and values of days that swing by 10 standard deviations."""
    times = 1_700_006_400_000 + np.arange(0, days * 1440, minutes) * 60_000
    noise = np.random.default_rng(seed).normal(0, 1, len(times))
    return times, 5 * np.sin(times / 86_400_000 * 2 * np.pi) + noise


def test_a_wild_reading_leaves_the_profile_as_it_was() -> None:
    rules = AlarmRules.of({"spike": Spike(limit=5.0, season="day")}, in_events=True)
    times, values = seasonal(20, minutes=20)
    wild = values.copy()
    wild[1_000] = 1e9
    plain, odd = (
        SeriesTable(COUNT, alarms=rules).update(Readings.of(["s"] * len(v), v, times))
        for v in (values, wild)
    )
    expected = [
        0.5 * (s.statistics["spike_lower"] + s.statistics["spike_upper"]) for s in (plain, odd)
    ]
    after = slice(1_001, None)
    assert named(odd.transitions, rules) == [("spike", "raised", ""), ("spike", "cleared", "back")]
    assert np.abs(expected[0][after] - expected[1][after]).max() < 0.5


def test_a_wave_without_noise_is_quiet() -> None:
    """What is left of it is rounding, also of readings near 0, which it passes through."""
    hours = np.arange(24 * 24)
    rules = {
        "level": Level(limit=3.0, season="day"),
        "spike": Spike(limit=3.0, season="day"),
        "memory": Spike(limit=3.0, season="day", memory="ar1"),
        "spread": Spread(limit=3.0, season="day"),
    }
    table = SeriesTable(Smoothing(Decay(halflife="6h")), alarms=AlarmRules.of(rules))
    values = [math.sin(2 * math.pi * hour / 24) for hour in hours]
    found = table.update(Readings.of(["s"] * len(hours), values, hours * 3_600_000))
    assert found.transitions is None


def test_hours_that_were_not_met_on_three_days_are_not_judged() -> None:
    rules = AlarmRules.of({"level": Level(limit=3.0, warm_up=20, season="day")}, in_events=True)
    times, values = seasonal(30)
    hours = np.arange(len(times)) % 24
    by_day = (hours >= 8) & (hours < 18)
    by_day[-24:] = True  # the last night is the first one
    at = np.flatnonzero(by_day)
    table = SeriesTable(COUNT, alarms=rules)
    z = table.update(Readings.of(["s"] * len(at), values[at], times[at])).statistics["level_z"]
    judged = np.isfinite(z)
    assert not judged[:50].any()
    assert judged[52:-24].all()
    assert judged[-24:].tolist() == [8 <= hour < 18 for hour in range(24)]


def test_weekends_are_what_is_usual_on_weekends() -> None:
    times, values = seasonal(7 * 9)
    values[(np.arange(len(values)) // 24) % 7 >= 5] -= 30
    rules = AlarmRules.of(
        {
            name: Level(limit=4.0, season=name, memory="ar1", memory_span=100)
            for name in ("day", "week")
        },
        in_events=True,
    )
    whole, single = (SeriesTable(COUNT, alarms=rules) for _ in range(2))
    found = whole.update(Readings.of(["s"] * len(values), values, times))
    for time, value, z in zip(times, values, found.statistics["week_z"], strict=True):
        assert single.step("s", float(value), int(time))[4] == pytest.approx(z, abs=0, nan_ok=True)
    raised = [rule for rule, what, _ in named(found.transitions, rules) if what == "raised"]
    assert np.isfinite(found.statistics["week_z"]).sum() > 900
    assert (raised.count("day") >= 7, raised.count("week")) == (True, 0)


@pytest.mark.parametrize(("offset", "hours"), [("+05:30", 5.5), ("-08:00", -8.0)])
def test_local_hours_are_those_of_utc_shifted(offset: str, hours: float) -> None:
    times, values = seasonal(12)
    shifted = times + int(hours * 3_600_000)
    scores = []
    for of, given_times in ((offset, times), (None, shifted)):
        rules = AlarmRules.of(
            {"level": Level(limit=3.0, season="day", utc_offset=of)}, in_events=True
        )
        readings = Readings.of(["s"] * len(values), values, given_times)
        scores.append(SeriesTable(COUNT, alarms=rules).update(readings).statistics["level_z"])
    assert np.isfinite(scores[0]).sum() > 100
    np.testing.assert_array_equal(scores[0], scores[1])


def test_times_of_any_tick_and_size_have_an_hour() -> None:
    rules = AlarmRules.of({"level": Level(limit=3.0, warm_up=20, season="day")}, in_events=True)
    times, values = seasonal(8)
    found = []
    for tick in (MILLISECOND, NANOSECOND):
        table = SeriesTable(SmoothingSet.of(COUNT, tick=tick), alarms=rules)
        own = times * tick.per_ms
        found.append(table.update(Readings(["s"] * len(own), values, own)).statistics["level_z"])
    np.testing.assert_array_equal(found[0], found[1])
    far = [MILLISECOND.earliest, MILLISECOND.latest, 0] * 40
    whole, single = (SeriesTable(COUNT, alarms=rules) for _ in range(2))
    z = whole.update(Readings.of(["s"] * 120, values[:120], far)).statistics["level_z"]
    alone = [single.step("s", *one)[1] for one in zip(values[:120].tolist(), far, strict=True)]
    np.testing.assert_array_equal(z, alone)


def test_a_season_needs_times() -> None:
    one = SeriesTable(COUNT, alarms=AlarmRules.of({"a": Level(limit=1.0, season="day")}))
    with pytest.raises(ReadingError, match=r"alarms a go by time .* or season, but a reading has"):
        one.update(Readings.of(["a"], [1.0]))


def test_a_wild_reading_is_a_spike_and_no_level() -> None:
    rules = AlarmRules.of({"level": Level(limit=4.0), "spike": Spike(limit=5.0)})
    spiked = [*steady(300), 1e9, *steady(300, 8)]
    assert watched(spiked, rules) == [("spike", "raised", ""), ("spike", "cleared", "back")]
    assert watched([*steady(300), 1e307, *steady(30, 8)], rules)[0] == ("spike", "raised", "")


def test_a_constant_series_is_quiet_and_so_is_one_that_becomes_constant() -> None:
    rules = AlarmRules.of({"level": Level(limit=2.0), "spike": Spike(limit=3.0)})
    assert watched([0.1] * 500, rules) == []
    rules = AlarmRules.of({"level": Level(limit=4.5), "spike": Spike(limit=5.0)})
    noisy = [0.3 + (x - 10) / 10 for x in steady(300)]
    assert watched([*noisy, *[0.1 + 0.2] * 9_000], rules) == []


def test_missing_and_rejected_readings_move_no_rule() -> None:
    rules = AlarmRules.of({"hot": Bounds(above=30.0, for_=2), "level": Level(limit=4.0)})
    assert watched([31.0, math.nan, 31.0], rules) == [("hot", "raised", "")]
    assert watched([31.0, 99.0, 31.0], rules, highest=50, out_of_range="skip") == [
        ("hot", "raised", "")
    ]
    odd = [*steady(300), *[math.nan] * 50, *[99.0] * 50, *steady(50, 8)]
    assert watched(odd, rules, highest=50, out_of_range="skip") == []


def test_a_stuck_series_is_flat_until_another_value_comes() -> None:
    rules = AlarmRules.of({"stuck": Flat(repeats=4)})
    one = SeriesTable(COUNT, alarms=rules)
    found = one.update(Readings.of(["s"] * 9, [1.0, 2, 2, 2, math.nan, 2, 2, 2, 3])).transitions
    assert found is not None
    raised, cleared = found.single(rules.names)
    assert (raised.transition, raised.side, raised.evidence["score"]) == ("raised", "", 4.0)
    assert (cleared.by, cleared.evidence["worst"], cleared.evidence["value"]) == ("back", 6.0, 3.0)


@pytest.mark.parametrize("size", [1, 200])
def test_a_change_is_measured_by_reading_or_by_time(size: int) -> None:
    """5 units in 30 s are 10 a minute; late readings and equal times are not judged."""
    rules = AlarmRules.of(
        {"step": Change(limit=4.0), "rate": Change(limit=9.0, per="1min", direction="high")}
    )
    values = [0.0, 5.0, 5.0, 5.0, 0.0, 99.0, 1.0]
    times = [0, 30_000, 60_000, 90_000, 120_000, 100_000, 120_000]
    ids = ["s"] * len(values) + [f"t{k}" for k in range(size)]
    readings = Readings.of(ids, [*values, *[0.0] * size], [*times, *[0] * size])
    found = SeriesTable(COUNT, alarms=rules).update(readings).transitions
    assert found is not None
    assert [(one.rule, one.transition, one.side) for one in found.single(rules.names)] == [
        ("step", "raised", "high"),
        ("rate", "raised", "high"),
        ("step", "cleared", "high"),
        ("rate", "cleared", "high"),
        ("step", "raised", "low"),
        ("step", "changed", "high"),
        ("step", "changed", "low"),
    ]
    assert found.evidence["score"][1] == pytest.approx(10.0)
    assert found.evidence["expected"][:2].tolist() == [0.0, 0.0]


def test_a_series_may_have_any_number_of_readings() -> None:
    """Also more than its counters hold, read one by one or in columns."""
    rules = AlarmRules.of(
        {
            "level": Level(limit=4.0),
            "kept": Level(limit=4.0, baseline=Frozen(readings=100)),
            "flat": Flat(repeats=60),
        }
    )
    most, n = 1 << 31, 200
    values = np.repeat(np.sin(np.arange(n)), 2)
    single, whole = (SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules) for _ in range(2))
    for table in (single, whole):
        table.step("s", values[0])
        assert table._alarms is not None
        for tracked in table._alarms.state.tracked:
            for (name, _, _), column in zip(tracked.tracker.columns, tracked.columns, strict=True):
                if name in ("seen", "run"):
                    column[0] = most - 1
        table.step("s", values[0])
    whole.update(Readings(["s"] * len(values), values))
    for value in values.tolist():
        single.step("s", value)
    first, other = (table.snapshot().alarms for table in (single, whole))
    assert first is not None
    assert other is not None
    counts = {name for name in first if name.endswith("/seen")}
    assert len(counts) == 2
    for name, column in first.items():
        assert np.array_equal(column, other[name]), name
        assert name not in counts or column[0] == most


def test_a_cooldown_ends_at_a_time_that_can_be_kept() -> None:
    rules = AlarmRules.of({"hot": Bounds(above=1.0, cooldown="999999999999999 weeks")})
    table = SeriesTable(Smoothing(Decay(beta=0.9)), alarms=rules)
    for time_ms, value in enumerate((2.0, 0.0, 2.0)):
        table.step("s", value, time_ms)
    resumed = SeriesTable(Smoothing(Decay(beta=0.9)), table.snapshot(), alarms=rules)
    resumed.step("s", 2.0, 4)
    assert resumed.pop_transitions() is None


def test_a_reset_clears() -> None:
    rules = AlarmRules.of({"hot": Bounds(above=30.0)})
    raised, reset = ("hot", "raised", ""), ("hot", "cleared", "reset")
    assert watched([31.0, math.nan, 31.0], rules, missing="reset") == [raised, reset, raised]
    assert watched([31.0, 99.0, 31.0], rules, highest=50, out_of_range="reset") == [
        raised, reset, raised,
    ]  # fmt: skip


def test_a_tombstone_clears() -> None:
    rules = AlarmRules.of({"hot": Bounds(above=30.0)})
    one = SeriesTable(COUNT, alarms=rules)
    readings = Readings.of(["a", "b", "a", "b"], [31.0, 3.0, math.nan, math.nan], [0, 1, 2, 3])
    readings = replace(
        readings,
        tombstones=np.array([False, False, True, True]),
        origins=Origins(np.zeros(4, np.int32), np.arange(4)),
    )
    found = list(one.update_in_order(readings))
    assert [len(part) for part in found] == [2, 0]
    transitions = found[1].transitions
    assert transitions is not None
    assert named(transitions, rules) == [("hot", "cleared", "reset")]
    assert transitions.raised is not None
    assert transitions.origins is not None
    assert (transitions.raised.offsets[0], transitions.origins.offsets[0]) == (0, 2)
    assert transitions.evidence["duration_ms"][0] == 2.0


def test_an_idle_series_in_alarm_is_kept_until_a_reading_clears_it() -> None:
    rules = AlarmRules.of({"hot": Bounds(above=30.0)})
    one = SeriesTable(COUNT, alarms=rules, forget_after="10s")
    one.update(Readings.of(["a", "b"], [31.0, 3.0], [0, 0]))
    one.update(Readings.of(["c"], [1.0], [100_000]))
    assert one.free_idle() == 1
    assert "a" in one
    found = named(one.update(Readings.of(["a"], [31.0], [200_000])).transitions, rules)
    assert found == [("hot", "cleared", "reset")]


def test_an_infinite_gap_begins_the_warm_up_again() -> None:
    rules = AlarmRules.of({"level": Level(limit=2.0, warm_up=50)}, in_events=True)
    one = SeriesTable(Smoothing(Decay(halflife="10s")), alarms=rules)
    times = np.arange(300) * 1_000
    times[150:] += 10**12
    z = one.update(Readings.of(["s"] * 300, steady(300), times)).statistics["level_z"]
    judged = np.flatnonzero(np.isfinite(z))
    assert (judged[judged < 150].min(), judged[judged >= 150].min()) == (50, 200)


def test_severity_direction_and_reminders() -> None:
    rules = AlarmRules.of(
        {"b": Bounds(above=30.0, below=-30.0, remind="10s", cooldown="5s", severity="info")}
    )
    one = SeriesTable(COUNT, alarms=rules)
    values = [31.0, 32.0, 33.0, -31.0, 0.0, 40.0, 40.0, 40.0]
    times = [0, 5_000, 10_000, 12_000, 13_000, 14_000, 18_000, 19_000]
    transitions = one.update(Readings.of(["s"] * 8, values, times)).transitions
    assert transitions is not None
    assert [one.transition for one in transitions.single(rules.names)] == [
        "raised", "held", "changed", "cleared", "raised",
    ]  # fmt: skip
    assert [one.side for one in transitions.single(rules.names)] == [
        "high", "high", "low", "low", "high",
    ]  # fmt: skip
    assert transitions.times_ms is not None
    assert transitions.times_ms.tolist() == [0, 10_000, 12_000, 13_000, 18_000]
    assert set(transitions.severities.tolist()) == {SEVERITIES.index("info")}
    assert transitions.evidence["worst"].tolist() == [31.0, 33.0, -31.0, -31.0, 40.0]


def test_other_rules_change_no_statistic_and_warm_up_anew() -> None:
    rules = AlarmRules.of({"level": Level(limit=4.0)})
    others = AlarmRules.of({"level": Level(limit=4.5)})
    one = SeriesTable(COUNT, alarms=rules)
    one.update(Readings.of(["s"] * 300, steady(300)))
    snapshot = one.snapshot()
    expected = one.update(Readings.of(["s"], [99.0])).statistics["mean"]
    for resumed in (
        SeriesTable(COUNT, snapshot, alarms=others),
        SeriesTable(COUNT, snapshot),
        SeriesTable(COUNT, snapshot._replace(alarms=None, rules=""), alarms=rules),
    ):
        smoothed = resumed.update(Readings.of(["s"], [99.0]))
        assert smoothed.transitions is None
        np.testing.assert_array_equal(smoothed.statistics["mean"], expected)


def test_damaged_alarms_are_refused() -> None:
    rules = AlarmRules.of(
        {"hot": Bounds(above=30.0), "level": Level(limit=4.0), "day": Level(limit=4, season="day")}
    )
    one = SeriesTable(COUNT, alarms=rules)
    one.update(Readings.of(["s", "t"], [31.0, 2.0], [0, 0]))
    snapshot = one.snapshot()
    assert snapshot.alarms is not None
    for name, column in {
        "0/slow": np.zeros(3),
        "1/profile": np.zeros(2),
        "0/variance": np.array([math.nan, 0.0]),
        "hot/row": np.array([2]),
        "hot/worst": np.zeros(2),
    }.items():
        damaged = snapshot._replace(alarms={**snapshot.alarms, name: column})
        with pytest.raises(StateError, match="damaged"):
            SeriesTable(COUNT, damaged, alarms=rules)


def test_merging_keeps_the_alarms_of_new_series_only() -> None:
    rules = AlarmRules.of({"hot": Bounds(above=30.0)})
    one, two = SeriesTable(COUNT, alarms=rules), SeriesTable(COUNT, alarms=rules)
    one.update(Readings.of(["a", "b"], [31.0, 1.0]))
    two.update(Readings.of(["b", "c"], [31.0, 31.0]))
    one.merge(two)
    found = one.update(Readings.of(["a", "b", "c"], [1.0, 1.0, 1.0])).transitions
    assert found is not None
    assert list(found.series_ids) == ["a", "c"]


def test_fields() -> None:
    rules = AlarmRules.of({"hot": Bounds(above=30.0, field="b"), "l": Spike(limit=3, field="a")})
    one = SeriesTable(COUNT, fields=["a", "b"], alarms=rules)
    found = one.update(Readings.of(["s", "s"], [[31.0, 1.0], [math.nan, 31.0]])).transitions
    assert named(found, rules) == [("hot", "raised", "")]
    alone = SeriesTable(COUNT, fields=["a", "b"], alarms=rules)
    alone.step("s", [31.0, 1.0])
    alone.step("s", [math.nan, 31.0])
    assert rows_of(alone.pop_transitions()) == rows_of(found)


@pytest.mark.parametrize(
    ("rules", "options", "message"),
    [
        ({"a": Bounds(above=1.0, field="x")}, {}, "readings have one value: leave it out"),
        ({"a": Bounds(above=1.0)}, {"fields": ["x", "y"]}, "it must be one of x, y"),
        ({"a": Bounds(above=1.0)}, {"fields": 3}, "vectors without names"),
    ],
)
def test_rules_that_do_not_fit(rules: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SeriesTable(COUNT, alarms=AlarmRules.of(rules), **options)


def test_several_smoothings_have_no_decay_of_their_own() -> None:
    two = {"fast": COUNT, "slow": Smoothing(Decay(beta=0.99))}
    with pytest.raises(ConfigError, match=r"alarms.level: the level rule has no decay"):
        SeriesTable(two, alarms=AlarmRules.of({"level": Level(limit=4)}))
    rules = AlarmRules.of({"level": Level(limit=4, decay=Decay(beta=0.9))})
    assert SeriesTable(two, alarms=rules).names == ("fast_mean", "slow_mean")


def test_a_score_may_not_have_the_name_of_a_statistic() -> None:
    rules = AlarmRules.of({"a": Spike(limit=4, decay=Decay(beta=0.9))}, in_events=True)
    with pytest.raises(ConfigError, match="a_lower, a_upper is the name of a statistic and"):
        SeriesTable({"a": bollinger(COUNT)}, alarms=rules)


def test_reminders_need_times() -> None:
    one = SeriesTable(COUNT, alarms=AlarmRules.of({"a": Bounds(above=1.0, remind="1s")}))
    with pytest.raises(ReadingError, match=r"alarms a go by time \(decay, remind or cooldown\)"):
        one.update(Readings.of(["a"], [1.0]))
    with pytest.raises(ReadingError, match=r"alarms a go by time \(decay, remind or cooldown\)"):
        one.step("a", 1.0)
