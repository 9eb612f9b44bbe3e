"""Snapshots as bytes: they come back as they were, or are refused with a sentence."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from ewma_ops.columns.sealed import check_pickle, open_sealed, seal
from ewma_ops.connectors.sink.ledger import LedgerState
from ewma_ops.errors import StateError
from ewma_ops.operators.shards import ShardState
from ewma_ops.stats.decay import Decay
from ewma_ops.stats.smoothing import Smoothing
from ewma_ops.table.smoothing_set import SmoothingSet
from ewma_ops.table.table import SeriesTable

SHAPES = nps.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
ARRAYS = st.sampled_from(["f8", "f4", "i8", "u4", "u2", "u1", "bool", ">i4"]).flatmap(
    lambda dtype: nps.arrays(np.dtype(dtype), SHAPES)
)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4))
def test_arrays_come_back_as_they_were(columns: dict[str, np.ndarray]) -> None:
    numbers = {"a": 1, "b": ["text", 2**60, True]}
    opened = open_sealed(seal("kind", numbers, columns), "kind")
    assert opened.numbers == numbers
    assert list(opened.columns) == list(columns)
    for name, column in columns.items():
        assert opened.columns[name].dtype == column.dtype.newbyteorder("=")
        np.testing.assert_array_equal(opened.columns[name], column)


def a_shard() -> ShardState:
    table = SeriesTable(SmoothingSet.of(Smoothing(Decay(beta=0.5), statistics=["mean", "var"])))
    from ewma_ops.columns.readings import Readings

    table.update(Readings(["a", "b", "grüße"], np.array([1.0, 2.0, 3.0])))
    return ShardState(3, table.snapshot(), {0: 17, 5: 2**40})


def test_states_come_back_as_they_were() -> None:
    shard = a_shard()
    opened = ShardState.opened(shard.sealed())
    assert (opened.shard, opened.newest) == (shard.shard, shard.newest)
    assert opened.series.ids.utf8() == shard.series.ids.utf8()
    assert opened.sealed() == shard.sealed()
    ledger = LedgerState(2, 7, {2: np.array([1, 5])})
    assert LedgerState.opened(ledger.sealed()).sealed() == ledger.sealed()


@pytest.mark.parametrize("sealed", [a_shard().sealed(), LedgerState(2, 7, {}).sealed()])
def test_each_flipped_bit_is_noticed(sealed: bytes) -> None:
    kind = "shard" if b"shard" in sealed else "sink partition"
    stored = pickle.dumps(sealed)
    check_pickle(stored)
    for bit in range(8 * len(stored)):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StateError, match=r"start over with a new recovery directory"):
            check_pickle(bytes(damaged))
    for bit in range(8 * len(sealed)):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StateError, match=r"start over with a new recovery directory"):
            open_sealed(bytes(damaged), kind)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_other_bytes_are_refused(noise: bytes, cut: int) -> None:
    sealed = a_shard().sealed()
    for bad in (noise, sealed[:cut], sealed + noise[:1] + b"x", pickle.dumps(noise)):
        with pytest.raises(StateError):
            open_sealed(bad, "shard")
        with pytest.raises(StateError):
            check_pickle(bad)


class Runs:
    """What an attacker would pickle."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("code has run",)


@pytest.mark.parametrize("what", [Runs(), 7, ("EWMA", b"EWMA"), a_shard(), [a_shard().sealed()]])
def test_no_other_pickle_is_let_through(what: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StateError):
        check_pickle(pickle.dumps(what))
    assert capsys.readouterr().out == ""


def test_none_is_let_through_and_null_is_not() -> None:
    check_pickle(pickle.dumps(None))
    with pytest.raises(StateError, match="there is none"):
        check_pickle(None)


def test_the_state_of_something_else_is_refused() -> None:
    with pytest.raises(StateError, match="that of a shard, not of a source partition"):
        open_sealed(a_shard().sealed(), "source partition")


def test_another_format_is_refused() -> None:
    sealed = bytearray(a_shard().sealed())
    sealed[4] = 2
    with pytest.raises(StateError, match="format 2, and this release reads 1"):
        open_sealed(bytes(sealed), "shard")
