"""Varints one at a time and a column at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import SPARE
from ewma_ops.errors import CorruptBatch
from ewma_ops.wire.varint import (
    LongVarintError,
    encode_varint,
    read_varint,
    read_varints,
    varint_sizes,
    words_of,
    write_varints,
)

INT64 = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (63, "7e"),
        (-64, "7f"),
        (64, "8001"),
        (300, "d804"),
        (2**31 - 1, "feffffff0f"),
        (-(2**63), "ffffffffffffffffff01"),
    ],
)
def test_worked_numbers(value: int, code: str) -> None:
    data = bytes.fromhex(code)
    assert encode_varint(value) == data
    assert read_varint(data + SPARE, 0) == (value, len(data))


@pytest.mark.parametrize("code", ["ff" * 10 + "01", "ff" * 9 + "02"])
def test_more_than_64_bits_are_refused(code: str) -> None:
    with pytest.raises(CorruptBatch, match="byte 0 is longer than 64 bits"):
        read_varint(bytes.fromhex(code) + SPARE, 0)


@given(st.lists(INT64, min_size=1, max_size=40))
def test_a_column_reads_as_its_varints_one_by_one(values: list[int]) -> None:
    codes = [encode_varint(value) for value in values]
    at = np.cumsum([0] + [len(code) for code in codes])
    words = words_of(b"".join(codes) + SPARE)
    if max(map(len, codes)) > 8:
        with pytest.raises(LongVarintError):
            read_varints(words, at[:-1])
    else:
        read, behind = read_varints(words, at[:-1])
        assert read.tolist() == values
        assert behind.tolist() == at[1:].tolist()


@given(st.lists(st.integers(-1, 2**31 - 1), min_size=1, max_size=40))
def test_a_column_is_written_as_its_varints_one_by_one(values: list[int]) -> None:
    codes = [encode_varint(value) for value in values]
    sizes = varint_sizes(np.array(values))
    assert sizes.tolist() == list(map(len, codes))
    out = np.zeros(int(sizes.sum()), np.uint8)
    write_varints(out, sizes.cumsum() - sizes, np.array(values))
    assert out.tobytes() == b"".join(codes)
