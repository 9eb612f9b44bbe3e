"""Protobuf payloads: the same readings as of JSON, every kind of field, and bytes that are none."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message import Message
from hypothesis import given, settings

from ewma_ops.errors import ConfigError
from ewma_ops.serde.decoder import Decoded, Decoder
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.protobuf import schema as schema_module
from ewma_ops.serde.protobuf.format import ProtobufFormat, SingleProtobufFormat
from ewma_ops.serde.protobuf.schema import file_of, message_at, message_class
from ewma_ops.serde.schemas import BadSchemaError, WrittenSchema
from tests.helpers.outcomes import ROWS, assert_same_bits
from tests.helpers.registry import Kept, framed

START_MS = 1_700_000_000_000
PLAIN = """syntax = "proto3"; package x;
message Reading { string id = 1; int64 at = 2; optional double v = 3; string unit = 4; }
message Outer {
  message First { double v = 1; }
  message Second { message Inner { double v = 1; } double v = 1; }
}
"""
EVERY = """syntax = "proto3"; package x;
import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto"; import "confluent/type/decimal.proto";
enum State { UNKNOWN = 0; OPEN = 1; }
message Tree { repeated Tree below = 1; float f = 2; }
message Every {
  State state = 1; google.protobuf.Timestamp at = 2; google.protobuf.DoubleValue v = 3;
  repeated int32 many = 4; map<string, float> by_name = 5; map<bool, Tree> trees = 6;
  google.protobuf.Struct free = 7; confluent.type.Decimal price = 8; bytes raw = 9;
  oneof which { uint64 a = 10; string b = 11; } Tree tree = 12; sint64 s = 13;
}
"""


@cache
def kind(text: str, *indexes: int) -> type[Message]:
    return message_class(message_at(file_of(WrittenSchema(text, "PROTOBUF")), indexes or (0,)))


def message(text: str, fields: dict[str, Any], *indexes: int) -> bytes:
    made: Message = json_format.ParseDict(fields, kind(text, *indexes)())
    return made.SerializeToString()


def document(text: str, datum: bytes, *indexes: int, unit: str | None = None) -> Any:
    found: dict[int, tuple[str, str]] = {}
    prefix = b"\0" if not indexes else bytes([2 * len(indexes), *(2 * i for i in indexes)])
    kept = Kept(s7=WrittenSchema(text, "PROTOBUF"))
    [one] = ProtobufFormat(kept, unit).documents([framed(7, prefix + datum)], [0], found)
    assert not found, found
    return one


def decoder_of(text: str, **options: Any) -> Decoder:
    given_ = DecoderOptions(**{"value": "v", "series_id": None, **options})
    format_ = ProtobufFormat(Kept(s7=WrittenSchema(text, "PROTOBUF")), given_.time_unit)
    return Decoder(format_, given_)


def decode(text: str, *payloads: bytes | None, **options: Any) -> Decoded:
    of = decoder_of(text, **options)
    return of.decode([b"k"] * len(payloads), payloads, [5] * len(payloads))


@cache
def decoder_of_rows() -> Decoder:
    """Return the same one for many inputs: a new one compiles its schema in a process."""
    return decoder_of(PLAIN, series_id="id", time="at")


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_protobuf_reads_the_bits_that_json_reads(rows: list[tuple[str, int, float | None]]) -> None:
    documents: list[dict[str, Any]] = [
        {"id": i, "at": at} | ({} if v is None else {"v": v}) for i, at, v in rows
    ]
    given_ = {"value": "v", "series_id": "id", "time": "at"}
    n = len(rows)
    by_json = JsonDecoder(DecoderOptions(**given_)).decode(  # type: ignore[arg-type]
        [None] * n, [json.dumps(one).encode() for one in documents], [0] * n
    )
    payloads = [framed(7, b"\0" + message(PLAIN, one)) for one in documents]
    by_protobuf = decoder_of_rows().decode([None] * n, payloads, [0] * n)
    assert_same_bits(by_protobuf, by_json)


def test_what_every_kind_of_field_is() -> None:
    fields: dict[str, Any] = {
        "state": "OPEN", "at": "2023-11-14T22:13:20.5Z", "v": 1.5, "many": [1, 2],
        "by_name": {"a": 0.5}, "trees": {"true": {"below": [{"f": 0.25}]}},
        "free": {"x": [1, {"y": None}], "b": True, "s": "t"}, "raw": "AAE=", "b": "text",
        "price": {"value": base64.b64encode(b"\xfb\x2e").decode(), "scale": 2}, "s": "-5",
    }  # fmt: skip
    assert document(EVERY, message(EVERY, fields, 1), 1) == {
        "state": "OPEN", "at": START_MS + 500, "v": 1.5, "many": [1, 2], "by_name": {"a": 0.5},
        "trees": {"true": {"below": [{"below": [], "f": 0.25}], "f": 0.0}},
        "free": {"x": [1.0, {"y": None}], "b": True, "s": "t"}, "raw": b"\0\1", "b": "text",
        "price": Decimal("-12.34"), "s": -5,
    }  # fmt: skip


def test_what_is_not_set_is_a_default_or_absent() -> None:
    found = document(EVERY, b"", 1)
    assert found == {"state": "UNKNOWN", "many": [], "by_name": {}, "trees": {}, "raw": b"", "s": 0}
    assert math.isnan(decode(PLAIN, framed(7, b"\0")).readings.values[0])


def test_only_fields_that_are_looked_at_are_read() -> None:
    kept = Kept(s7=WrittenSchema(EVERY, "PROTOBUF"))
    datum = framed(7, b"\2\2" + message(EVERY, {"v": 1.5, "tree": {"f": 2}, "b": "x"}, 1))
    format_ = ProtobufFormat(kept, heads=["v", "b", "absent"])
    assert format_.documents([datum], [0], {}) == [{"v": 1.5, "b": "x"}]


@pytest.mark.parametrize(
    ("unit", "expected"), [(None, 1500), ("s", Decimal("1.5")), ("us", 1500900), ("ns", 1500900000)]
)
def test_a_timestamp_has_a_unit_of_its_own(unit: str | None, expected: object) -> None:
    datum = message(EVERY, {"at": "1970-01-01T00:00:01.5009Z"}, 1)
    assert document(EVERY, datum, 1, unit=unit)["at"] == expected
    datum = message(EVERY, {"at": "1969-12-31T23:59:59.9999Z"}, 1)
    assert document(EVERY, datum, 1)["at"] == -1


def test_an_enum_without_a_name_is_its_number() -> None:
    assert document(EVERY, b"\x08\x07", 1)["state"] == 7


@pytest.mark.slow
def test_indexes_lead_to_types_inside_of_others() -> None:
    for indexes in ((1, 0), (1, 1), (1, 1, 0)):
        datum = message(PLAIN, {"v": 2.5}, *indexes)
        assert document(PLAIN, datum, *indexes)["v"] == 2.5


@pytest.mark.slow
def test_a_schema_as_a_descriptor_with_references_and_what_a_registry_knows_itself() -> None:
    def described(text: str, **files: str) -> str:
        references = tuple(files.items())
        file = descriptor_pb2.FileDescriptorProto()
        file_of(WrittenSchema(text, "PROTOBUF", references)).CopyToProto(file)
        file.name = ""
        return base64.b64encode(file.SerializeToString()).decode()

    unit = 'syntax = "proto3"; package u; message Unit { string name = 1; }'
    outer = """syntax = "proto3"; package x; import "common/unit.proto";
        import "google/protobuf/timestamp.proto"; import "confluent/meta.proto";
        message R { u.Unit unit = 1; google.protobuf.Timestamp at = 2;
                    double v = 3 [(confluent.field_meta).doc = "what"]; }"""
    path = "common/unit.proto"
    by_text = WrittenSchema(outer, "PROTOBUF", ((path, unit),))
    by_descriptor = WrittenSchema(
        described(outer, **{path: unit}), "PROTOBUF", ((path, described(unit)),)
    )
    for written in (by_text, by_descriptor):
        assert file_of(written).message_types_by_name["R"].full_name == "x.R"
    with pytest.raises(BadSchemaError, match=r"imports common/unit\.proto, which is not there"):
        file_of(by_descriptor._replace(references=()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("message X {", "does not compile"),
        ('syntax = "proto3"; import "absent.proto";', "absent.proto"),
        ('syntax = "proto3"; message R { Unknown u = 1; }', "Unknown"),
    ],
)
def test_a_schema_that_is_none_is_said(text: str, said: str) -> None:
    with pytest.raises(BadSchemaError, match=said):
        file_of(WrittenSchema(text, "PROTOBUF"))
    with pytest.raises(BadSchemaError, match="of AVRO"):
        file_of(WrittenSchema(text))


def test_a_reference_out_of_the_folder_is_refused() -> None:
    for name in ("../../etc/x.proto", "/etc/x.proto"):
        with pytest.raises(BadSchemaError, match="no name of a file"):
            file_of(WrittenSchema(PLAIN, "PROTOBUF", ((name, PLAIN),)))


@pytest.mark.parametrize(
    ("payload", "cause", "words"),
    [
        (None, "tombstone", "null"),
        (b"", "empty", "empty"),
        (b"\0\0", "not-protobuf", "too short"),
        (b'{"v": 1}', "not-protobuf", 'format = "json"'),
        (framed(8, b"\0"), "unknown-schema", "schema 8"),
        (framed(7, b"\0\xff"), "not-protobuf", "x.Reading"),
        (framed(7, b"\0\x0a\x02\xff\xff"), "not-protobuf", "x.Reading"),
        (framed(7, b"\0\x0a\xff\xff\xff\xff\x07a"), "not-protobuf", "x.Reading"),
        (framed(7, b"\x02\x12"), "not-protobuf", "no message type at [9]"),
        (framed(7, b"\x02\x01"), "not-protobuf", "no message type at [-1]"),
        (framed(7, b"\xff\xff\xff\x07"), "not-protobuf", "indexes of a message type"),
        (framed(7, b"\xff\xff\xff\xff\xff\x01"), "not-protobuf", "have no end"),
    ],
)
def test_bad_payloads_are_dead_letters(payload: bytes | None, cause: str, words: str) -> None:
    [one] = decode(PLAIN, payload).rejected
    assert one.cause == cause
    assert one.cause in CAUSES
    assert words in one.detail


def test_a_schema_is_compiled_once_whatever_messages_say(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_ = schema_module._compile

    def counted(name: str, texts: Mapping[str, str]) -> Any:
        compiled.append(name)
        return compile_(name, texts)

    monkeypatch.setattr(schema_module, "_compile", counted)
    kept = Kept(s7=WrittenSchema(PLAIN, "PROTOBUF"), s8=WrittenSchema("message {", "PROTOBUF"))
    payloads = [framed(7, b"\2" + bytes([2 * i])) for i in range(9)]
    payloads += [framed(7, b"\x82" + b"\x80" * i + b"\0\0") for i in range(4)]
    payloads += [framed(8, b"\0")] * 9
    rejected: dict[int, tuple[str, str]] = {}
    ProtobufFormat(kept).documents(payloads, range(len(payloads)), rejected)
    assert len(compiled) == 2
    assert set(rejected) == {*range(2, 9), *range(13, 22)}
    assert kept.asked == [7, 8]


def test_messages_nested_without_end_are_dead_letters() -> None:
    datum = b""
    for _ in range(3_000):
        size = len(datum)
        varint = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
        datum = b"\x0a" + varint + datum
    [one] = decode(EVERY, framed(7, b"\0" + datum)).rejected
    assert one.cause == "not-protobuf"


@pytest.mark.slow
def test_a_file_is_a_descriptor_set_or_text(tmp_path: Path) -> None:
    file = descriptor_pb2.FileDescriptorSet()
    file_of(WrittenSchema(PLAIN, "PROTOBUF")).CopyToProto(file.file.add())
    datum = message(PLAIN, {"id": "a", "v": 1.5})
    for content, name in ((file.SerializeToString(), "r.desc"), (PLAIN.encode(), "r.proto")):
        format_ = SingleProtobufFormat(content, "x.Reading", None, name)
        assert format_.documents([datum], [0], {}) == [{"id": "a", "at": 0, "v": 1.5, "unit": ""}]
        with pytest.raises(ConfigError, match="has no such type"):
            SingleProtobufFormat(content, "Reading", None, name)
    for content, name in ((b"\xff", "r.desc"), (b"", "r.desc"), (b"{", "r.proto")):
        with pytest.raises(ConfigError, match=rf"{name} cannot be used"):
            SingleProtobufFormat(content, "x.Reading", None, name)


def test_a_key_with_a_schema() -> None:
    format_ = ProtobufFormat(Kept(s7=WrittenSchema(PLAIN, "PROTOBUF")))
    given_ = DecoderOptions(value="v", series_id="@key.id", key="protobuf", key_format=format_)
    datum = framed(7, b"\0" + message(PLAIN, {"id": "a", "v": 1.5}))
    decoded = Decoder(format_, given_).decode([datum, b"a"], [datum] * 2, [0] * 2)
    assert list(decoded.readings.series_ids) == ["a"]
    assert [one.cause for one in decoded.rejected] == ["not-protobuf"]
