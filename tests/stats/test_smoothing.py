"""Which options go together, and when two smoothings may share their state."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.stats.statistics import STATISTICS

BY_COUNT, BY_TIME = Decay(beta=0.9), Decay(halflife="5min")


def test_a_smoothing_is_a_value() -> None:
    smoothing = Smoothing(BY_COUNT, statistics=["mean", "n_eff"])
    copy = pickle.loads(pickle.dumps(smoothing))
    assert (copy, hash(copy), repr(copy)) == (smoothing, hash(smoothing), repr(smoothing))
    assert smoothing.statistics == ("mean", "n_eff")
    with pytest.raises(AttributeError):
        smoothing.min_periods = 3  # type: ignore[misc]


def test_the_order_of_the_statistics_is_kept() -> None:
    reverse = tuple(STATISTICS)[::-1]
    asked = Smoothing(BY_TIME, statistics=reverse, horizon="1s", fixed_lag="1s", season="day")
    assert asked.statistics == reverse


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 0.9}, "must be a Decay, such as"),
        ({"start_up": "adjust"}, "one of corrected, uncorrected, first"),
        ({"start_up": "simple"}, 'start_up "simple" needs start_n'),
        ({"start_up": "simple", "start_n": 0}, "start_n is 0: .* >= 1"),
        ({"start_n": 3}, 'start_n = 3 goes with start_up "simple"'),
        ({"start_up": "prior", "prior": 1.0}, "needs prior_weight"),
        ({"start_up": "prior", "prior": 1.0, "prior_weight": 0}, "prior_weight is 0: .* > 0"),
        ({"start_up": "prior", "prior": math.nan, "prior_weight": 1}, "prior is nan"),
        ({"min_weight": -1}, "min_weight is -1: .* >= 0"),
        ({"min_weight": 1, "start_up": "first"}, "min_weight has no meaning"),
        ({"weighting": "time"}, "one of observation, volume"),
        ({"weighting": "last"}, "needs decay by time"),
        ({"weighting": "volume", "start_up": "uncorrected"}, "use corrected or first or prior"),
        (
            {"decay": BY_TIME, "weighting": "last", "start_up": "simple", "start_n": 2},
            "use corrected or first",
        ),
        ({"decay": BY_TIME, "weighting": "linear", "statistics": ["mean", "std"]}, "not defined"),
        ({"start_up": "first", "statistics": ["mean", "sum"]}, '"sum" has no meaning'),
        ({"statistics": ["mean", "rate"]}, '"rate" needs decay by time'),
        ({"start_up": None}, "start_up is None"),
        ({"missing": "drop"}, "one of skip, decay"),
        ({"decay": BY_TIME, "start_up": "uncorrected"}, 'use "corrected" or "first"'),
        ({"min_periods": -1}, "min_periods is -1: .* >= 0"),
        ({"min_periods": 1.5}, "integer"),
        ({"min_periods": True}, "min_periods is True"),
        ({"statistics": "mean"}, "list of names"),
        ({"statistics": None}, "list of names"),
        ({"statistics": ["mean", "sd"]}, "'sd': did you mean std\\? It must be one of mean"),
        ({"statistics": ["mean", 3]}, "is 3"),
        ({"statistics": ["mean", "mean"]}, "twice"),
        ({"statistics": ["n_eff"]}, 'lacks "mean"'),
        ({"statistics": []}, 'lacks "mean"'),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Smoothing(**{"decay": BY_COUNT, **options})


@pytest.mark.parametrize(
    "other",
    [
        Smoothing(Decay(beta=0.8)),
        Smoothing(Decay(beta=0.9000000000000001)),
        Smoothing(BY_TIME),
        Smoothing(BY_COUNT, "first"),
        Smoothing(BY_COUNT, missing="decay"),
        Smoothing(BY_COUNT, statistics=["mean", "n_eff"]),
        Smoothing(BY_COUNT, statistics=["mean", "var"]),
        Smoothing(BY_COUNT, statistics=["mean", "var_biased"]),
        Smoothing(BY_COUNT, "simple", start_n=2),
        Smoothing(BY_COUNT, "prior", prior=1, prior_weight=1),
        Smoothing(BY_COUNT, weighting="volume"),
    ],
)
def test_fingerprints_differ_where_the_state_would(other: Smoothing) -> None:
    assert other.fingerprint() != Smoothing(BY_COUNT).fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        Smoothing(BY_COUNT, min_periods=5),
        Smoothing(BY_COUNT, statistics=["count", "mean", "sum"]),
        Smoothing(BY_COUNT, min_weight=0.5),
    ],
)
def test_fingerprints_agree_where_only_the_output_differs(other: Smoothing) -> None:
    assert other.fingerprint() == Smoothing(BY_COUNT).fingerprint()


def test_a_fingerprint_says_what_it_stands_for() -> None:
    smoothing = Smoothing(BY_TIME, "first", statistics=["settled", "mean", "n_eff"])
    assert smoothing.fingerprint() == (
        "halflife_ms=300000.0 start_up=first missing=skip n_eff settled"
    )
