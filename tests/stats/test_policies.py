"""Which policies go with which cause, and what is said of those that do not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ewma_ops.errors import ConfigError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.policies import EQUAL_TIMES, MISSING, NON_FINITE, OUT_OF_RANGE
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet

BOUNDS: dict[str, Any] = {"lowest": 0, "highest": 1}


def smoothing(decay: Decay | None = None, **options: Any) -> Smoothing:
    return Smoothing(Decay(beta=0.9) if decay is None else decay, **options)


def test_what_is_left_out_is_as_it_always_was() -> None:
    policies = smoothing().policies
    assert list(policies.by_cause.values()) == [
        "skip",
        "dead-letter",
        "dead-letter",
        "take",
        "take",
    ]
    assert not policies.watches


@pytest.mark.parametrize("max_lateness", ["10min", timedelta(minutes=10)])
def test_max_lateness_sends_what_is_later_to_the_dead_letters(max_lateness: Any) -> None:
    policies = smoothing(max_lateness=max_lateness).policies
    assert (policies.late, policies.max_lateness) == ("dead-letter", 600_000)
    assert smoothing(late="skip").policies.max_lateness == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"missing": "clip"},
            "missing is 'clip': it must be one of skip, decay, reset, dead-letter",
        ),
        ({"non_finite": "take"}, "non_finite is 'take': it must be one of"),
        ({"out_of_range": 1}, "out_of_range is 1: it must be one of"),
        ({"equal_times": "clip"}, "equal_times is 'clip': it must be one of take, skip"),
        ({"out_of_range": "clip"}, "give lowest, highest or both, to which values are clipped"),
        ({"non_finite": "clip", "lowest": 0}, "give lowest and highest, to which"),
        ({"lowest": 2, "highest": 1}, "lowest is 2.0: it must be below highest, 1.0"),
        ({"lowest": float("nan")}, "lowest is nan: it must be a number that is finite"),
        ({"highest": "1"}, "highest is '1': it must be a number that is finite"),
        ({"max_lateness": "10"}, "max_lateness: '10' is not a duration"),
        ({"max_lateness": 10}, "max_lateness is 10: it must be a duration >= 0"),
        ({"max_lateness": timedelta(-1)}, "it must be a duration >= 0, such as"),
        ({"max_lateness": "1s", "late": "take"}, "max_lateness has no meaning: leave one"),
        ({"decay": Decay(halflife="1s"), "late": "decay"}, 'no time passes .*: use "skip"'),
        ({"decay": Decay(halflife="1s"), "equal_times": "decay"}, 'use "skip"'),
        (
            {"decay": Decay(halflife="1s"), "weighting": "last", "non_finite": "decay"},
            'use "skip" in place of "decay"',
        ),
        ({"statistics": ["mean", "revision"]}, 'statistic "revision" needs decay by time'),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        smoothing(**options)


def test_smoothings_of_the_same_readings_may_differ_in_what_decays_only() -> None:
    fast = smoothing(out_of_range="skip", **BOUNDS)
    SmoothingSet.of(
        {"fast": fast, "slow": smoothing(out_of_range="decay", missing="decay", **BOUNDS)}
    )
    for other in (smoothing(), smoothing(out_of_range="reset", **BOUNDS), smoothing(late="skip")):
        with pytest.raises(ConfigError, match="differ in what becomes of a reading"):
            SmoothingSet.of({"fast": fast, "slow": other})


def test_a_policy_that_needs_more_state_cannot_resume_without() -> None:
    assert smoothing().fingerprint() != smoothing(late="skip").fingerprint()
    assert smoothing().fingerprint() == smoothing(out_of_range="clip", **BOUNDS).fingerprint()


def test_of_several_causes_the_most_severe_policy_counts() -> None:
    policies = smoothing(out_of_range="decay", equal_times="reset", **BOUNDS).policies
    assert policies.by_set[0] == "take"
    assert policies.by_set[MISSING] == "skip"
    assert policies.by_set[MISSING | OUT_OF_RANGE] == "decay"
    assert policies.by_set[MISSING | OUT_OF_RANGE | EQUAL_TIMES] == "reset"
    assert policies.by_set[MISSING | NON_FINITE | EQUAL_TIMES] == "dead-letter"
    assert policies.cause_by_set[MISSING | OUT_OF_RANGE] == "out-of-range"
    both = smoothing(out_of_range="reset", equal_times="reset", **BOUNDS).policies
    assert both.cause_by_set[OUT_OF_RANGE | EQUAL_TIMES] == "out-of-range"
    assert both.cause_by_set[MISSING | EQUAL_TIMES] == "equal-times"


def test_what_a_family_agrees_on_does_not_depend_on_its_order() -> None:
    one = smoothing(Decay(halflife="1s"), missing="decay", late="skip", max_lateness="1s")
    other = smoothing(late="decay", max_lateness="1s")
    there, back = (SmoothingSet.of(dict(pairs)).policies for pairs in (
        [("x", one), ("y", other)], [("y", other), ("x", one)]
    ))  # fmt: skip
    assert there == back
    assert (there.missing, there.late) == ("decay", "decay")
