"""Every way to say how fast the past is forgotten, and the one power of two behind them."""

from __future__ import annotations

import math
import pickle
from datetime import timedelta
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from ewma_ops.columns.ticks import shown_duration
from ewma_ops.errors import ConfigError
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.durations import duration_ms
from ewma_ops.stats.exact_exp2 import exp2


def exact(x: float) -> Decimal:
    """Return 2 ** x to 60 digits."""
    with localcontext() as context:
        context.prec = 60
        context.Emin = -999_999
        return Decimal(2) ** Decimal(x)


def bits(x: object) -> list[int]:
    return np.array(x, np.float64).view(np.uint64).tolist()  # type: ignore[no-any-return]


SAMPLES = np.concatenate(
    [
        -np.random.default_rng(1).uniform(0, 1, 3000),
        -np.random.default_rng(2).uniform(0, 1021, 2000),
        -(10.0 ** np.random.default_rng(3).uniform(-20, 0, 1000)),
        np.nextafter(-0.5, [-1.0, 0.0]),
    ]
)


# exp2 -----------------------------------------------------------------------------------------


def test_exp2_is_exact_at_integers() -> None:
    n = np.arange(0, -1075, -1)
    assert exp2(n.astype(np.float64)).tolist() == [math.ldexp(1.0, k) for k in n.tolist()]


def test_exp2_at_the_ends() -> None:
    got = exp2(np.array([0.0, -0.0, -1075.5, -1e300, -np.inf]))
    assert got.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.slow
def test_exp2_is_within_a_unit_in_the_last_place_or_so() -> None:
    got = exp2(SAMPLES)
    errors = [
        abs(Decimal(y) - exact(x)) / Decimal(float(np.spacing(y)))
        for x, y in zip(SAMPLES.tolist(), got.tolist(), strict=True)
    ]
    assert max(errors) < Decimal("1.1")


def test_exp2_never_rises_above_one() -> None:
    assert exp2(SAMPLES).max() <= 1.0


@pytest.mark.parametrize("start", [0, 1, 3, 5])
@pytest.mark.parametrize("step", [1, 2, 7])
def test_exp2_has_the_same_bits_however_the_column_is_cut(start: int, step: int) -> None:
    long = np.tile(SAMPLES, 4)
    assert bits(exp2(long[start::step])) == bits(exp2(long)[start::step])
    assert bits(exp2(long[start : start + 3])) == bits(exp2(long)[start : start + 3])


def test_exp2_has_these_bits_on_every_machine() -> None:
    got = exp2(np.array([-1e-9, -0.1, -0.4929727807818711, -2.75, -274.4698943393775, -1070.3]))
    assert [y.hex() for y in got.tolist()] == [
        "0x1.fffffffa0bc0dp-1",
        "0x1.ddb680117ab12p-1",
        "0x1.6bce71fe41814p-1",
        "0x1.306fe0a31b715p-3",
        "0x1.71ac4646454f8p-275",
        "0x0.000000000000dp-1022",
    ]


# retention and lapse --------------------------------------------------------------------------


def test_retention_halves_with_every_half_life() -> None:
    decay = Decay(halflife="5min")
    assert decay.retention(np.array([0, 300_000, 600_000, 10**15])).tolist() == [1, 0.5, 0.25, 0]


def test_retention_and_lapse_have_the_same_bits_one_by_one() -> None:
    decay = Decay(tau="7min")
    gaps = np.concatenate([np.arange(3000), np.random.default_rng(4).integers(0, 10**9, 3000)])
    assert bits(decay.retention(gaps)) == bits([decay.retention_of(g) for g in gaps.tolist()])
    assert bits(decay.lapse(gaps)) == bits([decay.lapse_of(g) for g in gaps.tolist()])


def test_lapse_keeps_its_digits_over_short_gaps() -> None:
    gaps = np.array([0, 1, 7, 1000, 10**6, 10**9, 10**12])
    halflife_ms = 86_400_000.0 * 365
    expected = [-math.expm1(-math.log(2) * gap / halflife_ms) for gap in gaps.tolist()]
    assert Decay(halflife="365 days").lapse(gaps) == pytest.approx(expected, rel=1e-15)


# Decay ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "beta", "alpha"),
    [
        ({"beta": 0.9}, 0.9, 0.1),
        ({"beta": 0}, 0, 1),
        ({"alpha": 0.1}, 0.9, 0.1),
        ({"alpha": 1e-20}, 1, 1e-20),
        ({"span": 19}, 0.9, 0.1),
        ({"span": 1}, 0, 1),
        ({"com": 9}, 0.9, 0.1),
        ({"com": 0}, 0, 1),
        ({"halflife": 1}, 0.5, 0.5),
        ({"halflife": 10}, 2**-0.1, -math.expm1(-math.log(2) / 10)),
        ({"halflife": 1e12}, 1 - math.log(2) * 1e-12, math.log(2) * 1e-12),
        ({"tau": 3}, math.exp(-1 / 3), -math.expm1(-1 / 3)),
        ({"tau": 0.5}, math.exp(-2), -math.expm1(-2)),
    ],
)
def test_count_decay_has_one_normal_form(
    options: dict[str, Any], beta: float, alpha: float
) -> None:
    decay = Decay(**options)
    assert not decay.by_time
    assert (decay.beta, decay.alpha) == pytest.approx((beta, alpha), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "halflife_ms"),
    [
        ({"halflife": "5min"}, 300_000),
        ({"halflife": timedelta(seconds=1.5)}, 1500),
        ({"halflife": timedelta(microseconds=5)}, 0.005),
        ({"tau": "1s"}, 1000 * math.log(2)),
        ({"tau": timedelta(days=1)}, 86_400_000 * math.log(2)),
    ],
)
def test_time_decay_has_one_normal_form(options: dict[str, Any], halflife_ms: float) -> None:
    decay = Decay(**options)
    assert decay.by_time
    assert decay.halflife_ms == pytest.approx(halflife_ms, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", 250),
        ("90s", 90_000),
        ("1h30min", 5_400_000),
        ("1 hour 30 minutes", 5_400_000),
        (" 2 days ", 172_800_000),
        ("1w", 604_800_000),
        ("1.1min", 66_000),
        ("0.1s", 100),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert duration_ms(text) == expected


def test_a_duration_that_is_shown_reads_back_to_three_digits() -> None:
    powers = 10.0 ** np.linspace(-6, 15, 300)
    for ms in [*powers.tolist(), *powers.round().tolist()]:
        assert duration_ms(shown_duration(ms)) == pytest.approx(ms, rel=5.1e-3)


@pytest.mark.parametrize(
    "text", ["", " ", "5", "min", "5m", "5 months", "-5s", "1e3s", "5s!", "s5", "1h 30", "٣s", "∞s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a duration") as refused:
        Decay(halflife=text)
    assert f"halflife: {text!r}" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of .* not none"),
        ({"beta": 0.9, "alpha": 0.1}, "exactly one of .* not beta and alpha"),
        ({"beta": 1}, r"beta is 1: .* 0 <= beta < 1"),
        ({"beta": -0.1}, "0 <= beta < 1"),
        ({"alpha": 0}, "0 < alpha <= 1"),
        ({"alpha": 1.5}, "0 < alpha <= 1"),
        ({"span": 0.5}, "span >= 1"),
        ({"com": -1}, "com >= 0"),
        ({"halflife": 0}, "halflife > 0"),
        ({"tau": -3}, "tau > 0"),
        ({"beta": math.nan}, "beta is nan"),
        ({"span": math.inf}, "finite"),
        ({"span": 10**400}, "finite"),
        ({"beta": True}, "beta must be a number, not True"),
        ({"beta": "0.9"}, "beta must be a number, not '0.9'"),
        ({"span": timedelta(1)}, "span must be a number"),
        ({"halflife": np.timedelta64(5, "s")}, 'or a time such as "5min"'),
        ({"halflife": "0s"}, "time > 0"),
        ({"tau": timedelta(0)}, "time > 0"),
        ({"halflife": timedelta(-1)}, "time > 0"),
    ],
)
def test_a_wrong_decay_is_refused_with_the_bound(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Decay(**options)


def test_numpy_numbers_are_numbers() -> None:
    assert Decay(span=np.int64(19)) == Decay(span=19.0)  # type: ignore[arg-type] # untyped users do
    assert Decay(beta=np.float64(0.9)) == Decay(beta=0.9)


def test_what_belongs_to_the_other_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="only a time decay has halflife_ms"):
        _ = Decay(halflife=10).halflife_ms
    with pytest.raises(ConfigError, match="only a count decay has beta"):
        _ = Decay(halflife="10s").beta
    with pytest.raises(ConfigError, match="only a count decay has alpha"):
        _ = Decay(halflife="10s").alpha


@pytest.mark.parametrize("decay", [Decay(beta=0.9), Decay(halflife="5min"), Decay(tau=3)])
def test_a_decay_is_a_value(decay: Decay) -> None:
    copy = pickle.loads(pickle.dumps(decay))
    assert (copy, hash(copy), repr(copy)) == (decay, hash(decay), repr(decay))
    with pytest.raises(AttributeError):
        decay.by_time = True  # type: ignore[misc]


def test_decays_are_equal_just_when_they_decay_alike() -> None:
    assert Decay(halflife="5min") == Decay(halflife=timedelta(minutes=5))
    assert Decay(span=19) == Decay(com=9)
    assert Decay(halflife=5) != Decay(halflife="5ms")
    assert Decay(beta=0.9) != Decay(beta=0.8)


def test_a_decay_shows_what_was_given() -> None:
    assert repr(Decay(halflife="5min")) == "Decay(halflife='5min')"
    assert repr(Decay(beta=0.9)) == "Decay(beta=0.9)"
    assert "window about 10 readings" in Decay(beta=0.9).describe()
    assert "halve in that time" in Decay(halflife="5min").describe()
