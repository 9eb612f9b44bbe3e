"""Fields that are passed through to the event: the same JSON by every way and in every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.columns.byte_columns import BytesColumn
from ewma_ops.columns.readings import Readings, Smoothed
from ewma_ops.errors import ConfigError
from ewma_ops.serde import decoder as decoder_module
from ewma_ops.serde.decoder import Decoded, Decoder
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json import encoder as encoder_module
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.json.documents import JsonFormat
from ewma_ops.serde.json.encoder import JsonEncoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.own import OwnFormat

WAYS = ["documents", "structs", "columns"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(decoder_module, "_FEW", 1)
    return str(request.param)


def decode(way: str, *payloads: bytes | None, **options: Any) -> Decoded:
    asked = DecoderOptions(**{"series_id": "id", "value": "v", **options})
    n = len(payloads)
    values: Any = BytesColumn.of(payloads) if way == "columns" else payloads
    decoder: Decoder = JsonDecoder(asked)
    if way == "documents":
        decoder = Decoder(JsonFormat(asked.paths(), infinite=False), asked)
    return decoder.decode([None] * n, values, [0] * n)


def included(decoded: Decoded) -> list[dict[str, Any]]:
    assert decoded.readings.included is not None
    return [json.loads(b"{%b}" % (members or b"")) for members in decoded.readings.included]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b'"C"', '"C"'),
        (b'"\\u00e9 \\"x\\""', '"é \\"x\\""'),
        (b"5", "5"),
        (b"-5", "-5"),
        (b"-0", "0"),
        (b"-0.0", "-0.0"),
        (b"5.0", "5.0"),
        (b"1.50", "1.5"),
        (b"1e5", "100000.0"),
        (b"1E-7", "1e-7"),
        (b"9007199254740993", "9007199254740993"),
        (b"18446744073709551616", "18446744073709551616"),
        (b"1e300", "1e300"),
        (b"true", "true"),
        (b"null", "null"),
        (b'{"a": [1.0, "x", {"b": null}]}', '{"a":[1.0,"x",{"b":null}]}'),
        (b"[]", "[]"),
    ],
)
def test_types_are_kept(way: str, written: bytes, expected: str) -> None:
    payloads = [b'{"id":"a","u":%b,"v":1}' % written] * 3
    decoded = decode(way, *payloads, include=["u"])
    assert decoded.readings.included is not None
    assert list(decoded.readings.included) == [b'"u":' + expected.encode()] * 3


def test_absent_fields_and_paths_that_lead_nowhere_are_null(way: str) -> None:
    payloads = [b'{"id":"a","v":1,"s":"text","w":[1]}', b'{"id":"a","v":1,"s":{"name":7},"x":2}']
    decoded = decode(way, *payloads, include=["s.name", "w.b", "x", "nope.at.all"])
    assert not decoded.rejected
    assert included(decoded) == [
        {"s_name": None, "w_b": None, "x": None, "nope_at_all": None},
        {"s_name": 7, "w_b": None, "x": 2, "nope_at_all": None},
    ]


def test_what_is_read_otherwise_can_be_passed_through_too(way: str) -> None:
    payloads = [b'{"id":{"n":"a"},"v":1.50}', b'{"id":{"n":"b","m":2},"v":null}']
    decoded = decode(way, *payloads, series_id="id.n", include=["v", "id"], value="v")
    assert included(decoded) == [
        {"v": 1.5, "id": {"n": "a"}},
        {"v": None, "id": {"n": "b", "m": 2}},
    ]


def test_fields_of_the_record_and_of_what_encloses_a_reading() -> None:
    options = DecoderOptions(
        records="data[]",
        series_id="id",
        value="v",
        include=["^.unit", "@topic", "@partition", "@header.h", "[0]"],
    )
    decoded = JsonDecoder(options).decode(
        [None], [b'{"unit":"C","data":[{"id":"a","v":1},{"id":"b","v":2}]}'], [0],
        [[("h", b"x")]], [3], ["t"],
    )  # fmt: skip
    row = {"unit": "C", "topic": "t", "partition": 3, "header_h": "x", "0": None}
    assert included(decoded) == [row, row]


def test_too_much_is_a_letter(way: str) -> None:
    payloads = [b'{"id":"a","v":1,"u":"%b"}' % (b"x" * n) for n in (14, 15)]
    decoded = decode(way, *payloads, include=["u"], max_include_bytes=20)
    assert [one["u"] for one in included(decoded)] == ["x" * 14]
    [rejection] = decoded.rejected
    assert (rejection.at, rejection.cause) == (1, "include-too-long")
    assert rejection.cause in CAUSES
    assert rejection.detail == (
        "the included fields have 21 bytes, at most 20 (output.max_include_bytes)"
    )


def test_nothing_is_kept_where_nothing_is_included(way: str) -> None:
    assert decode(way, b'{"id":"a","v":1,"u":2}').readings.included is None


def test_objects_of_a_format_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "typed_frames.py").write_text(
        "from datetime import datetime, timezone\n"
        "from decimal import Decimal\n"
        "class Odd: pass\n"
        "ROWS = {b'a': datetime(2026, 1, 31, tzinfo=timezone.utc), b'b': Decimal('1.50'),\n"
        "        b'c': Odd(), b'd': float('nan'), b'e': {1: 'x'}}\n"
        "def decode(payload):\n"
        "    return {'id': payload.decode(), 'v': 1, 'u': ROWS[payload]}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = DecoderOptions(series_id="id", value="v", include=["u", "id"])
    decoder = Decoder(OwnFormat("typed_frames:decode"), options)
    decoded = decoder.decode([None] * 5, [b"a", b"b", b"c", b"d", b"e"], [0] * 5)
    assert included(decoded) == [
        {"u": "2026-01-31T00:00:00Z", "id": "a"},
        {"u": "1.50", "id": "b"},
        {"u": None, "id": "d"},
        {"u": {"1": "x"}, "id": "e"},
    ]
    [rejection] = decoded.rejected
    assert (rejection.at, rejection.cause) == (2, "wrong-type")
    assert "it cannot be written as JSON (output.include)" in rejection.detail


scalars: Any = st.none() | st.booleans() | st.integers() | st.sampled_from(["C", "°F"])
scalars |= st.floats(allow_nan=False, allow_infinity=False)
scalars |= st.text(st.characters(codec="utf-8"), max_size=5)
trees: Any = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
)


@pytest.mark.slow
@given(st.lists(st.tuples(scalars, trees, st.booleans()), min_size=1, max_size=6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_every_way_writes_the_same_bytes(rows: list[tuple[Any, Any, bool]], alike: bool) -> None:
    payloads = []
    for flat, tree, has_tree in rows:
        document: dict[str, Any] = {"id": "a", "v": 1, "u": rows[0][0] if alike else flat}
        if has_tree and not alike:
            document["s"] = {"name": tree}
        payloads.append(json.dumps(document).encode())
    found = []
    for way in WAYS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoder_module, "_FEW", 1)
            decoded = decode(way, *payloads, include=["u", "s.name"], max_include_bytes=1 << 20)
        assert decoded.readings.included is not None
        found.append((list(decoded.readings.included), list(decoded.rejected)))
    assert found[0] == found[1] == found[2]
    for members, (flat, _, _) in zip(found[0][0], rows, strict=False):
        assert msgspec.json.decode(b"{%b}" % (members or b""))["u"] == (
            rows[0][0] if alike else flat
        )


@pytest.mark.parametrize("few", [1, 10_000])
def test_events_carry_what_is_included(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(encoder_module, "_FEW", few)
    members = BytesColumn.of([b'"unit":"C","x":1', b'"unit":"%b","x":null' % (b"y" * 100)])
    readings = Readings(["a", "b"], np.array([1.5, 2.5]), np.array([0, 1]), included=members)
    encoder = JsonEncoder(["mean"], [], ["unit", "x"])
    events = encoder.encode(Smoothed(readings, {"mean": np.array([1.0, 2.0])}))
    assert [json.loads(event or b"") for event in events] == [
        {"series_id": "a", "time": 0, "value": 1.5, "ewma": 1.0, "unit": "C", "x": 1},
        {"series_id": "b", "time": 1, "value": 2.5, "ewma": 2.0, "unit": "y" * 100, "x": None},
    ]


def test_an_event_has_a_name_once() -> None:
    with pytest.raises(ConfigError, match="two keys of an event would be 'ewma'"):
        JsonEncoder(["mean"], [], ["ewma"])


def test_readings_keep_it_when_they_are_taken_and_joined() -> None:
    members = BytesColumn.of([b'"u":1', b'"u":2', b'"u":3'])
    readings = Readings(["a", "b", "c"], np.array([1.0, 2.0, 3.0]), included=members)
    both = Readings.concat([readings.take(np.array([2, 0])), readings])
    assert both.included is not None
    assert list(both.included) == [b'"u":3', b'"u":1', b'"u":1', b'"u":2', b'"u":3']


def test_the_largest_event_counts_it() -> None:
    without, with_it = JsonEncoder(["mean"]), JsonEncoder(["mean"], [], ["u"], 100)
    assert with_it.largest(10) - without.largest(10) == 101


def test_many_of_one_shape_are_read_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    options = DecoderOptions(series_id="id", value="v", include=["u", "n", "ok", "nope"])
    decoder = JsonDecoder(options)
    monkeypatch.setattr(decoder, "_rows", object())  # which is not to be called
    written = [b'{"id":"a","v":1,"u":"C","n":%d.5,"ok":true}' % i for i in range(2_000)]
    readings = decoder.decode([None] * 2_000, BytesColumn.of(written), [0] * 2_000).readings
    assert readings.included is not None
    assert readings.included[7] == b'"u":"C","n":7.5,"ok":true,"nope":null'
