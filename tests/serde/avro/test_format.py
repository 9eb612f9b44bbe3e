"""Avro payloads: the same readings as of JSON, schemas that change, and bytes that are none."""

from __future__ import annotations

import base64
import io
import json
import math
import threading
import tracemalloc
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.errors import ConfigError
from ewma_ops.serde.avro.format import AvroFormat, SingleAvroFormat
from ewma_ops.serde.decoder import Decoded, Decoder
from ewma_ops.serde.format import CAUSES
from ewma_ops.serde.json.decoder import JsonDecoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.schemas import WrittenSchema
from tests.helpers.outcomes import ROWS, assert_same_bits
from tests.helpers.registry import Kept, framed

START_MS = 1_700_000_000_000


def record(name: str = "R", /, **fields: Any) -> dict[str, Any]:
    listed = [{"name": field, "type": kind} for field, kind in fields.items()]
    return {"type": "record", "name": name, "fields": listed}


def logical(kind: str, name: str, /, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


PLAIN = record(id="string", at="long", v=["null", "double"], unit="string")


def written(schema: Any, document: Any) -> bytes:
    """Write a datum with no logical types: what is given is what stands in the bytes."""
    data = io.BytesIO()
    fastavro.schemaless_writer(data, fastavro.parse_schema(schema), document)
    return data.getvalue()


def decode(schema: Any, *payloads: bytes | None, **options: Any) -> Decoded:
    """Decode data of one schema, behind its id."""
    given_ = DecoderOptions(**{"value": "v", "series_id": None, **options})
    decoder = Decoder(AvroFormat(Kept(s7=schema), given_.time_unit), given_)
    values = [None if one is None else framed(7, one) for one in payloads]
    return decoder.decode([b"k"] * len(values), values, [5] * len(values))


def value_of(schema: Any, document: Any, **options: Any) -> float:
    decoded = decode(schema, written(plain(schema), document), **options)
    assert not list(decoded.rejected), list(decoded.rejected)
    return float(decoded.readings.values[0])


def plain(schema: Any) -> Any:
    """Return a schema without its logical types."""
    if isinstance(schema, list):
        return [plain(one) for one in schema]
    if isinstance(schema, dict):
        return {key: plain(one) for key, one in schema.items() if key != "logicalType"}
    return schema


def test_the_case_of_a_schema_registry() -> None:
    schema = record(id="string", value="double")
    given_ = DecoderOptions(series_id="id")
    payloads = [b"AAAAAAcOa2l0Y2hlbgAAAAAAgDVA", b"AAAAAAcOa2l0Y2hlbgAAAAAAgDZA"]
    decoder = Decoder(AvroFormat(Kept(s7=schema)), given_)
    decoded = decoder.decode([b"a"] * 2, list(map(base64.b64decode, payloads)), [1, 2])
    assert list(decoded.readings.series_ids) == ["kitchen", "kitchen"]
    assert decoded.readings.values.tolist() == [21.5, 22.5]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_avro_reads_the_bits_that_json_reads(rows: list[tuple[str, int, float | None]]) -> None:
    documents = [{"id": i, "at": at, "v": v, "unit": "C"} for i, at, v in rows]
    given_ = DecoderOptions(value="v", series_id="id", time="at")
    beside = [None] * len(rows), [0] * len(rows)
    by_json = JsonDecoder(given_).decode(
        beside[0], [json.dumps(one).encode() for one in documents], beside[1]
    )
    payloads = [framed(7, written(PLAIN, one)) for one in documents]
    by_avro = Decoder(AvroFormat(Kept(s7=PLAIN)), given_).decode(beside[0], payloads, beside[1])
    assert_same_bits(by_avro, by_json)
    assert list(by_avro.rejected) == list(by_json.rejected)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.integers(-(2**250), 2**250), st.integers(0, 80))
def test_decimals_are_rounded_once(unscaled: int, scale: int) -> None:
    exact = Fraction(unscaled, 10**scale)
    fixed = logical("fixed", "decimal", precision=4, scale=scale, name="F", size=32)
    shortest = unscaled.bit_length() // 8 + 1
    for schema, size in (
        (fixed, 32),
        (logical("bytes", "decimal", precision=4, scale=scale), shortest),
    ):
        document = {"v": unscaled.to_bytes(size, "big", signed=True)}
        assert value_of(record(v=schema), document) == exact.numerator / exact.denominator


@pytest.mark.parametrize(
    ("kind", "number", "time_ms"),
    [
        (logical("long", "timestamp-millis"), START_MS, START_MS),
        (logical("long", "timestamp-micros"), START_MS * 1000 + 999, START_MS),
        (logical("long", "timestamp-nanos"), START_MS * 10**6 + 999_999, START_MS),
        (logical("long", "local-timestamp-millis"), START_MS, START_MS),
        (logical("long", "local-timestamp-micros"), -1, -1),
        (logical("long", "timestamp-nanos"), -1, -1),
        (logical("int", "date"), 19_675, 19_675 * 86_400_000),
        (logical("int", "date"), -1, -86_400_000),
    ],
)
@pytest.mark.parametrize("unit", [None, "s", "ms", "us", "ns"])
def test_times_of_a_logical_type_have_a_unit_of_their_own(
    kind: Any, number: int, time_ms: int, unit: str | None
) -> None:
    schema = record(at=["null", kind], v="int")
    datum = written(plain(schema), {"at": number, "v": 1})
    decoded = decode(schema, datum, time="at", time_unit=unit)
    assert not list(decoded.rejected)
    assert decoded.readings.times_ms is not None
    assert decoded.readings.times_ms.tolist() == [time_ms]


def test_a_time_without_a_logical_type_is_in_the_unit_of_the_file() -> None:
    schema = record(at="long", v="int")
    decoded = decode(schema, written(schema, {"at": 1_700_000_000, "v": 1}), time="at",
                     time_unit="s")  # fmt: skip
    assert decoded.readings.times_ms is not None
    assert decoded.readings.times_ms.tolist() == [START_MS]


def test_times_that_no_calendar_has_are_dead_letters() -> None:
    schema = record(at=logical("long", "timestamp-micros"), v="int")
    decoded = decode(schema, written(plain(schema), {"at": 2**62, "v": 1}), time="at")
    assert [one.cause for one in decoded.rejected] == ["time-out-of-range"]


def test_ids_of_enums_and_uuids() -> None:
    one = uuid.uuid4()
    schema = record(
        id=["null", {"type": "enum", "name": "E", "symbols": ["A", "B"]}],
        u=logical("fixed", "uuid", name="U", size=16),
        t=logical("string", "uuid"),
        v="float",
    )
    datum = written(plain(schema), {"id": "B", "u": one.bytes, "t": str(one), "v": 0.1})
    decoded = decode(schema, datum, series_id=["id", "u", "t"])
    assert list(decoded.readings.series_ids) == [f"B/{one}/{one}"]
    assert decoded.readings.values[0] == float(np.float32(0.1))


def test_a_subject_evolves_in_mid_stream() -> None:
    old = record(id="string", v="int")
    new = record(id="string", site=["null", "string"], v="double", w=["null", "double"])
    decoder = Decoder(
        AvroFormat(Kept(s1=old, s2=new)),
        DecoderOptions(value=["v", "w"], series_id="id", max_value_bytes=100),
    )
    values = [
        framed(1, written(old, {"id": "a", "v": 1})),
        framed(2, written(new, {"id": "a", "site": None, "v": 1.5, "w": 2.5})),
        framed(1, written(old, {"id": "a", "v": 3})),
    ]
    decoded = decoder.decode([None] * 3, values, [0] * 3)
    assert not list(decoded.rejected)
    expected = [[1, math.nan], [1.5, 2.5], [3, math.nan]]
    assert np.array_equal(decoded.readings.values, expected, equal_nan=True)


def test_each_schema_is_asked_for_once() -> None:
    kept = Kept(s7=PLAIN)
    datum = framed(7, written(PLAIN, {"id": "a", "at": 1, "v": 2.0, "unit": ""}))
    AvroFormat(kept).documents([datum] * 50, range(50), {})
    assert kept.asked == [7]


def test_schemas_refer_to_others() -> None:
    outer = record(id="string", reading="org.x.Reading", next=["null", "org.x.Reading"])
    inner = record("org.x.Reading", v="org.x.Number")
    number = {"type": "fixed", "name": "org.x.Number", "size": 2, "logicalType": "decimal",
              "precision": 4, "scale": 1}  # fmt: skip
    schema = WrittenSchema(
        json.dumps(outer), "AVRO", (("n", json.dumps(number)), ("r", json.dumps(inner)))
    )
    decoder = Decoder(
        AvroFormat(Kept(s7=schema)), DecoderOptions(value="reading.v", series_id="id")
    )
    decoded = decoder.decode([None], [framed(7, b"\2a" + b"\0\xd7" + b"\0")], [0])
    assert decoded.readings.values.tolist() == [21.5]


ONE, OTHER = record("x.A", id="string", v="int"), record("x.B", v="double", n=["null", "x.B"])


@pytest.mark.parametrize(
    ("schema", "references", "branch"),
    [
        (["x.A", "x.B"], [ONE, OTHER], b"\0"),
        ([ONE, OTHER], [], b"\0"),
        (["null", "x.A"], [ONE], b"\2"),
        ("x.A", [ONE], b""),
        ({"type": "x.A"}, [ONE], b""),
        ({"type": ONE}, [], b""),
    ],
)
def test_a_topic_of_several_types(schema: Any, references: list[Any], branch: bytes) -> None:
    names = [(one["name"], json.dumps(one)) for one in references]
    kept = Kept(s7=WrittenSchema(json.dumps(schema), "AVRO", tuple(names)))
    datum = written(ONE, {"id": "a", "v": 5})
    found = AvroFormat(kept, heads=["v", "n"]).documents([framed(7, branch + datum)], [0], {})
    assert found == [{"id": "a", "v": 5}]
    if len(references) == 2:
        datum = b"\2" + written(OTHER, {"v": 1.5, "n": {"v": 2.5, "n": None}})
        found = AvroFormat(kept).documents([framed(7, datum)], [0], {})
        assert found == [{"v": 1.5, "n": {"v": 2.5, "n": None}}]


def test_several_readings_in_a_message() -> None:
    schema = record(site="string", data={"type": "array", "items": record("D", t="long", v="int")})
    datum = written(schema, {"site": "s", "data": [{"t": 1, "v": 10}, {"t": 2, "v": 20}]})
    decoded = decode(schema, datum, records="data[]", series_id="^.site", time="t")
    assert decoded.readings.values.tolist() == [10, 20]


def test_a_bare_number_and_a_key_with_a_schema() -> None:
    kept = Kept(s1="double", s2=record("K", id="string"), s3="long")
    avro = AvroFormat(kept)
    given_ = DecoderOptions(value="@value", series_id="@key.id", key="avro", key_format=avro)
    keys = [framed(2, written(record("K", id="string"), {"id": "a"})), b"a", None]
    value = framed(1, written("double", 1.5))
    decoded = Decoder(avro, given_).decode(keys, [value] * 3, [0] * 3)
    assert list(decoded.readings.series_ids) == ["a"]
    assert [(one.at, one.cause) for one in decoded.rejected] == [
        (1, "not-avro"),
        (2, "no-series-id"),
    ]
    given_ = DecoderOptions(value="@value", series_id=None, key="avro", key_format=avro)
    decoded = Decoder(avro, given_).decode([framed(3, written("long", 5))], [value], [0])
    assert list(decoded.readings.series_ids) == ["5"]


@pytest.mark.parametrize(
    ("payload", "cause", "words"),
    [
        (None, "tombstone", "null"),
        (b"", "empty", "empty"),
        (b"\0\0", "not-avro", "too short"),
        (b'{"v": 1}', "not-avro", 'format = "json"'),
        (framed(8, b""), "unknown-schema", "schema 8"),
        (framed(7, b""), "not-avro", "ends too early"),
        (framed(7, written(PLAIN, {"id": "a", "at": 1, "v": 2, "unit": ""}) + b"x"),
         "not-avro", "1 bytes are left over"),
        (framed(7, b"\2\xff\0\0\0"), "not-utf8", "UTF-8"),
        (framed(9, b""), "not-avro", "schema 9 cannot be used"),
        (framed(10, b""), "not-avro", "not Avro"),
    ],
)  # fmt: skip
def test_bad_payloads_are_dead_letters(payload: bytes | None, cause: str, words: str) -> None:
    kept = Kept(s7=PLAIN, s9={"type": "record"}, s10=WrittenSchema("{}", "JSON"))
    decoded = Decoder(AvroFormat(kept), DecoderOptions(value="v")).decode([b"k"], [payload], [0])
    [one] = decoded.rejected
    assert one.cause == cause
    assert one.cause in CAUSES
    assert words in one.detail


def test_counts_and_lengths_of_an_attacker_cost_nothing() -> None:
    def varint(number: int) -> bytes:
        return written("long", number)

    schema = record(v="int", a={"type": "array", "items": "int"}, b="bytes",
                    m={"type": "map", "values": "null"})  # fmt: skip
    for datum in (
        varint(1) + varint(2**62),
        varint(1) + varint(-(2**62)) + varint(2**62),
        varint(1) + varint(0) + varint(2**62),
        varint(1) + varint(0) + varint(-5),
        varint(1) + varint(0) + varint(0) + varint(2**62) + b"\2a",
    ):
        [one] = decode(schema, datum).rejected
        assert one.cause == "not-avro"


def test_wide_records_are_read_in_part() -> None:
    inner = record("I", v="int")
    many = {f"x{i}": "string" for i in range(20)}
    schema = record(
        **many, after=inner, before=["null", "I"], at=logical("long", "timestamp-micros")
    )
    document = {**dict.fromkeys(many, "x"), "after": {"v": 5}, "before": {"v": 4}, "at": 7_000}
    datum = framed(7, written(plain(schema), document))
    kept, whole = Kept(s7=schema), {**document, "at": 7}
    for heads, expected in (
        (["after", "at", "absent"], {"after": {"v": 5}, "at": 7}),
        ([], {}),
        (["before"], whole),  # its type is defined in what would be skipped
        (None, whole),
        ([*many, "after", "at"], whole),  # one field is not worth it
    ):
        found = AvroFormat(kept, heads=heads).documents([datum], [0], {})
        assert found == [expected]


@pytest.mark.slow
def test_arrays_that_are_not_looked_at_are_not_held() -> None:
    small = record("S", b="boolean")
    schema = record(v="int", a={"type": "array", "items": small})
    datum = framed(7, b"\2" + written("long", 20_000) + bytes(20_000) + b"\0")
    avro = AvroFormat(Kept(s7=schema), heads=["v"])
    avro.documents([datum], [0], {})
    tracemalloc.start()
    try:
        assert avro.documents([datum] * 20, range(20), {}) == [{"v": 1}] * 20
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_arrays_are_not_skipped_as_their_counts_may_be_any() -> None:
    many = {f"x{i}": "string" for i in range(20)}
    schema = record(v="int", a={"type": "array", "items": "string"}, **many)
    rejected: dict[int, tuple[str, str]] = {}
    datum = framed(7, b"\2" + written("long", 2**62))
    AvroFormat(Kept(s7=schema), heads=["v"]).documents([datum], [0], rejected)
    assert rejected[0][0] == "not-avro"


@pytest.mark.parametrize(
    "items", ["null", record("E"), record("E", a="null"), {"type": "fixed", "name": "F", "size": 0}]
)
def test_arrays_of_nothing_are_refused(items: Any) -> None:
    schema = record(v="int", a={"type": "array", "items": items})
    [one] = decode(schema, b"\2" + written("long", 2**62)).rejected
    assert "without bytes" in one.detail


def test_values_nested_without_end_are_dead_letters_on_a_small_stack() -> None:
    schema = record(v="int", next=["null", "R"])
    few = b"".join(b"\2\2" for _ in range(20)) + b"\2\0"
    found: list[Decoded] = []
    size = threading.stack_size(512 << 10)
    try:
        thread = threading.Thread(
            target=lambda: found.append(decode(schema, few, b"\2\2" * 400_000))
        )
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert found[0].kept.tolist() == [0]
    assert [one.cause for one in found[0].rejected] == ["too-deep"]


def test_plain_data_of_one_schema_and_single_objects() -> None:
    text = json.dumps(PLAIN)
    avro = SingleAvroFormat(text)
    datum = written(PLAIN, {"id": "a", "at": 1, "v": 2.5, "unit": "C"})
    rabin = int(
        fastavro.schema.fingerprint(
            fastavro.schema.to_parsing_canonical_form(PLAIN), "CRC-64-AVRO"
        ),
        16,
    ).to_bytes(8, "big")
    rejected: dict[int, tuple[str, str]] = {}
    read = avro.documents([datum, b"\xc3\x01" + rabin + datum, None, b""], range(4), rejected)
    assert read[0] == read[1] == {"id": "a", "at": 1, "v": 2.5, "unit": "C"}
    assert [rejected[at][0] for at in (2, 3)] == ["tombstone", "not-avro"]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"\xc3\x01" + b"\xff" * 20, "a single object of another schema"),
        (b"Obj\x01" + b"\xff" * 20, "a whole Avro file"),
        (framed(300, b"\xff" * 20), "schema 300, write [registry]"),
        (b'{"v": 1}', 'format = "json"'),
    ],
)
def test_what_is_no_datum_of_the_file_is_told(payload: bytes, said: str) -> None:
    rejected: dict[int, tuple[str, str]] = {}
    SingleAvroFormat(json.dumps(PLAIN)).documents([payload], [0], rejected)
    assert said in rejected[0][1]


@pytest.mark.parametrize("text", ["", "{", "[]x", '{"type": "record"}', '"double', '"Unknown"'])
def test_a_file_that_is_no_schema_is_said(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reading\.avsc cannot be used"):
        SingleAvroFormat(text, name="reading.avsc")


def test_decimals_beyond_any_use_are_dead_letters() -> None:
    schema = record(v=logical("bytes", "decimal", precision=4, scale=1))
    [one] = decode(schema, written(plain(schema), {"v": b"\1" * 2_000})).rejected
    assert one.cause == "not-avro"
    assert value_of(schema, {"v": b""}) == 0
    assert value_of(schema, {"v": b"\1" * 100}) == float(
        Decimal(int.from_bytes(b"\1" * 100, "big")) / 10
    )
