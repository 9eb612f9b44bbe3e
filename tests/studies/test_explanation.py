"""Which readings raised an alarm: against the table that raises it, and against plain weights."""

from __future__ import annotations

import numpy as np
import pytest

from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.monitor.rules import AlarmRules, ChartRule, Frozen, Given, Level, Spike, Spread
from ewma_ops.studies.explanation import explain

BETA = 0.9
SHIFTED = np.concatenate([np.random.default_rng(1).normal(20, 1, 400), np.full(6, 23.5)])


def test_it_is_what_the_table_has_seen() -> None:
    rules = AlarmRules.of({"level": Level(limit=3.0), "spike": Spike(limit=3.0)}, in_events=True)
    table = SeriesTable(Smoothing(Decay(beta=BETA)), alarms=rules)
    statistics = table.update(Readings.of(["a"] * len(SHIFTED), SHIFTED)).statistics
    for name, rule in rules.with_limits(Smoothing(Decay(beta=BETA))).rules:
        assert isinstance(rule, ChartRule)
        found = explain(rule.in_ticks(1), SHIFTED.tolist(), [0] * len(SHIFTED))
        assert found is not None
        assert found.score == statistics[f"{name}_z"][-1]
        assert (found.lower, found.upper) == tuple(
            statistics[f"{name}_{end}"][-1] for end in ("lower", "upper")
        )
        measured = statistics["mean"][-1] if name == "level" else SHIFTED[-1]
        assert found.measured == pytest.approx(measured, abs=0.02)  # the level is of clipped ones


@pytest.mark.parametrize(
    "rule",
    [
        Level(limit=3.0, memory="ar1", memory_span=100),
        Level(limit=3.0, baseline=Given(mean=20.0, std=1.0)),
        Level(limit=3.0, baseline=Frozen(readings=200)),
        Spread(limit=3.0),
        Level(limit=3.0, baseline="outlook"),
        Spread(limit=3.0, baseline="outlook", memory="ar1"),
        Spread(limit=3.0, memory="ar1", memory_span=100),
    ],
    ids=lambda rule: rule.fingerprint(),
)
def test_every_baseline_is_explained(rule: ChartRule) -> None:
    values = np.append(SHIFTED, [17.0, 24.5])
    rules = AlarmRules.of({"own": rule}, in_events=True)
    table = SeriesTable(Smoothing(Decay(beta=BETA)), alarms=rules)
    statistics = table.update(Readings.of(["a"] * len(values), values)).statistics
    bound = rule.with_limit(Smoothing(Decay(beta=BETA))).in_ticks(1)
    found = explain(bound, values.tolist(), [0] * len(values))
    assert found is not None
    told = (found.score, found.lower, found.upper)
    assert told == tuple(statistics[f"own_{part}"][-1] for part in ("z", "lower", "upper"))
    assert found.newest(len(values)) == pytest.approx(1.0)
    # One reading more or less: a share is what the newest adds to the deviation of the average.
    newest = found.shares[0]
    before = explain(bound, values[:-1].tolist(), [0] * (len(values) - 1))
    assert before is not None
    if rule.kind == "spread":
        whole = (found.measured / found.std) ** 2 - 1
        earlier = (before.measured / before.std) ** 2 - 1
        assert newest.share * whole == pytest.approx(whole - BETA * earlier, rel=1e-6)
    elif rule.memory == "none" and rule.baseline != "outlook":  # what is expected stays
        added = newest.share * (found.measured - found.expected)
        kept = BETA * (before.measured - before.expected)
        assert found.measured - found.expected == pytest.approx(added + kept, rel=1e-6)


@pytest.mark.parametrize("kind", [Level, Spike, Spread])
@pytest.mark.parametrize("memory", ["none", "ar1"])
@pytest.mark.parametrize("baseline", [10, "outlook"])
def test_a_season_is_explained(kind: type[ChartRule], memory: str, baseline: float | str) -> None:
    times = 1_700_006_400_000 + np.arange(len(SHIFTED)) * 3_600_000
    values = SHIFTED + 5 * np.sin(times / 86_400_000 * 2 * np.pi)
    rule = kind(limit=3.0, season="day", memory=memory, memory_span=100, baseline=baseline)
    rules = AlarmRules.of({"own": rule}, in_events=True)
    table = SeriesTable(Smoothing(Decay(beta=BETA)), alarms=rules)
    statistics = table.update(Readings.of(["a"] * len(values), values, times)).statistics
    bound = rule.with_limit(Smoothing(Decay(beta=BETA))).in_ticks(1)
    found = explain(bound, values.tolist(), [0] * len(values), times.tolist())
    assert found is not None
    told = (found.score, found.lower, found.upper)
    assert told == tuple(statistics[f"own_{part}"][-1] for part in ("z", "lower", "upper"))
    assert found.newest(len(values)) == pytest.approx(1.0)
    if kind is Level:
        used = np.array([one.used for one in found.shares])
        assert np.abs(used - values[::-1]).max() < 8.0  # with their hours, clipped


def test_weights_and_shares_are_those_of_the_definition() -> None:
    rule = Level(limit=3.0).with_limit(Smoothing(Decay(beta=BETA))).in_ticks(1)
    found = explain(rule, SHIFTED.tolist(), [0] * len(SHIFTED))
    assert found is not None
    n = len(SHIFTED)
    ages = np.arange(n)
    weights = (1 - BETA) * BETA**ages / (1 - BETA**n)
    assert [one.weight for one in found.shares] == pytest.approx(weights.tolist(), rel=1e-12)
    used = np.array([one.used for one in found.shares])
    assert float(weights @ used) == pytest.approx(found.measured, rel=4e-15)
    shares = np.array([one.share for one in found.shares])
    assert shares == pytest.approx(weights * (used - found.expected)
                                   / (found.measured - found.expected))  # fmt: skip
    assert shares.sum() == pytest.approx(1.0)
    assert found.newest(6) == pytest.approx(shares[:6].sum())
    assert found.needed(0.5) == int(np.argmax(np.cumsum(shares) >= 0.5)) + 1
    assert [one.place for one in found.shares] == ages[::-1].tolist()


def test_a_wild_reading_counts_as_it_was_clipped() -> None:
    values = [*SHIFTED[:400].tolist(), 500.0, 20.0]
    rule = Level(limit=3.0).with_limit(Smoothing(Decay(beta=BETA))).in_ticks(1)
    found = explain(rule, values, [0] * len(values))
    assert found is not None
    wild = found.shares[1]
    assert wild.value == 500.0
    assert 22 < wild.used < 26  # 4 standard deviations
    assert found.shares[2].used == found.shares[2].value


def test_by_time_older_readings_weigh_less_after_a_gap() -> None:
    decay = Decay(halflife="10s")
    rule = Level(limit=3.0).with_limit(Smoothing(decay)).in_ticks(1)
    values = SHIFTED.tolist()
    gaps = [0] + [1_000] * (len(values) - 3) + [20_000, 1_000]
    found = explain(rule, values, gaps)
    assert found is not None
    weights = [one.weight for one in found.shares]
    assert weights[1] / weights[2] == pytest.approx(4.0)
    assert weights[0] / weights[1] == pytest.approx(2 ** (1 / 10))


def test_nothing_is_explained_that_was_not_judged() -> None:
    rule = Level(limit=3.0).with_limit(Smoothing(Decay(beta=BETA))).in_ticks(1)
    assert explain(rule, SHIFTED[:50].tolist(), [0] * 50) is None
    assert explain(rule, [7.0] * 300, [0] * 300) is None
