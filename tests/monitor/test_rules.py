"""Rules: what they can be told, the numbers that follow, and what each mistake is answered with."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ewma_ops import Decay, Smoothing
from ewma_ops.errors import ConfigError
from ewma_ops.monitor.rules import (
    KINDS,
    AlarmRules,
    Bounds,
    Change,
    Flat,
    Frozen,
    Given,
    Level,
    Rule,
    Spike,
    Spread,
    Stale,
)
from ewma_ops.monitor.run_lengths import limit_for, spike_limit
from ewma_ops.monitor.spread_run_lengths import spread_limit_for

COUNT = Decay(beta=0.9)


def test_a_level_rule_has_the_published_limit() -> None:
    rule = Level(false_alarms="1 per 500 readings").with_limit(Smoothing(COUNT))
    assert rule.limit == 2.81431  # Lucas and Saccucci 1990: 2.814
    assert rule.designed == "1 per 500 readings"
    assert isinstance(rule.baseline, Decay)
    assert rule.baseline.alpha == pytest.approx(0.01)


def test_a_baseline_has_a_half_life_that_can_be_told() -> None:
    for times in (1e300, 1e308):
        with pytest.raises(ConfigError, match="too long to be represented; give a smaller number"):
            Level(limit=4.0, baseline=times).with_limit(Smoothing(Decay(halflife="5min")))


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        (Level, {"limit": 4.0, "warm_up": 1 << 32}, "warm_up"),
        (Level, {"limit": 4.0, "memory_span": 1 << 32}, "memory_span"),
        (Flat, {"repeats": 1 << 32}, "repeats"),
        (Frozen, {"readings": 1 << 32}, "baseline: readings"),
    ],
)
def test_no_rule_waits_for_more_readings_than_are_counted(
    kind: Any, options: dict[str, Any], name: str
) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 4294967296: it must be an integer <= 2147"):
        kind(**options)


def test_one_side_alone_has_half_of_the_false_alarms() -> None:
    high = Level(false_alarms="1 per 500 readings", direction="high").with_limit(Smoothing(COUNT))
    assert high.limit == limit_for(250, 0.1)
    low = Spike(false_alarms="1 per 500 readings", direction="low").with_limit(Smoothing(COUNT))
    assert low.limit == round(spike_limit(250), 6)


def test_a_spread_rule_has_the_published_limit() -> None:
    """Knoth 2005: 1.661865, and one side only, so no half of the false alarms."""
    rule = Spread(false_alarms="1 per 249.9997 readings").with_limit(Smoothing(Decay(alpha=0.025)))
    assert rule.limit == pytest.approx(1.661865, abs=1.01e-6)
    by_time = Spread(false_alarms="1 per 500 readings", gap="10s")
    assert by_time.with_limit(Smoothing(Decay(halflife="1min"))).limit == pytest.approx(
        spread_limit_for(500, 1 - 2 ** (-10 / 60)), abs=1.01e-6
    )
    with pytest.raises(ConfigError, match="the spread rule has false_alarms, and its decay is by"):
        Spread(false_alarms="1 per 500 readings").with_limit(Smoothing(Decay(halflife="1min")))


def test_a_rate_by_time_needs_the_rate_of_the_readings() -> None:
    spike = Spike(false_alarms="1 per week", readings="100 per s").with_limit(Smoothing(COUNT))
    assert spike.limit == round(spike_limit(60_480_000), 6)
    assert spike.designed == "1 per 6.048e+07 readings"


def test_a_decay_by_time_is_designed_by_the_usual_gap() -> None:
    decay = Decay(halflife="1min")
    level = Level(false_alarms="1 per 500 readings", gap="10s").with_limit(Smoothing(decay))
    assert level.limit == limit_for(500, 1 - 2 ** (-10 / 60))
    assert isinstance(level.baseline, Decay)
    assert level.baseline.halflife_ms == 600_000
    with pytest.raises(ConfigError, match="add the usual time between two readings"):
        Level(false_alarms="1 per 500 readings").with_limit(Smoothing(decay))
    assert Level(limit=4).with_limit(Smoothing(decay)).limit == 4.0


def test_a_rule_of_its_own_decay() -> None:
    own = Level(limit=3, decay=Decay(beta=0.8), baseline=Decay(beta=0.99))
    assert own.with_limit(None) == own
    assert own.with_limit(Smoothing(COUNT)) == own


def test_a_limit_is_rounded_so_that_no_digit_changes_the_identity() -> None:
    assert Level(limit=2.81431000001) == Level(limit=2.81431)
    rules = AlarmRules.of({"level": Level(false_alarms="1 per 500 readings")})
    same = AlarmRules.of({"level": Level(false_alarms="1 per 500 readings", limit=2.81431)})
    assert (
        rules.with_limits(Smoothing(COUNT)).fingerprint()
        == same.with_limits(Smoothing(COUNT)).fingerprint()
    )
    assert "limit=2.81431" in rules.with_limits(Smoothing(COUNT)).fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 4.5}, {"least": 1.0}, {"direction": "high"}, {"for_": 2}, {"clear": 0.75},
        {"clear_for": 2}, {"cooldown": "1s"}, {"remind": "1h"}, {"warm_up": 50},
        {"severity": "info"}, {"critical": 2.0}, {"series": ["a/*"]}, {"field": "bid"},
        {"decay": Decay(beta=0.8)}, {"baseline": 20.0}, {"season": "day"}, {"season": "week"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_changes_alarms_changes_the_fingerprint(change: dict[str, Any]) -> None:
    rule = Level(limit=4.0)
    before, after = (AlarmRules.of({"a": one}) for one in (rule, replace(rule, **change)))
    assert (
        before.with_limits(Smoothing(COUNT)).fingerprint()
        != after.with_limits(Smoothing(COUNT)).fingerprint()
    )


def test_a_runbook_does_not() -> None:
    rule = Level(limit=4.0)
    assert replace(rule, runbook="https://x").fingerprint() == rule.fingerprint()


def test_names_and_scores() -> None:
    rules = {"level": Level(limit=4.0), "too_hot": Bounds(above=30.0), "jump": Spike(limit=5.0)}
    assert AlarmRules.of(rules).names == ("level", "too_hot", "jump")
    assert AlarmRules.of(rules).score_names == ()
    assert AlarmRules.of(rules, in_events=True).score_names == (
        "level_z", "level_lower", "level_upper", "jump_z", "jump_lower", "jump_upper",
    )  # fmt: skip


def test_every_kind_is_listed_by_its_name() -> None:
    assert all(KINDS[rule.kind] is rule for rule in KINDS.values())
    assert set(KINDS.values()) == {
        rule
        for rule in _subclasses(Rule)
        if rule.kind and rule.__module__.startswith("ewma_ops.monitor")
    }


def _subclasses(of: type[Rule]) -> set[type[Rule]]:
    return {of}.union(*(_subclasses(one) for one in of.__subclasses__()))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Level, {}, "the level rule has neither limit nor false_alarms: give one of them"),
        (Spike, {}, "the spike rule has neither limit nor false_alarms"),
        (Level, {"limit": 0}, "limit is 0: it must be a number > 0"),
        (Level, {"limit": "4"}, "limit is '4': it must be a number"),
        (Level, {"false_alarms": "1 per week"}, "add the rate of readings"),
        (Level, {"limit": 4, "clear": 1.5}, "clear is 1.5: it must be a number > 0 and <= 1"),
        (Level, {"limit": 4, "critical": 0.5}, "critical is 0.5: it must be a number >= 1"),
        (Level, {"limit": 4, "least": -1}, "least is -1"),
        (Level, {"limit": 4, "direction": "up"}, "direction is 'up': it must be one of both"),
        (Level, {"limit": 4, "warm_up": 5}, "warm_up is 5: it must be an integer >= 20"),
        (Level, {"limit": 4, "baseline": 1}, "baseline is 1: it must be a number > 1"),
        (Level, {"limit": 4, "gap": "0s"}, "gap is '0s': it must be a duration > 0"),
        (Level, {"limit": 4, "for_": 0}, "for is 0: it must be an integer >= 1"),
        (Level, {"limit": 4, "clear_for": True}, "clear_for is True"),
        (Level, {"limit": 4, "cooldown": "soon"}, "cooldown: 'soon' is not a duration"),
        (Level, {"limit": 4, "remind": 5}, "remind is 5: it must be a duration >= 0"),
        (Level, {"limit": 4, "severity": "bad"}, "severity is 'bad': it must be one of info"),
        (Level, {"limit": 4, "series": "a/*"}, "series is 'a/\\*': give a list of globs"),
        (Level, {"limit": 4, "decay": 0.9}, "decay is 0.9: give a Decay"),
        (Level, {"limit": 4, "memory": "ar2"}, "memory is 'ar2': did you mean ar1"),
        (Level, {"limit": 4, "memory_span": 9}, "memory_span is 9: it must be an integer >= 100"),
        (Level, {"limit": 4, "baseline": Frozen(readings=50)}, "is shorter than warm_up = 100"),
        (
            Spike,
            {"limit": 4, "baseline": Given(mean=0, std=1), "memory": "ar1"},
            "memory = 'ar1' goes with a baseline that is learned all the time",
        ),
        (Spread, {}, "the spread rule has neither limit nor false_alarms"),
        (Spread, {"limit": 4, "direction": "low"}, "direction is 'low': the spread rule has an up"),
        (Spread, {"limit": 4, "gap": "0s"}, "gap is '0s': it must be a duration > 0"),
        (Level, {"limit": 4, "season": "year"}, "season is 'year': it must be one of none, day"),
        (Level, {"limit": 4, "utc_offset": "+01:00"}, "'\\+01:00', but there is no season: add"),
        (
            Level,
            {"limit": 4, "season": "day", "utc_offset": "Europe/Berlin"},
            "utc_offset is 'Europe/Berlin': write how far local time is ahead of UTC, such as",
        ),
        (
            Level,
            {"limit": 4, "season": "day", "baseline": Frozen(readings=500)},
            "season = 'day' goes with a baseline that is learned all the time",
        ),
        (Given, {"mean": 0.0, "std": 0.0}, "baseline: std is 0.0: it must be a number > 0"),
        (Frozen, {"readings": 5}, "baseline: readings is 5: it must be an integer >= 20"),
        (Change, {"limit": 0}, "limit is 0: it must be a number > 0"),
        (Change, {"limit": 1, "per": "0s"}, "per is '0s': it must be a duration > 0"),
        (Change, {"limit": 1, "clear": 2}, "clear is 2: it must be a number > 0 and <= 1"),
        (Flat, {"repeats": 1}, "repeats is 1: it must be an integer >= 2"),
        (Stale, {"for_": 2}, "for is 2: the stale rule has no readings to count; leave it out"),
        (Stale, {"clear_for": 3}, "clear_for is 3: the stale rule has no readings to count"),
        (Stale, {"gaps": 0.5}, "gaps is 0.5: it must be a number >= 1, or 0 for least alone"),
        (Stale, {"least": "900ms"}, "least is '900ms': it must be a duration >= 1 s"),
        (Stale, {"least": 30}, "least is 30: it must be a duration >= 0"),
        (Stale, {"warm_up": 1}, "warm_up is 1: it must be an integer >= 2"),
        (Stale, {"decay": 0.9}, "decay is 0.9: give a Decay"),
        (Bounds, {}, "the bounds rule has no bound: give above, below, or both"),
        (Bounds, {"above": float("inf")}, "above is inf: it must be a number"),
        (Bounds, {"above": 3.0, "clear_above": 4.0}, "clear_above = 4 is beyond above = 3"),
        (Bounds, {"below": 3.0, "clear_below": 2.0}, "clear_below = 2 is beyond below = 3"),
        (Bounds, {"below": 3.0, "clear_above": 2.0}, "clear_above is given without above"),
        (Bounds, {"below": 3.0, "above": 2.0}, "a value cannot be back"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**options)


def test_a_rule_does_not_follow_the_season_of_the_smoothing() -> None:
    daily = Smoothing(Decay(halflife="1h"), statistics=["mean", "level"], season="day")
    with pytest.raises(ConfigError, match="season = 'day', which would be left in"):
        Spike(limit=4, baseline="outlook").with_limit(daily)
    Spike(limit=4, baseline="outlook", season="day").with_limit(daily)


@pytest.mark.parametrize(
    ("rule", "decay", "message"),
    [
        (Level(limit=4), None, "alarms.mine: the level rule has no decay: name one"),
        (Level(limit=4), Decay(beta=0.2), "effective number of readings of 24"),
        (
            Level(limit=4, baseline=Decay(beta=0.5)),
            Decay(beta=0.3),
            "readings of 3: it must be",
        ),
        (Level(limit=4, baseline=Decay(beta=0.5)), Decay(beta=0.99), "must be slower than"),
        (Level(limit=4, baseline=Decay(halflife="1h")), COUNT, "both be by reading, or both by"),
        (Level(false_alarms="1 per reading"), COUNT, "1 readings per false alarm: a limit is"),
    ],
)
def test_what_does_not_go_together(rule: Rule, decay: Decay | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AlarmRules.of({"mine": rule}).with_limits(None if decay is None else Smoothing(decay))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "give 1 to 64 by name"),
        ([Level(limit=4)], "give 1 to 64 by name"),
        ({"a-b": Level(limit=4)}, "'a-b' is not the name of a rule"),
        ({"a": 4}, "rule 'a' is 4: it must be one of Level, Spike, Bounds, Change, Flat"),
    ],
)
def test_what_are_no_rules(rules: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AlarmRules.of(rules)


def test_durations_in_ticks() -> None:
    rule = Level(limit=4, cooldown="2s", remind=timedelta(milliseconds=3))
    assert (rule.ticks("cooldown", 1), rule.ticks("remind", 1000)) == (2000, 3000)
    assert Level(limit=4).ticks("remind", 1) == 0
