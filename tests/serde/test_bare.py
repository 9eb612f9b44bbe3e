"""Payloads that are one number: as text, and as Kafka's serializers write it."""

from __future__ import annotations

import json
import math
import struct
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.errors import ConfigError
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.bare import BareDecoder, BareName
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from tests.serde import fuzz_formats

FORMS = {"float32": ">f", "float64": ">d", "int32": ">i", "int64": ">q"}


def decode(
    name: BareName, *payloads: bytes | None, column: bool = False, **options: Any
) -> Decoded:
    given_ = {"value": "@value", "series_id": None, "numbers": "text", **options}
    decoder = BareDecoder(name, DecoderOptions(**given_))
    values: Any = BytesColumn.of(payloads) if column else payloads
    return decoder.decode([b"k"] * len(payloads), values, list(range(len(payloads))))


def told(decoded: Decoded) -> tuple[Any, ...]:
    readings = decoded.readings
    assert readings.times_ms is not None
    bits = np.where(np.isnan(readings.values), np.nan, readings.values).tobytes()
    ids = list(readings.series_ids)
    return decoded.kept.tolist(), ids, readings.times_ms.tolist(), bits, list(decoded.rejected)


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        ("number", b"21.5", 21.5),
        ("number", b" -3\n", -3.0),
        ("number", b"+.5", 0.5),
        ("number", b"1e3", 1000.0),
        ("number", b"-0", -0.0),
        ("number", b"-0.0", -0.0),
        ("int32", struct.pack(">i", 0), 0.0),
        ("number", b"0.30000000000000004", 0.30000000000000004),
        ("number", b"9007199254740993", 9007199254740992.0),
        ("float64", struct.pack(">d", -0.0), -0.0),
        ("float64", struct.pack(">d", 1e-310), 1e-310),
        ("float64", struct.pack(">d", math.nan), math.nan),
        ("float32", struct.pack(">f", 0.1), 0.10000000149011612),
        ("int32", struct.pack(">i", -(2**31)), -2147483648.0),
        ("int64", struct.pack(">q", 2**53 + 1), 9007199254740992.0),
        ("int64", struct.pack(">q", 2**63 - 1), 9223372036854775808.0),
    ],
)
def test_numbers(
    monkeypatch: pytest.MonkeyPatch,
    name: BareName,
    payload: bytes,
    expected: float,
    *,
    column: bool,
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    decoded = decode(name, payload, column=column)
    assert not decoded.rejected
    assert decoded.readings.values.tobytes() == np.array([expected]).tobytes()


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("name", "payload", "cause", "detail"),
    [
        ("number", None, "tombstone", "the value is null"),
        ("number", b"", "empty", "the value is empty"),
        ("number", b" \n", "empty", "the value is empty"),
        ("number", b"\xff", "not-utf8", "not UTF-8: invalid start byte (byte 0)"),
        ("number", b"null", "wrong-type", "@value is 'null': not a number; a word for a missing"),
        ("number", b"NaN", "wrong-type", "not a number"),
        ("number", b"1,5", "wrong-type", 'decimal = "," in [input] reads it'),
        ("number", b"1_000", "wrong-type", "digits in groups"),
        ("number", b"0x1F", "wrong-type", "hexadecimal"),
        ("number", b"21.5 C", "wrong-type", "with a unit"),
        ("number", b"21.5 22.5", "wrong-type", "not a number"),
        ("number", b"1e999", "out-of-range", "too large for a 64-bit float"),
        ("number", b'{"v": 1}', "wrong-type", "not a number"),
        ("float64", None, "tombstone", "the value is null"),
        ("float64", b"", "empty", "the value is empty"),
        ("float64", b"21.5", "wrong-size", "the value has 4 bytes, and float64 has 8"),
        ("float32", bytes(8), "wrong-size", "the value has 8 bytes, and float32 has 4"),
        ("int32", bytes(5), "wrong-size", "the value has 5 bytes, and int32 has 4"),
        ("float64", struct.pack(">d", -math.inf), "out-of-range", "too large for a 64-bit float"),
        ("float32", struct.pack(">f", math.inf), "out-of-range", "too large for a 64-bit float"),
    ],
)
def test_what_is_no_number_is_told(
    monkeypatch: pytest.MonkeyPatch,
    name: BareName,
    payload: bytes | None,
    cause: str,
    detail: str,
    *,
    column: bool,
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    good = b"1.5" if name == "number" else struct.pack(FORMS[name], 2)
    decoded = decode(name, good, payload, good, column=column)
    assert decoded.kept.tolist() == [0, 2]
    [rejection] = decoded.rejected
    assert (rejection.at, rejection.cause) == (1, cause)
    assert cause in CAUSES
    assert detail in rejection.detail


@pytest.mark.parametrize("column", [False, True])
def test_words_sentinels_and_a_decimal_comma(
    monkeypatch: pytest.MonkeyPatch, *, column: bool
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    payloads = b"", b"off", b"-99", b"1.5"
    words = ["", "off", -99.0]
    decoded = decode("number", *payloads, column=column, missing_values=words)
    np.testing.assert_array_equal(decoded.readings.values, [math.nan] * 3 + [1.5])
    decoded = decode("number", b"1,5", b"2", column=column, decimal=",")
    assert decoded.readings.values.tolist() == [1.5, 2.0]
    decoded = decode("float64", struct.pack(">d", -99), column=column, missing_values=[-99.0])
    assert math.isnan(decoded.readings.values[0])


def test_infinite_values_where_they_are_taken() -> None:
    decoded = decode("float64", struct.pack(">d", math.inf), infinite=True, highest=math.inf)
    assert decoded.readings.values.tolist() == [math.inf]


def test_all_else_stands_beside_the_payload() -> None:
    options = DecoderOptions(value="@value", series_id="@header.id", time="@header.at")
    decoder = BareDecoder("int32", options)
    headers = [[("id", b"s"), ("at", b"1970-01-01T00:00:01Z")]]
    readings = decoder.decode([None], [struct.pack(">i", 5)], [-1], headers).readings
    assert readings.times_ms is not None
    assert (readings.series_ids, readings.times_ms.tolist()) == (["s"], [1000])


def test_a_path_into_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="'@value' cannot be read itself and hold id too"):
        BareDecoder("number", DecoderOptions(value="@value", series_id="id"))


def test_a_sample_of_the_fuzzer() -> None:
    found = fuzz_formats.run(seed=7, inputs=3_000)
    assert min(found["csv: readings"], found["line: readings"], found["bare: readings"]) > 100


@pytest.mark.parametrize("name", get_args(BareName))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_same_bits_as_json_by_every_way(name: BareName, data: st.DataObject) -> None:
    numbers = st.integers(-(2**31), 2**31 - 1)
    if name == "int64":
        numbers = st.integers(-(2**63), 2**63 - 1)
    finite: Any = st.floats(
        allow_nan=False, allow_infinity=False, width=32 if name == "float32" else 64
    )
    values = data.draw(st.lists(numbers if name.startswith("int") else finite, min_size=1))
    write = json.dumps if name == "number" else None
    payloads = [
        write(value).encode() if write else struct.pack(FORMS[name], value) for value in values
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        by_column = told(decode(name, *payloads, column=True))
    assert by_column == told(decode(name, *payloads))
    as_json = [json.dumps(value).encode() for value in values]
    decoder = JsonDecoder(DecoderOptions(value="@value", series_id=None))
    n = len(values)
    assert by_column == told(decoder.decode([b"k"] * n, as_json, list(range(n))))


@pytest.mark.parametrize("name", get_args(BareName))
@given(
    payloads=st.lists(
        st.none() | st.binary(max_size=9) | st.sampled_from([b"1.5", bytes(4), bytes(8)])
    )
)
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_rejected_alike(name: BareName, payloads: list[bytes | None]) -> None:
    one_by_one = told(decode(name, *payloads))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "_FEW", 1)
        assert told(decode(name, *payloads, column=True)) == one_by_one
