"""Silences of the past, by the event times of a history that has no log."""

from __future__ import annotations

import numpy as np
import pytest

from ewma_ops import Decay, Readings, Smoothing
from ewma_ops.monitor import AlarmRules, Stale
from ewma_ops.studies.backtest import Backtest
from ewma_ops.studies.silences import SilenceCount, explain_silence
from ewma_ops.table.smoothing_set import SmoothingSet

RULE = Stale(gaps=3, least="2s", warm_up=5, decay=Decay(beta=0.9))
START_MS = 1_700_000_000_000


def history() -> Readings:
    """Return two series that send each second, of which one is silent three times."""
    seconds = [k for k in range(600) if not (100 <= k < 110 or 200 <= k < 202 or k in (300, 400))]
    own = [("a", k) for k in seconds] + [("b", k) for k in range(600)]
    own.sort(key=lambda one: one[1])
    ids, times = zip(*own, strict=True)
    return Readings.of(list(ids), np.zeros(len(ids)), START_MS + 1000 * np.array(times))


def test_a_history_says_how_often_a_series_was_silent_for_too_long() -> None:
    past = history()
    for rule, expected in (
        (RULE, 1),  # 11 s; 3 s are not more than three gaps
        (Stale(gaps=2, least="1s", warm_up=5), 2),
        (Stale(gaps=0, least="1500ms", warm_up=5), 4),
        (Stale(gaps=0, least="1500ms", warm_up=150), 3),
        (Stale(gaps=0, least="1500ms", warm_up=5, series=["b"]), 0),
    ):
        rules = AlarmRules.of({"silent": rule}).with_limits(Smoothing(Decay(beta=0.9)))
        study = Backtest(SmoothingSet.of(Smoothing(Decay(beta=0.9))), rules)
        for lo in range(0, len(past), 97):
            study.take(past.take(np.arange(lo, min(lo + 97, len(past)))))
        (found,) = study.result({})
        assert (found.own.raised, found.expected) == (expected, None), rule
        assert dict(found.worst) == ({"a": expected} if expected else {})


@pytest.mark.parametrize(("forget_after", "raised"), [(None, 1), ("3s", 1), ("2s", 0)])
def test_what_is_forgotten_before_it_is_raised_is_not_counted(
    forget_after: str | None, raised: int
) -> None:
    forgetting = SmoothingSet.of(Smoothing(Decay(beta=0.9)), forget_after=forget_after)
    study = Backtest(forgetting, AlarmRules.of({"silent": RULE}))
    study.take(history())
    (found,) = study.result({})
    assert (found.own.raised, found.judged > 0) == (raised, raised > 0)


def test_without_times_nothing_is_judged() -> None:
    rules = AlarmRules.of({"silent": RULE})
    study = Backtest(SmoothingSet.of(Smoothing(Decay(beta=0.9))), rules)
    study.take(Readings.of(["a"] * 50, np.zeros(50)))
    (found,) = study.result({})
    assert (found.judged, found.own.raised) == (0, 0)


def test_cuts_count_the_same() -> None:
    random = np.random.default_rng(2)
    rows = random.integers(0, 5, 3_000)
    times = START_MS + np.cumsum(random.exponential(400, 3_000)).astype(np.int64)
    whole, parts = SilenceCount(RULE, 1), SilenceCount(RULE, 1)
    whole.take(rows, times)
    for lo in range(0, 3_000, 71):
        parts.take(rows[lo : lo + 71], times[lo : lo + 71])
    assert whole.by_series(str) == parts.by_series(str) != {}
    assert whole.judged == parts.judged


def test_too_few_readings_explain_nothing() -> None:
    assert explain_silence(RULE, [START_MS + 1000 * k for k in range(4)], 1) is None
    assert explain_silence(RULE, [], 1) is None
