"""A real Schema Registry: what it answers is understood, and what is written by it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ewma_ops.registry.client import RegistryClient
from ewma_ops.registry.schemas import RegistrySchemas
from ewma_ops.serde.avro.format import AvroFormat
from ewma_ops.serde.decoder import Decoder
from ewma_ops.serde.options import DecoderOptions
from ewma_ops.serde.protobuf.format import ProtobufFormat
from tests.helpers.registry import framed
from tests.serde.avro.test_format import record, written
from tests.serde.protobuf.test_format import message

UNIT = record("org.x.Unit", name="string")


@pytest.fixture(scope="module")
def client(registry_url: str) -> RegistryClient:
    return RegistryClient([registry_url])


def register(client: RegistryClient, subject: str, schema: Any, **more: Any) -> int:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    answer = client.post(f"/subjects/{subject}/versions", {"schema": text, **more})
    return int(answer["id"])


def test_a_subject_of_avro_evolves(client: RegistryClient) -> None:
    old = record(id="string", v="int")
    new = record(id="string", v="int")
    new["fields"].append({"name": "w", "type": ["null", "double"], "default": None})
    ids = [register(client, "readings-value", schema) for schema in (old, new)]
    assert ids[0] != ids[1]
    payloads = [
        framed(ids[0], written(old, {"id": "a", "v": 1})),
        framed(ids[1], written(new, {"id": "b", "v": 2, "w": 2.5})),
        framed(987_654, b""),
    ]
    schemas = RegistrySchemas(client, unknown_after_s=0.5)
    decoder = Decoder(AvroFormat(schemas), DecoderOptions(value=["v", "w"], series_id="id"))
    decoded = decoder.decode([None] * 3, payloads, [0] * 3)
    assert list(decoded.readings.series_ids) == ["a", "b"]
    assert decoded.readings.values[1].tolist() == [2, 2.5]
    assert [one.cause for one in decoded.rejected] == ["unknown-schema"]


def test_references_of_avro(client: RegistryClient) -> None:
    register(client, "unit", UNIT)
    outer = record(id="string", unit="org.x.Unit", v="double")
    reference = {"name": "org.x.Unit", "subject": "unit", "version": 1}
    schema_id = register(client, "outer-value", outer, references=[reference])
    payload = framed(schema_id, b"\2a" + b"\2C" + written("double", 1.5))
    decoder = Decoder(
        AvroFormat(RegistrySchemas(client)), DecoderOptions(value="v", series_id="unit.name")
    )
    decoded = decoder.decode([None], [payload], [0])
    assert (list(decoded.readings.series_ids), decoded.readings.values.tolist()) == (["C"], [1.5])


def test_protobuf_with_references(client: RegistryClient) -> None:
    unit = 'syntax = "proto3"; package u; message Unit { string name = 1; }'
    outer = """syntax = "proto3"; package x;
        import "unit.proto"; import "google/protobuf/timestamp.proto";
        message Other {} message R {
          u.Unit unit = 1; google.protobuf.Timestamp at = 2; optional double v = 3; }"""
    register(client, "unit-proto", unit, schemaType="PROTOBUF")
    reference = {"name": "unit.proto", "subject": "unit-proto", "version": 1}
    schema_id = register(client, "r-value", outer, schemaType="PROTOBUF", references=[reference])
    flat = """syntax = "proto3"; package x; import "google/protobuf/timestamp.proto";
        message Unit { string name = 1; } message R {
          Unit unit = 1; google.protobuf.Timestamp at = 2; optional double v = 3; }"""
    datum = message(flat, {"unit": {"name": "C"}, "at": "1970-01-01T00:00:01Z", "v": 1.5}, 1)
    decoder = Decoder(
        ProtobufFormat(RegistrySchemas(client)),
        DecoderOptions(value="v", series_id="unit.name", time="at"),
    )
    decoded = decoder.decode([None], [framed(schema_id, b"\2\2" + datum)], [0])
    assert not list(decoded.rejected)
    assert decoded.readings.times_ms is not None
    assert decoded.readings.times_ms.tolist() == [1000]


def test_a_schema_is_registered_once_and_looked_up(client: RegistryClient) -> None:
    schemas = RegistrySchemas(client)
    text = json.dumps(record(series_id="string", ewma=["null", "double"]))
    assert schemas.registered("smoothed-value", text) is None
    schema_id = schemas.register("smoothed-value", text)
    assert schemas.register("smoothed-value", text) == schema_id
    assert schemas.registered("smoothed-value", text) == schema_id
    found = schemas.schema(schema_id)
    assert found is not None
    assert json.loads(found.text) == json.loads(text)
