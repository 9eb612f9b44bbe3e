"""Numbers in quotes, decimal commas, words and sentinels for none; and letters that say why."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions

ZIGBEE = ["", "unavailable", "unknown", "null", -9999.9]


def decode(*values: Any, column: bool = False, **options: Any) -> Decoded:
    decoder = JsonDecoder(DecoderOptions(**options))
    payloads: Any = [json.dumps({"series_id": "a", "value": value}).encode() for value in values]
    if column:
        payloads = BytesColumn.of(payloads)
    return decoder.decode([None] * len(values), payloads, [0] * len(values))


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("found", ["-0", "-0.0", "-0e5"])
def test_zero_in_quotes_keeps_its_sign(
    monkeypatch: pytest.MonkeyPatch, found: str, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    decoded = decode("1.5", found, numbers="text", column=column)
    assert decoded.readings.values.tobytes() == np.array([1.5, -0.0]).tobytes()


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("21.5", 21.5),
        (21.5, 21.5),
        (3, 3.0),
        ("3", 3.0),
        ("-0.001", -0.001),
        ("+1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        (" 21.5 ", 21.5),
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        ("0001", 1.0),
        ("0.30000000000000004", 0.30000000000000004),
        ("9007199254740993", 9007199254740992.0),
        ("1" * 300, float("1" * 300)),
    ],
)
def test_numbers_in_quotes(
    monkeypatch: pytest.MonkeyPatch, found: Any, expected: float, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    decoded = decode("1.5", found, 2, "7", numbers="text", column=column)
    assert decoded.readings.values.tolist() == [1.5, expected, 2.0, 7.0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [("21,5", 21.5), ("-1,5e3", -1500.0), (",5", 0.5), ("3", 3.0), (1.5, 1.5)],
)
def test_a_decimal_comma(found: Any, expected: float) -> None:
    assert decode(found, numbers="text", decimal=",").readings.values.tolist() == [expected]


@pytest.mark.parametrize(
    ("options", "found", "said"),
    [
        ({}, "21.5", 'numbers = "text" in [input]'),
        ({}, "21,5", 'numbers = "text" and decimal = "," in [input]'),
        ({"numbers": "text"}, "21,5", 'decimal = "," in [input]'),
        ({"numbers": "text", "decimal": ","}, "21.5", 'decimal = "." in [input]'),
        ({"numbers": "text"}, "0x1F", "hexadecimal"),
        ({"numbers": "text"}, "1_000", "digits in groups"),
        ({"numbers": "text"}, "1,234.5", "digits in groups"),
        ({"numbers": "text"}, "1 234", "digits in groups"),
        ({"numbers": "text"}, "23.5 °C", "a unit or other text behind it"),
        ({"numbers": "text"}, "45%", "a unit or other text behind it"),
        ({"numbers": "text"}, "12V", "a unit or other text behind it"),
        ({"numbers": "text"}, "unavailable", "missing_values"),
        ({"numbers": "text"}, "", 'missing_values = [""]'),
        ({"numbers": "text"}, "NaN", "missing_values"),
        ({"numbers": "text"}, "Infinity", "not a number"),
        ({"numbers": "text"}, "null", "missing_values"),
        ({"numbers": "text"}, "١٢", "not a number"),
        ({"numbers": "text"}, "x" * 100_000, "not a number"),
        ({"numbers": "text"}, "1" * 100_000, "not a number"),
        ({"numbers": "text"}, True, "not a number"),
        ({"missing_values": [""]}, "21.5", 'numbers = "text" in [input]'),
    ],
)
def test_what_is_no_number_is_said_with_what_to_write(
    options: dict[str, Any], found: Any, said: str
) -> None:
    [rejection] = decode(found, **options).rejected
    assert rejection.cause == "wrong-type"
    assert said in rejection.detail
    assert len(rejection.detail) < 300


@pytest.mark.parametrize("numbers", ["strict", "text"])
@pytest.mark.parametrize("found", ["", "unavailable", "unknown", "null", -9999.9, None])
@pytest.mark.parametrize("column", [False, True])
def test_words_and_numbers_for_a_missing_reading(
    monkeypatch: pytest.MonkeyPatch, numbers: str, found: Any, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    decoded = decode(1, found, 2, 3, numbers=numbers, missing_values=ZIGBEE, column=column)
    assert not decoded.rejected
    np.testing.assert_array_equal(decoded.readings.values, [1, math.nan, 2, 3])


@pytest.mark.parametrize("word", ["null", "NaN", "Infinity", "1,2", "1e400", "[1]", ""])
def test_a_word_among_numbers_in_quotes_is_rejected_alone(
    monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    decoded = decode("1", word, "2", "3", numbers="text", column=True)
    assert decoded.kept.tolist() == [0, 2, 3]
    assert decoded.readings.values.tolist() == [1.0, 2.0, 3.0]


def test_a_sentinel_in_quotes_is_one_too() -> None:
    decoded = decode("-9999.90", numbers="text", missing_values=ZIGBEE)
    assert math.isnan(decoded.readings.values[0])


def test_a_missing_reading_follows_its_policy() -> None:
    decoded = decode("unknown", -9999.9, 1, missing_values=ZIGBEE, nulls=False)
    assert [one.cause for one in decoded.rejected] == ["missing", "missing"]


def test_infinite_words_are_read_where_infinite_values_are() -> None:
    words = ["Infinity", "-inf", "NaN", "1e400"]
    decoded = decode(*words, numbers="text", infinite=True)
    np.testing.assert_array_equal(
        decoded.readings.values, [math.inf, -math.inf, math.nan, math.inf]
    )
    assert [one.cause for one in decode("1e400", numbers="text").rejected] == ["out-of-range"]


def test_numbers_in_keys_and_headers_have_no_quotes() -> None:
    decoder = JsonDecoder(DecoderOptions(["@key", "@header.t"], series_id="id"))
    headers = [[("t", b"2.5")], [("t", b"x")]]
    decoded = decoder.decode([b"1", b"1"], [b'{"id":"a"}'] * 2, [0, 0], headers)
    assert decoded.readings.values.tolist() == [[1.0, 2.5]]
    assert [one.cause for one in decoded.rejected] == ["wrong-type"]


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63))
def test_a_number_in_quotes_has_the_bits_of_one_without(number: float) -> None:
    bare, quoted = decode(number), decode(repr(number), numbers="text")
    assert quoted.readings.values.tobytes() == bare.readings.values.tobytes()
    assert [one.cause for one in quoted.rejected] == [one.cause for one in bare.rejected]


WRITTEN = st.text("0123456789+-.,eE_x nul", max_size=8)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(WRITTEN | st.floats() | st.none(), min_size=2, max_size=12), st.sampled_from(".,"))
def test_by_columns_as_one_by_one(values: list[Any], decimal: str) -> None:
    options: dict[str, Any] = {"numbers": "text", "decimal": decimal, "missing_values": ["x", 1.0]}
    values = ["1.5", *values, "2.5"]
    one_by_one = decode(*values, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        by_columns = decode(*values, column=True, **options)
    assert by_columns.readings.values.tobytes() == one_by_one.readings.values.tobytes()
    assert by_columns.rejected == one_by_one.rejected
