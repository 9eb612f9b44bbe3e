"""Keys of records: one rule for all keys of a topic, and never text by chance."""

from __future__ import annotations

import struct
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn, TextColumn
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions

INT64 = [struct.pack(">q", number) for number in (123, 200, 123, 1234, -1)]


def decode(*keys: bytes | None, column: bool = False, **options: Any) -> Decoded:
    decoder = JsonDecoder(DecoderOptions(**{"series_id": None, **options}))
    payloads = [b'{"value":1}'] * len(keys)
    if column:
        return decoder.decode(BytesColumn.of(keys), BytesColumn.of(payloads), [0] * len(keys))
    return decoder.decode(keys, payloads, [0] * len(keys))


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        ("text", [b"a", "é".encode(), INT64[0]], ["a", "é", "\0\0\0\0\0\0\0{"]),
        ("int64", INT64, ["123", "200", "123", "1234", "-1"]),
        ("int32", [struct.pack(">i", number) for number in (7, -(2**31))], ["7", "-2147483648"]),
        ("uuid", [UUID(int=1).bytes], ["00000000-0000-0000-0000-000000000001"]),
        ("json", [b'"a"', b"5"], ["a", "5"]),
        (None, [b"a", b"b\tc\n"], ["a", "b\tc\n"]),
    ],
)
def test_keys_of_every_kind(
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    keys: list[bytes],
    expected: list[str],
    *,
    column: bool,
) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    assert list(decode(*keys, key=kind, column=column).readings.series_ids) == expected
    by_path = decode(*keys, key=kind, series_id=["@key", "@key"][:1], column=column)
    assert list(by_path.readings.series_ids) == expected


@pytest.mark.parametrize("column", [False, True])
def test_binary_keys_are_refused_alike(monkeypatch: pytest.MonkeyPatch, *, column: bool) -> None:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    decoded = decode(*INT64, column=column)
    assert len(decoded.readings) == 0
    assert {one.cause for one in decoded.rejected} == {"binary-key"}
    assert {'key = "int64"' in one.detail for one in decoded.rejected} == {True}


@pytest.mark.parametrize(
    ("kind", "key", "cause"),
    [
        (None, b"\xff", "not-utf8"),
        (None, b"\0\0\0\x01", "binary-key"),
        (None, UUID(int=2**127).bytes, "binary-key"),
        (None, b"a\0", "binary-key"),
        (None, None, "no-series-id"),
        (None, b"", "no-series-id"),
        ("text", b"\xff\0\0\0\0\0\0\0", "not-utf8"),
        ("int64", b"123", "binary-key"),
        ("int64", b"", "no-series-id"),
        ("int32", None, "no-series-id"),
        ("uuid", b"00000000-0000-0000-0000-000000000001", "binary-key"),
        ("json", b"{", "not-json"),
        ("json", b"", "no-series-id"),
        ("json", b"null", "no-series-id"),
        ("json", b'""', "no-series-id"),
        ("json", b'{"id": 1}', "wrong-type"),
        ("json", b"true", "wrong-type"),
        ("json", b"1.5", "wrong-type"),
        ("json", b"[" * 100_000, "not-json"),
    ],
)
def test_keys_that_are_no_ids(kind: Any, key: bytes | None, cause: str) -> None:
    assert cause in CAUSES
    [rejection] = decode(key, key=kind).rejected
    assert rejection.cause == cause
    assert len(rejection.detail) < 300


def test_a_field_of_a_json_key() -> None:
    keys = [b'{"plant":"p","sensor":{"id":7}}', b"{}", b"5"]
    decoded = decode(*keys, key="json", series_id=["@key.plant", "@key.sensor.id"])
    assert decoded.readings.series_ids == ["p/7"]
    assert [one.cause for one in decoded.rejected] == ["no-series-id", "wrong-type"]


def test_many_keys_of_text_stay_a_column() -> None:
    decoded = decode(*[b"k%d" % i for i in range(2_000)], column=True)
    assert isinstance(decoded.readings.series_ids, TextColumn)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.none() | st.binary(max_size=17), min_size=1, max_size=9),
    st.sampled_from([None, "text", "int32", "int64", "uuid", "json"]),
)
def test_a_key_is_read_as_if_alone(keys: list[bytes | None], kind: Any) -> None:
    alone = [decode(key, key=kind) for key in keys]
    for column in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoder_module, "_FEW", 1)
            together = decode(*keys, key=kind, column=column)
        ids = [series_id for one in alone for series_id in one.readings.series_ids]
        assert list(together.readings.series_ids) == ids
        assert [why[1:] for why in together.rejected] == [
            why[1:] for one in alone for why in one.rejected
        ]
