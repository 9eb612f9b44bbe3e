"""Alarms in dataflows: by columns, by items, alone, after a restart and a warm start."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main

import ewma_ops.operators as ew
from ewma_ops import Decay, Readings, SeriesTable, Smoothing
from ewma_ops.columns.transitions import TRANSITIONS, Transition
from ewma_ops.errors import ConfigError
from ewma_ops.monitor import AlarmRules, Bounds, Level, Spike

DECAY = Decay(beta=0.8)
RULES = AlarmRules.of(
    {
        "level": Level(limit=2.5, warm_up=30),
        "spike": Spike(limit=3.0, warm_up=30),
        "hot": Bounds(above=13.0, for_=2),
    }
)


def values(n: int = 3_000, series: int = 5) -> list[tuple[str, float]]:
    random = np.random.default_rng(4)
    ids = [f"s{k}" for k in random.integers(0, series, n).tolist()]
    return list(zip(ids, random.normal(10, 2, n).tolist(), strict=True))


def expected(pairs: Sequence[tuple[str, float]]) -> list[tuple[str, Transition]]:
    ids, numbers = zip(*pairs, strict=True)
    table = SeriesTable(Smoothing(DECAY), alarms=RULES)
    transitions = table.update(Readings.of(ids, numbers)).transitions
    assert transitions is not None
    return list(zip(transitions.series_ids, transitions.single(RULES.names), strict=True))


def by_series(found: Sequence[tuple[str, Transition]]) -> dict[str, list[Transition]]:
    return {name: [one for own, one in found if own == name] for name, _ in sorted(set_of(found))}


def set_of(found: Sequence[tuple[str, Transition]]) -> set[tuple[str, int]]:
    return {(name, 0) for name, _ in found}


def run(step: Any, items: Sequence[Any], batch_size: int = 1, **options: Any) -> list[Any]:
    flow = Dataflow("flow")
    out: list[Any] = []
    up = op.input("in", flow, TestingSource(list(items), batch_size))
    op.output("out", step(up), TestingSink(out))
    run_main(flow, **options)
    return out


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_watch_yields_what_becomes_of_alarms(batch_size: int) -> None:
    pairs = values()
    out = run(lambda up: ew.watch("watch", up, RULES, DECAY), pairs, batch_size)
    assert by_series(out) == by_series(expected(pairs))
    assert {one.transition for _, one in out} == {"raised", "cleared"} < set(TRANSITIONS)
    assert {one.rule for _, one in out} == set(RULES.names)


@pytest.mark.parametrize("batch_size", [1, 500])
def test_smooth_has_the_alarms_of_each_reading(batch_size: int) -> None:
    pairs = values()
    smoothing = Smoothing(DECAY)
    out = run(lambda up: ew.smooth("smooth", up, smoothing, alarms=RULES), pairs, batch_size)
    assert len(out) == len(pairs)
    found = [(name, one) for name, reading in out for one in reading.alarms]
    assert by_series(found) == by_series(expected(pairs))
    for _, reading in out:
        assert all(one.evidence["value"] == reading.value for one in reading.alarms)


def test_smooth_batches_has_them_as_columns_and_scores_if_asked() -> None:
    pairs = values()
    ids, numbers = zip(*pairs, strict=True)
    whole = Readings.of(ids, numbers)
    runs = [whole.take(np.arange(at, at + 100)) for at in range(0, 3_000, 100)]
    rules = AlarmRules.of(dict(RULES.rules), in_events=True)
    out = run(lambda up: ew.smooth_batches("s", up, Smoothing(DECAY), alarms=rules), runs)
    assert all(set(one.statistics) >= {"mean", *rules.score_names} for one in out)
    found = [
        pair
        for one in out
        if one.transitions is not None
        for pair in zip(
            one.transitions.series_ids, one.transitions.single(rules.names), strict=True
        )
    ]
    assert by_series(found) == by_series(expected(pairs))


@pytest.mark.slow
def test_a_restart_goes_on_with_the_alarms(tmp_path: Path) -> None:
    pairs = values()
    init_db_dir(tmp_path, 1)
    halves = [*pairs[:1_700], TestingSource.ABORT(), *pairs[1_700:]]
    source = TestingSource(halves, 10)
    found: list[Any] = []
    for _ in range(2):
        flow = Dataflow("flow")
        up: Any = op.input("in", flow, source)
        op.output("out", ew.watch("watch", up, RULES, DECAY), TestingSink(found))
        config = RecoveryConfig(str(tmp_path))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=config)
    wanted = by_series(expected(pairs))
    assert {name: len(own) for name, own in by_series(found).items()} == {
        name: len(own) for name, own in wanted.items()
    }
    assert by_series(found) == wanted


def test_a_warm_start_knows_what_is_expected_and_raises_anew() -> None:
    rules = AlarmRules.of({"level": Level(limit=4.0), "hot": Bounds(above=13.0)})
    quiet = np.random.default_rng(1).normal(10, 0.5, 300)
    past = [Readings.of(["s"] * 301, [*quiet, 13.5])]
    out = run(
        lambda up: ew.watch("watch", up, rules, DECAY, warm_start=past),
        [("s", 13.6), ("s", 12.9), ("s", 13.1)],
    )
    assert [(one.rule, one.transition) for _, one in out] == [
        ("level", "raised"), ("hot", "raised"), ("hot", "cleared"), ("hot", "raised"),
    ]  # fmt: skip


def test_times_come_along() -> None:
    at = datetime(2024, 1, 1, tzinfo=timezone.utc)
    pairs = [("s", (at, 31.0)), ("s", (at + timedelta(seconds=9), 1.0))]
    rules = AlarmRules.of({"hot": Bounds(above=30.0)})
    (_, raised), (_, cleared) = run(lambda up: ew.watch("watch", up, rules), pairs)
    assert raised.since_ms == raised.time_ms == at.timestamp() * 1000
    assert cleared.evidence == {
        "value": 1.0, "upper": 30.0, "worst": 31.0, "readings": 2.0, "duration_ms": 9_000.0,
    }  # fmt: skip


def test_mistakes_are_told_when_the_flow_is_built() -> None:
    flow = Dataflow("flow")
    up = op.input("in", flow, TestingSource([("a", 1.0)]))
    with pytest.raises(
        ConfigError, match=r"alarms\.level: .* has no decay: give watch\(\.\.\., decay=Decay"
    ):
        ew.watch("a", up, RULES)
    with pytest.raises(ConfigError, match=r"alarms is .*: give AlarmRules"):
        ew.smooth("b", up, Smoothing(DECAY), alarms={"level": Level(limit=4)})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rules is 5: give AlarmRules"):
        ew.watch("c", up, 5)  # type: ignore[arg-type]
